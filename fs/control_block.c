#include "fs/control_block.h"

#include "core/cleanup.h"
#include "core/report_text.h"
#include "core/sync.h"
#include "fs/reply.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* A parked read. Whoever takes it out of its file's list replies. libfuse calls on_interrupt with the request's own lock
 * held and before interrupt_release() has returned, so that the struct lives. */
struct waiter {
        struct waiter *next;
        struct control_block_file *file;
        fuse_req_t req;
        size_t size;
        bool parked;      /* in the list; guarded by the block's lock, as all of it */
        bool interrupted; /* before it was parked */
};

struct control_block_file {
        struct control_block *block;
        struct control_block_file *previous, *next;
        enum control_kind kind;
        bool ended;        /* nothing comes after what the buffer has */
        bool revoked;      /* ended by control_block_end_readers() */
        bool end_told;     /* and a reader has got the end of the file */
        uint64_t last_seq; /* events: what the buffer has had */
        uint64_t opened_ns;
        size_t begin, end; /* what is not read yet */
        char *buffer;      /* events: of EVENT_LINE_BYTES; else the text, once it is known */
        struct waiter *waiters;
        struct fuse_pollhandle *poller;
};

struct control_block {
        struct mirror *mirror;
        struct events *events;
        uint64_t subscription;
        bool started;
        pthread_t thread;

        struct mutex signal_lock; /* guards the next two */
        bool changed, quit;
        struct condition signal;

        struct mutex lock; /* guards the files and what hangs on them */
        bool stopped;
        struct control_block_file *files;
};

/* What a reader or a poller gets, once the lock is released. */
struct answer {
        struct waiter *waiter; /* or NULL */
        struct fuse_pollhandle *poller;
        int result;
        char *data;
        size_t size;
};

/* ---- the signal ---- */

/* Called under any locks of the mirror. */
static void block_wake(void *context)
{
        struct control_block *block = context;

        MUTEX_SCOPE(&block->signal_lock);
        block->changed = true;
        condition_signal(&block->signal);
}

/* Waits for a change. False: the last round. */
static bool signal_wait(struct control_block *block)
{
        MUTEX_SCOPE(&block->signal_lock);
        while (!block->changed && !block->quit)
                condition_wait(&block->signal, &block->signal_lock);
        block->changed = false;
        return !block->quit;
}

/* ---- what there is to read ---- */

/* What a read of `wait` or `safe-to-erase` gives. Asked of the mirror without the lock held. */
struct said {
        bool known[CONTROL_NAMED_END]; /* by kind; false: not asked for, or it has to be waited for */
        char *text[CONTROL_NAMED_END]; /* NULL: without memory the reader gets the end of the file: that much it can know */
};

static void said_deinit(struct said *said)
{
        free(said->text[CONTROL_WAIT]);
        free(said->text[CONTROL_SAFE_TO_ERASE]);
}

/* `asked_ns`: when the last of those asked for it who get it. */
static void ask(struct control_block *block, enum control_kind kind, uint64_t asked_ns, struct said *said)
{
        cleanup(status_deinit) struct status status = {0};
        int r;

        if (kind == CONTROL_WAIT) {
                said->known[kind] = !mirror_is_busy(block->mirror);
                if (!said->known[kind] || mirror_status(block->mirror, &status) < 0)
                        return;
                r = report_state_text(&status, &said->text[kind]);
        } else {
                r = mirror_safe_to_erase(block->mirror, asked_ns, &said->text[kind]);
                said->known[kind] = r != -EAGAIN;
        }
        if (r < 0)
                said->text[kind] = NULL;
}

static void fill_events_locked(struct control_block_file *file)
{
        struct events *events = file->block->events;
        bool closed = events_is_closed(events);
        size_t bytes = 0;

        /* A buffer of EVENT_LINE_BYTES always takes a line. */
        if (events_read(events, file->last_seq, file->buffer, EVENT_LINE_BYTES, &file->last_seq, &bytes) < 0 ||
            (bytes == 0 && closed))
                file->ended = true;
        file->begin = 0;
        file->end = bytes;
}

/* True when a read of the file need not wait. */
static bool file_ready_locked(struct control_block_file *file, const struct said *said)
{
        if (file->begin < file->end || file->ended)
                return true;
        if (file->kind == CONTROL_EVENTS) {
                fill_events_locked(file);
        } else if (said->known[file->kind]) {
                file->buffer = said->text[file->kind] ? strdup(said->text[file->kind]) : NULL;
                file->end = file->buffer ? strlen(file->buffer) : 0;
                file->ended = true;
        }
        if (file->block->stopped)
                file->ended = true;
        return file->begin < file->end || file->ended;
}

static void take_locked(struct control_block_file *file, size_t size, struct answer *answer)
{
        size_t left = file->end - file->begin;

        answer->size = size < left ? size : left;
        if (answer->size == 0 && size > 0 && file->revoked) {
                if (file->end_told)
                        answer->result = -ENXIO;
                file->end_told = true;
        }
        if (answer->size == 0)
                return;
        answer->data = malloc(answer->size);
        if (!answer->data) {
                answer->result = -ENOMEM;
                return;
        }
        memcpy(answer->data, file->buffer + file->begin, answer->size);
        file->begin += answer->size;
}

static void answer_read(fuse_req_t req, struct answer *answer)
{
        if (answer->result < 0)
                reply_result(req, answer->result);
        else
                reply_buffer(req, answer->data, answer->size);
        free(answer->data);
}

/* ---- the thread ---- */

/* When the last of those who wait for that kind opened it; 0: nobody waits. */
static uint64_t last_asked_ns(struct control_block *block, enum control_kind kind)
{
        uint64_t last_ns = 0;

        MUTEX_SCOPE(&block->lock);
        for (struct control_block_file *file = block->files; file; file = file->next) {
                if (file->kind == kind && (file->waiters || file->poller) && file->opened_ns > last_ns)
                        last_ns = file->opened_ns;
        }
        return last_ns;
}

/* Takes out one reader or poller that need not wait any longer. */
static bool next_answer(struct control_block *block, const struct said *said, struct answer *ret_answer)
{
        MUTEX_SCOPE(&block->lock);
        for (struct control_block_file *file = block->files; file; file = file->next) {
                if ((!file->waiters && !file->poller) || !file_ready_locked(file, said))
                        continue;
                *ret_answer = (struct answer){0};
                if (file->waiters) {
                        ret_answer->waiter = file->waiters;
                        ret_answer->waiter->parked = false;
                        file->waiters = ret_answer->waiter->next;
                        take_locked(file, ret_answer->waiter->size, ret_answer);
                } else {
                        ret_answer->poller = pointer_steal(&file->poller);
                }
                return true;
        }
        return false;
}

/* Afterwards on_interrupt does not run and will not. */
static void interrupt_release(struct waiter *waiter)
{
        fuse_req_interrupt_func(waiter->req, NULL, NULL);
}

static void give(struct answer *answer)
{
        if (answer->poller) {
                (void)fuse_lowlevel_notify_poll(answer->poller); /* it fails where nobody polls any more */
                fuse_pollhandle_destroy(answer->poller);
                return;
        }
        interrupt_release(answer->waiter);
        answer_read(answer->waiter->req, answer);
        free(answer->waiter);
}

/* Answers whoever need not wait any longer. */
static void answer_all(struct control_block *block)
{
        static const enum control_kind kinds[] = {CONTROL_WAIT, CONTROL_SAFE_TO_ERASE};
        cleanup(said_deinit) struct said said = {0};
        struct answer answer;

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                uint64_t asked_ns = last_asked_ns(block, kinds[i]);

                if (asked_ns > 0)
                        ask(block, kinds[i], asked_ns, &said);
        }
        while (next_answer(block, &said, &answer))
                give(&answer);
}

static void *block_main(void *context)
{
        struct control_block *block = context;
        bool go_on;

        do {
                go_on = signal_wait(block);
                answer_all(block);
        } while (go_on);
        return NULL;
}

/* ---- lifecycle ---- */

int control_block_new(struct mirror *mirror, struct control_block **ret_block)
{
        struct control_block *block = calloc(1, sizeof(*block));

        if (!block)
                return -ENOMEM;
        block->mirror = mirror;
        block->events = events_ref(mirror_events(mirror));
        mutex_init(&block->signal_lock);
        condition_init(&block->signal);
        mutex_init(&block->lock);
        *ret_block = block;
        return 0;
}

int control_block_start(struct control_block *block)
{
        int r = events_subscribe(block->events, block_wake, block, &block->subscription);

        if (r < 0)
                return r;
        r = thread_start(&block->thread, "cvv-control", block_main, block);
        if (r < 0) {
                events_unsubscribe(block->events, block->subscription);
                return r;
        }
        mirror_on_idle(block->mirror, block_wake, block);
        block->started = true;
        return 0;
}

void control_block_stop(struct control_block *block)
{
        {
                MUTEX_SCOPE(&block->lock);
                block->stopped = true;
        }
        if (!block->started)
                return;
        block->started = false;
        mirror_on_idle(block->mirror, NULL, NULL);
        events_unsubscribe(block->events, block->subscription);
        {
                MUTEX_SCOPE(&block->signal_lock);
                block->quit = true;
                condition_signal(&block->signal);
        }
        (void)pthread_join(block->thread, NULL); /* fails for a thread that is none */
}

void control_block_end_readers(struct control_block *block)
{
        {
                MUTEX_SCOPE(&block->lock);
                for (struct control_block_file *file = block->files; file; file = file->next)
                        file->ended = file->revoked = true;
        }
        block_wake(block); /* its thread answers */
}

bool control_block_has_ended(struct control_block *block)
{
        MUTEX_SCOPE(&block->lock);
        for (const struct control_block_file *file = block->files; file; file = file->next) {
                if (file->revoked && file->kind == CONTROL_EVENTS)
                        return true;
        }
        return false;
}

void control_block_free(struct control_block *block)
{
        if (!block)
                return;
        events_unref(block->events);
        mutex_deinit(&block->lock);
        condition_deinit(&block->signal);
        mutex_deinit(&block->signal_lock);
        free(block);
}

/* ---- files ---- */

int control_block_open(struct control_block *block, enum control_kind kind, struct control_block_file **ret_file)
{
        cleanup(pointer_free) struct control_block_file *file = calloc(1, sizeof(*file));

        if (!file)
                return -ENOMEM;
        file->block = block;
        file->kind = kind;
        file->opened_ns = clock_now_ns();
        if (kind == CONTROL_EVENTS) {
                file->buffer = malloc(EVENT_LINE_BYTES);
                if (!file->buffer)
                        return -ENOMEM;
        }

        MUTEX_SCOPE(&block->lock);
        file->next = block->files;
        if (file->next)
                file->next->previous = file;
        block->files = file;
        *ret_file = pointer_steal(&file);
        return 0;
}

/* The kernel closes a file after its last request was answered: nobody waits in it. */
void control_block_close(struct control_block_file *file)
{
        struct control_block *block = file->block;

        {
                MUTEX_SCOPE(&block->lock);
                if (file->previous)
                        file->previous->next = file->next;
                else
                        block->files = file->next;
                if (file->next)
                        file->next->previous = file->previous;
        }
        if (file->poller)
                fuse_pollhandle_destroy(file->poller);
        free(file->buffer);
        free(file);
}

/* ---- reading ---- */

static void waiter_remove_locked(struct waiter *waiter)
{
        struct waiter **link = &waiter->file->waiters;

        while (*link != waiter)
                link = &(*link)->next;
        *link = waiter->next;
        waiter->parked = false;
}

static void on_interrupt(fuse_req_t req, void *context)
{
        struct waiter *waiter = context;
        bool was_parked;

        {
                MUTEX_SCOPE(&waiter->file->block->lock);
                was_parked = waiter->parked;
                if (was_parked)
                        waiter_remove_locked(waiter);
                else
                        waiter->interrupted = true; /* seen by park(), or the answer is on its way */
        }
        if (!was_parked)
                return;
        reply_result(req, -EINTR);
        free(waiter);
}

/* False: it was interrupted already, or all has ended. Where true, others own the waiter. */
static bool waiter_add(struct control_block_file *file, struct waiter *waiter)
{
        struct waiter **link = &file->waiters;

        MUTEX_SCOPE(&file->block->lock);
        if (waiter->interrupted || file->block->stopped)
                return false;
        while (*link)
                link = &(*link)->next;
        *link = waiter;
        waiter->parked = true;
        return true;
}

static void park(struct control_block_file *file, fuse_req_t req, size_t size)
{
        struct control_block *block = file->block;
        struct waiter *waiter = calloc(1, sizeof(*waiter));

        if (!waiter) {
                reply_result(req, -ENOMEM);
                return;
        }
        *waiter = (struct waiter){.file = file, .req = req, .size = size};
        fuse_req_interrupt_func(req, on_interrupt, waiter);
        if (waiter_add(file, waiter)) {
                block_wake(block); /* it looks again: something may have happened since */
                return;
        }
        interrupt_release(waiter);
        if (waiter->interrupted)
                reply_result(req, -EINTR);
        else
                reply_buffer(req, NULL, 0);
        free(waiter);
}

/* Whether a read of `size` bytes (0: none is made) need not wait; then takes them. */
static bool try_read(struct control_block_file *file, size_t size, struct answer *answer)
{
        cleanup(said_deinit) struct said said = {0};
        bool is_open;

        {
                MUTEX_SCOPE(&file->block->lock);
                is_open = !file->ended;
        }
        if (is_open && file->kind != CONTROL_EVENTS)
                ask(file->block, file->kind, file->opened_ns, &said);

        MUTEX_SCOPE(&file->block->lock);
        if (!file_ready_locked(file, &said))
                return false;
        take_locked(file, size, answer);
        return true;
}

void control_block_read(struct control_block_file *file, fuse_req_t req, size_t size, bool nonblocking)
{
        struct answer answer = {0};

        if (try_read(file, size, &answer))
                answer_read(req, &answer);
        else if (nonblocking)
                reply_exact(req, EAGAIN);
        else
                park(file, req, size);
}

void control_block_poll(struct control_block_file *file, fuse_req_t req, struct fuse_pollhandle *handle)
{
        struct control_block *block = file->block;
        struct answer answer = {0};
        bool is_ready;

        if (handle) {
                struct fuse_pollhandle *replaced;

                {
                        MUTEX_SCOPE(&block->lock);
                        replaced = file->poller;
                        file->poller = handle;
                }
                if (replaced)
                        fuse_pollhandle_destroy(replaced);
        }
        is_ready = try_read(file, 0, &answer);
        reply_poll(req, is_ready ? POLLIN | POLLRDNORM : 0);
        if (handle)
                block_wake(block); /* it may have become ready since */
}
