#include "core/wholemove.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/io.h"
#include "core/judge.h"
#include "core/marks.h"
#include "core/part.h"

static struct context *context_of(const struct file *file)
{
        return files_context(file->files);
}

/* Captures what the source says of the object that `fd` has open, where nobody did yet. The first mover that has a file open does it. */
int wholemove_capture(struct file *file, int fd, uint64_t generation)
{
        cleanup(file_facts_release) struct file_facts *facts = file_facts_get(file, generation);
        ssize_t size = 0;
        int result;

        if (facts)
                return 0;
        facts = calloc(1, sizeof(*facts));
        if (!facts)
                return -ENOMEM;
        atomic_init(&facts->references, 1);
        result = metadata_capture(fd, &facts->metadata);
        if (result == 0 && S_ISLNK(facts->metadata.stat.stx_mode)) {
                facts->link_text = calloc(1, PATH_MAX);
                size = facts->link_text ? readlinkat(fd, "", facts->link_text, PATH_MAX - 1) : -1;
                if (size < 0)
                        result = facts->link_text ? -errno : -ENOMEM;
        }
        if (result == 0)
                file_facts_set(file, generation, pointer_steal(&facts));
        return result;
}

/* One job at a time for an object on a target, and none while it gets its name. Where that is so, whoever has it tells when it is free. None
 * where the object is another version's by now: who found that has it come again. */
static uint64_t reserve(struct file *file, uint64_t slots, uint64_t generation)
{
        uint64_t reserved = 0;

        MUTEX_SCOPE(&file->lock);
        for (unsigned slot = 0; slot < file->part_count && file->generation == generation; slot++) {
                struct file_part *part = &file->parts[slot];

                if (!(slots >> slot & 1))
                        continue;
                if (part->whole_queued || part->publishing || part->verifying) {
                        part->passed_by = true;
                        continue;
                }
                part->whole_queued = true;
                reserved |= 1ull << slot;
        }
        return reserved;
}

bool wholemove_release(struct file *file, unsigned slot, bool whole, bool name)
{
        struct file_part *part = &file->parts[slot];
        bool passed_by;

        MUTEX_SCOPE(&file->lock);
        if (whole)
                part->whole_queued = false;
        if (name)
                part->publishing = false;
        if (part->whole_queued || part->publishing || part->verifying)
                return false;
        passed_by = part->passed_by;
        part->passed_by = false;
        return passed_by;
}

/* The job ended, or never began, and no sync will release it. */
static void give_up(struct file *file, unsigned slot)
{
        struct context *context = context_of(file);

        if (wholemove_release(file, slot, true, false))
                context->work_found(context->callback_context);
}

struct whole_job {
        struct target_job base;
        struct file *file; /* with a reference */
        uint64_t generation;
};

static void run_whole(struct target_job *base, struct target *target, bool discard)
{
        struct whole_job *job = (struct whole_job *)base;
        struct file *file = job->file;
        uint64_t epoch;
        bool written = false;
        int result;

        mutex_lock(&file->lock);
        epoch = file->epoch;
        mutex_unlock(&file->lock);
        result = discard ? PART_NOT_WANTED : part_make_whole(file, target, job->generation);

        if (result < 0)
                part_fail(file, target, result, "create");
        if (!discard && result >= 0) /* also where it is there already: a further name may be lacking */
                written = marks_written(file, target, TARGET_WHOLE, job->generation, epoch, 0);
        if (!written)
                give_up(file, target->slot);
        file_unref(file);
        free(job);
}

static int capture_from_source(struct file *file, uint64_t generation)
{
        struct context *context = context_of(file);
        cleanup(pointer_free) char *path = NULL;
        cleanup(fd_close) int fd = -1;
        cleanup(file_facts_release) struct file_facts *facts = NULL;
        int result = view_source_path(files_view(file->files), file->id, &path);

        if (result < 0)
                return result;
        if (!context->source)
                return -EIO;
        fd = S_ISREG(file->mode) ? io_open_source(context->source->fd, path)
                                 : io_open_beneath(context->source->fd, path, O_PATH | O_NOFOLLOW, 0);
        if (fd < 0)
                return fd == -ENOENT ? -ESTALE : fd;
        result = wholemove_capture(file, fd, generation);
        facts = result == 0 ? file_facts_get(file, generation) : NULL;
        if (result < 0 || !facts)
                return result < 0 ? result : -ESTALE;
        MUTEX_SCOPE(&file->lock);
        if ((facts->metadata.stat.stx_mode & S_IFMT) != (file->mode & S_IFMT) ||
            (S_ISREG(file->mode) && facts->metadata.stat.stx_size != file->size))
                return -ESTALE;
        return 0;
}

/* What a finished copy carries is what the source said when it was made. */
static int capture_copy(struct file *file, struct target *target, const char *path, uint64_t generation)
{
        cleanup(file_facts_release) struct file_facts *facts = calloc(1, sizeof(*facts));
        int result;

        if (!facts)
                return -ENOMEM;
        atomic_init(&facts->references, 1);
        result = root_call_capture(&target->root, path, &facts->metadata);
        if (result == 0 && S_ISLNK(facts->metadata.stat.stx_mode))
                result = root_call_readlink(&target->root, path, &facts->link_text);
        if (result == 0)
                file_facts_set(file, generation, pointer_steal(&facts));
        return result;
}

/* Where the source does not give it any more. */
static int capture_from_targets(struct file *file, uint64_t generation)
{
        struct context *context = context_of(file);
        struct view *view = files_view(file->files);
        cleanup(pointer_free) char *path = NULL;
        struct name_record name;
        struct node_record node;
        int result = view_node(view, file->id, &node);

        if (result == 0)
                result = view_primary_name(view, &node, &name);
        if (result == 0)
                result = view_path(view, file->id, &path);
        if (result < 0 || node.generation != generation)
                return result < 0 ? result : -ESTALE;
        result = -ENOENT;
        for (CONTEXT_EACH_TARGET(context, name.published & ~name.conflict, target)) {
                struct statx stat;

                if (result == 0 || !target_serves_reads(target) ||
                    root_call_stat(&target->root, target_path_of(target, path), &stat) < 0 ||
                    !judge_looks_equal(&node, &stat, judge_clock_of(context, target).granularity_ns))
                        continue;
                result = capture_copy(file, target, target_path_of(target, path), generation);
        }
        return result;
}

static bool is_unavailable(struct file *file)
{
        struct node_record node;

        return !context_of(file)->source || view_node(files_view(file->files), file->id, &node) < 0 ||
               (node.flags & VIEW_NODE_UNAVAILABLE);
}

static int capture_node(struct file *file, uint64_t generation)
{
        int result = capture_from_source(file, generation);

        if (result < 0 && is_unavailable(file) && capture_from_targets(file, generation) == 0)
                return 0;
        return result;
}

static bool enqueue(struct file *file, struct target *target, uint64_t generation)
{
        struct whole_job *job = calloc(1, sizeof(*job));

        if (!job)
                return false;
        job->base.run = run_whole;
        job->file = file_ref(file);
        job->generation = generation;
        if (target_enqueue(target, &job->base, true))
                return true;
        file_unref(file);
        free(job);
        return false;
}

int wholemove_run(struct file *file, uint64_t slots)
{
        struct context *context = context_of(file);
        uint64_t generation;
        int result = 0;

        mutex_lock(&file->lock);
        generation = file->generation;
        mutex_unlock(&file->lock);
        slots = reserve(file, slots, generation);
        if (slots != 0 && !S_ISDIR(file->mode))
                result = capture_node(file, generation);
        if (result == -ESTALE)
                (void)context->drifted(context->callback_context, file->id, generation); /* whether it helped or not: not this time */
        for (CONTEXT_EACH_TARGET(context, slots, target))
                if (result < 0 || !enqueue(file, target, generation))
                        give_up(file, target->slot);
        return result;
}
