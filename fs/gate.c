#include "fs/gate.h"

#include "core/sync.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct gate {
        struct mutex lock; /* guards the rest */
        unsigned limit, inside;
        bool closed;
        size_t queued;
        struct gate_request *first, **last;
};

/* What waits: the request, then its data. */
struct waiting {
        struct gate_request request;
        char data[];
};

int gate_new(unsigned limit, struct gate **ret_gate)
{
        struct gate *gate = calloc(1, sizeof(*gate));

        if (!gate)
                return -ENOMEM;
        mutex_init(&gate->lock);
        gate->limit = limit;
        gate->last = &gate->first;
        *ret_gate = gate;
        return 0;
}

void gate_free(struct gate *gate)
{
        if (!gate)
                return;
        mutex_deinit(&gate->lock);
        free(gate);
}

static struct gate_request *request_copy(const struct gate_request *request)
{
        struct waiting *copy = malloc(sizeof(*copy) + request->data_bytes);

        if (!copy)
                return NULL;
        copy->request = *request;
        copy->request.next = NULL;
        if (request->data) {
                memcpy(copy->data, request->data, request->data_bytes);
                copy->request.data = copy->data;
        }
        return &copy->request;
}

enum entry { ENTRY_RUN, ENTRY_QUEUED, ENTRY_NO_ROOM, ENTRY_CLOSED };

static enum entry enter(struct gate *gate, const struct gate_request *request)
{
        struct gate_request *copy;

        MUTEX_SCOPE(&gate->lock);
        if (gate->closed)
                return ENTRY_CLOSED;
        if (gate->inside < gate->limit) {
                gate->inside++;
                return ENTRY_RUN;
        }
        copy = gate->queued < GATE_QUEUE_MAX ? request_copy(request) : NULL;
        if (!copy)
                return ENTRY_NO_ROOM;
        *gate->last = copy;
        gate->last = &copy->next;
        gate->queued++;
        return ENTRY_QUEUED;
}

/* The next one that waits, which takes the caller's place inside; NULL: the caller has left. */
static struct gate_request *leave(struct gate *gate, bool *ret_closed)
{
        struct gate_request *next;

        MUTEX_SCOPE(&gate->lock);
        *ret_closed = gate->closed;
        next = gate->first;
        if (!next) {
                gate->inside--;
                return NULL;
        }
        gate->first = next->next;
        if (!gate->first)
                gate->last = &gate->first;
        gate->queued--;
        return next;
}

static void run_waiting(struct gate *gate)
{
        struct gate_request *next;
        bool closed;

        while ((next = leave(gate, &closed))) {
                if (closed)
                        next->refuse(next, -EIO);
                else
                        next->run(next);
                free(next);
        }
}

void gate_enter(struct gate *gate, struct gate_request *request)
{
        switch (enter(gate, request)) {
        case ENTRY_RUN:
                request->run(request);
                run_waiting(gate);
                break;
        case ENTRY_QUEUED:
                break;
        case ENTRY_NO_ROOM:
                request->refuse(request, -ENOMEM);
                break;
        case ENTRY_CLOSED:
                request->refuse(request, -EIO);
                break;
        }
}

void gate_close(struct gate *gate)
{
        struct gate_request *first;

        {
                MUTEX_SCOPE(&gate->lock);
                gate->closed = true;
                first = gate->first;
                gate->first = NULL;
                gate->last = &gate->first;
                gate->queued = 0;
        }
        while (first) {
                struct gate_request *next = first->next;

                first->refuse(first, -EIO);
                free(first);
                first = next;
        }
}
