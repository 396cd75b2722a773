/* Listings of the directories of `.cvv`. An open directory is one snapshot; below `files` it is that of the view. One
 * thread at a time in each open directory, as the kernel does it. */
#ifndef CVV_FS_CONTROL_DIR_H
#define CVV_FS_CONTROL_DIR_H

#include "core/mirror.h"
#include "fs/control_tree.h"
#include "fs/dirbuf.h"

/* How long the kernel may keep a node of that kind. Below `files` names come and go as in the view, targets by `add` and
 * `remove`. The rest stands still, and a name that the kernel has kept is found also while a look-up hangs that holds its
 * directory's lock. */
struct reply_timeouts control_dir_timeouts(enum control_kind kind);

struct control_dir;

/* 0; -ENOTDIR; another -errno. Below `files` it may wait for a device. */
int control_dir_open(struct mirror *mirror, struct control_node node, const struct control_owner *owner,
                     struct control_dir **ret_dir) __attribute__((nonnull, warn_unused_result));
void control_dir_close(struct control_dir *dir) __attribute__((nonnull));
/* Fills `buffer` with the entries from `offset` (0, or what came with an entry). 0 or -errno. Below `files` it may wait. */
int control_dir_read(struct control_dir *dir, uint64_t offset, const struct control_owner *owner, struct dirbuf *buffer)
    __attribute__((nonnull, warn_unused_result));

#endif
