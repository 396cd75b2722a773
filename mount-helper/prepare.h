/* What is done before the daemon or any thread exists: paths made absolute, and what can be found wrong with them without opening a
 * device.
 */
#ifndef CVV_MOUNT_HELPER_PREPARE_H
#define CVV_MOUNT_HELPER_PREPARE_H

#include "core/error.h"
#include "core/options.h"

/* Replaces the paths in `options` (source, mount point, targets, state, log) by absolute ones, and checks that source and
 * mount point are directories, that state and log are outside of the source, that targets are or can be created, and that
 * no living cvv is mounted at the mount point. The dead mount of a crashed cvv there is taken off. May wait for the devices
 * on which the paths lie. 0; -EINVAL (usage) or another -errno with a sentence; `options` then holds some of the paths, and
 * can be freed. */
int prepare_mount(struct options *options, struct error *error) __attribute__((nonnull, warn_unused_result));

/* The same for a copy, which has no mount point. Where SOURCE is a file, `source` becomes its directory, source_file its
 * name there, each target the directory that receives it, and target_files its names there: that of SOURCE as given where
 * TARGET is a directory, else TARGET's last component. */
int prepare_copy(struct options *options, struct error *error) __attribute__((nonnull, warn_unused_result));

#endif
