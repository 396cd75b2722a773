/* The options that libfuse and the kernel get for a mount. Pure. */
#ifndef CVV_FS_MOUNTARGS_H
#define CVV_FS_MOUNTARGS_H

#include "core/options.h"
#include "fs/lowlevel.h"

/* Fills *ret_args (zeroed before) for fuse_session_new(): permissions checked by the kernel, the source and "cvv" as the
 * mount's source and type unless overridden, what the user gave. Values may hold any byte. The caller frees it with
 * fuse_opt_free_args(), after a failure, too. 0 or -ENOMEM. */
int mountargs_make(const struct options *options, struct fuse_args *ret_args) __attribute__((nonnull, warn_unused_result));

#endif
