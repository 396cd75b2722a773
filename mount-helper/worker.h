/* The process that does the work of a command in the foreground, and the one that the user started, which only waits for it.
 *
 * The kernel lets nobody reap a process of which a thread hangs in a device, whatever signal it got: who waits for it (a shell, systemd) hangs,
 * too. So the process that the user sees touches no device. It passes on SIGINT, SIGTERM and SIGHUP, and ends with the exit code of the
 * worker, or before, with the code that the worker tells. The worker dies with it.
 *
 * Both are in one process group, so that Ctrl-Z stops both. Ctrl-C reaches both, too, so the worker leaves its own signals blocked and hears of those
 * of its parent through a pipe: a signal that is passed on as a signal could not be told from the other one, and could be lost in it.
 */
#ifndef CVV_MOUNT_HELPER_WORKER_H
#define CVV_MOUNT_HELPER_WORKER_H

/* What worker_fork() returns in the process that was started, with *ret_code set. */
enum { WORKER_PARENT = 1 };

/* Forks the worker. In it 0, with *ret_orders_fd (to be kept open) from which the numbers of signals come, a byte each, and with SIGINT, SIGTERM and SIGHUP blocked (as far as they are not ignored); in the parent, when the worker has ended,
 * WORKER_PARENT with the exit code; or -errno. Must be called before the first thread is started. */
int worker_fork(int *ret_code, int *ret_orders_fd) __attribute__((nonnull, warn_unused_result));

/* Tells the parent to end with `code` now, once, as this process may not be able to: then it must say nothing more. One that ends in the usual way
 * needs no report: its exit code is the parent's. Any thread; takes no locks. */
void worker_report(int code);

#endif
