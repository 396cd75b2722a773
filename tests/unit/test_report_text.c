#include "core/report_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)

static char path_raid[] = "/mnt/raid", path_nas[] = "/mnt/nas", path_long[] = "/media/assistant/SHUTTLE_A", path_a[] = "/a";
static char path_escape[] = "/t\x1b[2J\xff\xc3\xa4", path_c[] = "/c", error_text[] = "A001.mov\n: Input/output error";
static char clip_a[] = "DCIM/A002.mov", clip_b[] = "DCIM/\xe2\x82\xac\x07.mov";

typedef int report(const struct status *status, char **ret);

static void expect_status(const struct status *status, bool colour, unsigned columns, const char *expected)
{
        char *text = NULL;

        assert_int_equal(report_status_text(status, colour, columns, &text), 0);
        assert_string_equal(text, expected);
        free(text);
}

static void expect(report *function, const struct status *status, const char *expected)
{
        char *text = NULL;

        assert_int_equal(function(status, &text), 0);
        assert_string_equal(text, expected);
        free(text);
}

/* Half way, one target away, a conflict. */
static struct status filling(struct status_target targets[static 2], struct status_copy copies[static 2])
{
        targets[0] = (struct status_target){.n = 1, .path = path_raid, .state = TARGET_ONLINE, .present_bytes = 17 * GIB,
                                            .owed_bytes = 10 * GIB, .free_bytes = (int64_t)TIB, .verified_bytes = 9 * GIB};
        targets[1] = (struct status_target){.n = 2, .path = path_nas, .state = TARGET_OFFLINE, .present_bytes = 7 * GIB,
                                            .owed_bytes = 20 * GIB, .free_bytes = -1, .errors = 2, .last_error = error_text};
        copies[0] = (struct status_copy){clip_a, 6 * GIB / 5, 27 * GIB / 10};
        copies[1] = (struct status_copy){clip_b, 0, 0};
        return (struct status){
            .state = MIRROR_FILLING, .mode = MODE_TRANSFER, .scan_complete = true, .progress_tenths = 444,
            .rate_bytes_per_s = 210 * MIB + MIB / 2, .eta_s = 72, .files_total = 300, .bytes_total = 27 * GIB,
            .files = {[CATEGORY_COPIED] = 100, [CATEGORY_SKIPPED] = 20, [CATEGORY_CONFLICT] = 1, [CATEGORY_PENDING] = 179},
            .bytes = {[CATEGORY_COPIED] = 6 * GIB, [CATEGORY_SKIPPED] = 3 * KIB, [CATEGORY_CONFLICT] = 2 * KIB},
            .owed_bytes = 30 * GIB, .queued_bytes = 4 * GIB, .target_count = 2, .targets = targets, .copy_count = 2,
            .copies = copies,
        };
}

static void status_shows_head_targets_counts_and_copies(void **state)
{
        struct status_target targets[2];
        struct status_copy copies[2];
        struct status status = filling(targets, copies);

        expect_status(&status, false, 0,
                      "filling  44.4%  12.0 GiB of 27.0 GiB  120 of 300 files  210.5 MiB/s  1 min 12 s left\n"
                      "\n"
                      "1  [############--------]   62.9%  online   owed 10.0 GiB  free 1.0 TiB  /mnt/raid\n"
                      "2  [#####---------------]   25.9%  offline  owed 20.0 GiB  free unknown  /mnt/nas\n"
                      "   2 errors, last: A001.mov\\x0a: Input/output error\n"
                      "\n"
                      "owed      30.0 GiB, 4.0 GiB of it queued\n"
                      "skipped   20 files (3.0 KiB)\n"
                      "conflict  1 file (2.0 KiB)\n"
                      "copying:   44.4%     1.2 GiB of    2.7 GiB  DCIM/A002.mov\n"
                      "copying:  100.0%         0 B of        0 B  DCIM/\xe2\x82\xac\\x07.mov\n");
}

static void a_target_shows_its_rate_and_time_left_while_something_flows(void **state)
{
        struct status_target targets[2];
        struct status_copy copies[2];
        struct status status = filling(targets, copies);
        char *line;

        targets[0].rate_bytes_per_s = 128 * MIB;
        status.copy_count = 0;
        memset(status.files, 0, sizeof(status.files));
        expect_status(&status, false, 0,
                      "filling  44.4%  12.0 GiB of 27.0 GiB  0 of 300 files  210.5 MiB/s  1 min 12 s left\n"
                      "\n"
                      "1  [############--------]   62.9%  online   128.0 MiB/s  1 min 20 s left  owed 10.0 GiB  free 1.0 TiB  /mnt/raid\n"
                      "2  [#####---------------]   25.9%  offline                                owed 20.0 GiB  free unknown  /mnt/nas\n"
                      "   2 errors, last: A001.mov\\x0a: Input/output error\n"
                      "\n"
                      "owed      30.0 GiB, 4.0 GiB of it queued\n");
        expect_status(&status, false, 79,
                      "filling  44.4%  12.0 GiB of 27.0 GiB  0 of 300 files  210.5 MiB/s  1 min 12 s l\n"
                      "\n"
                      "1  [########-----]   62.9%  online   128.0 MiB/s  1 min 20 s left  /mnt/raid\n"
                      "2  [###----------]   25.9%  offline                                /mnt/nas\n"
                      "   2 errors, last: A001.mov\\x0a: Input/output error\n"
                      "\n"
                      "owed      30.0 GiB, 4.0 GiB of it queued\n");
        assert_int_equal(report_line_text(&status, &line), 0);
        assert_string_equal(line, "44.4%  12.0 GiB of 27.0 GiB  0 of 300 files  210.5 MiB/s  1 min 12 s left");
        free(line);
}

static void status_in_mode_full_counts_what_was_read_back_half(void **state)
{
        struct status_target targets[2];
        struct status_copy copies[2];
        struct status status = filling(targets, copies);

        status.mode = MODE_FULL;
        status.target_count = 1;
        status.copy_count = 0;
        status.owed_bytes = 10 * GIB;
        status.queued_bytes = 10 * GIB;
        status.files_verified = 1;
        status.bytes_verified = 9 * GIB;
        memset(status.files, 0, sizeof(status.files));
        expect_status(&status, false, 0,
                      "filling  44.4%  17.0 GiB of 27.0 GiB  0 of 300 files  210.5 MiB/s  1 min 12 s left\n"
                      "\n"
                      "1  [#########-----------]   48.1%  online  owed 10.0 GiB  free 1.0 TiB  /mnt/raid\n"
                      "\n"
                      "owed      10.0 GiB, all of it queued\n"
                      "verified  1 file (9.0 GiB)\n");
}

static void status_of_nothing_that_is_scanned_is_complete(void **state)
{
        struct status_target target = {.n = 1, .path = path_a, .free_bytes = 5};
        struct status status = {.state = MIRROR_COMPLETE, .scan_complete = true, .progress_tenths = 1000,
                                .target_count = 1, .targets = &target, .mode = MODE_FULL};

        expect_status(&status, false, 0,
                      "complete  100.0%  0 B of 0 B  0 of 0 files\n"
                      "\n"
                      "1  [####################]  100.0%  online  owed 0 B  free 5 B  /a\n");
}

static void status_before_the_scan_ends_claims_nothing(void **state)
{
        struct status_target target = {.n = 1, .path = path_a, .free_bytes = 5};
        struct status status = {.state = MIRROR_FILLING, .eta_s = -1, .target_count = 1, .targets = &target};

        expect_status(&status, false, 0,
                      "filling  0.0%  0 B of 0 B  0 of 0 files found so far  0 B/s  time left unknown\n"
                      "\n"
                      "1  [--------------------]    0.0%  online  owed 0 B  free 5 B  /a\n");
        target.present_bytes = 10;
        status.state = MIRROR_IDLE;
        status.progress_tenths = 999;
        status.files_total = 1;
        status.bytes_total = 10;
        expect_status(&status, false, 0,
                      "idle  99.9%  10 B of 10 B  0 of 1 file found so far\n"
                      "\n"
                      "1  [###################-]   99.9%  online  owed 0 B  free 5 B  /a\n");
}

static void status_without_targets_or_queue_is_short(void **state)
{
        struct status status = {.state = MIRROR_PAUSED, .scan_complete = true, .owed_bytes = 5, .eta_s = -1};

        expect_status(&status, false, 0,
                      "paused  0.0%  0 B of 0 B  0 of 0 files\n"
                      "\n"
                      "owed      5 B, none of it queued\n");
}

static void status_shows_each_problem_that_is_not_zero(void **state)
{
        struct status status = {
            .state = MIRROR_FAILED, .scan_complete = true, .progress_tenths = 500,
            .files = {[CATEGORY_SKIPPED] = 1, [CATEGORY_EXCLUDED] = 2, [CATEGORY_MISSING] = 3, [CATEGORY_FAILED] = 4,
                      [CATEGORY_CONFLICT] = 5},
            .bytes = {[CATEGORY_SKIPPED] = 1, [CATEGORY_EXCLUDED] = 2, [CATEGORY_MISSING] = 3, [CATEGORY_FAILED] = 4,
                      [CATEGORY_CONFLICT] = 5},
            .files_total = 13, .bytes_total = 13,
        };

        expect_status(&status, false, 0,
                      "failed  50.0%  1 B of 13 B  1 of 13 files\n"
                      "\n"
                      "skipped   1 file (1 B)\n"
                      "excluded  2 files (2 B)\n"
                      "missing   3 files (3 B)\n"
                      "failed    4 files (4 B)\n"
                      "conflict  5 files (5 B)\n");
}

static void names_never_reach_the_terminal_raw(void **state)
{
        struct status_target target = {.n = 12, .path = path_escape, .state = TARGET_FAILED, .free_bytes = 0, .errors = 1};
        struct status status = {.state = MIRROR_IDLE, .scan_complete = true, .target_count = 1, .targets = &target};

        expect_status(&status, false, 0,
                      "idle  0.0%  0 B of 0 B  0 of 0 files\n"
                      "\n"
                      "12  [####################]  100.0%  failed  owed 0 B  free 0 B  /t\\x1b[2J\\xff\xc3\xa4\n"
                      "    1 error\n");
}

static void colour_wraps_states_bars_and_errors(void **state)
{
        struct status_target target = {.n = 1, .path = path_a, .state = TARGET_BEHIND, .present_bytes = 1, .owed_bytes = 1,
                                       .free_bytes = -1, .last_error = path_escape};
        struct status status = {.state = MIRROR_DEGRADED, .scan_complete = true, .progress_tenths = 500, .bytes_total = 2,
                                .files_total = 1, .files = {[CATEGORY_FAILED] = 1}, .target_count = 1, .targets = &target};

        expect_status(&status, true, 0,
                      "\033[31mdegraded\033[0m  50.0%  1 B of 2 B  0 of 1 file\n"
                      "\n"
                      "1  [\033[32m##########\033[0m----------]   50.0%  \033[33mbehind\033[0m  owed 1 B  free unknown  /a\n"
                      "   \033[31m/t\\x1b[2J\\xff\xc3\xa4\033[0m\n"
                      "\n"
                      "\033[31mfailed  \033[0m  1 file (0 B)\n");
        target.present_bytes = 0;
        target.owed_bytes = 0;
        target.last_error = NULL;
        status.files[CATEGORY_FAILED] = 0;
        status.state = MIRROR_IDLE;
        expect_status(&status, true, 0,
                      "idle  50.0%  0 B of 2 B  0 of 1 file\n"
                      "\n"
                      "1  [\033[32m####################\033[0m]  100.0%  \033[33mbehind\033[0m  owed 0 B  free unknown  /a\n");
}

/* Also with names of several bytes for a character. */
static void expect_width(const char *text, unsigned columns)
{
        unsigned column = 0;

        for (; *text; text++) {
                if (*text == '\033')
                        text = strchr(text, 'm');
                else if (*text == '\n')
                        column = 0;
                else
                        column += ((unsigned char)*text & 0xc0) != 0x80;
                assert_true(column <= columns);
        }
}

static void no_line_is_wider_than_the_terminal(void **state)
{
        struct status_target targets[2];
        struct status_copy copies[2];
        struct status status = filling(targets, copies);

        targets[0].path = path_long;
        targets[1].path = path_escape;
        for (unsigned columns = 1; columns < 140; columns++) {
                for (int colour = 0; colour < 2; colour++) {
                        char *text = NULL;

                        assert_int_equal(report_status_text(&status, colour, columns, &text), 0);
                        expect_width(text, columns);
                        free(text);
                }
        }
}

static void narrow_terminal_shrinks_bars_then_paths(void **state)
{
        struct status_target target = {.n = 1, .path = path_long, .present_bytes = 1, .owed_bytes = 1, .free_bytes = -1};
        struct status_copy copy = {path_long, 1, 2};
        struct status status = {.scan_complete = true, .target_count = 1, .targets = &target, .state = MIRROR_IDLE,
                                .copy_count = 1, .copies = &copy};

        expect_status(&status, false, 85,
                      "idle  0.0%  0 B of 0 B  0 of 0 files\n\n"
                      "1  [######------]   50.0%  online  owed 1 B  free unknown  /media/assistant/SHUTTLE_A\n\n"
                      "copying:   50.0%         1 B of        2 B  /media/assistant/SHUTTLE_A\n");
        expect_status(&status, false, 70,
                      "idle  0.0%  0 B of 0 B  0 of 0 files\n\n"
                      "1  [#####-----]   50.0%  online  owed 1 B  free unknown  .../SHUTTLE_A\n\n"
                      "copying:   50.0%         1 B of        2 B  /media/assistant/SHUTTLE_A\n");
        expect_status(&status, false, 60,
                      "idle  0.0%  0 B of 0 B  0 of 0 files\n\n"
                      "1   50.0%  online  owed 1 B  free unknown  ...tant/SHUTTLE_A\n\n"
                      "copying:   50.0%         1 B of        2 B  ...ant/SHUTTLE_A\n");
        expect_status(&status, false, 20,
                      "idle  0.0%  0 B of 0\n\n"
                      "1   50.0%  online  o\n\n"
                      "copying:   50.0%    \n");
}

static void more_copies_than_fit_are_counted(void **state)
{
        struct status_copy copies[12];
        struct status status = {.state = MIRROR_IDLE, .scan_complete = true, .copy_count = 10, .copies = copies};
        char *text = NULL;
        size_t lines = 0;

        for (size_t i = 0; i < 12; i++)
                copies[i] = (struct status_copy){clip_a, 1, 2};
        for (size_t count = 10; count <= 12; count += 2) {
                status.copy_count = count;
                assert_int_equal(report_status_text(&status, false, 0, &text), 0);
                lines = 0;
                for (const char *at = text; *at; at++)
                        lines += *at == '\n';
                assert_int_equal(lines, 12); /* the head, an empty one, 10 */
                assert_int_equal(strstr(text, "\ncopying:  3 more files\n") != NULL, count == 12);
                free(text);
        }
}

static void progress_and_state_are_one_line(void **state)
{
        struct status status = {.progress_tenths = 7, .state = MIRROR_VERIFYING};

        expect(report_progress_text, &status, "0.7\n");
        expect(report_state_text, &status, "verifying\n");
        status.progress_tenths = 1000;
        status.state = MIRROR_COMPLETE;
        expect(report_progress_text, &status, "100.0\n");
        expect(report_state_text, &status, "complete\n");
}

static void owed_names_files_bytes_and_targets(void **state)
{
        struct status_target targets[] = {{.n = 1, .path = path_a, .owed_bytes = 12 * GIB / 10},
                                          {.n = 2, .path = path_nas},
                                          {.n = 3, .path = path_c, .owed_bytes = 22 * GIB / 10}};
        struct status status = {.scan_complete = true, .target_count = 3, .targets = targets, .owed_bytes = 34 * GIB / 10,
                                .files = {[CATEGORY_PENDING] = 12}};

        expect(report_owed_text, &status,
               "12 files (3.4 GiB) are still owed: target 1 /a 1.2 GiB, target 3 /c 2.2 GiB");
        status.files[CATEGORY_PENDING] = 1;
        targets[2].owed_bytes = 0;
        targets[0].path = path_escape;
        status.owed_bytes = 12 * GIB / 10;
        expect(report_owed_text, &status, "1 file (1.2 GiB) is still owed: target 1 /t\\x1b[2J\\xff\xc3\xa4 1.2 GiB");
        status.files[CATEGORY_PENDING] = 0;
        targets[0].path = path_a;
        expect(report_owed_text, &status, "1.2 GiB are still owed: target 1 /a 1.2 GiB");
        status.owed_bytes = 0; /* the target knows better */
        expect(report_owed_text, &status, "1.2 GiB are still owed: target 1 /a 1.2 GiB");
}

static void owed_of_empty_files_is_not_nothing(void **state)
{
        struct status status = {.scan_complete = true, .files = {[CATEGORY_PENDING] = 3}};

        expect(report_owed_text, &status, "3 files (0 B) are still owed");
}

static void owed_nothing_says_what_it_does_not_cover(void **state)
{
        struct status status = {.scan_complete = true};

        expect(report_owed_text, &status, "nothing is owed");
        status.scan_complete = false;
        expect(report_owed_text, &status, "nothing is owed; the scan of the source is not finished");
        status.scan_complete = true;
        status.files[CATEGORY_FAILED] = 1;
        status.files[CATEGORY_MISSING] = 2;
        status.files[CATEGORY_CONFLICT] = 3;
        expect(report_owed_text, &status, "nothing is owed; 1 file failed; 2 files missing; 3 files in conflict");
}

static void sizes_have_one_decimal_and_three_digits_or_four(void **state)
{
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
            {0, "0 B"}, {1, "1 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"},
            {KIB * 10 + 51, "10.0 KiB"}, {KIB * 10 + 52, "10.1 KiB"}, {MIB - 1, "1.0 MiB"}, {MIB - 52, "1023.9 KiB"},
            {MIB, "1.0 MiB"}, {GIB - 1, "1.0 GiB"}, {34 * GIB / 10, "3.4 GiB"}, {TIB, "1.0 TiB"}, {TIB * 1024, "1.0 PiB"},
            {TIB * 1024 * 1024, "1.0 EiB"}, {UINT64_MAX, "16.0 EiB"}, {UINT64_MAX / 2, "8.0 EiB"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char text[REPORT_SIZE_BYTES];

                report_size(cases[i].bytes, text);
                assert_string_equal(text, cases[i].text);
        }
}

static void durations_have_two_units(void **state)
{
        static const struct {
                int64_t seconds;
                const char *text;
        } cases[] = {
            {-1, "unknown"}, {0, "0 s"}, {59, "59 s"}, {60, "1 min 00 s"}, {3599, "59 min 59 s"}, {3600, "1 h 00 min"},
            {11225, "3 h 07 min"}, {86399, "23 h 59 min"}, {86400, "1 d 0 h"}, {INT64_MAX, "106751991167300 d 15 h"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char text[REPORT_DURATION_BYTES];

                report_duration(cases[i].seconds, text);
                assert_string_equal(text, cases[i].text);
        }
}

static void counts_from_anywhere_never_overflow(void **state)
{
        struct status_target target = {.n = UINT32_MAX, .path = path_a, .present_bytes = UINT64_MAX, .owed_bytes = UINT64_MAX,
                                       .verified_bytes = UINT64_MAX, .free_bytes = INT64_MAX, .errors = UINT64_MAX};
        struct status status = {.mode = MODE_FULL, .progress_tenths = 1000, .eta_s = INT64_MAX, .target_count = 1,
                                .targets = &target, .rate_bytes_per_s = UINT64_MAX};

        memset(status.files, 0xff, sizeof(status.files));
        memset(status.bytes, 0xff, sizeof(status.bytes));
        for (unsigned columns = 0; columns < 120; columns += 40) {
                char *text = NULL;

                assert_int_equal(report_status_text(&status, true, columns, &text), 0);
                free(text);
                assert_int_equal(report_owed_text(&status, &text), 0);
                free(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(status_shows_head_targets_counts_and_copies),
            cmocka_unit_test(a_target_shows_its_rate_and_time_left_while_something_flows),
            cmocka_unit_test(status_in_mode_full_counts_what_was_read_back_half),
            cmocka_unit_test(status_of_nothing_that_is_scanned_is_complete),
            cmocka_unit_test(status_before_the_scan_ends_claims_nothing),
            cmocka_unit_test(status_without_targets_or_queue_is_short),
            cmocka_unit_test(status_shows_each_problem_that_is_not_zero),
            cmocka_unit_test(names_never_reach_the_terminal_raw),
            cmocka_unit_test(colour_wraps_states_bars_and_errors),
            cmocka_unit_test(no_line_is_wider_than_the_terminal),
            cmocka_unit_test(narrow_terminal_shrinks_bars_then_paths),
            cmocka_unit_test(more_copies_than_fit_are_counted),
            cmocka_unit_test(progress_and_state_are_one_line),
            cmocka_unit_test(owed_names_files_bytes_and_targets),
            cmocka_unit_test(owed_of_empty_files_is_not_nothing),
            cmocka_unit_test(owed_nothing_says_what_it_does_not_cover),
            cmocka_unit_test(sizes_have_one_decimal_and_three_digits_or_four),
            cmocka_unit_test(durations_have_two_units),
            cmocka_unit_test(counts_from_anywhere_never_overflow),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
