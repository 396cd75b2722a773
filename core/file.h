/* A live file: the maps of what each target has of it, who is bringing what, and who waits for it. The one place where a chunk is
 * claimed and counted as written; marks.h declares it present.
 *
 * A file is live while something uses it: an open handle, a move, an un-synced chunk. Its truth lies in the records (view.h); the live
 * maps are loaded from them and every mark goes back there.
 *
 * The life of a chunk on one target:
 *   lacking   nobody has it there
 *   claimed   a move aims at this target (file_claim): only that move's jobs write the chunk's bytes there
 *   written   all its blocks are written and the result of each write was good (file_slot_done); readers may take it from there
 *   present   a sync that began after that was good, and it is recorded (marks_present)
 * A failed write, sync, read or comparison takes it back to lacking. Content that changes in the source makes a new generation:
 * maps void, partial files void, moves of the old generation count for nothing; each queued job carries its move's generation.
 *
 * A move is one chunk on its way from one origin to the targets that lack it. It keeps its blocks until a target has the whole
 * chunk, so that readers are answered from memory in the meantime; a reader of a chunk that nobody has parks on the move.
 *
 * Locks: `file->lock` guards a file and its moves; no I/O is done under it.
 */
#ifndef CVV_CORE_FILE_H
#define CVV_CORE_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/bitmap.h"
#include "core/bufpool.h"
#include "core/hash.h"
#include "core/metadata.h"
#include "core/view.h"

struct files;
struct file_read;

enum part_kind {
        PART_UNKNOWN,   /* not looked at yet in this mount */
        PART_PARTIAL,   /* fd: the partial file, read and write */
        PART_COMPARE,   /* fd: a file that was there; its chunks are compared, not written */
        PART_FINISHED,  /* under its final name, whole */
        PART_BLOCKED,   /* conflict, or it cannot be there */
};

struct file_part {
        enum part_kind kind;
        int fd;                       /* -1: none; once open it stays until the file is dropped */
        struct bitmap written;        /* chunks; includes the present ones */
        struct bitmap present;
        uint64_t serial;              /* counts how often something of it was taken back or doubted: what was read before proves nothing */
        bool dirty;                   /* its chunks may hold bytes already: holes are punched, not assumed */
        bool metadata_set;            /* on the partial file, after its last write */
        bool verifying;               /* it waits for verification on this target, is at it, or waits for its final name after it */
        bool publishing;              /* this version is getting its final name */
        bool whole_queued;            /* a job of wholemove.c is on its way there, of whatever version, or waits for its sync */
        bool passed_by;               /* somebody wanted to bring it there meanwhile, and is to come again: see wholemove_release() */
};

struct move_block {
        struct block *block;          /* with a reference; NULL: not loaded, a hole, or given back */
        bool loaded;                  /* readers can be answered */
        bool hole;                    /* zeros */
        bool given_back;              /* it was loaded, and memory was short: this move does not show it again */
};

enum { MOVE_ORIGIN_SOURCE = -1 };

struct move {
        struct file *file;            /* with a reference */
        uint64_t chunk;
        uint64_t generation, epoch;   /* of the file when it was claimed */
        uint64_t offset, length;      /* bytes in the file */
        uint64_t data_bytes;          /* of them that were given to targets to be written, and not as a hole */
        int origin;                   /* a slot, or MOVE_ORIGIN_SOURCE */
        bool demand;                  /* a reader waits: no queue is waited for */
        uint64_t slots;               /* targets that it aims at and that have not finished with it */
        atomic_uint_least64_t dropped;/* of them: no room, failed, differs */
        bool reading;                 /* the read side is not finished */
        bool in_file;                 /* on file->moves */
        bool intact;                  /* read whole, the source unchanged */
        bool passed_by;               /* somebody wanted the chunk for other targets, and is to come again */
        atomic_uint references;
        struct hash128 hash;
        struct file_read *waiters;    /* parked */
        struct move *next_in_file, *next_queued;
        size_t block_count;
        struct move_block blocks[];
};

/* What the source says of an object besides its bytes. Does not change once it is shared. */
struct file_facts {
        atomic_uint references;
        struct metadata metadata;
        char *link_text;              /* of a symbolic link, else NULL */
};

struct file {
        struct files *files;
        uint64_t id;
        struct file *next;            /* in the table */
        unsigned references;          /* guarded by the table's lock */
        unsigned part_count;          /* parts are indexed by slot */
        struct mutex lock;            /* guards all below */
        uint32_t mode;
        uint64_t generation;
        uint64_t epoch;               /* see marks.h; counts the times when something written was taken back */
        uint64_t size, chunk_count;
        int64_t mtime_ns, ctime_ns;   /* of the source's version */
        uint64_t source_ino;
        bool has_source;
        bool source_lost;             /* the source does not give it, as the record said when it was looked at last */
        bool digest_lost;             /* bytes came out of order: the digest comes from a later reading */
        bool digest_busy;             /* a mover feeds it, without the lock */
        bool digest_known;            /* the record has it */
        bool rereading;               /* a thread of verification reads the source again */
        struct digest *digest;        /* NULL while nothing was fed */
        struct file_facts *facts;     /* as captured from the source; NULL before */
        struct bitmap hashed;
        struct hash128 *hashes;       /* chunk_count entries once one is known */
        struct move *moves;
        int *old_fds;                 /* of earlier generations: readers may still be in them */
        size_t old_fd_count;
        struct file_part parts[];
};

int files_new(struct view *view, struct files **ret_files);
/* Nothing may be live any more. */
void files_free(struct files *files);
struct context *files_context(struct files *files);
struct view *files_view(struct files *files);

/* The live file of a node (any type but a directory's content), loaded where it was not live; with a reference. */
int files_get(struct files *files, uint64_t id, struct file **ret_file);
/* The same where it is live already, else NULL. */
struct file *files_peek(struct files *files, uint64_t id);
/* Calls `visit` for live files until it returns false; with a reference held, without locks. */
void files_each(struct files *files, bool (*visit)(void *context, struct file *file), void *context);
struct file *file_ref(struct file *file);
void file_unref(struct file *file);
void file_release(struct file **file);

/* Bytes of chunk `chunk`. */
uint64_t file_chunk_length(const struct file *file, uint64_t chunk);
/* The hash of a chunk of so many zeros. That of a full one is kept: a huge hole has very many of them. */
struct hash128 file_zeros_hash(const struct file *file, uint64_t length);
/* The slots among `slots` that lack the chunk, that nobody is bringing it to, and that can take it. Locked by the caller. */
uint64_t file_lacking_locked(struct file *file, uint64_t chunk, uint64_t slots);
/* The first chunk from `from` that a slot of `slots` lacks; chunk_count where there is none. */
uint64_t file_next_lacking(struct file *file, uint64_t from, uint64_t slots);
/* A slot that has the chunk (written is enough) and serves reads, preferring present ones; -1: none. */
int file_holder_locked(struct file *file, uint64_t chunk, uint64_t not_slots);

/* Claims a chunk for a move that aims at the lacking among `slots`. Locked by the caller. *ret_move has one reference, the mover's.
 * With `demand` its origin is the source, where there is one, and then a move that reads the chunk from a target is no obstacle.
 * FILE_CLAIM_NOTHING: none lacks it (not with `demand`: then a move without aims is made); FILE_CLAIM_BUSY: a move reads it,
 * or (not with `demand`) writes it to the first target that will have it; work_found is called when it has done so, where some of `slots`
 * lack it all the same. */
enum { FILE_CLAIM_NOTHING = 1, FILE_CLAIM_BUSY = 2 };
int file_claim_locked(struct file *file, uint64_t chunk, uint64_t slots, bool demand, struct move **ret_move);
struct move *file_find_move_locked(struct file *file, uint64_t chunk);
void move_ref(struct move *move);
void move_unref(struct move *move);

/* The read side of a move ended. `intact`: hash is valid, the chunk is one version's. Returns the parked readers, for the caller to go
 * on with (without the lock). */
struct file_read *file_move_read_done(struct move *move, bool intact, const struct hash128 *hash);
/* A target finished with a move (its last job ran, or will never run). It counts for nothing where the file's epoch moved on since the claim. `good`: every block was written, or compared equal. Returns true
 * where the chunk is written there now, and then *ret_all_written says whether that was the last one of the target. */
bool file_slot_done(struct move *move, unsigned slot, bool good, bool *ret_all_written);

/* The record changed under the live file (new content in the source): everything is loaded anew. */
void file_reload(struct file *file);

/* The facts of this generation, with a reference; NULL where they are not captured yet, or it is another generation. */
struct file_facts *file_facts_get(struct file *file, uint64_t generation);
void file_facts_unref(struct file_facts *facts);
void file_facts_release(struct file_facts **facts);
/* Shows facts (taken over) to all, where the file has none of this generation yet. */
void file_facts_set(struct file *file, uint64_t generation, struct file_facts *facts);
/* Whether a move of this generation aims at the slot. */
bool file_is_claimed_locked(const struct file *file, unsigned slot);

/* The part of a slot is void, and is looked for anew. Its descriptor stays open for whoever reads there now. */
void file_retire_part_locked(struct file *file, unsigned slot);
/* Records the hash of a chunk that was read outside of a move. 0 or -ENOMEM. */
int file_set_hash_locked(struct file *file, uint64_t chunk, const struct hash128 *hash);

/* The digest was fed bytes that proved to be wrong: it begins anew with the next reading from the start. */
void file_forget_digest(struct file *file, uint64_t generation);
/* Feeds bytes of the file that begin at `offset` to its digest where they are next in order. On the mover, without the lock. */
void file_feed_digest(struct file *file, uint64_t generation, uint64_t offset, const void *data, uint64_t length);

#endif
