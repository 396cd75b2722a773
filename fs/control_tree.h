/* The virtual directory `.cvv`: which nodes it has, their ids, names and attributes. Pure.
 *
 * A node id says all about its node, so that there is no table of nodes to keep: bit 63 (NODEID_CONTROL), then a kind in
 * bits 52 to 61, then for `targets/N.json` the target's number and for what lies below `files/` the id of the view that it
 * stands for. Ids of the view thus have to stay below 2^52; they are counted from 1. The root of the view is `files`
 * itself.
 */
#ifndef CVV_FS_CONTROL_TREE_H
#define CVV_FS_CONTROL_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* In the order in which they are listed. `metrics` and `report.html` have their names reserved
 * in CONTRACT.md; each becomes a line here and one in control_text.c. */
enum control_kind {
        CONTROL_ROOT = 1,
        CONTROL_README,
        CONTROL_STATE,
        CONTROL_PROGRESS,
        CONTROL_STATUS,
        CONTROL_STATUS_JSON,
        CONTROL_FILES,
        CONTROL_TARGETS,
        CONTROL_ERRORS,
        CONTROL_SKIPPED,
        CONTROL_MANIFEST,
        CONTROL_EVENTS,
        CONTROL_WAIT,
        CONTROL_SAFE_TO_ERASE,
        CONTROL_LOG,
        CONTROL_CONFIG,
        CONTROL_CONTROL,
        CONTROL_NAMED_END, /* up to here there is one node of each */
        CONTROL_TARGET,    /* targets/N.json */
        CONTROL_FILE,      /* files/PATH: a directory or a JSON file */
};

struct control_node {
        enum control_kind kind;
        uint64_t argument; /* the target's number; the id of the view; else 0 */
};

#define CONTROL_DIRECTORY_NAME ".cvv"

uint64_t control_node_id(struct control_node node);
/* 0, or -ESTALE for an id that is no node of `.cvv`. */
int control_node_parse(uint64_t nodeid, struct control_node *ret_node) __attribute__((nonnull, warn_unused_result));
/* The node in `files` that stands for an id of the view. */
struct control_node control_node_of_view(uint64_t view_id);
/* The id of the view that a node in `files`, or `files` itself, stands for; 0 for any other. */
uint64_t control_node_view_id(struct control_node node);
/* The directory in `.cvv` that a node lies in; CONTROL_ROOT's is itself. For a node below `files` only the view knows it:
 * CONTROL_FILES stands for all. */
struct control_node control_node_parent(struct control_node node);

/* The name in `.cvv` of a kind above CONTROL_ROOT and below CONTROL_NAMED_END. */
const char *control_kind_name(enum control_kind kind);
/* The kind of that name in `.cvv`. 0 or -ENOENT. */
int control_kind_find(const char *name, enum control_kind *ret_kind) __attribute__((nonnull, warn_unused_result));
/* The number N of "N.json", without leading zeros, from 1. 0 or -ENOENT. */
int control_target_find(const char *name, uint32_t *ret_n) __attribute__((nonnull, warn_unused_result));
/* Whether all nodes of the kind are directories (CONTROL_FILE: the view knows). */
bool control_kind_is_directory(enum control_kind kind);
/* Whether reading waits for something to happen. */
bool control_kind_blocks(enum control_kind kind);

struct control_owner {
        uid_t uid; /* the mounting user */
        gid_t gid;
        bool alone; /* nobody else may look into `.cvv` */
        struct timespec time;
};
/* Sizes are 0: what a file says is made when it is opened, and read past the page cache. */
void control_stat(struct control_node node, bool is_directory, const struct control_owner *owner, struct stat *ret_stat)
    __attribute__((nonnull));

#endif
