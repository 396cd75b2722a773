/* Reports for people: `.cvv/status` and `cvv status`, the progress of `cvv copy`, and the one-line files `progress` and `state`.
 *
 * What report_status_text writes, at a glance from above: one line with the state, percent, done and total, rate and time
 * left; a line for each target (while something flows, with its rate and time left), its path last, so that long ones push nothing aside, and
 * under it what went wrong there;
 * what is owed, and the counts that are not zero; what is being copied now.
 *
 *     filling  45.2%  12.2 GiB of 27.1 GiB  120 of 300 files  210.5 MiB/s  1 min 12 s left
 *
 *     1  [############--------]   62.1%  online   owed 10.3 GiB  free 1.2 TiB  /mnt/raid
 *     2  [#####---------------]   28.3%  offline  owed 19.4 GiB  free unknown  /mnt/nas
 *        2 errors, last: A001.mov: Input/output error
 *
 *     owed      29.7 GiB, 4.0 GiB of it queued
 *     conflict  1 file (2.0 KiB)
 *     copying:   45.2%     1.2 GiB of    2.7 GiB  DCIM/A002.mov
 *
 * Sizes have powers of 1024. Names and messages are escaped (core/error.h), and the only bytes beyond ASCII are those of
 * names that are UTF-8. Widths count code points: a name in wide characters takes more columns than is assumed here.
 *
 * Pure functions: thread safe, nothing blocks, no locale. Texts are the caller's to free; results are 0 or -ENOMEM.
 */
#ifndef CVV_CORE_REPORT_TEXT_H
#define CVV_CORE_REPORT_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum {
        REPORT_SIZE_BYTES = 16,     /* "1023.9 KiB" with its terminator */
        REPORT_DURATION_BYTES = 40, /* "106751991167300 d 15 h" with its terminator */
};

/* The whole report, several lines. `colour`: with the escape sequences of a terminal. `columns`: no line is longer (bars
 * shrink, paths lose their beginning, the rest is cut); 0: no limit. */
int report_status_text(const struct status *status, bool colour, unsigned columns, char **ret)
    __attribute__((nonnull, warn_unused_result));

/* The first line of it, without the state and without a newline. */
int report_line_text(const struct status *status, char **ret) __attribute__((nonnull, warn_unused_result));

/* "NN.N\n". */
int report_progress_text(const struct status *status, char **ret) __attribute__((nonnull, warn_unused_result));

/* The state's word and a newline. */
int report_state_text(const struct status *status, char **ret) __attribute__((nonnull, warn_unused_result));

/* One line without a newline that says what is still owed: "nothing is owed", or "12 files (3.4 GiB) are still owed: target
 * 1 /a 1.2 GiB, target 3 /c 2.2 GiB". Behind it, after semicolons, what makes that less than the whole truth: a scan that
 * is not finished, files that failed, are missing or in conflict. */
int report_owed_text(const struct status *status, char **ret) __attribute__((nonnull, warn_unused_result));

/* A number of bytes for people: "0 B", "1023 B", "1.0 KiB", "3.4 GiB", rounded to the nearest tenth. */
void report_size(uint64_t bytes, char ret[static REPORT_SIZE_BYTES]) __attribute__((nonnull));

/* A time span for people in its two largest units: "45 s", "1 min 12 s", "3 h 07 min", "2 d 5 h". Negative: "unknown". */
void report_duration(int64_t seconds, char ret[static REPORT_DURATION_BYTES]) __attribute__((nonnull));

#endif
