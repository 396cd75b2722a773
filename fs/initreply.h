/* Abilities of the kernel that libfuse before 3.17 knows or not, but never asks for: they are set in its INIT reply on the
 * way out.
 *
 * Above all PARALLEL_DIROPS: without it the kernel sends one look-up in a directory at a time, and one that hangs would
 * keep everybody out of that directory, of `.cvv` too if it is the root. And DIRECT_IO_ALLOW_MMAP (kernel 6.6), without
 * which shared mappings of unfinished files fail. From 3.17 on the library does it itself (ops.c), and nothing happens
 * here.
 */
#ifndef CVV_FS_INITREPLY_H
#define CVV_FS_INITREPLY_H

#include <stddef.h>
#include <stdint.h>

#include "fs/lowlevel.h"

/* The flags to ask for of those that the kernel offers (flags in the lower half, flags2 in the upper). Pure. */
uint64_t initreply_flags(uint64_t offered);

/* Sends the replies of `session`, which is mounted, through here. 0 or -errno. */
int initreply_install(struct fuse_session *session) __attribute__((nonnull, warn_unused_result));

/* Looks at a request (of `size` bytes) before it is processed; the same thread then lets libfuse process it. */
void initreply_note(const void *request, size_t size) __attribute__((nonnull));

#endif
