/* A running mount, as the commands see it: found by its mount point, asked and told through its `.cvv` directory.
 *
 * Every call into the mount happens in a child process (bounded.h). Where root asks about a mount of another user, the
 * child is that user.
 */
#ifndef CVV_MOUNT_HELPER_CLIENT_H
#define CVV_MOUNT_HELPER_CLIENT_H

#include "core/error.h"
#include "core/status.h"
#include "mount-helper/bounded.h"
#include "mount-helper/mounttable.h"

enum { CLIENT_ANSWER_MS = 20 * 1000 }; /* what is answered from memory takes no longer, on a loaded machine either */

struct client {
        char *path; /* of the mount point: absolute, without links; owned */
        struct mount_entry entry;
        struct bounded access; /* as whom; its time limits are set by each call */
};

/* Finds the mount at `mountpoint`, as given by the user. Makes no call into it. 0; -ENOENT where nothing of FUSE is mounted
 * there, -ENOMEM or another -errno, all with a sentence in `error`. The caller ends *ret_client with client_deinit(). */
int client_open(const char *mountpoint, struct client *ret_client, struct error *error)
    __attribute__((nonnull, warn_unused_result));
void client_deinit(struct client *client) __attribute__((nonnull));

/* Asks the mount for a sign of life (statfs). 0; -ENOTCONN where its daemon is dead; -ETIMEDOUT; another -errno. */
int client_probe(const struct client *client, int timeout_ms) __attribute__((nonnull, warn_unused_result));

/* Reads `.cvv/NAME`. As bounded_run(). `tick` (or NULL) is called in this process each second while it waits. */
int client_read(const struct client *client, const char *name, int timeout_ms, void (*tick)(void *), void *tick_context,
                char **ret_text, size_t *ret_size) __attribute__((nonnull(1, 2, 6), warn_unused_result));

/* Writes `text` to `.cvv/control` in one write. As bounded_run(); what the mount says to the write comes back as it is. */
int client_control(const struct client *client, const char *text, int timeout_ms)
    __attribute__((nonnull, warn_unused_result));

/* Reads and parses `.cvv/status.json`. 0; -ENOTCONN; another -errno; with a sentence in `error`. The caller frees
 * *ret_status with status_deinit(). */
int client_status(const struct client *client, struct status *ret_status, struct error *error)
    __attribute__((nonnull, warn_unused_result));

/* The sentence for a failed client_read() or client_control(); returns `code`. */
int client_explain(const struct client *client, int code, struct error *error) __attribute__((nonnull));

#endif
