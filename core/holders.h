/* Opening what targets have of a file, so that it can be read from there: finished files under their final names, and partial files that
 * were left by an earlier mount. Readers and movers then find them through file_holder_locked().
 *
 * What is opened is checked first: a finished file must have the size and mtime that it was published with, a partial file its full size.
 */
#ifndef CVV_CORE_HOLDERS_H
#define CVV_CORE_HOLDERS_H

#include "core/file.h"

/* Opens the finished file on one target. 0 (also where it is open), -ESTALE where it is not as it was published, or the target's error. May
 * wait for the target for a few seconds. */
int holders_open_finished(struct file *file, struct target *target, const struct node_record *node);
/* Opens whatever the targets have of the file; where that fails the source is read. May wait as above. */
void holders_open(struct file *file);

#endif
