/* Brings the records of the view up to date from what the source and the targets really hold.
 *
 * Two depths: one name (a look-up), or a whole directory (readdir, the scan). Both run on a thread of the source's device or on the
 * scanner, because the source is read directly; the targets are asked through their own devices' threads, so that a hung target costs
 * one time-out and is then left out. reconcile_lookup() and reconcile_load() are for everybody else: they wait for the device a few
 * seconds at most, and answer from the records where it does not.
 *
 * What a target already has under a name of the source is judged by judge.h.
 */
#ifndef CVV_CORE_RECONCILE_H
#define CVV_CORE_RECONCILE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/view.h"

struct reconcile;

int reconcile_new(struct view *view, struct reconcile **ret_reconcile);
void reconcile_free(struct reconcile *reconcile);

/* The node under a name. -ENOENT; -EIO where the source is gone and the name is not known. May wait a few seconds. */
int reconcile_lookup(struct reconcile *reconcile, uint64_t parent, const char *name, uint64_t *ret_id);
/* Makes sure that every name of a directory is recorded, as fresh as a second. */
int reconcile_load(struct reconcile *reconcile, uint64_t directory);
/* Brings the record of a node up to date, as reconcile_lookup of its first name does. */
int reconcile_refresh(struct reconcile *reconcile, uint64_t id, struct node_record *ret_node);

/* Looks at the source again, however fresh the record is. */
int reconcile_renew(struct reconcile *reconcile, uint64_t id);
/* What was copied of this generation of a file cannot be trusted to be one version: a new one begins, unless one has already. */
int reconcile_begin_again(struct reconcile *reconcile, uint64_t id, uint64_t generation);

/* --- on the scanner or a thread of the source's device --- */
int reconcile_directory(struct reconcile *reconcile, uint64_t directory);

#endif
