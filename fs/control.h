/* The operations on nodes of `.cvv`. Each function replies to `req`; node ids are those of control_tree.h. What was opened
 * is released through the openlist.
 *
 * All are answered from memory, save what control_lane() names: the tree `files` asks the view, which may wait for a
 * device; spooling a long report and carrying out a command may take their time. The caller sees to it that those do not
 * take all threads. Reads of blocking files never wait here (control_block.h). Thread safe.
 */
#ifndef CVV_FS_CONTROL_H
#define CVV_FS_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include "core/mirror.h"
#include "fs/lowlevel.h"
#include "fs/openlist.h"

struct control;

/* `mirror`, `options` and `open`, which gets what is open in `.cvv`, are borrowed until control_free(). 0 or -errno. */
int control_new(struct mirror *mirror, const struct options *options, struct openlist *open, struct control **ret_control)
    __attribute__((nonnull, warn_unused_result));
/* Starts and ends what answers blocking files; see control_block.h. */
int control_start(struct control *control) __attribute__((nonnull, warn_unused_result));
void control_end_readers(struct control *control) __attribute__((nonnull));
void control_stop(struct control *control) __attribute__((nonnull));
void control_free(struct control *control);

/* What an operation on a node waits for at most. */
enum control_lane {
        CONTROL_LANE_MEMORY, /* nothing */
        CONTROL_LANE_VIEW,   /* what operations on the view wait for */
        CONTROL_LANE_SLOW,   /* a long report, a command */
};
enum control_operation {
        CONTROL_GETATTR,
        CONTROL_SEARCH, /* lookup in it, opendir, readdir */
        CONTROL_OPEN,
        CONTROL_WRITE,
};
enum control_lane control_lane(uint64_t nodeid, enum control_operation operation);

/* Whether `name` in the directory `parent` of the view is `.cvv`; and the look-up of it. */
bool control_is_root(uint64_t parent, const char *name) __attribute__((nonnull));
void control_lookup_root(struct control *control, fuse_req_t req) __attribute__((nonnull));
void control_root_stat(struct control *control, struct stat *ret_stat) __attribute__((nonnull));

void control_lookup(struct control *control, fuse_req_t req, uint64_t parent, const char *name) __attribute__((nonnull));
void control_getattr(struct control *control, fuse_req_t req, uint64_t nodeid) __attribute__((nonnull));

void control_opendir(struct control *control, fuse_req_t req, uint64_t nodeid, struct fuse_file_info *fi)
    __attribute__((nonnull));
void control_readdir(struct control *control, fuse_req_t req, size_t size, uint64_t offset, bool plus,
                     const struct fuse_file_info *fi) __attribute__((nonnull));

void control_open(struct control *control, fuse_req_t req, uint64_t nodeid, struct fuse_file_info *fi)
    __attribute__((nonnull));
void control_read(fuse_req_t req, size_t size, uint64_t offset, const struct fuse_file_info *fi) __attribute__((nonnull));
void control_write(struct control *control, fuse_req_t req, const char *data, size_t size, uint64_t nodeid)
    __attribute__((nonnull));
void control_poll(fuse_req_t req, const struct fuse_file_info *fi, struct fuse_pollhandle *handle)
    __attribute__((nonnull(1, 2)));

#endif
