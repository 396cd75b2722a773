#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/cleanup.h"
#include "core/sync.h"
#include "fake_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- files of the view ---- */

static void a_finished_file_reads_as_it_is(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, "a", O_RDONLY);
        unsigned char *data = malloc(FAKE_SIZE + 1);
        size_t size = 0;
        ssize_t n;
        struct stat stat;

        while ((n = read(fd, data + size, FAKE_SIZE + 1 - size)) > 0)
                size += (size_t)n;
        assert_int_equal(size, FAKE_SIZE);
        for (size_t i = 0; i < FAKE_SIZE; i++)
                assert_true(data[i] == fake_mirror_byte(i));
        assert_int_equal(fstat(fd, &stat), 0);
        assert_int_equal(stat.st_ino, 2);
        assert_int_equal(lseek(fd, 0, SEEK_HOLE), FAKE_SIZE);
        free(data);
        close(fd);
        scene_close(scene);
}

static void names_links_and_xattrs_show(void **state)
{
        struct scene *scene = scene_new(false);
        char text[16];
        struct stat stat_b;

        assert_int_equal(stat(path_in(scene, "d/b"), &stat_b), 0);
        assert_int_equal(stat_b.st_ino, 5);
        assert_int_equal(readlink(path_in(scene, "l"), text, sizeof(text)), 1);
        assert_int_equal(getxattr(path_in(scene, "a"), "user.cvv.state", NULL, 0), 6);
        assert_int_equal(getxattr(path_in(scene, "a"), "user.cvv.state", text, 6), 6);
        assert_memory_equal(text, "copied", 6);
        assert_int_equal(getxattr(path_in(scene, "a"), "user.cvv.state", text, 2), -1);
        assert_int_equal(errno, ERANGE);
        assert_int_equal(getxattr(path_in(scene, "a"), "system.posix_acl_access", text, 6), -1);
        assert_int_equal(errno, ENODATA);
        assert_int_equal(stat(path_in(scene, "absent"), &stat_b), -1);
        assert_int_equal(errno, ENOENT);
        scene_close(scene);
}

static void every_change_is_refused_as_read_only(void **state)
{
        struct scene *scene = scene_new(false);
        char other[256];

        strcpy(other, path_in(scene, "other"));
        assert_int_equal(open_in(scene, "a", O_WRONLY), -EROFS);
        assert_int_equal(open_in(scene, "a", O_RDONLY | O_TRUNC), -EROFS);
        assert_int_equal(open(other, O_CREAT | O_RDWR, 0600), -1);
        assert_int_equal(errno, EROFS);
        assert_int_equal(mkdir(other, 0700), -1);
        assert_int_equal(errno, EROFS);
        assert_int_equal(unlink(path_in(scene, "a")), -1);
        assert_int_equal(errno, EROFS);
        assert_int_equal(rename(path_in(scene, "a"), other), -1);
        assert_int_equal(errno, EROFS);
        assert_int_equal(chmod(path_in(scene, "a"), 0600), -1);
        assert_int_equal(errno, EROFS);
        assert_int_equal(setxattr(path_in(scene, "a"), "user.x", "1", 1, 0), -1);
        assert_int_equal(errno, EROFS);
        scene_close(scene);
}

static void a_parked_read_is_answered_when_its_data_comes(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, "slow", O_RDONLY);
        struct reader reader;

        reader_start(&reader, fd);
        fake_mirror_wait_parked(scene->mirror, 1);
        fake_mirror_answer(scene->mirror);
        assert_int_equal(reader_join(&reader), sizeof(reader.data));
        assert_int_equal((unsigned char)reader.data[4095], fake_mirror_byte(4095));
        close(fd);
        scene_close(scene);
}

static void an_unfinished_file_can_be_mapped(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, "slow", O_RDONLY);
        void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

        if (map == MAP_FAILED && errno == ENODEV)
                print_message("this kernel cannot map it\n"); /* before 6.6 */
        else
                assert_ptr_not_equal(map, MAP_FAILED);
        if (map != MAP_FAILED)
                munmap(map, 4096);
        close(fd);
        scene_close(scene);
}

static void interrupt_parked_reads(bool inside)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, "slow", O_RDONLY);
        struct reader reader;

        fake_mirror_cancel_inside(scene->mirror, inside);
        for (int i = 0; i < 20; i++) {
                reader_start(&reader, fd);
                fake_mirror_wait_parked(scene->mirror, 1);
                assert_int_equal(reader_interrupt(&reader), -EINTR);
        }
        close(fd);
        scene_close(scene);
}

static void a_signal_interrupts_a_parked_read_that_is_cancelled_inside(void **state)
{
        interrupt_parked_reads(true);
}

static void a_signal_interrupts_a_parked_read_that_is_cancelled_later(void **state)
{
        interrupt_parked_reads(false);
}

static void an_interrupt_and_the_data_may_come_together(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, "slow", O_RDONLY | O_DIRECT);
        struct reader readers[4];

        for (int i = 0; i < 200; i++) {
                fake_mirror_cancel_inside(scene->mirror, i % 2);
                for (int k = 0; k < 4; k++)
                        reader_start(&readers[k], dup(fd));
                if (i % 3)
                        fake_mirror_wait_parked(scene->mirror, 1);
                for (int k = 0; k < 4; k++)
                        pthread_kill(readers[k].thread, SIGUSR1);
                for (int k = 0; k < 4; k++) {
                        while (!atomic_load(&readers[k].done)) {
                                fake_mirror_answer(scene->mirror);
                                pthread_kill(readers[k].thread, SIGUSR1);
                        }
                        (void)reader_join(&readers[k]);
                        assert_true(readers[k].result == -EINTR || readers[k].result == sizeof(readers[k].data));
                        close(readers[k].fd);
                }
        }
        close(fd);
        scene_close(scene);
}

struct looker {
        pthread_t thread;
        const struct scene *scene;
        char name[64];
        int result;
};

static void *looker_main(void *context)
{
        struct looker *looker = context;
        struct stat stat_hang;

        looker->result = stat(path_in(looker->scene, looker->name), &stat_hang);
        return NULL;
}

/* Each name of its own, since the kernel lets one look-up of a name at a time through. */
static void look_up_hanging(const char *directory)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, "a", O_RDONLY);
        struct looker lookers[20];
        struct statvfs statvfs_now;
        char byte;

        for (size_t i = 0; i < 20; i++) {
                lookers[i].scene = scene;
                (void)snprintf(lookers[i].name, sizeof(lookers[i].name), "%s/hang%zu", directory, i);
                assert_int_equal(thread_start(&lookers[i].thread, "looker", looker_main, &lookers[i]), 0);
        }
        fake_mirror_wait_hanging(scene->mirror, 7);
        assert_string_equal(text_of(scene, ".cvv/state"), "idle\n");
        assert_string_equal(text_of(scene, ".cvv/errors"), "an error\n");
        assert_int_equal(statvfs(scene->directory, &statvfs_now), 0);
        assert_int_equal(pread(fd, &byte, 1, 2000000), 1);
        fake_mirror_let_go(scene->mirror);
        for (size_t i = 0; i < 20; i++) {
                pthread_join(lookers[i].thread, NULL);
                assert_int_equal(lookers[i].result, 0);
        }
        close(fd);
        scene_close(scene);
}

static void hung_look_ups_leave_the_rest_going(void **state)
{
        look_up_hanging(".");
}

static void hung_look_ups_below_cvv_leave_the_rest_going(void **state)
{
        look_up_hanging(".cvv/files");
}

/* ---- the end ---- */

static void exit_gives_up_parked_reads(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, "slow", O_RDONLY);
        struct reader reader;

        reader_start(&reader, fd);
        fake_mirror_wait_parked(scene->mirror, 1);
        scene_end(scene);
        assert_true(reader_join(&reader) < 0);
        session_free(pointer_steal(&scene->session));
        close(fd); /* the mount is gone, the mirror's handle is closed */
        scene_free(scene);
}

static void the_loop_ends_when_somebody_unmounts(void **state)
{
        struct scene *scene = scene_new(false);

        assert_true(text_of(scene, ".cvv/README")[0] != '\0');
        assert_int_equal(umount2(scene->directory, 0), 0);
        pthread_join(scene->thread, NULL);
        assert_int_equal(scene->result, 0);
        scene_free(scene);
}

static void a_dead_mount_is_cleared_by_the_next_one(void **state)
{
        struct scene *scene = scene_new(false);
        struct session *dead;
        struct error error = {0};
        struct stat stat_dead;
        char directory[] = "/tmp/cvv-session-XXXXXX";
        int status;
        pid_t child;

        assert_non_null(mkdtemp(directory));
        scene->options.mountpoint = directory;
        child = fork();
        if (child == 0)
                _exit(session_mount(scene->mirror, &scene->options, &error, &dead) == 0 ? 0 : 1);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(stat(directory, &stat_dead), -1);
        assert_int_equal(errno, ENOTCONN);
        assert_int_equal(session_mount(scene->mirror, &scene->options, &error, &dead), 0);
        session_free(dead);
        assert_int_equal(rmdir(directory), 0);
        scene_close(scene);
}

static int mount_error(const char *mountpoint, struct error *error)
{
        struct options options;
        char path[64];
        struct mirror *mirror;
        struct session *session;
        int r;

        options_init(&options);
        strcpy(path, mountpoint);
        options.mountpoint = path;
        mirror = fake_mirror_new(&options);
        r = session_mount(mirror, &options, error, &session);
        fake_mirror_free(mirror);
        return r;
}

static void a_missing_mount_point_is_named_with_its_remedy(void **state)
{
        struct error error = {0};

        assert_int_equal(mount_error("/tmp/cvv-session-none", &error), -ENOENT);
        assert_non_null(strstr(error.message, "/tmp/cvv-session-none does not exist: create"));
        assert_int_equal(mount_error("/etc/passwd", &error), -ENOTDIR);
        assert_non_null(strstr(error.message, "/etc/passwd is not a directory"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(a_finished_file_reads_as_it_is),
            cmocka_unit_test(names_links_and_xattrs_show),
            cmocka_unit_test(every_change_is_refused_as_read_only),
            cmocka_unit_test(a_parked_read_is_answered_when_its_data_comes),
            cmocka_unit_test(an_unfinished_file_can_be_mapped),
            cmocka_unit_test(a_signal_interrupts_a_parked_read_that_is_cancelled_inside),
            cmocka_unit_test(a_signal_interrupts_a_parked_read_that_is_cancelled_later),
            cmocka_unit_test(an_interrupt_and_the_data_may_come_together),
            cmocka_unit_test(hung_look_ups_leave_the_rest_going),
            cmocka_unit_test(hung_look_ups_below_cvv_leave_the_rest_going),
            cmocka_unit_test(exit_gives_up_parked_reads),
            cmocka_unit_test(the_loop_ends_when_somebody_unmounts),
            cmocka_unit_test(a_dead_mount_is_cleared_by_the_next_one),
            cmocka_unit_test(a_missing_mount_point_is_named_with_its_remedy),
        };

        return cmocka_run_group_tests(tests, fake_mount_need, NULL);
}
