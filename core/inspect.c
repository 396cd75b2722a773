#include "core/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/attempts.h"
#include "core/cleanup.h"
#include "core/holders.h"
#include "core/io.h"
#include "core/judge.h"
#include "core/marks.h"
#include "core/metadata_rules.h"
#include "core/need.h"
#include "core/part.h"
#include "core/problem.h"

static struct need need_now(const struct inspector *inspector, const struct node_record *node)
{
        return need_of(inspector->context->options, node, inspector->context->target_mask);
}

/* --- links and special files --- */

static int read_link(int root_fd, const char *path, char **ret_text)
{
        cleanup(fd_close) int fd = io_open_beneath(root_fd, path, O_PATH | O_NOFOLLOW, 0);
        cleanup(pointer_free) char *text = calloc(1, PATH_MAX);

        if (fd < 0 || !text)
                return fd < 0 ? fd : -ENOMEM;
        if (readlinkat(fd, "", text, PATH_MAX - 1) < 0)
                return -errno;
        *ret_text = pointer_steal(&text);
        return 0;
}

static bool is_same_special(const struct node_record *node, const struct statx *stat)
{
        if ((node->mode & S_IFMT) != (stat->stx_mode & S_IFMT))
                return false;
        return !(S_ISCHR(node->mode) || S_ISBLK(node->mode)) || makedev(stat->stx_rdev_major, stat->stx_rdev_minor) == node->rdev;
}

/* Compares the texts of a link in the source and on the target. 0, -EBADMSG: they differ, -ENODATA: the source does not give it. */
static int compare_links(struct inspector *inspector, struct file *file, const char *path)
{
        cleanup(pointer_free) char *source_path = NULL, *text = NULL, *source_text = NULL;
        int result = view_source_path(inspector->view, file->id, &source_path);

        if (result == 0)
                result = read_link(inspector->context->source->fd, source_path, &source_text);
        if (result < 0)
                return -ENODATA;
        result = read_link(inspector->target->root.fd, path, &text);
        return result < 0 ? result : strcmp(text, source_text) == 0 ? 0 : -EBADMSG;
}

static int look_at_special(struct inspector *inspector, struct file *file, const struct node_record *node)
{
        unsigned slot = inspector->target->slot;
        cleanup(pointer_free) char *final_path = NULL;
        char name[PART_NAME_BYTES], partial_path[PART_NAME_BYTES + 16];
        const char *path;
        struct statx stat;
        int result = view_path(inspector->view, file->id, &final_path);

        part_name(inspector->context, file->id, node->generation, name);
        (void)snprintf(partial_path, sizeof(partial_path), ".cvv/partial/%s", name); /* fits */
        if (result < 0)
                return result;
        path = node->partial >> slot & 1 ? partial_path : target_path_of(inspector->target, final_path);
        result = root_stat(&inspector->target->root, path, &stat);
        if (result < 0)
                return result == -ENOENT ? -EBADMSG : result;
        if (!is_same_special(node, &stat))
                return -EBADMSG;
        return S_ISLNK(node->mode) && inspector->context->source ? compare_links(inspector, file, path) : 0;
}

/* --- the source --- */

static int source_differs(struct look *look, uint64_t chunk, int error)
{
        (void)look;
        (void)chunk;
        return error;
}

static int check_version(int fd, const struct node_record *node)
{
        struct stat stat;

        if (fstat(fd, &stat) < 0)
                return -errno;
        return (uint64_t)stat.st_size == node->size &&
                               stat.st_mtim.tv_sec * 1000000000ll + stat.st_mtim.tv_nsec == node->mtime_ns &&
                               stat.st_ctim.tv_sec * 1000000000ll + stat.st_ctim.tv_nsec == node->ctime_ns
                       ? 0
                       : -ESTALE;
}

/* 0, -ESTALE (it changed), -EBADMSG (other bytes with the same size and times), or the error of reading. */
static int reread_regular(struct inspector *inspector, struct file *file, const struct node_record *node, const char *path)
{
        struct root *source = inspector->context->source;
        cleanup(fd_close) int fd = io_open_source(source->fd, path);
        struct look look;
        int result = fd >= 0 ? check_version(fd, node) : fd == -ENOENT || fd == -EINVAL || fd == -ELOOP ? -ESTALE : fd;

        if (result < 0)
                return result;
        result = look_begin(&look, inspector, file, node, true);
        look.adopts = !(node->flags & VIEW_NODE_HASHED);
        look_want_digest(&look, node);
        if (result == 0)
                result = look_run(&look, fd, &source->device, source_differs);
        if ((result == 0 || result == -EBADMSG) && check_version(fd, node) < 0)
                result = -ESTALE;
        if (result == 0)
                result = look.adopts ? marks_hashed(file, node->generation) : marks_reread(file, node->generation, look.digest);
        look_end(&look);
        return result;
}

static int reread_special(struct inspector *inspector, struct file *file, const struct node_record *node, const char *path)
{
        struct statx stat;
        int result = root_stat(inspector->context->source, path, &stat);

        if (result < 0)
                return result == -ENOENT ? -ESTALE : result;
        if (!is_same_special(node, &stat) || metadata_time_ns(&stat.stx_mtime) != node->mtime_ns)
                return -ESTALE;
        return marks_reread(file, node->generation, NULL);
}

/* A changed file is a new version, as often as that is sensible; else the source does not give its bytes. */
static void source_failed(struct inspector *inspector, struct file *file, const struct node_record *node, int error)
{
        struct context *context = inspector->context;
        cleanup(pointer_free) char *path = NULL;

        if (error == -ESHUTDOWN)
                return;
        if (error == -EBADMSG && view_path(inspector->view, file->id, &path) == 0)
                events_add(context->events, "source-differs", path, 0, error_describe(-EBADMSG));
        if (error == -ESTALE || error == -EBADMSG) {
                if (attempts_add(inspector->attempts, file->id, ATTEMPTS_SOURCE) <= INSPECT_ATTEMPTS_MAX &&
                    context->drifted(context->callback_context, file->id, node->generation) == 0)
                        return;
                error = -EBADMSG;
        }
        problem_unreadable(inspector->view, file->id, error);
}

static void look_at_source(struct inspector *inspector, struct file *file, const struct node_record *node)
{
        cleanup(pointer_free) char *path = NULL;
        int result = inspector->context->source ? view_source_path(inspector->view, file->id, &path) : -EIO;

        if (result == 0)
                result = S_ISREG(node->mode) ? reread_regular(inspector, file, node, path)
                                             : reread_special(inspector, file, node, path);
        if (result < 0)
                source_failed(inspector, file, node, result);
}

/* The first thread that comes reads the source. */
static bool begin_source(struct file *file)
{
        MUTEX_SCOPE(&file->lock);
        if (file->rereading)
                return false;
        file->rereading = true;
        return true;
}

static void end_source(struct inspector *inspector, struct file *file)
{
        mutex_lock(&file->lock);
        file->rereading = false;
        mutex_unlock(&file->lock);
        MUTEX_SCOPE(&inspector->gate->lock);
        condition_broadcast(&inspector->gate->changed);
}

static bool is_rereading(struct file *file)
{
        MUTEX_SCOPE(&file->lock);
        return file->rereading;
}

static void wait_for_source(struct inspector *inspector, struct file *file)
{
        MUTEX_SCOPE(&inspector->gate->lock);
        inspector->rests = true;
        while (!inspector->gate->stopping && is_rereading(file))
                condition_wait(&inspector->gate->changed, &inspector->gate->lock);
        inspector->rests = false;
}

/* Has the source read again where that is needed: by this thread, or by one that is at it already. Then *ret_waits: it is still to be waited for. */
static int inspect_source(struct inspector *inspector, struct file *file, struct node_record *node, bool *ret_waits)
{
        *ret_waits = false;
        for (unsigned pass = 0; need_now(inspector, node).source; pass++) {
                int result;

                if (begin_source(file)) {
                        result = view_node(inspector->view, file->id, node); /* another thread may have done it just now */
                        if (result == 0 && need_now(inspector, node).source)
                                look_at_source(inspector, file, node);
                        end_source(inspector, file);
                } else if (node->flags & VIEW_NODE_HASHED) {
                        *ret_waits = true; /* there is something to compare the copy with meanwhile */
                        return 0;
                } else {
                        wait_for_source(inspector, file);
                }
                if (!gate_pass(inspector))
                        return -ESHUTDOWN;
                result = view_node(inspector->view, file->id, node);
                if (result < 0)
                        return result;
                if (pass == 2) /* a file that nobody hashed is read twice; what fails is dealt with */
                        return need_now(inspector, node).source ? -ESTALE : 0;
        }
        return 0;
}

/* --- the copy on the target --- */

bool inspect_is_finished(struct view *view, const struct node_record *node, unsigned slot)
{
        struct name_record name;

        return view_primary_name(view, node, &name) == 0 && (view_finished(node, &name) >> slot & 1);
}

/* What the records say of the source may be older than its loss. A version that changed counts: it is brought in the place of this one. */
static bool is_in_source(const struct inspector *inspector, uint64_t id, const struct node_record *node)
{
        struct context *context = inspector->context;
        cleanup(pointer_free) char *path = NULL;
        struct statx stat;

        if (!context->source || atomic_load(&context->source_absent) || !(node->flags & VIEW_NODE_SOURCE) ||
            (node->flags & VIEW_NODE_UNAVAILABLE))
                return false;
        return view_source_path(inspector->view, id, &path) == 0 && root_stat(context->source, path, &stat) == 0 &&
               (stat.stx_mode & S_IFMT) == (node->mode & S_IFMT);
}

/* Another place has it: the source, or a healthy target. */
static bool is_elsewhere(const struct inspector *inspector, uint64_t id, const struct node_record *node)
{
        struct context *context = inspector->context;

        if (is_in_source(inspector, id, node))
                return true;
        for (CONTEXT_EACH_TARGET(context, node->complete & ~(1ull << inspector->target->slot), target))
                if (target_serves_reads(target))
                        return true;
        return false;
}

static bool change_unproven(void *context, struct node_record *node)
{
        if (node->generation != *(const uint64_t *)context || (node->flags & VIEW_NODE_UNPROVEN))
                return false;
        node->flags |= VIEW_NODE_UNPROVEN;
        return true;
}

/* The copy cannot be shown to be good, or is bad and stays so. `generation`: what was looked at. */
static void give_up(struct inspector *inspector, struct file *file, uint64_t generation, int error, const char *what)
{
        (void)view_update(inspector->view, file->id, change_unproven, &generation); /* unrecorded, it is said all the same */
        part_fail(file, inspector->target, error, what);
}

/* A file under its final name that does not read back as it was written. */
static int finished_differs(struct inspector *inspector, struct file *file, const struct node_record *node, uint64_t chunk)
{
        struct target *target = inspector->target;

        if (!is_elsewhere(inspector, file->id, node)) {
                (void)marks_lacking(file, target->slot, chunk, node->generation); /* no reader gets it from here */
                give_up(inspector, file, node->generation, -EILSEQ, "read back (no other place has it)");
                return 0;
        }
        (void)marks_condemn(file, target->slot, node->generation); /* unrecorded, it is found again */
        (void)view_queue(inspector->view, file->id, VIEW_QUEUE_ASKED);
        return -EILSEQ;
}

/* 0: the reading goes on, as what differs is mended chunk by chunk; else the copy as a whole is dealt with. */
static int copy_differs(struct look *look, uint64_t chunk, int error)
{
        struct inspector *inspector = look->inspector;
        struct target *target = inspector->target;
        struct file *file = look->file;
        cleanup(pointer_free) char *path = NULL;
        struct node_record node;
        char detail[64];

        if (view_path(inspector->view, file->id, &path) < 0 || view_node(inspector->view, file->id, &node) < 0 ||
            node.generation != look->generation)
                return -ESTALE;
        (void)snprintf(detail, sizeof(detail), "chunk %" PRIu64 ": %s", chunk, error_describe(error == -EBADMSG ? -EILSEQ : error)); /* cut */
        target_note_error(target, error == -EBADMSG ? -EILSEQ : error, "read back", path);
        events_add(inspector->context->events, "mismatch", path, (int)target->n, detail);
        if (part_is_compared(file, target->slot) || (node.skipped >> target->slot & 1)) {
                (void)part_differs(file, target); /* said there */
                return -EILSEQ;
        }
        if (look->bad == 1 && attempts_add(inspector->attempts, file->id, target->slot) > INSPECT_ATTEMPTS_MAX) {
                give_up(inspector, file, look->generation, -EILSEQ, "read back");
                return -EILSEQ;
        }
        if (inspect_is_finished(inspector->view, &node, target->slot))
                return finished_differs(inspector, file, &node, chunk);
        if (look->bad == 1 && !(node.flags & VIEW_NODE_QUEUED))
                (void)view_queue(inspector->view, file->id, VIEW_QUEUE_ASKED); /* also where nothing but a reader brought it */
        if (look->chunk_count == 0)
                (void)marks_forget_slot(file, target->slot);
        else
                (void)marks_lacking(file, target->slot, chunk, look->generation); /* unrecorded, it is found again */
        return 0;
}

/* What has the name on the target is not what was published there: the records learn what it is. */
static int judge_again(struct inspector *inspector, struct file *file, const struct node_record *node)
{
        cleanup(pointer_free) char *path = NULL;
        int verdict, result = view_path(inspector->view, file->id, &path);

        inspector_in_device(inspector, true);
        if (result == 0)
                result = part_judge(file, inspector->target, node, target_path_of(inspector->target, path), &verdict);
        inspector_in_device(inspector, false);
        return result < 0 ? result : -ESTALE;
}

/* Who reads the file may have had it open since before something else got its name, or before somebody wrote to it. 0, or -ESTALE: it is another
 * version. */
static int forget_replaced(struct inspector *inspector, struct file *file, const struct node_record *node)
{
        struct target *target = inspector->target;
        struct file_part *part = &file->parts[target->slot];
        cleanup(pointer_free) char *path = NULL;
        struct node_version seen;
        struct stat stat = { 0 };
        struct statx now;
        int result = view_path(inspector->view, file->id, &path);

        if (result == 0)
                result = root_call_stat(&target->root, target_path_of(target, path), &now);
        if (result < 0)
                return result;
        seen = (struct node_version){ .size = now.stx_size, .mtime_ns = metadata_time_ns(&now.stx_mtime) };
        if (!judge_is_as_published(node, target->slot, &seen, judge_clock_of(inspector->context, target)))
                return -ESTALE;
        MUTEX_SCOPE(&file->lock);
        if (file->generation == node->generation && part->kind == PART_FINISHED && part->fd >= 0 && fstat(part->fd, &stat) == 0 &&
            (stat.st_ino != now.stx_ino || stat.st_dev != makedev(now.stx_dev_major, now.stx_dev_minor)))
                file_retire_part_locked(file, target->slot);
        return 0;
}

/* A descriptor of the copy, the partial file or the finished one; the caller closes it. */
static int open_copy(struct inspector *inspector, struct file *file, const struct node_record *node)
{
        unsigned slot = inspector->target->slot;
        int fd = -1, result = 0;

        if (inspect_is_finished(inspector->view, node, slot))
                result = forget_replaced(inspector, file, node);
        else
                holders_open(file);
        if (result == 0 && inspect_is_finished(inspector->view, node, slot))
                result = holders_open_finished(file, inspector->target, node);
        if (result == -ESTALE || result == -ENOENT)
                return judge_again(inspector, file, node);
        if (result < 0)
                return result;
        MUTEX_SCOPE(&file->lock);
        if (file->generation == node->generation && file->parts[slot].fd >= 0)
                fd = fcntl(file->parts[slot].fd, F_DUPFD_CLOEXEC, 3);
        return fd >= 0 ? fd : -ESTALE;
}

static bool is_as_published(const struct inspector *inspector, const struct node_record *node, const struct stat *stat)
{
        struct node_version seen = { .size = (uint64_t)stat->st_size, .mtime_ns = metadata_timespec_ns(&stat->st_mtim) };

        return judge_is_as_published(node, inspector->target->slot, &seen, judge_clock_of(inspector->context, inspector->target));
}

static int look_at_regular(struct look *look, const struct node_record *node)
{
        struct inspector *inspector = look->inspector;
        cleanup(fd_close) int fd = -1;
        struct stat stat;
        int result;

        look_want_digest(look, node);
        if (node->size == 0)
                return 0; /* its size was looked at when it was found or made */
        fd = open_copy(inspector, look->file, node);
        if (fd < 0)
                return fd;
        result = marks_reading(look->file, inspector->target->slot, look->generation, &look->serial); /* to open it may have changed that */
        if (result == 0)
                result = look_run(look, fd, &inspector->target->root.device, copy_differs);
        if (result == 0 && fstat(fd, &stat) < 0)
                result = -errno;
        if (result < 0)
                return result;
        if (look->bad > 0)
                return -EILSEQ;
        if (inspect_is_finished(inspector->view, node, inspector->target->slot) && !is_as_published(inspector, node, &stat))
                return judge_again(inspector, look->file, node); /* somebody writes to it */
        if ((uint64_t)stat.st_size == node->size)
                return 0;
        look->bad = 1;
        (void)copy_differs(look, look->chunk_count - 1, -EBADMSG); /* either way it is dealt with */
        return -EILSEQ;
}

/* 0: the copy is good, which is still to be recorded. */
static int look_at_copy(struct look *look, const struct node_record *node)
{
        struct inspector *inspector = look->inspector;
        int result = marks_reading(look->file, inspector->target->slot, look->generation, &look->serial);

        if (result < 0 || S_ISREG(node->mode))
                return result < 0 ? result : look_at_regular(look, node);
        inspector_in_device(inspector, true);
        result = look_at_special(inspector, look->file, node);
        inspector_in_device(inspector, false);
        if (result != -EBADMSG)
                return result;
        look->bad = 1;
        (void)copy_differs(look, 0, -EBADMSG); /* either way it is dealt with */
        return -EILSEQ;
}

static void say_repaired(struct inspector *inspector, struct file *file)
{
        cleanup(pointer_free) char *path = NULL;

        if (attempts_repaired(inspector->attempts, file->id, inspector->target->slot) &&
            view_path(inspector->view, file->id, &path) == 0)
                events_add(inspector->context->events, "repaired", path, (int)inspector->target->n, NULL);
}

/* Records that the copy is good. `wanted`: that was what it was read for, not its digest alone. */
static int copy_is_good(struct look *look, bool wanted)
{
        struct inspector *inspector = look->inspector;
        struct target *target = inspector->target;
        unsigned method = look->size > 0 ? inspector->readback.method : READBACK_NONE;

        if (look->digest)
                (void)marks_digest(look->file, look->generation, look->digest); /* unrecorded, it is made another time */
        if (!wanted)
                return 0;
        if (method == READBACK_CACHE) {
                give_up(inspector, look->file, look->generation, -EOPNOTSUPP, "read back past the cache");
                return -EOPNOTSUPP;
        }
        target_note_verify_method(target, method);
        say_repaired(inspector, look->file);
        return marks_verified(look->file, target->slot, look->generation, look->serial, method, &look->counted);
}

/* One copy is enough to make a digest from: the first that can be read. */
static bool gives_digest(const struct inspector *inspector, uint64_t slots)
{
        for (CONTEXT_EACH_TARGET(inspector->context, slots, target))
                if (target_serves_reads(target))
                        return target == inspector->target;
        return false;
}

static int inspect_copy(struct inspector *inspector, struct file *file, struct node_record *node, bool waits)
{
        struct need need = need_now(inspector, node);
        unsigned slot = inspector->target->slot;
        bool wanted = need.read_back >> slot & 1;
        bool for_digest = need.digest && !need.source && gives_digest(inspector, need.slots);
        struct look look;
        int result = look_begin(&look, inspector, file, node, false);

        look.counts = wanted;
        if (result == 0 && (wanted || for_digest))
                result = look_at_copy(&look, node);
        if (result == 0 && waits) {
                wait_for_source(inspector, file);
                result = gate_pass(inspector) ? view_node(inspector->view, file->id, node) : -ESHUTDOWN;
                if (result == 0 && (node->generation != look.generation || !(node->flags & VIEW_NODE_REREAD)))
                        result = -ESTALE;
        }
        if (result == 0)
                result = copy_is_good(&look, wanted);
        if (result == 0)
                result = view_node(inspector->view, file->id, node);
        look_end(&look);
        return result;
}

/* Hashes that are said to be recorded, and are not (a damaged record): they are made anew, from the source. */
static bool lacks_hashes(struct file *file, const struct node_record *node)
{
        MUTEX_SCOPE(&file->lock);
        return (node->flags & VIEW_NODE_HASHED) && file->generation == node->generation && !bitmap_is_full(&file->hashed);
}

/* Where it was met; or it is this process that lacks something, and no fault of the target's. */
static bool is_dealt_with(int result)
{
        return result == -EILSEQ || result == -ESTALE || result == -ESHUTDOWN || result == -EBADMSG || result == -EOPNOTSUPP ||
               result == -EMFILE || result == -ENFILE || result == -ENOMEM;
}

int inspect_file(struct inspector *inspector, struct file *file, struct node_record *ret_node)
{
        struct node_record node;
        bool waits = false;
        int result = view_node(inspector->view, file->id, &node);

        if (result == 0 && lacks_hashes(file, &node)) {
                result = marks_unhashed(file, node.generation);
                if (result == 0)
                        result = view_node(inspector->view, file->id, &node);
        }
        if (result == 0)
                result = inspect_source(inspector, file, &node, &waits);
        if (result == 0)
                result = inspect_copy(inspector, file, &node, waits);
        if (result < 0 && !is_dealt_with(result))
                give_up(inspector, file, node.generation, result, "read back");
        *ret_node = node;
        return result;
}
