/* Progress: the counters behind `status`, `progress` and `metrics`, rates of flow, and the arithmetic of percent and ETA.
 *
 * The owners of the facts report each change as a delta; nothing here decides anything. A snapshot is consistent: a file
 * that changes its category is never seen in both or in none. Counters are kept modulo 2^64, so that deltas may arrive in
 * any order; a snapshot shows one that is below zero at that moment as 0.
 *
 * Thread safe: one mutex ("progress" in core/sync.h, held for a few additions), atomics for what is counted on hot paths.
 * Nothing here blocks for longer.
 */
#ifndef CVV_CORE_PROGRESS_H
#define CVV_CORE_PROGRESS_H

#include "core/sync.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- rate ---- */

enum { RATE_WINDOW_S = 10 };

/* Bytes per second over the last 10 s or since the flow began, whichever is shorter. Embedded, zeroed at first, guarded by
 * its owner. Time is passed in, from clock_now_ns(). */
struct rate {
        uint64_t buckets[RATE_WINDOW_S]; /* bytes in each second; index is the second modulo the window */
        uint64_t second;                 /* the newest bucket's */
        uint64_t sum_bytes;              /* of all buckets */
        uint64_t start_ns;               /* when the flow began that fills the window */
};

/* Counts `bytes` that flowed at `now_ns`. A time before the newest counts as the newest. */
void rate_add(struct rate *rate, uint64_t bytes, uint64_t now_ns) __attribute__((nonnull));
/* Smoothed bytes per second; 0 when nothing flowed in the window. The first second counts as a whole one. */
uint64_t rate_bytes_per_s(const struct rate *rate, uint64_t now_ns) __attribute__((nonnull));

/* ---- counters ---- */

enum { PROGRESS_TARGETS = 64 };

/* Each file is in exactly one. Verified is no category: a verified file is also a copied or skipped one. */
enum category {
        CATEGORY_PENDING,
        CATEGORY_COPIED,
        CATEGORY_SKIPPED, /* was there already: done */
        CATEGORY_EXCLUDED,
        CATEGORY_MISSING, /* vanished or unreadable in the source */
        CATEGORY_FAILED,
        CATEGORY_CONFLICT,
        CATEGORY_COUNT,
};

/* The category's name as in status.json, static. */
const char *category_name(enum category category);

struct progress_target {
        uint64_t present_bytes;
        uint64_t verified_bytes;
        uint64_t owed_bytes;
        uint64_t queued_bytes;
        uint64_t exempt_bytes; /* present, and not to be read back: taken as equal by size and time */
        uint64_t rate_bytes_per_s;
};

struct progress_snapshot {
        uint64_t files[CATEGORY_COUNT];
        uint64_t bytes[CATEGORY_COUNT];
        uint64_t files_verified;
        uint64_t bytes_verified;
        uint64_t owed_bytes; /* of all targets together, as are the next two */
        uint64_t queued_bytes;
        uint64_t rate_bytes_per_s;
        struct progress_target targets[PROGRESS_TARGETS];
        uint64_t source_copy_bytes;
        uint64_t source_verify_bytes;
        uint64_t passthrough_opens;
        bool scan_complete;
};

/* Embedded; the members are private. */
struct progress {
        atomic_uint_least64_t source_copy_bytes;
        atomic_uint_least64_t source_verify_bytes;
        atomic_uint_least64_t passthrough_opens;

        /* Guards everything below. */
        struct mutex mutex;
        struct progress_snapshot totals; /* without sums, rates and atomics: a snapshot fills those in */
        struct rate rate;
        struct rate target_rates[PROGRESS_TARGETS];
};

/* All counters zero, the scan not complete. */
void progress_init(struct progress *progress) __attribute__((nonnull));
/* Nobody may use it any more. Call once for each init. */
void progress_deinit(struct progress *progress) __attribute__((nonnull));

/* Files and bytes that come into a category (or, negative, leave it). */
void progress_add(struct progress *progress, enum category category, int64_t files_delta, int64_t bytes_delta)
    __attribute__((nonnull));
/* One file of `bytes` changes its category. */
void progress_move(struct progress *progress, enum category from, enum category to, uint64_t bytes)
    __attribute__((nonnull));
/* Files that are verified on all their targets, once each. */
void progress_verified_add(struct progress *progress, int64_t files_delta, int64_t bytes_delta) __attribute__((nonnull));

/* What a target has, has verified, and lacks, in bytes. `slot` is below PROGRESS_TARGETS here and below; others are
 * ignored. */
void progress_target_add(struct progress *progress, unsigned int slot, int64_t present_delta, int64_t verified_delta,
                         int64_t owed_delta) __attribute__((nonnull));
/* Bytes that wait in the target's queue. */
void progress_queued_add(struct progress *progress, unsigned int slot, int64_t bytes_delta) __attribute__((nonnull));
/* Bytes that are there and that nobody is to read back. */
void progress_exempt_add(struct progress *progress, unsigned int slot, int64_t bytes_delta) __attribute__((nonnull));
/* Forgets all that was counted for a target: it was removed. Nothing may be added to it afterwards. */
void progress_target_forget(struct progress *progress, unsigned int slot) __attribute__((nonnull));
/* `bytes` were written to a target just now: feeds its rate and that of the whole. */
void progress_copied(struct progress *progress, unsigned int slot, uint64_t bytes) __attribute__((nonnull));

/* Bytes read from the source, for copying or for verifying. Lock-free. */
void progress_source_read(struct progress *progress, uint64_t bytes, bool for_verify) __attribute__((nonnull));
/* A file was opened through kernel passthrough. Lock-free. */
void progress_passthrough_opened(struct progress *progress) __attribute__((nonnull));
void progress_set_scan_complete(struct progress *progress, bool complete) __attribute__((nonnull));

/* All counters as they are at one moment, with sums and rates. */
void progress_snapshot(struct progress *progress, struct progress_snapshot *ret) __attribute__((nonnull));

/* ---- arithmetic ---- */

/* Seconds until `remaining_bytes` have flowed at that rate, rounded up; 0 when nothing remains, -1 when nobody knows. */
int64_t progress_eta_s(uint64_t remaining_bytes, uint64_t rate_bytes_per_s);
/* Floored tenths of a percent, 0 to 1000. `complete`: the scan is complete and nothing is owed. 1000 only when complete and
 * done == total; anything else that would round or overshoot to it is 999. Nothing to do is 1000 or, not complete, 0. */
int progress_tenths(uint64_t done_units, uint64_t total_units, bool complete);

#endif
