#include "core/chunkmove.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/fileread.h"
#include "core/io.h"
#include "core/log.h"
#include "core/marks.h"
#include "core/metadata_rules.h"
#include "core/part.h"
#include "core/wholemove.h"

enum {
        PATIENCE_MS = 250, /* a target whose writes take longer is not waited for */
        READER_PATIENCE_MS = 200,/* so long a reader waits for the room for one piece, in all */
        GRUDGE_MS = 1000,  /* so long no reader waits for a target that was waited for in vain */
        BARREN_MAX = 3,    /* reads of a file that is longer and gives nothing */
        OFFERS_MAX = 64,   /* other movers may take the room that was waited for */
        HOLE_JOB_BYTES = 4096, /* what a hole counts in a queue: it holds no buffer, and yet a hung target is not given millions */
};

#define SETTLE_NS 50000000ll

static struct context *context_of(const struct file *file)
{
        return files_context(file->files);
}

/* --- what runs on the targets' writer threads --- */

struct block_job {
        struct target_job base;
        struct move *move;       /* with a reference */
        struct block *block;     /* with a reference; NULL: a hole */
        const uint8_t *data;     /* in the block */
        uint64_t offset, length; /* in the file */
};

static bool is_dropped(struct move *move, unsigned slot)
{
        return atomic_load(&move->dropped) >> slot & 1;
}

static void drop_slot(struct move *move, unsigned slot)
{
        atomic_fetch_or(&move->dropped, 1ull << slot);
}

static void run_block(struct target_job *base, struct target *target, bool discard)
{
        struct block_job *job = (struct block_job *)base;
        struct move *move = job->move;
        int result = PART_NOT_WANTED;

        if (!discard && !is_dropped(move, target->slot)) {
                result = part_prepare(move->file, target, move->generation);
                if (result == 0)
                        result = part_put(move->file, target, move->generation, job->offset,
                                          job->data, job->length);
                if (result < 0)
                        part_fail(move->file, target, result, "write");
        }
        if (result == 0)
                progress_copied(&context_of(move->file)->progress, target->slot, job->length);
        else
                drop_slot(move, target->slot);
        block_unref(job->block);
        move_unref(move);
        free(job);
}

/* The whole file is written on the target: it gets its metadata before the sync that will also make that durable. */
static void all_written(struct file *file, struct target *target)
{
        int result = part_set_metadata(file, target);

        if (result < 0)
                part_fail(file, target, result, "set metadata");
}

static void run_last(struct target_job *base, struct target *target, bool discard)
{
        struct block_job *job = (struct block_job *)base;
        struct move *move = job->move;
        struct file *file = move->file;
        bool complete;

        if (file_slot_done(move, target->slot, !discard, &complete)) {
                if (complete)
                        all_written(file, target);
                (void)marks_written(file, target, move->chunk, move->generation, move->epoch, move->data_bytes); /* it did what there is to do */
        } else if (!discard) {
                struct context *context = context_of(file);

                context->work_found(context->callback_context); /* it was left out, and can have it later */
        }
        move_unref(move);
        free(job);
}

/* `data` lies in `block`; both NULL: zeros. */
static struct block_job *job_new(struct move *move, void (*run)(struct target_job *, struct target *, bool),
                                 struct block *block, const uint8_t *data, uint64_t offset, uint64_t length)
{
        struct block_job *job = calloc(1, sizeof(*job));

        if (!job)
                return NULL;
        job->base.run = run;
        job->base.bytes = !block ? HOLE_JOB_BYTES : data == block->data ? block->size : length; /* of several extents: about so */
        job->move = move;
        job->block = block ? block_ref(block) : NULL;
        job->data = data;
        job->offset = offset;
        job->length = length;
        move_ref(move);
        return job;
}

static void job_drop(struct block_job *job)
{
        block_unref(job->block);
        move_unref(job->move);
        free(job);
}

/* --- the read side --- */

struct reading {
        struct move *move;
        struct context *context;
        uint64_t aims;            /* the slots of the move; move->slots changes under the lock */
        int fd;
        struct chunk_hash hash;
        bool all_zeros;           /* the chunk is one hole: `hash` was not fed */
        uint64_t queued;          /* slots that have a job of this move */
        uint64_t data_start, data_end; /* the extent that was found last; end <= offset: look again */
        int error;
};

static bool is_hurried(void *context)
{
        struct move *move = context;
        MUTEX_SCOPE(&move->file->lock);

        return move->demand;
}

/* Waits until a target that the move aims at has a queue at most half full, or none takes anything any more. */
static void wait_for_room(struct reading *reading)
{
        struct move *move = reading->move;
        struct context *context = reading->context;

        for (;;) {
                uint64_t serial = context_room_serial(context);
                bool anybody = false, low = false;

                for (CONTEXT_EACH_TARGET(context, reading->aims & ~atomic_load(&move->dropped), target)) {
                        anybody = anybody || target_takes_writes(target);
                        low = low || target_level(target) == TARGET_QUEUE_LOW;
                }
                if (!anybody || low || atomic_load(&context->stopping) || is_hurried(move))
                        return;
                context_room_wait(context, serial);
        }
}

/* Waits for room on a target that goes on writing where none of those that took the extent (`taken`) does. For if all were left out, now
 * or when the rest of the chunk comes, it would be read from its origin again: so here even a move waits that a reader waits for, but not
 * long; *deadline_ns, 0 at first, is when its patience ends. False: there is none to wait for. */
static bool wait_for_keeper(struct reading *reading, uint64_t aims, uint64_t taken, uint64_t *deadline_ns)
{
        struct context *context = reading->context;

        for (;;) {
                uint64_t serial = context_room_serial(context), now = clock_now_ns();
                bool hurried = is_hurried(reading->move), moving = false, room = false;

                if (hurried && *deadline_ns == 0)
                        *deadline_ns = now + READER_PATIENCE_MS * 1000000ull;
                for (CONTEXT_EACH_TARGET(context, aims, target)) {
                        if (!target_is_moving(target, PATIENCE_MS) || (hurried && target_has_let_down(target, GRUDGE_MS)))
                                continue;
                        if (taken >> target->slot & 1)
                                return false;
                        moving = true;
                        room = room || target_level(target) != TARGET_QUEUE_FULL;
                }
                if (!moving || room || atomic_load(&context->stopping))
                        return room;
                if (hurried && now >= *deadline_ns) {
                        for (CONTEXT_EACH_TARGET(context, aims & ~taken, target))
                                target_let_down(target, READER_PATIENCE_MS / 2);
                        return false;
                }
                context_room_wait_until(context, serial, hurried ? *deadline_ns : now + PATIENCE_MS * 1000000ull);
        }
}

/* Offers an extent to the targets of `aims`; returns the slots that took it. */
static uint64_t offer_extent(struct reading *reading, uint64_t aims, struct block *block, const uint8_t *data, uint64_t offset,
                             uint64_t length)
{
        uint64_t taken = 0;

        for (CONTEXT_EACH_TARGET(reading->context, aims, target)) {
                struct block_job *job = job_new(reading->move, run_block, block, data, offset, length);

                if (job && target_enqueue(target, &job->base, false))
                        taken |= 1ull << target->slot;
                else if (job)
                        job_drop(job);
        }
        return taken;
}

static void queue_extent(struct reading *reading, struct block *block, const uint8_t *data, uint64_t offset, uint64_t length)
{
        struct move *move = reading->move;
        uint64_t aims = reading->aims & ~atomic_load(&move->dropped), taken, deadline_ns = 0;

        if (data)
                move->data_bytes += length; /* read when its last job runs, which is queued later */
        if (aims != 0 && !is_hurried(move))
                wait_for_room(reading);
        taken = offer_extent(reading, aims, block, data, offset, length);
        for (unsigned i = 0; taken != aims && i < OFFERS_MAX && wait_for_keeper(reading, aims, taken, &deadline_ns); i++)
                taken |= offer_extent(reading, aims & ~taken, block, data, offset, length);
        reading->queued |= taken;
        for (CONTEXT_EACH_TARGET(reading->context, aims & ~taken, target)) {
                drop_slot(move, target->slot);
                if (target_takes_writes(target))
                        reading->context->fell_behind(reading->context->callback_context, target);
        }
}

/* Every target that the move aims at hears that it is over; after its blocks, as its queue is in order. */
static void queue_last(struct reading *reading)
{
        struct move *move = reading->move;
        bool left_out = false;

        for (CONTEXT_EACH_TARGET(reading->context, reading->aims, target)) {
                bool queued = reading->queued >> target->slot & 1; /* a hung target is not given more than it holds already */
                struct block_job *job = queued ? job_new(move, run_last, NULL, NULL, 0, 0) : NULL;
                bool complete;

                if (job && target_enqueue(target, &job->base, true))
                        continue;
                drop_slot(move, target->slot); /* it is out of service: its jobs are discarded, or were never taken */
                (void)file_slot_done(move, target->slot, false, &complete); /* false: it was not good */
                if (job)
                        job_drop(job);
                left_out = left_out || target_takes_writes(target);
        }
        if (left_out && !atomic_load(&reading->context->stopping))
                reading->context->work_found(reading->context->callback_context);
}

/* Makes a block known to readers. A chunk that comes from a target is shown only when its hash was checked. */
static void show_block(struct reading *reading, size_t index, struct block *block, bool hole)
{
        struct move *move = reading->move;
        struct file *file = move->file;
        struct file_read *readers = NULL;

        mutex_lock(&file->lock);
        move->blocks[index].block = block ? block_ref(block) : NULL;
        move->blocks[index].hole = hole;
        move->blocks[index].loaded = move->origin == MOVE_ORIGIN_SOURCE && move->generation == file->generation;
        if (move->blocks[index].loaded)
                readers = file_read_take_locked(move, index);
        mutex_unlock(&file->lock);
        file_read_resume(readers, 0);
}

/* When memory is short, blocks that are with the targets already are not kept for readers too: so the movers can not wait for each
 * other with all of the memory in their hands. */
static void give_back_blocks(struct move *move)
{
        struct block *blocks[64];
        size_t count;

        do {
                count = 0;
                mutex_lock(&move->file->lock);
                for (size_t i = 0; i < move->block_count && count < 64; i++) {
                        if (!move->blocks[i].block)
                                continue;
                        blocks[count++] = move->blocks[i].block;
                        move->blocks[i] = (struct move_block){ .given_back = true };
                }
                mutex_unlock(&move->file->lock);
                for (size_t i = 0; i < count; i++)
                        block_unref(blocks[i]);
        } while (count == 64);
}

static struct block *get_block(struct reading *reading)
{
        enum bufpool_class class = is_hurried(reading->move) ? BUFPOOL_DEMAND : BUFPOOL_BACKGROUND;
        struct block *block = bufpool_get(reading->context->bufpool, class, 0);

        if (block)
                return block;
        give_back_blocks(reading->move);
        return bufpool_get(reading->context->bufpool, class, BUFPOOL_WAIT);
}

/* Whether [offset, offset + length) of the origin holds any data; what cannot be told counts as data. */
static bool has_data(struct reading *reading, uint64_t offset, uint64_t length)
{
        uint64_t end = reading->move->offset + reading->move->length;

        if (reading->data_end <= offset) {
                int result = io_next_data(reading->fd, offset, end, &reading->data_start, &reading->data_end);

                if (result < 0) {
                        reading->data_start = offset;
                        reading->data_end = end;
                } else if (result == IO_NO_DATA) {
                        reading->data_start = reading->data_end = UINT64_MAX;
                }
        }
        return reading->data_start < offset + length;
}

static bool version_holds(struct move *move, int fd);

/* A file that was cut just now looks like a hole to its end: so the version is checked before a reader sees zeros. */
static int pass_hole(struct reading *reading, size_t index, uint64_t offset, uint64_t length)
{
        static const uint8_t zeros[16384];
        struct move *move = reading->move;

        if (move->origin == MOVE_ORIGIN_SOURCE && !version_holds(move, reading->fd))
                return -ESTALE;
        for (uint64_t done = 0; done < length; done += sizeof(zeros))
                chunk_hash_update(&reading->hash, zeros, length - done < sizeof(zeros) ? length - done : sizeof(zeros));
        file_feed_digest(move->file, move->generation, offset, NULL, length);
        show_block(reading, index, NULL, true);
        queue_extent(reading, NULL, NULL, offset, length);
        return 0;
}

/* A chunk that is one hole is one piece for the targets, and its hash is known. The digests of the file are of its bytes, and so are fed the
 * zeros: there is no short cut through any of them. */
static int pass_hole_chunk(struct reading *reading)
{
        struct move *move = reading->move;

        if (move->origin == MOVE_ORIGIN_SOURCE && !version_holds(move, reading->fd))
                return -ESTALE; /* see pass_hole */
        reading->all_zeros = true;
        for (size_t i = 0; i < move->block_count; i++)
                show_block(reading, i, NULL, true);
        queue_extent(reading, NULL, NULL, move->offset, move->length);
        file_feed_digest(move->file, move->generation, move->offset, NULL, move->length);
        return 0;
}

/* Reads so many bytes. A read that comes to an end before them is no proof that the file does: network filesystems and FUSE give what they
 * have. Only where the file is not what it was is that its new end, and only where it goes on giving nothing it is damaged. */
static int read_data(struct reading *reading, uint8_t *buffer, uint64_t offset, uint64_t length)
{
        uint64_t done = 0;
        unsigned barren = 0;

        for (;;) {
                int64_t count = io_read_full(reading->fd, buffer + done, length - done, offset + done);

                if (count < 0)
                        return (int)count;
                done += (uint64_t)count;
                if (done == length)
                        return 0;
                if (reading->move->origin != MOVE_ORIGIN_SOURCE)
                        return -EBADMSG; /* a file of cvv's own that somebody cut */
                if (!version_holds(reading->move, reading->fd)) /* asks for the size, too: the kernel may have believed the short read */
                        return -ESTALE;
                barren = count > 0 ? 0 : barren + 1;
                if (barren == BARREN_MAX)
                        return -EIO;
        }
}

/* The data extents of a block, in order; what lies between them are holes. */
struct extents {
        size_t count;
        struct {
                uint64_t start, end;
        } list[BUFPOOL_BLOCK_BYTES / 4096];
};

/* Reads the data of a block; holes in it become zeros in memory, and are not written to the targets. */
static int read_extents(struct reading *reading, struct block *block, uint64_t offset, uint64_t length, struct extents *extents)
{
        uint64_t at = offset, end = offset + length;

        extents->count = 0;
        while (at < end) {
                uint64_t start, stop;
                int result;

                if (!has_data(reading, at, end - at)) {
                        memset(block->data + (at - offset), 0, end - at);
                        return 0;
                }
                start = reading->data_start > at ? reading->data_start : at;
                stop = reading->data_end < end ? reading->data_end : end;
                if (extents->count + 1 == sizeof(extents->list) / sizeof(extents->list[0]))
                        stop = end; /* smaller pieces than pages: the rest is taken as data */
                memset(block->data + (at - offset), 0, start - at);
                result = read_data(reading, block->data + (start - offset), start, stop - start);
                if (result < 0)
                        return result;
                extents->list[extents->count].start = start;
                extents->list[extents->count++].end = stop;
                at = stop;
        }
        return 0;
}

static void queue_block(struct reading *reading, struct block *block, uint64_t offset, uint64_t length,
                        const struct extents *extents)
{
        uint64_t at = offset;

        for (size_t i = 0; i < extents->count; i++) {
                uint64_t start = extents->list[i].start, end = extents->list[i].end;

                if (start > at)
                        queue_extent(reading, NULL, NULL, at, start - at);
                queue_extent(reading, block, block->data + (start - offset), start, end - start);
                at = end;
        }
        if (at < offset + length)
                queue_extent(reading, NULL, NULL, at, offset + length - at);
}

static int read_block(struct reading *reading, size_t index, uint64_t offset, uint64_t length)
{
        struct move *move = reading->move;
        struct context *context = reading->context;
        cleanup(block_release) struct block *block = NULL;
        struct extents extents;
        int result;

        if (!has_data(reading, offset, length))
                return pass_hole(reading, index, offset, length);
        if (move->origin == MOVE_ORIGIN_SOURCE)
                limiter_take(context->limiter, length, is_hurried, move);
        block = get_block(reading);
        if (!block)
                return -ESHUTDOWN;
        result = read_extents(reading, block, offset, length, &extents);
        if (result < 0)
                return result;
        block->length = length;
        if (move->origin == MOVE_ORIGIN_SOURCE) {
                if (extents.count != 1 && !version_holds(move, reading->fd))
                        return -ESTALE; /* see pass_hole */
                progress_source_read(&context->progress, length, false);
        }
        chunk_hash_update(&reading->hash, block->data, length);
        show_block(reading, index, block, false);
        file_feed_digest(move->file, move->generation, offset, block->data, length);
        queue_block(reading, block, offset, length, &extents);
        return 0;
}

static bool same_version(const struct file *file, const struct stat *stat)
{
        return (uint64_t)stat->st_size == file->size && metadata_timespec_ns(&stat->st_mtim) == file->mtime_ns &&
               metadata_timespec_ns(&stat->st_ctim) == file->ctime_ns;
}

static bool version_holds(struct move *move, int fd)
{
        struct file *file = move->file;
        struct stat stat;

        if (fstat(fd, &stat) < 0)
                return false;
        MUTEX_SCOPE(&file->lock);
        return move->generation == file->generation && same_version(file, &stat);
}

/* A write sets the times when it begins. One that began just before the first look at the file could still put bytes under the reading, and
 * the times would be the same before and after. So a file that changed this very moment is given the time that a write takes. */
static void let_writes_end(int fd)
{
        struct timespec now;
        struct stat stat;
        int64_t age_ns;

        if (fstat(fd, &stat) < 0 || clock_gettime(CLOCK_REALTIME, &now) < 0)
                return; /* the look that comes next tells */
        age_ns = (now.tv_sec - stat.st_ctim.tv_sec) * 1000000000ll + now.tv_nsec - stat.st_ctim.tv_nsec;
        if (age_ns >= 0 && age_ns < SETTLE_NS)
                (void)nanosleep(&(struct timespec){ .tv_nsec = SETTLE_NS - age_ns }, NULL); /* a shorter wait is met by the checks */
}

static int open_origin(struct reading *reading)
{
        struct move *move = reading->move;
        struct file *file = move->file;
        cleanup(pointer_free) char *path = NULL;
        int result;

        if (move->origin != MOVE_ORIGIN_SOURCE) {
                mutex_lock(&file->lock);
                reading->fd = move->generation == file->generation ? dup(file->parts[move->origin].fd) : -1;
                mutex_unlock(&file->lock);
                return reading->fd < 0 ? -ESTALE : 0;
        }
        if (!reading->context->source)
                return -EIO;
        result = view_source_path(files_view(file->files), file->id, &path);
        if (result < 0)
                return result;
        reading->fd = io_open_source(reading->context->source->fd, path);
        if (reading->fd < 0)
                return reading->fd == -ENOENT || reading->fd == -EINVAL || reading->fd == -ELOOP ? -ESTALE : reading->fd;
        let_writes_end(reading->fd);
        if (!version_holds(move, reading->fd))
                return -ESTALE;
        return wholemove_capture(file, reading->fd, move->generation);
}

static int read_chunk(struct reading *reading)
{
        struct move *move = reading->move;
        int result = open_origin(reading);
        bool hole;

        if (result == 0 && io_is_dense(reading->fd))
                reading->data_end = UINT64_MAX;
        hole = result == 0 && move->length > 0 && !has_data(reading, move->offset, move->length);
        if (hole)
                result = pass_hole_chunk(reading);
        for (size_t i = 0; i < move->block_count && result == 0 && !hole; i++) {
                uint64_t begin = (uint64_t)i * BUFPOOL_BLOCK_BYTES;
                uint64_t length = move->length - begin < BUFPOOL_BLOCK_BYTES ? move->length - begin : BUFPOOL_BLOCK_BYTES;

                result = read_block(reading, i, move->offset + begin, length);
        }
        if (result == 0 && move->origin == MOVE_ORIGIN_SOURCE && !version_holds(move, reading->fd))
                result = -ESTALE;
        return result;
}

/* Bytes that were read before must have the same hash again, where that is known. In the source another one is another version, with the
 * size and times of the one before (a write through a mapping, a clock that was set back). */
static int check_hash(struct reading *reading, const struct hash128 *hash)
{
        struct move *move = reading->move;
        struct file *file = move->file;
        bool differs;

        mutex_lock(&file->lock);
        differs = move->generation == file->generation && bitmap_test(&file->hashed, move->chunk) &&
                  !hash128_equal(hash, &file->hashes[move->chunk]);
        mutex_unlock(&file->lock);
        if (!differs)
                return 0;
        return move->origin == MOVE_ORIGIN_SOURCE ? -ESTALE : -EBADMSG;
}

static void blame_origin(struct reading *reading, int error)
{
        struct move *move = reading->move;
        struct target *target;

        if (move->origin == MOVE_ORIGIN_SOURCE || error == -ESTALE || error == -ESHUTDOWN)
                return;
        target = reading->context->targets[move->origin];
        (void)target_report(target, error, "read", NULL); /* either way the chunk is taken from elsewhere */
        (void)marks_lacking(move->file, (unsigned)move->origin, move->chunk, move->generation); /* as in fileread.c */
}

int chunkmove_run(struct move *move)
{
        struct reading reading = { .move = move, .context = context_of(move->file), .fd = -1 };
        uint64_t id = move->file->id, generation = move->generation;
        struct file_read *readers;
        struct hash128 hash = { { 0 } };
        bool from_source;
        int result = chunk_hash_init(&reading.hash);

        mutex_lock(&move->file->lock);
        reading.aims = move->slots;
        mutex_unlock(&move->file->lock);
        if (result == 0)
                result = read_chunk(&reading);
        if (result == 0) {
                hash = reading.all_zeros ? file_zeros_hash(move->file, move->length) : chunk_hash_final(&reading.hash);
                result = check_hash(&reading, &hash);
        }
        if (result < 0)
                atomic_store(&move->dropped, UINT64_MAX);
        if (result == -EBADMSG || result == -ESTALE)
                file_forget_digest(move->file, generation); /* it was fed what was read */
        blame_origin(&reading, result < 0 ? result : -ESTALE);
        readers = file_move_read_done(move, result == 0, &hash);
        queue_last(&reading);
        fd_close(&reading.fd);
        chunk_hash_deinit(&reading.hash);
        from_source = move->origin == MOVE_ORIGIN_SOURCE;
        move_unref(move);
        /* A change of the source, or a target that failed as the origin, is no failure of the read: it is resolved anew. */
        if (!from_source)
                file_read_resume(readers, result == -ESHUTDOWN ? result : 0);
        else if (result == -ESTALE)
                file_read_resume(readers, reading.context->drifted(reading.context->callback_context, id, generation));
        else
                file_read_resume(readers, result);
        return result;
}

void chunkmove_abandon(struct move *move, int error)
{
        struct reading reading = { .move = move, .context = context_of(move->file), .fd = -1 };
        struct hash128 hash = { { 0 } };
        struct file_read *readers;

        mutex_lock(&move->file->lock);
        reading.aims = move->slots;
        mutex_unlock(&move->file->lock);
        atomic_store(&move->dropped, UINT64_MAX);
        readers = file_move_read_done(move, false, &hash);
        queue_last(&reading);
        move_unref(move);
        file_read_resume(readers, error);
}
