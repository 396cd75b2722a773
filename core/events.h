/* What happened, for programs: the recent events as JSON lines, for the virtual file `.cvv/events`.
 *
 *   {"seq":7,"time":"2025-11-22T07:17:00.123Z","event":"target-offline","path":null,"target":2,"detail":"…"}
 *
 * "path" (with "path_b64" where it is not UTF-8), "target" and "detail" are null where unknown. `seq` counts from 1 without
 * gaps. The history is bounded (EVENTS_HISTORY_COUNT events and EVENTS_HISTORY_BYTES) and allocated once; the oldest events
 * make room for new ones. Each reader keeps its own place, the last seq it has seen. One that fell behind the history gets
 * a line with the event "lost", which says in "detail" how many, and goes on with the oldest one kept; so does a reader
 * that begins with 0 when the first events are gone already.
 *
 * A reader that is to wait: subscribe, then look whether there is something to read, then park; notify wakes it. At the
 * end: closed = events_is_closed(); events_read(); nothing read and `closed`: end of file.
 *
 * All functions are thread-safe and never block on I/O. events_add may be called with any lock held ("events" stands last
 * in the lock order), hence notify runs under the locks of whoever adds: it may only mark and wake, never take a lock that
 * stands above, wait, do I/O or send a FUSE reply.
 */
#ifndef CVV_CORE_EVENTS_H
#define CVV_CORE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        EVENTS_HISTORY_COUNT = 4096,
        EVENTS_HISTORY_BYTES = 1024 * 1024,
        EVENT_LINE_BYTES = 64 * 1024, /* longest line, newline included */
};

struct events;

/* The caller owns the result (one reference). 0 or -ENOMEM. */
int events_new(struct events **ret_events) __attribute__((nonnull, warn_unused_result));
struct events *events_ref(struct events *events) __attribute__((nonnull));
/* Gives one reference back; the last one frees. There must be no subscriber left then. Returns NULL. NULL is allowed. */
struct events *events_unref(struct events *events);

/* Adds an event and notifies the subscribers. `event` is a short word; `path` and `detail` may be NULL and are copied; any
 * bytes are fine. `target` counts from 1, 0: none. An event that cannot be kept (no memory, a line over EVENT_LINE_BYTES)
 * still takes its seq, with a line of event "lost" in its place. After events_close() nothing happens. NULL `events` is
 * allowed and does nothing. */
void events_add(struct events *events, const char *event, const char *path, int target, const char *detail)
    __attribute__((nonnull(2)));

/* Copies the lines after `after_seq` into `buffer`, as many whole lines as fit in `size` bytes (no NUL). `ret_bytes` is 0
 * when there is no newer event; `ret_last_seq` is what to pass as `after_seq` next time. 0, or -ENOBUFS when not even the
 * first line fits (never with a size of at least EVENT_LINE_BYTES); nothing is given then. */
int events_read(struct events *events, uint64_t after_seq, char *buffer, size_t size, uint64_t *ret_last_seq,
                size_t *ret_bytes) __attribute__((nonnull, warn_unused_result));

/* The seq of the newest event; 0 while there is none. There is something to read for who has seen less. */
uint64_t events_last_seq(struct events *events) __attribute__((nonnull));

/* From now on calls notify(context) after each addition and after the close, without the events lock held, from the thread
 * that added; two threads may be in it at once. 0 or -ENOMEM. */
int events_subscribe(struct events *events, void (*notify)(void *context), void *context, uint64_t *ret_id)
    __attribute__((nonnull(1, 2, 4), warn_unused_result));
/* When it returns notify is not running and is never called again. Blocks until running ones have returned: not from within
 * notify, and not with a lock held that notify takes. An unknown `id` is ignored. */
void events_unsubscribe(struct events *events, uint64_t id) __attribute__((nonnull));

/* Marks the end (unmount) and notifies. Idempotent. */
void events_close(struct events *events) __attribute__((nonnull));
bool events_is_closed(struct events *events) __attribute__((nonnull));

static inline void events_unref_pointer(struct events **events)
{
        (void)events_unref(*events); /* always NULL */
}

#endif
