/* The category of each name, and the totals that follow from the records. See view.h. */
#include "core/view_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/need.h"

enum {
        NAME_CATEGORY_SHIFT = 4,
        NAME_CATEGORY_MASK = 0x7 << NAME_CATEGORY_SHIFT, /* then VIEW_NAME_VANISHED */
        NAME_FLAGS_MASK = ((1 << NAME_CATEGORY_SHIFT) - 1) | VIEW_NAME_VANISHED,
        NAME_EPOCH_SHIFT = 8,
};

enum category view_name_category(const struct name_record *name)
{
        return (enum category)((name->flags & NAME_CATEGORY_MASK) >> NAME_CATEGORY_SHIFT);
}

enum category view_classify(uint64_t target_mask, const struct node_record *node, const struct name_record *name)
{
        uint64_t done = view_finished(node, name) & target_mask;

        if (name->flags & VIEW_NAME_EXCLUDED)
                return CATEGORY_EXCLUDED;
        if ((name->flags & VIEW_NAME_VANISHED) || (S_ISDIR(node->mode) && (node->flags & VIEW_NODE_UNREADABLE)))
                return CATEGORY_MISSING; /* whatever the targets have: the source is not what it was */
        if (name->conflict & target_mask)
                return CATEGORY_CONFLICT;
        if (done == target_mask && (view_unproven(node) & target_mask))
                return CATEGORY_FAILED;
        if (done == target_mask && target_mask != 0)
                return (node->skipped & target_mask) == target_mask ? CATEGORY_SKIPPED : CATEGORY_COPIED;
        if (node->flags & VIEW_NODE_UNAVAILABLE)
                return CATEGORY_MISSING;
        return node->failed & target_mask ? CATEGORY_FAILED : CATEGORY_PENDING;
}

static uint32_t epoch_bits(const struct view *view)
{
        return (uint32_t)(view->context->epoch & 0xffffff);
}

bool view_name_is_counted(const struct view *view, const struct name_record *name)
{
        return name->flags >> NAME_EPOCH_SHIFT == epoch_bits(view);
}

/* Whether a name is among the files of the totals. */
static bool counts_as_file(const struct node_record *node, enum category category)
{
        return !S_ISDIR(node->mode) || category == CATEGORY_EXCLUDED ||
               (category == CATEGORY_MISSING && (node->flags & VIEW_NODE_UNREADABLE));
}

bool view_is_primary(const struct node_record *node, uint64_t parent, const char *name)
{
        return node->parent == parent && strlen(name) == node->name_size && memcmp(node->name, name, node->name_size) == 0;
}

/* The bytes that a name has in the totals. */
static int64_t name_bytes(const struct node_record *node, uint64_t parent, const char *name)
{
        return S_ISREG(node->mode) && view_is_primary(node, parent, name) ? (int64_t)node->size : 0;
}

static void count_directory(struct view *view, bool owed_before, bool owed_now)
{
        if (owed_now && !owed_before)
                atomic_fetch_add(&view->directories_owed, 1);
        if (owed_before && !owed_now)
                atomic_fetch_sub(&view->directories_owed, 1);
}

/* On all targets, and there under this name. */
static bool is_verified(const struct view *view, const struct node_record *node, enum category category)
{
        uint64_t mask = view->context->target_mask;

        return (category == CATEGORY_COPIED || category == CATEGORY_SKIPPED) && (node->verified & mask) == mask;
}

static void count_verified(struct view *view, bool before, int64_t bytes_before, bool now, int64_t bytes_now)
{
        int64_t files = (int64_t)now - (int64_t)before;
        int64_t bytes = (now ? bytes_now : 0) - (before ? bytes_before : 0);

        if (files != 0 || bytes != 0)
                progress_verified_add(&view->context->progress, files, bytes);
}

/* Brings the share of one name in the totals from (`old_node`, its counted category) to (`node`, what the records give). */
void view_account_name(struct view *view, const struct node_record *old_node, const struct node_record *node,
                         uint64_t parent, const char *name, struct name_record *record)
{
        bool was_counted = view_name_is_counted(view, record);
        enum category from = view_name_category(record);
        enum category to = view_classify(view->context->target_mask, node, record);
        /* Whether it was, and is, among the files of the totals: the source may change a name's type. */
        bool was_file = was_counted && counts_as_file(old_node, from);
        bool is_file = counts_as_file(node, to);
        int64_t old_bytes = was_file ? name_bytes(old_node, parent, name) : 0;
        int64_t bytes = name_bytes(node, parent, name);

        if (!(record->flags & VIEW_NAME_SOURCE))
                return;
        record->flags &= NAME_FLAGS_MASK;
        record->flags |= epoch_bits(view) << NAME_EPOCH_SHIFT | (uint32_t)to << NAME_CATEGORY_SHIFT;
        count_directory(view, was_counted && !was_file && from == CATEGORY_PENDING, !is_file && to == CATEGORY_PENDING);
        if (was_file && !is_file)
                progress_add(&view->context->progress, from, -1, -old_bytes);
        if (!was_file && is_file)
                progress_add(&view->context->progress, to, 1, bytes);
        if (was_file || is_file)
                count_verified(view, was_file && is_verified(view, old_node, from), old_bytes,
                               is_file && is_verified(view, node, to), bytes);
        if (!was_file || !is_file)
                return;
        if (from != to)
                progress_move(&view->context->progress, from, to, (uint64_t)old_bytes);
        if (bytes != old_bytes)
                progress_add(&view->context->progress, to, 0, bytes - old_bytes);
}

struct group_sum {
        unsigned slot;
        uint64_t size, chunk_bytes, bytes;
};

static uint64_t chunk_length(uint64_t size, uint64_t chunk_bytes, uint64_t chunk)
{
        uint64_t offset = chunk * chunk_bytes;

        return offset >= size ? 0 : size - offset < chunk_bytes ? size - offset : chunk_bytes;
}

static bool sum_group(void *context, const struct statedb_view *entry)
{
        struct group_sum *sum = context;
        cleanup(pointer_free) struct group_record *group = malloc(sizeof(*group));
        struct record_key_parts parts;

        if (!group || record_key_parse(entry->key, entry->key_size, &parts) < 0 ||
            record_decode_group(entry->value, entry->value_size, group) < 0)
                return true;
        for (unsigned i = 0; i < group->slot_count; i++) {
                if (group->slots[i].slot != sum->slot)
                        continue;
                for (unsigned c = 0; c < group->chunk_count; c++)
                        if (group->slots[i].present[c / 64] >> (c % 64) & 1)
                                sum->bytes += chunk_length(sum->size, sum->chunk_bytes,
                                                           (uint64_t)parts.group * RECORD_GROUP_CHUNKS + c);
        }
        return true;
}

uint64_t view_slot_bytes(struct view *view, uint64_t id, const struct node_record *node, unsigned slot)
{
        struct group_sum sum = { .slot = slot, .size = node->size, .chunk_bytes = view->context->chunk_bytes };
        struct record_key prefix = record_prefix_generation(TABLE_GROUP, id, node->generation);

        if (node->complete >> slot & 1)
                return node->size;
        if (!(node->partial >> slot & 1) || node->size <= sum.chunk_bytes)
                return 0;
        if (statedb_scan(view->context->db, NULL, 0, prefix.bytes, prefix.size, UINT64_MAX, sum_group, &sum) < 0)
                return 0; /* what cannot be read counts as lacking, and is copied again */
        return sum.bytes;
}

struct share {
        uint64_t present, verified, owed, queued;
};

/* What lacks of the node is owed to the slot: it is there to be had, and can be there. */
bool view_is_owed(const struct node_record *node, unsigned slot)
{
        return !((node->conflict | node->failed) >> slot & 1) && !(node->flags & VIEW_NODE_UNAVAILABLE);
}

int64_t view_verified_bytes(const struct node_record *node, unsigned slot)
{
        return S_ISREG(node->mode) && (node->complete & node->verified) >> slot & 1 ? (int64_t)node->size : 0;
}

/* What a node contributes to the figures of one slot. */
static struct share node_share(struct view *view, uint64_t id, const struct node_record *node, unsigned slot)
{
        struct share share = { 0 };

        if (!S_ISREG(node->mode) || !(node->flags & VIEW_NODE_SOURCE))
                return share;
        share.present = view_slot_bytes(view, id, node, slot);
        share.verified = (uint64_t)view_verified_bytes(node, slot);
        if (view_is_owed(node, slot))
                share.owed = node->size - share.present;
        if (node->flags & VIEW_NODE_QUEUED)
                share.queued = share.owed;
        return share;
}

static bool share_can_differ(const struct node_record *a, const struct node_record *b)
{
        return a->size != b->size || a->complete != b->complete || a->verified != b->verified || a->partial != b->partial || a->conflict != b->conflict ||
               a->failed != b->failed || a->generation != b->generation || a->flags != b->flags || a->mode != b->mode;
}

/* The slots whose copy is not verified, and need not be. */
static uint64_t exempt_slots(const struct view *view, const struct node_record *node)
{
        struct need need = need_of(view->context->options, node, view->context->target_mask);

        if (!S_ISREG(node->mode) || !(node->flags & VIEW_NODE_SOURCE))
                return 0;
        return node->complete & ~(node->verified | node->conflict | node->failed | need.read_back) & view->context->target_mask;
}

/* `old_node` NULL: it was not counted. */
void view_account_exempt(struct view *view, const struct node_record *old_node, const struct node_record *node)
{
        uint64_t before = old_node ? exempt_slots(view, old_node) : 0, now = exempt_slots(view, node);

        for (uint64_t left = before | now; left; left &= left - 1) {
                unsigned slot = (unsigned)__builtin_ctzll(left);
                int64_t delta = (now >> slot & 1 ? (int64_t)node->size : 0) - (before >> slot & 1 ? (int64_t)old_node->size : 0);

                if (delta != 0)
                        progress_exempt_add(&view->context->progress, slot, delta);
        }
}

void view_account_node(struct view *view, uint64_t id, const struct node_record *old_node, struct node_record *node,
                         const struct view_counted *counted)
{
        struct progress *progress = &view->context->progress;
        bool was_counted = old_node && old_node->epoch == view->context->epoch;

        if (node->epoch != view->context->epoch || (was_counted && !counted && !share_can_differ(old_node, node))) {
                if (counted)
                        progress_target_add(progress, counted->slot, 0, -(int64_t)counted->verified, 0);
                return;
        }
        view_account_exempt(view, was_counted ? old_node : NULL, node);
        for (unsigned slot = 0; slot < TARGET_SLOTS; slot++) {
                struct share before = { 0 }, after;

                if (!(view->context->target_mask >> slot & 1))
                        continue;
                if (was_counted)
                        before = node_share(view, id, old_node, slot);
                if (counted && counted->slot == slot)
                        before.verified += counted->verified;
                after = node_share(view, id, node, slot);
                if (after.verified > 0 && view->context->targets[slot])
                        target_note_verify_method(view->context->targets[slot], node_method(node, slot));
                progress_target_add(progress, slot, (int64_t)(after.present - before.present),
                                    (int64_t)(after.verified - before.verified), (int64_t)(after.owed - before.owed));
                if (after.queued != before.queued)
                        progress_queued_add(progress, slot, (int64_t)(after.queued - before.queued));
        }
}

/* Takes the share of a name out of the totals. */
void view_uncount_name(struct view *view, const struct node_record *node, uint64_t parent, const char *name,
                         const struct name_record *record)
{
        enum category from = view_name_category(record);
        int64_t bytes = name_bytes(node, parent, name);

        if (!view_name_is_counted(view, record) || !(record->flags & VIEW_NAME_SOURCE))
                return;
        count_directory(view, !counts_as_file(node, from) && from == CATEGORY_PENDING, false);
        if (!counts_as_file(node, from))
                return;
        progress_add(&view->context->progress, from, -1, -bytes);
        count_verified(view, is_verified(view, node, from), bytes, false, 0);
}

uint64_t view_directories_owed(struct view *view)
{
        return atomic_load(&view->directories_owed);
}
