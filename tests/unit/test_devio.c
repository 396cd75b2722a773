#include "core/devio.h"

#include "core/sync.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint64_t LONG_NS = UINT64_C(20000000000), SHORT_NS = 20000000;

/* A device that answers when the test says so. */
struct gate {
        struct mutex lock; /* guards all below */
        struct condition changed;
        bool open;
        unsigned running, ran, freed;
};

struct gate_job {
        struct devio_job base;
        struct gate *gate;
        int answer;
        bool is_waited_for; /* see overdue */
        unsigned asked;
        uint64_t age_ns;
};

static void gate_init(struct gate *gate, bool open)
{
        *gate = (struct gate){ .open = open };
        mutex_init(&gate->lock);
        condition_init(&gate->changed);
}

static void gate_deinit(struct gate *gate)
{
        condition_deinit(&gate->changed);
        mutex_deinit(&gate->lock);
}

static void gate_open(struct gate *gate)
{
        MUTEX_SCOPE(&gate->lock);
        gate->open = true;
        condition_broadcast(&gate->changed);
}

static void wait_for(struct gate *gate, const unsigned *count, unsigned value)
{
        uint64_t deadline_ns = clock_now_ns() + LONG_NS;

        MUTEX_SCOPE(&gate->lock);
        while (*count < value)
                assert_true(condition_wait_until(&gate->changed, &gate->lock, deadline_ns));
}

static int gate_run(struct devio_job *base)
{
        struct gate_job *job = (struct gate_job *)base;
        struct gate *gate = job->gate;

        MUTEX_SCOPE(&gate->lock);
        gate->running++;
        condition_broadcast(&gate->changed);
        while (!gate->open)
                condition_wait(&gate->changed, &gate->lock);
        gate->ran++;
        condition_broadcast(&gate->changed);
        return job->answer;
}

static void gate_free(struct devio_job *base)
{
        struct gate *gate = ((struct gate_job *)base)->gate;

        free(base);
        MUTEX_SCOPE(&gate->lock);
        gate->freed++;
        condition_broadcast(&gate->changed);
}

static struct gate_job *job_of(struct gate *gate, int answer)
{
        struct gate_job *job = calloc(1, sizeof(*job));

        assert_non_null(job);
        job->base.run = gate_run;
        job->base.free = gate_free;
        atomic_init(&job->base.references, 1);
        job->gate = gate;
        job->answer = answer;
        return job;
}

static struct devio *devio_of(unsigned threads)
{
        struct devio *devio;

        assert_int_equal(devio_new("test-devio", threads, &devio), 0);
        return devio;
}

static void end(struct devio *devio, struct gate *gate)
{
        gate_open(gate);
        assert_true(devio_stop(devio, clock_now_ns() + LONG_NS));
        devio_free(devio);
        gate_deinit(gate);
}

static void call_returns_what_the_job_returned(void **state)
{
        struct devio *devio = devio_of(2);
        struct gate gate;

        gate_init(&gate, true);
        for (int answer = -3; answer <= 3; answer++) {
                struct gate_job *job = job_of(&gate, answer);

                assert_int_equal(devio_call(devio, &job->base, LONG_NS), answer);
                devio_job_unref(&job->base);
        }
        end(devio, &gate);
        assert_int_equal(gate.freed, 7);
}

static void caller_goes_on_without_a_stuck_job_which_outlives_it(void **state)
{
        struct devio *devio = devio_of(1);
        struct gate gate;
        struct gate_job *job;

        gate_init(&gate, false);
        job = job_of(&gate, 5);
        assert_int_equal(devio_call(devio, &job->base, SHORT_NS), -ETIMEDOUT);
        devio_job_unref(&job->base);
        assert_int_equal(gate.freed, 0); /* the thread still holds it */
        end(devio, &gate);
        assert_int_equal(gate.ran, 1);
        assert_int_equal(gate.freed, 1);
}

static void job_that_nobody_began_in_time_never_runs(void **state)
{
        struct devio *devio = devio_of(1);
        struct gate gate;
        struct gate_job *stuck, *late, *last;

        gate_init(&gate, false);
        stuck = job_of(&gate, 0);
        late = job_of(&gate, 0);
        last = job_of(&gate, 0);
        assert_int_equal(devio_submit(devio, &stuck->base), 0);
        wait_for(&gate, &gate.running, 1);
        assert_int_equal(devio_call(devio, &late->base, SHORT_NS), -ETIMEDOUT);
        devio_job_unref(&late->base);
        assert_int_equal(gate.freed, 1); /* out of the queue, and gone */
        assert_int_equal(devio_submit(devio, &last->base), 0); /* the queue's end is still right */
        gate_open(&gate);
        wait_for(&gate, &gate.freed, 3);
        assert_int_equal(gate.ran, 2);
        end(devio, &gate);
}

static void one_stuck_thread_leaves_the_others_at_work(void **state)
{
        struct devio *devio = devio_of(2);
        struct gate stuck_gate, gate;
        struct gate_job *stuck, *job;

        gate_init(&stuck_gate, false);
        gate_init(&gate, true);
        stuck = job_of(&stuck_gate, 0);
        job = job_of(&gate, 3);
        assert_int_equal(devio_submit(devio, &stuck->base), 0);
        wait_for(&stuck_gate, &stuck_gate.running, 1);
        assert_int_equal(devio_call(devio, &job->base, LONG_NS), 3);
        devio_job_unref(&job->base);
        assert_false(devio_is_hung(devio));
        end(devio, &stuck_gate);
        gate_deinit(&gate);
}

static void calls_fail_at_once_while_all_threads_are_stuck(void **state)
{
        struct devio *devio = devio_of(1);
        struct gate gate;
        struct gate_job *stuck, *job;
        uint64_t begin_ns;

        gate_init(&gate, false);
        stuck = job_of(&gate, 0);
        job = job_of(&gate, 0);
        assert_int_equal(devio_call(devio, &stuck->base, SHORT_NS), -ETIMEDOUT);
        assert_false(devio_is_hung(devio)); /* busy, and not for long yet */
        assert_int_equal(devio_call(devio, &job->base, DEVIO_HUNG_NS), -ETIMEDOUT);
        assert_true(devio_is_hung(devio));
        begin_ns = clock_now_ns();
        assert_int_equal(devio_call(devio, &job->base, LONG_NS), -ETIMEDOUT);
        assert_true(clock_now_ns() - begin_ns < LONG_NS / 2);
        gate_open(&gate);
        wait_for(&gate, &gate.ran, 1);
        while (devio_is_hung(devio))
                (void)sched_yield();
        assert_int_equal(devio_call(devio, &job->base, LONG_NS), 0); /* it answers again */
        assert_false(devio_is_hung(devio));
        devio_job_unref(&job->base);
        devio_job_unref(&stuck->base);
        end(devio, &gate);
        assert_int_equal(gate.freed, 2);
}

static void stop_says_that_a_thread_is_stuck_and_takes_nothing_more(void **state)
{
        struct devio *devio = devio_of(2);
        struct gate gate;
        struct gate_job *stuck, *job;

        gate_init(&gate, false);
        stuck = job_of(&gate, 0);
        job = job_of(&gate, 0);
        assert_int_equal(devio_submit(devio, &stuck->base), 0);
        wait_for(&gate, &gate.running, 1);
        assert_false(devio_stop(devio, clock_now_ns() + SHORT_NS));
        assert_int_equal(devio_call(devio, &job->base, LONG_NS), -ESHUTDOWN);
        assert_int_equal(devio_submit(devio, &job->base), -ESHUTDOWN);
        devio_job_unref(&job->base); /* not taken over */
        end(devio, &gate);
        assert_int_equal(gate.freed, 2);
}

static void no_submitted_job_is_lost_when_stopping(void **state)
{
        struct devio *devio = devio_of(1);
        struct gate gate;

        gate_init(&gate, false);
        for (int i = 0; i < 20; i++)
                assert_int_equal(devio_submit(devio, &job_of(&gate, 0)->base), 0);
        end(devio, &gate);
        assert_int_equal(gate.ran, 20); /* each says itself what became of it */
        assert_int_equal(gate.freed, 20);
}

struct caller {
        struct devio *devio;
        struct gate *gate;
        bool failed;
};

static void *call_many(void *argument)
{
        struct caller *caller = argument;

        for (int i = 0; i < 200; i++) {
                struct gate_job *job = job_of(caller->gate, i);

                if (devio_call(caller->devio, &job->base, LONG_NS) != i)
                        caller->failed = true;
                devio_job_unref(&job->base);
        }
        return NULL;
}

static void many_callers_get_their_own_results(void **state)
{
        struct devio *devio = devio_of(3);
        struct caller callers[4];
        pthread_t threads[4];
        struct gate gate;

        gate_init(&gate, true);
        for (int i = 0; i < 4; i++) {
                callers[i] = (struct caller){ .devio = devio, .gate = &gate };
                assert_int_equal(thread_start(&threads[i], "caller", call_many, &callers[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
                assert_int_equal(pthread_join(threads[i], NULL), 0);
                assert_false(callers[i].failed);
        }
        end(devio, &gate);
        assert_int_equal(gate.freed, 800);
}

static bool gate_overdue(struct devio_job *base, uint64_t age_ns)
{
        struct gate_job *job = (struct gate_job *)base;

        job->asked++;
        job->age_ns = age_ns;
        return !job->is_waited_for;
}

static struct gate_job *submit(struct devio *devio, struct gate *gate, bool is_waited_for)
{
        struct gate_job *job = job_of(gate, 0);

        job->is_waited_for = is_waited_for;
        job->base.overdue = gate_overdue;
        atomic_fetch_add(&job->base.references, 1); /* for the test */
        assert_int_equal(devio_submit(devio, &job->base), 0);
        return job;
}

static void overdue_jobs_are_given_up_whether_they_run_or_wait(void **state)
{
        struct devio *devio = devio_of(1);
        struct gate gate;
        struct gate_job *jobs[4];

        gate_init(&gate, false);
        for (unsigned i = 0; i < 4; i++) {
                jobs[i] = submit(devio, &gate, i == 2);
                if (i == 0)
                        wait_for(&gate, &gate.running, 1);
        }
        devio_overdue(devio, LONG_NS);
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(jobs[i]->asked, 0); /* none is so old */
        devio_overdue(devio, 0);
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(jobs[i]->asked, 1);
        devio_overdue(devio, 0);
        assert_int_equal(jobs[0]->asked, 2); /* it runs on, and is asked again */
        assert_int_equal(jobs[1]->asked, 1);
        assert_int_equal(jobs[2]->asked, 2);
        assert_true(jobs[2]->age_ns >= 1);
        gate_open(&gate);
        wait_for(&gate, &gate.ran, 2); /* the first, and the one that is waited for */
        for (unsigned i = 0; i < 4; i++)
                devio_job_unref(&jobs[i]->base);
        end(devio, &gate);
        assert_int_equal(gate.ran, 2);
        assert_int_equal(gate.freed, 4);
}

static void device_is_stuck_while_all_threads_are_in_a_job(void **state)
{
        struct devio *devio = devio_of(2);
        struct gate gate;
        struct gate_job *first, *second;

        gate_init(&gate, false);
        assert_int_equal(devio_stuck_ns(devio), 0);
        first = submit(devio, &gate, true);
        wait_for(&gate, &gate.running, 1);
        assert_int_equal(devio_stuck_ns(devio), 0);
        second = submit(devio, &gate, true);
        wait_for(&gate, &gate.running, 2);
        assert_true(devio_stuck_ns(devio) > 0);
        devio_job_unref(&first->base);
        devio_job_unref(&second->base);
        end(devio, &gate);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(call_returns_what_the_job_returned),
                cmocka_unit_test(caller_goes_on_without_a_stuck_job_which_outlives_it),
                cmocka_unit_test(job_that_nobody_began_in_time_never_runs),
                cmocka_unit_test(one_stuck_thread_leaves_the_others_at_work),
                cmocka_unit_test(calls_fail_at_once_while_all_threads_are_stuck),
                cmocka_unit_test(stop_says_that_a_thread_is_stuck_and_takes_nothing_more),
                cmocka_unit_test(no_submitted_job_is_lost_when_stopping),
                cmocka_unit_test(overdue_jobs_are_given_up_whether_they_run_or_wait),
                cmocka_unit_test(device_is_stuck_while_all_threads_are_in_a_job),
                cmocka_unit_test(many_callers_get_their_own_results),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
