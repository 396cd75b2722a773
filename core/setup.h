/* Setting up a mirror: opens source, targets and state, checks that they go together, and finds out what of the state can be believed.
 *
 * Stages, so that a usage error (exit 2) changes nothing: first everything is opened and checked, then missing targets are made, the state
 * is opened, the targets are matched with its records, and last the event counts are raised.
 *
 * Event counts (as in md RAID). Each mount raises the count: `event_pending` is committed, then each target gets it, durably, then the
 * records of these targets and `event_count`. A target has a count for each source that is mirrored to it (in turn, each with a state of
 * its own): they say nothing of one another. What is found at the next mount:
 *   count = the target's record, or = event_pending     the state and the target know each other
 *   count > event_pending                               the state is older than the target (restored from a copy): it is set aside
 *   count older, or missing although it was not removed the target is older (restored), or was wiped: what the state says of it is void
 */
#ifndef CVV_CORE_SETUP_H
#define CVV_CORE_SETUP_H

#include "core/error.h"
#include "core/options.h"
#include "core/record.h"
#include "core/root.h"
#include "core/statedb.h"
#include "core/statedir.h"
#include "core/target.h"

struct setup {
        bool has_source;
        struct root source;
        char source_identity[256];
        uint32_t source_tag;                  /* a hash of it: what this source has on a target is named by it */
        size_t target_count;
        struct target *targets[TARGET_SLOTS]; /* in the order given; each knows its n and slot */
        struct statedir *state;
        struct statedb *db;
        struct meta_record meta;
        bool unclean;                         /* the last mount did not end well */
        bool damaged;                         /* to be set before setup_close(): the next one is to check the state */
        uint64_t void_slots;                  /* what the state says of these targets is void */
        bool created[TARGET_SLOTS];           /* the directory was made now */
        bool unrecorded[TARGET_SLOTS];        /* the state did not know the target */
        bool attached;                        /* setup_attach() was called */
};

/* The first two stages: nothing is written to any target, but a directory that is absent is made, and removed again at the end if the targets
 * are never attached. */
int setup_open_untouched(const struct options *options, struct error *error, struct setup *setup);
/* The last stage. `notice` (may be NULL) is told of the directories that were made. On failure only setup_close() may follow. */
int setup_attach(struct setup *setup, void (*notice)(const char *line), struct error *error);
/* All of it. */
int setup_open(const struct options *options, void (*notice)(const char *line), struct error *error, struct setup *setup);
/* Writes the meta record. */
int setup_put_meta(struct statedb *db, const struct meta_record *meta);
int setup_get_meta(struct statedb *db, struct meta_record *ret_meta);
/* A good end: the state knows that it needs no check, and, where the targets were attached, whose markers were removed (a mask of slots). */
int setup_record_end(struct setup *setup, uint64_t removed_markers);
/* Closes everything that is open. */
void setup_close(struct setup *setup);

#endif
