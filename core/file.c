#include "core/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/log.h"

enum { TABLE_BUCKETS = 4096 };

struct files {
        struct view *view;
        struct context *context;
        struct hash128 zeros_hash; /* of a full chunk */
        struct mutex lock; /* guards the table and the references of its files */
        struct file *buckets[TABLE_BUCKETS];
};

int files_new(struct view *view, struct files **ret_files)
{
        struct files *files = calloc(1, sizeof(*files));

        if (!files)
                return -ENOMEM;
        files->view = view;
        files->context = view_context(view);
        files->zeros_hash = hash128_of_zeros(files->context->chunk_bytes);
        mutex_init(&files->lock);
        *ret_files = files;
        return 0;
}

void files_free(struct files *files)
{
        if (!files)
                return;
        mutex_deinit(&files->lock);
        free(files);
}

struct context *files_context(struct files *files)
{
        return files->context;
}

struct view *files_view(struct files *files)
{
        return files->view;
}

/* --- loading and the table --- */

static unsigned slot_count(const struct context *context)
{
        return context->target_mask ? 64u - (unsigned)__builtin_clzll(context->target_mask) : 0;
}

uint64_t file_chunk_length(const struct file *file, uint64_t chunk)
{
        uint64_t chunk_bytes = file->files->context->chunk_bytes;
        uint64_t offset = chunk * chunk_bytes;

        return offset >= file->size ? 0 : file->size - offset < chunk_bytes ? file->size - offset : chunk_bytes;
}

struct hash128 file_zeros_hash(const struct file *file, uint64_t length)
{
        return length == file->files->context->chunk_bytes ? file->files->zeros_hash : hash128_of_zeros(length);
}

static int ensure_hashes(struct file *file)
{
        if (!file->hashes && file->chunk_count > 0)
                file->hashes = calloc(file->chunk_count, sizeof(*file->hashes));
        return file->hashes || file->chunk_count == 0 ? 0 : -ENOMEM;
}

struct group_load {
        struct file *file;
        int result;
};

static int load_group_slot(struct file *file, uint64_t first, const struct group_record *group, const struct group_slot *slot)
{
        struct file_part *part = &file->parts[slot->slot];
        int result = 0;

        for (unsigned c = 0; c < group->chunk_count && first + c < file->chunk_count && result == 0; c++) {
                if (!(slot->present[c / 64] >> (c % 64) & 1))
                        continue;
                result = bitmap_set(&part->written, first + c);
                if (result == 0)
                        result = bitmap_set(&part->present, first + c);
        }
        return result;
}

static bool load_group(void *context, const struct statedb_view *entry)
{
        struct group_load *load = context;
        struct file *file = load->file;
        cleanup(pointer_free) struct group_record *group = malloc(sizeof(*group));
        struct record_key_parts parts;
        uint64_t first;

        if (!group) {
                load->result = -ENOMEM;
                return false;
        }
        if (record_key_parse(entry->key, entry->key_size, &parts) < 0 ||
            record_decode_group(entry->value, entry->value_size, group) < 0) {
                log_error("a damaged record of chunks is passed over: they are copied again");
                return true;
        }
        first = (uint64_t)parts.group * RECORD_GROUP_CHUNKS;
        for (unsigned c = 0; c < group->chunk_count && first + c < file->chunk_count; c++) {
                if (!(group->hashed[c / 64] >> (c % 64) & 1))
                        continue;
                if (ensure_hashes(file) < 0 || bitmap_set(&file->hashed, first + c) < 0) {
                        load->result = -ENOMEM;
                        return false;
                }
                memcpy(file->hashes[first + c].bytes, group->hash[c], RECORD_HASH_BYTES);
        }
        for (unsigned i = 0; i < group->slot_count && load->result == 0; i++)
                if (group->slots[i].slot < file->part_count)
                        load->result = load_group_slot(file, first, group, &group->slots[i]);
        return load->result == 0;
}

static int load_digest(struct file *file, const struct node_record *node)
{
        struct record_key key = record_key_digest(file->id, file->generation);
        cleanup(pointer_free) uint8_t *buffer = malloc(STATEDB_VALUE_BYTES);
        const void *blob;
        size_t size, blob_size;

        file->digest_known = node->digests.mask != 0;
        if (file->digest_known || !buffer)
                return 0;
        if (statedb_get(file->files->context->db, key.bytes, key.size, buffer, STATEDB_VALUE_BYTES, &size) < 0 ||
            record_decode_blob(TABLE_DIGEST, buffer, size, &blob, &blob_size) < 0)
                return 0; /* none was saved, or it is damaged: the digest comes from a later reading */
        if (digest_restore(&file->files->context->options->hash, blob, blob_size, &file->digest) != 0)
                file->digest = NULL;
        return 0;
}

/* A slot whose partial file the records do not know, or whose target has all: what its maps say follows from the masks. */
static int load_masks(struct file *file, const struct node_record *node)
{
        for (unsigned slot = 0; slot < file->part_count; slot++) {
                struct file_part *part = &file->parts[slot];
                int result;

                if (!(node->complete >> slot & 1)) {
                        if (node->partial >> slot & 1)
                                continue;
                        bitmap_clear_all(&part->written);
                        bitmap_clear_all(&part->present);
                        continue;
                }
                result = bitmap_set_all(&part->written);
                if (result == 0)
                        result = bitmap_set_all(&part->present);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int load(struct file *file, const struct node_record *node)
{
        struct context *context = file->files->context;
        struct record_key prefix = record_prefix_generation(TABLE_GROUP, file->id, node->generation);
        struct group_load load = { .file = file };
        int64_t scanned = 0;

        file->mode = node->mode;
        file->generation = node->generation;
        file->size = S_ISREG(node->mode) ? node->size : 0;
        file->chunk_count = (file->size + context->chunk_bytes - 1) / context->chunk_bytes;
        file->mtime_ns = node->mtime_ns;
        file->ctime_ns = node->ctime_ns;
        file->source_ino = node->source_ino;
        file->has_source = node->flags & VIEW_NODE_SOURCE;
        file->source_lost = node->flags & VIEW_NODE_UNAVAILABLE;
        bitmap_init(&file->hashed, file->chunk_count);
        for (unsigned slot = 0; slot < file->part_count; slot++) {
                bitmap_init(&file->parts[slot].written, file->chunk_count);
                bitmap_init(&file->parts[slot].present, file->chunk_count);
                file->parts[slot].fd = -1;
        }
        if (file->chunk_count > 1)
                scanned = statedb_scan(context->db, NULL, 0, prefix.bytes, prefix.size, UINT64_MAX, load_group, &load);
        if (scanned < 0 || load.result < 0)
                return scanned < 0 ? (int)scanned : load.result;
        if (node->has_hash && file->chunk_count == 1) {
                if (ensure_hashes(file) < 0 || bitmap_set(&file->hashed, 0) < 0)
                        return -ENOMEM;
                memcpy(file->hashes[0].bytes, node->hash, RECORD_HASH_BYTES);
        }
        (void)load_digest(file, node); /* never fails: without it the digest comes later */
        return load_masks(file, node);
}

static void unload(struct file *file)
{
        for (unsigned slot = 0; slot < file->part_count; slot++) {
                bitmap_deinit(&file->parts[slot].written);
                bitmap_deinit(&file->parts[slot].present);
        }
        bitmap_deinit(&file->hashed);
        free(file->hashes);
        file->hashes = NULL;
        if (!file->digest_busy)
                digest_free(file->digest); /* else whoever feeds it finds that it is the file's no more, and frees it */
        file->digest = NULL;
        file->digest_busy = false;
        file_facts_unref(file->facts);
        file->facts = NULL;
}

static void destroy(struct file *file)
{
        unload(file);
        for (unsigned slot = 0; slot < file->part_count; slot++)
                fd_close(&file->parts[slot].fd);
        for (size_t i = 0; i < file->old_fd_count; i++)
                fd_close(&file->old_fds[i]);
        free(file->old_fds);
        mutex_deinit(&file->lock);
        free(file);
}

static struct file *find_locked(struct files *files, uint64_t id)
{
        for (struct file *file = files->buckets[id % TABLE_BUCKETS]; file; file = file->next)
                if (file->id == id)
                        return file;
        return NULL;
}

struct file *files_peek(struct files *files, uint64_t id)
{
        struct file *file;

        MUTEX_SCOPE(&files->lock);
        file = find_locked(files, id);
        if (file)
                file->references++;
        return file;
}

/* Loading needs no device but the state; it happens outside the table's lock, and where two threads load at once the
 * first one's result stands. */
int files_get(struct files *files, uint64_t id, struct file **ret_file)
{
        unsigned parts = slot_count(files->context);
        struct file *file = files_peek(files, id), *other;
        struct node_record node;
        int result;

        if (file) {
                *ret_file = file;
                return 0;
        }
        result = view_node(files->view, id, &node);
        if (result < 0)
                return result;
        file = calloc(1, sizeof(*file) + parts * sizeof(file->parts[0]));
        if (!file)
                return -ENOMEM;
        file->files = files;
        file->id = id;
        file->references = 1;
        file->part_count = parts;
        mutex_init(&file->lock);
        result = load(file, &node);
        if (result < 0) {
                destroy(file);
                return result;
        }
        mutex_lock(&files->lock);
        other = find_locked(files, id);
        if (other) {
                other->references++;
        } else {
                file->next = files->buckets[id % TABLE_BUCKETS];
                files->buckets[id % TABLE_BUCKETS] = file;
        }
        mutex_unlock(&files->lock);
        if (other)
                destroy(file);
        *ret_file = other ? other : file;
        return 0;
}

struct file *file_ref(struct file *file)
{
        MUTEX_SCOPE(&file->files->lock);
        file->references++;
        return file;
}

void file_unref(struct file *file)
{
        struct files *files;

        if (!file)
                return;
        files = file->files;
        mutex_lock(&files->lock);
        if (--file->references > 0) {
                mutex_unlock(&files->lock);
                return;
        }
        for (struct file **at = &files->buckets[file->id % TABLE_BUCKETS]; *at; at = &(*at)->next) {
                if (*at == file) {
                        *at = file->next;
                        break;
                }
        }
        mutex_unlock(&files->lock);
        destroy(file);
}

void file_release(struct file **file)
{
        file_unref(*file);
}

void files_each(struct files *files, bool (*visit)(void *context, struct file *file), void *context)
{
        bool more = true;

        for (size_t bucket = 0; bucket < TABLE_BUCKETS && more; bucket++) {
                struct file *file;

                mutex_lock(&files->lock);
                file = files->buckets[bucket];
                if (file)
                        file->references++;
                mutex_unlock(&files->lock);
                while (file) {
                        struct file *next;

                        if (more)
                                more = visit(context, file);
                        mutex_lock(&files->lock);
                        next = file->next;
                        if (next)
                                next->references++;
                        mutex_unlock(&files->lock);
                        file_unref(file);
                        file = next;
                }
        }
}

void file_retire_part_locked(struct file *file, unsigned slot)
{
        struct file_part *part = &file->parts[slot];
        int *fds = part->fd < 0 ? NULL : reallocarray(file->old_fds, file->old_fd_count + 1, sizeof(*fds));

        if (fds) {
                file->old_fds = fds;
                file->old_fds[file->old_fd_count++] = part->fd; /* without memory it is lost, not closed under a reader */
        }
        part->fd = -1;
        part->serial++;
        part->kind = PART_UNKNOWN;
        part->metadata_set = part->publishing = part->dirty = false;
}

/* The record has a new generation, or other facts: everything live is void. Descriptors stay open for whoever reads now. */
void file_reload(struct file *file)
{
        struct node_record node;
        int result = view_node(file->files->view, file->id, &node);

        mutex_lock(&file->lock);
        unload(file);
        file->epoch++;
        for (unsigned slot = 0; slot < file->part_count; slot++)
                file_retire_part_locked(file, slot);
        file->digest_lost = file->digest_known = false;
        if (result == 0)
                result = load(file, &node);
        if (result < 0) {
                log_error("file %llu cannot be loaded again: %s", (unsigned long long)file->id, strerror(-result));
                file->generation = UINT64_MAX; /* which no record has: nothing is marked by maps that are not loaded */
        }
        mutex_unlock(&file->lock);
}

struct file_facts *file_facts_get(struct file *file, uint64_t generation)
{
        MUTEX_SCOPE(&file->lock);
        if (!file->facts || file->generation != generation)
                return NULL;
        atomic_fetch_add(&file->facts->references, 1);
        return file->facts;
}

void file_facts_unref(struct file_facts *facts)
{
        if (!facts || atomic_fetch_sub(&facts->references, 1) != 1)
                return;
        metadata_deinit(&facts->metadata);
        free(facts->link_text);
        free(facts);
}

void file_facts_release(struct file_facts **facts)
{
        file_facts_unref(*facts);
}

void file_facts_set(struct file *file, uint64_t generation, struct file_facts *facts)
{
        mutex_lock(&file->lock);
        if (!file->facts && file->generation == generation) {
                file->facts = facts;
                facts = NULL;
        }
        mutex_unlock(&file->lock);
        file_facts_unref(facts);
}

/* --- claims and moves --- */

uint64_t file_lacking_locked(struct file *file, uint64_t chunk, uint64_t slots)
{
        uint64_t lacking = 0;

        for (unsigned slot = 0; slot < file->part_count; slot++) {
                const struct file_part *part = &file->parts[slot];

                if (!(slots >> slot & 1) || part->kind == PART_BLOCKED || part->kind == PART_FINISHED)
                        continue;
                if (!bitmap_test(&part->written, chunk))
                        lacking |= 1ull << slot;
        }
        for (const struct move *move = file->moves; move && lacking; move = move->next_in_file)
                if (move->chunk == chunk && move->generation == file->generation)
                        lacking &= ~move->slots;
        return lacking;
}

uint64_t file_next_lacking(struct file *file, uint64_t from, uint64_t slots)
{
        uint64_t next = file->chunk_count;

        MUTEX_SCOPE(&file->lock);
        for (unsigned slot = 0; slot < file->part_count; slot++) {
                const struct file_part *part = &file->parts[slot];
                uint64_t chunk;

                if (!(slots >> slot & 1) || part->kind == PART_BLOCKED || part->kind == PART_FINISHED)
                        continue;
                for (chunk = bitmap_find_next_clear(&part->written, from); chunk < next;
                     chunk = bitmap_find_next_clear(&part->written, chunk + 1)) {
                        if (file_lacking_locked(file, chunk, 1ull << slot) == 0)
                                continue; /* somebody is bringing it */
                        next = chunk;
                        break;
                }
        }
        return next;
}

int file_holder_locked(struct file *file, uint64_t chunk, uint64_t not_slots)
{
        int holder = -1;

        for (unsigned slot = 0; slot < file->part_count; slot++) {
                const struct file_part *part = &file->parts[slot];
                struct target *target = file->files->context->targets[slot];

                if ((not_slots >> slot & 1) || part->fd < 0 || !target || !bitmap_test(&part->written, chunk) ||
                    !target_serves_reads(target))
                        continue;
                if (bitmap_test(&part->present, chunk))
                        return (int)slot;
                if (holder < 0)
                        holder = (int)slot;
        }
        return holder;
}

struct move *file_find_move_locked(struct file *file, uint64_t chunk)
{
        for (struct move *move = file->moves; move; move = move->next_in_file)
                if (move->chunk == chunk && move->generation == file->generation)
                        return move;
        return NULL;
}

/* A reader who needs a move found no target that gives it the bytes: so the source does, if there is one. A target may hang. So it does for a chunk
 * whose hash nobody knows: a file that was taken as equal by its size and time is not copied on from the target while the source is there. */
static int choose_origin_locked(struct file *file, uint64_t chunk, bool demand)
{
        bool known = bitmap_test(&file->hashed, chunk);

        if (file->has_source && file->files->context->source && (demand || (!known && !file->source_lost)))
                return MOVE_ORIGIN_SOURCE;
        return file_holder_locked(file, chunk, 0);
}

int file_claim_locked(struct file *file, uint64_t chunk, uint64_t slots, bool demand, struct move **ret_move)
{
        struct context *context = file->files->context;
        uint64_t lacking = file_lacking_locked(file, chunk, slots);
        uint64_t length = file_chunk_length(file, chunk);
        size_t blocks = (size_t)((length + BUFPOOL_BLOCK_BYTES - 1) / BUFPOOL_BLOCK_BYTES);
        struct move *active = file_find_move_locked(file, chunk);
        int origin = choose_origin_locked(file, chunk, demand);
        struct move *move;

        if (active && active->reading && !(demand && origin == MOVE_ORIGIN_SOURCE && active->origin != MOVE_ORIGIN_SOURCE)) {
                active->passed_by = active->passed_by || lacking != 0;
                return FILE_CLAIM_BUSY;
        }
        if (lacking == 0 && !demand)
                return FILE_CLAIM_NOTHING;
        if (active && active->slots != 0 && !demand && file_holder_locked(file, chunk, 0) < 0) {
                active->passed_by = true; /* a target will have it in a moment, and the others get it from there */
                return FILE_CLAIM_BUSY;
        }
        move = calloc(1, sizeof(*move) + blocks * sizeof(move->blocks[0]));
        if (!move)
                return -ENOMEM;
        move->file = file;
        move->chunk = chunk;
        move->generation = file->generation;
        move->epoch = file->epoch;
        move->offset = chunk * context->chunk_bytes;
        move->length = length;
        move->origin = origin;
        move->demand = demand;
        move->slots = lacking;
        move->reading = true;
        move->in_file = true;
        move->block_count = blocks;
        atomic_init(&move->references, 1);
        move->next_in_file = file->moves;
        file->moves = move;
        /* The table's lock stands beside this one: a reference that is there already can be doubled without looking the file up. */
        mutex_lock(&file->files->lock);
        file->references++;
        mutex_unlock(&file->files->lock);
        *ret_move = move;
        return 0;
}

bool file_is_claimed_locked(const struct file *file, unsigned slot)
{
        for (const struct move *move = file->moves; move; move = move->next_in_file)
                if (move->generation == file->generation && (move->slots >> slot & 1))
                        return true;
        return false;
}

void move_ref(struct move *move)
{
        atomic_fetch_add(&move->references, 1);
}

static void drop_blocks(struct move *move)
{
        for (size_t i = 0; i < move->block_count; i++) {
                block_unref(move->blocks[i].block);
                move->blocks[i] = (struct move_block){ .block = NULL };
        }
}

void move_unref(struct move *move)
{
        if (!move || atomic_fetch_sub(&move->references, 1) != 1)
                return;
        drop_blocks(move);
        file_unref(move->file);
        free(move);
}

/* Takes the move off the file when nobody needs it there: the read side is over, and a target has the chunk or none will. */
static void settle_locked(struct move *move, bool somebody_has_it)
{
        struct file *file = move->file;

        if (!move->in_file || move->reading || (move->slots != 0 && !somebody_has_it))
                return;
        drop_blocks(move);
        if (move->slots != 0)
                return; /* it stays listed, so that nobody else writes where its jobs still will */
        for (struct move **at = &file->moves; *at; at = &(*at)->next_in_file) {
                if (*at == move) {
                        *at = move->next_in_file;
                        break;
                }
        }
        move->in_file = false;
}

int file_set_hash_locked(struct file *file, uint64_t chunk, const struct hash128 *hash)
{
        int result = ensure_hashes(file);

        if (result == 0)
                result = bitmap_set(&file->hashed, chunk);
        if (result == 0)
                file->hashes[chunk] = *hash;
        return result;
}

struct file_read *file_move_read_done(struct move *move, bool intact, const struct hash128 *hash)
{
        struct file *file = move->file;
        struct context *context = file->files->context;
        struct file_read *waiters;
        bool passed_by;

        mutex_lock(&file->lock);
        passed_by = move->passed_by;
        move->passed_by = false;
        move->reading = false;
        move->intact = intact;
        if (intact && move->generation == file->generation && move->chunk < file->chunk_count) {
                move->hash = *hash;
                (void)file_set_hash_locked(file, move->chunk, hash); /* without memory the chunk is not known, and is read again */
        }
        waiters = move->waiters;
        move->waiters = NULL;
        if (!intact)
                drop_blocks(move);
        settle_locked(move, false);
        mutex_unlock(&file->lock);
        if (passed_by && !atomic_load(&context->stopping))
                context->work_found(context->callback_context);
        return waiters;
}

bool file_slot_done(struct move *move, unsigned slot, bool good, bool *ret_all_written)
{
        struct file *file = move->file;
        struct file_part *part = &file->parts[slot];
        struct context *context = file->files->context;
        uint64_t bit = 1ull << slot;
        bool written = false, passed_by;

        mutex_lock(&file->lock);
        *ret_all_written = false;
        if (move->generation == file->generation && move->epoch == file->epoch) {
                if (good && move->intact && !(atomic_load(&move->dropped) & bit) && part->kind != PART_BLOCKED &&
                    part->kind != PART_UNKNOWN)
                        written = bitmap_test(&part->written, move->chunk) || bitmap_set(&part->written, move->chunk) == 0;
                if (written) {
                        *ret_all_written = bitmap_is_full(&part->written);
                        part->metadata_set = false;
                }
        }
        move->slots &= ~bit;
        settle_locked(move, written);
        passed_by = move->passed_by && (written || move->slots == 0);
        if (passed_by)
                move->passed_by = false;
        mutex_unlock(&file->lock);
        if (passed_by && !atomic_load(&context->stopping))
                context->work_found(context->callback_context);
        return written;
}

/* --- the digest of the file --- */

void file_feed_digest(struct file *file, uint64_t generation, uint64_t offset, const void *data, uint64_t length)
{
        struct digest *digest = NULL;

        mutex_lock(&file->lock);
        if (generation == file->generation && !file->digest_busy && !file->digest_known) {
                if (!file->digest && offset == 0 &&
                    digest_new(&file->files->context->options->hash, &file->digest) != 0)
                        file->digest = NULL;
                if (file->digest && digest_position(file->digest) == offset) {
                        digest = file->digest;
                        file->digest_busy = true;
                }
        }
        mutex_unlock(&file->lock);
        if (!digest)
                return;
        if (data)
                digest_update(digest, data, length);
        else
                digest_skip_zeros(digest, length);
        mutex_lock(&file->lock);
        if (file->digest == digest) {
                file->digest_busy = false;
                digest = NULL;
        }
        mutex_unlock(&file->lock);
        digest_free(digest);
}

void file_forget_digest(struct file *file, uint64_t generation)
{
        struct digest *digest = NULL;

        mutex_lock(&file->lock);
        if (file->generation == generation && !file->digest_known) {
                if (!file->digest_busy)
                        digest = file->digest; /* else whoever feeds it finds that it is the file's no more, and frees it */
                file->digest = NULL;
                file->digest_busy = false;
        }
        mutex_unlock(&file->lock);
        digest_free(digest);
}
