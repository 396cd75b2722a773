#include "mirror_fixture.h"

#include "core/mirror_internal.h"

#include <sys/xattr.h>

/* --- the objects of a tree --- */

static void test_all_kinds_of_objects_arrive_as_they_are(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "big", 5 * MIB + 17, 1);
        lab_shell(lab, "cd source && mkdir -p a/b/c empty-dir closed && echo small > a/small && : > a/empty && "
                       "ln a/small a/b/link && ln a/small zlink && ln -s ../big a/relative && ln -s /nowhere/at/all dangling && "
                       "mkfifo a/fifo && mknod null c 1 3 2>/dev/null; chmod 640 a/small && chmod 4755 big && chmod 500 closed && "
                       "chmod 1777 a/b && chown 1234:2345 a/b/c a/empty 2>/dev/null; true");
        lab_shell(lab, "cd source && touch -hd '2001-02-03 04:05:06.123456789' a/relative dangling a/small big a/fifo a/empty && "
                       "touch -d '1999-01-02 03:04:05' a/b/c a/b a empty-dir closed .");
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

static void test_hard_links_share_one_number_and_one_copy(void **state)
{
        struct lab *lab = *state;
        struct stat first, second;
        uint64_t ids[2];

        pattern_file(lab->source, "one", 2 * MIB, 1);
        lab_shell(lab, "mkdir source/d && ln source/one source/d/two && ln source/one source/three");
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        ids[0] = lab_id(lab, "one");
        ids[1] = lab_id(lab, "d/two");
        assert_int_equal(ids[0], ids[1]);
        assert_int_equal(lab_source_bytes(lab), 2 * MIB);
        assert_int_equal(mirror_getattr(lab->mirror, ids[0], &first), 0);
        assert_int_equal(first.st_nlink, 3);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
        assert_int_equal(fstatat(lab->targets[1], "one", &first, 0), 0);
        assert_int_equal(fstatat(lab->targets[1], "d/two", &second, 0), 0);
        assert_int_equal(first.st_ino, second.st_ino);
}

static void test_a_link_that_appears_later_is_made_without_a_copy(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "one", 2 * MIB, 1);
        lab_shell(lab, "ln source/one source/other");
        lab_copy_all(lab);
        lab_shell(lab, "ln source/one source/two");
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        assert_int_equal(lab_source_bytes(lab), 0);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_holes_stay_holes(void **state)
{
        struct lab *lab = *state;
        cleanup(fd_close) int fd = openat(lab->source, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        struct stat stat;

        assert_int_equal(ftruncate(fd, 300 * (off_t)MIB), 0);
        assert_int_equal(pwrite(fd, "begin", 5, 0), 5);
        assert_int_equal(pwrite(fd, "middle", 6, 150 * (off_t)MIB + 5000), 6);
        pattern_file(lab->source, "dense", 3 * MIB, 1);
        lab_shell(lab, "truncate -s 40M source/all-hole");
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        assert_true(lab_source_bytes(lab) < 6 * MIB);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
        assert_int_equal(fstatat(lab->targets[0], "sparse", &stat, 0), 0);
        assert_true(stat.st_blocks <= 64);
        assert_int_equal(fstatat(lab->targets[0], "all-hole", &stat, 0), 0);
        assert_int_equal(stat.st_blocks, 0);
}

static void test_names_of_any_bytes_arrive(void **state)
{
        static const char *const names[] = { "a\nb", "\xff\xfe\x80", "tab\there", " space ", "-rf", "\\n", "\x1b[31mred", "\"q'",
                                             "caf\xc3\xa9", "%s%n", "*?[", "..." };
        struct lab *lab = *state;
        char longest[256];

        memset(longest, 'x', 255);
        longest[255] = '\0';
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                pattern_file(lab->source, names[i], 100 + i, (unsigned)i);
        }
        pattern_file(lab->source, longest, 5, 1);
        lab_shell(lab, "mkdir \"source/$(printf 'dir\\nwith\\377')\" && echo x > \"source/$(printf 'dir\\nwith\\377')/f\"");
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                lab_assert_reads_pattern(lab, names[i], 100 + i, (unsigned)i);
        assert_int_equal(lab_control(lab, "fill a\\nb\n"), 0);
        assert_int_equal(lab_control(lab, "fill \\\\n\n"), 0);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_many_small_files_arrive(void **state)
{
        struct lab *lab = *state;

        lab_shell(lab, "cd source && for d in 1 2 3 4 5 6 7 8; do mkdir $d; for f in $(seq 100); do echo $d.$f > $d/$f; done; "
                       "done; touch -d '2000-01-01' 1 2 3 4 5 6 7 8 .");
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

static void test_extended_attributes_arrive(void **state)
{
        struct lab *lab = *state;
        char value[16] = "";

        pattern_file(lab->source, "f", 10, 1);
        {
                cleanup(fd_close) int fd = openat(lab->source, "f", O_RDONLY | O_CLOEXEC);

                if (fsetxattr(fd, "user.colour", "blue", 4, 0) < 0)
                        skip(); /* a filesystem without them */
        }
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        assert_int_equal(mirror_getxattr(lab->mirror, lab_id(lab, "f"), "user.colour", value, sizeof(value)), 4);
        assert_int_equal(mirror_getxattr(lab->mirror, lab_id(lab, "f"), "user.none", value, sizeof(value)), -ENODATA);
        lab_stop(lab);
        {
                cleanup(fd_close) int fd = openat(lab->targets[2], "f", O_RDONLY | O_CLOEXEC);

                assert_int_equal(fgetxattr(fd, "user.colour", value, sizeof(value)), 4);
        }
        assert_memory_equal(value, "blue", 4);
}

/* --- nothing is left behind --- */

static void test_nothing_of_cvv_stays_on_a_finished_target(void **state)
{
        struct lab *lab = *state;

        lab_shell(lab, "mkdir -p source/d && echo x > source/d/f && touch -d '2000-01-01' source/d source");
        lab_copy_all(lab);
        for (int i = 0; i < LAB_TARGETS; i++)
                assert_false(exists(lab->targets[i], ".cvv"));
        lab_assert_all_mirrored(lab);
        lab_copy_all(lab); /* nor after a mount that had nothing to do */
        for (int i = 0; i < LAB_TARGETS; i++)
                assert_false(exists(lab->targets[i], ".cvv"));
        lab_assert_all_mirrored(lab);
}

static void test_an_unfinished_target_shows_no_final_name(void **state)
{
        struct lab *lab = *state;
        uint8_t byte;

        pattern_file(lab->source, "f", 4 * MIB, 1);
        lab_start(lab);
        assert_int_equal(lab_read(lab, "f", 0, 1, &byte), 1);
        lab_wait_idle(lab);
        assert_string_equal(lab_xattr(lab, "f", "state"), "partial");
        lab_stop(lab);
        for (int i = 0; i < LAB_TARGETS; i++) {
                assert_false(exists(lab->targets[i], "f"));
                assert_true(exists(lab->targets[i], ".cvv/partial"));
                assert_true(exists(lab->targets[i], ".cvv/id"));
        }
}

/* --- a source that changes --- */

static void test_a_source_that_changes_between_chunks_is_never_mixed(void **state)
{
        struct lab *lab = *state;
        struct mirror_handle *handle;
        static uint8_t buffer[4096], expected[4096];

        pattern_file(lab->source, "f", 4 * MIB, 1);
        lab_start(lab);
        handle = lab_open_file(lab, "f");
        assert_int_equal(lab_read_handle(handle, 0, sizeof(buffer), buffer), sizeof(buffer));
        lab_wait_idle(lab); /* the first chunk of the old version is on the targets */
        pattern_file(lab->source, "f", 4 * MIB, 2);
        pattern_fill(expected, 3 * MIB, sizeof(expected), 2);
        assert_int_equal(lab_read_handle(handle, 3 * MIB, sizeof(buffer), buffer), sizeof(buffer));
        assert_memory_equal(buffer, expected, sizeof(buffer));
        pattern_fill(expected, 0, sizeof(expected), 2);
        assert_int_equal(lab_read_handle(handle, 0, sizeof(buffer), buffer), sizeof(buffer));
        assert_memory_equal(buffer, expected, sizeof(buffer));
        assert_true(lab_has_event(lab, "source-changed"));
        mirror_release(handle);
        assert_int_equal(lab_control(lab, "fill f\n"), 0);
        lab_wait_idle(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_source_that_changed_size_while_stopped_is_copied_anew(void **state)
{
        struct lab *lab = *state;
        uint8_t byte;

        pattern_file(lab->source, "grows", 4 * MIB, 1);
        pattern_file(lab->source, "shrinks", 4 * MIB, 1);
        lab_start(lab);
        assert_int_equal(lab_read(lab, "grows", 0, 1, &byte), 1);
        assert_int_equal(lab_read(lab, "shrinks", 3 * MIB, 1, &byte), 1);
        lab_wait_idle(lab);
        lab_stop(lab);
        pattern_file(lab->source, "grows", 6 * MIB, 2);
        pattern_file(lab->source, "shrinks", 2 * MIB, 2);
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

static struct node_record node_of(struct lab *lab, const char *path)
{
        struct node_record node;

        memset(&node, 0, sizeof(node));
        assert_int_equal(view_node(lab->mirror->view, lab_id(lab, path), &node), 0);
        return node;
}

static bool take_ctime(void *context, struct node_record *node)
{
        const struct stat *stat = context;

        node->ctime_ns = stat->st_ctim.tv_sec * 1000000000ll + stat->st_ctim.tv_nsec;
        return true;
}

/* Other bytes come, with the same size and times, as a write through a mapping may leave them. */
static void change_bytes_only(struct lab *lab)
{
        struct stat stat;
        uint64_t id;

        pattern_file(lab->source, "f", 3 * MIB, 2);
        set_mtime(lab->source, "f", 1600000000);
        assert_int_equal(fstatat(lab->source, "f", &stat, 0), 0);
        lab_open(lab);
        assert_int_equal(view_resolve(lab->mirror->view, "f", &id), 0);
        assert_int_equal(view_update(lab->mirror->view, id, take_ctime, &stat), 0);
        assert_int_equal(mirror_start(lab->mirror, NULL), 0);
        lab_wait_scanned(lab);
}

static void test_a_half_copied_source_that_changes_in_its_bytes_only_begins_again(void **state)
{
        struct lab *lab = *state;
        uint64_t generation;
        uint8_t byte;

        pattern_file(lab->source, "f", 3 * MIB, 1);
        set_mtime(lab->source, "f", 1600000000);
        lab_start(lab);
        assert_int_equal(lab_read(lab, "f", 0, 1, &byte), 1);
        lab_wait_idle(lab);
        lab_stop(lab);
        lab_use_targets(lab, (const char *const[]){ "t4", NULL }); /* it comes from the source once more */
        change_bytes_only(lab);
        generation = node_of(lab, "f").generation;
        assert_int_equal(lab_read(lab, "f", 1, 1, &byte), 1);
        lab_wait_idle(lab); /* a reader is answered before its chunk was read to the end */
        assert_int_equal(node_of(lab, "f").generation, generation + 1);
        lab_stop(lab);
        lab_use_targets(lab, (const char *const[]){ "t1", "t2", "t3", NULL });
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_version_that_a_target_has_whole_is_not_mixed_with_other_bytes(void **state)
{
        struct lab *lab = *state;
        uint64_t generation;
        uint8_t byte;

        pattern_file(lab->source, "f", 3 * MIB, 1);
        set_mtime(lab->source, "f", 1600000000);
        lab_copy_all(lab);
        lab_shell(lab, "rm t1/f t2/f");
        lab_use_targets(lab, (const char *const[]){ "t1", "t2", NULL });
        change_bytes_only(lab);
        generation = node_of(lab, "f").generation;
        (void)lab_read(lab, "f", MIB, 1, &byte);
        lab_wait_idle(lab);
        assert_int_equal(node_of(lab, "f").generation, generation);
        assert_false(exists(lab->targets[0], "f"));
        lab_stop(lab);
        lab_use_targets(lab, (const char *const[]){ "t1", "t2", "t3", NULL });
        lab_copy_all(lab);
        for (int i = 0; i < LAB_TARGETS; i++)
                assert_true(pattern_is(lab->targets[i], "f", 3 * MIB, 1));
}

static void test_a_file_that_changes_after_the_scan_is_filled_again(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", 3 * MIB, 1);
        pattern_file(lab->source, "g", MIB, 1);
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        pattern_file(lab->source, "f", 4 * MIB, 2);
        assert_int_equal(reconcile_renew(lab->mirror->reconcile, lab_id(lab, "f")), 0); /* somebody looks at it */
        lab_wait_idle(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_published_file_follows_its_source(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", 2 * MIB, 1);
        lab_copy_all(lab);
        pattern_file(lab->source, "f", 3 * MIB, 2);
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        lab_assert_reads_pattern(lab, "f", 3 * MIB, 2);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

struct rewriter {
        int source;
        atomic_bool stop;
        atomic_uint rounds;
};

/* Writes the whole file with one byte again and again, half of the times in place. */
static void *rewrite_main(void *argument)
{
        struct rewriter *rewriter = argument;
        uint8_t *buffer = malloc(3 * MIB);

        for (unsigned round = 1; buffer && !atomic_load(&rewriter->stop) && round < 250; round++) {
                const char *name = round % 2 ? "f" : "f.new";
                int fd = openat(rewriter->source, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

                memset(buffer, (int)round, 3 * MIB);
                for (size_t at = 0; at < 3 * MIB; at += MIB / 4)
                        (void)pwrite(fd, buffer + at, MIB / 4, (off_t)at);
                (void)close(fd);
                if (round % 2 == 0)
                        (void)renameat(rewriter->source, "f.new", rewriter->source, "f");
                atomic_store(&rewriter->rounds, round);
        }
        free(buffer);
        return NULL;
}

static bool is_uniform(int dir, const char *name)
{
        cleanup(fd_close) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
        static uint8_t buffer[3 * MIB];

        if (fd < 0)
                return true;
        return io_read_full(fd, buffer, sizeof(buffer), 0) == (int64_t)sizeof(buffer) &&
               memcmp(buffer, buffer + 1, sizeof(buffer) - 1) == 0;
}

static void test_a_source_that_changes_all_the_time_is_never_published_as_a_mix(void **state)
{
        struct lab *lab = *state;
        struct rewriter rewriter = { .source = lab->source };
        pthread_t thread;
        uint64_t end_ns;

        pattern_file(lab->source, "f", 3 * MIB, 1);
        lab->options.fill = FILL_ALL;
        lab_start(lab);
        assert_int_equal(thread_start(&thread, "rewriter", rewrite_main, &rewriter), 0);
        for (end_ns = clock_now_ns() + 1500000000ull; clock_now_ns() < end_ns;) {
                (void)lab_control(lab, "fill f\n");
                (void)mirror_checkpoint(lab->mirror, clock_now_ns() + 1000000000ull);
                for (int i = 0; i < LAB_TARGETS && atomic_load(&rewriter.rounds) > 0; i++)
                        assert_true(is_uniform(lab->targets[i], "f") || pattern_is(lab->targets[i], "f", 3 * MIB, 1));
        }
        atomic_store(&rewriter.stop, true);
        assert_int_equal(pthread_join(thread, NULL), 0);
        (void)unlinkat(lab->source, "f.new", 0);
        print_message("rewritten %u times\n", atomic_load(&rewriter.rounds));
        lab_stop(lab);
        lab_copy_all(lab);
        for (int i = 0; i < LAB_TARGETS; i++) {
                assert_true(is_uniform(lab->targets[i], "f"));
                (void)unlinkat(lab->targets[i], "f.new", 0); /* it was there for a moment, and then only there */
        }
        lab_shell(lab, "for t in t1 t2 t3; do cmp source/f $t/f; done");
}

/* --- sizes and memory --- */

static void copy_with(struct lab *lab, uint64_t chunk_bytes, uint64_t memory_bytes, unsigned jobs)
{
        lab->options.chunk_bytes = chunk_bytes;
        lab->options.memory_bytes = memory_bytes;
        lab->options.jobs = jobs;
        lab_copy_all(lab);
        lab_assert_all_mirrored(lab);
}

static void test_small_chunks_with_little_memory_and_many_jobs(void **state)
{
        struct lab *lab = *state;

        for (unsigned i = 0; i < 12; i++) {
                char name[16];

                (void)snprintf(name, sizeof(name), "f%u", i);
                pattern_file(lab->source, name, 5 * MIB + i * 1000, i);
        }
        copy_with(lab, MIB, 16 * MIB, 16);
}

static void test_chunks_greater_than_the_memory(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "big", 100 * MIB + 5, 1);
        pattern_file(lab->source, "other", 65 * MIB, 2);
        copy_with(lab, 64 * MIB, 16 * MIB, 4);
}

static void *read_all_main(void *argument)
{
        struct mirror_handle *handle = argument;
        uint8_t buffer[65536], expected[65536];

        for (uint64_t offset = 0; offset < 100 * MIB; offset += MIB) {
                pattern_fill(expected, offset, sizeof(expected), 1);
                if (lab_read_handle(handle, offset, sizeof(buffer), buffer) != (int)sizeof(buffer) ||
                    memcmp(buffer, expected, sizeof(buffer)) != 0)
                        return handle;
        }
        return NULL;
}

static void test_readers_of_chunks_greater_than_the_memory(void **state)
{
        struct lab *lab = *state;
        struct mirror_handle *handle;
        pthread_t threads[4];

        pattern_file(lab->source, "big", 100 * MIB, 1);
        lab->options.chunk_bytes = 64 * MIB;
        lab->options.memory_bytes = 16 * MIB;
        lab->options.fill = FILL_FILE;
        lab_start(lab);
        handle = lab_open_file(lab, "big");
        for (int i = 0; i < 4; i++)
                assert_int_equal(thread_start(&threads[i], "reader", read_all_main, handle), 0);
        for (int i = 0; i < 4; i++) {
                void *wrong;

                assert_int_equal(pthread_join(threads[i], &wrong), 0);
                assert_null(wrong);
        }
        mirror_release(handle);
        lab_wait_idle(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_all_kinds_of_objects_arrive_as_they_are),
                LAB_CASE(test_hard_links_share_one_number_and_one_copy),
                LAB_CASE(test_a_link_that_appears_later_is_made_without_a_copy),
                LAB_CASE(test_holes_stay_holes),
                LAB_CASE(test_names_of_any_bytes_arrive),
                LAB_CASE(test_many_small_files_arrive),
                LAB_CASE(test_extended_attributes_arrive),
                LAB_CASE(test_nothing_of_cvv_stays_on_a_finished_target),
                LAB_CASE(test_an_unfinished_target_shows_no_final_name),
                LAB_CASE(test_a_source_that_changes_between_chunks_is_never_mixed),
                LAB_CASE(test_a_source_that_changed_size_while_stopped_is_copied_anew),
                LAB_CASE(test_a_half_copied_source_that_changes_in_its_bytes_only_begins_again),
                LAB_CASE(test_a_version_that_a_target_has_whole_is_not_mixed_with_other_bytes),
                LAB_CASE(test_a_file_that_changes_after_the_scan_is_filled_again),
                LAB_CASE(test_a_published_file_follows_its_source),
                LAB_CASE(test_a_source_that_changes_all_the_time_is_never_published_as_a_mix),
                LAB_CASE(test_small_chunks_with_little_memory_and_many_jobs),
                LAB_CASE(test_chunks_greater_than_the_memory),
                LAB_CASE(test_readers_of_chunks_greater_than_the_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
