/* The life of a mount: the daemon, from the opening of the mirror to its end.
 */
#ifndef CVV_MOUNT_HELPER_MOUNTING_H
#define CVV_MOUNT_HELPER_MOUNTING_H

#include "core/options.h"

/* Mounts as `options` says (prepared by prepare_mount()). In the background: returns in the process that was started, when
 * the mount answers or has failed; the daemon ends the process itself. In the foreground: returns after the end. `argc` and
 * `argv` are the whole command line, for the line that resumes. Prints what there is to say; returns the exit code. Must be
 * called before the first thread is started. */
int mounting_run(const struct options *options, int argc, char **argv) __attribute__((nonnull, warn_unused_result));

#endif
