#include "core/timestamp.h"

#include <stdio.h>
#include <string.h>

void timestamp_format(const struct timespec *time, char ret_text[TIMESTAMP_BYTES])
{
        struct tm calendar;
        size_t used = 0;

        if (gmtime_r(&time->tv_sec, &calendar))
                used = strftime(ret_text, TIMESTAMP_BYTES, "%Y-%m-%dT%H:%M:%S", &calendar);
        if (used == 0) {
                memcpy(ret_text, "unknown", sizeof("unknown"));
                return;
        }
        /* The modulus only tells the compiler what holds anyway: three digits, which fit. */
        (void)snprintf(ret_text + used, TIMESTAMP_BYTES - used, ".%03uZ", (unsigned)(time->tv_nsec / 1000000) % 1000u);
}

void timestamp_now(char ret_text[TIMESTAMP_BYTES])
{
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail: the clock exists and the address is ours */
        timestamp_format(&now, ret_text);
}
