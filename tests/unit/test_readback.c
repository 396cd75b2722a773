/* Reading back: the right bytes of every size, and an honest word on where they came from. */
#include "core/readback.h"

#include "sandbox.h"

#include <sys/mman.h>

enum { MIB = 1 << 20 };

static struct device device_of(int dir)
{
        struct device device;

        assert_int_equal(device_probe(dir, &device, NULL), 0);
        return device;
}

static uint8_t byte_at(uint64_t offset)
{
        return (uint8_t)((offset * 2654435761u >> 11) | 1);
}

/* A durable file without holes. The caller closes it. */
static int make_pattern(int dir, const char *name, uint64_t size)
{
        int fd = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        uint8_t buffer[4096];

        assert_true(fd >= 0);
        for (uint64_t at = 0; at < size; at += sizeof(buffer)) {
                size_t part = size - at < sizeof(buffer) ? (size_t)(size - at) : sizeof(buffer);

                for (size_t i = 0; i < part; i++)
                        buffer[i] = byte_at(at + i);
                assert_int_equal(io_write_full(fd, buffer, part, at), 0);
        }
        assert_int_equal(fsync(fd), 0);
        return fd;
}

/* Reads [0, size) and compares. */
static void assert_pattern(struct readback *readback, uint64_t size)
{
        const uint8_t *data = NULL;

        for (uint64_t at = 0; at < size;) {
                int64_t count = readback_read(readback, at, size, &data);

                assert_true(count > 0);
                assert_true(at + (uint64_t)count == size || count == READBACK_BLOCK_BYTES);
                assert_non_null(data);
                for (int64_t i = 0; i < count; i++)
                        if (data[i] != byte_at(at + (uint64_t)i))
                                fail_msg("byte %llu of %llu", (unsigned long long)(at + (uint64_t)i), (unsigned long long)size);
                at += (uint64_t)count;
        }
}

static void file_of_any_size_is_read_to_its_last_byte(void **state)
{
        const struct fixture *f = *state;
        static const uint64_t sizes[] = { 1, 511, 512, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 3 * MIB - 5, 2 * MIB + 4096 };
        struct device device = device_of(f->dir);
        struct readback readback;

        readback_init(&readback);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                cleanup(fd_close) int fd = make_pattern(f->dir, "f", sizes[i]);

                assert_int_equal(readback_open(&readback, fd, &device), 0);
                assert_pattern(&readback, sizes[i]);
                assert_int_not_equal(readback.method, READBACK_NONE);
                assert_int_not_equal(readback.method, READBACK_CACHE);
                if (device.kind == DEVICE_MEMORY)
                        assert_int_equal(readback.method, READBACK_MEMORY);
                readback_close(&readback);
                assert_int_equal(readback.method, READBACK_NONE);
        }
        readback_deinit(&readback);
        readback_deinit(&readback);
}

/* The descriptor may be in use by others, and may lie elsewhere. */
static void description_of_others_is_left_as_it_was(void **state)
{
        const struct fixture *f = *state;
        cleanup(fd_close) int fd = make_pattern(f->dir, "f", 2 * MIB);
        struct device device = device_of(f->dir);
        struct readback readback;
        int flags = fcntl(fd, F_GETFL);

        readback_init(&readback);
        assert_int_equal(lseek(fd, 7, SEEK_SET), 7);
        assert_int_equal(unlinkat(f->dir, "f", 0), 0); /* an open file is read without its name */
        assert_int_equal(readback_open(&readback, fd, &device), 0);
        assert_pattern(&readback, 2 * MIB);
        assert_int_equal(fcntl(fd, F_GETFL), flags);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 7);
        readback_deinit(&readback);
}

static void hole_is_told_and_data_beside_it_are_read(void **state)
{
        const struct fixture *f = *state;
        cleanup(fd_close) int fd = openat(f->dir, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        struct device device = device_of(f->dir);
        struct readback readback;
        const uint8_t *data;
        struct stat stat;

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, 4 * MIB + 5), 0);
        assert_int_equal(io_write_full(fd, "x", 1, 2 * MIB + 9), 0);
        assert_int_equal(fsync(fd), 0);
        assert_int_equal(fstat(fd, &stat), 0);
        if (stat.st_blocks * 512 > MIB)
                skip(); /* no holes here */
        readback_init(&readback);
        assert_int_equal(readback_open(&readback, fd, &device), 0);
        assert_int_equal(readback_read(&readback, 0, 4 * MIB + 5, &data), MIB);
        assert_null(data);
        assert_int_equal(readback_read(&readback, 2 * MIB, 4 * MIB + 5, &data), MIB);
        assert_non_null(data);
        for (int i = 0; i < MIB; i++)
                assert_int_equal(data[i], i == 9 ? 'x' : 0);
        assert_int_equal(readback_read(&readback, 4 * MIB, 4 * MIB + 5, &data), 5);
        assert_null(data);
        readback_deinit(&readback);
}

static void file_that_was_cut_gives_no_more_than_it_has(void **state)
{
        const struct fixture *f = *state;
        cleanup(fd_close) int fd = make_pattern(f->dir, "f", 2 * MIB + 100);
        struct device device = device_of(f->dir);
        struct readback readback;
        const uint8_t *data;

        readback_init(&readback);
        assert_int_equal(readback_open(&readback, fd, &device), 0);
        assert_int_equal(ftruncate(fd, MIB + 10), 0);
        assert_int_equal(readback_read(&readback, MIB, 2 * MIB + 100, &data), 10);
        readback_close(&readback);
        assert_int_equal(readback_open(&readback, fd, &device), 0);
        assert_int_equal(readback_read(&readback, 2 * MIB, 2 * MIB + 100, &data), 0);
        readback_deinit(&readback);
}

static void file_that_grew_is_read_as_far_as_was_asked_for(void **state)
{
        const struct fixture *f = *state;
        cleanup(fd_close) int fd = make_pattern(f->dir, "f", 100);
        struct device device = device_of(f->dir);
        struct readback readback;
        const uint8_t *data;

        readback_init(&readback);
        assert_int_equal(readback_open(&readback, fd, &device), 0);
        assert_int_equal(io_write_full(fd, "more", 4, 100), 0);
        assert_int_equal(fsync(fd), 0);
        assert_int_equal(readback_read(&readback, 0, 100, &data), 100);
        assert_int_equal(data[99], byte_at(99));
        readback_deinit(&readback);
}

/* tmpfs that is taken for a disk: O_DIRECT may be accepted, and its pages never go. */
static void pages_that_stay_are_no_proof(void **state)
{
        cleanup(fd_close) int dir = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cleanup(fd_close) int fd = -1;
        struct readback readback;
        struct device device;
        const uint8_t *data;

        (void)state;
        if (dir < 0)
                skip();
        device = device_of(dir);
        fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0 || device.kind != DEVICE_MEMORY)
                skip();
        assert_int_equal(io_write_full(fd, "bytes", 5, 0), 0);
        readback_init(&readback);
        assert_int_equal(readback_open(&readback, fd, &device), 0);
        assert_int_equal(readback_read(&readback, 0, 5, &data), 5);
        assert_int_equal(readback.method, READBACK_MEMORY);
        device.kind = DEVICE_SOLID;
        assert_int_equal(readback_open(&readback, fd, &device), 0);
        assert_int_equal(readback_read(&readback, 0, 5, &data), 5);
        assert_memory_equal(data, "bytes", 5);
        assert_int_equal(readback.method, READBACK_CACHE);
        readback_deinit(&readback);
}

/* Somebody who maps the file keeps its pages; past the cache they are of no account. */
static void mapped_pages_do_not_stand_for_the_medium(void **state)
{
        const struct fixture *f = *state;
        cleanup(fd_close) int fd = make_pattern(f->dir, "f", MIB);
        struct device device = device_of(f->dir);
        volatile uint8_t *mapping = mmap(NULL, MIB, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        struct readback readback;

        assert_true(mapping != MAP_FAILED);
        readback_init(&readback);
        assert_int_equal(mapping[5], byte_at(5));
        assert_int_equal(readback_open(&readback, fd, &device), 0);
        assert_pattern(&readback, MIB);
        assert_int_not_equal(readback.method, READBACK_DROPPED_CACHE);
        assert_int_equal(munmap((void *)(uintptr_t)mapping, MIB), 0);
        readback_deinit(&readback);
}

static void methods_have_names_and_nothing_else_has(void **state)
{
        (void)state;
        assert_null(readback_method_name(READBACK_NONE));
        assert_string_equal(readback_method_name(READBACK_DIRECT), "direct");
        assert_string_equal(readback_method_name(READBACK_REMOTE), "remote");
        assert_string_equal(readback_method_name(READBACK_DROPPED_CACHE), "dropped-cache");
        assert_string_equal(readback_method_name(READBACK_MEMORY), "memory");
        assert_string_equal(readback_method_name(READBACK_CACHE), "cache");
        assert_null(readback_method_name(READBACK_CACHE + 1));
        assert_null(readback_method_name(UINT_MAX));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(file_of_any_size_is_read_to_its_last_byte),
                CASE(description_of_others_is_left_as_it_was),
                CASE(hole_is_told_and_data_beside_it_are_read),
                CASE(file_that_was_cut_gives_no_more_than_it_has),
                CASE(file_that_grew_is_read_as_far_as_was_asked_for),
                CASE(pages_that_stay_are_no_proof),
                CASE(mapped_pages_do_not_stand_for_the_medium),
                CASE(methods_have_names_and_nothing_else_has),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
