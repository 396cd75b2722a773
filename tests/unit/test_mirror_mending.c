/* Verification against what happens meanwhile, and what cannot be verified: nothing waits for ever, nothing is called good that was not seen. */
#include "mirror_fixture.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mirror_internal.h"

enum { SIZE = 3 * MIB + 5, MANY = 600 };

static void mount_full(struct lab *lab, enum fill fill)
{
        lab->options.mode = MODE_FULL;
        lab->options.existing = EXISTING_VERIFY;
        lab->options.fill = fill;
        lab_start(lab);
        lab_wait_idle(lab);
}

/* Other bytes on the disk, with the size and the times of before. */
static void rot(int dir, const char *name, off_t offset)
{
        cleanup(fd_close) int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
        struct stat stat;
        uint8_t byte;

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &stat), 0);
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
        assert_int_equal(fsync(fd), 0);
        assert_int_equal(futimens(fd, (struct timespec[2]){ stat.st_atim, stat.st_mtim }), 0);
}

static unsigned count_events(struct lab *lab, const char *event)
{
        cleanup(pointer_free) char *buffer = malloc(EVENT_LINE_BYTES + 1);
        char wanted[64];
        unsigned count = 0;
        uint64_t seq = 0;
        size_t size;

        assert_non_null(buffer);
        (void)snprintf(wanted, sizeof(wanted), "\"event\":\"%s\"", event);
        while (events_read(mirror_events(lab->mirror), seq, buffer, EVENT_LINE_BYTES, &seq, &size) == 0 && size > 0) {
                buffer[size] = '\0';
                for (const char *at = strstr(buffer, wanted); at; at = strstr(at + 1, wanted))
                        count++;
        }
        return count;
}

static uint64_t files_in(struct lab *lab, enum category category)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        return status.files[category];
}

static uint64_t files_verified(struct lab *lab)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        return status.files_verified;
}

static unsigned progress_of(struct lab *lab)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        return (unsigned)status.progress_tenths;
}

/* --- what is being copied --- */

/* Also where nobody filled the file: a reader alone brought it. */
static void test_chunk_of_a_partial_file_that_does_not_read_back_is_copied_again(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", SIZE, 1);
        mount_full(lab, FILL_CHUNK);
        assert_int_equal(lab_control(lab, "pause\n"), 0);
        lab_assert_reads_pattern(lab, "f", SIZE, 1);
        assert_int_equal(lab_control(lab, "checkpoint\n"), 0);
        lab_shell(lab, "for f in t2/.cvv/partial/*; do printf XYZ | dd of=\"$f\" bs=1 seek=2000000 conv=notrunc,fsync status=none; done");
        assert_int_equal(lab_control(lab, "resume\n"), 0);
        lab_wait_idle(lab);
        assert_true(lab_has_event(lab, "mismatch"));
        assert_true(lab_has_event(lab, "repaired"));
        assert_int_equal(files_verified(lab), 1);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_verified_file_gets_its_name_without_another_round(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", MIB / 2, 1);
        lab_use_targets(lab, (const char *const[]){ "t1", NULL });
        mount_full(lab, FILL_ALL);
        assert_int_equal(files_verified(lab), 1);
        assert_int_equal(count_events(lab, "checkpoint"), 1);
}

/* --- pausing, progress --- */

static bool is_read_back_a_little(struct lab *lab)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        return status.targets[0].verified_bytes > 0;
}

static bool is_idle(struct lab *lab)
{
        return !mirror_is_busy(lab->mirror);
}

static void test_pause_in_the_middle_of_a_file_leaves_nothing_to_wait_for(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", 12 * MIB, 1);
        lab_copy_all(lab);
        lab->options.mode = MODE_FULL;
        lab->options.limit_bytes_per_s = 4 * MIB;
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait(lab, is_read_back_a_little);
        assert_int_equal(lab_control(lab, "pause\n"), 0);
        lab_wait(lab, is_idle);
        assert_int_equal(files_verified(lab), 0);
        assert_in_range(progress_of(lab), 500, 999);
        assert_int_equal(lab_control(lab, "limit 0\nresume\n"), 0);
        lab_wait_idle(lab);
        assert_int_equal(files_verified(lab), 1);
        assert_int_equal(progress_of(lab), 1000);
}

static void test_progress_does_not_count_as_read_back_what_waits_for_resume(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", SIZE, 1);
        lab_copy_all(lab);
        lab->options.mode = MODE_FULL;
        lab_start(lab);
        lab_wait_scanned(lab);
        assert_int_equal(lab_control(lab, "pause\nfill\n"), 0);
        lab_wait_scanned(lab);
        lab_wait(lab, is_idle);
        assert_int_equal(progress_of(lab), 500);
        assert_int_equal(lab_control(lab, "resume\n"), 0);
        lab_wait_idle(lab);
        assert_int_equal(progress_of(lab), 1000);
}

static void test_progress_of_what_is_taken_as_equal_stays_when_something_else_is_done(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "same", SIZE, 1);
        lab_shell(lab, "for t in t1 t2 t3; do cp -p source/same $t/; done");
        pattern_file(lab->source, "new", 2 * MIB, 2);
        lab->options.mode = MODE_FULL;
        lab->options.existing = EXISTING_SKIP;
        lab_start(lab);
        lab_wait_scanned(lab);
        lab_wait_idle(lab);
        assert_in_range(progress_of(lab), 600, 607); /* 3 of 5 MiB */
        assert_int_equal(lab_control(lab, "pause\nfill new\n"), 0);
        assert_in_range(progress_of(lab), 600, 607);
        assert_int_equal(lab_control(lab, "resume\n"), 0);
        assert_in_range(progress_of(lab), 600, 1000);
        lab_wait_idle(lab);
        assert_int_equal(progress_of(lab), 1000);
}

/* --- digests --- */

static void test_changed_set_of_digests_is_known_for_empty_files_too(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "empty", 0, 1);
        pattern_file(lab->source, "f", SIZE, 1);
        mount_full(lab, FILL_ALL);
        assert_non_null(strstr(lab_xattr(lab, "empty", "digest"), "ef46db3751d8e999"));
        lab_stop(lab);
        assert_int_equal(hash_parse_list("md5", &lab->options.hash), 0);
        mount_full(lab, FILL_ALL);
        assert_non_null(strstr(lab_xattr(lab, "empty", "digest"), "d41d8cd98f00b204e9800998ecf8427e"));
        assert_non_null(strstr(lab_xattr(lab, "f", "digest"), "md5"));
}

static void test_digest_comes_from_another_copy_where_the_first_target_is_in_conflict(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", SIZE, 1);
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        lab_stop(lab);
        set_mtime(lab->targets[0], "f", 77);
        assert_int_equal(hash_parse_list("md5", &lab->options.hash), 0);
        lab_start(lab);
        lab_wait_idle(lab);
        assert_int_equal(files_in(lab, CATEGORY_CONFLICT), 1);
        assert_non_null(strstr(lab_xattr(lab, "f", "digest"), "md5"));
}

/* --- what changes on the targets, and what is gone from the source --- */

static void test_link_that_the_source_lost_is_not_verified_for_ever(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", 5, 1);
        lab_shell(lab, "ln -s f source/link");
        mount_full(lab, FILL_ALL);
        assert_int_equal(files_verified(lab), 2);
        lab_shell(lab, "rm source/link");
        assert_int_equal(lab_control(lab, "verify link\n"), 0);
        lab_wait_idle(lab);
        assert_string_not_equal(lab_xattr(lab, "link", "state"), "verified");
}

static void test_copy_that_somebody_made_longer_is_a_conflict_also_while_it_is_open(void **state)
{
        struct lab *lab = *state;
        struct mirror_handle *handle;
        uint8_t byte;

        pattern_file(lab->source, "f", SIZE, 1);
        mount_full(lab, FILL_ALL);
        handle = lab_open_file(lab, "f");
        assert_int_equal(lab_read_handle(handle, 0, 1, &byte), 1);
        lab_shell(lab, "for t in t1 t2 t3; do printf more >>$t/f; done");
        assert_int_equal(lab_control(lab, "verify f\n"), 0);
        lab_wait_idle(lab);
        mirror_release(handle);
        assert_int_equal(files_in(lab, CATEGORY_CONFLICT), 1);
        lab_stop(lab);
        lab_shell(lab, "test $(stat -c %s t1/f) = $((3 * 1048576 + 9))");
}

static void test_copy_that_was_put_in_place_of_an_open_one_is_read_itself(void **state)
{
        struct lab *lab = *state;
        struct mirror_handle *handle;
        uint8_t byte;

        pattern_file(lab->source, "f", SIZE, 1);
        mount_full(lab, FILL_ALL);
        handle = lab_open_file(lab, "f");
        assert_int_equal(lab_read_handle(handle, 0, 1, &byte), 1);
        lab_shell(lab, "for t in t1 t2 t3; do cp -p $t/f $t/other && mv $t/other $t/f; done");
        for (int i = 0; i < LAB_TARGETS; i++)
                rot(lab->targets[i], "f", MIB);
        assert_int_equal(lab_control(lab, "verify f\n"), 0);
        lab_wait_idle(lab);
        mirror_release(handle);
        assert_true(lab_has_event(lab, "mismatch"));
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_bad_copy_is_replaced_also_when_the_source_changes_before_it_is(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", SIZE, 1);
        mount_full(lab, FILL_ALL);
        rot(lab->targets[1], "f", MIB);
        pattern_file(lab->source, "f", SIZE + 100, 2);
        assert_int_equal(lab_control(lab, "verify f\n"), 0);
        lab_wait_idle(lab);
        assert_true(lab_has_event(lab, "mismatch"));
        assert_int_equal(files_in(lab, CATEGORY_CONFLICT), 0);
        assert_int_equal(files_verified(lab), 1);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_only_copy_that_does_not_read_back_has_failed(void **state)
{
        struct lab *lab = *state;

        lab_use_targets(lab, (const char *const[]){ "t1", NULL });
        pattern_file(lab->source, "f", SIZE, 1);
        pattern_file(lab->source, "g", SIZE, 2);
        mount_full(lab, FILL_ALL);
        rot(lab->targets[0], "f", MIB);
        lab_shell(lab, "rm -r source");
        assert_int_equal(lab_control(lab, "verify f\n"), 0);
        lab_wait_idle(lab);
        assert_string_equal(lab_xattr(lab, "f", "state"), "failed");
        assert_int_equal(files_in(lab, CATEGORY_FAILED), 1);
        assert_int_equal(files_in(lab, CATEGORY_COPIED), 1);
}

/* --- bounds --- */

static void test_paused_verification_of_many_files_leaves_descriptors_for_others(void **state)
{
        struct lab *lab = *state;
        struct rlimit before, low;
        uint8_t buffer[16];
        char name[16];

        for (unsigned i = 0; i < MANY; i++) {
                (void)snprintf(name, sizeof(name), "f%u", i);
                pattern_file(lab->source, name, 100 + i, i);
        }
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        low = before;
        low.rlim_cur = 1024;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        mount_full(lab, FILL_CHUNK);
        assert_int_equal(lab_control(lab, "pause\n"), 0);
        for (unsigned i = 0; i < MANY; i++) {
                (void)snprintf(name, sizeof(name), "f%u", i);
                assert_int_equal(lab_read(lab, name, 0, sizeof(buffer), buffer), sizeof(buffer));
                if (i % 16 == 15)
                        assert_int_equal(lab_control(lab, "checkpoint\n"), 0);
        }
        assert_int_equal(lab_control(lab, "resume\nfill\n"), 0);
        lab_wait_scanned(lab);
        lab_wait_idle(lab);
        assert_false(lab_has_event(lab, "target-failed"));
        assert_int_equal(files_verified(lab), MANY);
        lab_stop(lab);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        lab_assert_all_mirrored(lab);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_chunk_of_a_partial_file_that_does_not_read_back_is_copied_again),
                LAB_CASE(test_verified_file_gets_its_name_without_another_round),
                LAB_CASE(test_pause_in_the_middle_of_a_file_leaves_nothing_to_wait_for),
                LAB_CASE(test_progress_does_not_count_as_read_back_what_waits_for_resume),
                LAB_CASE(test_progress_of_what_is_taken_as_equal_stays_when_something_else_is_done),
                LAB_CASE(test_changed_set_of_digests_is_known_for_empty_files_too),
                LAB_CASE(test_digest_comes_from_another_copy_where_the_first_target_is_in_conflict),
                LAB_CASE(test_link_that_the_source_lost_is_not_verified_for_ever),
                LAB_CASE(test_copy_that_somebody_made_longer_is_a_conflict_also_while_it_is_open),
                LAB_CASE(test_copy_that_was_put_in_place_of_an_open_one_is_read_itself),
                LAB_CASE(test_bad_copy_is_replaced_also_when_the_source_changes_before_it_is),
                LAB_CASE(test_only_copy_that_does_not_read_back_has_failed),
                LAB_CASE(test_paused_verification_of_many_files_leaves_descriptors_for_others),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
