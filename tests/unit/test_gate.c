#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/gate.h"

#include "core/sync.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Requests that stay inside until they are let go. */
struct scene {
        struct gate *gate;
        sem_t entered, go;
        atomic_uint inside, most_inside, done, refused;
        atomic_int last_refusal;
        char names[8][16]; /* what each one was given, in order of running */
        atomic_uint name_count;
};

static void run(struct gate_request *request)
{
        struct scene *scene = request->context;
        unsigned inside = atomic_fetch_add(&scene->inside, 1) + 1;
        unsigned most = atomic_load(&scene->most_inside);

        while (inside > most && !atomic_compare_exchange_weak(&scene->most_inside, &most, inside))
                ;
        if (request->data)
                strcpy(scene->names[atomic_fetch_add(&scene->name_count, 1)], request->data);
        sem_post(&scene->entered);
        sem_wait(&scene->go);
        atomic_fetch_sub(&scene->inside, 1);
        atomic_fetch_add(&scene->done, 1);
}

static void refuse(struct gate_request *request, int result)
{
        struct scene *scene = request->context;

        atomic_store(&scene->last_refusal, result);
        atomic_fetch_add(&scene->refused, 1);
}

static struct scene *scene_new(unsigned limit)
{
        struct scene *scene = calloc(1, sizeof(*scene));

        assert_non_null(scene);
        assert_int_equal(gate_new(limit, &scene->gate), 0);
        sem_init(&scene->entered, 0, 0);
        sem_init(&scene->go, 0, 0);
        return scene;
}

static void scene_free(struct scene *scene)
{
        gate_free(scene->gate);
        sem_destroy(&scene->entered);
        sem_destroy(&scene->go);
        free(scene);
}

static struct gate_request request_of(struct scene *scene, const char *name)
{
        return (struct gate_request){
            .run = run,
            .refuse = refuse,
            .context = scene,
            .data = name,
            .data_bytes = name ? strlen(name) + 1 : 0,
        };
}

static void *enter_thread(void *context)
{
        struct scene *scene = context;
        struct gate_request request = request_of(scene, NULL);

        gate_enter(scene->gate, &request);
        return NULL;
}

static void a_request_runs_at_once_where_there_is_room(void **state)
{
        struct scene *scene = scene_new(1);
        struct gate_request request = request_of(scene, "one");

        sem_post(&scene->go);
        gate_enter(scene->gate, &request);
        assert_int_equal(atomic_load(&scene->done), 1);
        assert_string_equal(scene->names[0], "one");
        scene_free(scene);
}

static void more_than_the_limit_wait_and_run_later_with_their_data(void **state)
{
        struct scene *scene = scene_new(2);
        pthread_t threads[2];
        char name[] = "waits";
        struct gate_request request = request_of(scene, name);

        for (int i = 0; i < 2; i++) {
                assert_int_equal(thread_start(&threads[i], "test", enter_thread, scene), 0);
                sem_wait(&scene->entered);
        }
        gate_enter(scene->gate, &request); /* does not block */
        memset(name, 'x', sizeof(name) - 1);
        assert_int_equal(atomic_load(&scene->inside), 2);
        for (int i = 0; i < 3; i++)
                sem_post(&scene->go);
        for (int i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&scene->done), 3);
        assert_int_equal(atomic_load(&scene->most_inside), 2);
        assert_string_equal(scene->names[0], "waits");
        scene_free(scene);
}

static void waiting_requests_run_in_the_order_in_which_they_came(void **state)
{
        struct scene *scene = scene_new(1);
        static const char *const names[] = {"a", "b", "c"};
        pthread_t thread;

        assert_int_equal(thread_start(&thread, "test", enter_thread, scene), 0);
        sem_wait(&scene->entered);
        for (int i = 0; i < 3; i++) {
                struct gate_request request = request_of(scene, names[i]);

                gate_enter(scene->gate, &request);
        }
        for (int i = 0; i < 4; i++)
                sem_post(&scene->go);
        pthread_join(thread, NULL);
        for (int i = 0; i < 3; i++)
                assert_string_equal(scene->names[i], names[i]);
        scene_free(scene);
}

static void closing_refuses_those_that_wait_and_those_that_come(void **state)
{
        struct scene *scene = scene_new(1);
        struct gate_request request = request_of(scene, NULL);
        pthread_t thread;

        assert_int_equal(thread_start(&thread, "test", enter_thread, scene), 0);
        sem_wait(&scene->entered);
        gate_enter(scene->gate, &request);
        gate_close(scene->gate);
        assert_int_equal(atomic_load(&scene->refused), 1);
        gate_enter(scene->gate, &request);
        assert_int_equal(atomic_load(&scene->refused), 2);
        assert_int_equal(atomic_load(&scene->last_refusal), -EIO);
        sem_post(&scene->go);
        pthread_join(thread, NULL);
        assert_int_equal(atomic_load(&scene->done), 1);
        scene_free(scene);
}

static void a_full_queue_refuses(void **state)
{
        struct scene *scene = scene_new(1);
        struct gate_request request = request_of(scene, NULL);
        pthread_t thread;

        assert_int_equal(thread_start(&thread, "test", enter_thread, scene), 0);
        sem_wait(&scene->entered);
        for (int i = 0; i < GATE_QUEUE_MAX; i++)
                gate_enter(scene->gate, &request);
        assert_int_equal(atomic_load(&scene->refused), 0);
        gate_enter(scene->gate, &request);
        assert_int_equal(atomic_load(&scene->refused), 1);
        assert_int_equal(atomic_load(&scene->last_refusal), -ENOMEM);
        gate_close(scene->gate);
        assert_int_equal(atomic_load(&scene->refused), GATE_QUEUE_MAX + 1);
        sem_post(&scene->go);
        pthread_join(thread, NULL);
        scene_free(scene);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(a_request_runs_at_once_where_there_is_room),
            cmocka_unit_test(more_than_the_limit_wait_and_run_later_with_their_data),
            cmocka_unit_test(waiting_requests_run_in_the_order_in_which_they_came),
            cmocka_unit_test(closing_refuses_those_that_wait_and_those_that_come),
            cmocka_unit_test(a_full_queue_refuses),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
