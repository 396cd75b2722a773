/* Verification as a whole: what is read back, what is found, what becomes of it. */
#include "mirror_fixture.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/report_json.h"

enum { BIG = 3 * MIB + 5 };

static void make_tree(struct lab *lab)
{
        pattern_file(lab->source, "big", BIG, 1);
        pattern_file(lab->source, "small", 1234, 2);
        lab_shell(lab, "cd source && : >empty && ln -s big link && ln big hard && mkfifo fifo && mkdir d && cp small d/other "
                       "&& truncate -s 5M sparse && printf x | dd of=sparse bs=1 seek=2M conv=notrunc status=none");
}

enum { TREE_FILES = 8, TREE_BYTES = BIG + 2 * 1234 + (5 << 20) };

static void mount_full(struct lab *lab, enum mode mode, enum existing existing)
{
        lab->options.mode = mode;
        lab->options.existing = existing;
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
}

static void assert_verified(struct lab *lab, uint64_t files, uint64_t bytes)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        assert_int_equal(status.files_verified, files);
        assert_int_equal(status.bytes_verified, bytes);
        for (size_t i = 0; i < status.target_count; i++)
                assert_int_equal(status.targets[i].verified_bytes, bytes);
}

static void assert_state(struct lab *lab, enum mirror_state state)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        assert_string_equal(status_state_name(status.state), status_state_name(state));
        assert_int_equal(status.files[CATEGORY_PENDING], 0);
}

/* Other bytes on the disk, with the size and the times of before. */
static void rot(int dir, const char *name, off_t offset)
{
        int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
        struct stat stat;
        uint8_t byte;

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &stat), 0);
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
        assert_int_equal(fsync(fd), 0);
        assert_int_equal(futimens(fd, (struct timespec[2]){ stat.st_atim, stat.st_mtim }), 0);
        (void)close(fd);
}

static void test_full_reads_everything_back_and_the_source_twice(void **state)
{
        struct lab *lab = *state;
        struct status status;

        make_tree(lab);
        mount_full(lab, MODE_FULL, EXISTING_VERIFY);
        assert_state(lab, MIRROR_COMPLETE);
        assert_verified(lab, TREE_FILES, TREE_BYTES);
        status = lab_status(lab);
        assert_int_equal(status.source_verify_bytes, TREE_BYTES);
        assert_int_equal(status.progress_tenths, 1000);
        assert_non_null(status.targets[0].verify_method);
        assert_string_not_equal(status.targets[0].verify_method, "cache");
        status_deinit(&status);
        assert_string_equal(lab_xattr(lab, "big", "state"), "verified");
        assert_string_equal(lab_xattr(lab, "link", "state"), "verified");
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_what_was_verified_is_not_read_again_at_the_next_mount(void **state)
{
        struct lab *lab = *state;
        struct status status;

        make_tree(lab);
        mount_full(lab, MODE_FULL, EXISTING_VERIFY);
        lab_stop(lab);
        mount_full(lab, MODE_FULL, EXISTING_VERIFY);
        assert_verified(lab, TREE_FILES, TREE_BYTES);
        status = lab_status(lab);
        assert_int_equal(status.source_verify_bytes, 0);
        assert_int_equal(status.source_copy_bytes, 0);
        status_deinit(&status);
}

static void test_full_verifies_what_transfer_copied(void **state)
{
        struct lab *lab = *state;
        struct status status;

        make_tree(lab);
        mount_full(lab, MODE_TRANSFER, EXISTING_SKIP);
        assert_verified(lab, 0, 0);
        lab_stop(lab);
        mount_full(lab, MODE_FULL, EXISTING_VERIFY);
        assert_verified(lab, TREE_FILES, TREE_BYTES);
        status = lab_status(lab);
        assert_int_equal(status.source_copy_bytes, 0);
        assert_int_equal(status.source_verify_bytes, TREE_BYTES);
        status_deinit(&status);
}

static void test_source_reads_the_source_twice_and_no_target(void **state)
{
        struct lab *lab = *state;
        struct status status;

        make_tree(lab);
        mount_full(lab, MODE_SOURCE, EXISTING_VERIFY);
        assert_state(lab, MIRROR_COMPLETE);
        assert_verified(lab, 0, 0);
        status = lab_status(lab);
        assert_int_equal(status.source_verify_bytes, TREE_BYTES);
        status_deinit(&status);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void count_repair(void *context, const char *path, uint32_t n, const char *root, unsigned times)
{
        unsigned *count = context;

        assert_true(strcmp(path, "big") == 0 || strcmp(path, "hard") == 0); /* one file: its first name is the scan's to choose */
        assert_int_equal(n, 2);
        assert_non_null(strstr(root, "/t2"));
        assert_int_equal(times, 1);
        ++*count;
}

static void test_rot_under_a_published_name_is_found_and_repaired(void **state)
{
        struct lab *lab = *state;
        unsigned repairs = 0;

        make_tree(lab);
        mount_full(lab, MODE_TRANSFER, EXISTING_SKIP);
        lab_stop(lab);
        rot(lab->targets[1], "big", 2 * MIB + 77);
        mount_full(lab, MODE_FULL, EXISTING_VERIFY);
        assert_true(lab_has_event(lab, "mismatch"));
        assert_true(lab_has_event(lab, "repaired"));
        mirror_each_repair(lab->mirror, count_repair, &repairs);
        assert_int_equal(repairs, 1);
        assert_state(lab, MIRROR_COMPLETE);
        assert_verified(lab, TREE_FILES, TREE_BYTES);
        lab_stop(lab);
        lab_assert_all_mirrored(lab); /* the hard link too */
}

static void test_verify_finds_rot_in_what_was_verified_before(void **state)
{
        struct lab *lab = *state;

        make_tree(lab);
        mount_full(lab, MODE_FULL, EXISTING_VERIFY);
        rot(lab->targets[0], "small", 5);
        rot(lab->targets[2], "big", 0);
        assert_int_equal(lab_control(lab, "verify\n"), 0);
        lab_wait_idle(lab);
        assert_true(lab_has_event(lab, "repaired"));
        assert_verified(lab, TREE_FILES, TREE_BYTES);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_verify_of_one_path_looks_at_nothing_else(void **state)
{
        struct lab *lab = *state;

        make_tree(lab);
        mount_full(lab, MODE_FULL, EXISTING_VERIFY);
        rot(lab->targets[0], "small", 5);
        assert_int_equal(lab_control(lab, "verify big\n"), 0);
        lab_wait_idle(lab);
        assert_false(lab_has_event(lab, "mismatch"));
        assert_int_equal(lab_control(lab, "verify small\n"), 0);
        lab_wait_idle(lab);
        assert_true(lab_has_event(lab, "mismatch"));
        assert_int_equal(lab_control(lab, "verify nowhere\n"), -ENOENT);
}

static void test_a_file_that_was_there_and_has_other_bytes_is_a_conflict_and_kept(void **state)
{
        struct lab *lab = *state;
        cleanup(status_deinit) struct status status = { 0 };

        pattern_file(lab->source, "f", BIG, 1);
        set_mtime(lab->source, "f", 1000000000);
        pattern_file(lab->targets[0], "f", BIG, 1);
        rot(lab->targets[0], "f", MIB + 1);
        set_mtime(lab->targets[0], "f", 1000000000);
        mount_full(lab, MODE_TRANSFER, EXISTING_SKIP);
        lab_stop(lab);
        mount_full(lab, MODE_TRANSFER, EXISTING_SKIP);
        assert_int_equal(lab_control(lab, "verify f\n"), 0);
        lab_wait_idle(lab);
        status = lab_status(lab);
        assert_int_equal(status.files[CATEGORY_CONFLICT], 1);
        lab_stop(lab);
        assert_false(pattern_is(lab->targets[0], "f", BIG, 1));
        assert_true(pattern_is(lab->targets[1], "f", BIG, 1));
}

static void test_a_source_that_gives_other_bytes_is_not_reported_as_verified(void **state)
{
        struct lab *lab = *state;

        make_tree(lab);
        mount_full(lab, MODE_TRANSFER, EXISTING_SKIP);
        lab_stop(lab);
        rot(lab->source, "d/other", 7);
        mount_full(lab, MODE_FULL, EXISTING_VERIFY);
        assert_true(lab_has_event(lab, "source-differs"));
        assert_verified(lab, TREE_FILES - 1, TREE_BYTES - 1234);
        assert_string_equal(lab_xattr(lab, "d/other", "state"), "copied");
}

static void test_what_the_source_lost_can_be_repaired_from_another_target(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", BIG, 1);
        mount_full(lab, MODE_FULL, EXISTING_VERIFY);
        rot(lab->targets[1], "f", 9);
        lab_shell(lab, "mv source/f gone");
        assert_int_equal(lab_control(lab, "verify f\n"), 0);
        lab_wait_idle(lab);
        assert_true(lab_has_event(lab, "repaired"));
        lab_stop(lab);
        assert_true(pattern_is(lab->targets[1], "f", BIG, 1));
}

static void test_a_digest_that_was_not_taken_in_flight_comes_from_a_copy(void **state)
{
        struct lab *lab = *state;
        uint8_t buffer[16];
        char known[128];

        pattern_file(lab->source, "f", BIG, 1);
        pattern_file(lab->source, "same", BIG, 1);
        lab_start(lab);
        for (int chunk = 3; chunk >= 0; chunk--)
                assert_true(lab_read(lab, "f", (uint64_t)chunk * MIB, sizeof(buffer), buffer) > 0);
        assert_int_equal(lab_control(lab, "fill same\n"), 0);
        lab_wait_idle(lab);
        (void)snprintf(known, sizeof(known), "%s", lab_xattr(lab, "same", "digest"));
        assert_int_not_equal(strlen(known), 0);
        assert_string_equal(lab_xattr(lab, "f", "digest"), known);
}

static void test_paused_verification_waits_for_resume(void **state)
{
        struct lab *lab = *state;

        make_tree(lab);
        mount_full(lab, MODE_TRANSFER, EXISTING_SKIP);
        assert_int_equal(lab_control(lab, "pause\nverify\n"), 0);
        assert_state(lab, MIRROR_PAUSED);
        lab_wait_idle(lab); /* nothing can progress */
        assert_verified(lab, 0, 0);
        assert_int_equal(lab_control(lab, "resume\n"), 0);
        lab_wait_idle(lab);
        assert_verified(lab, TREE_FILES, TREE_BYTES);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_full_reads_everything_back_and_the_source_twice),
                LAB_CASE(test_what_was_verified_is_not_read_again_at_the_next_mount),
                LAB_CASE(test_full_verifies_what_transfer_copied),
                LAB_CASE(test_source_reads_the_source_twice_and_no_target),
                LAB_CASE(test_rot_under_a_published_name_is_found_and_repaired),
                LAB_CASE(test_verify_finds_rot_in_what_was_verified_before),
                LAB_CASE(test_verify_of_one_path_looks_at_nothing_else),
                LAB_CASE(test_a_file_that_was_there_and_has_other_bytes_is_a_conflict_and_kept),
                LAB_CASE(test_a_source_that_gives_other_bytes_is_not_reported_as_verified),
                LAB_CASE(test_what_the_source_lost_can_be_repaired_from_another_target),
                LAB_CASE(test_a_digest_that_was_not_taken_in_flight_comes_from_a_copy),
                LAB_CASE(test_paused_verification_waits_for_resume),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
