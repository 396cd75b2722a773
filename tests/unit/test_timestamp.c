#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/timestamp.h"

#include <stdlib.h>
#include <string.h>

static void format_gives_utc_with_milliseconds_whatever_the_zone(void **state)
{
        struct timespec time = {.tv_sec = 1763795820, .tv_nsec = 123999999};
        char text[TIMESTAMP_BYTES];

        assert_int_equal(setenv("TZ", "America/New_York", 1), 0);
        tzset();
        timestamp_format(&time, text);
        assert_string_equal(text, "2025-11-22T07:17:00.123Z");
        time = (struct timespec){.tv_sec = -1, .tv_nsec = 5000000};
        timestamp_format(&time, text);
        assert_string_equal(text, "1969-12-31T23:59:59.005Z");
}

static void format_of_a_time_beyond_any_calendar_is_unknown(void **state)
{
        struct timespec time = {.tv_sec = INT64_MAX};
        char text[TIMESTAMP_BYTES];

        timestamp_format(&time, text);
        assert_string_equal(text, "unknown");
        time.tv_sec = 67767976233532799; /* the last second of the last year that struct tm holds */
        timestamp_format(&time, text);
        assert_non_null(strstr(text, "-12-31T23:59:59.000Z"));
        time.tv_sec = 253402300800;
        timestamp_format(&time, text);
        assert_string_equal(text, "10000-01-01T00:00:00.000Z");
}

static void now_is_between_two_readings_of_the_clock(void **state)
{
        struct timespec before, after;
        char first[TIMESTAMP_BYTES], now[TIMESTAMP_BYTES], last[TIMESTAMP_BYTES];

        clock_gettime(CLOCK_REALTIME, &before);
        timestamp_now(now);
        clock_gettime(CLOCK_REALTIME, &after);
        timestamp_format(&before, first);
        timestamp_format(&after, last);
        assert_true(strcmp(first, now) <= 0);
        assert_true(strcmp(now, last) <= 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(format_gives_utc_with_milliseconds_whatever_the_zone),
            cmocka_unit_test(format_of_a_time_beyond_any_calendar_is_unknown),
            cmocka_unit_test(now_is_between_two_readings_of_the_clock),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
