/* What a node still needs to be seen as. */
#include "sandbox.h"

#include <sys/stat.h>

#include "core/need.h"
#include "core/view.h"

enum { ALL = 7 };

static struct options options_of(enum mode mode)
{
        struct options options = { .mode = mode };

        assert_int_equal(hash_parse_list("xxh64", &options.hash), 0);
        return options;
}

/* Copied in mode transfer to all targets. */
static struct node_record copied(void)
{
        return (struct node_record){ .mode = S_IFREG | 0644, .size = 5, .complete = ALL, .digests = { .mask = 1u << HASH_XXH64 },
                                     .flags = VIEW_NODE_SOURCE | VIEW_NODE_HASHED };
}

static struct need need_in(enum mode mode, const struct node_record *node)
{
        struct options options = options_of(mode);

        return need_of(&options, node, ALL);
}

static void copy_needs_what_its_mode_says(void **state)
{
        struct node_record node = copied();
        struct need need = need_in(MODE_TRANSFER, &node);

        (void)state;
        assert_true(need_is_nothing(&need));
        need = need_in(MODE_SOURCE, &node);
        assert_true(need.source);
        assert_int_equal(need.read_back, 0);
        need = need_in(MODE_FULL, &node);
        assert_true(need.source);
        assert_int_equal(need.read_back, ALL);
        node.flags |= VIEW_NODE_REREAD;
        node.verified = 5;
        need = need_in(MODE_SOURCE, &node);
        assert_true(need_is_nothing(&need));
        need = need_in(MODE_FULL, &node);
        assert_false(need.source);
        assert_int_equal(need.read_back, 2);
        assert_true(need_concerns(&need, 1));
        assert_false(need_concerns(&need, 0));
}

static void nothing_is_looked_at_before_a_target_has_all_of_it(void **state)
{
        struct node_record node = copied();
        struct need need;

        (void)state;
        node.complete = 0;
        need = need_in(MODE_FULL, &node);
        assert_true(need_is_nothing(&need));
        node.complete = 8; /* of a target that is not there */
        need = need_in(MODE_FULL, &node);
        assert_true(need_is_nothing(&need));
}

static void conflicts_and_what_was_given_up_are_left_alone(void **state)
{
        struct node_record node = copied();
        struct need need;

        (void)state;
        node.conflict = 1;
        node.failed = 2;
        need = need_in(MODE_FULL, &node);
        assert_int_equal(need.read_back, 4);
        assert_int_equal(need.slots, 4);
        for (unsigned slot = 0; slot < 3; slot++)
                assert_int_equal(need_concerns(&need, slot), slot == 2);
        node.failed = 6;
        need = need_in(MODE_FULL, &node);
        assert_true(need_is_nothing(&need));
}

static void file_taken_as_equal_is_looked_at_only_when_somebody_asks(void **state)
{
        struct options skip = options_of(MODE_FULL);
        struct node_record node = copied();
        struct need need;

        (void)state;
        skip.existing = EXISTING_SKIP;
        skip.existing_given = true;
        node.flags = VIEW_NODE_SOURCE;
        node.digests.mask = 0;
        need = need_of(&skip, &node, ALL);
        assert_true(need_is_nothing(&need));
        need = need_in(MODE_FULL, &node); /* and with `--existing verify` that is asked for */
        assert_true(need.source);
        node.flags |= VIEW_NODE_VERIFY;
        need = need_in(MODE_TRANSFER, &node);
        assert_true(need.source); /* there is nothing to compare with yet */
        assert_int_equal(need.read_back, ALL);
        assert_false(need.digest);
}

static void asked_for_a_copy_is_read_back_in_every_mode(void **state)
{
        struct node_record node = copied();
        struct need need;

        (void)state;
        node.flags |= VIEW_NODE_VERIFY;
        need = need_in(MODE_TRANSFER, &node);
        assert_false(need.source);
        assert_int_equal(need.read_back, ALL);
}

static void lost_source_is_waited_for_where_it_is_needed_and_not_elsewhere(void **state)
{
        struct node_record node = copied();
        struct need need;

        (void)state;
        node.flags |= VIEW_NODE_MISSING;
        need = need_in(MODE_FULL, &node);
        assert_true(need_is_nothing(&need));
        node.flags |= VIEW_NODE_REREAD;
        need = need_in(MODE_FULL, &node);
        assert_false(need.source);
        assert_int_equal(need.read_back, ALL);
}

static void digest_that_is_not_known_comes_from_any_readable_copy(void **state)
{
        struct node_record node = copied();
        struct need need;

        (void)state;
        node.digests.mask = 1u << HASH_MD5;
        node.conflict = 1;
        need = need_in(MODE_TRANSFER, &node);
        assert_true(need.digest);
        assert_int_equal(need.read_back, 0);
        assert_false(need_concerns(&need, 0));
        assert_true(need_concerns(&need, 1));
        node.mode = S_IFLNK | 0777;
        need = need_in(MODE_TRANSFER, &node);
        assert_true(need_is_nothing(&need));
}

static void directory_needs_nothing(void **state)
{
        struct node_record node = copied();
        struct need need;

        (void)state;
        node.mode = S_IFDIR | 0755;
        need = need_in(MODE_FULL, &node);
        assert_true(need_is_nothing(&need));
}

static void name_is_given_when_the_mode_is_satisfied(void **state)
{
        struct options transfer = options_of(MODE_TRANSFER), source = options_of(MODE_SOURCE), full = options_of(MODE_FULL);
        struct node_record node = copied();

        (void)state;
        assert_true(need_may_publish(&transfer, &node, 0));
        assert_false(need_may_publish(&source, &node, 0));
        assert_false(need_may_publish(&full, &node, 0));
        node.verified = 1;
        assert_false(need_may_publish(&full, &node, 0)); /* the source may be another by now */
        node.flags |= VIEW_NODE_REREAD;
        assert_true(need_may_publish(&source, &node, 1));
        assert_true(need_may_publish(&full, &node, 0));
        assert_false(need_may_publish(&full, &node, 1));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(copy_needs_what_its_mode_says),
                cmocka_unit_test(nothing_is_looked_at_before_a_target_has_all_of_it),
                cmocka_unit_test(conflicts_and_what_was_given_up_are_left_alone),
                cmocka_unit_test(file_taken_as_equal_is_looked_at_only_when_somebody_asks),
                cmocka_unit_test(asked_for_a_copy_is_read_back_in_every_mode),
                cmocka_unit_test(lost_source_is_waited_for_where_it_is_needed_and_not_elsewhere),
                cmocka_unit_test(digest_that_is_not_known_comes_from_any_readable_copy),
                cmocka_unit_test(directory_needs_nothing),
                cmocka_unit_test(name_is_given_when_the_mode_is_satisfied),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
