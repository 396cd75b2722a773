#include "core/progress.h"

#include <string.h>

#define SECOND_NS UINT64_C(1000000000)

__extension__ typedef unsigned __int128 uint128;

/* ---- rate ---- */

/* Drops the buckets that have left the window by `now_ns`. */
static void rate_advance(struct rate *rate, uint64_t now_ns)
{
        uint64_t second = now_ns / SECOND_NS;

        if (second <= rate->second)
                return;
        if (second - rate->second >= RATE_WINDOW_S) {
                memset(rate->buckets, 0, sizeof(rate->buckets));
                rate->sum_bytes = 0;
                rate->second = second;
        }
        while (rate->second < second) {
                uint64_t *bucket = &rate->buckets[++rate->second % RATE_WINDOW_S];

                rate->sum_bytes -= *bucket;
                *bucket = 0;
        }
}

void rate_add(struct rate *rate, uint64_t bytes, uint64_t now_ns)
{
        if (bytes == 0)
                return;
        rate_advance(rate, now_ns);
        if (rate->sum_bytes == 0)
                rate->start_ns = now_ns;
        rate->buckets[rate->second % RATE_WINDOW_S] += bytes;
        rate->sum_bytes += bytes;
}

uint64_t rate_bytes_per_s(const struct rate *rate, uint64_t now_ns)
{
        struct rate current = *rate;
        uint64_t span_ns, flowing_ns;
        uint128 per_s;

        rate_advance(&current, now_ns);
        span_ns = (RATE_WINDOW_S - 1) * SECOND_NS + now_ns % SECOND_NS; /* the newest bucket is not full yet */
        flowing_ns = now_ns > current.start_ns ? now_ns - current.start_ns : 0;
        if (flowing_ns < span_ns)
                span_ns = flowing_ns;
        if (span_ns < SECOND_NS)
                span_ns = SECOND_NS;
        per_s = (uint128)current.sum_bytes * SECOND_NS / span_ns;
        return (uint64_t)per_s; /* span is at least a second, so that it is not above the sum */
}

/* ---- counters ---- */

const char *category_name(enum category category)
{
        static const char *const names[CATEGORY_COUNT] = {
            [CATEGORY_PENDING] = "pending",   [CATEGORY_COPIED] = "copied",   [CATEGORY_SKIPPED] = "skipped",
            [CATEGORY_EXCLUDED] = "excluded", [CATEGORY_MISSING] = "missing", [CATEGORY_FAILED] = "failed",
            [CATEGORY_CONFLICT] = "conflict",
        };

        return names[category];
}

void progress_init(struct progress *progress)
{
        memset(progress, 0, sizeof(*progress));
        atomic_init(&progress->source_copy_bytes, 0);
        atomic_init(&progress->source_verify_bytes, 0);
        atomic_init(&progress->passthrough_opens, 0);
        mutex_init(&progress->mutex);
}

void progress_deinit(struct progress *progress)
{
        mutex_deinit(&progress->mutex);
}

void progress_add(struct progress *progress, enum category category, int64_t files_delta, int64_t bytes_delta)
{
        MUTEX_SCOPE(&progress->mutex);
        progress->totals.files[category] += (uint64_t)files_delta;
        progress->totals.bytes[category] += (uint64_t)bytes_delta;
}

void progress_move(struct progress *progress, enum category from, enum category to, uint64_t bytes)
{
        MUTEX_SCOPE(&progress->mutex);
        progress->totals.files[from]--;
        progress->totals.bytes[from] -= bytes;
        progress->totals.files[to]++;
        progress->totals.bytes[to] += bytes;
}

void progress_verified_add(struct progress *progress, int64_t files_delta, int64_t bytes_delta)
{
        MUTEX_SCOPE(&progress->mutex);
        progress->totals.files_verified += (uint64_t)files_delta;
        progress->totals.bytes_verified += (uint64_t)bytes_delta;
}

void progress_target_add(struct progress *progress, unsigned int slot, int64_t present_delta, int64_t verified_delta,
                         int64_t owed_delta)
{
        struct progress_target *target;

        if (slot >= PROGRESS_TARGETS)
                return;
        target = &progress->totals.targets[slot];
        MUTEX_SCOPE(&progress->mutex);
        target->present_bytes += (uint64_t)present_delta;
        target->verified_bytes += (uint64_t)verified_delta;
        target->owed_bytes += (uint64_t)owed_delta;
}

void progress_queued_add(struct progress *progress, unsigned int slot, int64_t bytes_delta)
{
        if (slot >= PROGRESS_TARGETS)
                return;
        MUTEX_SCOPE(&progress->mutex);
        progress->totals.targets[slot].queued_bytes += (uint64_t)bytes_delta;
}

void progress_exempt_add(struct progress *progress, unsigned int slot, int64_t bytes_delta)
{
        if (slot >= PROGRESS_TARGETS)
                return;
        MUTEX_SCOPE(&progress->mutex);
        progress->totals.targets[slot].exempt_bytes += (uint64_t)bytes_delta;
}

void progress_target_forget(struct progress *progress, unsigned int slot)
{
        if (slot >= PROGRESS_TARGETS)
                return;
        MUTEX_SCOPE(&progress->mutex);
        progress->totals.targets[slot] = (struct progress_target){0};
        progress->target_rates[slot] = (struct rate){0};
}

void progress_copied(struct progress *progress, unsigned int slot, uint64_t bytes)
{
        uint64_t now_ns = clock_now_ns();

        if (slot >= PROGRESS_TARGETS)
                return;
        MUTEX_SCOPE(&progress->mutex);
        rate_add(&progress->rate, bytes, now_ns);
        rate_add(&progress->target_rates[slot], bytes, now_ns);
}

void progress_source_read(struct progress *progress, uint64_t bytes, bool for_verify)
{
        atomic_fetch_add(for_verify ? &progress->source_verify_bytes : &progress->source_copy_bytes, bytes);
}

void progress_passthrough_opened(struct progress *progress)
{
        atomic_fetch_add(&progress->passthrough_opens, 1);
}

void progress_set_scan_complete(struct progress *progress, bool complete)
{
        MUTEX_SCOPE(&progress->mutex);
        progress->totals.scan_complete = complete;
}

static void copy_locked(const struct progress *progress, uint64_t now_ns, struct progress_snapshot *ret)
{
        *ret = progress->totals;
        ret->rate_bytes_per_s = rate_bytes_per_s(&progress->rate, now_ns);
        for (unsigned int i = 0; i < PROGRESS_TARGETS; i++)
                ret->targets[i].rate_bytes_per_s = rate_bytes_per_s(&progress->target_rates[i], now_ns);
}

/* A delta that has not arrived yet may leave a counter below zero for a moment. */
static void floor_zero(uint64_t *counter)
{
        if (*counter > INT64_MAX)
                *counter = 0;
}

void progress_snapshot(struct progress *progress, struct progress_snapshot *ret)
{
        uint64_t now_ns = clock_now_ns();

        {
                MUTEX_SCOPE(&progress->mutex);
                copy_locked(progress, now_ns, ret);
        }
        ret->source_copy_bytes = atomic_load(&progress->source_copy_bytes);
        ret->source_verify_bytes = atomic_load(&progress->source_verify_bytes);
        ret->passthrough_opens = atomic_load(&progress->passthrough_opens);
        for (unsigned int i = 0; i < CATEGORY_COUNT; i++) {
                floor_zero(&ret->files[i]);
                floor_zero(&ret->bytes[i]);
        }
        floor_zero(&ret->files_verified);
        floor_zero(&ret->bytes_verified);
        for (unsigned int i = 0; i < PROGRESS_TARGETS; i++) {
                struct progress_target *target = &ret->targets[i];

                floor_zero(&target->present_bytes);
                floor_zero(&target->verified_bytes);
                floor_zero(&target->exempt_bytes);
                floor_zero(&target->owed_bytes);
                floor_zero(&target->queued_bytes);
                ret->owed_bytes += target->owed_bytes;
                ret->queued_bytes += target->queued_bytes;
        }
}

/* ---- arithmetic ---- */

int64_t progress_eta_s(uint64_t remaining_bytes, uint64_t rate_bytes_per_s)
{
        uint64_t seconds;

        if (remaining_bytes == 0)
                return 0;
        if (rate_bytes_per_s == 0)
                return -1;
        seconds = remaining_bytes / rate_bytes_per_s + (remaining_bytes % rate_bytes_per_s != 0);
        return seconds > INT64_MAX ? INT64_MAX : (int64_t)seconds;
}

int progress_tenths(uint64_t done_units, uint64_t total_units, bool complete)
{
        if (complete && done_units == total_units)
                return 1000;
        if (total_units == 0)
                return 0;
        if (done_units >= total_units)
                return 999;
        return (int)((uint128)done_units * 1000 / total_units);
}
