/* The directory that states lie in, or that is to be one: found by default, made where it is absent, opened, locked.
 *
 * Every function does disk I/O and may block. They need no lock and are safe in any thread (statehome_default reads the
 * environment).
 */
#ifndef CVV_CORE_STATEHOME_H
#define CVV_CORE_STATEHOME_H

#include "core/error.h"

#define STATEHOME_IDENTITY_FILE "identity"
#define STATEHOME_LOCK_FILE "lock"

/* The default base directory: root: /var/lib/cvv; else $XDG_STATE_HOME/cvv where that is absolute, else ~/.local/state/cvv.
 * *ret_path is the caller's to free. Nothing is created. 0; -ENOENT with `error` filled where the user has no home
 * directory, or there is no memory for its name. */
int statehome_default(char **ret_path, struct error *error) __attribute__((nonnull(1), warn_unused_result));

/* Opens the directory `path` (relative ones from the working directory) and returns its descriptor, which the caller owns.
 * At most the last `levels` components are made, durably and with mode 0700, where they are absent. An exclusive flock on
 * the descriptor serialises those who choose in this directory: it is waited for, and ends when the descriptor is closed or
 * unlocked. A negative errno with `error` filled: -EINVAL: empty name, or a network filesystem, on which nothing is created
 * either; others as the filesystem gives them. */
int statehome_open(const char *path, unsigned int levels, struct error *error)
    __attribute__((nonnull(1), warn_unused_result));

/* 1 when the directory holds nothing but what an interrupted creation of a state leaves, or a filesystem's own lost+found;
 * 0 when it holds more; a negative errno where it cannot be read. */
int statehome_is_blank(int directory_fd) __attribute__((warn_unused_result));

/* 1 when the directory, which is not blank, holds nothing but what a state consists of, damaged or not; 0 when it holds
 * anything else, or a sound database of LMDB without a sign that it is cvv's: that may be another program's; a negative errno
 * where it cannot be read. */
int statehome_is_state_like(int directory_fd) __attribute__((warn_unused_result));

#endif
