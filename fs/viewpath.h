/* Where a node of the view lies, for look-ups of `..` (NFS export, descriptors opened by handle). */
#ifndef CVV_FS_VIEWPATH_H
#define CVV_FS_VIEWPATH_H

#include "core/mirror.h"

/* The directory that `id` lies in; the root's is the root. 0 or -errno. May wait for a device. */
int viewpath_parent(struct mirror *mirror, uint64_t id, uint64_t *ret_parent) __attribute__((nonnull, warn_unused_result));

#endif
