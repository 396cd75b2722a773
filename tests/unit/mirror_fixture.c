#include "mirror_fixture.h"

#include <poll.h>
#include <sys/sysmacros.h>
#include <time.h>

enum {
        WAIT_MS = 120000, /* a machine that does much else, with a sanitizer, needs half a minute for what takes a second */
        COMPARE_BYTES = 64 * 1024,
};

static const char *const target_names[] = { "t1", "t2", "t3", NULL };

/* The directories that are being listed, innermost last: an assertion that fails in between leaves them to lab_tear_down(). */
static DIR *listed[16];
static size_t listed_count;

static DIR *begin_listing(int dir)
{
        DIR *listing = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

        assert_non_null(listing);
        assert_true(listed_count < sizeof(listed) / sizeof(listed[0]));
        listed[listed_count++] = listing;
        return listing;
}

static void end_listing(void)
{
        (void)closedir(listed[--listed_count]);
}

const char *lab_path(const struct lab *lab, const char *name)
{
        static char buffers[8][PATH_MAX];
        static unsigned next;
        char *buffer = buffers[next++ % 8];

        (void)snprintf(buffer, PATH_MAX, "%s/%s", lab->path, name);
        return buffer;
}

static void clear_list(struct options_list *list)
{
        for (size_t i = 0; i < list->count; i++)
                free(list->items[i]);
        free(list->items);
        *list = (struct options_list){ 0 };
}

void lab_use_targets(struct lab *lab, const char *const *names)
{
        clear_list(&lab->options.targets);
        for (size_t i = 0; names[i]; i++) {
                const char *path = lab_path(lab, names[i]);

                assert_int_equal(options_list_add(&lab->options.targets, path, strlen(path)), 0);
        }
}

static int make_directory(int dir, const char *name)
{
        if (mkdirat(dir, name, 0755) < 0)
                return -1;
        return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int lab_set_up(void **state)
{
        struct lab *lab = calloc(1, sizeof(*lab));
        const char *base = getenv("TMPDIR");

        if (!lab)
                return -1;
        *state = lab;
        (void)snprintf(lab->path, sizeof(lab->path), "%s/cvv-lab-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(lab->path))
                return -1;
        lab->dir = open(lab->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        lab->source = make_directory(lab->dir, "source");
        for (int i = 0; i < LAB_TARGETS; i++)
                lab->targets[i] = make_directory(lab->dir, target_names[i]);
        options_init(&lab->options);
        lab->options.source = strdup(lab_path(lab, "source"));
        lab->options.state_dir = strdup(lab_path(lab, "state"));
        lab->options.mode = MODE_TRANSFER;
        lab->options.existing = EXISTING_SKIP;
        lab->options.existing_given = true;
        lab->options.fill = FILL_CHUNK;
        lab->options.chunk_bytes = MIB;
        lab->options.memory_bytes = 32 * MIB;
        lab_use_targets(lab, target_names);
        return lab->source < 0 || lab->targets[LAB_TARGETS - 1] < 0 ? -1 : 0;
}

int lab_tear_down(void **state)
{
        struct lab *lab = *state;
        char command[160];
        int result;

        while (listed_count > 0)
                end_listing();
        if (lab->mirror)
                lab_stop(lab);
        options_deinit(&lab->options);
        (void)close(lab->source);
        for (int i = 0; i < LAB_TARGETS; i++)
                (void)close(lab->targets[i]);
        (void)close(lab->dir);
        (void)snprintf(command, sizeof(command), "rm -rf -- %s", lab->path);
        result = system(command);
        free(lab);
        return result;
}

void lab_shell(struct lab *lab, const char *command)
{
        char line[PATH_MAX];

        (void)snprintf(line, sizeof(line), "cd '%s' && { %s ; }", lab->path, command);
        if (system(line) != 0)
                fail_msg("failed: %s", line);
}

/* --- lifecycle --- */

void lab_open(struct lab *lab)
{
        struct error error = { 0 };

        if (mirror_open(&lab->options, NULL, &error, &lab->mirror) < 0)
                fail_msg("mirror_open: %s", error.message);
}

void lab_start(struct lab *lab)
{
        struct error error = { 0 };

        lab_open(lab);
        if (mirror_start(lab->mirror, &error) < 0)
                fail_msg("mirror_start: %s", error.message);
}

void lab_stop(struct lab *lab)
{
        struct mirror *mirror = pointer_steal(&lab->mirror);
        int result = mirror_stop(mirror, clock_now_ns() + 20 * 1000000000ull);

        if (result == 0)
                mirror_free(mirror);
        assert_int_equal(result, 0);
}

void lab_copy_all(struct lab *lab)
{
        enum fill fill = lab->options.fill;

        lab->options.fill = FILL_ALL;
        lab_start(lab);
        lab_wait_idle(lab);
        lab_stop(lab);
        lab->options.fill = fill;
}

int lab_control(struct lab *lab, const char *text)
{
        struct command *commands;
        struct error error;
        size_t count;
        int result = command_parse(text, strlen(text), &commands, &count, &error);

        if (result < 0)
                return result;
        result = mirror_control(lab->mirror, commands, count, &error);
        command_free(commands, count);
        return result;
}

/* --- reading --- */

uint64_t lab_id(struct lab *lab, const char *path)
{
        uint64_t id = 0;
        int result = mirror_resolve(lab->mirror, path, &id);

        if (result < 0)
                fail_msg("%s: %s", path, strerror(-result));
        return id;
}

struct mirror_handle *lab_open_file(struct lab *lab, const char *path)
{
        struct mirror_open_request request = { 0 };
        struct mirror_handle *handle = NULL;
        bool finished;
        int result = mirror_open_file(lab->mirror, lab_id(lab, path), &request, &finished, &handle);

        if (result < 0)
                fail_msg("open %s: %s", path, strerror(-result));
        return handle;
}

struct reader {
        struct mutex lock;
        struct condition changed;
        uint8_t *buffer;
        size_t size;
        int result;
        bool done;
};

static void on_read(void *context, int result, const struct iovec *data, int data_count)
{
        struct reader *reader = context;
        size_t at = 0;

        for (int i = 0; i < data_count && result == 0; i++) {
                size_t part = data[i].iov_len < reader->size - at ? data[i].iov_len : reader->size - at;

                if (part < data[i].iov_len)
                        result = -EOVERFLOW; /* more than was asked for */
                memcpy(reader->buffer + at, data[i].iov_base, part);
                at += part;
        }
        MUTEX_SCOPE(&reader->lock);
        reader->result = result < 0 ? result : (int)at;
        reader->done = true;
        condition_broadcast(&reader->changed);
}

int lab_read_handle(struct mirror_handle *handle, uint64_t offset, size_t size, void *buffer)
{
        struct reader reader = { .buffer = buffer, .size = size };
        uint64_t deadline_ns = clock_now_ns() + WAIT_MS * 1000000ull;
        struct mirror_read *token = NULL;

        mutex_init(&reader.lock);
        condition_init(&reader.changed);
        mirror_read(handle, offset, size, on_read, &reader, &token);
        mutex_lock(&reader.lock);
        while (!reader.done)
                if (!condition_wait_until(&reader.changed, &reader.lock, deadline_ns)) {
                        (void)fprintf(stderr, "a read was not answered\n");
                        abort(); /* it may be answered at any time: there is no way back */
                }
        mutex_unlock(&reader.lock);
        mirror_read_forget(token);
        condition_deinit(&reader.changed);
        mutex_deinit(&reader.lock);
        return reader.result;
}

int lab_read(struct lab *lab, const char *path, uint64_t offset, size_t size, void *buffer)
{
        struct mirror_handle *handle = lab_open_file(lab, path);
        int result = lab_read_handle(handle, offset, size, buffer);

        mirror_release(handle);
        return result;
}

void lab_assert_reads_pattern(struct lab *lab, const char *path, uint64_t size, unsigned seed)
{
        enum { REQUEST = 128 * 1024 };
        struct mirror_handle *handle = lab_open_file(lab, path);
        static uint8_t got[REQUEST], expected[REQUEST];

        for (uint64_t offset = 0; offset < size; offset += REQUEST) {
                size_t want = size - offset < REQUEST ? (size_t)(size - offset) : REQUEST;

                pattern_fill(expected, offset, want, seed);
                assert_int_equal(lab_read_handle(handle, offset, REQUEST, got), want);
                assert_memory_equal(got, expected, want);
        }
        assert_int_equal(lab_read_handle(handle, size, REQUEST, got), 0);
        mirror_release(handle);
}

const char *lab_xattr(struct lab *lab, const char *path, const char *name)
{
        static char text[256];
        char full[64];
        int64_t size;

        (void)snprintf(full, sizeof(full), "user.cvv.%s", name);
        size = mirror_getxattr(lab->mirror, lab_id(lab, path), full, text, sizeof(text) - 1);
        assert_true(size >= 0);
        text[size] = '\0';
        return text;
}

/* --- waiting --- */

void lab_wait(struct lab *lab, bool (*holds)(struct lab *lab))
{
        uint64_t deadline_ns = clock_now_ns() + WAIT_MS * 1000000ull;

        while (!holds(lab)) {
                if (clock_now_ns() > deadline_ns)
                        fail_msg("waited in vain");
                (void)poll(NULL, 0, 2);
        }
}

static bool is_idle(struct lab *lab)
{
        if (!mirror_is_busy(lab->mirror))
                return true;
        (void)mirror_checkpoint(lab->mirror, clock_now_ns() + 1000000000ull); /* else each file waits for its interval */
        return false;
}

void lab_wait_idle(struct lab *lab)
{
        lab_wait(lab, is_idle);
}

struct status lab_status(struct lab *lab)
{
        struct status status;

        assert_int_equal(mirror_status(lab->mirror, &status), 0);
        return status;
}

static bool is_scanned(struct lab *lab)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        return status.scan_complete;
}

void lab_wait_scanned(struct lab *lab)
{
        lab_wait(lab, is_scanned);
}

uint64_t lab_source_bytes(struct lab *lab)
{
        cleanup(status_deinit) struct status status = lab_status(lab);

        return status.source_copy_bytes;
}

bool lab_has_event(struct lab *lab, const char *event)
{
        cleanup(pointer_free) char *buffer = malloc(EVENT_LINE_BYTES + 1);
        char wanted[64];
        uint64_t seq = 0;
        size_t size;

        assert_non_null(buffer);
        (void)snprintf(wanted, sizeof(wanted), "\"event\":\"%s\"", event);
        while (events_read(mirror_events(lab->mirror), seq, buffer, EVENT_LINE_BYTES, &seq, &size) == 0 && size > 0) {
                buffer[size] = '\0';
                if (strstr(buffer, wanted))
                        return true;
        }
        return false;
}

/* --- content --- */

void pattern_fill(uint8_t *buffer, uint64_t offset, size_t size, unsigned seed)
{
        for (size_t i = 0; i < size; i++) {
                uint64_t word = ((offset + i) / 8 + 1) * 0x9e3779b97f4a7c15ull + seed * 0xd1b54a32d192ed03ull;

                word ^= word >> 29;
                buffer[i] = (uint8_t)(word >> ((offset + i) % 8 * 8)) | 1;
        }
}

void pattern_file(int dir, const char *name, uint64_t size, unsigned seed)
{
        cleanup(fd_close) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        static uint8_t buffer[MIB];

        assert_true(fd >= 0);
        for (uint64_t at = 0; at < size; at += MIB) {
                size_t part = size - at < MIB ? (size_t)(size - at) : MIB;

                pattern_fill(buffer, at, part, seed);
                assert_int_equal(io_write_full(fd, buffer, part, at), 0);
        }
}

bool pattern_is(int dir, const char *name, uint64_t size, unsigned seed)
{
        cleanup(fd_close) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
        cleanup(pointer_free) uint8_t *got = malloc(COMPARE_BYTES), *expected = malloc(COMPARE_BYTES);
        uint64_t at = 0;

        while (fd >= 0 && got && expected) {
                ssize_t count = pread(fd, got, COMPARE_BYTES, (off_t)at);

                if (count <= 0)
                        return count == 0 && at == size;
                pattern_fill(expected, at, (size_t)count, seed);
                if (memcmp(got, expected, (size_t)count) != 0)
                        return false;
                at += (uint64_t)count;
        }
        return false;
}

void set_mtime(int dir, const char *name, int64_t seconds)
{
        struct timespec times[2] = { { .tv_sec = seconds }, { .tv_sec = seconds } };

        assert_int_equal(utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* --- comparing trees --- */

static void assert_same_content(int a, int b, const char *name)
{
        cleanup(fd_close) int first = openat(a, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        cleanup(fd_close) int second = openat(b, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        static uint8_t left[COMPARE_BYTES], right[COMPARE_BYTES];

        assert_true(first >= 0);
        assert_true(second >= 0);
        for (off_t at = 0;; at += COMPARE_BYTES) {
                ssize_t count = pread(first, left, COMPARE_BYTES, at);

                assert_true(count >= 0);
                if (pread(second, right, COMPARE_BYTES, at) != count || memcmp(left, right, (size_t)count) != 0)
                        fail_msg("%s has another content near %lld", name, (long long)at);
                if (count < COMPARE_BYTES)
                        return;
        }
}

static void assert_same_object(int a, int b, const char *name, struct stat *ret_stat)
{
        struct stat first, second;

        assert_int_equal(fstatat(a, name, &first, AT_SYMLINK_NOFOLLOW), 0);
        if (fstatat(b, name, &second, AT_SYMLINK_NOFOLLOW) < 0)
                fail_msg("%s is missing", name);
        if (first.st_mode != second.st_mode || first.st_uid != second.st_uid || first.st_gid != second.st_gid)
                fail_msg("%s: mode %o and %o", name, first.st_mode, second.st_mode);
        if (first.st_mtim.tv_sec != second.st_mtim.tv_sec || first.st_mtim.tv_nsec != second.st_mtim.tv_nsec)
                fail_msg("%s: mtime %lld.%09ld and %lld.%09ld", name, (long long)first.st_mtim.tv_sec, first.st_mtim.tv_nsec,
                         (long long)second.st_mtim.tv_sec, second.st_mtim.tv_nsec);
        if (!S_ISDIR(first.st_mode) && (first.st_size != second.st_size || first.st_nlink != second.st_nlink ||
                                        first.st_rdev != second.st_rdev))
                fail_msg("%s: size %lld and %lld, links %lu and %lu", name, (long long)first.st_size, (long long)second.st_size,
                         (unsigned long)first.st_nlink, (unsigned long)second.st_nlink);
        if (S_ISREG(first.st_mode) && second.st_blocks > first.st_blocks + 16)
                fail_msg("%s: %lld blocks became %lld", name, (long long)first.st_blocks, (long long)second.st_blocks);
        if (S_ISREG(first.st_mode))
                assert_same_content(a, b, name);
        if (S_ISLNK(first.st_mode)) {
                char left[PATH_MAX] = "", right[PATH_MAX] = "";

                assert_true(readlinkat(a, name, left, sizeof(left) - 1) >= 0);
                assert_true(readlinkat(b, name, right, sizeof(right) - 1) >= 0);
                assert_string_equal(left, right);
        }
        *ret_stat = first;
}

static void assert_same_tree(int a, int b)
{
        DIR *dir = begin_listing(a);
        struct dirent *entry;
        int count = -2;

        for (; (entry = readdir(dir)); count++) {
                struct stat stat;

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                assert_same_object(a, b, entry->d_name, &stat);
                if (S_ISDIR(stat.st_mode)) {
                        cleanup(fd_close) int first = openat(a, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                        cleanup(fd_close) int second = openat(b, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                        assert_same_tree(first, second);
                }
        }
        end_listing();
        assert_int_equal(count_entries(b), count);
}

void lab_assert_mirrored(struct lab *lab, int target)
{
        assert_same_tree(lab->source, lab->targets[target]);
}

void lab_assert_all_mirrored(struct lab *lab)
{
        for (int i = 0; i < LAB_TARGETS; i++)
                lab_assert_mirrored(lab, i);
}

static int assert_whole(int a, int b, bool is_root)
{
        DIR *dir = begin_listing(b);
        struct dirent *entry;
        int count = 0;

        while ((entry = readdir(dir))) {
                const char *name = entry->d_name;
                struct stat stat;

                if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (is_root && strcmp(name, ".cvv") == 0))
                        continue;
                assert_int_equal(fstatat(b, name, &stat, AT_SYMLINK_NOFOLLOW), 0);
                if (S_ISDIR(stat.st_mode)) {
                        cleanup(fd_close) int first = openat(a, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                        cleanup(fd_close) int second = openat(b, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                        count += assert_whole(first, second, false);
                } else if (S_ISREG(stat.st_mode)) {
                        assert_same_object(a, b, name, &stat);
                        count++;
                }
        }
        end_listing();
        return count;
}

int lab_assert_whole(struct lab *lab, int target)
{
        return assert_whole(lab->source, lab->targets[target], true);
}
