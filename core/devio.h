/* Calls to a device by threads that a device may hang.
 *
 * Metadata of a source or target is read by a fixed number of threads that belong to the device. A caller waits for the result at most
 * until its timeout; then it goes on without, and the job belongs to the thread that is stuck in it. So a hung device costs its own
 * threads and nothing else, and the number of threads never grows. While every thread of a device has been stuck for longer than
 * DEVIO_HUNG_NS, calls fail at once with -ETIMEDOUT: the callers answer from what is recorded.
 *
 * Jobs are on the heap and reference counted, because a job may outlive its caller.
 */
#ifndef CVV_CORE_DEVIO_H
#define CVV_CORE_DEVIO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DEVIO_HUNG_NS 2000000000u
#define DEVIO_TIMEOUT_NS 5000000000u

struct devio;

struct devio_job {
        int (*run)(struct devio_job *job);     /* on a device thread; its result is what devio_call() returns */
        void (*free)(struct devio_job *job);   /* when the last reference goes, on any thread */
        /* For devio_overdue(), NULL: it may take for ever. True: nobody waits for the job any more; it does not run where it has not begun. */
        bool (*overdue)(struct devio_job *job, uint64_t age_ns);
        atomic_uint *progress;                 /* or NULL: a caller waits on, as long as this moves within its timeout */
        /* private */
        atomic_int references;
        int result;
        int state;
        uint64_t submitted_ns;
        struct devio_job *next, *next_overdue;
};

/* `name` (up to 15 bytes) names the threads. */
int devio_new(const char *name, unsigned thread_count, struct devio **ret_devio);
/* Runs `job` (with one reference, which stays the caller's) and waits for it. Returns its result, -ETIMEDOUT, or -ESHUTDOWN. Only
 * after a result other than -ETIMEDOUT may the caller look into the job. */
int devio_call(struct devio *devio, struct devio_job *job, uint64_t timeout_ns);
/* Queues `job` without waiting; takes over the caller's reference. run() says itself what became of it. -ESHUTDOWN: not queued. */
int devio_submit(struct devio *devio, struct devio_job *job);
void devio_job_unref(struct devio_job *job);
/* Asks each submitted job that is not done after `age_ns` whether it is still waited for (see `overdue`; called without locks). One caller
 * at a time; does not block. */
void devio_overdue(struct devio *devio, uint64_t age_ns);
/* Every thread has been in one job for longer than DEVIO_HUNG_NS. */
bool devio_is_hung(struct devio *devio);
/* For how long every thread has been in one job; 0 where one is idle. */
uint64_t devio_stuck_ns(struct devio *devio);
/* Stops taking jobs, runs what is queued (each says itself what became of it), and joins the threads until `deadline_ns`. False: a thread is stuck (it stays, and
 * so does the memory of devio). */
bool devio_stop(struct devio *devio, uint64_t deadline_ns);
void devio_free(struct devio *devio);

#endif
