/* One target's part of a live file, as it lies on the target: the partial file, or a file that was there and is compared.
 *
 * A partial file is TARGET/.cvv/partial/ID.GENERATION.TAG (hexadecimal; the tag is a hash of the source's identity, so that the
 * states of several cards keep out of each other's way on one target), 0600 in a directory of 0700, of the file's full length from the
 * beginning, so that holes are never written. Links and special files are made there too, and get their final name by the same rename.
 * Directories are made in place: they can do no harm half done.
 *
 * All functions run on the target's writer thread and may block on its device. Failures of the target are reported to it there.
 */
#ifndef CVV_CORE_PART_H
#define CVV_CORE_PART_H

#include "core/file.h"

enum { PART_NAME_BYTES = 48 };

/* The part cannot or need not take chunks: finished, in conflict, or of another generation by now. */
enum { PART_NOT_WANTED = 1 };

void part_name(const struct context *context, uint64_t id, uint64_t generation, char name[static PART_NAME_BYTES]);
/* Reads the name of a partial file of this source. False: it is none. */
bool part_parse_name(const struct context *context, const char *name, uint64_t *ret_id, uint64_t *ret_generation);
/* Removes partial files of this source that no record knows any more: left by a crash, or by a state that was lost. On a thread of the target. */
void part_sweep(struct view *view, struct target *target);

/* Makes the part ready for chunks of `generation`: finds its partial file again, looks at what has the final name, or makes the partial
 * file. 0, PART_NOT_WANTED, or the target's error. */
int part_prepare(struct file *file, struct target *target, uint64_t generation);
/* Writes or compares `length` bytes at `offset`; data NULL stands for zeros (a hole, not written). 0; PART_NOT_WANTED: another generation, or
 * the bytes differ from a file that was there (then it is a conflict now); or the target's error. */
int part_put(struct file *file, struct target *target, uint64_t generation, uint64_t offset, const void *data, uint64_t length);
/* The slot's part is a file that was there, and is compared. */
bool part_is_compared(struct file *file, unsigned slot);
/* What was there has other bytes: it is a conflict from now on. PART_NOT_WANTED, or the error of recording. */
int part_differs(struct file *file, struct target *target);
/* Gives the partial file the metadata of the source. */
int part_set_metadata(struct file *file, struct target *target);
/* Makes an object without data (or a whole file of which only the name is missing) ready to be published. Results as part_prepare. */
int part_make_whole(struct file *file, struct target *target, uint64_t generation);

/* What stands under the final name is judged and the records follow. Positive: enum verdict + 1 is of no interest to others. */
int part_judge(struct file *file, struct target *target, const struct node_record *node, const char *path, int *ret_verdict);
/* A failure of the target: reported there; one of this file alone marks the node as failed there, and nobody tries it again until `retry`. */
void part_fail(struct file *file, struct target *target, int error, const char *what);

#endif
