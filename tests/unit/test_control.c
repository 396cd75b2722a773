#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/cleanup.h"
#include "fake_mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the tree ---- */

/* All names of a directory but "." and "..", each with a space behind it. */
static const char *names_in(const struct scene *scene, const char *name)
{
        static char names[4096];
        DIR *dir = opendir(path_in(scene, name));
        const struct dirent *entry;

        assert_non_null(dir);
        names[0] = '\0';
        while ((entry = readdir(dir))) {
                struct stat stat_entry;

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                assert_int_equal(fstatat(dirfd(dir), entry->d_name, &stat_entry, AT_SYMLINK_NOFOLLOW), 0);
                assert_int_equal(stat_entry.st_ino, entry->d_ino);
                strcat(strcat(names, entry->d_name), " ");
        }
        closedir(dir);
        return names;
}

static void cvv_is_there_by_name_and_not_listed(void **state)
{
        struct scene *scene = scene_new(false);
        struct stat stat_cvv;

        assert_string_equal(names_in(scene, "."), "a slow d l ");
        assert_int_equal(stat(path_in(scene, ".cvv"), &stat_cvv), 0);
        assert_int_equal(stat_cvv.st_mode, S_IFDIR | 0555);
        scene_close(scene);
}

static void cvv_is_listed_last_where_that_is_asked_for(void **state)
{
        struct scene *scene = scene_new(true);

        assert_string_equal(names_in(scene, "."), "a slow d l .cvv ");
        assert_string_equal(names_in(scene, "d"), "b ");
        scene_close(scene);
}

static void cvv_has_the_files_of_the_contract(void **state)
{
        struct scene *scene = scene_new(false);

        assert_string_equal(names_in(scene, ".cvv"),
                            "README state progress status status.json files targets errors skipped manifest "
                            "events wait safe-to-erase log config control ");
        assert_string_equal(names_in(scene, ".cvv/targets"), "3.json ");
        scene_close(scene);
}

static void files_mirrors_the_view(void **state)
{
        struct scene *scene = scene_new(false);
        struct stat stat_link;

        assert_string_equal(names_in(scene, ".cvv/files"), "a slow d l ");
        assert_string_equal(names_in(scene, ".cvv/files/d"), "b ");
        assert_non_null(strstr(text_of(scene, ".cvv/files/d/b"), "\"path\":\"d/b\""));
        assert_int_equal(lstat(path_in(scene, ".cvv/files/l"), &stat_link), 0);
        assert_int_equal(stat_link.st_mode, S_IFREG | 0444);
        scene_close(scene);
}

static void snapshots_read_whole_at_any_offset(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, ".cvv/errors", O_RDONLY);
        char text[16];

        assert_int_equal(pread(fd, text, sizeof(text), 3), 6);
        assert_memory_equal(text, "error\n", 6);
        assert_int_equal(pread(fd, text, sizeof(text), 100), 0);
        close(fd);
        assert_string_equal(text_of(scene, ".cvv/manifest"), "an error\n");
        assert_string_equal(text_of(scene, ".cvv/state"), "idle\n");
        assert_string_equal(text_of(scene, ".cvv/progress"), "0.0\n");
        assert_non_null(strstr(text_of(scene, ".cvv/status.json"), "\"version\":1"));
        assert_non_null(strstr(text_of(scene, ".cvv/targets/3.json"), "\"n\":3"));
        assert_non_null(strstr(text_of(scene, ".cvv/config"), "source = /a,source"));
        scene_close(scene);
}

static void absent_nodes_are_absent(void **state)
{
        struct scene *scene = scene_new(false);

        assert_int_equal(open_in(scene, ".cvv/metrics", O_RDONLY), -ENOENT);
        assert_int_equal(open_in(scene, ".cvv/targets/1.json", O_RDONLY), -ENOENT);
        assert_int_equal(open_in(scene, ".cvv/files/none", O_RDONLY), -ENOENT);
        assert_int_equal(open_in(scene, ".cvv/state/x", O_RDONLY), -ENOTDIR);
        assert_int_equal(open_in(scene, "d/.cvv", O_RDONLY), -ENOENT);
        scene_close(scene);
}

/* ---- control ---- */

static int write_control(const struct scene *scene, const char *text)
{
        int fd = open_in(scene, ".cvv/control", O_WRONLY | O_TRUNC);
        int r;

        assert_true(fd >= 0);
        r = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
        close(fd);
        return r;
}

static void commands_reach_the_mirror_and_malformed_ones_do_not(void **state)
{
        struct scene *scene = scene_new(false);

        assert_int_equal(write_control(scene, "pause\nresume\n"), 0);
        assert_int_equal(fake_mirror_commands(scene->mirror), 2);
        assert_int_equal(write_control(scene, "pause\nnonsense\n"), -EINVAL);
        assert_int_equal(write_control(scene, "fill absent\n"), -ENOENT);
        assert_int_equal(fake_mirror_commands(scene->mirror), 2);
        scene_close(scene);
}

static void a_write_that_is_too_long_is_malformed(void **state)
{
        struct scene *scene = scene_new(false);
        char *text = malloc(COMMAND_TEXT_BYTES_MAX + 2);

        memset(text, '\n', COMMAND_TEXT_BYTES_MAX + 1);
        memcpy(text, "pause", 5);
        text[COMMAND_TEXT_BYTES_MAX + 1] = '\0';
        assert_int_equal(write_control(scene, text), -EINVAL);
        text[COMMAND_TEXT_BYTES_MAX] = '\0';
        assert_int_equal(write_control(scene, text), 0);
        free(text);
        scene_close(scene);
}

static void reading_control_lists_the_commands(void **state)
{
        struct scene *scene = scene_new(false);

        assert_string_equal(text_of(scene, ".cvv/control"), command_help());
        scene_close(scene);
}

static void nothing_else_can_be_written(void **state)
{
        struct scene *scene = scene_new(false);

        assert_int_equal(open_in(scene, ".cvv/state", O_WRONLY), -EACCES);
        assert_int_equal(open_in(scene, ".cvv/files/a", O_RDWR), -EACCES);
        assert_int_equal(mkdir(path_in(scene, ".cvv/x"), 0700), -1);
        assert_int_equal(errno, EROFS);
        scene_close(scene);
}

/* ---- events and wait ---- */

static void add_event(struct scene *scene, const char *word)
{
        events_add(mirror_events(scene->mirror), word, NULL, 0, NULL);
}

static void events_gives_the_history_and_then_waits_for_the_next(void **state)
{
        struct scene *scene = scene_new(false);
        struct reader reader;
        int fd;

        add_event(scene, "first");
        fd = open_in(scene, ".cvv/events", O_RDONLY);
        reader_start(&reader, fd);
        assert_true(reader_join(&reader) > 0);
        assert_non_null(strstr(reader.data, "\"first\""));
        reader_start(&reader, fd);
        add_event(scene, "second");
        assert_true(reader_join(&reader) > 0);
        assert_non_null(strstr(reader.data, "\"second\""));
        assert_null(strstr(reader.data, "\"first\""));
        assert_int_not_equal(lseek(fd, -1, SEEK_CUR), -1); /* as head(1) does */
        close(fd);
        scene_close(scene);
}

static void a_small_buffer_gets_a_line_in_pieces(void **state)
{
        struct scene *scene = scene_new(false);
        char text[512] = "";
        size_t size = 0;
        int fd;

        add_event(scene, "first");
        fd = open_in(scene, ".cvv/events", O_RDONLY);
        while (!memchr(text, '\n', size)) {
                assert_int_equal(read(fd, text + size, 1), 1);
                size++;
        }
        assert_non_null(strstr(text, "\"first\""));
        close(fd);
        scene_close(scene);
}

static void a_reader_that_does_not_want_to_wait_gets_eagain(void **state)
{
        struct scene *scene = scene_new(false);
        int events = open_in(scene, ".cvv/events", O_RDONLY | O_NONBLOCK);
        int wait = open_in(scene, ".cvv/wait", O_RDONLY | O_NONBLOCK);
        int safe = open_in(scene, ".cvv/safe-to-erase", O_RDONLY | O_NONBLOCK);
        char text[256];

        fake_mirror_set_busy(scene->mirror, true);
        assert_int_equal(read(events, text, sizeof(text)), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(read(wait, text, sizeof(text)), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(read(safe, text, sizeof(text)), -1);
        assert_int_equal(errno, EAGAIN);
        add_event(scene, "x");
        assert_true(read(events, text, sizeof(text)) > 0);
        fake_mirror_set_busy(scene->mirror, false);
        assert_int_equal(read(safe, text, sizeof(text)), 37);
        close(safe);
        close(events);
        close(wait);
        scene_close(scene);
}

static void a_signal_interrupts_a_reader_of_events(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, ".cvv/events", O_RDONLY);
        struct reader reader;

        for (int i = 0; i < 20; i++) {
                reader_start(&reader, fd);
                assert_int_equal(reader_interrupt(&reader), -EINTR);
        }
        close(fd);
        scene_close(scene);
}

static void an_interrupt_and_an_event_may_come_together(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, ".cvv/events", O_RDONLY);
        struct reader reader;

        for (int i = 0; i < 300; i++) {
                reader_start(&reader, fd);
                add_event(scene, "x");
                (void)reader_interrupt(&reader);
                assert_true(reader.result == -EINTR || reader.result > 0);
        }
        close(fd);
        scene_close(scene);
}

static int poll_now(int fd, int timeout_ms)
{
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

        return poll(&poll_fd, 1, timeout_ms);
}

static void *add_event_later(void *context)
{
        usleep(20000);
        add_event(context, "later");
        return NULL;
}

static void poll_tells_when_there_is_something_to_read(void **state)
{
        struct scene *scene = scene_new(false);
        int events = open_in(scene, ".cvv/events", O_RDONLY);
        int wait = open_in(scene, ".cvv/wait", O_RDONLY);
        pthread_t thread;

        fake_mirror_set_busy(scene->mirror, true);
        assert_int_equal(poll_now(events, 0), 0);
        assert_int_equal(poll_now(wait, 0), 0);
        assert_int_equal(pthread_create(&thread, NULL, add_event_later, scene), 0);
        assert_int_equal(poll_now(events, 20000), 1);
        assert_int_equal(poll_now(wait, 0), 0);
        fake_mirror_set_busy(scene->mirror, false);
        assert_int_equal(poll_now(wait, 20000), 1);
        pthread_join(thread, NULL);
        close(events);
        close(wait);
        scene_close(scene);
}

static void wait_gives_the_state_once_nothing_can_progress(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, ".cvv/wait", O_RDONLY);
        struct reader reader;

        fake_mirror_set_busy(scene->mirror, true);
        reader_start(&reader, fd);
        usleep(20000);
        assert_false(atomic_load(&reader.done));
        fake_mirror_set_busy(scene->mirror, false);
        assert_int_equal(reader_join(&reader), 5);
        assert_string_equal(reader.data, "idle\n");
        reader_start(&reader, fd);
        assert_int_equal(reader_join(&reader), 0);
        close(fd);
        scene_close(scene);
}

static void safe_to_erase_gives_its_text_once_the_source_was_looked_through(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, ".cvv/safe-to-erase", O_RDONLY);
        struct reader reader;

        fake_mirror_set_busy(scene->mirror, true);
        reader_start(&reader, fd);
        assert_int_equal(reader_interrupt(&reader), -EINTR);
        assert_int_equal(poll_now(fd, 0), 0);
        reader_start(&reader, fd);
        usleep(20000);
        assert_false(atomic_load(&reader.done));
        fake_mirror_set_busy(scene->mirror, false);
        assert_int_equal(reader_join(&reader), 37);
        assert_non_null(strstr(reader.data, "no: there is no source\nand no mirror\n"));
        assert_int_equal(poll_now(fd, 20000), 1);
        reader_start(&reader, fd);
        assert_int_equal(reader_join(&reader), 0);
        close(fd);
        assert_string_equal(text_of(scene, ".cvv/safe-to-erase"), "no: there is no source\nand no mirror\n");
        scene_close(scene);
}

static void blocked_readers_get_the_end_of_file_when_the_session_ends(void **state)
{
        struct scene *scene = scene_new(false);
        int events = open_in(scene, ".cvv/events", O_RDONLY);
        int wait = open_in(scene, ".cvv/wait", O_RDONLY);
        int safe = open_in(scene, ".cvv/safe-to-erase", O_RDONLY);
        struct reader readers[3];

        fake_mirror_set_busy(scene->mirror, true);
        reader_start(&readers[0], events);
        reader_start(&readers[1], wait);
        reader_start(&readers[2], safe);
        usleep(20000);
        scene_end(scene);
        assert_int_equal(reader_join(&readers[0]), 0);
        assert_int_equal(reader_join(&readers[1]), 0);
        assert_int_equal(reader_join(&readers[2]), 0);
        session_free(pointer_steal(&scene->session));
        close(safe);
        close(events);
        close(wait);
        scene_free(scene);
}

static void readers_are_ended_once_and_those_that_come_later_block(void **state)
{
        struct scene *scene = scene_new(false);
        const char *const names[] = {".cvv/events", ".cvv/wait"};
        struct reader readers[2];
        int fds[2];
        char byte;

        fake_mirror_set_busy(scene->mirror, true);
        for (int round = 0; round < 3; round++) {
                for (size_t i = 0; i < 2; i++) {
                        fds[i] = open_in(scene, names[i], O_RDONLY);
                        reader_start(&readers[i], fds[i]);
                }
                usleep(20000);
                assert_false(atomic_load(&readers[0].done) || atomic_load(&readers[1].done));
                session_end_readers(scene->session);
                for (size_t i = 0; i < 2; i++) {
                        assert_int_equal(reader_join(&readers[i]), 0);
                        assert_int_equal(read(fds[i], &byte, 1), -1);
                        close(fds[i]);
                }
        }
        scene_close(scene);
}

static void a_file_that_was_ended_gives_what_it_had_and_wakes_its_poller(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, ".cvv/events", O_RDONLY);
        char byte;

        assert_int_equal(poll_now(fd, 0), 0);
        session_end_readers(scene->session);
        assert_int_equal(poll_now(fd, 20000), 1);
        add_event(scene, "too late");
        assert_int_equal(read(fd, &byte, 1), 0);
        close(fd);
        fd = open_in(scene, ".cvv/events", O_RDONLY);
        assert_int_equal(read(fd, &byte, 1), 1);
        session_end_readers(scene->session);
        assert_int_equal(read(fd, &byte, 1), 1);
        close(fd);
        scene_close(scene);
}

static void a_blocked_reader_does_not_outlive_a_lazy_unmount(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, ".cvv/events", O_RDONLY);
        struct reader reader;

        reader_start(&reader, fd);
        usleep(20000);
        assert_int_equal(umount2(scene->directory, MNT_DETACH), 0);
        assert_int_equal(reader_join(&reader), 0);
        close(fd);
        pthread_join(scene->thread, NULL);
        assert_int_equal(scene->result, 0);
        scene_free(scene);
}

static void closed_events_end_their_readers(void **state)
{
        struct scene *scene = scene_new(false);
        int fd = open_in(scene, ".cvv/events", O_RDONLY);
        struct reader reader;

        reader_start(&reader, fd);
        usleep(20000);
        events_close(mirror_events(scene->mirror));
        assert_int_equal(reader_join(&reader), 0);
        close(fd);
        scene_close(scene);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(cvv_is_there_by_name_and_not_listed),
            cmocka_unit_test(cvv_is_listed_last_where_that_is_asked_for),
            cmocka_unit_test(cvv_has_the_files_of_the_contract),
            cmocka_unit_test(files_mirrors_the_view),
            cmocka_unit_test(snapshots_read_whole_at_any_offset),
            cmocka_unit_test(absent_nodes_are_absent),
            cmocka_unit_test(commands_reach_the_mirror_and_malformed_ones_do_not),
            cmocka_unit_test(a_write_that_is_too_long_is_malformed),
            cmocka_unit_test(reading_control_lists_the_commands),
            cmocka_unit_test(nothing_else_can_be_written),
            cmocka_unit_test(events_gives_the_history_and_then_waits_for_the_next),
            cmocka_unit_test(a_small_buffer_gets_a_line_in_pieces),
            cmocka_unit_test(a_reader_that_does_not_want_to_wait_gets_eagain),
            cmocka_unit_test(a_signal_interrupts_a_reader_of_events),
            cmocka_unit_test(an_interrupt_and_an_event_may_come_together),
            cmocka_unit_test(poll_tells_when_there_is_something_to_read),
            cmocka_unit_test(wait_gives_the_state_once_nothing_can_progress),
            cmocka_unit_test(safe_to_erase_gives_its_text_once_the_source_was_looked_through),
            cmocka_unit_test(blocked_readers_get_the_end_of_file_when_the_session_ends),
            cmocka_unit_test(readers_are_ended_once_and_those_that_come_later_block),
            cmocka_unit_test(a_file_that_was_ended_gives_what_it_had_and_wakes_its_poller),
            cmocka_unit_test(a_blocked_reader_does_not_outlive_a_lazy_unmount),
            cmocka_unit_test(closed_events_end_their_readers),
        };

        return cmocka_run_group_tests(tests, fake_mount_need, NULL);
}
