/* Judging what a target has under a name of the source, in the terms of CONTRACT.md, "Existing files": one pure function decides, another
 * one carries its verdict into the records.
 */
#ifndef CVV_CORE_JUDGE_H
#define CVV_CORE_JUDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/view.h"

/* Pure. As far as size and mtime (of special files the device number) tell, this is the node's version. */
bool judge_looks_equal(const struct node_record *node, const struct statx *stat, uint64_t granularity_ns);

enum verdict {
        VERDICT_LACKING,      /* nothing is there, and nothing should be */
        VERDICT_AS_RECORDED,  /* what is there is what the records say */
        VERDICT_EQUAL,        /* found equal: published, complete, skipped */
        VERDICT_OURS,         /* equal, and cvv was about to publish it: published, complete */
        VERDICT_LOST,         /* published once, and gone or no more to be recognised */
        VERDICT_CONFLICT,     /* something else has the name */
        VERDICT_COMPARE,      /* perhaps equal: its chunks must be compared */
        VERDICT_REPLACE,      /* something else has the name, and is to be replaced */
};
/* Pure. `target_stat` is NULL where the target has nothing; granularity_ns: the coarser clock of source and target. */
enum verdict judge_target(const struct node_record *node, const struct name_record *name, unsigned slot,
                                       const struct statx *target_stat, enum existing existing, uint64_t granularity_ns);
/* Applies a verdict to the records. */
int judge_apply(struct view *view, uint64_t parent, const char *name, unsigned slot, enum verdict verdict);
/* The coarser clock of the source and a target. */
uint64_t judge_granularity_ns(const struct context *context, const struct target *target);

#endif
