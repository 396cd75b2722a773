/* Points in time as a person and a parser both read them: RFC 3339, UTC, milliseconds, as in 2025-11-22T07:17:00.123Z.
 *
 * No locale and no time zone of the machine has a part in it. Takes no lock of cvv; thread-safe; never blocks on I/O.
 */
#ifndef CVV_CORE_TIMESTAMP_H
#define CVV_CORE_TIMESTAMP_H

#include <time.h>

enum { TIMESTAMP_BYTES = 40 }; /* with the terminating NUL; room for years of ten digits and a sign */

/* Writes `time` (seconds since 1970 UTC; tv_nsec below 10^9 is cut to milliseconds) into `ret_text`. A time whose year no
 * calendar of the C library can hold becomes "unknown". */
void timestamp_format(const struct timespec *time, char ret_text[TIMESTAMP_BYTES]) __attribute__((nonnull));

/* Writes the present time of CLOCK_REALTIME into `ret_text`. */
void timestamp_now(char ret_text[TIMESTAMP_BYTES]) __attribute__((nonnull));

#endif
