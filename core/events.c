#include "core/events.h"

#include "core/cleanup.h"
#include "core/json_path.h"
#include "core/sync.h"
#include "core/timestamp.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        PREFIX_BYTES = 64, /* of `{"seq":N,` */
        LOST_LINE_BYTES = 256,
};

struct subscriber {
        struct subscriber *next;
        uint64_t id;
        void (*notify)(void *context);
        void *context;
        unsigned running; /* calls of notify; while there are any it stays in the list */
        bool leaving;     /* no new calls */
};

/* Lines lie one after the other in `history`, a ring of bytes, as positions that only grow. Sequence numbers have no gaps,
 * so an event's place in `starts` follows from its seq, and its line ends where the next one begins. */
struct events {
        atomic_uint references;
        struct mutex lock;         /* guards the rest */
        struct condition returned; /* a notify has come back */
        struct subscriber *subscribers;
        uint64_t last_id;
        bool closed;
        uint64_t first_seq; /* oldest kept; next_seq where there is none */
        uint64_t next_seq;
        uint64_t begin, end; /* positions of the kept lines */
        uint64_t starts[EVENTS_HISTORY_COUNT];
        char history[EVENTS_HISTORY_BYTES];
};

int events_new(struct events **ret_events)
{
        struct events *events = calloc(1, sizeof(*events));

        if (!events)
                return -ENOMEM;
        atomic_init(&events->references, 1);
        mutex_init(&events->lock);
        condition_init(&events->returned);
        events->first_seq = 1;
        events->next_seq = 1;
        *ret_events = events;
        return 0;
}

struct events *events_ref(struct events *events)
{
        atomic_fetch_add(&events->references, 1);
        return events;
}

struct events *events_unref(struct events *events)
{
        if (!events || atomic_fetch_sub(&events->references, 1) > 1)
                return NULL;
        condition_deinit(&events->returned);
        mutex_deinit(&events->lock);
        free(events);
        return NULL;
}

/* ---- the history ---- */

static uint64_t line_end_locked(const struct events *events, uint64_t seq)
{
        return seq + 1 == events->next_seq ? events->end : events->starts[(seq + 1) % EVENTS_HISTORY_COUNT];
}

static void history_make_room_locked(struct events *events, size_t size)
{
        while (events->first_seq < events->next_seq && (events->next_seq - events->first_seq == EVENTS_HISTORY_COUNT ||
                                                        events->end - events->begin + size > EVENTS_HISTORY_BYTES)) {
                events->begin = line_end_locked(events, events->first_seq);
                events->first_seq++;
        }
}

static void history_put_locked(struct events *events, const char *text, size_t size)
{
        size_t offset = (size_t)(events->end % EVENTS_HISTORY_BYTES);
        size_t before_wrap = size < EVENTS_HISTORY_BYTES - offset ? size : EVENTS_HISTORY_BYTES - offset;

        memcpy(events->history + offset, text, before_wrap);
        memcpy(events->history, text + before_wrap, size - before_wrap);
        events->end += size;
}

static void history_get_locked(const struct events *events, uint64_t position, char *ret_text, size_t size)
{
        size_t offset = (size_t)(position % EVENTS_HISTORY_BYTES);
        size_t before_wrap = size < EVENTS_HISTORY_BYTES - offset ? size : EVENTS_HISTORY_BYTES - offset;

        memcpy(ret_text, events->history + offset, before_wrap);
        memcpy(ret_text + before_wrap, events->history, size - before_wrap);
}

/* A line that needs no memory; nothing in it comes from outside. Returns its length. */
static size_t format_lost(char ret_line[LOST_LINE_BYTES], uint64_t seq, const char *time, uint64_t count, const char *what)
{
        int length = snprintf(ret_line, LOST_LINE_BYTES,
                              "{\"seq\":%" PRIu64 ",\"time\":\"%s\",\"event\":\"lost\",\"path\":null,\"target\":null,"
                              "\"detail\":\"%" PRIu64 " %s\"}\n",
                              seq, time, count, what);

        return length > 0 && length < LOST_LINE_BYTES ? (size_t)length : 0;
}

/* ---- adding ---- */

/* Everything but the seq, `{"time":…}` without a newline; NULL where memory is short. */
static char *event_body(const char *time, const char *event, const char *path, int target, const char *detail)
{
        json_t *object = json_object();
        char *body = NULL;

        /* json_object_set_new refuses NULL, of an object that could not be had and of a value. */
        if (json_object_set_new(object, "time", json_string(time)) == 0 &&
            json_object_set_new(object, "event", json_text_new(event)) == 0 && json_path_set(object, path) == 0 &&
            json_object_set_new(object, "target", target > 0 ? json_integer(target) : json_null()) == 0 &&
            json_object_set_new(object, "detail", json_text_new(detail)) == 0)
                body = json_safe_dumps(object, JSON_COMPACT);
        json_decref(object);
        return body;
}

static void subscribers_notify(struct events *events)
{
        MUTEX_SCOPE(&events->lock);

        /* One that runs cannot leave the list, so its `next` holds when the lock is back. */
        for (struct subscriber *subscriber = events->subscribers; subscriber; subscriber = subscriber->next) {
                if (subscriber->leaving)
                        continue;
                subscriber->running++;
                mutex_unlock(&events->lock);
                subscriber->notify(subscriber->context);
                mutex_lock(&events->lock);
                if (--subscriber->running == 0)
                        condition_broadcast(&events->returned);
        }
}

/* Gives the event its seq and its place. False when the history is closed. */
static bool history_add(struct events *events, const char *time, const char *body)
{
        size_t body_bytes = body ? strlen(body) : 0;
        char prefix[PREFIX_BYTES], lost[LOST_LINE_BYTES];
        uint64_t seq;

        MUTEX_SCOPE(&events->lock);
        if (events->closed)
                return false;
        seq = events->next_seq;
        if (body && body_bytes <= EVENT_LINE_BYTES - PREFIX_BYTES) {
                int prefix_bytes = snprintf(prefix, sizeof(prefix), "{\"seq\":%" PRIu64 ",", seq);

                history_make_room_locked(events, PREFIX_BYTES + body_bytes);
                events->starts[seq % EVENTS_HISTORY_COUNT] = events->end;
                history_put_locked(events, prefix, (size_t)prefix_bytes);
                history_put_locked(events, body + 1, body_bytes - 1); /* without its opening brace */
                history_put_locked(events, "\n", 1);
        } else {
                size_t length =
                    format_lost(lost, seq, time, 1, body ? "event was too long to be kept" : "event found no memory");

                history_make_room_locked(events, length);
                events->starts[seq % EVENTS_HISTORY_COUNT] = events->end;
                history_put_locked(events, lost, length);
        }
        events->next_seq++;
        return true;
}

void events_add(struct events *events, const char *event, const char *path, int target, const char *detail)
{
        char time[TIMESTAMP_BYTES];
        cleanup(pointer_free) char *body = NULL;
        int saved = errno;

        if (!events)
                return;
        timestamp_now(time);
        body = event_body(time, event, path, target, detail);
        if (history_add(events, time, body))
                subscribers_notify(events);
        errno = saved;
}

/* ---- reading ---- */

int events_read(struct events *events, uint64_t after_seq, char *buffer, size_t size, uint64_t *ret_last_seq,
                size_t *ret_bytes)
{
        char time[TIMESTAMP_BYTES], lost[LOST_LINE_BYTES];
        uint64_t last = after_seq;
        size_t used = 0;

        timestamp_now(time);

        MUTEX_SCOPE(&events->lock);
        if (last < events->first_seq - 1) {
                /* It stands for the last one lost, so that a reader that gets no further goes on after it. */
                size_t length = format_lost(lost, events->first_seq - 1, time, events->first_seq - 1 - last,
                                            "older events are no longer kept");

                if (length > size)
                        return -ENOBUFS;
                memcpy(buffer, lost, length);
                used = length;
                last = events->first_seq - 1;
        }
        while (last < events->next_seq - 1) {
                uint64_t start = events->starts[(last + 1) % EVENTS_HISTORY_COUNT];
                size_t length = (size_t)(line_end_locked(events, last + 1) - start);

                if (length > size - used)
                        break;
                history_get_locked(events, start, buffer + used, length);
                used += length;
                last++;
        }
        if (used == 0 && last < events->next_seq - 1)
                return -ENOBUFS;
        *ret_last_seq = last;
        *ret_bytes = used;
        return 0;
}

uint64_t events_last_seq(struct events *events)
{
        MUTEX_SCOPE(&events->lock);
        return events->next_seq - 1;
}

/* ---- subscribers and the end ---- */

int events_subscribe(struct events *events, void (*notify)(void *context), void *context, uint64_t *ret_id)
{
        struct subscriber *subscriber = calloc(1, sizeof(*subscriber));

        if (!subscriber)
                return -ENOMEM;
        subscriber->notify = notify;
        subscriber->context = context;

        MUTEX_SCOPE(&events->lock);
        subscriber->id = ++events->last_id;
        subscriber->next = events->subscribers;
        events->subscribers = subscriber;
        *ret_id = subscriber->id;
        return 0;
}

static struct subscriber **subscriber_find_locked(struct events *events, uint64_t id)
{
        struct subscriber **link = &events->subscribers;

        while (*link && (*link)->id != id)
                link = &(*link)->next;
        return link;
}

void events_unsubscribe(struct events *events, uint64_t id)
{
        cleanup(pointer_free) struct subscriber *subscriber = NULL;
        struct subscriber **link;

        MUTEX_SCOPE(&events->lock);
        link = subscriber_find_locked(events, id);
        if (!*link || (*link)->leaving)
                return;
        subscriber = *link;
        subscriber->leaving = true;
        while (subscriber->running > 0)
                condition_wait(&events->returned, &events->lock);
        link = subscriber_find_locked(events, id); /* others may have come and gone meanwhile */
        *link = subscriber->next;
}

void events_close(struct events *events)
{
        {
                MUTEX_SCOPE(&events->lock);
                if (events->closed)
                        return;
                events->closed = true;
        }
        subscribers_notify(events);
}

bool events_is_closed(struct events *events)
{
        MUTEX_SCOPE(&events->lock);
        return events->closed;
}
