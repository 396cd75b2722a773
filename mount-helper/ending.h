/* The end of a mount or a copy by SIGINT, SIGTERM or SIGHUP: within 5 s, also when a device hangs, and at once with the second
 * signal. SIGUSR1 ends the readers of `.cvv`'s blocking files only, as whoever is about to unmount wishes.
 *
 * One thread waits for the signals. With the first one it prints (or logs) the line that resumes, makes the session end (or
 * tells the copy), and then guards the orderly end that the main thread goes through: when that takes too long, or with a second signal, it
 * takes the mount off and ends the process. All that was not durable then is done again by the next mount or copy, as after
 * kill -9.
 */
#ifndef CVV_MOUNT_HELPER_ENDING_H
#define CVV_MOUNT_HELPER_ENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/session.h"

struct ending_options {
        bool foreground;        /* lines go to standard error, else to the log */
        const char *resume;     /* the line that resumes; kept by reference */
        const char *mountpoint; /* absolute; kept by reference; NULL: there is no mount */
        /* Called with the first signal, on this module's thread, before anything is printed; or NULL. */
        void (*interrupted)(void *context);
        void *context;
        /* Called with the exit code before the process is ended at once, on this module's thread; or NULL. */
        void (*leaving)(int code);
        int orders_fd; /* the numbers of signals come from here, a byte each, instead of as signals; 0: they do not */
};

/* Blocks the signals in the calling thread (the only one yet, so in all that follow) and starts to wait for them. One that
 * the user ignores (nohup) stays ignored in the foreground. 0 or -errno. One for each process. */
int ending_start(const struct ending_options *options) __attribute__((nonnull, warn_unused_result));

/* Names the session that is to end with a signal; it ends at once where one has come. Before a session is freed: NULL. */
void ending_watch(struct session *session);
/* Makes the watched session end, as a signal would, if there is one. */
void ending_exit(void);
/* The mount is not there any longer (or no longer ours): nothing is to be taken off. */
void ending_unmounted(void);

/* The number of the signal that came, 0 while there was none. */
int ending_signal(void);
/* Until when (clock_now_ns()) the mirror may work on its end: soon after a signal; otherwise `patience_ns` from now. */
uint64_t ending_deadline_ns(uint64_t patience_ns);

/* Ends the thread. From then on signals are left pending. */
void ending_stop(void);

#endif
