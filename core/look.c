#include "core/look.h"

#include <errno.h>

bool gate_pass(struct inspector *inspector)
{
        struct gate *gate = inspector->gate;
        bool rests;

        mutex_lock(&gate->lock);
        inspector->rests = rests = gate->paused && !gate->stopping;
        mutex_unlock(&gate->lock);
        if (rests)
                context_room_signal(inspector->context); /* who waits for idleness looks again */
        MUTEX_SCOPE(&gate->lock);
        while (gate->paused && !gate->stopping)
                condition_wait(&gate->changed, &gate->lock);
        inspector->rests = false;
        return !gate->stopping;
}

void inspector_in_device(struct inspector *inspector, bool inside)
{
        MUTEX_SCOPE(&inspector->gate->lock);
        inspector->in_device_since_ns = inside ? clock_now_ns() : 0;
}

int look_begin(struct look *look, struct inspector *inspector, struct file *file, const struct node_record *node, bool source)
{
        *look = (struct look){ .inspector = inspector, .file = file, .generation = node->generation, .source = source };
        MUTEX_SCOPE(&file->lock);
        look->size = file->size;
        look->chunk_count = file->chunk_count;
        return file->generation == node->generation ? 0 : -ESTALE;
}

void look_want_digest(struct look *look, const struct node_record *node)
{
        const struct hash_set *set = &look->inspector->context->options->hash;

        if ((set->mask & ~node->digests.mask) != 0 && digest_new(set, &look->digest) != 0)
                look->digest = NULL; /* without memory it comes another time */
}

static bool is_stopping(void *context)
{
        struct inspector *inspector = context;

        return atomic_load(&inspector->context->stopping);
}

static void feed(struct look *look, const uint8_t *data, uint64_t length)
{
        static const uint8_t zeros[16384];

        for (uint64_t done = 0; !data && done < length; done += sizeof(zeros))
                chunk_hash_update(&look->hash, zeros, length - done < sizeof(zeros) ? length - done : sizeof(zeros));
        if (data)
                chunk_hash_update(&look->hash, data, length);
        if (look->digest && data)
                digest_update(look->digest, data, length);
        else if (look->digest)
                digest_skip_zeros(look->digest, length);
}

static void count(struct look *look, uint64_t bytes)
{
        struct progress *progress = &look->inspector->context->progress;

        if (look->source) {
                progress_source_read(progress, bytes, true);
                return;
        }
        if (!look->counts)
                return;
        progress_target_add(progress, look->inspector->target->slot, 0, (int64_t)bytes, 0);
        look->counted += bytes;
}

/* Reads one chunk into the hash and the digest. -EBADMSG: the file is shorter; -ESHUTDOWN. */
static int read_chunk(struct look *look, uint64_t chunk)
{
        struct inspector *inspector = look->inspector;
        uint64_t chunk_bytes = inspector->context->chunk_bytes, at = chunk * chunk_bytes;
        uint64_t end = look->size - at < chunk_bytes ? look->size : at + chunk_bytes;

        chunk_hash_reset(&look->hash);
        while (at < end) {
                uint64_t wanted = end - at < READBACK_BLOCK_BYTES ? end - at : READBACK_BLOCK_BYTES;
                const uint8_t *data;
                int64_t got;

                if (!gate_pass(inspector))
                        return -ESHUTDOWN;
                if (!look->source)
                        inspector_in_device(inspector, true);
                got = readback_read(&inspector->readback, at, end, &data);
                if (!look->source)
                        inspector_in_device(inspector, false);
                if (got <= 0)
                        return got < 0 ? (int)got : -EBADMSG;
                if (data) /* a hole costs the device nothing */
                        limiter_take(look->source ? inspector->context->limiter : inspector->limiter, (uint64_t)got, is_stopping, inspector);
                feed(look, data, (uint64_t)got);
                count(look, (uint64_t)got);
                at += (uint64_t)got;
                if ((uint64_t)got < wanted && at < end)
                        return -EBADMSG; /* it ends in the middle, and the next read would not be aligned */
        }
        return 0;
}

/* 0: equal; -EBADMSG: differs; -ESTALE: it is another version, or there is no hash to compare with. */
static int compare_chunk(struct look *look, uint64_t chunk)
{
        struct hash128 hash = chunk_hash_final(&look->hash);
        struct file *file = look->file;

        MUTEX_SCOPE(&file->lock);
        if (file->generation != look->generation)
                return -ESTALE;
        if (bitmap_test(&file->hashed, chunk))
                return hash128_equal(&hash, &file->hashes[chunk]) ? 0 : -EBADMSG;
        return look->adopts ? file_set_hash_locked(file, chunk, &hash) : -ESTALE;
}

static void lose_digest(struct look *look)
{
        digest_free(look->digest);
        look->digest = NULL;
}

/* Errors that say something of the bytes, and nothing of the device. */
static bool is_of_the_bytes(int error)
{
        return error == -EBADMSG || error == -EIO || error == -EUCLEAN || error == -ENODATA || error == -EILSEQ;
}

static int open_medium(struct look *look, int fd, const struct device *device)
{
        struct inspector *inspector = look->inspector;
        int result;

        if (!look->source)
                inspector_in_device(inspector, true);
        result = readback_open(&inspector->readback, fd, device);
        if (!look->source)
                inspector_in_device(inspector, false);
        return result;
}

int look_run(struct look *look, int fd, const struct device *device, int (*differs)(struct look *look, uint64_t chunk, int error))
{
        int result = chunk_hash_init(&look->hash);

        if (result == 0)
                result = open_medium(look, fd, device);
        for (uint64_t chunk = 0; chunk < look->chunk_count && result == 0; chunk++) {
                result = read_chunk(look, chunk);
                if (result == 0)
                        result = compare_chunk(look, chunk);
                if (!is_of_the_bytes(result))
                        continue;
                lose_digest(look);
                look->bad++;
                result = differs(look, chunk, result);
        }
        return result;
}

void look_end(struct look *look)
{
        if (look->counted > 0)
                progress_target_add(&look->inspector->context->progress, look->inspector->target->slot, 0, -(int64_t)look->counted, 0);
        look->counted = 0;
        readback_close(&look->inspector->readback);
        chunk_hash_deinit(&look->hash);
        lose_digest(look);
}
