/* The directory to mount on and what mounting needs: looked at beforehand, so that whatever is missing is said in one
 * sentence that names the remedy, instead of libfuse's words.
 */
#ifndef CVV_FS_MOUNTPOINT_H
#define CVV_FS_MOUNTPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/options.h"

/* Checks the mount point (an absolute path; a dead mount of a crashed daemon on it is taken away first), /dev/fuse,
 * fusermount3 and /etc/fuse.conf. 0, or -errno with a sentence in `error`. Blocks as long as the mount point's filesystem
 * does. */
int mountpoint_prepare(const struct options *options, struct error *error) __attribute__((nonnull, warn_unused_result));

/* Takes away a mount whose daemon is gone; does nothing where there is none. 0, or -errno where one is there and stays. */
int mountpoint_clear_dead(const char *path) __attribute__((nonnull, warn_unused_result));

/* Detaches what is mounted there, also where it is in use. 0 or -errno. */
int mountpoint_detach(const char *path) __attribute__((nonnull, warn_unused_result));

/* Whether the text of an fuse.conf(5) lets users give others access. Pure. */
bool mountpoint_conf_allows_other(const char *text, size_t size) __attribute__((nonnull, warn_unused_result));

#endif
