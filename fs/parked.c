#include "fs/parked.h"

#include "core/cleanup.h"
#include "core/sync.h"
#include "fs/reply.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Who may touch what:
 *
 * The request's owner is the mirror's `done`, which is called once. libfuse calls on_interrupt with the request's own lock
 * held, and on_done takes the interrupt function back, which waits for that lock, before it replies; so on_interrupt finds
 * a request that lives, and a token that was not forgotten.
 *
 * Two cases stand against that. on_interrupt is called from within fuse_req_interrupt_func() where the interrupt came
 * first; there is no token yet, and read_start() looks at `interrupted` afterwards. And mirror_read_cancel() may call
 * on_done itself: inside on_interrupt that must neither take the function back (its lock is held) nor free anything, so it
 * only leaves a note for on_interrupt, which replies; find_interrupted() of libfuse keeps the request alive around the
 * call. */
struct read {
        struct read *previous, *next; /* in the list */
        struct parked *parked;
        fuse_req_t req;
        _Atomic(struct mirror_read *) token; /* NULL until mirror_read() has returned */
        atomic_bool interrupted;
        atomic_bool cancelled;  /* mirror_read_cancel was or is being called */
        atomic_uint references; /* read_start() and on_done, and parked_stop() for a while */
};

struct parked {
        struct mutex lock; /* guards the list */
        struct condition empty;
        struct read head; /* of a ring */
};

/* The read whose cancellation this thread is in the middle of, inside on_interrupt. */
static _Thread_local struct read *interrupting;
static _Thread_local bool done_inside_interrupt;

int parked_new(struct parked **ret_parked)
{
        struct parked *parked = calloc(1, sizeof(*parked));

        if (!parked)
                return -ENOMEM;
        mutex_init(&parked->lock);
        condition_init(&parked->empty);
        parked->head.previous = &parked->head;
        parked->head.next = &parked->head;
        *ret_parked = parked;
        return 0;
}

void parked_free(struct parked *parked)
{
        if (!parked)
                return;
        condition_deinit(&parked->empty);
        mutex_deinit(&parked->lock);
        free(parked);
}

/* The last reference is given back after `done` and with the token known: the moment to forget it. */
static void read_unref(struct read *read)
{
        struct parked *parked = read->parked;

        if (atomic_fetch_sub(&read->references, 1) > 1)
                return;
        if (atomic_load(&read->token))
                mirror_read_forget(atomic_load(&read->token));

        MUTEX_SCOPE(&parked->lock);
        read->previous->next = read->next;
        read->next->previous = read->previous;
        if (parked->head.next == &parked->head)
                condition_broadcast(&parked->empty);
        free(read);
}

static void read_cancel(struct read *read)
{
        struct mirror_read *token = atomic_load(&read->token);

        if (token && !atomic_exchange(&read->cancelled, true))
                mirror_read_cancel(token);
}

static void on_interrupt(fuse_req_t req, void *context)
{
        struct read *read = context;

        atomic_store(&read->interrupted, true);
        interrupting = read;
        done_inside_interrupt = false;
        read_cancel(read);
        interrupting = NULL;
        if (done_inside_interrupt) {
                reply_result(req, -EINTR);
                read_unref(read);
        }
}

static void on_done(void *context, int result, const struct iovec *data, int data_count)
{
        struct read *read = context;

        if (interrupting == read) {
                done_inside_interrupt = true;
                return;
        }
        fuse_req_interrupt_func(read->req, NULL, NULL);
        if (result < 0)
                reply_result(read->req, result);
        else
                reply_data(read->req, data, data_count);
        read_unref(read);
}

static struct read *read_new(struct parked *parked, fuse_req_t req)
{
        struct read *read = calloc(1, sizeof(*read));

        if (!read)
                return NULL;
        read->parked = parked;
        read->req = req;
        atomic_init(&read->token, NULL);
        atomic_init(&read->references, 2);

        MUTEX_SCOPE(&parked->lock);
        read->next = parked->head.next;
        read->previous = &parked->head;
        read->next->previous = read;
        parked->head.next = read;
        return read;
}

void parked_read(struct parked *parked, struct mirror_handle *handle, uint64_t offset, size_t size, fuse_req_t req)
{
        struct read *read = read_new(parked, req);
        struct mirror_read *token = NULL;

        if (!read) {
                reply_result(req, -ENOMEM);
                return;
        }
        fuse_req_interrupt_func(req, on_interrupt, read);
        mirror_read(handle, offset, size, on_done, read, &token);
        atomic_store(&read->token, token);
        if (atomic_load(&read->interrupted))
                read_cancel(read);
        read_unref(read);
}

/* A read under way that nobody has interrupted yet, with a reference; NULL: there is none. */
static struct read *next_to_cancel(struct parked *parked)
{
        MUTEX_SCOPE(&parked->lock);

        for (struct read *read = parked->head.next; read != &parked->head; read = read->next) {
                unsigned references = atomic_load(&read->references);

                if (atomic_exchange(&read->interrupted, true))
                        continue; /* somebody cancels it already */
                /* At 0 it is on its way out of the list. */
                while (references > 0 && !atomic_compare_exchange_weak(&read->references, &references, references + 1))
                        ;
                if (references > 0)
                        return read;
        }
        return NULL;
}

bool parked_stop(struct parked *parked, uint64_t deadline_ns)
{
        struct read *read;

        while ((read = next_to_cancel(parked))) {
                read_cancel(read);
                read_unref(read);
        }

        MUTEX_SCOPE(&parked->lock);
        while (parked->head.next != &parked->head) {
                if (!condition_wait_until(&parked->empty, &parked->lock, deadline_ns))
                        return parked->head.next == &parked->head;
        }
        return true;
}
