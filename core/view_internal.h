/* What the parts of the view share: view_records.c (records, their reading and changing), view_totals.c (categories and totals), view_vanish.c
 * (names that go), view_marks.c (chunks and slots), view_path.c, view_queue.c. For these files alone; view.h says what all of it is for.
 *
 * What ends in _locked, counts, or writes records that were read before, needs the view's lock.
 */
#ifndef CVV_CORE_VIEW_INTERNAL_H
#define CVV_CORE_VIEW_INTERNAL_H

#include "core/view.h"

struct view {
        struct context *context;
        struct mutex lock; /* guards the read-modify-write of names and nodes, and: */
        uint64_t next_id, reserved_id;
        atomic_uint_least64_t directories_owed;
};

/* --- records --- */
/* As view_name(), also for excluded names and whiteouts. */
int view_get_name(struct view *view, uint64_t parent, const char *name, struct name_record *ret_name);
int view_put_node(struct statedb_batch *batch, uint64_t id, const struct node_record *node);
int view_put_name(struct statedb_batch *batch, uint64_t parent, const char *name, const struct name_record *record);
int view_put_link(struct statedb_batch *batch, uint64_t id, uint64_t parent, const char *name);
int view_apply(struct view *view, struct statedb_batch *batch);
/* The directory and the name that a record's key has, of a name or a link. False: the key is damaged. */
bool view_parse_name_key(const struct statedb_view *entry, uint64_t *ret_parent, char ret_name[static VIEW_NAME_MAX + 1]);
void view_first_name(const struct node_record *node, char name[static VIEW_NAME_MAX + 1]);
/* Something was copied, or is new in the source: who looked at the source before has not seen it. */
void view_note_change(struct view *view);

/* Bytes that stand in the totals of a slot as verified, and not in its record. */
struct view_counted {
        unsigned slot;
        uint64_t verified;
};
/* Brings the totals of all names of a node in step, which changed from `old_node`, but for one that the caller has accounted for (skip_name, or
 * NULL). */
int view_reclassify_locked(struct view *view, struct statedb_batch *batch, uint64_t id, const struct node_record *old_node,
                           const struct node_record *node, uint64_t skip_parent, const char *skip_name);
/* Puts a node that changed from `old_node`, applies the batch, and brings the totals of the node and of its names in step, as
 * view_reclassify_locked. `counted` may be NULL. */
int view_write_node_locked(struct view *view, struct statedb_batch *batch, uint64_t id, const struct node_record *old_node,
                           struct node_record *node, uint64_t skip_parent, const char *skip_name, const struct view_counted *counted);

/* --- totals --- */
/* Brings the share of one name in the totals from (`old_node`, its counted category) to (`node`, what the records give), and the record with it. */
void view_account_name(struct view *view, const struct node_record *old_node, const struct node_record *node, uint64_t parent,
                       const char *name, struct name_record *record);
/* Takes the share of a name out of the totals. */
void view_uncount_name(struct view *view, const struct node_record *node, uint64_t parent, const char *name,
                       const struct name_record *record);
/* The same for the figures of the targets that a node has. `old_node` and `counted` may be NULL. */
void view_account_node(struct view *view, uint64_t id, const struct node_record *old_node, struct node_record *node,
                       const struct view_counted *counted);
/* Of these figures alone what is not to be read back: after a change of marks. */
void view_account_exempt(struct view *view, const struct node_record *old_node, const struct node_record *node);
/* What lacks of the node is owed to the slot: it is there to be had, and can be there. */
bool view_is_owed(const struct node_record *node, unsigned slot);
/* The bytes of the node that count as verified on the slot. */
int64_t view_verified_bytes(const struct node_record *node, unsigned slot);

#endif
