#include "core/holders.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/metadata_rules.h"
#include "core/part.h"
#include "core/judge.h"

static bool is_open(struct file *file, const struct target *target)
{
        MUTEX_SCOPE(&file->lock);
        return file->parts[target->slot].fd >= 0;
}

/* Shows the descriptor (taken over where it is) to all readers of the file. */
static int show(struct file *file, const struct target *target, uint64_t generation, bool finished, int *fd)
{
        struct file_part *part = &file->parts[target->slot];

        MUTEX_SCOPE(&file->lock);
        if (file->generation != generation)
                return -ESTALE;
        if (part->fd < 0)
                part->fd = fd_steal(fd);
        if (finished && part->kind == PART_UNKNOWN)
                part->kind = PART_FINISHED;
        return 0;
}

int holders_open_finished(struct file *file, struct target *target, const struct node_record *node)
{
        struct context *context = files_context(file->files);
        cleanup(pointer_free) char *path = NULL;
        cleanup(fd_close) int fd = -1;
        struct stat stat;
        int result;

        if (is_open(file, target))
                return 0;
        result = view_path(files_view(file->files), file->id, &path);
        if (result < 0)
                return result;
        fd = root_call_open(&target->root, target_path_of(target, path));
        if (fd < 0)
                return fd;
        if (fstat(fd, &stat) < 0)
                return -errno;
        if (!judge_is_as_published(node, target->slot,
                                   &(struct node_version){ .size = (uint64_t)stat.st_size, .mtime_ns = metadata_timespec_ns(&stat.st_mtim) },
                                   judge_clock_of(context, target))) {
                log_warning("target %u: %s is not as it was published; it is read from elsewhere", target->n, path);
                return -ESTALE;
        }
        return show(file, target, node->generation, true, &fd);
}

static int open_partial(struct file *file, struct target *target, const struct node_record *node)
{
        char name[PART_NAME_BYTES], path[PART_NAME_BYTES + 16];
        cleanup(fd_close) int fd = -1;
        struct stat stat;

        part_name(files_context(file->files), file->id, node->generation, name);
        (void)snprintf(path, sizeof(path), ".cvv/partial/%s", name); /* fits */
        fd = root_call_open(&target->root, path);
        if (fd < 0)
                return fd;
        if (fstat(fd, &stat) < 0)
                return -errno;
        return (uint64_t)stat.st_size == node->size ? show(file, target, node->generation, false, &fd) : -ESTALE;
}

void holders_open(struct file *file)
{
        struct context *context = files_context(file->files);
        struct view *view = files_view(file->files);
        struct name_record name;
        struct node_record node;
        uint64_t finished;

        if (view_node(view, file->id, &node) < 0 || view_primary_name(view, &node, &name) < 0 || !S_ISREG(node.mode))
                return;
        finished = view_finished(&node, &name);
        for (CONTEXT_EACH_TARGET(context, context->target_mask & (finished | node.partial), target)) {
                if (!target_serves_reads(target) || is_open(file, target))
                        continue;
                if (finished >> target->slot & 1)
                        (void)holders_open_finished(file, target, &node); /* without it the bytes come from elsewhere */
                else
                        (void)open_partial(file, target, &node); /* so here */
        }
}
