/* Whether the source may be erased: the decision behind `.cvv/safe-to-erase`. The one answer that can cost somebody the only copy, so it leans
 * on two things that do not know of each other: the totals (progress.h), and a walk over the source that met each of its names in the
 * records and found it verified on every target (scan.h). That walk began after the last change, and saw everything.
 *
 * Pure functions: no I/O, no locks, any thread.
 */
#ifndef CVV_CORE_ERASE_H
#define CVV_CORE_ERASE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/options.h"
#include "core/progress.h"
#include "core/view.h"

struct erase_facts {
        bool has_source, source_absent;
        enum mode mode;
        struct progress_snapshot totals;
        uint64_t directories_owed;
        unsigned targets_away;      /* that are not online */
        const char *target_away;    /* the path of one of them, raw bytes */
        /* the last walk over the source */
        bool looked;                /* one that began after the last change has ended */
        bool saw_all;               /* and nothing kept it from seeing everything */
        uint64_t unsafe_names;      /* names that it met for which erase_is_safe() does not hold */
};

enum erase_verdict {
        ERASE_NO,
        ERASE_LOOK, /* nothing speaks against it that is known; a walk after the last change is to come */
        ERASE_YES,
};

/* Whether the source's object of this name is whole and verified on every target. */
bool erase_is_safe(const struct options *options, uint64_t target_mask, const struct name_record *name, const struct node_record *node)
    __attribute__((nonnull, warn_unused_result));

enum erase_verdict erase_judge(const struct erase_facts *facts) __attribute__((nonnull, warn_unused_result));
/* The text of the file: "yes\n", or "no: REASON\n" with the most important reason, and a line for each further one. The caller frees it. 0 or
 * -ENOMEM. */
int erase_text(const struct erase_facts *facts, char **ret_text) __attribute__((nonnull, warn_unused_result));

#endif
