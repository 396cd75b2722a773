#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/cleanup.h"
#include "core/events.h"
#include "core/sync.h"

#include <errno.h>
#include <jansson.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One reader with room for everything. */
struct reader {
        uint64_t last_seq;
        char text[EVENTS_HISTORY_BYTES + 4096];
        size_t size;
};

static struct events *new_events(void)
{
        struct events *events = NULL;

        assert_int_equal(events_new(&events), 0);
        return events;
}

static void read_some(struct events *events, struct reader *reader, size_t size)
{
        assert_int_equal(events_read(events, reader->last_seq, reader->text, size, &reader->last_seq, &reader->size), 0);
        reader->text[reader->size] = '\0';
}

static void read_all(struct events *events, struct reader *reader)
{
        read_some(events, reader, sizeof(reader->text) - 1);
}

/* The line at *position as JSON, and moves on. NULL at the end. */
static json_t *next_event(const char **position)
{
        const char *end = strchr(*position, '\n');
        json_t *event;

        if (!end) {
                assert_int_equal(**position, '\0');
                return NULL;
        }
        event = json_loadb(*position, (size_t)(end - *position), JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(event);
        *position = end + 1;
        return event;
}

static uint64_t seq_of(json_t *event)
{
        return (uint64_t)json_integer_value(json_object_get(event, "seq"));
}

static const char *text_of(json_t *event, const char *key)
{
        return json_string_value(json_object_get(event, key));
}

static void event_is_a_json_line_with_all_fields(void **state)
{
        struct events *events = new_events();
        static struct reader reader;
        const char *position = reader.text;
        json_t *event;

        reader.last_seq = 0;
        events_add(events, "file-copied", "dir/\"a\"\n\xc2\x9b.mov", 2, "in 3 s");
        read_all(events, &reader);
        assert_non_null(strstr(reader.text, "\"path\":\"dir/\\\"a\\\"\\n\\u009B.mov\""));
        assert_memory_equal(reader.text, "{\"seq\":1,\"time\":\"2", 18);
        event = next_event(&position);
        assert_int_equal(seq_of(event), 1);
        assert_int_equal(strlen(text_of(event, "time")), 24);
        assert_string_equal(text_of(event, "event"), "file-copied");
        assert_int_equal(json_integer_value(json_object_get(event, "target")), 2);
        assert_string_equal(text_of(event, "detail"), "in 3 s");
        assert_null(json_object_get(event, "path_b64"));
        assert_null(next_event(&position));
        json_decref(event);
        events_unref(events);
}

static void unknown_fields_are_null(void **state)
{
        struct events *events = new_events();
        static struct reader reader;
        const char *position = reader.text;
        json_t *event;

        reader.last_seq = 0;
        events_add(events, "mounted", NULL, 0, NULL);
        read_all(events, &reader);
        event = next_event(&position);
        assert_true(json_is_null(json_object_get(event, "path")));
        assert_true(json_is_null(json_object_get(event, "target")));
        assert_true(json_is_null(json_object_get(event, "detail")));
        json_decref(event);
        events_unref(events);
}

static void path_and_detail_of_any_bytes_are_valid_json(void **state)
{
        struct events *events = new_events();
        static struct reader reader;
        const char *position = reader.text;
        json_t *event;

        reader.last_seq = 0;
        events_add(events, "failed", "x\xfe", 1, "y\xff");
        read_all(events, &reader);
        event = next_event(&position);
        assert_string_equal(text_of(event, "path"), "x\\xfe");
        assert_string_equal(text_of(event, "path_b64"), "eP4=");
        assert_string_equal(text_of(event, "detail"), "y\\xff");
        json_decref(event);
        events_unref(events);
}

static void reading_goes_on_after_the_last_seq_in_whole_lines(void **state)
{
        struct events *events = new_events();
        static struct reader reader;
        uint64_t expected = 1;

        reader.last_seq = 0;
        for (int i = 0; i < 100; i++)
                events_add(events, "tick", "path", 1, "detail");
        for (;;) {
                const char *position = reader.text;
                json_t *event;

                read_some(events, &reader, 500);
                if (reader.size == 0)
                        break;
                while ((event = next_event(&position))) {
                        assert_int_equal(seq_of(event), expected++);
                        json_decref(event);
                }
                assert_int_equal(reader.last_seq, expected - 1);
        }
        assert_int_equal(expected, 101);
        assert_int_equal(events_last_seq(events), 100);
        events_unref(events);
}

static void buffer_too_small_for_a_line_is_an_error_and_changes_nothing(void **state)
{
        struct events *events = new_events();
        char buffer[20];
        uint64_t last = 77;
        size_t bytes = 78;

        assert_int_equal(events_read(events, 0, buffer, sizeof(buffer), &last, &bytes), 0);
        assert_int_equal(bytes, 0);
        last = 77;
        bytes = 78;
        events_add(events, "tick", NULL, 0, NULL);
        assert_int_equal(events_read(events, 0, buffer, sizeof(buffer), &last, &bytes), -ENOBUFS);
        assert_int_equal(last, 77);
        assert_int_equal(bytes, 78);
        for (int i = 0; i < EVENTS_HISTORY_COUNT; i++)
                events_add(events, "tick", NULL, 0, NULL);
        assert_int_equal(events_read(events, 0, buffer, sizeof(buffer), &last, &bytes), -ENOBUFS);
        events_unref(events);
}

static void reader_from_the_future_gets_nothing(void **state)
{
        struct events *events = new_events();
        static struct reader reader;

        events_add(events, "tick", NULL, 0, NULL);
        reader.last_seq = UINT64_MAX;
        read_all(events, &reader);
        assert_int_equal(reader.size, 0);
        assert_true(reader.last_seq == UINT64_MAX);
        events_unref(events);
}

static void reader_that_fell_behind_is_told_how_many_are_lost(void **state)
{
        struct events *events = new_events();
        static struct reader reader;
        const char *position = reader.text;
        json_t *event;
        uint64_t expected = 14;

        for (int i = 0; i < EVENTS_HISTORY_COUNT + 13; i++)
                events_add(events, "tick", NULL, 0, NULL);
        reader.last_seq = 3;
        read_all(events, &reader);
        event = next_event(&position);
        assert_string_equal(text_of(event, "event"), "lost");
        assert_int_equal(seq_of(event), 13);
        assert_memory_equal(text_of(event, "detail"), "10 ", 3);
        json_decref(event);
        while ((event = next_event(&position))) {
                assert_string_equal(text_of(event, "event"), "tick");
                assert_int_equal(seq_of(event), expected++);
                json_decref(event);
        }
        assert_int_equal(expected - 1, EVENTS_HISTORY_COUNT + 13);
        events_unref(events);
}

static void reader_whose_buffer_takes_only_the_lost_line_goes_on_after_it(void **state)
{
        struct events *events = new_events();
        static struct reader reader;
        const char *position = reader.text;
        char path[1001];
        json_t *event;

        memset(path, 'p', 1000);
        path[1000] = '\0';
        for (int i = 0; i < EVENTS_HISTORY_COUNT; i++)
                events_add(events, "tick", path, 0, NULL);
        reader.last_seq = 0;
        read_some(events, &reader, 400);
        event = next_event(&position);
        assert_string_equal(text_of(event, "event"), "lost");
        assert_int_equal(seq_of(event), reader.last_seq);
        assert_null(next_event(&position));
        json_decref(event);
        position = reader.text;
        read_some(events, &reader, 1500);
        event = next_event(&position);
        assert_string_equal(text_of(event, "path"), path);
        json_decref(event);
        events_unref(events);
}

/* Lines of changing length, so that every kind of wrap of the ring of bytes happens. */
static void history_is_bounded_in_bytes_and_keeps_the_newest(void **state)
{
        struct events *events = new_events();
        static struct reader reader;
        static char path[4001];
        const char *position = reader.text;
        json_t *event;
        uint64_t seq = 0, last = 0;

        for (int i = 1; i <= 3000; i++) {
                int length = (i * 37) % 4000;

                memset(path, 'a' + i % 26, (size_t)length);
                path[length] = '\0';
                events_add(events, "tick", path, i, NULL);
        }
        reader.last_seq = 0;
        read_all(events, &reader);
        assert_true(reader.size <= EVENTS_HISTORY_BYTES + 256);
        assert_true(reader.size >= EVENTS_HISTORY_BYTES - 5000);
        while ((event = next_event(&position))) {
                seq = seq_of(event);
                assert_true(last == 0 || seq == last + 1);
                if (last != 0) {
                        const char *name = text_of(event, "path");

                        assert_int_equal(strlen(name), (seq * 37) % 4000);
                        assert_int_equal(strspn(name, (char[]){(char)('a' + seq % 26), '\0'}), strlen(name));
                }
                last = seq;
                json_decref(event);
        }
        assert_int_equal(last, 3000);
        events_unref(events);
}

static void event_too_long_to_keep_takes_its_seq_as_lost(void **state)
{
        struct events *events = new_events();
        static struct reader reader;
        const char *position = reader.text;
        char *detail = malloc(EVENT_LINE_BYTES + 1);
        json_t *event;

        memset(detail, 'd', EVENT_LINE_BYTES);
        detail[EVENT_LINE_BYTES] = '\0';
        events_add(events, "failed", NULL, 0, detail);
        events_add(events, "next", NULL, 0, NULL);
        reader.last_seq = 0;
        read_some(events, &reader, EVENT_LINE_BYTES);
        event = next_event(&position);
        assert_string_equal(text_of(event, "event"), "lost");
        assert_int_equal(seq_of(event), 1);
        json_decref(event);
        event = next_event(&position);
        assert_string_equal(text_of(event, "event"), "next");
        json_decref(event);
        free(detail);
        events_unref(events);
}

static void longest_path_and_message_are_kept(void **state)
{
        struct events *events = new_events();
        static struct reader reader;
        const char *position = reader.text;
        char path[4096], detail[768];
        json_t *event;

        memset(path, 1, sizeof(path) - 1);
        path[sizeof(path) - 2] = (char)0xff;
        path[sizeof(path) - 1] = '\0';
        memset(detail, 2, sizeof(detail) - 1);
        detail[sizeof(detail) - 1] = '\0';
        events_add(events, "failed", path, 1, detail);
        reader.last_seq = 0;
        read_all(events, &reader);
        event = next_event(&position);
        assert_string_equal(text_of(event, "event"), "failed");
        json_decref(event);
        events_unref(events);
}

static void count_call(void *context)
{
        atomic_fetch_add((atomic_int *)context, 1);
}

static void subscriber_is_called_for_each_addition_and_the_close(void **state)
{
        struct events *events = new_events();
        atomic_int first = 0, second = 0;
        uint64_t first_id, second_id;

        assert_int_equal(events_subscribe(events, count_call, &first, &first_id), 0);
        assert_int_equal(events_subscribe(events, count_call, &second, &second_id), 0);
        assert_true(first_id != second_id);
        events_add(events, "tick", NULL, 0, NULL);
        assert_int_equal(first, 1);
        events_unsubscribe(events, first_id);
        events_unsubscribe(events, first_id);
        events_add(events, "tick", NULL, 0, NULL);
        assert_int_equal(first, 1);
        assert_int_equal(second, 2);
        assert_false(events_is_closed(events));
        events_close(events);
        events_close(events);
        assert_true(events_is_closed(events));
        assert_int_equal(second, 3);
        events_add(events, "tick", NULL, 0, NULL);
        assert_int_equal(second, 3);
        assert_int_equal(events_last_seq(events), 2);
        events_unsubscribe(events, second_id);
        events_add(NULL, "tick", NULL, 0, NULL);
        events_unref(events);
}

struct reading_subscriber {
        struct events *events;
        uint64_t last_seq;
};

static void read_in_call(void *context)
{
        struct reading_subscriber *subscriber = context;

        subscriber->last_seq = events_last_seq(subscriber->events);
}

static void notify_runs_without_the_lock(void **state)
{
        struct events *events = new_events();
        struct reading_subscriber subscriber = {.events = events};
        uint64_t id;

        assert_int_equal(events_subscribe(events, read_in_call, &subscriber, &id), 0);
        events_add(events, "tick", NULL, 0, NULL);
        assert_int_equal(subscriber.last_seq, 1); /* a lock held twice ends the process */
        events_unsubscribe(events, id);
        events_unref(events);
}

struct slow_subscriber {
        struct events *events;
        uint64_t id;
        sem_t entered, go;
        atomic_bool returned, unsubscribed;
};

static void wait_in_call(void *context)
{
        struct slow_subscriber *subscriber = context;

        sem_post(&subscriber->entered);
        while (sem_wait(&subscriber->go) < 0)
                ;
        assert_false(atomic_load(&subscriber->unsubscribed));
        atomic_store(&subscriber->returned, true);
}

static void *add_one(void *argument)
{
        events_add(argument, "tick", NULL, 0, NULL);
        return NULL;
}

static void *unsubscribe(void *argument)
{
        struct slow_subscriber *subscriber = argument;

        events_unsubscribe(subscriber->events, subscriber->id);
        atomic_store(&subscriber->unsubscribed, true);
        assert_true(atomic_load(&subscriber->returned));
        return NULL;
}

static void unsubscribe_waits_for_a_running_notify_and_others_go_on(void **state)
{
        struct events *events = new_events();
        struct slow_subscriber subscriber = {.events = events};
        pthread_t adder, leaver;
        atomic_int calls = 0;
        uint64_t other;

        sem_init(&subscriber.entered, 0, 0);
        sem_init(&subscriber.go, 0, 0);
        assert_int_equal(events_subscribe(events, count_call, &calls, &other), 0);
        assert_int_equal(events_subscribe(events, wait_in_call, &subscriber, &subscriber.id), 0);
        assert_int_equal(thread_start(&adder, "adder", add_one, events), 0);
        while (sem_wait(&subscriber.entered) < 0)
                ;
        assert_int_equal(thread_start(&leaver, "leaver", unsubscribe, &subscriber), 0);
        /* The history stays usable, and others can leave, while one subscriber hangs. */
        assert_int_equal(events_last_seq(events), 1);
        events_unsubscribe(events, other);
        sem_post(&subscriber.go);
        pthread_join(adder, NULL);
        pthread_join(leaver, NULL);
        assert_int_equal(calls, 0);
        sem_destroy(&subscriber.entered);
        sem_destroy(&subscriber.go);
        events_unref(events);
}

enum { THREADS = 4, EVENTS = 500 };

static void *add_many(void *argument)
{
        for (int i = 0; i < EVENTS; i++)
                events_add(argument, "tick", "some/path", 1, NULL);
        return NULL;
}

static void *come_and_go(void *argument)
{
        for (int i = 0; i < EVENTS; i++) {
                atomic_int calls = 0; /* gone when unsubscribe has returned: a later call would be seen by the sanitizers */
                uint64_t id;

                assert_int_equal(events_subscribe(argument, count_call, &calls, &id), 0);
                events_unsubscribe(argument, id);
        }
        return NULL;
}

struct parked {
        struct mutex lock;
        struct condition wake;
        unsigned calls;
};

static void wake_parked(void *context)
{
        struct parked *parked = context;
        MUTEX_SCOPE(&parked->lock);

        parked->calls++;
        condition_signal(&parked->wake);
}

/* As the FUSE layer does it. */
static void *follow(void *argument)
{
        struct events *events = argument;
        struct reader *reader = calloc(1, sizeof(*reader));
        struct parked parked = {.calls = 0};
        uint64_t id, expected = 1;
        unsigned seen = 0;

        mutex_init(&parked.lock);
        condition_init(&parked.wake);
        assert_int_equal(events_subscribe(events, wake_parked, &parked, &id), 0);
        for (;;) {
                bool closed = events_is_closed(events);
                const char *position = reader->text;
                json_t *event;

                read_all(events, reader);
                if (reader->size == 0 && closed)
                        break;
                while ((event = next_event(&position))) {
                        assert_int_equal(seq_of(event), expected++);
                        json_decref(event);
                }
                MUTEX_SCOPE(&parked.lock);
                while (!closed && parked.calls == seen)
                        condition_wait(&parked.wake, &parked.lock);
                seen = parked.calls;
        }
        assert_int_equal(expected, THREADS * EVENTS + 1);
        events_unsubscribe(events, id);
        condition_deinit(&parked.wake);
        mutex_deinit(&parked.lock);
        free(reader);
        return NULL;
}

static void follower_sees_every_event_of_many_threads_and_the_end(void **state)
{
        struct events *events = new_events();
        pthread_t adders[THREADS], follower, visitor;

        assert_int_equal(thread_start(&follower, "follower", follow, events), 0);
        assert_int_equal(thread_start(&visitor, "visitor", come_and_go, events), 0);
        for (int i = 0; i < THREADS; i++)
                assert_int_equal(thread_start(&adders[i], "adder", add_many, events), 0);
        for (int i = 0; i < THREADS; i++)
                pthread_join(adders[i], NULL);
        pthread_join(visitor, NULL);
        events_close(events);
        pthread_join(follower, NULL);
        events_unref(events);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(event_is_a_json_line_with_all_fields),
            cmocka_unit_test(unknown_fields_are_null),
            cmocka_unit_test(path_and_detail_of_any_bytes_are_valid_json),
            cmocka_unit_test(reading_goes_on_after_the_last_seq_in_whole_lines),
            cmocka_unit_test(buffer_too_small_for_a_line_is_an_error_and_changes_nothing),
            cmocka_unit_test(reader_from_the_future_gets_nothing),
            cmocka_unit_test(reader_that_fell_behind_is_told_how_many_are_lost),
            cmocka_unit_test(reader_whose_buffer_takes_only_the_lost_line_goes_on_after_it),
            cmocka_unit_test(history_is_bounded_in_bytes_and_keeps_the_newest),
            cmocka_unit_test(event_too_long_to_keep_takes_its_seq_as_lost),
            cmocka_unit_test(longest_path_and_message_are_kept),
            cmocka_unit_test(subscriber_is_called_for_each_addition_and_the_close),
            cmocka_unit_test(notify_runs_without_the_lock),
            cmocka_unit_test(unsubscribe_waits_for_a_running_notify_and_others_go_on),
            cmocka_unit_test(follower_sees_every_event_of_many_threads_and_the_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
