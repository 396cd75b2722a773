#include "core/part.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/directories.h"
#include "core/io.h"
#include "core/log.h"
#include "core/marks.h"
#include "core/problem.h"
#include "core/judge.h"
#include "core/steps.h"

enum { COMPARE_BYTES = 128 * 1024 };

void part_name(const struct context *context, uint64_t id, uint64_t generation, char name[static PART_NAME_BYTES])
{
        (void)snprintf(name, PART_NAME_BYTES, "%" PRIx64 ".%" PRIx64 ".%08" PRIx32, id, generation, context->source_tag); /* fits */
}

bool part_parse_name(const struct context *context, const char *name, uint64_t *ret_id, uint64_t *ret_generation)
{
        char again[PART_NAME_BYTES];
        uint64_t id, generation;

        if (sscanf(name, "%16" SCNx64 ".%16" SCNx64 ".", &id, &generation) != 2)
                return false;
        part_name(context, id, generation, again);
        if (strcmp(name, again) != 0)
                return false;
        *ret_id = id;
        *ret_generation = generation;
        return true;
}

void part_sweep(struct view *view, struct target *target)
{
        cleanup(dir_close) DIR *dir = NULL;
        int fd = target->partial_fd < 0 ? -1 : openat(target->partial_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *entry;

        if (fd < 0)
                return;
        dir = fdopendir(fd);
        if (!dir) {
                fd_close(&fd);
                return;
        }
        while ((entry = readdir(dir))) {
                struct node_record node;
                uint64_t id, generation;
                bool known;

                if (!part_parse_name(view_context(view), entry->d_name, &id, &generation))
                        continue;
                known = view_node(view, id, &node) == 0 && node.generation == generation &&
                        (node.partial >> target->slot & 1);
                if (!known && unlinkat(target->partial_fd, entry->d_name, 0) < 0)
                        log_warning("target %u: a left partial file could not be removed: %s", target->n, strerror(errno));
        }
}

static struct context *context_of(const struct file *file)
{
        return files_context(file->files);
}

struct fail_change {
        unsigned slot;
        uint64_t generation;
        int error;
};

static bool change_failed(void *context, struct node_record *node)
{
        const struct fail_change *change = context;

        if (node->generation != change->generation || (node->failed >> change->slot & 1))
                return false;
        node->failed |= 1ull << change->slot;
        node->last_error = change->error;
        return true;
}

void part_fail(struct file *file, struct target *target, int error, const char *what)
{
        struct fail_change change = { .slot = target->slot, .error = error };
        cleanup(pointer_free) char *path = NULL;

        if (view_path(files_view(file->files), file->id, &path) < 0)
                path = NULL;
        if (target_report(target, error, what, path))
                return; /* the whole target: this file is as good as any other */
        mutex_lock(&file->lock);
        change.generation = file->generation;
        file->parts[target->slot].kind = PART_BLOCKED;
        mutex_unlock(&file->lock);
        (void)view_update(files_view(file->files), file->id, change_failed, &change); /* unrecorded, it is tried again */
}

/* --- judging the final name --- */

int part_judge(struct file *file, struct target *target, const struct node_record *node, const char *path, int *ret_verdict)
{
        struct context *context = context_of(file);
        struct view *view = files_view(file->files);
        enum verdict verdict;
        struct name_record name;
        struct statx stat;
        int found = root_stat(&target->root, path, &stat);
        int result;

        if (found < 0 && found != -ENOENT)
                return found;
        result = view_primary_name(view, node, &name);
        if (result < 0)
                return result;
        verdict = judge_target(node, &name, true, target->slot, found == 0 ? &stat : NULL, options_existing(context->options),
                               judge_clock_of(context, target));
        result = judge_apply(view, node->parent, node->name, target->slot, verdict);
        if (result < 0)
                return result;
        if (verdict == VERDICT_CONFLICT)
                problem_conflict(view, file->id, target);
        *ret_verdict = (int)verdict;
        return 0;
}

/* --- opening --- */

struct partial_change {
        unsigned slot;
        uint64_t generation;
};

static bool change_partial(void *context, struct node_record *node)
{
        const struct partial_change *change = context;

        if (node->generation != change->generation || (node->partial >> change->slot & 1))
                return false;
        node->partial |= 1ull << change->slot;
        return true;
}

/* The part is of `kind` from now on, with `fd` (taken over where it is). */
static int install(struct file *file, struct target *target, uint64_t generation, enum part_kind kind, bool dirty, int *fd)
{
        struct file_part *part = &file->parts[target->slot];

        MUTEX_SCOPE(&file->lock);
        if (file->generation != generation || part->kind != PART_UNKNOWN)
                return PART_NOT_WANTED;
        part->kind = kind;
        part->dirty = dirty;
        if (fd && *fd >= 0) {
                if (part->fd >= 0) /* a reader opened the finished file before it was found to be lacking something */
                        (void)dup3(*fd, part->fd, O_CLOEXEC); /* both stay valid; without it the old one serves no one */
                else
                        part->fd = fd_steal(fd);
        }
        return 0;
}

static int reopen_partial(struct file *file, struct target *target, uint64_t generation, uint64_t size)
{
        char name[PART_NAME_BYTES];
        cleanup(fd_close) int fd = -1;
        struct stat stat;

        part_name(context_of(file), file->id, generation, name);
        if (target->partial_fd < 0)
                return -ENOENT;
        fd = openat(target->partial_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &stat) < 0)
                return -errno;
        if (!S_ISREG(stat.st_mode) || (uint64_t)stat.st_size != size)
                return -ENOENT; /* not what was left here */
        return install(file, target, generation, PART_PARTIAL, true, &fd);
}

static int create_partial(struct file *file, struct target *target, uint64_t generation, uint64_t size)
{
        struct partial_change change = { .slot = target->slot, .generation = generation };
        char name[PART_NAME_BYTES];
        cleanup(fd_close) int fd = -1;
        int result;

        part_name(context_of(file), file->id, generation, name);
        if (target->partial_fd < 0)
                return -ENODEV;
        if (unlinkat(target->partial_fd, name, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(target->partial_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)size) < 0)
                return -errno;
        /* The record that names the generation is in the same or an earlier commit than the first mark: both are applied in
         * this order, and a commit is a prefix of what was applied. */
        result = view_update(files_view(file->files), file->id, change_partial, &change);
        return result < 0 ? result : install(file, target, generation, PART_PARTIAL, false, &fd);
}

static int open_for_compare(struct file *file, struct target *target, uint64_t generation, const char *path)
{
        cleanup(fd_close) int fd = io_open_source(target->root.fd, path);

        return fd < 0 ? fd : install(file, target, generation, PART_COMPARE, false, &fd);
}

static bool change_gone(void *context, struct node_record *node)
{
        const struct partial_change *change = context;
        uint64_t bit = 1ull << change->slot;

        if (node->generation != change->generation || !(node->partial & node->complete & bit))
                return false;
        node->partial &= ~bit;
        node->verified &= ~bit;
        node->flags |= VIEW_NODE_VERIFY;
        return true;
}

/* The partial file was published just before a crash, or was removed: what has the final name tells. But not whether that is a bad copy that it was to
 * replace (marks_condemn): so that is read back. */
static int partial_is_gone(struct file *file, struct target *target, struct node_record *node)
{
        struct partial_change change = { .slot = target->slot, .generation = node->generation };
        struct view *view = files_view(file->files);
        struct name_record name;

        if (!(node->complete >> target->slot & 1) || view_primary_name(view, node, &name) < 0 ||
            !(name.published >> target->slot & 1))
                return 0;
        (void)change_gone(&change, node); /* what the caller goes on with */
        return view_update(view, file->id, change_gone, &change);
}

static int forget_marks(struct file *file, struct target *target)
{
        struct context *context = context_of(file);
        int result = marks_forget_slot(file, target->slot);

        if (result == 0)
                context->work_found(context->callback_context); /* who fills the file may have passed these chunks by */
        return result;
}

static int prepare(struct file *file, struct target *target, uint64_t generation)
{
        cleanup(pointer_free) char *path = NULL;
        struct node_record node;
        int result = view_node(files_view(file->files), file->id, &node);
        int verdict;

        if (result < 0)
                return result;
        if (node.generation != generation)
                return PART_NOT_WANTED;
        if (node.partial >> target->slot & 1) {
                result = reopen_partial(file, target, generation, node.size);
                if (result != -ENOENT)
                        return result;
                result = partial_is_gone(file, target, &node);
                if (result < 0)
                        return result;
        }
        result = view_path(files_view(file->files), file->id, &path);
        if (result == 0)
                result = part_judge(file, target, &node, target_path_of(target, path), &verdict);
        if (result < 0)
                return result;
        switch ((enum verdict)verdict) {
        case VERDICT_EQUAL:
        case VERDICT_OURS:
                return PART_NOT_WANTED; /* the caller finds it finished in the records */
        case VERDICT_CONFLICT:
                (void)install(file, target, generation, PART_BLOCKED, false, NULL); /* positive only: another generation */
                return PART_NOT_WANTED;
        case VERDICT_COMPARE:
                if ((node.partial | node.complete) >> target->slot & 1) {
                        result = forget_marks(file, target);
                        if (result < 0)
                                return result;
                }
                return open_for_compare(file, target, generation, target_path_of(target, path));
        case VERDICT_AS_RECORDED:
                if (node.complete >> target->slot & 1)
                        return PART_NOT_WANTED;
                break;
        case VERDICT_LACKING:
        case VERDICT_LOST:
        case VERDICT_REPLACE:
                break;
        }
        result = (node.partial | node.complete) >> target->slot & 1 ? forget_marks(file, target) : marks_forget_slot(file, target->slot);
        return result < 0 ? result : create_partial(file, target, generation, node.size);
}

/* After a verdict that it is there: every chunk counts. */
static void adopt_finished(struct file *file, struct target *target, uint64_t generation)
{
        struct file_part *part = &file->parts[target->slot];

        MUTEX_SCOPE(&file->lock);
        if (file->generation != generation || part->kind != PART_UNKNOWN)
                return;
        if (bitmap_set_all(&part->written) == 0 && bitmap_set_all(&part->present) == 0)
                part->kind = PART_FINISHED;
}

int part_prepare(struct file *file, struct target *target, uint64_t generation)
{
        struct node_record node;
        struct name_record name;
        enum part_kind kind;
        int result;

        mutex_lock(&file->lock);
        kind = file->parts[target->slot].kind;
        result = file->generation == generation ? 0 : PART_NOT_WANTED;
        mutex_unlock(&file->lock);
        if (result != 0)
                return result;
        if (kind == PART_PARTIAL || kind == PART_COMPARE)
                return 0;
        if (kind != PART_UNKNOWN)
                return PART_NOT_WANTED;
        result = prepare(file, target, generation);
        if (result == PART_NOT_WANTED && view_node(files_view(file->files), file->id, &node) == 0 &&
            view_primary_name(files_view(file->files), &node, &name) == 0 &&
            view_finished(&node, &name) >> target->slot & 1)
                adopt_finished(file, target, generation);
        return result;
}

/* --- bytes --- */

static bool is_zero(const uint8_t *data, size_t size)
{
        return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* A hole is a hole only where the file has not ended before. */
static int is_within(int fd, uint64_t end, bool *ret_within)
{
        struct stat stat;

        if (fstat(fd, &stat) < 0)
                return -errno;
        *ret_within = (uint64_t)stat.st_size >= end;
        return 0;
}

static int compare(int fd, uint64_t offset, const uint8_t *data, uint64_t length, bool *ret_equal)
{
        cleanup(pointer_free) uint8_t *buffer = malloc(COMPARE_BYTES);
        uint64_t start, end;

        if (!buffer)
                return -ENOMEM;
        *ret_equal = true;
        if (!data && io_next_data(fd, offset, offset + length, &start, &end) == IO_NO_DATA)
                return is_within(fd, offset + length, ret_equal);
        for (uint64_t done = 0; done < length && *ret_equal;) {
                size_t size = length - done < COMPARE_BYTES ? (size_t)(length - done) : COMPARE_BYTES;
                int64_t count = io_read_full(fd, buffer, size, offset + done);

                if (count < 0)
                        return (int)count;
                *ret_equal = (size_t)count == size &&
                             (data ? memcmp(buffer, data + done, size) == 0 : is_zero(buffer, size));
                done += size;
        }
        return 0;
}

/* It is nothing that cvv knows, whatever was thought of it before. */
static bool change_differs(void *context, struct node_record *node, struct name_record *name)
{
        uint64_t bit = 1ull << *(const unsigned *)context;

        name->published &= ~bit;
        name->conflict |= bit;
        node->complete &= ~bit;
        node->verified &= ~bit;
        node->skipped &= ~bit;
        node->conflict |= bit;
        return true;
}

int part_differs(struct file *file, struct target *target)
{
        struct view *view = files_view(file->files);
        struct node_record node;
        int result = view_node(view, file->id, &node);

        mutex_lock(&file->lock);
        file->parts[target->slot].kind = PART_BLOCKED;
        mutex_unlock(&file->lock);
        if (result == 0)
                result = view_update_name(view, node.parent, node.name, change_differs, &target->slot);
        if (result == 0)
                problem_conflict(view, file->id, target);
        return result < 0 ? result : PART_NOT_WANTED;
}

/* A hole where other bytes may lie already. */
static int clear_range(int fd, uint64_t offset, uint64_t length)
{
        static const uint8_t zeros[65536];

        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) == 0)
                return 0;
        if (errno != EOPNOTSUPP && errno != ENOSYS)
                return -errno;
        for (uint64_t done = 0; done < length;) {
                size_t size = length - done < sizeof(zeros) ? (size_t)(length - done) : sizeof(zeros);
                int result = io_write_full(fd, zeros, size, offset + done);

                if (result < 0)
                        return result;
                done += size;
        }
        return 0;
}

bool part_is_compared(struct file *file, unsigned slot)
{
        MUTEX_SCOPE(&file->lock);
        return file->parts[slot].kind == PART_COMPARE;
}

int part_put(struct file *file, struct target *target, uint64_t generation, uint64_t offset, const void *data, uint64_t length)
{
        struct file_part *part = &file->parts[target->slot];
        enum part_kind kind;
        bool equal, dirty;
        int result, fd;

        mutex_lock(&file->lock);
        kind = file->generation == generation ? part->kind : PART_UNKNOWN;
        dirty = part->dirty;
        fd = part->fd;
        mutex_unlock(&file->lock);
        if (kind == PART_PARTIAL && !data)
                return dirty ? clear_range(fd, offset, length) : 0;
        if (kind == PART_PARTIAL) {
                steps_begin(STEP_WRITE);
                result = io_write_full(fd, data, length, offset);
                steps_end(STEP_WRITE);
                return result;
        }
        if (kind != PART_COMPARE)
                return PART_NOT_WANTED;
        result = compare(fd, offset, data, length, &equal);
        if (result < 0)
                return result;
        return equal ? 0 : part_differs(file, target);
}

int part_set_metadata(struct file *file, struct target *target)
{
        struct file_part *part = &file->parts[target->slot];
        cleanup(file_facts_release) struct file_facts *facts = NULL;
        uint64_t generation, epoch;
        unsigned lost = 0;
        int result, fd;

        mutex_lock(&file->lock);
        generation = part->kind == PART_PARTIAL ? file->generation : UINT64_MAX;
        epoch = file->epoch;
        fd = part->fd;
        mutex_unlock(&file->lock);
        facts = file_facts_get(file, generation);
        if (!facts)
                return 0; /* it comes again with them */
        result = metadata_apply(fd, &facts->metadata, &lost);
        if (result < 0)
                return result;
        problem_lost(files_view(file->files), target, lost);
        MUTEX_SCOPE(&file->lock);
        if (file->generation == generation && file->epoch == epoch)
                part->metadata_set = true;
        return 0;
}

/* --- objects without data --- */

/* Why an object could not be made. exfat-fuse makes a plain file, sees that it is no FIFO, and says EIO: but that is no device that fails. */
static int inability(struct file *file, struct target *target, const char *name, int error)
{
        struct stat stat;

        if (error == -EIO && fstatat(target->partial_fd, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
            (stat.st_mode & S_IFMT) != (file->mode & S_IFMT)) {
                (void)unlinkat(target->partial_fd, name, 0); /* the next sweep finds it */
                error = -EOPNOTSUPP;
        }
        if (problem_is_inability(error))
                problem_lost(files_view(file->files), target, S_ISLNK(file->mode) ? PROBLEM_SYMLINK : PROBLEM_SPECIAL);
        return error;
}

static int make_special(struct file *file, struct target *target, uint64_t generation, const char *name)
{
        cleanup(file_facts_release) struct file_facts *facts = file_facts_get(file, generation);
        const struct statx *stat;
        unsigned lost = 0;
        int result;

        if (!facts)
                return PART_NOT_WANTED; /* of another generation by now */
        stat = &facts->metadata.stat;
        if (unlinkat(target->partial_fd, name, 0) < 0 && errno != ENOENT)
                return -errno;
        if (facts->link_text)
                result = symlinkat(facts->link_text, target->partial_fd, name);
        else
                result = mknodat(target->partial_fd, name, (stat->stx_mode & S_IFMT) | 0600,
                                 makedev(stat->stx_rdev_major, stat->stx_rdev_minor));
        if (result < 0)
                return inability(file, target, name, -errno);
        result = metadata_apply_at(target->partial_fd, name, &facts->metadata, &lost);
        if (result == 0)
                problem_lost(files_view(file->files), target, lost);
        return result;
}

static int make_object(struct file *file, struct target *target, uint64_t generation)
{
        struct partial_change change = { .slot = target->slot, .generation = generation };
        cleanup(pointer_free) char *path = NULL;
        char name[PART_NAME_BYTES];
        struct node_record node;
        int result = view_node(files_view(file->files), file->id, &node);
        int verdict = 0;

        if (result == 0)
                result = view_path(files_view(file->files), file->id, &path);
        if (result == 0 && S_ISDIR(file->mode))
                return directories_make(files_view(file->files), target, file->id, false);
        if (result == 0)
                result = part_judge(file, target, &node, target_path_of(target, path), &verdict);
        if (result < 0)
                return result;
        if (verdict == VERDICT_EQUAL || verdict == VERDICT_OURS || verdict == VERDICT_CONFLICT ||
            (verdict == VERDICT_AS_RECORDED && (node.complete >> target->slot & 1)))
                return PART_NOT_WANTED;
        part_name(context_of(file), file->id, generation, name);
        result = target->partial_fd < 0 ? -ENODEV : make_special(file, target, generation, name);
        return result != 0 ? result : view_update(files_view(file->files), file->id, change_partial, &change);
}

int part_make_whole(struct file *file, struct target *target, uint64_t generation)
{
        bool all_written;
        int result;

        if (!S_ISREG(file->mode))
                return make_object(file, target, generation);
        mutex_lock(&file->lock);
        all_written = file->generation == generation && bitmap_is_full(&file->parts[target->slot].written);
        mutex_unlock(&file->lock);
        if (!all_written)
                return PART_NOT_WANTED;
        result = part_prepare(file, target, generation);
        return result == 0 ? part_set_metadata(file, target) : result;
}
