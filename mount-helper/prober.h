/* A process that looks at the mount from outside and says when it answers.
 *
 * The daemon must not ask its own mount: a thread of it that waits for an answer cannot be killed, and the kernel ends the
 * connection only when all threads are gone, so that a daemon killed at that moment would stay for ever (tried). The
 * process is forked before the first thread is started and lives until it has answered.
 */
#ifndef CVV_MOUNT_HELPER_PROBER_H
#define CVV_MOUNT_HELPER_PROBER_H

/* Forks the process. One at a time; the caller has no threads yet. 0 or -errno. */
int prober_start(void) __attribute__((warn_unused_result));

/* Has it read MOUNTPOINT/.cvv/state, and waits until it has. 0; the -errno that it got; -EPIPE where it died. Once. */
int prober_ask(const char *mountpoint) __attribute__((nonnull, warn_unused_result));

/* Lets it go. Nothing to do where it was not started. Not while another thread is in prober_ask(). */
void prober_stop(void);

#endif
