/* Which state is chosen, and which are refused. */
#include "statedir_fixture.h"

#include <fcntl.h>
#include <glob.h>
#include <lmdb.h>
#include <sys/wait.h>

static struct statedir *from_base(const char *source, const char *targets)
{
        return open_state(false, in_base("states"), source, targets);
}

/* The state's path, closed again. */
static char *path_of(struct statedir *opened)
{
        char *path = strdup(statedir_path(opened));

        statedir_unref(opened);
        return path;
}

static void assert_same_and_free(char *a, char *b, bool same)
{
        assert_int_equal(strcmp(a, b) == 0, same);
        free(a);
        free(b);
}

/* Another process that holds a state of base/states until release(). */
struct holder {
        pid_t pid;
        int release;
};

static struct holder hold(bool explicit_state, const char *path, const char *source, const char *targets)
{
        int ready[2], go[2];
        char byte;

        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        assert_int_equal(pipe2(go, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) {
                struct statedir *held = NULL;

                (void)close(go[1]);
                int result = try_open(explicit_state, path, source, targets, &held, NULL);
                byte = result == 0 ? 'y' : 'n';
                if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) < 0)
                        _exit(1);
                _exit(0); /* without unref, as after a crash */
        }
        assert_true(pid > 0);
        (void)close(ready[1]);
        (void)close(go[0]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        assert_int_equal(byte, 'y');
        (void)close(ready[0]);
        return (struct holder){.pid = pid, .release = go[1]};
}

static void release(const struct holder *holder)
{
        int status;

        (void)close(holder->release);
        assert_int_equal(waitpid(holder->pid, &status, 0), holder->pid);
        assert_int_equal(status, 0);
}

/* --- One among several --------------------------------------------------------------------------------------------- */

static void a_new_state_is_made_private_with_its_parents_and_found_again(void **state)
{
        struct stat status;
        const char *where = in_base("x/y/states");

        (void)state;
        struct statedir *first = open_state(false, where, "card", "t1 t2");
        assert_true(statedir_is_new(first));
        assert_int_equal(fstat(statedir_fd(first), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0700);
        assert_int_equal(stat(in_base("x"), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0700);
        assert_int_equal(statedir_path(first)[0], '/');
        assert_string_equal(statedir_identity(first)->source, "card");
        assert_int_equal(statedir_identity(first)->target_count, 2);
        assert_int_equal(statedir_identity(first)->targets[1].number, 2);
        assert_string_equal(statedir_identity(first)->targets[1].identity, "t2");
        char *path = path_of(first);
        struct statedir *again = open_state(false, in_base("x/y/states"), "card", "t2 t1");
        assert_false(statedir_is_new(again));
        assert_string_equal(statedir_path(again), path);
        assert_string_equal(statedir_identity(again)->targets[1].identity, "t2");
        statedir_unref(again);
        free(path);
}

static void another_source_gets_a_state_of_its_own(void **state)
{
        (void)state;
        char *one = path_of(from_base("card", "t1"));
        struct statedir *other = from_base("other card", "t1");

        assert_true(statedir_is_new(other));
        assert_same_and_free(one, path_of(other), false);
}

static void the_state_that_shares_most_targets_wins(void **state)
{
        (void)state;
        struct holder holder = hold(false, in_base("states"), "card", "t2 t3");
        char *one = path_of(from_base("card", "t1"));
        release(&holder);

        struct statedir *both = from_base("card", "t1 t2 t3");
        assert_false(statedir_is_new(both));
        assert_int_equal(statedir_identity(both)->target_count, 2);
        assert_same_and_free(one, path_of(both), false);
}

static void other_targets_take_the_idle_state_of_that_source(void **state)
{
        (void)state;
        char *one = path_of(from_base("card", "t1"));
        struct statedir *other = from_base("card", "t2");

        assert_false(statedir_is_new(other));
        assert_string_equal(statedir_identity(other)->targets[0].identity, "t1"); /* until it is set */
        assert_same_and_free(one, path_of(other), true);
}

static void a_state_in_use_that_shares_a_target_is_refused_with_its_pid(void **state)
{
        char pid[32];

        (void)state;
        struct holder holder = hold(false, in_base("states"), "card", "t1 t2");
        (void)snprintf(pid, sizeof(pid), "process %ld:", (long)holder.pid);
        assert_int_equal(fails(false, in_base("states"), "card", "t9 t2", pid), -EBUSY);
        release(&holder);
        struct statedir *after = from_base("card", "t9 t2"); /* its death released it */
        assert_false(statedir_is_new(after));
        statedir_unref(after);
}

static void a_state_in_use_that_shares_a_target_is_refused_also_beside_a_better_one(void **state)
{
        (void)state;
        struct holder holder = hold(false, in_base("states"), "card", "t3");
        statedir_unref(from_base("card", "t1 t2"));
        assert_int_equal(fails(false, in_base("states"), "card", "t3", "in use"), -EBUSY);
        assert_int_equal(fails(false, in_base("states"), "card", "t1 t2 t3", "in use"), -EBUSY);
        release(&holder);
}

static void a_state_in_use_that_shares_no_target_means_a_new_one(void **state)
{
        (void)state;
        struct holder holder = hold(false, in_base("states"), "card", "t1");

        statedir_unref(from_base("card", "t2"));
        struct statedir *third = from_base("card", "t3"); /* the idle one of t2 is left for t2 */
        assert_true(statedir_is_new(third));
        struct statedir *second = from_base("card", "t2");
        assert_false(statedir_is_new(second));
        statedir_unref(second);
        statedir_unref(third);
        release(&holder);
}

static void the_lock_holds_against_the_same_process_too(void **state)
{
        (void)state;
        struct statedir *held = from_base("card", "t1");
        assert_int_equal(fails(false, in_base("states"), "card", "t1", "in use"), -EBUSY);
        assert_ptr_equal(statedir_ref(held), held);
        assert_null(statedir_unref(held));
        assert_int_equal(fails(false, in_base("states"), "card", "t1", "in use"), -EBUSY);
        statedir_unref(held);
        statedir_unref(from_base("card", "t1"));
}

static void without_a_source_a_target_must_be_shared(void **state)
{
        (void)state;
        char *one = path_of(from_base(NULL, "t1 t2"));
        char *two = path_of(from_base("", "t3"));
        char *again = path_of(from_base("none", "t2"));

        assert_string_not_equal(one, two);
        free(two);
        assert_same_and_free(one, again, true);
}

static void unknown_targets_never_match(void **state)
{
        const char *unknown[] = {NULL, ""};
        struct statedir_request request = {
            .base_or_state = in_base("states"), .target_identities = unknown, .target_count = 2};
        struct statedir *one = NULL, *two = NULL;

        (void)state;
        assert_int_equal(statedir_open(&request, NULL, &one), 0);
        assert_int_equal(statedir_identity(one)->target_count, 0);
        assert_int_equal(statedir_open(&request, NULL, &two), 0);
        assert_true(statedir_is_new(two));
        statedir_unref(one);
        statedir_unref(two);
}

static void a_damaged_identity_is_passed_over_and_left_as_it_is(void **state)
{
        char file[512];

        (void)state;
        char *one = path_of(from_base("card", "t1"));
        (void)snprintf(file, sizeof(file), "%s/identity", one);
        write_file(file, "version=1\nsource=card\ntarget=1 t1\n");
        struct statedir *fresh = from_base("card", "t1");
        assert_true(statedir_is_new(fresh));
        assert_content(file, "version=1\nsource=card\ntarget=1 t1\n");
        assert_same_and_free(one, path_of(fresh), false);
}

static void a_newer_state_is_refused_where_it_shares_a_target_only(void **state)
{
        char file[512];

        (void)state;
        char *one = path_of(from_base("card", "t1"));
        (void)snprintf(file, sizeof(file), "%s/identity", one);
        write_file(file, "version=2\nsource=card\ntarget=1 t1\n");
        assert_int_equal(fails(false, in_base("states"), "card", "t1", "newer version of cvv"), -EPROTONOSUPPORT);
        struct statedir *other = from_base("card", "t2");
        assert_true(statedir_is_new(other));
        assert_same_and_free(one, path_of(other), false);
}

static void an_interrupted_creation_is_taken_up_by_the_next(void **state)
{
        char file[512];

        (void)state;
        char *one = path_of(from_base("card", "t1"));
        (void)snprintf(file, sizeof(file), "%s/identity", one);
        assert_int_equal(unlink(file), 0);
        struct statedir *again = from_base("card", "t1");
        assert_true(statedir_is_new(again));
        assert_same_and_free(one, path_of(again), true);
}

static void strange_entries_of_the_base_are_passed_over(void **state)
{
        (void)state;
        assert_int_equal(mkdir(in_base("states"), 0700), 0);
        write_file(in_base("states/file"), "x");
        assert_int_equal(symlink("..", in_base("states/link")), 0);
        assert_int_equal(mkfifo(in_base("states/fifo"), 0600), 0);
        assert_int_equal(mkdir(in_base("states/dir"), 0700), 0);
        assert_int_equal(mkfifo(in_base("states/dir/identity"), 0600), 0);
        struct statedir *fresh = from_base("card", "t1");
        assert_true(statedir_is_new(fresh));
        statedir_unref(fresh);
}

static void processes_that_start_at_once_agree_on_one_state(void **state)
{
        enum { PROCESSES = 8 };
        pid_t pids[PROCESSES];
        int won = 0;
        int end[2];

        (void)state;
        assert_int_equal(pipe2(end, O_CLOEXEC), 0);
        for (int i = 0; i < PROCESSES; i++) {
                pids[i] = fork();
                if (pids[i] == 0) {
                        struct statedir *mine = NULL;
                        char byte;

                        (void)close(end[1]);
                        int result = try_open(false, in_base("states"), "card", "t1", &mine, NULL);
                        if (result == 0)
                                (void)!read(end[0], &byte, 1); /* until all have tried */
                        _exit(result == 0 ? 1 : result == -EBUSY ? 0 : 2);
                }
        }
        (void)close(end[0]);
        for (int i = 0; i < PROCESSES - 1; i++) {
                int status;

                assert_true(waitpid(-1, &status, 0) > 0);
                assert_int_equal(status, 0);
        }
        (void)close(end[1]);
        int status;
        assert_true(waitpid(-1, &status, 0) > 0);
        won = WEXITSTATUS(status);
        assert_int_equal(won, 1);
}

/* --- An explicit one ----------------------------------------------------------------------------------------------- */

static void an_explicit_state_is_made_one_level_deep_and_used_as_it_is(void **state)
{
        char identity[256];

        (void)state;
        assert_int_equal(fails(true, in_base("a/b"), "card", "t1", "cannot open directory"), -ENOENT);
        struct statedir *made = open_state(true, in_base("a/"), "card", "t1");
        assert_true(statedir_is_new(made));
        assert_string_equal(statedir_path(made), in_base("a"));
        statedir_unref(made);
        (void)snprintf(identity, sizeof(identity), "%s", in_base("a/identity"));
        assert_int_equal(access(identity, F_OK), 0);
        made = open_state(true, in_base("a"), "card", "t2");
        assert_false(statedir_is_new(made));
        statedir_unref(made);
        assert_int_equal(fails(true, "", "card", "t1", "empty"), -EINVAL);
}

static void an_explicit_state_of_another_source_is_refused(void **state)
{
        (void)state;
        statedir_unref(open_state(true, in_base("a"), "card", "t1"));
        assert_int_equal(fails(true, in_base("a"), "other card", "t1", "belongs to another source"), -EINVAL);
        statedir_unref(open_state(true, in_base("m"), NULL, "t1"));
        assert_int_equal(fails(true, in_base("m"), NULL, "t2", "belongs to a mirror of other targets"), -EINVAL);
}

static void an_explicit_state_in_use_is_refused_with_its_pid(void **state)
{
        char pid[32];

        (void)state;
        struct holder holder = hold(true, in_base("a"), "card", "t1");
        (void)snprintf(pid, sizeof(pid), "process %ld:", (long)holder.pid);
        assert_int_equal(fails(true, in_base("a"), "card", "t2", pid), -EBUSY);
        release(&holder);
        statedir_unref(open_state(true, in_base("a"), "card", "t2"));
}

static void a_directory_of_something_else_is_refused_and_unchanged(void **state)
{
        (void)state;
        assert_int_equal(mkdir(in_base("a"), 0755), 0);
        write_file(in_base("a/file"), "mine");
        assert_int_equal(fails(true, in_base("a"), "card", "t1", "neither empty nor a state"), -EINVAL);
        assert_int_equal(access(in_base("a/lock"), F_OK), -1);
        assert_int_equal(access(in_base("a/identity"), F_OK), -1);
        assert_int_equal(fails(true, in_base("a/file"), "card", "t1", "cannot open directory"), -ENOTDIR);
}

static void a_fresh_filesystem_counts_as_empty(void **state)
{
        (void)state;
        assert_int_equal(mkdir(in_base("a"), 0755), 0);
        assert_int_equal(mkdir(in_base("a/lost+found"), 0700), 0);
        struct statedir *made = open_state(true, in_base("a"), "card", "t1");
        assert_true(statedir_is_new(made));
        statedir_unref(made);
}

static void an_explicit_state_that_is_newer_is_refused_and_unchanged(void **state)
{
        (void)state;
        assert_int_equal(mkdir(in_base("a"), 0755), 0);
        write_file(in_base("a/identity"), "version=2\nsource=card\n");
        assert_int_equal(fails(true, in_base("a"), "card", "t1", "newer version of cvv"), -EPROTONOSUPPORT);
        assert_content(in_base("a/identity"), "version=2\nsource=card\n");
        assert_int_equal(access(in_base("a/lock"), F_OK), -1);
}

/* The file `name` in the one directory damaged-… of base/a. */
static const char *aside(const char *name)
{
        static char path[512];
        glob_t found;

        (void)snprintf(path, sizeof(path), "%s/damaged-*/%s", in_base("a"), name);
        assert_int_equal(glob(path, 0, NULL, &found), 0);
        assert_int_equal(found.gl_pathc, 1);
        (void)snprintf(path, sizeof(path), "%s", found.gl_pathv[0]);
        globfree(&found);
        return path;
}

static void an_explicit_state_with_a_damaged_identity_is_set_aside_and_begun_anew(void **state)
{
        (void)state;
        statedir_unref(open_state(true, in_base("a"), "card", "t1"));
        write_file(in_base("a/identity"), "version=1\nsour");
        write_file(in_base("a/data.mdb"), "data");
        write_file(in_base("a/running"), "");
        struct statedir *fresh = open_state(true, in_base("a"), "card", "t2");
        assert_true(statedir_is_new(fresh));
        assert_string_equal(statedir_identity(fresh)->targets[0].identity, "t2");
        assert_content(aside("identity"), "version=1\nsour");
        assert_content(aside("data.mdb"), "data");
        assert_int_equal(access(in_base("a/data.mdb"), F_OK), -1);
        statedir_unref(fresh);
        fresh = open_state(true, in_base("a"), "card", "t2"); /* beside damaged-… */
        assert_false(statedir_is_new(fresh));
        statedir_unref(fresh);
}

static void garbage_in_the_files_of_an_explicit_state_is_set_aside(void **state)
{
        (void)state;
        assert_int_equal(mkdir(in_base("a"), 0755), 0);
        write_file(in_base("a/data.mdb"), "garbage");
        struct statedir *fresh = open_state(true, in_base("a"), "card", "t1");
        assert_true(statedir_is_new(fresh));
        assert_content(aside("data.mdb"), "garbage");
        statedir_unref(fresh);
        assert_int_equal(unlink(in_base("a/identity")), 0); /* only what was set aside is left: nothing to set aside */
        fresh = open_state(true, in_base("a"), "card", "t1");
        assert_true(statedir_is_new(fresh));
        assert_content(aside("data.mdb"), "garbage");
        statedir_unref(fresh);
}

static void a_damaged_state_beside_files_of_others_is_refused_and_unchanged(void **state)
{
        (void)state;
        assert_int_equal(mkdir(in_base("a"), 0755), 0);
        write_file(in_base("a/identity"), "mine");
        write_file(in_base("a/data.mdb"), "mine");
        write_file(in_base("a/letter"), "mine");
        assert_int_equal(fails(true, in_base("a"), "card", "t1", "neither empty nor a state"), -EINVAL);
        assert_int_equal(unlink(in_base("a/letter")), 0);
        assert_int_equal(mkdir(in_base("a/running"), 0755), 0); /* a name of cvv's own, and no file */
        assert_int_equal(fails(true, in_base("a"), "card", "t1", "neither empty nor a state"), -EINVAL);
        assert_content(in_base("a/identity"), "mine");
        assert_content(in_base("a/data.mdb"), "mine");
        assert_int_equal(access(in_base("a/lock"), F_OK), -1);
}

static void a_sound_database_without_a_sign_of_cvv_is_refused_and_unchanged(void **state)
{
        MDB_env *env;

        (void)state;
        assert_int_equal(mkdir(in_base("a"), 0755), 0);
        assert_int_equal(mdb_env_create(&env), 0);
        assert_int_equal(mdb_env_open(env, in_base("a"), 0, 0600), 0);
        mdb_env_close(env);
        assert_int_equal(fails(true, in_base("a"), "card", "t1", "neither empty nor a state"), -EINVAL);
        assert_int_equal(access(in_base("a/data.mdb"), F_OK), 0);
        assert_int_equal(access(in_base("a/lock"), F_OK), -1);
        write_file(in_base("a/owner.lock"), "");
        statedir_unref(open_state(true, in_base("a"), "card", "t1"));
        assert_int_equal(access(aside("data.mdb"), F_OK), 0);
}

static void a_damaged_state_in_use_is_refused_and_unchanged(void **state)
{
        (void)state;
        struct holder holder = hold(true, in_base("a"), "card", "t1");
        write_file(in_base("a/identity"), "garbage");
        write_file(in_base("a/data.mdb"), "data");
        assert_int_equal(fails(true, in_base("a"), "card", "t1", "in use by process"), -EBUSY);
        assert_content(in_base("a/identity"), "garbage");
        assert_content(in_base("a/data.mdb"), "data");
        release(&holder);
}

static void identities_that_could_break_the_file_are_refused_before_anything_is_made(void **state)
{
        (void)state;
        assert_int_equal(fails(true, in_base("a"), "ca\nrd", "t1", "source"), -EINVAL);
        assert_int_equal(fails(false, in_base("a"), "card", "t1 t\n2", "target"), -EINVAL);
        assert_int_equal(access(in_base("a"), F_OK), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            TEST(a_new_state_is_made_private_with_its_parents_and_found_again),
            TEST(another_source_gets_a_state_of_its_own),
            TEST(the_state_that_shares_most_targets_wins),
            TEST(other_targets_take_the_idle_state_of_that_source),
            TEST(a_state_in_use_that_shares_a_target_is_refused_with_its_pid),
            TEST(a_state_in_use_that_shares_a_target_is_refused_also_beside_a_better_one),
            TEST(a_state_in_use_that_shares_no_target_means_a_new_one),
            TEST(the_lock_holds_against_the_same_process_too),
            TEST(without_a_source_a_target_must_be_shared),
            TEST(unknown_targets_never_match),
            TEST(a_damaged_identity_is_passed_over_and_left_as_it_is),
            TEST(a_newer_state_is_refused_where_it_shares_a_target_only),
            TEST(an_interrupted_creation_is_taken_up_by_the_next),
            TEST(strange_entries_of_the_base_are_passed_over),
            TEST(processes_that_start_at_once_agree_on_one_state),
            TEST(an_explicit_state_is_made_one_level_deep_and_used_as_it_is),
            TEST(an_explicit_state_of_another_source_is_refused),
            TEST(an_explicit_state_in_use_is_refused_with_its_pid),
            TEST(a_directory_of_something_else_is_refused_and_unchanged),
            TEST(a_fresh_filesystem_counts_as_empty),
            TEST(an_explicit_state_that_is_newer_is_refused_and_unchanged),
            TEST(an_explicit_state_with_a_damaged_identity_is_set_aside_and_begun_anew),
            TEST(garbage_in_the_files_of_an_explicit_state_is_set_aside),
            TEST(a_damaged_state_beside_files_of_others_is_refused_and_unchanged),
            TEST(a_sound_database_without_a_sign_of_cvv_is_refused_and_unchanged),
            TEST(a_damaged_state_in_use_is_refused_and_unchanged),
            TEST(identities_that_could_break_the_file_are_refused_before_anything_is_made),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
