/* One reading of a whole file for verification: chunk by chunk, past the page cache (readback.h), compared with the hashes that were taken in
 * flight; the digest of the file is made on the way where it is wanted. What becomes of a chunk that differs is the caller's to say.
 *
 * A look belongs to one thread. Between two portions it stops at the inspector's gate: verification may be paused there, or end.
 */
#ifndef CVV_CORE_LOOK_H
#define CVV_CORE_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/file.h"
#include "core/readback.h"

/* Where all threads of verification wait and are stopped. */
struct gate {
        struct mutex lock;         /* "verification" in sync.h; guards all below, and what its owners say */
        struct condition changed;
        bool paused, stopping;
};

/* A thread of verification, with what it reads with. */
struct inspector {
        struct view *view;
        struct context *context;
        struct attempts *attempts;
        struct gate *gate;
        struct target *target;
        struct readback readback;
        struct limiter *limiter;      /* of reading this target back; the source has the context's */
        bool rests;                   /* it waits at the gate, or for another thread to read the source; guarded by the gate */
        uint64_t in_device_since_ns;  /* 0: in no call to its target's device; guarded by the gate */
};

struct look {
        struct inspector *inspector;
        struct file *file;
        uint64_t generation;          /* size and chunk_count are this one's */
        uint64_t size, chunk_count;
        uint64_t serial;              /* of the part: nothing of it may be taken back while it is read */
        bool source;                  /* the source is read, else the inspector's target */
        bool counts;                  /* what is read of the target counts as verified from then on */
        bool adopts;                  /* chunks without a known hash get the one that is read */
        struct chunk_hash hash;
        struct digest *digest;        /* NULL: not wanted, or lost */
        uint64_t counted;             /* bytes that stand in the totals of the target as verified */
        uint64_t bad;                 /* chunks that differed */
};

/* Waits while verification is paused. False: it ends. */
bool gate_pass(struct inspector *inspector);
/* Says that the thread goes into its target's device, or comes out of it. */
void inspector_in_device(struct inspector *inspector, bool inside);

/* Begins a look at the file as `node` has it. -ESTALE: it is another version by now. */
int look_begin(struct look *look, struct inspector *inspector, struct file *file, const struct node_record *node, bool source);
/* The look is to give the digests that `node` lacks, too. */
void look_want_digest(struct look *look, const struct node_record *node);
/* Reads what `fd` has open, to its end. `differs` is told of each chunk that is not as it should be (`error`: -EBADMSG, or that of its read); where it
 * returns other than 0 that is the result. 0, -ESHUTDOWN, -ESTALE (another version), or an error. */
int look_run(struct look *look, int fd, const struct device *device, int (*differs)(struct look *look, uint64_t chunk, int error));
/* What was counted as verified is taken back, unless that was passed on. */
void look_end(struct look *look);

#endif
