/* What a copy shows while it runs, on standard error: on a terminal the whole status, redrawn in place four times a second; otherwise a line each
 * ten seconds.
 *
 * The terminal is changed in nothing but what stands on it, and between two drawings the cursor is at the beginning of the line below: so it
 * needs no restoring, however the process ends. One thread draws; live_leave() may be called by any other.
 */
#ifndef CVV_MOUNT_HELPER_LIVE_H
#define CVV_MOUNT_HELPER_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "core/sync.h"

struct live {
        bool terminal, colour;
        unsigned lines;        /* that are drawn now */
        uint64_t due_ns;       /* clock_now_ns() of the next drawing or line */
        struct mutex lock;     /* guards the two below */
        struct condition changed;
        bool left, drawing;
};

/* Looks at standard error and the environment (TERM, NO_COLOR). */
void live_init(struct live *live) __attribute__((nonnull));
void live_deinit(struct live *live) __attribute__((nonnull));

/* How long until something is to be shown, for poll(2). */
int live_timeout_ms(const struct live *live) __attribute__((nonnull));
/* Something is to be shown now. */
bool live_is_due(const struct live *live) __attribute__((nonnull));
/* Shows it. A terminal that takes nothing is passed over. */
void live_show(struct live *live, const struct status *status) __attribute__((nonnull));
/* Takes off what is drawn, so that lines can be printed; the next live_show() draws anew. */
void live_clear(struct live *live) __attribute__((nonnull));
/* Nothing is drawn from now on; what is there stays. Waits a moment for a drawing under way. */
void live_leave(struct live *live) __attribute__((nonnull));

#endif
