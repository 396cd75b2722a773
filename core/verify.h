/* Verification: what is complete on a target is read back and compared with the hashes that were taken as the source was read, and the source is
 * read a second time. What is to be looked at says need.h; how the medium is read, readback.h.
 *
 * Each target has a thread of its own for it and a queue, so that targets are read back side by side and while the next files are copied. The source
 * is read again by the first of these threads that comes to the file, while the others read their targets; they wait for it at the end. A file
 * that needs this is handed over by the checkpoint thread, after its marks are committed and before it has its final name, and comes back through
 * target_add_verified(): so nothing unverified is published in mode `full`. Finished files are handed over by the scheduler.
 *
 * A copy that differs is repaired by the mover: chunks of a partial file become lacking (marks.h), and a file under its final name is brought
 * again beside it and replaces it by a rename, unless no other place has it. What was there before cvv came and was only found equal is not cvv's to
 * repair: it is a conflict. After ATTEMPTS_MAX times in one mount the file has failed on that target. Bytes of the source that differ from those that
 * were copied make a new version (context->drifted), as often.
 */
#ifndef CVV_CORE_VERIFY_H
#define CVV_CORE_VERIFY_H

#include "core/file.h"

struct verify;

int verify_new(struct files *files, struct verify **ret_verify);
/* Starts a thread for each target. */
int verify_start(struct verify *verify);
/* Gives up what is queued and joins until the deadline. False: a thread is stuck in a device. */
bool verify_stop(struct verify *verify, uint64_t deadline_ns);
void verify_free(struct verify *verify);

/* Whether the file needs a look on `slot`, by its record. */
bool verify_wants(struct verify *verify, const struct node_record *node, unsigned slot);
/* Queues the file for a look on `slot`, where it does not wait for one already. Never blocks: where there are far too many, the file goes to the queue of
 * what is to be brought, and work_found is called when there is room. */
void verify_add(struct verify *verify, struct file *file, unsigned slot);
/* The file has its final name now, or does not get it this time: it may be made, brought and looked at again. For what came back through
 * target_add_verified(), which nobody touches until then. */
void verify_release(struct file *file, unsigned slot);
/* Waits until the queue of `slot` is short (or verification stops, or the target is out of service): its producers go at its pace. */
void verify_wait_room(struct verify *verify, unsigned slot);

/* Nobody would wait for it now. */
bool verify_has_room(struct verify *verify, unsigned slot);
/* Those who wait look again whether they are to stop. */
void verify_wake(struct verify *verify);

void verify_pause(struct verify *verify, bool paused);
/* The rate of `limit`, for each target. */
void verify_set_limit(struct verify *verify, uint64_t bytes_per_s);
/* Nothing is queued or looked at on targets that answer. */
bool verify_is_idle(struct verify *verify);
/* For how long the thread of `slot` has been in one call to a device; 0: it is in none. */
uint64_t verify_stuck_ns(struct verify *verify, unsigned slot);
/* `retry`: what was tried too often may be tried again. */
void verify_forget_attempts(struct verify *verify);
/* Calls `visit` for each file that did not read back as written and does now: how often it was copied again. At most the last few thousand. */
void verify_each_repair(struct verify *verify, void (*visit)(void *context, uint64_t id, struct target *target, unsigned times), void *context);

#endif
