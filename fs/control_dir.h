/* Listings of the directories of `.cvv`. An open directory is one snapshot; below `files` it is that of the view. One
 * thread at a time in each open directory, as the kernel does it. */
#ifndef CVV_FS_CONTROL_DIR_H
#define CVV_FS_CONTROL_DIR_H

#include "core/mirror.h"
#include "fs/control_tree.h"
#include "fs/dirbuf.h"

/* Below `files` names come and go as in the view; the rest never changes but by `add` and `remove`. */
#define CONTROL_TIMEOUTS ((struct reply_timeouts){.entry_s = 1.0, .attributes_s = 1.0})

struct control_dir;

/* 0; -ENOTDIR; another -errno. Below `files` it may wait for a device. */
int control_dir_open(struct mirror *mirror, struct control_node node, const struct control_owner *owner,
                     struct control_dir **ret_dir) __attribute__((nonnull, warn_unused_result));
void control_dir_close(struct control_dir *dir) __attribute__((nonnull));
/* Fills `buffer` with the entries from `offset` (0, or what came with an entry). 0 or -errno. Below `files` it may wait. */
int control_dir_read(struct control_dir *dir, uint64_t offset, const struct control_owner *owner, struct dirbuf *buffer)
    __attribute__((nonnull, warn_unused_result));

#endif
