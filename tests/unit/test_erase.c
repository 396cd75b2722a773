#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/cleanup.h"
#include "core/erase.h"

enum { ALL = 3 };

/* Ten files, all copied and verified, and a walk that found nothing. */
static struct erase_facts good_facts(void)
{
        return (struct erase_facts){
                .has_source = true,
                .mode = MODE_FULL,
                .totals = { .files = { [CATEGORY_COPIED] = 7, [CATEGORY_SKIPPED] = 3 }, .files_verified = 10, .scan_complete = true },
                .looked = true,
                .saw_all = true,
        };
}

static void expect(const struct erase_facts *facts, enum erase_verdict verdict, const char *expected)
{
        cleanup(pointer_free) char *text = NULL;

        assert_int_equal(erase_judge(facts), verdict);
        assert_int_equal(erase_text(facts, &text), 0);
        assert_string_equal(text, expected);
}

static void test_yes_where_nothing_speaks_against_it(void **state)
{
        struct erase_facts facts = good_facts();

        (void)state;
        expect(&facts, ERASE_YES, "yes\n");
        facts.totals.files[CATEGORY_COPIED] = facts.totals.files[CATEGORY_SKIPPED] = facts.totals.files_verified = 0;
        expect(&facts, ERASE_YES, "yes\n"); /* an empty card */
}

static void test_each_fact_alone_makes_it_a_no(void **state)
{
        struct erase_facts facts;

        (void)state;
#define NO(change, reason)                                  \
        do {                                                \
                facts = good_facts();                       \
                change;                                     \
                expect(&facts, ERASE_NO, "no: " reason "\n"); \
        } while (0)
        NO(facts.has_source = false, "there is no source");
        NO(facts.source_absent = true, "the source is gone");
        NO(facts.mode = MODE_SOURCE, "the mode is source: only in mode full all copies are read back");
        NO(facts.mode = MODE_TRANSFER, "the mode is transfer: only in mode full all copies are read back");
        NO(facts.totals.files[CATEGORY_CONFLICT] = 1, "1 file is in conflict: a target has a different file of its name");
        NO(facts.totals.files[CATEGORY_MISSING] = 2, "2 files vanished from the source or cannot be read");
        NO(facts.totals.files[CATEGORY_FAILED] = 3, "3 files could not be copied to every target");
        NO(facts.totals.files[CATEGORY_PENDING] = 1, "1 file is not on every target yet");
        NO(facts.directories_owed = 1, "1 directory is not on every target yet");
        NO(facts.totals.files_verified = 9, "1 file is not verified on every target");
        NO(facts.totals.files[CATEGORY_EXCLUDED] = 1, "1 file is excluded and not copied");
        NO(facts.totals.scan_complete = false, "the source was not looked through to its end");
        NO(facts.saw_all = false, "the source was not looked through to its end");
        NO(facts.unsafe_names = 2, "2 names of the source are not verified on every target");
        NO((facts.targets_away = 1, facts.target_away = "/mnt/\x1b[2J"), "the target /mnt/\\x1b[2J is not online");
        NO((facts.targets_away = 2, facts.target_away = "/mnt/a"), "2 targets are not online, /mnt/a among them");
#undef NO
}

static void test_a_look_after_the_last_change_is_wanted_only_where_nothing_else_speaks_against_it(void **state)
{
        struct erase_facts facts = good_facts();

        (void)state;
        facts.looked = false;
        expect(&facts, ERASE_LOOK, "no: the source was not looked through again since the last change\n");
        facts.totals.files[CATEGORY_EXCLUDED] = 1;
        expect(&facts, ERASE_NO, "no: 1 file is excluded and not copied\n");
}

static void test_all_reasons_are_given_the_most_important_first(void **state)
{
        struct erase_facts facts = good_facts();

        (void)state;
        facts.totals.files[CATEGORY_EXCLUDED] = 2;
        facts.totals.files[CATEGORY_CONFLICT] = 1;
        facts.totals.files_verified = 5;
        expect(&facts, ERASE_NO, "no: 1 file is in conflict: a target has a different file of its name\n"
                                 "5 files are not verified on every target\n"
                                 "2 files are excluded and not copied\n");
}

/* --- one name --- */

static void test_a_name_is_safe_only_whole_verified_and_read_twice(void **state)
{
        static const struct options options = { .mode = MODE_FULL, .hash = { .mask = 1, .count = 1 } };
        const struct node_record good = { .mode = S_IFREG | 0644, .complete = ALL, .verified = ALL, .digests = { .mask = 1 },
                                          .flags = VIEW_NODE_SOURCE | VIEW_NODE_HASHED | VIEW_NODE_REREAD };
        const struct name_record good_name = { .published = ALL, .flags = VIEW_NAME_SOURCE };
        struct node_record node;
        struct name_record name;

        (void)state;
        assert_true(erase_is_safe(&options, ALL, &good_name, &good));
#define UNSAFE(change)                                                 \
        do {                                                           \
                node = good;                                           \
                name = good_name;                                      \
                change;                                                \
                assert_false(erase_is_safe(&options, ALL, &name, &node)); \
        } while (0)
        UNSAFE(node.complete = 1);
        UNSAFE(node.verified = 2);
        UNSAFE(node.flags &= ~(uint32_t)VIEW_NODE_REREAD);
        UNSAFE(node.flags |= VIEW_NODE_UNREADABLE; node.complete = 0);
        UNSAFE(name.published = 1);
        UNSAFE(name.conflict = 2);
        UNSAFE(name.flags |= VIEW_NAME_EXCLUDED);
        UNSAFE(name.flags |= VIEW_NAME_WHITEOUT);
        UNSAFE(name.flags |= VIEW_NAME_VANISHED);
#undef UNSAFE
        node = (struct node_record){ .mode = S_IFDIR | 0755, .complete = ALL, .flags = VIEW_NODE_SOURCE };
        assert_true(erase_is_safe(&options, ALL, &good_name, &node)); /* directories have no bytes to be read back */
        node.flags |= VIEW_NODE_UNREADABLE;
        assert_false(erase_is_safe(&options, ALL, &good_name, &node));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_yes_where_nothing_speaks_against_it),
                cmocka_unit_test(test_each_fact_alone_makes_it_a_no),
                cmocka_unit_test(test_a_look_after_the_last_change_is_wanted_only_where_nothing_else_speaks_against_it),
                cmocka_unit_test(test_all_reasons_are_given_the_most_important_first),
                cmocka_unit_test(test_a_name_is_safe_only_whole_verified_and_read_twice),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
