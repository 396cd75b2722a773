#include "mirror_fixture.h"

#include <signal.h>
#include <sys/resource.h>

enum { READERS = 16, CHUNKS = 6 };

/* --- what is read --- */

static void test_a_file_that_no_target_has_is_read_through_and_arrives(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "clip", 3 * MIB + 12345, 1);
        lab->options.fill = FILL_FILE;
        lab_start(lab);
        lab_assert_reads_pattern(lab, "clip", 3 * MIB + 12345, 1);
        lab_wait_idle(lab);
        lab_assert_reads_pattern(lab, "clip", 3 * MIB + 12345, 1);
        assert_int_equal(lab_source_bytes(lab), 3 * MIB + 12345);
        assert_string_equal(lab_xattr(lab, "clip", "state"), "copied");
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_reads_at_and_behind_the_end_are_short(void **state)
{
        struct lab *lab = *state;
        uint8_t buffer[4096], expected[100];
        struct mirror_handle *handle;

        pattern_file(lab->source, "f", MIB + 100, 1);
        lab_start(lab);
        handle = lab_open_file(lab, "f");
        pattern_fill(expected, MIB, 100, 1);
        assert_int_equal(lab_read_handle(handle, MIB, sizeof(buffer), buffer), 100);
        assert_memory_equal(buffer, expected, 100);
        assert_int_equal(lab_read_handle(handle, MIB + 99, sizeof(buffer), buffer), 1);
        assert_int_equal(lab_read_handle(handle, MIB + 100, sizeof(buffer), buffer), 0);
        assert_int_equal(lab_read_handle(handle, 1ull << 40, sizeof(buffer), buffer), 0);
        assert_int_equal(lab_read_handle(handle, 0, 0, buffer), 0);
        mirror_release(handle);
}

static void test_a_read_across_chunks_is_whole(void **state)
{
        struct lab *lab = *state;
        static uint8_t buffer[MIB], expected[MIB];

        pattern_file(lab->source, "f", 4 * MIB, 1);
        lab_start(lab);
        pattern_fill(expected, MIB / 2 + 7, MIB, 1);
        assert_int_equal(lab_read(lab, "f", MIB / 2 + 7, MIB, buffer), MIB);
        assert_memory_equal(buffer, expected, MIB);
        lab_wait_idle(lab);
        assert_int_equal(lab_read(lab, "f", MIB / 2 + 7, MIB, buffer), MIB); /* the same from the targets */
        assert_memory_equal(buffer, expected, MIB);
        assert_int_equal(lab_source_bytes(lab), 2 * MIB);
}

static void test_an_empty_file_reads_as_empty_and_arrives(void **state)
{
        struct lab *lab = *state;
        uint8_t byte;

        pattern_file(lab->source, "empty", 0, 1);
        lab->options.fill = FILL_FILE;
        lab_start(lab);
        assert_int_equal(lab_read(lab, "empty", 0, 1, &byte), 0);
        lab_wait_idle(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_lseek_finds_data_and_holes(void **state)
{
        struct lab *lab = *state;
        cleanup(fd_close) int fd = openat(lab->source, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        struct mirror_handle *handle;

        assert_int_equal(ftruncate(fd, 8 * MIB), 0);
        assert_int_equal(pwrite(fd, "x", 1, 4 * MIB), 1);
        lab_start(lab);
        handle = lab_open_file(lab, "sparse");
        for (int round = 0; round < 2; round++) {
                assert_int_equal(mirror_lseek(handle, 0, SEEK_DATA), 4 * MIB);
                assert_int_equal(mirror_lseek(handle, 0, SEEK_HOLE), 0);
                assert_true(mirror_lseek(handle, 4 * MIB, SEEK_HOLE) > 4 * MIB);
                assert_int_equal(mirror_lseek(handle, 8 * MIB, SEEK_DATA), -ENXIO);
                assert_int_equal(mirror_lseek(handle, 0, SEEK_SET), -EINVAL);
                assert_int_equal(lab_control(lab, "fill sparse\n"), 0);
                lab_wait_idle(lab);
        }
        mirror_release(handle);
}

/* --- many readers --- */

struct crowd {
        struct mirror_handle *handle;
        pthread_barrier_t *barrier;
        unsigned seed;
        uint64_t first, end;
        bool good;
};

static void *crowd_main(void *argument)
{
        struct crowd *crowd = argument;
        uint8_t buffer[65536], expected[65536];

        (void)pthread_barrier_wait(crowd->barrier);
        crowd->good = true;
        for (int i = 0; i < 8; i++) {
                uint64_t offset = crowd->first + (uint64_t)rand_r(&crowd->seed) % (crowd->end - crowd->first - sizeof(buffer));

                pattern_fill(expected, offset, sizeof(expected), 5);
                if (lab_read_handle(crowd->handle, offset, sizeof(buffer), buffer) != (int)sizeof(buffer) ||
                    memcmp(buffer, expected, sizeof(buffer)) != 0)
                        crowd->good = false;
        }
        return NULL;
}

static void run_crowd(struct mirror_handle *handle, uint64_t first, uint64_t end)
{
        struct crowd crowd[READERS];
        pthread_t threads[READERS];
        pthread_barrier_t barrier;

        assert_int_equal(pthread_barrier_init(&barrier, NULL, READERS), 0);
        for (unsigned i = 0; i < READERS; i++) {
                crowd[i] = (struct crowd){ .handle = handle, .barrier = &barrier, .seed = i, .first = first, .end = end };
                assert_int_equal(thread_start(&threads[i], "reader", crowd_main, &crowd[i]), 0);
        }
        for (int i = 0; i < READERS; i++) {
                assert_int_equal(pthread_join(threads[i], NULL), 0);
                assert_true(crowd[i].good);
        }
        (void)pthread_barrier_destroy(&barrier);
}

static void test_a_chunk_is_read_once_from_the_source_for_many_readers(void **state)
{
        struct lab *lab = *state;
        struct mirror_handle *handle;

        pattern_file(lab->source, "f", CHUNKS * 8 * MIB, 5);
        lab->options.chunk_bytes = 8 * MIB;
        lab->options.memory_bytes = 256 * MIB; /* no queue is full: nothing is left for later */
        lab_start(lab);
        handle = lab_open_file(lab, "f");
        for (uint64_t chunk = 0; chunk < CHUNKS; chunk++) {
                run_crowd(handle, chunk * 8 * MIB, (chunk + 1) * 8 * MIB);
                assert_int_equal(lab_source_bytes(lab), (chunk + 1) * 8 * MIB);
        }
        mirror_release(handle);
        lab_wait_idle(lab);
        assert_int_equal(lab_source_bytes(lab), CHUNKS * 8 * MIB);
}

static void test_readers_and_a_fill_of_the_same_file_agree(void **state)
{
        struct lab *lab = *state;
        struct mirror_handle *handle;

        pattern_file(lab->source, "f", 24 * MIB, 5);
        lab->options.fill = FILL_ALL;
        lab->options.memory_bytes = 16 * MIB;
        lab_start(lab);
        handle = lab_open_file(lab, "f");
        run_crowd(handle, 0, 24 * MIB);
        mirror_release(handle);
        lab_wait_idle(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

/* --- cancelled reads --- */

struct cancelled {
        struct mutex lock;
        struct condition changed;
        unsigned calls;
        int result;
        unsigned wrong;
        uint64_t offset;
};

static void on_cancelled(void *context, int result, const struct iovec *data, int data_count)
{
        struct cancelled *cancelled = context;
        uint8_t expected[4096];

        pattern_fill(expected, cancelled->offset, sizeof(expected), 7);
        MUTEX_SCOPE(&cancelled->lock);
        cancelled->calls++;
        cancelled->result = result;
        if (result == 0 && (data_count != 1 || data[0].iov_len != sizeof(expected) ||
                            memcmp(data[0].iov_base, expected, sizeof(expected)) != 0))
                cancelled->wrong++;
        condition_broadcast(&cancelled->changed);
}

/* Cancels after a random bit of work; `done` must have come exactly once. Returns whether it was in time. */
static bool cancel_one(struct mirror_handle *handle, unsigned *seed, uint64_t size)
{
        struct cancelled cancelled = { .offset = (uint64_t)rand_r(seed) % (size / 4096) * 4096 };
        struct mirror_read *token;
        bool in_time;

        mutex_init(&cancelled.lock);
        condition_init(&cancelled.changed);
        mirror_read(handle, cancelled.offset, 4096, on_cancelled, &cancelled, &token);
        for (volatile int spin = rand_r(seed) % 20000; spin > 0; spin--)
                ;
        mirror_read_cancel(token);
        mutex_lock(&cancelled.lock);
        while (cancelled.calls == 0)
                condition_wait(&cancelled.changed, &cancelled.lock);
        in_time = cancelled.result == -EINTR;
        assert_true(in_time || cancelled.result == 0);
        mutex_unlock(&cancelled.lock);
        mirror_read_cancel(token); /* once more does nothing */
        mirror_read_forget(token);
        assert_int_equal(cancelled.calls, 1);
        assert_int_equal(cancelled.wrong, 0);
        condition_deinit(&cancelled.changed);
        mutex_deinit(&cancelled.lock);
        return in_time;
}

static void test_a_cancelled_read_is_answered_exactly_once(void **state)
{
        struct lab *lab = *state;
        unsigned seed = (unsigned)clock_now_ns(), in_time = 0;
        struct mirror_handle *handle;

        print_message("seed %u\n", seed);
        pattern_file(lab->source, "f", 64 * MIB, 7);
        lab->options.memory_bytes = 512 * MIB; /* no queue is full: nothing is left for later */
        lab_start(lab);
        handle = lab_open_file(lab, "f");
        for (int i = 0; i < 300; i++)
                in_time += cancel_one(handle, &seed, 64 * MIB);
        print_message("%u of 300 cancelled in time\n", in_time);
        lab_assert_reads_pattern(lab, "f", 64 * MIB, 7);
        mirror_release(handle);
        lab_wait_idle(lab);
        assert_true(lab_source_bytes(lab) <= 64 * MIB);
}

/* --- targets and source that fail --- */

static void test_a_read_is_answered_while_no_target_can_be_written(void **state)
{
        struct lab *lab = *state;
        struct rlimit before, low;

        pattern_file(lab->source, "f", 40 * MIB, 3);
        lab_start(lab);
        (void)signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        low = before;
        low.rlim_cur = 20 * MIB; /* the state fits, the partial files do not */
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
        lab_assert_reads_pattern(lab, "f", 40 * MIB, 3);
        lab_wait_idle(lab);
        assert_string_equal(lab_xattr(lab, "f", "state"), "failed");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(lab_control(lab, "retry\n"), 0);
        lab_wait_idle(lab);
        lab_stop(lab);
        lab_assert_all_mirrored(lab);
}

static void test_a_read_is_answered_while_the_targets_are_gone(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", 5 * MIB, 3);
        lab->options.fill = FILL_FILE;
        lab_start(lab);
        lab_shell(lab, "rm -rf t1/.cvv t2/.cvv t3/.cvv");
        lab_assert_reads_pattern(lab, "f", 5 * MIB, 3);
        lab_wait_idle(lab);
}

static void test_a_read_across_many_blocks_reads_each_chunk_once_while_the_targets_are_gone(void **state)
{
        struct lab *lab = *state;
        static uint8_t buffer[3 * MIB], expected[3 * MIB];

        pattern_file(lab->source, "f", 5 * MIB, 3);
        lab_start(lab);
        lab_shell(lab, "rm -rf t1/.cvv t2/.cvv t3/.cvv");
        pattern_fill(expected, MIB - 48, sizeof(expected), 3);
        assert_int_equal(lab_read(lab, "f", MIB - 48, sizeof(buffer), buffer), sizeof(buffer));
        assert_memory_equal(buffer, expected, sizeof(buffer));
        assert_int_equal(lab_source_bytes(lab), 4 * MIB);
}

static void test_what_was_copied_stays_readable_without_the_source(void **state)
{
        struct lab *lab = *state;
        static uint8_t buffer[4096], expected[4096];
        struct mirror_handle *handle;

        pattern_file(lab->source, "f", 4 * MIB, 3);
        pattern_file(lab->source, "g", MIB, 4);
        lab_start(lab);
        lab_assert_reads_pattern(lab, "g", MIB, 4);
        handle = lab_open_file(lab, "f");
        assert_int_equal(lab_read_handle(handle, 0, sizeof(buffer), buffer), sizeof(buffer));
        assert_int_equal(lab_control(lab, "fill g\n"), 0);
        lab_wait_idle(lab);
        lab_shell(lab, "mv source away && mkdir source");
        pattern_fill(expected, 0, sizeof(expected), 3);
        assert_int_equal(lab_read_handle(handle, 0, sizeof(buffer), buffer), sizeof(buffer));
        assert_memory_equal(buffer, expected, sizeof(buffer));
        mirror_release(handle);
        lab_shell(lab, "rmdir source && mv away source");
        lab_assert_reads_pattern(lab, "g", MIB, 4);
        lab_assert_reads_pattern(lab, "f", 4 * MIB, 3);
}

static void test_a_finished_file_that_is_gone_from_one_target_is_read_elsewhere(void **state)
{
        struct lab *lab = *state;

        pattern_file(lab->source, "f", 4 * MIB, 3);
        lab_copy_all(lab);
        lab_start(lab);
        lab_wait_scanned(lab);
        lab_shell(lab, "rm t1/f");
        lab_assert_reads_pattern(lab, "f", 4 * MIB, 3);
        lab_shell(lab, "rm -f t2/f t3/f");
        lab_assert_reads_pattern(lab, "f", 4 * MIB, 3);
}

static void test_an_unreadable_source_gives_eio_and_the_rest_goes_on(void **state)
{
        struct lab *lab = *state;
        struct mirror_open_request request = { 0 };
        struct mirror_handle *handle;
        uint8_t buffer[4096];
        bool finished;

        pattern_file(lab->source, "f", 2 * MIB, 3);
        lab_start(lab);
        lab_wait_scanned(lab);
        assert_int_equal(mirror_open_file(lab->mirror, lab_id(lab, "f"), &request, &finished, &handle), 0);
        assert_false(finished);
        lab_shell(lab, "rm source/f");
        assert_int_equal(lab_read_handle(handle, 0, sizeof(buffer), buffer), -EIO);
        mirror_release(handle);
        assert_int_equal(mirror_open_file(lab->mirror, MIRROR_ROOT, &request, &finished, &handle), -EISDIR);
        assert_int_equal(mirror_open_file(lab->mirror, 987654, &request, &finished, &handle), -ESTALE);
}

static void test_stop_answers_parked_reads(void **state)
{
        struct lab *lab = *state;
        struct cancelled cancelled[32];
        struct mirror_read *tokens[32];
        struct mirror_handle *handle;

        pattern_file(lab->source, "f", 64 * MIB, 7);
        lab_start(lab);
        handle = lab_open_file(lab, "f");
        for (unsigned i = 0; i < 32; i++) {
                cancelled[i] = (struct cancelled){ .offset = i * 2ull * MIB };
                mutex_init(&cancelled[i].lock);
                condition_init(&cancelled[i].changed);
                mirror_read(handle, cancelled[i].offset, 4096, on_cancelled, &cancelled[i], &tokens[i]);
        }
        assert_int_equal(mirror_stop(lab->mirror, clock_now_ns() + 20 * 1000000000ull), 0);
        for (unsigned i = 0; i < 32; i++) {
                mirror_read_forget(tokens[i]);
                assert_int_equal(cancelled[i].calls, 1);
                assert_int_equal(cancelled[i].wrong, 0);
                condition_deinit(&cancelled[i].changed);
                mutex_deinit(&cancelled[i].lock);
        }
        mirror_release(handle);
        mirror_free(pointer_steal(&lab->mirror));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_a_file_that_no_target_has_is_read_through_and_arrives),
                LAB_CASE(test_reads_at_and_behind_the_end_are_short),
                LAB_CASE(test_a_read_across_chunks_is_whole),
                LAB_CASE(test_an_empty_file_reads_as_empty_and_arrives),
                LAB_CASE(test_lseek_finds_data_and_holes),
                LAB_CASE(test_a_chunk_is_read_once_from_the_source_for_many_readers),
                LAB_CASE(test_readers_and_a_fill_of_the_same_file_agree),
                LAB_CASE(test_a_cancelled_read_is_answered_exactly_once),
                LAB_CASE(test_a_read_is_answered_while_no_target_can_be_written),
                LAB_CASE(test_a_read_is_answered_while_the_targets_are_gone),
                LAB_CASE(test_a_read_across_many_blocks_reads_each_chunk_once_while_the_targets_are_gone),
                LAB_CASE(test_what_was_copied_stays_readable_without_the_source),
                LAB_CASE(test_a_finished_file_that_is_gone_from_one_target_is_read_elsewhere),
                LAB_CASE(test_an_unreadable_source_gives_eio_and_the_rest_goes_on),
                LAB_CASE(test_stop_answers_parked_reads),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
