#include "core/limiter.h"

#include <errno.h>
#include <stdlib.h>

#include "core/sync.h"

struct limiter {
        struct mutex lock; /* guards all below */
        struct condition changed;
        uint64_t bytes_per_s;
        uint64_t free_at_ns; /* when the bucket is not overdrawn any more */
        bool closed;
};

int limiter_new(uint64_t bytes_per_s, struct limiter **ret_limiter)
{
        struct limiter *limiter = calloc(1, sizeof(*limiter));

        if (!limiter)
                return -ENOMEM;
        mutex_init(&limiter->lock);
        condition_init(&limiter->changed);
        limiter->bytes_per_s = bytes_per_s;
        *ret_limiter = limiter;
        return 0;
}

void limiter_free(struct limiter *limiter)
{
        if (!limiter)
                return;
        condition_deinit(&limiter->changed);
        mutex_deinit(&limiter->lock);
        free(limiter);
}

void limiter_set_rate(struct limiter *limiter, uint64_t bytes_per_s)
{
        MUTEX_SCOPE(&limiter->lock);
        limiter->bytes_per_s = bytes_per_s;
        limiter->free_at_ns = 0;
        condition_broadcast(&limiter->changed);
}

uint64_t limiter_rate(struct limiter *limiter)
{
        MUTEX_SCOPE(&limiter->lock);
        return limiter->bytes_per_s;
}

void limiter_wake(struct limiter *limiter)
{
        MUTEX_SCOPE(&limiter->lock);
        condition_broadcast(&limiter->changed);
}

void limiter_close(struct limiter *limiter)
{
        MUTEX_SCOPE(&limiter->lock);
        limiter->closed = true;
        condition_broadcast(&limiter->changed);
}

void limiter_take(struct limiter *limiter, uint64_t bytes, bool (*hurried)(void *context), void *context)
{
        uint64_t now;

        MUTEX_SCOPE(&limiter->lock);
        for (;;) {
                now = clock_now_ns();
                if (limiter->closed || limiter->bytes_per_s == 0 || limiter->free_at_ns <= now ||
                    (hurried && hurried(context)))
                        break;
                (void)condition_wait_until(&limiter->changed, &limiter->lock, limiter->free_at_ns); /* the loop looks */
        }
        if (limiter->bytes_per_s == 0)
                return;
        if (limiter->free_at_ns < now)
                limiter->free_at_ns = now;
        limiter->free_at_ns += (uint64_t)((__extension__ (unsigned __int128)bytes * 1000000000u) / limiter->bytes_per_s);
}
