#include "mirror_fixture.h"

enum { MANY = 5000 };

struct entries {
        char (*names)[64];
        uint64_t *offsets; /* offsets[i]: where to go on after names[i] */
        size_t count, room;
};

static bool take(void *context, const char *name, const struct stat *stat, uint64_t next_offset)
{
        struct entries *entries = context;

        if (entries->count == entries->room)
                return false;
        (void)snprintf(entries->names[entries->count], 64, "%s", name);
        entries->offsets[entries->count++] = next_offset;
        return stat->st_ino != 0;
}

static struct entries entries_new(size_t room)
{
        struct entries entries = { .names = calloc(room, 64), .offsets = calloc(room, sizeof(uint64_t)), .room = room };

        assert_non_null(entries.names);
        assert_non_null(entries.offsets);
        return entries;
}

static void entries_free(struct entries *entries)
{
        free(entries->names);
        free(entries->offsets);
}

static void test_readdir_gives_every_name_once_and_goes_on_anywhere(void **state)
{
        struct lab *lab = *state;
        struct entries all = entries_new(MANY + 100), some = entries_new(17);
        struct mirror_dir *dir;
        unsigned seed = 1;

        lab_shell(lab, "mkdir source/d && cd source/d && seq -f n%05g 5000 | xargs touch");
        lab_start(lab);
        assert_int_equal(mirror_opendir(lab->mirror, lab_id(lab, "d"), &dir), 0);
        assert_int_equal(mirror_readdir(dir, 0, false, take, &all), 0);
        assert_int_equal(all.count, MANY + 2);
        assert_string_equal(all.names[0], ".");
        assert_string_equal(all.names[1], "..");
        for (size_t i = 3; i < all.count; i++)
                assert_true(strcmp(all.names[i - 1], all.names[i]) < 0);
        for (int round = 0; round < 400; round++) {
                size_t at = (size_t)rand_r(&seed) % all.count;

                some.count = 0;
                assert_int_equal(mirror_readdir(dir, at == 0 ? 0 : all.offsets[at - 1], round % 2, take, &some), 0);
                assert_int_equal(some.count, all.count - at < some.room ? all.count - at : some.room);
                for (size_t i = 0; i < some.count; i++) {
                        assert_string_equal(some.names[i], all.names[at + i]);
                        assert_true(some.offsets[i] == all.offsets[at + i]);
                }
        }
        some.count = 0;
        assert_int_equal(mirror_readdir(dir, all.offsets[all.count - 1], false, take, &some), 0);
        assert_int_equal(some.count, 0);
        mirror_closedir(dir);
        entries_free(&all);
        entries_free(&some);
}

static void test_readdir_with_attributes_gives_those_of_getattr(void **state)
{
        struct lab *lab = *state;
        struct entries all = entries_new(100);
        struct mirror_dir *dir;
        struct stat stat;

        pattern_file(lab->source, "f", 12345, 1);
        lab_shell(lab, "ln -s f source/link && mkdir source/d && chmod 700 source/d");
        lab_start(lab);
        assert_int_equal(mirror_opendir(lab->mirror, MIRROR_ROOT, &dir), 0);
        assert_int_equal(mirror_readdir(dir, 0, true, take, &all), 0);
        mirror_closedir(dir);
        assert_int_equal(all.count, 5);
        assert_int_equal(mirror_lookup(lab->mirror, MIRROR_ROOT, "f", &stat), 0);
        assert_int_equal(stat.st_size, 12345);
        assert_true(S_ISREG(stat.st_mode));
        assert_int_equal(mirror_lookup(lab->mirror, MIRROR_ROOT, "d", &stat), 0);
        assert_int_equal(stat.st_mode, S_IFDIR | 0700);
        entries_free(&all);
}

static void test_numbers_of_names_stay(void **state)
{
        struct lab *lab = *state;
        uint64_t before, after;

        pattern_file(lab->source, "f", MIB, 1);
        lab_start(lab);
        before = lab_id(lab, "f");
        assert_int_equal(lab_control(lab, "fill f\n"), 0);
        lab_wait_idle(lab);
        assert_int_equal(lab_id(lab, "f"), before);
        lab_stop(lab);
        lab_start(lab);
        after = lab_id(lab, "f");
        assert_int_equal(after, before);
}

static void test_wrong_lookups_say_what_is_wrong(void **state)
{
        struct lab *lab = *state;
        char longer[300];
        struct mirror_dir *dir;
        struct stat stat;
        uint64_t id;

        memset(longer, 'x', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = '\0';
        pattern_file(lab->source, "f", 1, 1);
        lab_shell(lab, "mkdir source/.cvv && touch source/.cvv/x");
        lab_start(lab);
        assert_int_equal(mirror_lookup(lab->mirror, MIRROR_ROOT, "none", &stat), -ENOENT);
        assert_int_equal(mirror_lookup(lab->mirror, MIRROR_ROOT, ".cvv", &stat), -ENOENT);
        assert_int_equal(mirror_lookup(lab->mirror, MIRROR_ROOT, longer, &stat), -ENAMETOOLONG);
        assert_int_equal(mirror_lookup(lab->mirror, lab_id(lab, "f"), "x", &stat), -ENOTDIR);
        assert_int_equal(mirror_lookup(lab->mirror, 424242, "x", &stat), -ESTALE);
        assert_int_equal(mirror_getattr(lab->mirror, 424242, &stat), -ESTALE);
        assert_int_equal(mirror_opendir(lab->mirror, lab_id(lab, "f"), &dir), -ENOTDIR);
        assert_int_equal(mirror_resolve(lab->mirror, "../f", &id), -EINVAL);
        assert_int_equal(mirror_resolve(lab->mirror, "./f", &id), 0);
}

static void test_paths_and_ids_go_both_ways(void **state)
{
        struct lab *lab = *state;
        cleanup(pointer_free) char *path = NULL, *text = NULL;

        lab_shell(lab, "mkdir -p source/a/b/c && touch source/a/b/c/f && ln -s ../x source/a/link");
        lab_start(lab);
        assert_int_equal(mirror_path(lab->mirror, lab_id(lab, "a/b/c/f"), &path), 0);
        assert_string_equal(path, "a/b/c/f");
        assert_int_equal(mirror_readlink(lab->mirror, lab_id(lab, "a/link"), &text), 0);
        assert_string_equal(text, "../x");
}

static void test_names_that_come_and_go_in_the_source_are_seen(void **state)
{
        struct lab *lab = *state;
        struct stat stat;

        pattern_file(lab->source, "old", 1, 1);
        lab_start(lab);
        lab_wait_scanned(lab);
        pattern_file(lab->source, "new", 1, 1);
        assert_int_equal(mirror_lookup(lab->mirror, MIRROR_ROOT, "new", &stat), 0);
        assert_int_equal(mirror_lookup(lab->mirror, MIRROR_ROOT, "old", &stat), 0);
}

static void test_statfs_is_at_most_what_is_free(void **state)
{
        struct lab *lab = *state;
        struct statvfs here, real;

        pattern_file(lab->source, "f", 10 * MIB, 1);
        lab_start(lab);
        lab_wait_scanned(lab);
        assert_int_equal(mirror_statfs(lab->mirror, &here), 0);
        assert_int_equal(fstatvfs(lab->targets[0], &real), 0);
        assert_true(here.f_bavail > 0);
        assert_true(here.f_bavail * here.f_frsize <= real.f_bavail * real.f_frsize / 2); /* three targets share it */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                LAB_CASE(test_readdir_gives_every_name_once_and_goes_on_anywhere),
                LAB_CASE(test_readdir_with_attributes_gives_those_of_getattr),
                LAB_CASE(test_numbers_of_names_stay),
                LAB_CASE(test_wrong_lookups_say_what_is_wrong),
                LAB_CASE(test_paths_and_ids_go_both_ways),
                LAB_CASE(test_names_that_come_and_go_in_the_source_are_seen),
                LAB_CASE(test_statfs_is_at_most_what_is_free),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
