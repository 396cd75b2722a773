/* The lists: `.cvv/errors`, `.cvv/skipped` and `.cvv/manifest`, each sorted by path and spooled to an unlinked file. */
#include "core/mirror_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/manifest.h"
#include "core/problem.h"

/* An unlinked file in the state's directory: a list of a million lines is not held in memory. */
static FILE *open_spool(struct mirror *mirror)
{
        cleanup(fd_close) int fd = openat(statedir_fd(mirror->setup.state), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        FILE *spool;

        if (fd < 0)
                fd = memfd_create("cvv-list", MFD_CLOEXEC);
        spool = fd < 0 ? NULL : fdopen(fd, "w+");
        if (spool)
                (void)fd_steal(&fd);
        return spool;
}

static int close_spool(FILE *spool, int *ret_fd)
{
        int fd = fflush(spool) == 0 && !ferror(spool) ? fcntl(fileno(spool), F_DUPFD_CLOEXEC, 3) : -1;
        int result = fd < 0 ? -EIO : 0;

        (void)fclose(spool); /* its content was flushed, or it failed already */
        if (result == 0 && lseek(fd, 0, SEEK_SET) < 0)
                result = -errno;
        if (result < 0) {
                fd_close(&fd);
                return result;
        }
        *ret_fd = fd;
        return 0;
}

struct list {
        struct mirror *mirror;
        FILE *spool;
        int result;
};

/* The path without anything that a terminal takes for itself; the caller frees it. */
static char *escape(const char *path)
{
        size_t size = 4 * strlen(path) + 5;
        char *escaped = malloc(size);

        if (escaped)
                error_escape(path, escaped, size);
        return escaped;
}

/* Ends a list whose spool was opened. */
static int finish(struct list *list, int result, int *ret_fd)
{
        if (result == 0)
                result = list->result;
        if (result == 0)
                return close_spool(list->spool, ret_fd);
        (void)fclose(list->spool); /* nothing of it is used */
        return result;
}

/* --- errors --- */

/* "target N (PATH)", escaped; the caller frees it. */
static char *target_name(const struct target *target)
{
        cleanup(pointer_free) char *path = escape(target->root.path);
        char *name = NULL;

        return path && asprintf(&name, "target %u (%s)", target->n, path) >= 0 ? name : NULL;
}

static void each_slot(struct list *list, uint64_t mask, const char *path, const char *what, const char *then)
{
        for (CONTEXT_EACH_TARGET(&list->mirror->context, mask, target)) {
                cleanup(pointer_free) char *name = target_name(target);

                if (!name)
                        list->result = -ENOMEM;
                else
                        (void)fprintf(list->spool, "%s: %s: %s; %s\n", path, name, what, then); /* ferror() is looked at */
        }
}

/* What is not in the manifest, of a file that should be. */
static const char *unlisted(struct mirror *mirror, const char *path, const struct name_record *name, const struct node_record *node)
{
        uint64_t all = mirror->context.target_mask;
        enum category category = view_classify(all, node, name);
        bool verified = (node->verified & all) == all && (category == CATEGORY_COPIED || category == CATEGORY_SKIPPED);

        return verified && S_ISREG(node->mode) ? manifest_refusal(mirror->context.options->hash.order[0], path, &node->digests) : NULL;
}

static bool error_lines(void *context, const char *path, const struct name_record *name, const struct node_record *node)
{
        static const char again[] = "tried again at `retry` or at the next mount";
        struct list *list = context;
        uint64_t all = list->mirror->context.target_mask;
        enum category category = view_classify(all, node, name);
        const char *refusal = unlisted(list->mirror, path, name, node);
        bool failed = (node->failed & all) && category != CATEGORY_EXCLUDED; /* what is copied may have failed to be read back */
        cleanup(pointer_free) char *escaped = NULL;

        if (!refusal && category != CATEGORY_CONFLICT && category != CATEGORY_MISSING && !failed &&
            !(node->flags & VIEW_NODE_UNREADABLE))
                return true;
        escaped = escape(path);
        if (!escaped) {
                list->result = -ENOMEM;
                return false;
        }
        if (refusal)
                (void)fprintf(list->spool, "%s: verified, but not in the manifest: %s\n", escaped, refusal); /* as above */
        each_slot(list, name->conflict & all, escaped, "a different file has this name", "it is kept, and this one is not copied there");
        each_slot(list, node->failed & ~name->conflict & all, escaped, mirror_reason(CATEGORY_FAILED, name, node), again);
        if (category == CATEGORY_MISSING || (node->flags & VIEW_NODE_UNREADABLE))
                (void)fprintf(list->spool, "%s: source: %s; %s\n", escaped, mirror_reason(CATEGORY_MISSING, name, node), again); /* as above */
        return list->result == 0;
}

static void repair_line(void *context, const char *path, uint32_t n, const char *root, unsigned times)
{
        struct list *list = context;
        cleanup(pointer_free) char *escaped = escape(path), *escaped_root = escape(root);

        if (!escaped || !escaped_root)
                list->result = -ENOMEM;
        else
                (void)fprintf(list->spool, "%s: target %" PRIu32 " (%s): it did not read back as it was written; it was copied again %s, and is good now\n",
                              escaped, n, escaped_root, times == 1 ? "once" : "several times"); /* as above */
}

static void target_lines(struct list *list, struct target *target)
{
        cleanup(pointer_free) char *lost = problem_lost_text(target), *name = target_name(target);
        char last_error[sizeof(target->last_error)];
        enum target_state state;

        if (!name) {
                list->result = -ENOMEM;
                return;
        }
        {
                MUTEX_SCOPE(&target->lock);
                state = target->state;
                memcpy(last_error, target->last_error, sizeof(last_error));
        }
        if (state != TARGET_ONLINE)
                (void)fprintf(list->spool, "%s: %s: %s; what it misses is brought when it is back\n", name,
                              status_target_state_name(state), last_error[0] ? last_error : "-"); /* as above */
        if (lost)
                (void)fprintf(list->spool, "%s: its filesystem or user cannot hold: %s\n", name, lost); /* as above */
}

int mirror_errors(struct mirror *mirror, int *ret_fd)
{
        struct list list = { .mirror = mirror, .spool = open_spool(mirror) };

        if (!list.spool)
                return -ENOMEM;
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                target_lines(&list, target);
        mirror_each_repair(mirror, repair_line, &list);
        return finish(&list, mirror_walk(mirror, error_lines, &list), ret_fd);
}

/* --- skipped --- */

static bool skipped_line(void *context, const struct mirror_entry *entry)
{
        struct list *list = context;
        cleanup(pointer_free) char *escaped = NULL;

        if (!entry->reason || entry->category == CATEGORY_FAILED)
                return true;
        escaped = escape(entry->path);
        if (!escaped)
                list->result = -ENOMEM;
        else
                (void)fprintf(list->spool, "%s %s: %s\n", category_name(entry->category), escaped, entry->reason); /* as above */
        return list->result == 0;
}

int mirror_skipped(struct mirror *mirror, int *ret_fd)
{
        struct list list = { .mirror = mirror, .spool = open_spool(mirror) };

        return list.spool ? finish(&list, mirror_each_file(mirror, skipped_line, &list), ret_fd) : -ENOMEM;
}

/* --- manifest --- */

static bool manifest_lines(void *context, const struct mirror_entry *entry)
{
        struct list *list = context;
        enum hash_algorithm algorithm = list->mirror->context.options->hash.order[0];

        if (entry->verified && S_ISREG(entry->mode) && !manifest_refusal(algorithm, entry->path, entry->digests))
                manifest_line(list->spool, algorithm, entry->path, entry->digests);
        return true;
}

int mirror_manifest(struct mirror *mirror, int *ret_fd)
{
        struct list list = { .mirror = mirror, .spool = open_spool(mirror) };

        return list.spool ? finish(&list, mirror_each_file(mirror, manifest_lines, &list), ret_fd) : -ENOMEM;
}
