/* Who keeps a mount busy: the processes that have their working directory, root, program, an open file or a mapping on it,
 * and mounts below it.
 *
 * Found in /proc by the mount's id, which asks nothing of the mounted filesystem. A user sees his own processes only.
 */
#ifndef CVV_MOUNT_HELPER_HOLDERS_H
#define CVV_MOUNT_HELPER_HOLDERS_H

#include <stdbool.h>
#include <stdint.h>

#include "mount-helper/mounttable.h"

enum { HOLDERS_MAX = 10 };

/* Calls `say` with a line (`1234 bash (cwd)`) for each holder of the mount at `path`, for HOLDERS_MAX of them, then with
 * one that says that there are more. This process is left out. Returns how many lines there were, or -errno of reading
 * /proc. */
int holders_list(const char *path, const struct mount_entry *mount, void (*say)(const char *line)) __attribute__((nonnull));

/* How many holders there are beside processes that only have files in the mount's `.cvv` open, as far as this user can see;
 * 0, or a positive number (not counted to the end), or -errno as above. */
int holders_others(const char *path, const struct mount_entry *mount) __attribute__((nonnull, warn_unused_result));

/* The mount id in the text of a fdinfo file; 0 where there is none. Pure. */
uint64_t holders_mount_id(const char *fdinfo) __attribute__((nonnull));

/* Whether a line of /proc/PID/maps maps a file of the filesystem with this device number. Pure. */
bool holders_line_maps(const char *line, unsigned int major, unsigned int minor) __attribute__((nonnull));

#endif
