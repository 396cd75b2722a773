/* Mutexes and condition variables whose misuse ends the process at once, and the one lock order.
 *
 * A lock may be taken while locks that stand above it in this list are held, never the other way round. No disk I/O, no
 * LMDB commit and no FUSE reply happens while one is held.
 *
 *   mirror        which targets there are
 *   view          the live nodes: names, identities
 *   scheduler     what waits for a mover
 *   verification  what waits to be read back, and whether that is paused
 *   file          one file's maps, moves and parked reads
 *   target        one target's queue, state, un-synced chunks
 *   statedb       records that are not committed yet
 *   bufpool       free blocks
 *   progress      totals
 *   events, log   history and ring: may be taken anywhere
 */
#ifndef CVV_CORE_SYNC_H
#define CVV_CORE_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct mutex {
        pthread_mutex_t handle;
};
struct condition {
        pthread_cond_t handle; /* on CLOCK_MONOTONIC, which does not count suspended time */
};

#define MUTEX_INIT { .handle = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP }

void mutex_init(struct mutex *mutex);
void mutex_deinit(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);

void condition_init(struct condition *condition);
void condition_deinit(struct condition *condition);
void condition_signal(struct condition *condition);
void condition_broadcast(struct condition *condition);
/* Waits until signalled; the caller holds `mutex` and re-checks its predicate in a loop. */
void condition_wait(struct condition *condition, struct mutex *mutex);
/* As condition_wait, until `deadline_ns` of clock_now_ns(). Returns false when the deadline passed. */
bool condition_wait_until(struct condition *condition, struct mutex *mutex, uint64_t deadline_ns);

/* CLOCK_MONOTONIC in nanoseconds; stands still while the machine sleeps. */
uint64_t clock_now_ns(void);

/* Starts a joinable thread with all signals blocked and a name of at most 15 bytes. 0 or -errno. */
int thread_start(pthread_t *ret_thread, const char *name, void *(*main)(void *), void *argument);

static inline void mutex_release(struct mutex **mutex)
{
        if (*mutex)
                mutex_unlock(*mutex);
}
/* Holds `mutex` to the end of the enclosing block. */
#define MUTEX_SCOPE(which) MUTEX_SCOPE_NAMED(which, __COUNTER__)
#define MUTEX_SCOPE_NAMED(which, n) MUTEX_SCOPE_EXPAND(which, n)
#define MUTEX_SCOPE_EXPAND(which, n)                                                         \
        struct mutex *scope_of_##n __attribute__((__cleanup__(mutex_release))) = (which);    \
        mutex_lock(scope_of_##n)

#endif
