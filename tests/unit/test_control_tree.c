#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fs/control_tree.h"
#include "fs/nodeid.h"

#include <errno.h>
#include <stdlib.h>

static void every_node_survives_the_way_to_an_id_and_back(void **state)
{
        static const struct control_node nodes[] = {
            {.kind = CONTROL_ROOT},
            {.kind = CONTROL_CONTROL},
            {.kind = CONTROL_TARGET, .argument = 1},
            {.kind = CONTROL_TARGET, .argument = UINT32_MAX},
            {.kind = CONTROL_FILE, .argument = 2},
            {.kind = CONTROL_FILE, .argument = (UINT64_C(1) << 52) - 1},
        };

        for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
                struct control_node node;
                uint64_t id = control_node_id(nodes[i]);

                assert_true(nodeid_is_control(id));
                assert_false(nodeid_is_second(id));
                assert_int_equal(control_node_parse(id, &node), 0);
                assert_int_equal(node.kind, nodes[i].kind);
                assert_int_equal(node.argument, nodes[i].argument);
        }
}

static void ids_that_are_no_node_are_stale(void **state)
{
        static const uint64_t ids[] = {
            0,
            1,
            NODEID_CONTROL,
            NODEID_CONTROL | 1,
            NODEID_CONTROL | (uint64_t)CONTROL_ROOT << 52 | 5,
            NODEID_CONTROL | (uint64_t)CONTROL_NAMED_END << 52,
            NODEID_CONTROL | (uint64_t)CONTROL_FILE << 52,
            NODEID_CONTROL | (uint64_t)(CONTROL_FILE + 1) << 52 | 1,
            NODEID_CONTROL | NODEID_SECOND | (uint64_t)CONTROL_ROOT << 52,
            UINT64_MAX,
        };

        for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
                struct control_node node;

                assert_int_equal(control_node_parse(ids[i], &node), -ESTALE);
        }
}

static void the_root_of_the_view_is_files(void **state)
{
        struct control_node node = control_node_of_view(1);

        assert_int_equal(node.kind, CONTROL_FILES);
        assert_int_equal(control_node_view_id(node), 1);
        node = control_node_of_view(77);
        assert_int_equal(node.kind, CONTROL_FILE);
        assert_int_equal(control_node_view_id(node), 77);
        assert_int_equal(control_node_view_id((struct control_node){.kind = CONTROL_TARGET, .argument = 5}), 0);
}

static void every_listed_name_is_found(void **state)
{
        for (int kind = CONTROL_ROOT + 1; kind < CONTROL_NAMED_END; kind++) {
                enum control_kind found;

                assert_non_null(control_kind_name((enum control_kind)kind));
                assert_int_equal(control_kind_find(control_kind_name((enum control_kind)kind), &found), 0);
                assert_int_equal(found, kind);
        }
}

static void other_names_are_absent(void **state)
{
        static const char *const names[] = {"", ".", ".cvv", "State", "status.jso", "metrics", "report.html"};
        enum control_kind kind;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                assert_int_equal(control_kind_find(names[i], &kind), -ENOENT);
}

static void names_of_targets_are_plain_numbers(void **state)
{
        static const char *const wrong[] = {"",
                                            ".json",
                                            "0.json",
                                            "01.json",
                                            "1",
                                            "1.jsonx",
                                            "1 .json",
                                            "+1.json",
                                            "-1.json",
                                            "4294967296.json",
                                            "99999999999999999999999.json"};
        uint32_t n;

        assert_int_equal(control_target_find("1.json", &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(control_target_find("4294967295.json", &n), 0);
        assert_int_equal(n, UINT32_MAX);
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                assert_int_equal(control_target_find(wrong[i], &n), -ENOENT);
}

static mode_t mode_of(enum control_kind kind, bool alone)
{
        const struct control_owner owner = {.uid = 5, .gid = 6, .alone = alone};
        struct stat stat;

        control_stat((struct control_node){.kind = kind, .argument = kind >= CONTROL_TARGET},
                     control_kind_is_directory(kind), &owner, &stat);
        assert_int_equal(stat.st_uid, 5);
        assert_int_equal(stat.st_gid, 6);
        return stat.st_mode;
}

static void modes_keep_others_out_of_control(void **state)
{
        assert_int_equal(mode_of(CONTROL_ROOT, false), S_IFDIR | 0555);
        assert_int_equal(mode_of(CONTROL_STATE, false), S_IFREG | 0444);
        assert_int_equal(mode_of(CONTROL_FILE, false), S_IFREG | 0444);
        assert_int_equal(mode_of(CONTROL_CONTROL, false), S_IFREG | 0600);
}

static void with_allow_other_all_of_it_is_for_the_owner_alone(void **state)
{
        for (int kind = CONTROL_ROOT; kind <= CONTROL_FILE; kind++) {
                if (kind != CONTROL_NAMED_END)
                        assert_int_equal(mode_of((enum control_kind)kind, true) & 0077, 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_node_survives_the_way_to_an_id_and_back),
            cmocka_unit_test(ids_that_are_no_node_are_stale),
            cmocka_unit_test(the_root_of_the_view_is_files),
            cmocka_unit_test(every_listed_name_is_found),
            cmocka_unit_test(other_names_are_absent),
            cmocka_unit_test(names_of_targets_are_plain_numbers),
            cmocka_unit_test(modes_keep_others_out_of_control),
            cmocka_unit_test(with_allow_other_all_of_it_is_for_the_owner_alone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
