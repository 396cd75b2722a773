#include "core/fileread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/io.h"
#include "core/log.h"
#include "core/marks.h"

enum {
        PIECES_MAX = 18,
        ZERO_BYTES = 64 * 1024,
        OVERDUE_MS = 3000,    /* then a request leaves a target that does not answer, where the bytes are elsewhere too … */
        LAST_HOPE_MS = 20000, /* … and then in any case */
        ATTEMPTS_MAX = 64,    /* a source that changes faster than a chunk of it can be read is an error in the end */
};

static const uint8_t zeros[ZERO_BYTES];

enum piece_kind { PIECE_NOWHERE, PIECE_BLOCK, PIECE_ZERO, PIECE_TARGET };

struct piece {
        enum piece_kind kind;
        struct block *block; /* with a reference */
        size_t block_offset;
        unsigned slot;
        int fd;
        uint64_t chunk;
        uint64_t offset;     /* in the file */
        size_t size, done;
        uint8_t *buffer;     /* of a target's piece */
};

struct file_read {
        struct file *file;   /* with a reference */
        uint64_t offset;
        size_t size;
        file_read_done done;
        void *context;
        atomic_uint references;
        struct move *parked; /* guarded by the file's lock, as are the next three */
        size_t wait_block;
        bool finished;
        struct file_read *next;
        uint64_t bad_slots;  /* targets that failed for this request */
        unsigned attempts;   /* how often it was parked */
        unsigned kept;       /* blocks that it has leave to keep while parked */
        bool cut;            /* the pieces are those of … */
        uint64_t generation; /* … this content of the file */
        unsigned piece_count;
        struct piece pieces[PIECES_MAX];
};

/* The piece is nowhere; only what part of the file it is stays. */
static void forget_piece(struct piece *piece)
{
        block_unref(piece->block);
        free(piece->buffer);
        *piece = (struct piece){ .chunk = piece->chunk, .offset = piece->offset, .size = piece->size };
}

static void forget_pieces(struct file_read *read, enum piece_kind kind)
{
        for (unsigned i = 0; i < read->piece_count; i++)
                if (read->pieces[i].kind == kind)
                        forget_piece(&read->pieces[i]);
}

static void drop_pieces(struct file_read *read)
{
        for (unsigned i = 0; i < read->piece_count; i++)
                forget_piece(&read->pieces[i]);
        read->piece_count = 0;
        if (read->kept > 0)
                bufpool_keep_end(files_context(read->file->files)->bufpool, read->kept);
        read->kept = 0;
}

void file_read_unref(struct file_read *read)
{
        if (!read || atomic_fetch_sub(&read->references, 1) != 1)
                return;
        drop_pieces(read);
        file_unref(read->file);
        free(read);
}

/* The one who gets true here calls done(). */
static bool take_finish(struct file_read *read)
{
        MUTEX_SCOPE(&read->file->lock);
        if (read->finished)
                return false;
        read->finished = true;
        return true;
}

/* Ends the request; drops the reference of the work in progress. */
static void finish_error(struct file_read *read, int error)
{
        if (take_finish(read))
                read->done(read->context, error, NULL, 0);
        file_read_unref(read);
}

static int build_vector(const struct file_read *read, struct iovec *vector, int capacity)
{
        int count = 0;

        for (unsigned i = 0; i < read->piece_count; i++) {
                const struct piece *piece = &read->pieces[i];
                size_t left = piece->size;

                while (left > 0 && count < capacity) {
                        size_t part = piece->kind == PIECE_ZERO && left > ZERO_BYTES ? ZERO_BYTES : left;
                        const uint8_t *base = piece->kind == PIECE_ZERO    ? zeros
                                              : piece->kind == PIECE_BLOCK ? piece->block->data + piece->block_offset
                                                                           : piece->buffer;

                        vector[count++] = (struct iovec){ .iov_base = (void *)(uintptr_t)base, .iov_len = part };
                        left -= part;
                }
        }
        return count;
}

static void finish_data(struct file_read *read)
{
        struct iovec vector[PIECES_MAX * (BUFPOOL_BLOCK_BYTES / ZERO_BYTES + 1)];
        int count = build_vector(read, vector, (int)(sizeof(vector) / sizeof(vector[0])));

        if (take_finish(read))
                read->done(read->context, 0, vector, count);
        file_read_unref(read);
}

/* --- finding the bytes --- */

/* Cuts the request at the edges of blocks, as the file is now. False: into more pieces than there may be. */
static bool cut_locked(struct file_read *read)
{
        struct file *file = read->file;
        uint64_t chunk_bytes = files_context(file->files)->chunk_bytes;
        uint64_t end = read->offset + read->size < file->size ? read->offset + read->size : file->size;

        read->cut = true;
        read->generation = file->generation;
        for (uint64_t offset = read->offset; offset < end;) {
                uint64_t chunk = offset / chunk_bytes;
                uint64_t block_end = offset + BUFPOOL_BLOCK_BYTES - (offset - chunk * chunk_bytes) % BUFPOOL_BLOCK_BYTES;
                uint64_t stop = block_end < (chunk + 1) * chunk_bytes ? block_end : (chunk + 1) * chunk_bytes;

                if (read->piece_count == PIECES_MAX)
                        return false;
                stop = stop < end ? stop : end;
                read->pieces[read->piece_count++] = (struct piece){ .chunk = chunk, .offset = offset, .size = (size_t)(stop - offset) };
                offset = stop;
        }
        return true;
}

/* Looks for a piece: false where it is nowhere yet. */
static bool find_piece_locked(struct file_read *read, struct piece *piece)
{
        struct file *file = read->file;
        uint64_t in_chunk = piece->offset - piece->chunk * files_context(file->files)->chunk_bytes;
        size_t index = (size_t)(in_chunk / BUFPOOL_BLOCK_BYTES);
        struct move *move = file_find_move_locked(file, piece->chunk);
        int slot;

        if (move && index < move->block_count && move->blocks[index].loaded) {
                piece->kind = move->blocks[index].hole ? PIECE_ZERO : PIECE_BLOCK;
                piece->block = piece->kind == PIECE_BLOCK ? block_ref(move->blocks[index].block) : NULL;
                piece->block_offset = (size_t)(in_chunk - index * BUFPOOL_BLOCK_BYTES);
                return true;
        }
        slot = file_holder_locked(file, piece->chunk, read->bad_slots);
        if (slot < 0)
                return false;
        piece->kind = PIECE_TARGET;
        piece->slot = (unsigned)slot;
        piece->fd = file->parts[slot].fd;
        return true;
}

enum resolved { RESOLVED_READY, RESOLVED_PARKED, RESOLVED_ENDED };

/* The move reads from one of these slots: nothing can be hoped of it. */
static bool is_from(const struct move *move, uint64_t slots)
{
        return move->origin != MOVE_ORIGIN_SOURCE && (slots >> move->origin & 1);
}

/* What a request has when it is parked it keeps, where the pool gives leave: the move that brought a block drops it when no target takes
 * it, and a request for several blocks would hardly ever meet them all at once. One that must let go of blocks has gained nothing, and loses
 * nothing but time: others, which may keep theirs, are answered meanwhile. */
static void keep_or_forget_locked(struct file_read *read)
{
        unsigned found = 0;

        for (unsigned i = 0; i < read->piece_count; i++)
                found += read->pieces[i].kind == PIECE_BLOCK;
        if (found > 0 && read->kept == 0 && bufpool_keep(files_context(read->file->files)->bufpool, read->piece_count - 1))
                read->kept = read->piece_count - 1;
        if (found > 0 && read->kept == 0)
                forget_pieces(read, PIECE_BLOCK);
        else
                read->attempts++;
}

/* Parks the request on the move of a piece's chunk, claiming one where there is none. */
static enum resolved park_locked(struct file_read *read, const struct piece *piece, struct move **ret_new_move, bool *ret_hurry,
                                 int *ret_error)
{
        struct file *file = read->file;
        struct context *context = files_context(file->files);
        uint64_t chunk = piece->chunk;
        struct move *move = file_find_move_locked(file, chunk);

        keep_or_forget_locked(read);
        if (!S_ISREG(file->mode) || read->attempts > ATTEMPTS_MAX) {
                *ret_error = -EIO;
                return RESOLVED_ENDED;
        }
        if (!move || !move->reading || is_from(move, read->bad_slots)) {
                int result = file->has_source || file_holder_locked(file, chunk, read->bad_slots) >= 0
                                 ? file_claim_locked(file, chunk, context->target_mask, true, &move)
                                 : -EIO;

                if (result < 0) {
                        *ret_error = result;
                        return RESOLVED_ENDED;
                }
                if (result == 0)
                        *ret_new_move = move;
        } else if (!move->demand) {
                move->demand = true; /* it must not wait for slow targets, nor for the limit, any more */
                *ret_hurry = true;
        }
        read->wait_block = (size_t)((piece->offset - chunk * context->chunk_bytes) / BUFPOOL_BLOCK_BYTES);
        if (read->wait_block < move->block_count && move->blocks[read->wait_block].given_back)
                read->wait_block = SIZE_MAX; /* for the end of the move: the next one shows it again */
        read->parked = move;
        read->next = move->waiters;
        move->waiters = read;
        return RESOLVED_PARKED;
}

/* Finds the pieces that the request has not got yet, and parks it on the first one that is nowhere. */
static enum resolved find_locked(struct file_read *read, int error, struct move **ret_new_move, bool *ret_hurry, int *ret_error)
{
        if (read->finished) {
                *ret_error = -EINTR; /* cancelled */
                return RESOLVED_ENDED;
        }
        if (!read->cut || read->generation != read->file->generation) {
                drop_pieces(read); /* of another content */
                if (!cut_locked(read)) {
                        *ret_error = -EIO;
                        return RESOLVED_ENDED;
                }
        }
        for (unsigned i = 0; i < read->piece_count; i++) {
                struct piece *piece = &read->pieces[i];

                if (piece->kind != PIECE_NOWHERE || find_piece_locked(read, piece))
                        continue;
                if (error == 0)
                        return park_locked(read, piece, ret_new_move, ret_hurry, ret_error);
                *ret_error = error;
                return RESOLVED_ENDED;
        }
        return RESOLVED_READY;
}

static enum resolved resolve(struct file_read *read, int error, int *ret_error)
{
        struct file *file = read->file;
        struct context *context = files_context(file->files);
        struct move *new_move = NULL;
        bool hurry = false;
        enum resolved resolved;

        forget_pieces(read, PIECE_TARGET); /* its target may have failed */
        mutex_lock(&file->lock);
        resolved = find_locked(read, error, &new_move, &hurry, ret_error);
        mutex_unlock(&file->lock);
        /* From here on a parked request may be gone on with by the mover, and end: it is not touched any more. */
        if (new_move)
                context->submit(context->callback_context, new_move);
        if (hurry) {
                context_room_signal(context);
                limiter_wake(context->limiter);
        }
        return resolved;
}

/* --- reading from targets --- */

/* 0: done; -EAGAIN: the bytes are not in memory; else the failure of the target. */
static int read_piece(struct piece *piece, bool wait)
{
        if (!piece->buffer) {
                piece->buffer = malloc(piece->size);
                if (!piece->buffer)
                        return -ENOMEM;
        }
        while (piece->done < piece->size) {
                struct iovec vector = { piece->buffer + piece->done, piece->size - piece->done };
                ssize_t count = preadv2(piece->fd, &vector, 1, (off_t)(piece->offset + piece->done), wait ? 0 : RWF_NOWAIT);

                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0 && (errno == EOPNOTSUPP || errno == EAGAIN) && !wait)
                        return -EAGAIN;
                if (count < 0)
                        return -errno;
                if (count == 0)
                        return wait ? -EBADMSG : -EAGAIN; /* shorter than its map says: somebody cut this file */
                piece->done += (size_t)count;
        }
        return 0;
}

static bool execute(struct file_read *read);
static void go_on(struct file_read *read, int error);

/* The pieces of one request that a target has, on their way through its device. What a hung device has in its hands belongs to the job: the
 * buffers, and the file. The request can be taken away from it at any time, and goes on elsewhere. */
struct read_job {
        struct devio_job base;
        _Atomic(struct file_read *) read; /* who takes it out goes on with it; NULL: nobody waits for the bytes any more */
        struct file *file;                /* with a reference */
        unsigned slot;
        uint64_t generation;              /* of the pieces */
        uint64_t not_slots;               /* where the bytes are not to be had for this request: slot, and what failed before */
        unsigned piece_count;
        unsigned numbers[PIECES_MAX];     /* in the request */
        struct piece pieces[PIECES_MAX];
};

static void report_failure(const struct read_job *job, const struct piece *piece, int error)
{
        if (error == -ENOMEM)
                return;
        (void)target_report(files_context(job->file->files)->targets[job->slot], error, "read", NULL); /* both answers go elsewhere */
        (void)marks_lacking(job->file, job->slot, piece->chunk, job->generation); /* it is repaired; where even that cannot be recorded
                                                                                       the next reader meets the same error */
}

static int run_read(struct devio_job *base)
{
        struct read_job *job = (struct read_job *)base;
        struct file_read *read;
        int result = 0;

        for (unsigned i = 0; i < job->piece_count && result == 0 && atomic_load(&job->read); i++) {
                result = read_piece(&job->pieces[i], true);
                if (result < 0)
                        report_failure(job, &job->pieces[i], result);
        }
        read = atomic_exchange(&job->read, NULL);
        if (!read)
                return 0;
        if (result < 0) {
                read->bad_slots |= 1ull << job->slot;
                go_on(read, 0);
                return 0;
        }
        for (unsigned i = 0; i < job->piece_count; i++) {
                read->pieces[job->numbers[i]] = job->pieces[i];
                job->pieces[i].buffer = NULL;
        }
        if (!execute(read))
                go_on(read, 0);
        return 0;
}

/* Whether the request can have the job's bytes from somewhere else. */
static bool is_elsewhere(const struct read_job *job)
{
        struct file *file = job->file;
        struct context *context = files_context(file->files);
        MUTEX_SCOPE(&file->lock);

        if (file->has_source && context->source && !atomic_load(&context->source_absent))
                return true;
        for (unsigned i = 0; i < job->piece_count; i++)
                if (job->generation == file->generation && file_holder_locked(file, job->pieces[i].chunk, job->not_slots) < 0)
                        return false;
        return true;
}

static bool is_overdue(struct devio_job *base, uint64_t age_ns)
{
        struct read_job *job = (struct read_job *)base;
        struct file_read *read;

        if (age_ns < LAST_HOPE_MS * 1000000ull && !is_elsewhere(job))
                return false;
        read = atomic_exchange(&job->read, NULL);
        if (read) {
                read->bad_slots |= 1ull << job->slot;
                go_on(read, 0);
        }
        return true;
}

void file_reads_expire(struct context *context)
{
        for (CONTEXT_EACH_TARGET(context, context->target_mask, target))
                if (target->root.io)
                        devio_overdue(target->root.io, OVERDUE_MS * 1000000ull);
}

static void job_free(struct devio_job *base)
{
        struct read_job *job = (struct read_job *)base;
        struct file_read *read = atomic_exchange(&job->read, NULL);

        if (read)
                finish_error(read, -EIO); /* the device was stopped before it came to it */
        for (unsigned i = 0; i < job->piece_count; i++)
                free(job->pieces[i].buffer);
        file_unref(job->file);
        free(job);
}

static struct read_job *job_new(struct file_read *read, unsigned slot)
{
        struct read_job *job = calloc(1, sizeof(*job));

        if (!job)
                return NULL;
        atomic_init(&job->base.references, 1);
        job->base.run = run_read;
        job->base.free = job_free;
        job->base.overdue = is_overdue;
        job->file = file_ref(read->file);
        job->slot = slot;
        job->generation = read->generation;
        job->not_slots = read->bad_slots | 1ull << slot;
        for (unsigned i = 0; i < read->piece_count; i++) {
                struct piece *piece = &read->pieces[i];

                if (piece->kind != PIECE_TARGET || piece->slot != slot || piece->done == piece->size)
                        continue;
                job->numbers[job->piece_count] = i;
                job->pieces[job->piece_count++] = *piece;
                piece->buffer = NULL; /* the job's, until it gives it back */
        }
        return job;
}

/* Hands what is lacking of `slot` to its device. On failure the request is to be resolved anew without it. */
static int hand_to_device(struct file_read *read, unsigned slot)
{
        struct target *target = files_context(read->file->files)->targets[slot];
        struct read_job *job = job_new(read, slot);
        int result;

        if (!job)
                return -ENOMEM;
        if (devio_is_hung(target->root.io) && is_elsewhere(job)) {
                devio_job_unref(&job->base);
                return -ETIMEDOUT;
        }
        atomic_store(&job->read, read);
        result = devio_submit(target->root.io, &job->base); /* from here on the request is the job's */
        if (result < 0) {
                atomic_store(&job->read, NULL);
                devio_job_unref(&job->base);
        }
        return result;
}

/* Tries what needs no waiting. Returns true when the request was ended or handed on, false when it is to be resolved anew. */
static bool execute(struct file_read *read)
{
        unsigned slot;

        for (unsigned i = 0; i < read->piece_count; i++) {
                struct piece *piece = &read->pieces[i];
                int result = piece->kind == PIECE_TARGET ? read_piece(piece, false) : 0;

                if (result == 0)
                        continue;
                if (result == -ENOMEM) {
                        finish_error(read, result);
                        return true;
                }
                slot = piece->slot;
                if (hand_to_device(read, slot) == 0)
                        return true;
                read->bad_slots |= 1ull << slot; /* it hangs: somewhere else, then */
                return false;
        }
        finish_data(read);
        return true;
}

/* Resolves and executes until the request is parked, handed on or ended. */
static void go_on(struct file_read *read, int error)
{
        for (;;) {
                int result = 0;

                switch (resolve(read, error, &result)) {
                case RESOLVED_PARKED:
                        return;
                case RESOLVED_ENDED:
                        finish_error(read, result);
                        return;
                case RESOLVED_READY:
                        if (execute(read))
                                return;
                }
        }
}

int file_read_new(struct file *file, uint64_t offset, size_t size, file_read_done done, void *context,
                  struct file_read **ret_read)
{
        struct file_read *read = calloc(1, sizeof(*read));

        if (!read)
                return -ENOMEM;
        read->file = file_ref(file);
        read->offset = offset;
        read->size = size;
        read->done = done;
        read->context = context;
        atomic_init(&read->references, 2); /* the caller's, and that of the work */
        *ret_read = read;
        return 0;
}

void file_read_go(struct file_read *read)
{
        go_on(read, 0);
}

void file_read_cancel(struct file_read *read)
{
        struct file *file = read->file;
        bool ours, was_parked = false;

        mutex_lock(&file->lock);
        ours = !read->finished;
        read->finished = true;
        if (ours && read->parked) {
                for (struct file_read **at = &read->parked->waiters; *at; at = &(*at)->next) {
                        if (*at == read) {
                                *at = read->next;
                                was_parked = true;
                                break;
                        }
                }
                read->parked = NULL;
        }
        mutex_unlock(&file->lock);
        if (ours)
                read->done(read->context, -EINTR, NULL, 0);
        if (was_parked)
                file_read_unref(read); /* nobody goes on with it */
}

struct file_read *file_read_take_locked(struct move *move, size_t index)
{
        struct file_read *taken = NULL;

        for (struct file_read **at = &move->waiters; *at;) {
                struct file_read *read = *at;

                if (read->wait_block > index) {
                        at = &read->next;
                        continue;
                }
                *at = read->next;
                read->parked = NULL;
                read->next = taken;
                taken = read;
        }
        return taken;
}

void file_read_resume(struct file_read *list, int error)
{
        while (list) {
                struct file_read *next = list->next;

                go_on(list, error);
                list = next;
        }
}
