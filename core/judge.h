/* Judging what a target has under a name of the source, in the terms of CONTRACT.md, "Existing files": one pure function decides, another
 * one carries its verdict into the records.
 */
#ifndef CVV_CORE_JUDGE_H
#define CVV_CORE_JUDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/view.h"

/* How much the times of a target tell. */
struct judge_clock {
        uint64_t granularity_ns; /* the coarser one of source and target */
        bool vague; /* what it shows for a time that not every filesystem can hold may change when it is mounted again (FUSE, networks) */
};
struct judge_clock judge_clock_of(const struct context *context, const struct target *target);

/* Pure. As far as size and mtime (of special files the device number) tell, this is the node's version. */
bool judge_looks_equal(const struct node_record *node, const struct statx *stat, uint64_t granularity_ns);
/* Pure. What looks so under a name of the node is the node's version as cvv published it on `slot`: also with the time that the target made
 * of the right one. */
bool judge_is_as_published(const struct node_record *node, unsigned slot, const struct node_version *seen, struct judge_clock clock);
/* Pure. It is an older version, which cvv itself published there. */
bool judge_is_former(const struct node_record *node, unsigned slot, const struct node_version *seen, struct judge_clock clock);

/* Pure: what the target shows of the version that was just published there, or found equal. */
void judge_note_published(struct node_record *node, unsigned slot, const struct node_version *seen, struct judge_clock clock);
/* Pure: an older version stands there, which cvv published. */
void judge_note_former(struct node_record *node, unsigned slot, const struct node_version *seen);
/* Pure: the copy of this version that cvv published there is bad. Whatever version comes next may replace it. */
void judge_note_condemned(struct node_record *node, unsigned slot);
/* Pure: a new version begins; what is complete of the one before is former. */
void judge_begin_version(struct node_record *node);

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
/* Pure. `target_stat` is NULL where the target has nothing. `primary`: it is the node's first name; a further one is known by its object,
 * which publish.c looks at, and by its looks only where these are all that is asked for. */
enum verdict judge_target(const struct node_record *node, const struct name_record *name, bool primary, unsigned slot,
                          const struct statx *target_stat, enum existing existing, struct judge_clock clock);
/* Applies a verdict to the records. */
int judge_apply(struct view *view, uint64_t parent, const char *name, unsigned slot, enum verdict verdict);

#endif
