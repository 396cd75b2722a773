/* The life of a copy: `cvv copy` on the core alone, from the opening of the mirror to the report.
 *
 *   survey   the scan alone: what is to do, whether there is room; nothing was written to any target yet
 *   copy     the mirror fills everything, as a mount with `--fill all` does; this thread shows how far it is
 *   end      a checkpoint, what cvv put on the targets for itself goes, the report
 * The work is done by a process of its own (worker.h). A signal ends each of them early; all of it is resumed by the same command.
 */
#ifndef CVV_MOUNT_HELPER_COPYING_H
#define CVV_MOUNT_HELPER_COPYING_H

#include "core/options.h"

/* Copies as `options` says (prepared by prepare_copy(); `fill` is set here). `argc` and `argv` are the whole command line, for the line that
 * resumes. Prints what there is to say; returns the exit code. Must be called before the first thread is started. */
int copying_run(struct options *options, int argc, char **argv) __attribute__((nonnull, warn_unused_result));

#endif
