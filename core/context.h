/* What the modules of the engine share: the services below them and the facts of this mount. Owned by mirror_life.c, set up before the
 * first thread starts and constant afterwards, except where a field says otherwise. No module keeps more than a pointer to it.
 */
#ifndef CVV_CORE_CONTEXT_H
#define CVV_CORE_CONTEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/bufpool.h"
#include "core/events.h"
#include "core/exclude.h"
#include "core/limiter.h"
#include "core/options.h"
#include "core/progress.h"
#include "core/root.h"
#include "core/statedb.h"
#include "core/target.h"

struct move;

struct context {
        const struct options *options;
        struct statedb *db;
        struct progress progress;
        struct events *events;
        struct bufpool *bufpool;
        struct exclude *exclude;
        struct root *source;              /* NULL: none */
        atomic_bool source_absent;        /* its directory is gone or another one: nothing in it may be believed */
        struct target *targets[TARGET_SLOTS]; /* by slot; NULL where there is none */
        uint64_t target_mask;             /* the slots in use */
        bool unclean;                     /* the mount before did not end well */
        atomic_bool damaged;              /* a record could not be read: the state is checked before it is used again */
        uint64_t epoch;                   /* this mount's number in the state */
        uint64_t chunk_bytes;
        uint32_t source_tag;              /* a hash of the source's identity: see part.h */
        atomic_bool stopping;             /* nobody waits for a target any more */
        atomic_bool fill_all;             /* everything is queued */
        atomic_uint_least64_t changes;    /* grows with all that is copied, or found new or changed in the source: view_records.c counts */
        /* The content of a source file is not what its record says any more: its live maps are void. Called without locks. */
        void (*content_changed)(void *context, uint64_t id);
        /* Somebody waits for this move (with a reference, taken over): it goes before everything. Called without locks. */
        void (*submit)(void *context, struct move *move);
        /* The record of a file, of that generation, is not what its mover met in the source: the source is looked at again, and what lives of
         * the file is loaded anew. Where neither size nor times say that it changed, it is a new generation all the same, unless a target has it
         * whole: nobody knows which chunks are whose. May wait for the source. Called without locks. 0: it can be tried again; else what its readers get. */
        int (*drifted)(void *context, uint64_t id, uint64_t generation);
        /* The queue of a target was full, and a chunk was not given to it. Called without locks. */
        void (*fell_behind)(void *context, struct target *target);
        /* A file that lacks something was found while everything is queued. Called without locks. */
        void (*work_found)(void *context);
        /* A name of the node was published or found equal on a target. Called without locks. */
        void (*published)(void *context, uint64_t id);
        void *callback_context;
        struct mutex room_lock;           /* guards room_serial: changes of queues, states and hurries that a mover may wait for */
        struct condition room_changed;
        uint64_t room_serial;
        struct limiter *limiter;          /* of background work */
};

uint64_t context_room_serial(struct context *context);
/* Something changed that a mover may wait for. */
void context_room_signal(struct context *context);
/* Waits until something changed since `serial` was taken. */
void context_room_wait(struct context *context, uint64_t serial);
/* The same, at most until `deadline_ns`. */
void context_room_wait_until(struct context *context, uint64_t serial, uint64_t deadline_ns);

/* The targets of a mask, lowest slot first: for (CONTEXT_EACH_TARGET(context, mask, target)) */
static inline struct target *context_next_target(const struct context *context, uint64_t mask, unsigned from)
{
        for (unsigned slot = from; slot < TARGET_SLOTS; slot++)
                if ((mask >> slot & 1) && context->targets[slot])
                        return context->targets[slot];
        return NULL;
}
#define CONTEXT_EACH_TARGET(context, mask, which)                                             \
        struct target *(which) = context_next_target(context, mask, 0); (which);              \
        (which) = context_next_target(context, mask, (which)->slot + 1)

#endif
