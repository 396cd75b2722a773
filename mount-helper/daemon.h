/* The daemon and the process that the user started: the fork, and what the daemon tells its parent until the mount answers.
 *
 * The parent waits, prints what it is told, and ends with the code that the daemon reports. SIGINT, SIGTERM and SIGHUP that
 * reach it meanwhile are passed on to the daemon, which then reports its end. Must be used before the first thread is
 * started.
 */
#ifndef CVV_MOUNT_HELPER_DAEMON_H
#define CVV_MOUNT_HELPER_DAEMON_H

#include <stdbool.h>

/* What daemon_fork() returns in the process that was started, with *ret_code set. */
enum { DAEMON_PARENT = 1 };

/* Forks a daemon: a session of its own, no open descriptors beside 0, 1 and 2, which stay the parent's until it reports. In
 * the daemon 0, with SIGINT, SIGTERM and SIGHUP blocked; in the parent, after the daemon's report, DAEMON_PARENT with the
 * exit code; or -errno. */
int daemon_fork(int *ret_code) __attribute__((nonnull, warn_unused_result));

/* Prints `cvv: LINE` on the parent's standard error; where there is no parent that waits, on one's own, while it is there.
 * Any thread. */
void daemon_notice(const char *line) __attribute__((nonnull));

/* Reports once how the start went: EXIT_DONE, or another code with one line (else NULL) that is printed. In a daemon 0, 1
 * and 2 become /dev/null first, so that nobody who reads the parent's output waits for the daemon. Later calls do nothing.
 * Any thread. */
void daemon_report(int code, const char *line);

/* Whether the start was reported. */
bool daemon_reported(void);

#endif
