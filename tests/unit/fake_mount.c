#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_mount.h"

#include "core/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static void *loop_main(void *context)
{
        struct scene *scene = context;

        scene->result = session_loop(scene->session);
        return NULL;
}

enum { PATIENCE_MS = 100000 };

/* Ends with the test, which closes its end of the pipe, or when the test has hung for too long. */
static void watchdog_main(const char *directory, int fd)
{
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

        if (poll(&poll_fd, 1, PATIENCE_MS) == 0)
                (void)umount2(directory, MNT_FORCE);
        (void)umount2(directory, MNT_DETACH);
        _exit(0);
}

static void watchdog_start(struct scene *scene)
{
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        scene->watchdog = fork();
        assert_true(scene->watchdog >= 0);
        if (scene->watchdog == 0) {
                close(fds[1]);
                watchdog_main(scene->directory, fds[0]);
        }
        close(fds[0]);
        scene->watchdog_fd = fds[1];
}

struct scene *scene_new(bool list_control)
{
        struct scene *scene = calloc(1, sizeof(*scene));
        static char source[] = "/a,source";
        struct error error = {0};

        assert_non_null(scene);
        options_init(&scene->options);
        strcpy(scene->directory, "/tmp/cvv-session-XXXXXX");
        assert_non_null(mkdtemp(scene->directory));
        watchdog_start(scene);
        scene->options.source = source;
        scene->options.mountpoint = scene->directory;
        scene->options.list_control = list_control;
        scene->mirror = fake_mirror_new(&scene->options);
        if (session_mount(scene->mirror, &scene->options, &error, &scene->session) < 0)
                fail_msg("%s", error.message);
        assert_int_equal(thread_start(&scene->thread, "loop", loop_main, scene), 0);
        return scene;
}

void scene_end(struct scene *scene)
{
        session_exit(scene->session);
        pthread_join(scene->thread, NULL);
        assert_int_equal(scene->result, 0);
}

void scene_free(struct scene *scene)
{
        if (scene->session)
                session_free(scene->session);
        fake_mirror_free(scene->mirror);
        close(scene->watchdog_fd);
        assert_int_equal(waitpid(scene->watchdog, NULL, 0), scene->watchdog);
        assert_int_equal(rmdir(scene->directory), 0);
        free(scene);
}

void scene_close(struct scene *scene)
{
        scene_end(scene);
        scene_free(scene);
}

const char *path_in(const struct scene *scene, const char *name)
{
        static _Thread_local char path[256];

        (void)snprintf(path, sizeof(path), "%s/%s", scene->directory, name);
        return path;
}

int open_in(const struct scene *scene, const char *name, int flags)
{
        int fd = open(path_in(scene, name), flags | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

const char *text_of(const struct scene *scene, const char *name)
{
        static char text[65536];
        int fd = open_in(scene, name, O_RDONLY);
        size_t size = 0;
        ssize_t n;

        assert_true(fd >= 0);
        while ((n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
                size += (size_t)n;
        assert_int_equal(n, 0);
        text[size] = '\0';
        close(fd);
        return text;
}

static void *reader_main(void *context)
{
        struct reader *reader = context;
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        reader->result = read(reader->fd, reader->data, sizeof(reader->data));
        if (reader->result < 0)
                reader->result = -errno;
        atomic_store(&reader->done, true);
        return NULL;
}

void reader_start(struct reader *reader, int fd)
{
        memset(reader, 0, sizeof(*reader));
        reader->fd = fd;
        assert_int_equal(thread_start(&reader->thread, "reader", reader_main, reader), 0);
}

ssize_t reader_join(struct reader *reader)
{
        pthread_join(reader->thread, NULL);
        return reader->result;
}

/* Sends signals until the read has ended; one that comes before the read begins is lost. */
ssize_t reader_interrupt(struct reader *reader)
{
        while (!atomic_load(&reader->done)) {
                pthread_kill(reader->thread, SIGUSR1);
                usleep(1000);
        }
        return reader_join(reader);
}

static void on_signal(int number)
{
}

int fake_mount_need(void **state)
{
        struct sigaction action = {.sa_handler = on_signal};

        sigaction(SIGUSR1, &action, NULL);
        if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
                print_message("needs root and /dev/fuse\n");
                exit(77);
        }
        return 0;
}
