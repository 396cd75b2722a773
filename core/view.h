/* The view: which names there are, what lies under them, and how far each is on each target. The records of the state, with the
 * arithmetic that keeps the totals of progress.h in step with them.
 *
 * A node (file, directory, link, …) has a permanent id: its st_ino and FUSE node id. A name is a record under (parent id, name)
 * that points to a node; hard links are several names of one node. The records are what the view shows, so a look-up needs no
 * device: reconcile.h brings them up to date from the source and the targets, and when a device is gone or hangs they answer alone.
 *
 * What the masks mean (one bit for each target slot):
 *   node.complete     every chunk of this generation is present (durable and marked)
 *   name.published    the object stands there under this name, put there or found equal by cvv. Published and not complete: an
 *                     older generation stands there, which cvv itself published (node.former, node.kept) and may replace;
 *                     so it is too between the marks and the rename, when all of the new one is complete: judge_target()
 *   node.partial      the target has a partial file of this generation
 *   node.conflict     something else has the name there
 *   node.failed       this one cannot be brought there (the name is illegal there, the file too large, …)
 *   node.verified     what the target has of this generation was read back and compared, see verify.h
 * So a name is finished on a target where complete & published & ~partial: view_finished().
 *
 * Each name that the source has, or had when this mount saw it first, is in one category of progress.h; bytes count with a node's first
 * name. Directories are counted apart, by view_directories_owed(), but for those that stand for all below them: excluded and unreadable ones.
 * A name is counted when it is first seen in a mount (its record carries the mount's epoch). One that vanished before, and that all targets
 * have, is no file of the source any more: it is shown, and not counted.
 *
 * Thread safe. One mutex makes each read-modify-write of a record and its share of the totals one step; it is held for operations in
 * memory only.
 */
#ifndef CVV_CORE_VIEW_H
#define CVV_CORE_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/context.h"
#include "core/record.h"

enum {
        VIEW_ROOT = 1,
        VIEW_NAME_MAX = 255,
};

/* flags of a node */
enum {
        VIEW_NODE_SOURCE = 1 << 0,   /* the source has it */
        VIEW_NODE_MISSING = 1 << 1,  /* the source had it: all of its names vanished */
        VIEW_NODE_QUEUED = 1 << 2,   /* it will be brought unasked */
        VIEW_NODE_LINKS = 1 << 3,    /* it has further names (link records) */
        VIEW_NODE_LOADED = 1 << 4,   /* a directory: every name of it is recorded */
        VIEW_NODE_DRIFTED = 1 << 5,  /* the source file changed while it was copied; said once */
        VIEW_NODE_UNREADABLE = 1 << 6, /* the source shows it and does not give its bytes; until `retry`, new content or the next mount */
        VIEW_NODE_UNAVAILABLE = VIEW_NODE_MISSING | VIEW_NODE_UNREADABLE,
        VIEW_NODE_HASHED = 1 << 7,   /* the hashes of all of its chunks are recorded */
        VIEW_NODE_REREAD = 1 << 8,   /* the source was read a second time, and gave the same bytes */
        VIEW_NODE_VERIFY = 1 << 9,   /* its copies are to be read back, whatever the mode */
        VIEW_NODE_UNPROVEN = 1 << 10, /* a copy could not be read back, or is bad and stays so: see view_unproven() */
        VIEW_NODE_OF_CONTENT = VIEW_NODE_HASHED | VIEW_NODE_REREAD | VIEW_NODE_VERIFY | VIEW_NODE_UNPROVEN, /* they go with the version */
};

/* flags of a name; above them a category and the epoch in which it was counted */
enum {
        VIEW_NAME_SOURCE = 1 << 0,
        VIEW_NAME_TARGET = 1 << 1,   /* only targets have it */
        VIEW_NAME_EXCLUDED = 1 << 2, /* not in the view */
        VIEW_NAME_WHITEOUT = 1 << 3, /* deleted through the mount */
        VIEW_NAME_VANISHED = 1 << 7, /* the source had it; behind the bits of the category */
};

/* The meta record of the state (struct meta_record), written by setup.c. */
#define VIEW_META_NAME "state"
/* Another of that type, in which only next_id is used: what of the ids is reserved. It has no other writer, so that neither can undo what
 * the other wrote. */
#define VIEW_IDS_NAME "ids"

struct view;

/* The slots where a node stands whole under a name. Where a partial file of this generation is still there, what has the name is an older one, or a
 * bad copy of this one (marks_condemn). */
static inline uint64_t view_finished(const struct node_record *node, const struct name_record *name)
{
        return node->complete & name->published & ~node->partial;
}

/* The slots that have all of a node, and of which it could not be shown that it is as it should be. */
static inline uint64_t view_unproven(const struct node_record *node)
{
        return node->flags & VIEW_NODE_UNPROVEN ? node->failed & node->complete & ~node->verified : 0;
}

/* No id below `first_free_id`, nor one that this state ever reserved, is given out. Reads the state; its errors. */
int view_new(struct context *context, uint64_t first_free_id, struct view **ret_view);
void view_free(struct view *view);
struct context *view_context(const struct view *view);

/* --- reading --- */
/* -ENOENT: no such id; -EBADMSG: its record is damaged. */
int view_node(struct view *view, uint64_t id, struct node_record *ret_node);
/* -ENOENT also for whiteouts and excluded names. */
int view_name(struct view *view, uint64_t parent, const char *name, struct name_record *ret_name);
/* Whether this is a node's first name. */
bool view_is_primary(const struct node_record *node, uint64_t parent, const char *name);
/* The name record of a node's first name. */
int view_primary_name(struct view *view, const struct node_record *node, struct name_record *ret_name);
/* Paths relative to the root, "" for the root itself; the caller frees them. -ELOOP: the records form a circle (damage). */
/* As the first name says; in the source, where that vanished from it, as another one says. */
int view_path(struct view *view, uint64_t id, char **ret_path);
int view_source_path(struct view *view, uint64_t id, char **ret_path);
int view_join_path(struct view *view, uint64_t parent, const char *name, char **ret_path);
/* Whether --exclude leaves a name out, for itself or for a directory above it. What the records say of it may be older. */
bool view_is_excluded(struct view *view, uint64_t parent, const char *name, bool directory);
/* Walks `path` through the records alone. */
int view_resolve(struct view *view, const char *path, uint64_t *ret_id);
void view_stat(const struct context *context, uint64_t id, const struct node_record *node, struct stat *ret_stat);
/* Calls `visit` for each name of a node: the first one, then its links. A visit must not call view functions that write. */
int view_each_name(struct view *view, uint64_t id, const struct node_record *node,
                   int (*visit)(void *context, uint64_t parent, const char *name), void *visit_context);
/* A name under which the source has the node: the first one, or, where that vanished, another. `ret_name` has room for VIEW_NAME_MAX + 1
 * bytes. -ENOENT: all of them vanished; then it is the first one all the same. */
int view_live_name(struct view *view, uint64_t id, const struct node_record *node, uint64_t *ret_parent, char *ret_name);
/* The category of a name as it is counted. */
enum category view_name_category(const struct name_record *name);
/* Whether it stands in the totals of this mount. */
bool view_name_is_counted(const struct view *view, const struct name_record *name);
/* Pure: the category that the records give. */
enum category view_classify(uint64_t target_mask, const struct node_record *node, const struct name_record *name);
/* Directories that some target still lacks. */
uint64_t view_directories_owed(struct view *view);

/* --- writing --- */
uint64_t view_new_id(struct view *view);
/* Changes a node's record: `change` edits it and says whether it did; totals follow. -ENOENT: no such node. */
int view_update(struct view *view, uint64_t id, bool (*change)(void *change_context, struct node_record *node), void *change_context);
/* As view_update, where `counted` bytes of it stand in the totals of `slot` as verified already, as they were read: the totals take those back as
 * they take up the record. */
int view_update_verified(struct view *view, uint64_t id, bool (*change)(void *change_context, struct node_record *node), void *change_context,
                         unsigned slot, uint64_t counted);
/* As view_update, for the record of one name and its node together. The node is NULL-safe: it exists. */
int view_update_name(struct view *view, uint64_t parent, const char *name,
                     bool (*change)(void *change_context, struct node_record *node, struct name_record *name_record), void *change_context);
/* Records a new name, with a new node where `node` is not NULL (else the name is a further one of the node `name_record->id`). */
int view_add(struct view *view, uint64_t parent, const char *name, const struct name_record *name_record, const struct node_record *node);
/* Forgets a name that neither the source nor any target has any more, and its node where it was the last name. */
int view_remove(struct view *view, uint64_t parent, const char *name);
/* The source has the name no more. It is missing from now on, unless this mount never saw it: then it is forgotten where nothing of it was
 * copied, and not counted where all of it was. The node is missing when all of its names are. */
int view_vanish(struct view *view, uint64_t parent, const char *name);
/* Counts node and name for this mount where that was not done yet. */
int view_count(struct view *view, uint64_t parent, const char *name);

/* All that is recorded of a slot is void: every node and name forgets it. Before the first thread starts; walks the whole state. */
int view_forget_slot(struct view *view, unsigned slot);

/* Changes the chunk marks of a node: `fill` is called with its record, puts group records and the like into the batch, edits the node (and says
 * so), and says by how many bytes what `slot` has of it changes. All is applied as one step, and in the order in which the fills ran: it is
 * called under the view's lock, and may take a file's. A result other than 0 of `fill` is returned, and nothing is applied. */
typedef int view_fill_marks(void *context, struct node_record *node, bool *ret_node_changed, struct statedb_batch *batch,
                            int64_t *ret_present_delta);
int view_apply_marks(struct view *view, uint64_t id, unsigned slot, view_fill_marks *fill, void *fill_context);
/* Takes the marks of `slots` out of all group records of a generation of a node, into `batch`. Within a fill, or before there are threads. */
int view_strip_groups(struct view *view, uint64_t id, uint64_t generation, uint64_t slots, struct statedb_batch *batch);

/* --- whole directories, and what lies beside names and nodes --- */
/* Calls `visit` for the names of a directory in the order of their bytes, from the one after `after` (NULL: the first), until it returns
 * false; excluded names and whiteouts too. Without locks. */
int view_list(struct view *view, uint64_t directory, const char *after,
              bool (*visit)(void *context, const char *name, const struct name_record *record), void *visit_context);
/* The node that an inode of the source was given, in this mount or (then the epoch is another) in an earlier one. */
int view_inode(struct view *view, uint64_t source_ino, struct inode_record *ret_inode);
int view_put_inode(struct view *view, uint64_t source_ino, uint64_t id);
/* The bytes that `slot` has of a node, as recorded. */
uint64_t view_slot_bytes(struct view *view, uint64_t id, const struct node_record *node, unsigned slot);

/* --- the queue of what is brought unasked --- */
enum { VIEW_QUEUE_ASKED = 1, VIEW_QUEUE_FILL = 2 }; /* `fill PATH` and reads go before `fill` of everything */
int view_queue(struct view *view, uint64_t id, uint8_t priority);
int view_unqueue(struct view *view, uint64_t id);
/* The next queued node after (*priority, *id); both are moved on. -ENOENT at the end. */
int view_next_queued(struct view *view, uint8_t *priority, uint64_t *id);

#endif
