#include "core/marks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/judge.h"
#include "core/log.h"

/* Encodes the group of a chunk as the live maps have it. */
static int encode_group_locked(struct file *file, uint64_t chunk, struct statedb_batch *batch)
{
        cleanup(pointer_free) struct group_record *group = calloc(1, sizeof(*group));
        uint64_t number = chunk / RECORD_GROUP_CHUNKS, first = number * RECORD_GROUP_CHUNKS;
        struct record_key key = record_key_group(file->id, file->generation, (uint32_t)number);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result;

        if (!group)
                return -ENOMEM;
        group->chunk_count = (uint16_t)(file->chunk_count - first < RECORD_GROUP_CHUNKS ? file->chunk_count - first
                                                                                        : RECORD_GROUP_CHUNKS);
        for (unsigned c = 0; c < group->chunk_count; c++) {
                if (!bitmap_test(&file->hashed, first + c))
                        continue;
                group->hashed[c / 64] |= 1ull << (c % 64);
                memcpy(group->hash[c], file->hashes[first + c].bytes, RECORD_HASH_BYTES);
        }
        for (unsigned slot = 0; slot < file->part_count; slot++) {
                struct group_slot *out = &group->slots[group->slot_count];
                bool any = false;

                memset(out, 0, sizeof(*out));
                out->slot = (uint8_t)slot;
                for (unsigned c = 0; c < group->chunk_count; c++) {
                        if (!bitmap_test(&file->parts[slot].present, first + c))
                                continue;
                        out->present[c / 64] |= 1ull << (c % 64);
                        any = true;
                }
                if (any)
                        group->slot_count++;
        }
        result = record_encode_group(group, buffer, sizeof(buffer), &size);
        return result < 0 ? result : statedb_batch_put(batch, key.bytes, key.size, buffer, size);
}

static int encode_groups_locked(struct file *file, struct statedb_batch *batch)
{
        int result = 0;

        for (uint64_t chunk = 0; file->chunk_count > 1 && chunk < file->chunk_count && result == 0; chunk += RECORD_GROUP_CHUNKS)
                result = encode_group_locked(file, chunk, batch);
        return result;
}

/* The state of the digest goes with the marks, so that after a crash it is never ahead of what a re-read could feed. */
static void encode_digest_locked(struct file *file, struct statedb_batch *batch)
{
        struct record_key key = record_key_digest(file->id, file->generation);
        cleanup(pointer_free) uint8_t *buffer = NULL;
        cleanup(pointer_free) void *blob = NULL;
        size_t blob_size, size;

        if (file->size == 0 && S_ISREG(file->mode) && !file->digest &&
            digest_new(&files_context(file->files)->options->hash, &file->digest) != 0)
                file->digest = NULL; /* an empty file is never read */
        if (!file->digest || file->digest_busy || file->digest_known || file->chunk_count < 2 ||
            digest_save(file->digest, &blob, &blob_size) != 0)
                return;
        buffer = malloc(blob_size + RECORD_BLOB_EXTRA_BYTES);
        if (buffer &&
            record_encode_blob(TABLE_DIGEST, blob, blob_size, buffer, blob_size + RECORD_BLOB_EXTRA_BYTES, &size) == 0)
                (void)statedb_batch_put(batch, key.bytes, key.size, buffer, size); /* without it the digest comes later */
}

/* What was written and is not marked is lacking again: see marks.h. */
static void move_epoch_on_locked(struct file *file)
{
        file->epoch++;
        for (unsigned slot = 0; slot < file->part_count; slot++) {
                struct file_part *part = &file->parts[slot];

                if (part->kind != PART_PARTIAL && part->kind != PART_COMPARE)
                        continue;
                part->dirty = true;
                part->metadata_set = false;
                for (uint64_t chunk = bitmap_find_next_set(&part->written, 0); chunk != BITMAP_NONE;
                     chunk = bitmap_find_next_set(&part->written, chunk + 1))
                        if (!bitmap_test(&part->present, chunk))
                                bitmap_clear(&part->written, chunk);
        }
}

struct marking {
        struct file *file;
        unsigned slot;
        uint64_t chunk, generation, epoch;
        bool complete;
};

enum { NOT_CONCERNED = 1 };

static bool is_compared(const struct file *file, unsigned slot)
{
        return file->parts[slot].kind == PART_COMPARE;
}

/* The facts of the whole file that go into its record with the last mark. */
static void finish_node_locked(struct file *file, struct node_record *node)
{
        if (bitmap_is_full(&file->hashed))
                node->flags |= VIEW_NODE_HASHED;
        if (file->chunk_count == 1 && bitmap_test(&file->hashed, 0)) {
                node->has_hash = true;
                memcpy(node->hash, file->hashes[0].bytes, RECORD_HASH_BYTES);
        }
        if (file->size == 0 && S_ISREG(file->mode) && !file->digest &&
            digest_new(&files_context(file->files)->options->hash, &file->digest) != 0)
                file->digest = NULL; /* an empty file is never read */
        if (!file->digest || file->digest_busy || file->digest_known || digest_position(file->digest) != file->size)
                return;
        digest_final(file->digest, &node->digests);
        file->digest_known = true;
}

static int fill_present(void *context, struct node_record *node, bool *ret_node_changed, struct statedb_batch *batch,
                        int64_t *ret_present_delta)
{
        struct marking *marking = context;
        struct file *file = marking->file;
        struct file_part *part = &file->parts[marking->slot];
        uint64_t chunk = marking->chunk;
        int result = 0;

        MUTEX_SCOPE(&file->lock);
        if (marking->generation != file->generation || node->generation != file->generation || marking->epoch != file->epoch ||
            part->kind == PART_BLOCKED)
                return NOT_CONCERNED;
        if (chunk != TARGET_WHOLE) {
                if (!bitmap_test(&part->written, chunk))
                        return NOT_CONCERNED;
                if (!bitmap_test(&part->present, chunk)) {
                        result = bitmap_set(&part->present, chunk);
                        *ret_present_delta = (int64_t)file_chunk_length(file, chunk);
                }
        }
        marking->complete = result == 0 && bitmap_is_full(&part->present);
        if (is_compared(file, marking->slot)) { /* a file that was there counts when all of it was compared */
                *ret_present_delta = marking->complete && !(node->complete >> marking->slot & 1) ? (int64_t)file->size : 0;
                if (marking->complete && result == 0)
                        result = encode_groups_locked(file, batch);
        } else if (result == 0 && file->chunk_count > 1 && chunk != TARGET_WHOLE) {
                result = encode_group_locked(file, chunk, batch);
                encode_digest_locked(file, batch);
        }
        if (marking->complete) {
                node->complete |= 1ull << marking->slot;
                finish_node_locked(file, node);
                *ret_node_changed = true;
        }
        return result;
}

int marks_present(struct file *file, unsigned slot, uint64_t chunk, uint64_t generation, uint64_t epoch, bool *ret_complete)
{
        struct marking marking = { .file = file, .slot = slot, .chunk = chunk, .generation = generation, .epoch = epoch };
        int result = view_apply_marks(files_view(file->files), file->id, slot, fill_present, &marking);

        *ret_complete = result == 0 && marking.complete;
        return result < 0 ? result : 0;
}

static int fill_lacking(void *context, struct node_record *node, bool *ret_node_changed, struct statedb_batch *batch,
                        int64_t *ret_present_delta)
{
        struct marking *marking = context;
        struct file *file = marking->file;
        struct file_part *part = &file->parts[marking->slot];
        uint64_t bit = 1ull << marking->slot, chunk = marking->chunk;
        bool recorded;

        MUTEX_SCOPE(&file->lock);
        if (marking->generation != file->generation || node->generation != file->generation || chunk >= file->chunk_count)
                return NOT_CONCERNED;
        recorded = bitmap_test(&part->present, chunk);
        part->serial++;
        bitmap_clear(&part->present, chunk);
        bitmap_clear(&part->written, chunk);
        /* A file under its final name, or on its way there, is repaired by verification; until then nobody reads the chunk there. */
        if (part->kind == PART_FINISHED || part->publishing)
                return NOT_CONCERNED;
        move_epoch_on_locked(file);
        if (!recorded || is_compared(file, marking->slot))
                return NOT_CONCERNED;
        *ret_present_delta = -(int64_t)file_chunk_length(file, chunk);
        if ((node->complete | node->verified | node->skipped) & bit) {
                node->complete &= ~bit;
                node->verified &= ~bit;
                node->skipped &= ~bit;
                *ret_node_changed = true;
        }
        return file->chunk_count > 1 ? encode_group_locked(file, chunk, batch) : 0;
}

int marks_lacking(struct file *file, unsigned slot, uint64_t chunk, uint64_t generation)
{
        struct marking marking = { .file = file, .slot = slot, .chunk = chunk, .generation = generation };
        struct context *context = files_context(file->files);
        int result = view_apply_marks(files_view(file->files), file->id, slot, fill_lacking, &marking);

        if (context->work_found)
                context->work_found(context->callback_context); /* who fills the file may have passed the chunk by */
        return result < 0 ? result : 0;
}

static bool lose_file(void *context, struct file *file)
{
        unsigned slot = *(const unsigned *)context;
        MUTEX_SCOPE(&file->lock);

        if (slot < file->part_count && (file_is_claimed_locked(file, slot) || bitmap_count(&file->parts[slot].written) !=
                                                                                  bitmap_count(&file->parts[slot].present)))
                move_epoch_on_locked(file);
        return true;
}

void marks_lose_unsynced(struct files *files, unsigned slot)
{
        files_each(files, lose_file, &slot);
}

struct forgetting {
        struct file *file;
        unsigned slot;
};

static int fill_forgotten(void *context, struct node_record *node, bool *ret_node_changed, struct statedb_batch *batch,
                          int64_t *ret_present_delta)
{
        struct forgetting *forgetting = context;
        struct file *file = forgetting->file;
        struct file_part *part = &file->parts[forgetting->slot];
        uint64_t bit = 1ull << forgetting->slot;

        *ret_present_delta = -(int64_t)view_slot_bytes(files_view(file->files), file->id, node, forgetting->slot);
        node->complete &= ~bit;
        node->partial &= ~bit;
        node->verified &= ~bit;
        node->skipped &= ~bit;
        *ret_node_changed = true;
        mutex_lock(&file->lock);
        part->serial++;
        bitmap_clear_all(&part->present);
        bitmap_clear_all(&part->written);
        mutex_unlock(&file->lock);
        return view_strip_groups(files_view(file->files), file->id, node->generation, bit, batch);
}

/* The records, not the live maps, say what is to be forgotten: marks that the maps do not show must not be inherited by a new partial file. */
int marks_forget_slot(struct file *file, unsigned slot)
{
        struct forgetting forgetting = { .file = file, .slot = slot };

        return view_apply_marks(files_view(file->files), file->id, slot, fill_forgotten, &forgetting);
}

bool marks_written(struct file *file, struct target *target, uint64_t chunk, uint64_t generation, uint64_t epoch, uint64_t bytes)
{
        struct unsynced item = { .file = file_ref(file), .chunk = chunk, .generation = generation, .epoch = epoch };

        if (target_add_unsynced(target, &item, bytes))
                return true;
        if (chunk != TARGET_WHOLE)
                (void)marks_lacking(file, target->slot, chunk, generation); /* nothing was recorded yet that could stay */
        file_unref(file);
        return false;
}

/* --- verification --- */

struct verified_change {
        struct file *file;
        unsigned slot, method;
        uint64_t generation, serial, target_mask;
};

/* What was read is what is there: nothing of it was taken back since, to be written again perhaps. */
static bool is_as_it_was_read(const struct verified_change *change)
{
        MUTEX_SCOPE(&change->file->lock);
        return change->file->generation == change->generation && change->file->parts[change->slot].serial == change->serial;
}

static bool change_verified(void *context, struct node_record *node)
{
        const struct verified_change *change = context;
        uint64_t bit = 1ull << change->slot;

        if (node->generation != change->generation || !(node->complete & bit) || !is_as_it_was_read(change))
                return false;
        node->verified |= bit;
        node_set_method(node, change->slot, change->method);
        if ((node->complete & ~node->verified & change->target_mask) == 0)
                node->flags &= ~(uint32_t)VIEW_NODE_VERIFY;
        return true;
}

int marks_verified(struct file *file, unsigned slot, uint64_t generation, uint64_t serial, unsigned method, uint64_t *counted)
{
        struct verified_change change = { .file = file, .slot = slot, .method = method, .generation = generation, .serial = serial,
                                          .target_mask = files_context(file->files)->target_mask };
        uint64_t bytes = *counted;

        *counted = 0;
        return view_update_verified(files_view(file->files), file->id, change_verified, &change, slot, bytes);
}

struct reading {
        struct file *file;
        unsigned slot;
        uint64_t generation, serial;
        bool complete;
};

static bool look_at_part(void *context, struct node_record *node)
{
        struct reading *reading = context;
        struct file *file = reading->file;

        MUTEX_SCOPE(&file->lock);
        reading->serial = file->parts[reading->slot].serial;
        reading->complete = node->generation == reading->generation && file->generation == reading->generation &&
                            (node->complete >> reading->slot & 1);
        return false; /* it is only looked at, and stands still for that */
}

int marks_reading(struct file *file, unsigned slot, uint64_t generation, uint64_t *ret_serial)
{
        struct reading reading = { .file = file, .slot = slot, .generation = generation };
        int result = view_update(files_view(file->files), file->id, look_at_part, &reading);

        if (result < 0 || !reading.complete)
                return result < 0 ? result : -ESTALE;
        *ret_serial = reading.serial;
        return 0;
}

static bool doubt(void *context, struct file *file)
{
        (void)context;
        MUTEX_SCOPE(&file->lock);
        for (unsigned slot = 0; slot < file->part_count; slot++)
                file->parts[slot].serial++;
        return true;
}

void marks_doubt(struct files *files, uint64_t id)
{
        cleanup(file_release) struct file *file = id == VIEW_ROOT ? NULL : files_peek(files, id);

        if (id == VIEW_ROOT)
                files_each(files, doubt, NULL);
        else if (file)
                (void)doubt(NULL, file); /* there is always more */
}

struct seen_change {
        uint64_t generation;
        uint32_t set, clear;                 /* flags */
        const struct digest_values *digests; /* or NULL */
        const struct hash128 *hash;          /* of a file of one chunk, or NULL */
};

static bool change_seen(void *context, struct node_record *node)
{
        const struct seen_change *change = context;

        if (node->generation != change->generation)
                return false;
        node->flags = (node->flags | change->set) & ~change->clear;
        if (change->digests)
                node->digests = *change->digests;
        if (change->hash) {
                node->has_hash = true;
                memcpy(node->hash, change->hash->bytes, RECORD_HASH_BYTES);
        }
        return true;
}

/* The values of a digest that has all bytes of the file; NULL where it has not. */
static const struct digest_values *whole_digest(struct file *file, const struct digest *digest, struct digest_values *values)
{
        MUTEX_SCOPE(&file->lock);
        if (!digest || digest_position(digest) != file->size)
                return NULL;
        digest_final(digest, values);
        file->digest_known = true;
        return values;
}

int marks_digest(struct file *file, uint64_t generation, const struct digest *digest)
{
        struct digest_values values;
        struct seen_change change = { .generation = generation, .digests = whole_digest(file, digest, &values) };

        return change.digests ? view_update(files_view(file->files), file->id, change_seen, &change) : 0;
}

int marks_reread(struct file *file, uint64_t generation, const struct digest *digest)
{
        struct digest_values values;
        struct seen_change change = { .generation = generation, .set = VIEW_NODE_REREAD,
                                      .digests = whole_digest(file, digest, &values) };

        return view_update(files_view(file->files), file->id, change_seen, &change);
}

static int fill_hashes(void *context, struct node_record *node, bool *ret_node_changed, struct statedb_batch *batch,
                       int64_t *ret_present_delta)
{
        struct marking *marking = context;
        struct file *file = marking->file;

        (void)ret_present_delta; /* nothing comes or goes */
        MUTEX_SCOPE(&file->lock);
        if (file->generation != marking->generation || node->generation != marking->generation || !bitmap_is_full(&file->hashed))
                return NOT_CONCERNED;
        finish_node_locked(file, node);
        *ret_node_changed = true;
        return encode_groups_locked(file, batch);
}

int marks_hashed(struct file *file, uint64_t generation)
{
        struct marking marking = { .file = file, .generation = generation };
        int result = view_apply_marks(files_view(file->files), file->id, 0, fill_hashes, &marking);

        return result == NOT_CONCERNED ? -ESTALE : result;
}

int marks_unhashed(struct file *file, uint64_t generation)
{
        struct seen_change change = { .generation = generation, .set = VIEW_NODE_VERIFY,
                                      .clear = VIEW_NODE_HASHED | VIEW_NODE_REREAD };

        return view_update(files_view(file->files), file->id, change_seen, &change);
}

static bool change_condemned(void *context, struct node_record *node)
{
        const struct verified_change *change = context;
        uint64_t bit = 1ull << change->slot;

        if (node->generation != change->generation || !((node->complete | node->verified) & bit))
                return false;
        node->complete &= ~bit;
        node->verified &= ~bit;
        node->skipped &= ~bit;
        judge_note_condemned(node, change->slot);
        return true;
}

/* First the records say that the slot lacks the file, with all that follows for the totals; then the live maps do. Its name stays published: what
 * stands under it may be replaced (judge_target). */
int marks_condemn(struct file *file, unsigned slot, uint64_t generation)
{
        struct verified_change change = { .slot = slot, .generation = generation };
        struct file_part *part = &file->parts[slot];
        int result = view_update(files_view(file->files), file->id, change_condemned, &change);

        if (result < 0)
                return result;
        mutex_lock(&file->lock);
        if (file->generation == generation && part->kind == PART_FINISHED)
                file_retire_part_locked(file, slot);
        mutex_unlock(&file->lock);
        return marks_forget_slot(file, slot);
}
