#include "core/openapps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void names_of_indexers_are_known(void **state)
{
        static const char *const names[] = {
            "tracker-miner-fs-3", "tracker-miner-fs", "tracker-extract-3", "localsearch-3", "localsearch-extractor-3",
            "baloo_file", "baloo_file_extractor", "updatedb", "updatedb.plocate", "recollindex", "tumblerd",
            "ffmpegthumbnailer", "gnome-thumbnail-font", "gdk-pixbuf-thumbnailer", "totem-video-thumbnailer",
            "evince-thumbnailer", "some-new-thumbnailer", "thumbnail.so", "org.gnome.NautilusPreviewer",
        };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                assert_true(openapps_name_is_indexer(names[i]));
}

static void names_cut_to_15_bytes_are_known(void **state)
{
        static const char *const names[] = {
            "tracker-miner-f", "tracker-extract", "localsearch-ext", "baloo_file_extr", "updatedb.plocat",
            "ffmpegthumbnail", "gdk-pixbuf-thum", "totem-video-thu", "evince-thumbnai", "org.gnome.Nauti",
        };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                assert_true(openapps_name_is_indexer(names[i]));
}

static void program_that_was_replaced_on_disk_is_known(void **state)
{
        assert_true(openapps_name_is_indexer("tumblerd (deleted)"));
        assert_true(openapps_name_is_indexer("new-thumbnailer (deleted)"));
        assert_false(openapps_name_is_indexer("cp (deleted)"));
}

static void names_of_other_programs_are_not(void **state)
{
        static const char *const names[] = {
            "", "cp", "rsync", "cat", "file", "mediainfo", "ffmpeg", "ffmpegthumb", "nautilus", "dolphin", "thunar", "bash",
            "tracker", "tracker-miner", "baloo", "baloosearch", "recoll", "recollindexer", "tumbler", "plocate", "mlocate",
            "kioworker", "thumbnail", "gdk-pixbuf-thu", "gdk-pixbuf-thumb", "evince", "totem", " (deleted)",
        };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                assert_false(openapps_name_is_indexer(names[i]));
}

#define COMMAND_LINE(text) openapps_command_line_is_indexer(text, sizeof(text) - 1)

static void kde_worker_is_known_by_its_plugin(void **state)
{
        assert_true(COMMAND_LINE("/usr/libexec/kf6/kioworker\0/usr/lib/qt6/plugins/kf6/kio/thumbnail.so\0thumbnail\0"
                                 "local:/run/user/1000/x\0"));
        assert_true(COMMAND_LINE("kioslave5\0thumbnail"));
        assert_true(COMMAND_LINE("thumbnail.so [kdeinit5] thumbnail local:/run/user/1000/x"));
        assert_false(COMMAND_LINE("/usr/libexec/kf6/kioworker\0/usr/lib/qt6/plugins/kf6/kio/file.so\0file\0"
                                  "local:/run/x.thumbnails\0"));
        assert_false(COMMAND_LINE("kioworker\0thumbnails\0"));
        assert_false(COMMAND_LINE("kioworker\0thumbnail.s"));
        assert_false(COMMAND_LINE(""));
        assert_false(COMMAND_LINE("thumbnai"));
}

/* A child that calls itself `name` and, once it does, is looked at. */
static bool child_is_indexer(const char *name)
{
        int ready[2], done[2];
        bool is_indexer;
        pid_t child;
        char byte = 0;

        assert_int_equal(pipe(ready), 0);
        assert_int_equal(pipe(done), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                close(done[1]);
                if (prctl(PR_SET_NAME, name) < 0 || write(ready[1], "x", 1) != 1)
                        _exit(1);
                _exit(read(done[0], &byte, 1) == 0 ? 0 : 1);
        }
        close(done[0]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        is_indexer = openapps_is_indexer(child);
        close(done[1]);
        close(ready[0]);
        close(ready[1]);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_false(openapps_is_indexer(child)); /* gone */
        return is_indexer;
}

static void running_process_is_known_by_its_name(void **state)
{
        assert_true(child_is_indexer("tracker-extract-3"));
        assert_true(child_is_indexer("tumblerd"));
        assert_false(child_is_indexer("rsync"));
        assert_false(child_is_indexer("kioworker")); /* this test's command line has no thumbnail plugin */
}

static void *look_at_thread(void *result)
{
        (void)prctl(PR_SET_NAME, "tumblerd");
        *(bool *)result = openapps_is_indexer(gettid());
        return NULL;
}

static void thread_is_known_by_its_own_name(void **state)
{
        bool is_indexer = false;
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, look_at_thread, &is_indexer), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(is_indexer);
        assert_false(openapps_is_indexer(getpid()));
}

static void process_that_cannot_be_known_is_none(void **state)
{
        assert_false(openapps_is_indexer(0));
        assert_false(openapps_is_indexer(-1));
        assert_false(openapps_is_indexer(2)); /* a kernel thread, or nobody in a container */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(names_of_indexers_are_known),
            cmocka_unit_test(names_cut_to_15_bytes_are_known),
            cmocka_unit_test(program_that_was_replaced_on_disk_is_known),
            cmocka_unit_test(names_of_other_programs_are_not),
            cmocka_unit_test(kde_worker_is_known_by_its_plugin),
            cmocka_unit_test(running_process_is_known_by_its_name),
            cmocka_unit_test(thread_is_known_by_its_own_name),
            cmocka_unit_test(process_that_cannot_be_known_is_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
