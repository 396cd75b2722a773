/* The rule of open modes: how the kernel is to treat one open of a regular file of the view. Pure.
 *
 * Open modes are a matter of the kernel's inode, which is what a node id stands for: a passthrough open beside another one
 * of the same node id fails in the kernel with EIO or ENODEV. Direct and cached opens go together. So passthrough is only
 * for read-only opens of finished files, and never beside another mode on one node id:
 *   - a file that is open cached or direct is opened cached or direct again: right, only slower;
 *   - a file that is open as passthrough and must be opened otherwise gets ESTALE once. The kernel looks the name up again
 *     and is then given the second node id of the same inode, on which there is no passthrough at all.
 *
 * Parallel direct writes are not asked for: the mirror keeps one order of writes.
 */
#ifndef CVV_FS_OPENMODE_H
#define CVV_FS_OPENMODE_H

#include <stdbool.h>

enum openmode {
        OPENMODE_NONE,        /* only as `open_now`: the node id is not open */
        OPENMODE_DIRECT,      /* past the page cache: unfinished files, whose chunks come while they are read; O_DIRECT */
        OPENMODE_CACHED,      /* through the page cache, which is kept from one open to the next */
        OPENMODE_PASSTHROUGH, /* the kernel reads the file of one target itself */
        OPENMODE_STALE,       /* only as an answer: reply ESTALE */
};

struct openmode_question {
        int flags;              /* of open(2) */
        bool finished;          /* all of the file is on a target */
        enum openmode open_now; /* how this node id is open; matters only where passthrough is possible */
        bool second_node;       /* this is the inode's second node id */
        bool passthrough;       /* kernel, library, privileges and options allow it for this file */
};

/* The mode of this open: DIRECT, CACHED, PASSTHROUGH or STALE. */
enum openmode openmode_decide(const struct openmode_question *question) __attribute__((nonnull));

#endif
