/* The line for `.cvv/control` that `cvv ctl` stands for: one COMMAND and its ARG as the user gave them.
 */
#ifndef CVV_MOUNT_HELPER_CONTROLLINE_H
#define CVV_MOUNT_HELPER_CONTROLLINE_H

#include "core/error.h"

/* Builds the line and has core/command.h check it. `argument` may be NULL. The PATH of fill and verify may be relative to
 * the root of the mount, or lie below `root`, the mount's absolute path, also through links in front of it; the DIR of add
 * may be relative to the working directory. 0; -EINVAL with a sentence; -ENOMEM. The caller frees *ret_line, which ends in
 * a newline. */
int controlline_build(const char *root, const char *command, const char *argument, char **ret_line, struct error *error)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));

/* The names of the commands, for a message: "fill, pause, …". Static. */
const char *controlline_names(void) __attribute__((returns_nonnull));

#endif
