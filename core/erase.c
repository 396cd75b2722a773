#include "core/erase.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/cleanup.h"
#include "core/error.h"
#include "core/need.h"

bool erase_is_safe(const struct options *options, uint64_t target_mask, const struct name_record *name, const struct node_record *node)
{
        enum category category = view_classify(target_mask, node, name);
        struct need need = need_of(options, node, target_mask);

        if (name->flags & (VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT | VIEW_NAME_VANISHED))
                return false;
        if (category != CATEGORY_COPIED && category != CATEGORY_SKIPPED)
                return false;
        return S_ISDIR(node->mode) || ((node->verified & target_mask) == target_mask && need_is_nothing(&need));
}

/* --- reasons --- */

struct reasons {
        FILE *out; /* NULL: they are only counted */
        unsigned count;
};

static void add(struct reasons *reasons, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct reasons *reasons, const char *format, ...)
{
        va_list arguments;

        if (reasons->out) {
                (void)fputs(reasons->count == 0 ? "no: " : "", reasons->out); /* memory: seen by fclose() */
                va_start(arguments, format);
                (void)vfprintf(reasons->out, format, arguments); /* as above */
                va_end(arguments);
                (void)putc('\n', reasons->out); /* as above */
        }
        reasons->count++;
}

/* "1 file WHAT" or "N files WHAT". */
static void add_files(struct reasons *reasons, uint64_t count, const char *one, const char *many)
{
        if (count > 0)
                add(reasons, "%" PRIu64 " %s", count, count == 1 ? one : many);
}

static void add_target(struct reasons *reasons, const struct erase_facts *facts)
{
        size_t size = 4 * strlen(facts->target_away) + 5;
        cleanup(pointer_free) char *escaped = malloc(size);

        if (escaped)
                error_escape(facts->target_away, escaped, size);
        if (facts->targets_away == 1)
                add(reasons, "the target %s is not online", escaped ? escaped : "-");
        else
                add(reasons, "%u targets are not online, %s among them", facts->targets_away, escaped ? escaped : "-");
}

/* All that speaks against it and is known without another look at the source; the most important first. */
static void add_known(struct reasons *reasons, const struct erase_facts *facts)
{
        const uint64_t *files = facts->totals.files;
        uint64_t done = files[CATEGORY_COPIED] + files[CATEGORY_SKIPPED], verified = facts->totals.files_verified;

        if (!facts->has_source)
                add(reasons, "there is no source");
        if (facts->source_absent)
                add(reasons, "the source is gone");
        add_files(reasons, files[CATEGORY_CONFLICT], "file is in conflict: a target has a different file of its name",
                  "files are in conflict: targets have different files of their names");
        add_files(reasons, files[CATEGORY_MISSING], "file vanished from the source or cannot be read",
                  "files vanished from the source or cannot be read");
        add_files(reasons, files[CATEGORY_FAILED], "file could not be copied to every target", "files could not be copied to every target");
        add_files(reasons, files[CATEGORY_PENDING], "file is not on every target yet", "files are not on every target yet");
        add_files(reasons, facts->directories_owed, "directory is not on every target yet", "directories are not on every target yet");
        if (facts->targets_away > 0)
                add_target(reasons, facts);
        if (facts->mode != MODE_FULL)
                add(reasons, "the mode is %s: only in mode full all copies are read back", facts->mode == MODE_SOURCE ? "source" : "transfer");
        else
                add_files(reasons, done > verified ? done - verified : 0, "file is not verified on every target",
                          "files are not verified on every target");
        add_files(reasons, files[CATEGORY_EXCLUDED], "file is excluded and not copied", "files are excluded and not copied");
        if (!facts->totals.scan_complete)
                add(reasons, "the source was not looked through to its end");
}

enum erase_verdict erase_judge(const struct erase_facts *facts)
{
        struct reasons reasons = { .out = NULL };

        add_known(&reasons, facts);
        if (reasons.count > 0)
                return ERASE_NO;
        if (!facts->looked)
                return ERASE_LOOK;
        return facts->saw_all && facts->unsafe_names == 0 ? ERASE_YES : ERASE_NO;
}

int erase_text(const struct erase_facts *facts, char **ret_text)
{
        char *text = NULL;
        size_t size;
        struct reasons reasons = { .out = open_memstream(&text, &size) };

        if (!reasons.out)
                return -ENOMEM;
        add_known(&reasons, facts);
        if (reasons.count == 0 && !facts->looked)
                add(&reasons, "the source was not looked through again since the last change");
        if (reasons.count == 0 && !facts->saw_all)
                add(&reasons, "the source was not looked through to its end");
        if (reasons.count == 0)
                add_files(&reasons, facts->unsafe_names, "name of the source is not verified on every target",
                          "names of the source are not verified on every target");
        if (reasons.count == 0)
                (void)fputs("yes\n", reasons.out); /* as in add() */
        if (fclose(reasons.out) != 0) {
                free(text);
                return -ENOMEM;
        }
        *ret_text = text;
        return 0;
}
