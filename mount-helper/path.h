/* Paths as they were given, made absolute, before the daemon leaves the directory that they are relative to.
 *
 * All of these may wait for the devices on which the path lies. Results are allocated, for the caller to free; they are
 * untouched on failure.
 */
#ifndef CVV_MOUNT_HELPER_PATH_H
#define CVV_MOUNT_HELPER_PATH_H

#include <stdbool.h>

/* The path of something that exists, without links, `.` and `..`. 0 or -errno. Works on a mount whose daemon is dead. */
int path_real(const char *path, char **ret_path) __attribute__((nonnull, warn_unused_result));

/* As path_real(); where only the last component is absent, the real path of its parent and that name. *ret_exists says
 * which. 0; -ENOENT where the parent is absent, or where the last component is a link to nothing; another -errno. */
int path_real_or_new(const char *path, char **ret_path, bool *ret_exists) __attribute__((nonnull, warn_unused_result));

/* As path_real_or_new(); where that fails, the path put behind the working directory. 0, -ENOMEM, or -errno of getcwd(3).
 */
int path_absolute(const char *path, char **ret_path) __attribute__((nonnull, warn_unused_result));

/* What is left of `path` below the directory `root` (both absolute), without a slash in front; "" for `root` itself; NULL
 * where it does not lie below. Pure: compares text, so both must have been made real. Points into `path`. */
const char *path_below(const char *path, const char *root) __attribute__((nonnull));

/* The real path of `path`, absolute, below the directory `root`, which was made real: through links in front of it as well.
 * The part behind `root` is taken as text (it may be absent, and a link in it is a name of its own).
 * 0; -ENOENT where it does not lie below; -ENOMEM. *ret_rest is allocated, "" for `root` itself. */
int path_rest_below(const char *path, const char *root, char **ret_rest) __attribute__((nonnull, warn_unused_result));

#endif
