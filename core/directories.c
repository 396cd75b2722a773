#include "core/directories.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/io.h"
#include "core/log.h"
#include "core/problem.h"
#include "core/judge.h"
#include "core/touched.h"

static bool change_published(void *context, struct node_record *node, struct name_record *name)
{
        uint64_t bit = 1ull << *(const unsigned *)context;

        if ((name->published & bit) && (node->complete & bit))
                return false;
        name->published |= bit;
        node->complete |= bit;
        return true;
}

static int make_one(struct view *view, struct target *target, uint64_t id, const struct node_record *node)
{
        cleanup(pointer_free) char *path = NULL;
        cleanup(fd_close) int parent = -1;
        const char *name;
        struct stat stat;
        unsigned slot = target->slot;
        int result = view_path(view, id, &path);

        if (result < 0)
                return result;
        parent = io_open_parent(target->root.fd, path, &name);
        if (parent < 0)
                return parent;
        if (mkdirat(parent, name, 0700) == 0) {
                touched_add(target, node->parent);
                touched_add(target, id);
        } else if (errno != EEXIST) {
                return -errno;
        } else {
                if (fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW) < 0)
                        return -errno;
                if (!S_ISDIR(stat.st_mode)) {
                        result = judge_apply(view, node->parent, node->name, slot, VERDICT_CONFLICT);
                        return result < 0 ? result : -ENOTDIR;
                }
        }
        return view_update_name(view, node->parent, node->name, change_published, &slot);
}

int directories_make(struct view *view, struct target *target, uint64_t id, bool again)
{
        struct node_record node;
        struct name_record name;
        int result;

        if (id == VIEW_ROOT)
                return 0;
        result = view_node(view, id, &node);
        if (result < 0)
                return result;
        if (!again && view_primary_name(view, &node, &name) == 0 && (name.published >> target->slot & 1))
                return 0;
        result = directories_make(view, target, node.parent, again);
        return result < 0 ? result : make_one(view, target, id, &node);
}

static int finish_one(struct view *view, struct target *target, uint64_t id)
{
        struct context *context = view_context(view);
        cleanup(metadata_deinit) struct metadata metadata = { 0 };
        cleanup(pointer_free) char *path = NULL, *source_path = NULL;
        cleanup(fd_close) int fd = -1;
        unsigned lost = 0;
        struct node_record node;
        int result = view_node(view, id, &node);

        if (result < 0 || (id != VIEW_ROOT && !(node.flags & VIEW_NODE_SOURCE)))
                return result == -ENOENT ? 0 : result;
        if (!context->source || (id == VIEW_ROOT && context->options->source_file))
                return 0; /* one file alone is mirrored: the directories around it are others' */
        result = view_path(view, id, &path);
        if (result == 0)
                result = view_source_path(view, id, &source_path);
        if (result == 0)
                result = root_call_capture(context->source, source_path, &metadata);
        if (result < 0)
                return result;
        fd = io_open_beneath(target->root.fd, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd;
        result = metadata_apply(fd, &metadata, &lost);
        if (result == 0)
                result = io_sync_directory(fd);
        if (result == 0)
                problem_lost(view, target, lost);
        return result;
}

int directories_finish(struct view *view, struct target *target)
{
        uint64_t *ids;
        size_t count = touched_take(target, &ids);
        int result = 0;

        /* Children have greater ids than their parents in the usual case; setting times does not touch the parent anyway. */
        for (size_t i = count; i-- > 0;) {
                int one = finish_one(view, target, ids[i]);

                if (one < 0)
                        log_warning("target %u: a directory could not get its times: %s", target->n, strerror(-one));
                if (one < 0 && result == 0)
                        result = one;
        }
        free(ids);
        touched_finished(target);
        return result;
}
