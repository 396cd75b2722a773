/* What is looked at of one file for one target, in order, and what follows from it: the source is read again, the copy is read back, the finding
 * goes into the records (marks.h), and what differs is dealt with. See verify.h for the whole.
 */
#ifndef CVV_CORE_INSPECT_H
#define CVV_CORE_INSPECT_H

#include "core/look.h"

enum { INSPECT_ATTEMPTS_MAX = 3 }; /* so often a file is copied again in one mount */

/* Looks at the file as far as it needs it (need.h). On a thread of verification; blocks on devices, and while another thread reads the source of
 * the same file. *ret_node is the record as it is then. 0: all is well, and recorded. Else it is not verified now, and that is dealt with: -ESHUTDOWN
 * (verification ends), or any other error (it comes again, has failed, or is in conflict). */
int inspect_file(struct inspector *inspector, struct file *file, struct node_record *ret_node);
/* Whether the file has its final name on the inspector's target. */
bool inspect_is_finished(struct view *view, const struct node_record *node, unsigned slot);

#endif
