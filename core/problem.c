#include "core/problem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/log.h"

static const struct {
        unsigned flag;
        const char *name;
} losses[TARGET_LOSSES] = {
        { METADATA_LOST_OWNER, "owner" },           { METADATA_LOST_MODE, "permissions" },
        { METADATA_LOST_XATTR, "extended attributes" }, { METADATA_LOST_ACL, "ACL" },
        { METADATA_LOST_TIMES, "times" },           { METADATA_LOST_CAPABILITY, "capabilities" },
        { METADATA_LOST_LABEL, "security label" },   { PROBLEM_HARD_LINK, "hard link" },
        { PROBLEM_SYMLINK, "symbolic link" },       { PROBLEM_SPECIAL, "special file" },
};

bool problem_is_inability(int error)
{
        return error == -EPERM || error == -EOPNOTSUPP || error == -ENOSYS || error == -EMLINK;
}

void problem_lost(struct view *view, struct target *target, unsigned lost)
{
        (void)view;
        for (size_t i = 0; i < TARGET_LOSSES; i++)
                if (lost & losses[i].flag)
                        atomic_fetch_add(&target->losses[i], 1);
}

void problem_conflict(struct view *view, uint64_t id, struct target *target)
{
        cleanup(pointer_free) char *path = NULL;

        if (view_path(view, id, &path) < 0)
                return;
        events_add(view_context(view)->events, "conflict", path, (int)target->n, "a different file has this name; it is kept");
        log_warning("target %u: conflict: %s: a different file has this name; it is kept", target->n, path);
}

char *problem_lost_text(const struct target *target)
{
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        bool any = false;

        if (!out)
                return NULL;
        for (size_t i = 0; i < TARGET_LOSSES; i++) {
                uint64_t count = atomic_load(&target->losses[i]);

                if (count == 0)
                        continue;
                (void)fprintf(out, "%s%s of %" PRIu64 " objects", any ? ", " : "", losses[i].name, count); /* memory */
                any = true;
        }
        if (fclose(out) != 0 || !any) {
                free(text);
                return NULL;
        }
        return text;
}

static bool change_unreadable(void *context, struct node_record *node)
{
        const int *error = context;

        if (node->flags & VIEW_NODE_UNREADABLE)
                return false;
        node->flags |= VIEW_NODE_UNREADABLE;
        node->last_error = *error;
        return true;
}

void problem_unreadable(struct view *view, uint64_t id, int error)
{
        cleanup(pointer_free) char *path = NULL;

        if (view_update(view, id, change_unreadable, &error) < 0 || view_path(view, id, &path) < 0)
                return;
        log_error("cannot read %s from the source: %s", path, error_describe(error));
        events_add(view_context(view)->events, "source-error", path, 0, error_describe(error));
        (void)view_unqueue(view, id); /* passed once more otherwise */
}
