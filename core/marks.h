/* Marks: what is durable on a target. The one place where a chunk becomes present, and where it stops being so.
 *
 * Each change happens under the view's lock and the file's, in the live maps and in the records alike, so that the records are a true image of
 * the maps in the order of the changes.
 *
 * A sync proves what was written before it began. Between that write and its mark a chunk may have been taken back and written again, which
 * the sync did not cover. So a file has an epoch: it moves on whenever something of it that was written is taken back, and then everything
 * that is written and not yet marked is lacking again, on every target, and moves under way count for nothing. That happens only when a device
 * fails; what it costs are a few chunks more.
 */
#ifndef CVV_CORE_MARKS_H
#define CVV_CORE_MARKS_H

#include "core/file.h"

/* The chunk (or TARGET_WHOLE) is written on the target: it waits for the next sync there. `epoch`: of the file when the write was asked for.
 * False: there is no memory to remember it by; a chunk is lacking again. */
bool marks_written(struct file *file, struct target *target, uint64_t chunk, uint64_t generation, uint64_t epoch, uint64_t bytes);
/* After a good sync: the chunk is present on `slot` where generation and epoch are those of its write. `chunk` may be TARGET_WHOLE. 0 with
 * *ret_complete where the slot has all of the file now; else the error of recording. */
int marks_present(struct file *file, unsigned slot, uint64_t chunk, uint64_t generation, uint64_t epoch, bool *ret_complete);
/* After a failed read, or where bytes differ: the chunk is lacking on `slot`. A finished file is only passed over by readers from then on. */
int marks_lacking(struct file *file, unsigned slot, uint64_t chunk, uint64_t generation);
/* After a failed sync of a target: whatever of any live file is written there and not marked is lacking. */
void marks_lose_unsynced(struct files *files, unsigned slot);
/* The copy of this generation under its final name on `slot` is bad: all of it is lacking there, and what is brought in its place replaces it. */
int marks_condemn(struct file *file, unsigned slot, uint64_t generation);
/* Before the slot's copy of that generation is read back: the serial of its part. -ESTALE: it is another version, or not all is there. */
int marks_reading(struct file *file, unsigned slot, uint64_t generation, uint64_t *ret_serial);
/* The slot's copy of that generation was read back in this way (enum readback_method) and is as it should be; nothing is recorded where something
 * of it was taken back or doubted since its part had that `serial`, which it had before it was read. *counted bytes of it stand in the totals as
 * verified; that many are taken over, and *counted is 0 then. */
int marks_verified(struct file *file, unsigned slot, uint64_t generation, uint64_t serial, unsigned method, uint64_t *counted);
/* What is being read back of the file (VIEW_ROOT: of all) does not count: it began before somebody asked. */
void marks_doubt(struct files *files, uint64_t id);
/* The source gave the same bytes again; `digest` (or NULL) has been fed all of them. */
int marks_reread(struct file *file, uint64_t generation, const struct digest *digest);
/* A digest that has been fed all bytes of that generation. */
int marks_digest(struct file *file, uint64_t generation, const struct digest *digest);
/* The live hashes of all chunks are recorded; or (marks_unhashed) they cannot be relied on, and are to be made anew. */
int marks_hashed(struct file *file, uint64_t generation);
int marks_unhashed(struct file *file, uint64_t generation);
/* Everything of the slot is lacking: its partial file is gone or of no use. */
int marks_forget_slot(struct file *file, unsigned slot);

#endif
