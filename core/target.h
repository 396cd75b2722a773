/* One target: its directory, its state, its bounded queue with the thread that writes, and the list of what was written since
 * its last good sync. It knows nothing of files or chunks: a queued job says itself what it does (see file.h), the list of the
 * un-synced is handed to the checkpoint thread as it is.
 *
 * States (CONTRACT.md): online, behind (it could not take everything in time and is being brought up), full, failed, offline (hung,
 * gone). Only online and behind targets take writes; full ones still serve reads.
 *
 * The queue is the target's own, so that a slow or hung target delays nobody: who does not want to wait finds it full and
 * leaves the chunk lacking. Its ceiling keeps a hung target from holding more than its share of the buffers.
 */
#ifndef CVV_CORE_TARGET_H
#define CVV_CORE_TARGET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/statvfs.h>

#include "core/error.h"
#include "core/events.h"
#include "core/root.h"
#include "core/status.h"
#include "core/sync.h"

struct directory_set;
struct file;
struct target;

enum {
        TARGET_SLOTS = 64,           /* bits of a slot mask */
        TARGET_LOSSES = 10,          /* kinds of metadata and objects that a target may be unable to hold: problem.h */
        TARGET_INTERVAL_MS = 2000,   /* a checkpoint interval ends after this time … */
        TARGET_UNSYNCED_FILES = 1024 /* … or with this many un-synced chunks, or TARGET_INTERVAL_BYTES */
};
#define TARGET_INTERVAL_BYTES (256u << 20)

/* Work for the target's writer thread. run() is called once, on that thread, or with `discard` on any; it frees the job. */
struct target_job {
        void (*run)(struct target_job *job, struct target *target, bool discard);
        uint64_t bytes; /* of buffers that it holds, for the ceiling */
        struct target_job *next;
};

/* A chunk (or TARGET_WHOLE: an object without data) that is written and not yet synced. */
struct unsynced {
        struct file *file; /* with a reference */
        uint64_t chunk;
        uint64_t generation, epoch; /* of the file when it was written */
};
#define TARGET_WHOLE UINT64_MAX

struct unsynced_list {
        struct unsynced *items;
        size_t count, capacity;
        uint64_t bytes;
        uint64_t since_ns; /* clock_now_ns() of its first item */
};

struct target {
        struct root root;
        uint32_t n;            /* what the user sees: from 1, never reused */
        unsigned slot;         /* its bit in the masks of the records */
        char identity[256];    /* of the filesystem and directory; where it has none of its own, what is known of it */
        char marker[40];       /* the id in .cvv/id; empty while there is none */
        char *file_name;       /* owned; where one file alone is mirrored, its name here, else NULL */
        uint32_t source_tag;   /* of the source that is mirrored here now; several may be in turn */
        uint64_t event_count;  /* in .cvv/event.TAG, for each source its own; 0 while there is none */
        int control_fd;        /* .cvv on the target, -1 while absent */
        int partial_fd;        /* .cvv/partial */
        struct events *events; /* borrowed */
        void (*changed)(void *context, struct target *target); /* room, state; called without locks */
        void *changed_context;
        atomic_uint_least64_t losses[TARGET_LOSSES]; /* see problem.h */
        atomic_uint verify_method; /* the weakest way in which something was read back here (enum readback_method) */
        pthread_t writer, checkpointer, resyncer;
        bool writer_started, checkpointer_started, resyncer_started;

        struct mutex lock;     /* guards all below */
        enum target_state state;
        int64_t since_ns;      /* CLOCK_REALTIME */
        uint64_t error_count;
        char last_error[256];
        struct target_job *head, **tail;
        uint64_t queued_bytes, queue_ceiling_bytes;
        unsigned job_count;    /* queued or running */
        uint64_t writer_busy_since_ns; /* 0: idle */
        uint64_t let_down_ns;          /* when a reader waited for room in vain; 0: never */
        uint64_t write_ns;             /* what a queued write takes; the last ones count most */
        uint64_t looking_since_ns;     /* 0: its checkpoint thread is in no call but a sync */
        struct unsynced_list unsynced, syncing;
        size_t unsynced_max;           /* of chunks in `unsynced` and jobs for more of them; constant once started */
        struct unsynced_list verified; /* whole, synced and looked at: they wait for their final names */
        bool publishing_verified;      /* the checkpoint thread is at it */
        uint64_t syncing_since_ns;     /* 0: no sync is running */
        uint64_t checkpoint_wanted, checkpoint_done; /* tickets */
        struct directory_set *directories; /* to be finished; see directories.h */
        bool directories_forgotten;
        unsigned pending_publish;      /* objects between their sync and their final name */
        struct statvfs space;
        bool space_known;
        uint64_t free_at_full;         /* bytes that were free when it was declared full */
        bool writer_ended, checkpointer_ended, resyncer_ended;
        bool reads_hang;               /* it is behind because all threads of its device hang */
        bool hung;                     /* it was taken offline because it did not answer */
        bool stopping;
        struct condition work;         /* for the writer */
        struct condition checkpoint;   /* for the checkpoint thread and who waits for it */
};

/* Opens the directory and reads its marker and the event count of the source with that tag; takes the lock that keeps two cvv off one
 * target. Changes nothing. */
int target_open(struct target *target, const char *path, uint32_t source_tag, struct error *error);
/* A target whose directory is not there (yet): only its path is known. */
int target_init_absent(struct target *target, const char *path);
/* Says that one file alone is mirrored, which has that name here; it becomes part of the identity. 0 or -ENOMEM. */
int target_set_file_name(struct target *target, const char *name);
/* Where on the target the object with that path in the view lies, relative to its root. Points into one of the two. */
static inline const char *target_path_of(const struct target *target, const char *path)
{
        return target->file_name && *path ? target->file_name : path;
}
/* Makes .cvv, .cvv/partial, the marker and the source's event count, durably. `marker` is made up where it is empty. */
int target_write_marker(struct target *target, uint64_t event_count, struct error *error);
/* Removes the source's event count, and, where no other source has anything here (an event count, partial files), .cvv/partial and .cvv with
 * what cvv itself put there; -ENOTEMPTY where something else lies in it. */
int target_remove_marker(struct target *target);
int target_start(struct target *target, uint64_t queue_ceiling_bytes);
void target_close(struct target *target);

/* Queues `job` where there is room (and the target takes writes). False: the job is still the caller's. `force`: room or not. */
bool target_enqueue(struct target *target, struct target_job *job, bool force);
/* How full the queue is. */
enum target_level { TARGET_QUEUE_LOW /* at most half */, TARGET_QUEUE_ROOM, TARGET_QUEUE_FULL /* or it takes no writes */ };
enum target_level target_level(struct target *target);
/* It takes writes, its syncs keep pace, and a queued write takes less than `patience_ms`: a full queue will have room soon. */
bool target_is_moving(struct target *target, uint64_t patience_ms);
/* A reader waited for room here, and there was none: held against a target whose writes take `slow_ms` or more, for a faster one only had
 * too many askers. */
void target_let_down(struct target *target, uint64_t slow_ms);
/* That was less than `grudge_ms` ago. */
bool target_has_let_down(struct target *target, uint64_t grudge_ms);
bool target_has_room(struct target *target, uint64_t bytes);
bool target_takes_writes(struct target *target);
bool target_serves_reads(struct target *target);
/* Nothing is queued, running, un-synced or unpublished. */
bool target_is_drained(struct target *target);
/* The interval is to end. With the lock held. */
bool target_interval_is_full_locked(const struct target *target);
/* Adds to the un-synced list; takes over the reference to the file. Returns false (and nothing is taken) without memory. */
bool target_add_unsynced(struct target *target, const struct unsynced *item, uint64_t bytes);

/* The file of the item is whole, synced and verified: the checkpoint thread gives it its final name. As target_add_unsynced(). */
bool target_add_verified(struct target *target, const struct unsynced *item);

enum target_state target_state(struct target *target);
/* Changes the state, with an event where it is new. */
void target_set_state(struct target *target, enum target_state state, const char *detail);
/* Something that the target has was read back in that way (enum readback_method). */
void target_note_verify_method(struct target *target, unsigned method);
/* Counts an error and remembers it, as an event and in the log. */
void target_note_error(struct target *target, int error, const char *what, const char *path);
/* Counts an error as above, and takes the target out of service where `error` (negative errno) is one of the whole device.
 * A state that is worse already stays: what was on its way when a target failed must not bring it back as a full one, which serves reads
 * and recovers by itself. Returns true where the error is the device's; false: an error of this one file. */
bool target_report(struct target *target, int error, const char *what, const char *path);
/* Pure: the state that an errno of a write or sync on a target leads to; TARGET_ONLINE: it concerns the one file only. */
enum target_state target_state_of_error(int error);
/* Takes note of statvfs of the device (on a thread of the device). */
void target_refresh_space(struct target *target);

#endif
