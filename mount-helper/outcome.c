#include "mount-helper/outcome.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/report_json.h"
#include "core/report_text.h"
#include "mount-helper/message.h"

enum { METHODS_BYTES = 128 };

/* --- what is done --- */

/* What is done with, and is not verified as it was asked for: why. NULL: it is verified, or not to be (it was taken as equal, as --existing asks). */
static const char *unverified_reason(const struct outcome *outcome, const struct mirror_entry *entry)
{
        enum mode mode = outcome->options->mode;
        bool skipped = entry->category == CATEGORY_SKIPPED;

        if (mode == MODE_TRANSFER || (entry->category != CATEGORY_COPIED && !skipped) ||
            (skipped && options_existing(outcome->options) != EXISTING_VERIFY))
                return NULL;
        if (entry->doubted)
                return entry->reason;
        if (mode != MODE_FULL || entry->verified)
                return NULL;
        return entry->reason && !skipped ? entry->reason : "not every copy was read back";
}

static bool count_unverified(void *context, const struct mirror_entry *entry)
{
        struct outcome *outcome = context;

        outcome->unverified += unverified_reason(outcome, entry) != NULL;
        return true;
}

int outcome_look(struct outcome *outcome)
{
        outcome->unverified = 0;
        return outcome->options->mode == MODE_TRANSFER ? 0 : mirror_each_file(outcome->mirror, count_unverified, outcome);
}

bool outcome_is_done(const struct outcome *outcome)
{
        const struct status *status = outcome->after;

        for (size_t i = 0; i < status->target_count; i++)
                if (status->targets[i].state == TARGET_OFFLINE || status->targets[i].state == TARGET_FAILED)
                        return false; /* what was there is recorded; nobody can see it now */
        return outcome->unverified == 0 && outcome->unread.count == 0 && status->progress_tenths == 1000 &&
               status->files[CATEGORY_PENDING] + status->files[CATEGORY_MISSING] + status->files[CATEGORY_FAILED] +
                               status->files[CATEGORY_CONFLICT] ==
                       0;
}

/* Errors of standard output show when it is flushed; each printf below relies on that. */
static void put_escaped(const char *text)
{
        size_t size = strlen(text) * 4 + 5;
        cleanup(pointer_free) char *escaped = malloc(size);

        if (!escaped)
                return;
        error_escape(text, escaped, size);
        (void)fputs(escaped, stdout);
}

/* --- files --- */

static void put_digests(const struct outcome *outcome, const struct digest_values *digests, const char *before)
{
        const struct hash_set *set = &outcome->options->hash;

        for (unsigned i = 0; i < set->count; i++) {
                char text[HASH_TEXT_BYTES];

                if (digest_text(digests, set->order[i], text) < 0)
                        continue;
                (void)printf("%s%s:%s", before, hash_name(set->order[i]), text);
                before = " ";
        }
}

static bool put_file(void *context, const struct mirror_entry *entry)
{
        const struct outcome *outcome = context;
        const char *unverified = unverified_reason(outcome, entry), *reason = unverified ? unverified : entry->reason;
        bool copied = entry->category == CATEGORY_COPIED && !unverified;

        if (entry->category == CATEGORY_PENDING || (copied && !outcome->options->verbose))
                return true;
        (void)printf("%s ", unverified ? "unverified" : category_name(entry->category));
        put_escaped(entry->path);
        if (!copied) {
                (void)fputs(": ", stdout);
                put_escaped(reason ? reason : "unknown");
        }
        if (outcome->options->verbose)
                put_digests(outcome, entry->digests, copied ? ": " : "; ");
        (void)fputc('\n', stdout);
        return true;
}

static void put_repair(void *context, const char *path, uint32_t n, const char *root, unsigned times)
{
        (void)context;
        (void)fputs("repaired ", stdout);
        put_escaped(path);
        (void)printf(": target %" PRIu32 " (", n);
        put_escaped(root);
        (void)printf("): it did not read back as it was written; it was copied again %s, and is good now\n", times == 1 ? "once" : "several times");
}

/* --- the sum --- */

/* The ways in which targets were read back, each once: "direct, memory". */
static void join_methods(const struct status *status, char ret[static METHODS_BYTES])
{
        size_t used = 0;

        ret[0] = '\0';
        for (size_t i = 0; i < status->target_count; i++) {
                const char *method = status->targets[i].verify_method;
                bool known = !method;

                for (size_t j = 0; j < i && !known; j++)
                        known = status->targets[j].verify_method && strcmp(status->targets[j].verify_method, method) == 0;
                if (!known && used + strlen(method) + 3 < METHODS_BYTES)
                        used += (size_t)snprintf(ret + used, METHODS_BYTES - used, "%s%s", used > 0 ? ", " : "", method); /* fits */
        }
}

static void put_verified(const struct status *status)
{
        char methods[METHODS_BYTES];

        join_methods(status, methods);
        (void)printf("verified %" PRIu64 " on %zu target%s (%s%s)\n", status->files_verified, status->target_count,
                     status->target_count == 1 ? "" : "s", methods[0] ? "" : "mode ",
                     methods[0] ? methods : options_mode_name(status->mode));
}

static uint64_t more(uint64_t after, uint64_t before)
{
        return after > before ? after - before : 0;
}

static void put_sum(const struct outcome *outcome)
{
        const struct status *before = outcome->before, *after = outcome->after;
        uint64_t files = more(after->files[CATEGORY_COPIED], before->files[CATEGORY_COPIED]);
        uint64_t bytes = more(after->bytes[CATEGORY_COPIED], before->bytes[CATEGORY_COPIED]);
        double seconds = (double)outcome->elapsed_ns / 1e9;

        if (files == 0 && outcome_is_done(outcome))
                (void)printf("nothing to copy: all %" PRIu64 " files, %" PRIu64 " bytes, are there; ", after->files_total,
                             after->bytes_total);
        else
                (void)printf("copied %" PRIu64 " files, %" PRIu64 " bytes, %.1f MB/s; ", files, bytes,
                             seconds > 0 ? (double)bytes / seconds / 1e6 : 0.0);
        put_verified(after);
}

/* --- targets --- */

static void put_target(const struct status_target *target)
{
        char present[REPORT_SIZE_BYTES], owed[REPORT_SIZE_BYTES];

        report_size(target->present_bytes, present);
        report_size(target->owed_bytes, owed);
        (void)printf("target %" PRIu32 " ", target->n);
        put_escaped(target->path);
        (void)printf(": %s, %s present, %s owed", status_target_state_name(target->state), present,
                     target->owed_bytes > 0 ? owed : "nothing");
        if (target->errors > 0)
                (void)printf(", %" PRIu64 " error%s", target->errors, target->errors == 1 ? "" : "s");
        if (target->last_error) {
                (void)fputs("; last error: ", stdout);
                put_escaped(target->last_error);
        }
        if (target->lost) {
                (void)fputs("; cannot hold: ", stdout);
                put_escaped(target->lost);
        }
        (void)fputc('\n', stdout);
}

static int put_json(const struct status *status)
{
        cleanup(pointer_free) char *text = NULL;
        int r = report_status_json(status, &text);

        return r < 0 ? r : message_output(text);
}

int outcome_print(const struct outcome *outcome)
{
        int r;

        if (outcome->options->json)
                return put_json(outcome->after);
        r = mirror_each_file(outcome->mirror, put_file, (void *)(uintptr_t)outcome);
        mirror_each_repair(outcome->mirror, put_repair, NULL);
        for (size_t i = 0; i < outcome->unread.count; i++)
                (void)printf("failed %s\n", outcome->unread.items[i]);
        put_sum(outcome);
        for (size_t i = 0; i < outcome->after->target_count; i++)
                put_target(&outcome->after->targets[i]);
        if (fflush(stdout) != 0 || ferror(stdout))
                return -errno;
        return r;
}
