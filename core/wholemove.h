/* What is brought besides chunks: objects without data (empty files, links, special files, directories), and files of which only metadata or
 * the final name are missing. There are no bytes to copy: the source is asked what it says of the object, and the targets' writers make it.
 */
#ifndef CVV_CORE_WHOLEMOVE_H
#define CVV_CORE_WHOLEMOVE_H

#include "core/file.h"

/* Captures what the source says of the object that `fd` has open (metadata, link text), where nobody did yet for this generation. Blocks on the
 * source. 0 or -errno. */
int wholemove_capture(struct file *file, int fd, uint64_t generation);

/* Queues for `slots` what a node needs besides chunks: to be made (empty file, link, special file, directory), or to be published when all
 * its chunks are there. Reads the source's metadata first. On a mover thread; blocks on the source. 0 or the failure of the source. */
int wholemove_run(struct file *file, uint64_t slots);

/* What was reserved on the slot is free again: the job (`whole`) or the way to the final name (`name`). True: somebody who found it taken
 * went by, and nothing else is reserved there, so work_found is to be called. Takes the file's lock. */
bool wholemove_release(struct file *file, unsigned slot, bool whole, bool name);

#endif
