/* What is done with a state that is open. */
#include "statedir_fixture.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "core/statehome.h"

static void the_identity_is_rewritten_when_it_changes_only(void **state)
{
        const struct stateid_target targets[] = {{1, (char *)(uintptr_t) "t1"}, {3, (char *)(uintptr_t) "t3"}};
        struct stat before, same, after;

        (void)state;
        struct statedir *opened = open_state(true, in_base("a"), "card", "t1");
        assert_int_equal(stat(in_base("a/identity"), &before), 0);
        assert_int_equal(statedir_set_identity(opened, "card", targets, 1, NULL), 0);
        assert_int_equal(stat(in_base("a/identity"), &same), 0);
        assert_int_equal(before.st_ino, same.st_ino);
        assert_int_equal(statedir_set_identity(opened, "card", targets, 2, NULL), 0);
        assert_int_equal(stat(in_base("a/identity"), &after), 0);
        assert_int_not_equal(before.st_ino, after.st_ino);
        assert_int_equal(after.st_mode & 0777, 0600);
        statedir_unref(opened);
        opened = open_state(true, in_base("a"), "card", "t3");
        assert_int_equal(statedir_identity(opened)->targets[1].number, 3);
        struct error error = {0};
        assert_int_equal(statedir_set_identity(opened, "a\nb", NULL, 0, &error), -EINVAL);
        assert_int_equal(statedir_identity(opened)->target_count, 2);
        statedir_unref(opened);
}

static char *only_entry(const char *prefix)
{
        char command[512], path[256] = "";

        (void)snprintf(command, sizeof(command), "ls -d %s/a/%s*", base, prefix);
        FILE *pipe = popen(command, "re");
        assert_non_null(pipe);
        assert_non_null(fgets(path, sizeof(path), pipe));
        (void)pclose(pipe);
        path[strcspn(path, "\n")] = '\0';
        return strdup(path);
}

static void a_damaged_environment_is_set_aside_whole_with_the_reason(void **state)
{
        char inside[512];

        (void)state;
        struct statedir *opened = open_state(true, in_base("a"), "card", "t1");
        assert_int_equal(statedir_set_aside(opened, "nothing there", NULL), 0);
        assert_int_equal(statedir_set_aside(opened, "nothing there", NULL), 0);
        write_file(in_base("a/data.mdb"), "data");
        write_file(in_base("a/lock.mdb"), "lock");
        assert_int_equal(statedir_set_aside(opened, "the checker died", NULL), 0);
        assert_int_equal(access(in_base("a/data.mdb"), F_OK), -1);
        assert_int_equal(access(in_base("a/lock.mdb"), F_OK), -1);
        char *aside = only_entry("damaged-");
        (void)snprintf(inside, sizeof(inside), "%s/data.mdb", aside);
        assert_content(inside, "data");
        (void)snprintf(inside, sizeof(inside), "%s/lock.mdb", aside);
        assert_content(inside, "lock");
        (void)snprintf(inside, sizeof(inside), "%s/reason", aside);
        assert_content(inside, "the checker died");
        free(aside);
        for (int i = 0; i < 3; i++) { /* again within the same second */
                write_file(in_base("a/data.mdb"), "data");
                assert_int_equal(statedir_set_aside(opened, "again", NULL), 0);
        }
        statedir_unref(opened);
        opened = open_state(true, in_base("a"), "card", "t1"); /* still a state */
        assert_false(statedir_is_new(opened));
        statedir_unref(opened);
}

static void the_lock_file_names_the_holder_and_no_one_afterwards(void **state)
{
        char pid[32];

        (void)state;
        (void)snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
        struct statedir *opened = open_state(true, in_base("a"), "card", "t1");
        assert_content(in_base("a/lock"), pid);
        pid_t child = fork();
        if (child == 0) { /* what a child gives back is not the parent's */
                statedir_unref(opened);
                _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_content(in_base("a/lock"), pid);
        assert_int_equal(fails(true, in_base("a"), "card", "t1", "in use"), -EBUSY);
        statedir_unref(opened);
        assert_content(in_base("a/lock"), "");
}

static void a_child_that_goes_on_with_the_state_is_named(void **state)
{
        char pid[32];
        int ready[2], go[2];
        char byte = 0;

        (void)state;
        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        assert_int_equal(pipe2(go, O_CLOEXEC), 0);
        struct statedir *opened = open_state(true, in_base("a"), "card", "t1");
        pid_t child = fork();
        if (child == 0) {
                (void)close(go[1]);
                if (statedir_write_pid(opened) != 0 || write(ready[1], &byte, 1) != 1)
                        _exit(1);
                (void)!read(go[0], &byte, 1); /* the end of the pipe */
                _exit(0);
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        statedir_unref(opened); /* the parent's part; the child still holds the lock */
        (void)snprintf(pid, sizeof(pid), "process %ld:", (long)child);
        int result = fails(true, in_base("a"), "card", "t1", pid);
        (void)close(ready[0]);
        (void)close(ready[1]);
        (void)close(go[0]);
        (void)close(go[1]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(result, -EBUSY);
        statedir_unref(open_state(true, in_base("a"), "card", "t1"));
}

static void the_default_base_follows_user_and_environment(void **state)
{
        char *path = NULL;

        (void)state;
        assert_int_equal(statehome_default(&path, NULL), 0);
        if (geteuid() == 0)
                assert_string_equal(path, "/var/lib/cvv");
        free(path);
        pid_t child = fork();
        if (child == 0) {
                if (geteuid() == 0 && seteuid(65534) != 0)
                        _exit(1);
                (void)setenv("HOME", "/home/someone", 1);
                (void)setenv("XDG_STATE_HOME", "relative", 1);
                if (statehome_default(&path, NULL) != 0 || strcmp(path, "/home/someone/.local/state/cvv") != 0)
                        _exit(2);
                free(path);
                (void)setenv("XDG_STATE_HOME", "/elsewhere", 1);
                if (statehome_default(&path, NULL) != 0 || strcmp(path, "/elsewhere/cvv") != 0)
                        _exit(3);
                free(path);
                _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            TEST(the_identity_is_rewritten_when_it_changes_only),
            TEST(a_damaged_environment_is_set_aside_whole_with_the_reason),
            TEST(the_lock_file_names_the_holder_and_no_one_afterwards),
            TEST(a_child_that_goes_on_with_the_state_is_named),
            TEST(the_default_base_follows_user_and_environment),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
