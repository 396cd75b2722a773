#include "core/limiter.h"

#include "core/sync.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MS = 1000000 };

static struct limiter *limiter_of(uint64_t bytes_per_s)
{
        struct limiter *limiter;

        assert_int_equal(limiter_new(bytes_per_s, &limiter), 0);
        assert_int_equal(limiter_rate(limiter), bytes_per_s);
        return limiter;
}

static uint64_t time_of_taking(struct limiter *limiter, uint64_t bytes)
{
        uint64_t begin_ns = clock_now_ns();

        limiter_take(limiter, bytes, NULL, NULL);
        return clock_now_ns() - begin_ns;
}

static void no_limit_never_waits(void **state)
{
        struct limiter *limiter = limiter_of(0);

        for (int i = 0; i < 1000; i++)
                limiter_take(limiter, UINT64_MAX, NULL, NULL);
        limiter_set_rate(limiter, 1); /* what was taken without a limit is not owed now */
        assert_true(time_of_taking(limiter, 0) < 1000 * MS);
        limiter_free(limiter);
}

static void taking_larger_than_the_rate_passes_and_the_next_one_waits_for_it(void **state)
{
        struct limiter *limiter = limiter_of(1000000);

        assert_true(time_of_taking(limiter, 200000) < 150 * MS);
        assert_true(time_of_taking(limiter, 1) >= 150 * MS);
        limiter_free(limiter);
}

static void rate_is_kept_over_many_takings(void **state)
{
        struct limiter *limiter = limiter_of(1000000);
        uint64_t begin_ns = clock_now_ns();

        for (int i = 0; i < 30; i++)
                limiter_take(limiter, 10000, NULL, NULL);
        assert_true(clock_now_ns() - begin_ns >= 285 * MS); /* the last one need not be waited for */
        limiter_free(limiter);
}

struct taker {
        struct limiter *limiter;
        uint64_t bytes;
        atomic_bool hurried, asked, taken;
};

static bool is_hurried(void *context)
{
        struct taker *taker = context;

        atomic_store(&taker->asked, true);
        return atomic_load(&taker->hurried);
}

static void *take(void *argument)
{
        struct taker *taker = argument;

        limiter_take(taker->limiter, taker->bytes, is_hurried, taker);
        atomic_store(&taker->taken, true);
        return NULL;
}

/* A taker that waits for an hour, if nobody ends that. */
static pthread_t start_waiting(struct taker *taker, struct limiter *limiter)
{
        pthread_t thread;

        *taker = (struct taker){ .limiter = limiter, .bytes = 1 };
        limiter_take(limiter, limiter_rate(limiter) * 3600, NULL, NULL);
        assert_int_equal(thread_start(&thread, "taker", take, taker), 0);
        while (!atomic_load(&taker->asked))
                (void)sched_yield();
        assert_false(atomic_load(&taker->taken));
        return thread;
}

static void waiting_one_learns_of_a_new_rate(void **state)
{
        const uint64_t rates[] = { 0, 1 << 30 };

        for (size_t i = 0; i < 2; i++) {
                struct limiter *limiter = limiter_of(1000);
                struct taker taker;
                pthread_t thread = start_waiting(&taker, limiter);

                limiter_set_rate(limiter, rates[i]);
                assert_int_equal(pthread_join(thread, NULL), 0);
                assert_true(atomic_load(&taker.taken));
                limiter_free(limiter);
        }
}

static void waiting_one_gives_up_when_it_is_hurried_and_woken(void **state)
{
        struct limiter *limiter = limiter_of(1000);
        struct taker taker;
        pthread_t thread = start_waiting(&taker, limiter);

        atomic_store(&taker.asked, false);
        limiter_wake(limiter); /* it asks, and goes on waiting */
        while (!atomic_load(&taker.asked))
                (void)sched_yield();
        assert_false(atomic_load(&taker.taken));
        atomic_store(&taker.hurried, true);
        limiter_wake(limiter);
        assert_int_equal(pthread_join(thread, NULL), 0);
        limiter_free(limiter);
}

static void close_lets_everybody_through(void **state)
{
        struct limiter *limiter = limiter_of(1);
        struct taker taker;
        pthread_t thread = start_waiting(&taker, limiter);

        limiter_close(limiter);
        assert_int_equal(pthread_join(thread, NULL), 0);
        for (int i = 0; i < 3; i++)
                limiter_take(limiter, 1 << 30, NULL, NULL);
        limiter_free(limiter);
}

static void hurried_takings_are_waited_for_by_those_behind_them(void **state)
{
        struct limiter *limiter = limiter_of(1000000);
        struct taker taker = { .limiter = limiter, .bytes = 100000 };

        atomic_store(&taker.hurried, true);
        for (int i = 0; i < 2; i++)
                (void)take(&taker);
        assert_true(time_of_taking(limiter, 1) >= 150 * MS);
        limiter_free(limiter);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_limit_never_waits),
                cmocka_unit_test(taking_larger_than_the_rate_passes_and_the_next_one_waits_for_it),
                cmocka_unit_test(rate_is_kept_over_many_takings),
                cmocka_unit_test(waiting_one_learns_of_a_new_rate),
                cmocka_unit_test(waiting_one_gives_up_when_it_is_hurried_and_woken),
                cmocka_unit_test(close_lets_everybody_through),
                cmocka_unit_test(hurried_takings_are_waited_for_by_those_behind_them),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
