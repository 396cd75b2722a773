/* A mount of the fake mirror, served by a thread, and readers in threads of their own, which a signal can interrupt. For
 * tests with real mounts; root and /dev/fuse are needed. */
#ifndef CVV_TESTS_FAKE_MOUNT_H
#define CVV_TESTS_FAKE_MOUNT_H

#include "fake_mirror.h"
#include "fs/session.h"

#include <pthread.h>
#include <stdatomic.h>

struct scene {
        struct options options;
        struct mirror *mirror;
        struct session *session;
        pthread_t thread;
        int result;
        char directory[64];
        pid_t watchdog; /* aborts a mount on which the test hangs: else not even a kill ends it */
        int watchdog_fd;
};

struct reader {
        pthread_t thread;
        int fd;
        char data[4096];
        ssize_t result; /* of read, or -errno */
        atomic_bool done;
};

/* For cmocka's group setup: skips the program where it cannot mount. */
int fake_mount_need(void **state);

struct scene *scene_new(bool list_control);
/* Ends the loop; then unmounts. */
void scene_end(struct scene *scene);
void scene_free(struct scene *scene);
void scene_close(struct scene *scene);

/* The path of a name in the mount; for each thread the last one. */
const char *path_in(const struct scene *scene, const char *name);
/* A descriptor or -errno. */
int open_in(const struct scene *scene, const char *name, int flags);
/* All that a file says; the last one. */
const char *text_of(const struct scene *scene, const char *name);

void reader_start(struct reader *reader, int fd);
ssize_t reader_join(struct reader *reader);
/* Sends signals until the read has ended. */
ssize_t reader_interrupt(struct reader *reader);

#endif
