/* Where the LMDB environment lives, how it is found again, and that one process at a time uses it.
 *
 * A state is a directory: `identity` (whose state it is, see core/stateid.h), `lock` (held with flock for as long as the
 * state is open, with the holder's pid as text) and the files of LMDB. By default the states lie side by side in a base
 * directory and are found by the identity of the source, and among several by the targets they share with the request;
 * `--state DIR` names one. Choosing is serialised between processes by a lock on the base directory (of an explicit one: on
 * itself), so that two that start at once can neither make the same state twice nor mistake a look at a lock for its use.
 *
 * A state that cannot be read is skipped with a warning in the log (core/log.h) and stays as it is; one that was named
 * and is damaged is set aside, with a warning, and begun anew. Nothing is ever deleted. States on network filesystems are refused: neither LMDB's memory map nor the locks can be relied on there.
 *
 * Everything but the accessors does disk I/O and may block; statedir_open may also wait for another process that is
 * choosing. ref and unref may be used in any thread; everything else on one state by one thread at a time. No lock is taken
 * or needed.
 */
#ifndef CVV_CORE_STATEDIR_H
#define CVV_CORE_STATEDIR_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/stateid.h"

struct statedir;

struct statedir_request {
        const char *base_or_state;   /* explicit: the state itself; else the base directory, NULL: statehome_default */
        bool explicit_state;         /* --state was given */
        const char *source_identity; /* STATEID_NO_SOURCE, NULL or "": a mirror without a source */
        const char *const *target_identities; /* target_count of them; NULL and "" are unknown ones, which never match */
        size_t target_count;
};

/* Opens the state for the request and holds its lock. The caller owns one reference to *ret_state.
 *
 * In a base directory (created with its parents, mode 0700): of the states of that source the one that shares most targets,
 * the latest used where several do; where none shares one and none is in use, the latest used; else a new one, whose
 * targets are numbered 1, 2, … in the order of the request. Without a source at least one target must be shared. An
 * explicit state is created (one level) where it is absent, taken where it is empty (lost+found does not count), begun anew
 * where its identity is lost or damaged and all that is there has names of cvv's own (set aside as by statedir_set_aside),
 * and must else be of that source. An existing state keeps its record of targets until statedir_set_identity.
 *
 * 0, or a negative errno with `error` (may be NULL) filled and nothing changed but directories that were created:
 * -EBUSY: a state of that source that shares a target, or the explicit one, is in use; the message names the pid.
 * -EINVAL: the explicit state belongs to another source, or is neither empty nor a state; a network
 * filesystem; an identity with control characters. -EPROTONOSUPPORT: the explicit state, or one that shares a target, was
 * made by a newer version. Others as the filesystem gives them. */
int statedir_open(const struct statedir_request *request, struct error *error, struct statedir **ret_state)
    __attribute__((nonnull(1, 3), warn_unused_result));

struct statedir *statedir_ref(struct statedir *state) __attribute__((nonnull, returns_nonnull));
/* Gives back one reference (NULL is accepted); the last one releases the lock. Returns NULL. */
struct statedir *statedir_unref(struct statedir *state);

/* The absolute path, and the directory's descriptor; both belong to the state. */
const char *statedir_path(const struct statedir *state) __attribute__((nonnull, returns_nonnull));
int statedir_fd(const struct statedir *state) __attribute__((nonnull));
/* True when this statedir_open made it. */
bool statedir_is_new(const struct statedir *state) __attribute__((nonnull));
/* What the identity file says; valid until the next statedir_set_identity. */
const struct stateid *statedir_identity(const struct statedir *state) __attribute__((nonnull, returns_nonnull));

/* Records source and targets durably, where they differ from what is recorded. NULL and "" as the source stand for
 * STATEID_NO_SOURCE; targets whose identity is NULL or "" are left out. 0; -EINVAL where an identity has control characters
 * or a target the number 0; other negative errno: the old record stands, or (when only the last sync failed) either may
 * survive a power cut; calling again writes again. */
int statedir_set_identity(struct statedir *state, const char *source, const struct stateid_target *targets,
                          size_t target_count, struct error *error) __attribute__((nonnull(1), warn_unused_result));

/* Writes this process's pid into the lock file: after a fork, when the child goes on with the state. 0 or a negative errno.
 */
int statedir_write_pid(struct statedir *state) __attribute__((nonnull, warn_unused_result));

/* Moves LMDB's files, which must not be open, to `damaged-<UTC time>/` in the state, beside a file `reason` with that text,
 * so that a fresh environment can be made. Durable when it returns. 0, also where there are none; a negative errno with
 * `error` filled: calling again moves what is left. */
int statedir_set_aside(struct statedir *state, const char *reason, struct error *error)
    __attribute__((nonnull(1, 2), warn_unused_result));

static inline void statedir_unref_pointer(struct statedir **state)
{
        (void)statedir_unref(*state); /* always NULL */
}

#endif
