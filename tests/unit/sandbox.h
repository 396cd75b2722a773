/* For unit tests that touch a disk: an empty directory (in $TMPDIR) for each test, files in it, and children in which
 * chosen system calls fail (by seccomp), so that the ways round a weak kernel or filesystem are tried for real.
 */
#ifndef CVV_TESTS_UNIT_SANDBOX_H
#define CVV_TESTS_UNIT_SANDBOX_H

#include "core/cleanup.h"
#include "core/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Each test gets an empty directory of its own. */
struct fixture {
        char path[128];
        int dir;
};

static inline int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        const char *base = getenv("TMPDIR");

        if (!f)
                return -1;
        *state = f;
        (void)snprintf(f->path, sizeof(f->path), "%s/cvv-test-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(f->path))
                return -1;
        f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return f->dir < 0 ? -1 : 0;
}

static inline int tear_down(void **state)
{
        struct fixture *f = *state;
        char command[160];
        int result;

        (void)close(f->dir);
        (void)snprintf(command, sizeof(command), "rm -rf -- %s", f->path);
        result = system(command);
        free(f);
        return result;
}

static inline void make_file(int dir, const char *name, const char *content)
{
        cleanup(fd_close) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(io_write_full(fd, content, strlen(content), 0), 0);
}

static inline void assert_content(int dir, const char *name, const char *content)
{
        cleanup(pointer_free) char *data = NULL;
        size_t size;

        assert_int_equal(io_read_file(dir, name, 1 << 20, &data, &size), 0);
        assert_int_equal(size, strlen(content));
        assert_string_equal(data, content);
}

static inline bool exists(int dir, const char *name)
{
        return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline int count_entries(int dir)
{
        DIR *stream = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        int count = -2; /* "." and ".." */

        assert_non_null(stream);
        while (readdir(stream))
                count++;
        (void)closedir(stream);
        return count;
}

/* One system call that fails, in a child only. */
struct refusal {
        long call;
        int error;
};

static inline int refuse(const struct refusal *refusals, size_t count)
{
        struct sock_filter filter[16] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
        unsigned short length = 1;
        struct sock_fprog program = {.filter = filter};

        for (size_t i = 0; i < count; i++) {
                filter[length++] =
                    (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)refusals[i].call, 0, 1);
                filter[length++] = (struct sock_filter)BPF_STMT(
                    BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned)refusals[i].error & SECCOMP_RET_DATA));
        }
        filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        program.len = length;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -1;
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -1 : 0;
}

/* Runs `body` in a child in which the calls fail; a body returns 0, or the line of what was wrong. */
static inline void with_refusals(const struct refusal *refusals, size_t count, int (*body)(int dir), int dir)
{
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0) {
                int line = refuse(refusals, count) < 0 ? __LINE__ : body(dir);

                if (line != 0)
                        (void)fprintf(stderr, "child failed at line %d\n", line);
                _exit(line != 0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* For bodies that run in a child. */
#define EXPECT(condition)                                                                                                  \
        do {                                                                                                               \
                if (!(condition))                                                                                          \
                        return __LINE__;                                                                                   \
        } while (0)

#endif
