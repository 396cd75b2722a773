/* Paths and attributes of the view: what follows from the records without changing any. See view.h. */
#include "core/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"

enum { DEPTH_MAX = 8192 }; /* more levels than any path of a filesystem has: a circle */

/* Puts `name` in front of a path that is built from its end; the path lies at the end of a growing buffer. */
struct path_builder {
        char *buffer;
        size_t capacity, start;
};

static int prepend(struct path_builder *builder, const char *name, size_t size)
{
        size_t need = size + 1;

        if (builder->start < need) {
                size_t used = builder->capacity - builder->start;
                size_t capacity = (builder->capacity + need) * 2;
                char *buffer = malloc(capacity);

                if (!buffer)
                        return -ENOMEM;
                if (builder->buffer)
                        memcpy(buffer + capacity - used, builder->buffer + builder->start, used);
                free(builder->buffer);
                builder->buffer = buffer;
                builder->capacity = capacity;
                builder->start = capacity - used;
        }
        if (builder->start < builder->capacity)
                builder->buffer[--builder->start] = '/';
        else
                builder->buffer[--builder->start] = '\0';
        builder->start -= size;
        memcpy(builder->buffer + builder->start, name, size);
        return 0;
}

static int build_path(struct view *view, uint64_t id, bool in_source, struct path_builder *builder)
{
        for (unsigned depth = 0; id != VIEW_ROOT; depth++) {
                struct node_record node;
                bool moved;
                int result = depth < DEPTH_MAX ? view_node(view, id, &node) : -ELOOP;

                if (result < 0)
                        return result;
                moved = in_source && node.source_name_size > 0;
                result = moved ? prepend(builder, node.source_name, node.source_name_size)
                               : prepend(builder, node.name, node.name_size);
                if (result < 0)
                        return result;
                id = moved ? node.source_parent : node.parent;
        }
        return 0;
}

static int finish_path(struct path_builder *builder, char **ret_path)
{
        char *path = builder->buffer ? strdup(builder->buffer + builder->start) : strdup("");

        if (!path)
                return -ENOMEM;
        *ret_path = path;
        return 0;
}

int view_path(struct view *view, uint64_t id, char **ret_path)
{
        struct path_builder builder = { 0 };
        int result = build_path(view, id, false, &builder);

        if (result == 0)
                result = finish_path(&builder, ret_path);
        free(builder.buffer);
        return result;
}

int view_source_path(struct view *view, uint64_t id, char **ret_path)
{
        char name[VIEW_NAME_MAX + 1];
        struct path_builder builder = { 0 };
        struct node_record node;
        int result = id == VIEW_ROOT ? 0 : view_node(view, id, &node);

        if (result == 0 && id != VIEW_ROOT && (node.flags & VIEW_NODE_LINKS) && node.source_name_size == 0 &&
            view_live_name(view, id, &node, &id, name) == 0)
                result = prepend(&builder, name, strlen(name)); /* `id` is its directory now */
        if (result == 0)
                result = build_path(view, id, true, &builder);
        if (result == 0)
                result = finish_path(&builder, ret_path);
        free(builder.buffer);
        return result;
}

int view_join_path(struct view *view, uint64_t parent, const char *name, char **ret_path)
{
        struct path_builder builder = { 0 };
        int result = prepend(&builder, name, strlen(name));

        if (result == 0)
                result = build_path(view, parent, false, &builder);
        if (result == 0)
                result = finish_path(&builder, ret_path);
        free(builder.buffer);
        return result;
}

bool view_is_excluded(struct view *view, uint64_t parent, const char *name, bool directory)
{
        const struct exclude *exclude = view_context(view)->exclude;
        char *path, *slash;
        bool excluded;

        if (!exclude || view_join_path(view, parent, name, &path) < 0)
                return false;
        excluded = exclude_match(exclude, path, directory);
        while (!excluded && (slash = strrchr(path, '/'))) {
                *slash = '\0';
                excluded = exclude_match(exclude, path, true);
        }
        free(path);
        return excluded;
}

int view_resolve(struct view *view, const char *path, uint64_t *ret_id)
{
        uint64_t id = VIEW_ROOT;

        while (*path) {
                char name[VIEW_NAME_MAX + 1];
                size_t size = strcspn(path, "/");
                struct name_record record;
                int result;

                if (size > VIEW_NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, path, size);
                name[size] = '\0';
                path += size;
                path += strspn(path, "/");
                if (size == 0 || strcmp(name, ".") == 0)
                        continue;
                result = view_name(view, id, name, &record);
                if (result < 0)
                        return result;
                id = record.id;
        }
        *ret_id = id;
        return 0;
}

void view_stat(const struct context *context, uint64_t id, const struct node_record *node, struct stat *ret_stat)
{
        struct stat stat = {
                .st_ino = id,
                .st_mode = node->mode,
                .st_nlink = node->nlink > 0 ? node->nlink : 1,
                .st_uid = node->uid,
                .st_gid = node->gid,
                .st_rdev = node->rdev,
                .st_size = (off_t)node->size,
                .st_blksize = (blksize_t)BUFPOOL_BLOCK_BYTES,
                .st_blocks = (blkcnt_t)node->blocks,
                .st_atim = { node->atime_ns / 1000000000, node->atime_ns % 1000000000 },
                .st_mtim = { node->mtime_ns / 1000000000, node->mtime_ns % 1000000000 },
                .st_ctim = { node->ctime_ns / 1000000000, node->ctime_ns % 1000000000 },
        };

        (void)context;
        if (stat.st_atim.tv_nsec < 0) {
                stat.st_atim.tv_sec--;
                stat.st_atim.tv_nsec += 1000000000;
        }
        if (stat.st_mtim.tv_nsec < 0) {
                stat.st_mtim.tv_sec--;
                stat.st_mtim.tv_nsec += 1000000000;
        }
        if (stat.st_ctim.tv_nsec < 0) {
                stat.st_ctim.tv_sec--;
                stat.st_ctim.tv_nsec += 1000000000;
        }
        *ret_stat = stat;
}
