#include "core/scan.h"

#include "engine_fixture.h"

struct observer {
        struct engine *engine;
        struct scan *scan;
        bool was_running;
        unsigned ended; /* guarded by the context's room_lock */
};

static void on_ended(void *context)
{
        struct observer *observer = context;

        observer->was_running = scan_is_running(observer->scan);
        MUTEX_SCOPE(&observer->engine->context.room_lock);
        observer->ended++;
}

/* Looks again only when it is told that something changed, as who waits for idleness does. */
static void wait_until_it_rests(struct observer *observer)
{
        struct context *context = &observer->engine->context;
        uint64_t deadline_ns = clock_now_ns() + ENGINE_WAIT_NS;

        for (;;) {
                uint64_t serial = context_room_serial(context);

                if (!scan_is_running(observer->scan))
                        return;
                assert_true(clock_now_ns() < deadline_ns);
                context_room_wait_until(context, serial, deadline_ns);
        }
}

static void scan_counts_as_running_until_its_end_was_told(void **state)
{
        struct engine *engine = *state;
        struct observer observer = { .engine = engine };

        engine_put_file(engine->source_dir, "file", 5, 'a', 0);
        assert_int_equal(scan_new(engine->reconcile, engine->view, on_ended, &observer, &observer.scan), 0);
        assert_true(scan_is_running(observer.scan)); /* it is asked for from the beginning */
        assert_int_equal(scan_start(observer.scan), 0);
        wait_until_it_rests(&observer);
        assert_int_equal(observer.ended, 1);
        assert_true(observer.was_running);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 1);
        assert_true(scan_stop(observer.scan, clock_now_ns() + ENGINE_WAIT_NS));
        scan_free(observer.scan);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ENGINE_CASE(scan_counts_as_running_until_its_end_was_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
