/* What the reports show: one consistent snapshot of the mirror, and of one file. Plain data, no locks.
 *
 * mirror_status() and mirror_file_status() fill these; report_json and report_text turn them into what CONTRACT.md calls
 * status.json, targets/N.json, files/PATH, status, progress and state. Strings are owned by the snapshot; a name from a disk
 * is raw bytes here and is escaped by the report. Sizes are bytes; times nanoseconds since the epoch (CLOCK_REALTIME).
 */
#ifndef CVV_CORE_STATUS_H
#define CVV_CORE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/hash.h"
#include "core/options.h"
#include "core/progress.h"

enum mirror_state {
        MIRROR_PAUSED,
        MIRROR_FILLING,
        MIRROR_VERIFYING,
        MIRROR_FAILED,
        MIRROR_DEGRADED,
        MIRROR_COMPLETE,
        MIRROR_IDLE,
};

enum target_state {
        TARGET_ONLINE,
        TARGET_BEHIND,
        TARGET_FULL,
        TARGET_FAILED,
        TARGET_OFFLINE,
};

enum file_state { FILE_PENDING, FILE_PARTIAL, FILE_COPIED, FILE_VERIFIED, FILE_CONFLICT, FILE_FAILED };

/* How far the chunks of a range are on one target. */
enum chunk_state { CHUNK_LACKING, CHUNK_WRITTEN, CHUNK_PRESENT, CHUNK_VERIFIED };

struct status_target {
        uint32_t n;                 /* from 1, never reused */
        char *path;
        char *identity;
        enum target_state state;
        int64_t since_ns;
        uint64_t present_bytes;
        uint64_t verified_bytes;
        uint64_t owed_bytes;
        int64_t free_bytes;         /* -1: unknown */
        uint64_t rate_bytes_per_s;
        const char *verify_method;  /* static text or NULL */
        uint64_t errors;
        char *last_error;           /* or NULL */
        char *lost;                 /* metadata that it cannot hold, for people; or NULL. Not in status.json */
};

struct status_copy {                /* a file that is being copied now */
        char *path;
        uint64_t done_bytes;        /* on the target that has most */
        uint64_t size_bytes;
};

struct status {
        enum mirror_state state;
        enum mode mode;
        enum fill fill;
        char *mountpoint;           /* or NULL (cvv copy) */
        char *source;               /* or NULL (none) */
        int64_t pid;
        bool scan_complete;
        int progress_tenths;        /* 0 to 1000 */
        uint64_t rate_bytes_per_s;  /* of all (file, target) pairs together */
        int64_t eta_s;              /* -1: unknown */
        uint64_t files[CATEGORY_COUNT], bytes[CATEGORY_COUNT];
        uint64_t files_total, bytes_total;       /* excluded ones are not in it */
        uint64_t files_verified, bytes_verified;
        uint64_t owed_bytes;        /* sums over all targets */
        uint64_t queued_bytes;
        uint64_t source_copy_bytes;
        uint64_t source_verify_bytes;
        uint64_t passthrough_opens;
        uint64_t log_dropped;
        size_t target_count;
        struct status_target *targets;
        size_t copy_count;
        struct status_copy *copies;
};

struct status_range {
        uint64_t first, end;        /* chunks, half-open */
        enum chunk_state state;     /* never CHUNK_LACKING */
};

struct status_file_target {
        uint32_t n;
        enum file_state state;
        size_t range_count;
        struct status_range *ranges;
};

struct status_file {
        char *path;
        const char *type;           /* "file", "directory", "symlink", "fifo", "socket", "char", "block" */
        enum file_state state;
        uint64_t size;
        int64_t mtime_ns;
        uint64_t chunk_size;
        struct digest_values digests;
        char *last_error;           /* or NULL */
        size_t target_count;
        struct status_file_target *targets;
};

void status_deinit(struct status *status);
void status_file_deinit(struct status_file *file);

const char *status_state_name(enum mirror_state state);        /* "paused", "filling", … */
const char *status_target_state_name(enum target_state state); /* "online", … */
const char *status_file_state_name(enum file_state state);     /* "pending", … */

#endif
