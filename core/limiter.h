/* A ceiling on a rate: a token bucket that saves nothing up, so that no burst follows an idle time.
 *
 * The bucket may be overdrawn by one taking, so that a taking larger than the bucket passes too, and the next one waits for it. Thread
 * safe; the rate can be changed at any time, and whoever waits learns of it.
 */
#ifndef CVV_CORE_LIMITER_H
#define CVV_CORE_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

struct limiter;

/* `bytes_per_s` 0: no limit. */
int limiter_new(uint64_t bytes_per_s, struct limiter **ret_limiter);
void limiter_free(struct limiter *limiter);
void limiter_set_rate(struct limiter *limiter, uint64_t bytes_per_s);
uint64_t limiter_rate(struct limiter *limiter);
/* Takes `bytes` as soon as the rate allows. With `hurried` (may be NULL) it gives up when that says so; limiter_wake() makes it ask. */
void limiter_take(struct limiter *limiter, uint64_t bytes, bool (*hurried)(void *context), void *context);
void limiter_wake(struct limiter *limiter);
/* Lets everybody through from now on. */
void limiter_close(struct limiter *limiter);

#endif
