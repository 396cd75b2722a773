#include "core/timed.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/sync.h"

struct timed {
        int (*call)(void *argument);
        void *argument;
        struct mutex lock; /* guards all below */
        struct condition done;
        bool is_done, is_left;
        int result;
};

static void timed_free(struct timed *timed)
{
        condition_deinit(&timed->done);
        mutex_deinit(&timed->lock);
        free(timed);
}

static void *timed_main(void *pointer)
{
        struct timed *timed = pointer;
        int result = timed->call(timed->argument);
        bool left;

        mutex_lock(&timed->lock);
        timed->result = result;
        timed->is_done = true;
        left = timed->is_left;
        condition_signal(&timed->done);
        mutex_unlock(&timed->lock);
        if (left)
                timed_free(timed);
        return NULL;
}

int timed_call(int (*call)(void *argument), void *argument, uint64_t timeout_ns)
{
        struct timed *timed = calloc(1, sizeof(*timed));
        uint64_t deadline_ns = clock_now_ns() + timeout_ns;
        pthread_t thread;
        int result;

        if (!timed)
                return -ENOMEM;
        timed->call = call;
        timed->argument = argument;
        mutex_init(&timed->lock);
        condition_init(&timed->done);
        result = thread_start(&thread, "cvv-setup", timed_main, timed);
        if (result < 0) {
                timed_free(timed);
                return result;
        }
        mutex_lock(&timed->lock);
        while (!timed->is_done && condition_wait_until(&timed->done, &timed->lock, deadline_ns))
                ;
        result = timed->is_done ? timed->result : -ETIMEDOUT;
        timed->is_left = !timed->is_done;
        mutex_unlock(&timed->lock);
        if (timed->is_left) {
                (void)pthread_detach(thread); /* it frees what it needs when it comes back */
                return result;
        }
        (void)pthread_join(thread, NULL); /* it is done */
        timed_free(timed);
        return result;
}
