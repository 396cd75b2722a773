#include "core/memtable.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void put(struct memtable *table, const char *key, const char *value)
{
        struct memtable_entry *entry = memtable_entry_new(key, strlen(key), value, value ? strlen(value) : 0);

        assert_non_null(entry);
        memtable_insert(table, entry);
}

static void assert_value(const struct memtable *table, const char *key, const char *value)
{
        const struct memtable_entry *entry = memtable_get(table, key, strlen(key));

        assert_non_null(entry);
        assert_false(entry->tombstone);
        assert_int_equal(entry->value_size, strlen(value));
        assert_memory_equal(memtable_entry_value(entry), value, strlen(value));
}

static unsigned depth(const struct memtable_entry *entry)
{
        unsigned left, right;

        if (!entry)
                return 0;
        left = depth(entry->left);
        right = depth(entry->right);
        return 1 + (left > right ? left : right);
}

static void check_heap(const struct memtable_entry *entry)
{
        if (!entry)
                return;
        assert_true(!entry->left || entry->left->priority <= entry->priority);
        assert_true(!entry->right || entry->right->priority <= entry->priority);
        check_heap(entry->left);
        check_heap(entry->right);
}

static void empty_table_has_nothing(void **state)
{
        struct memtable table;

        memtable_init(&table, 1);
        assert_null(memtable_get(&table, "a", 1));
        assert_null(memtable_next(&table, "", 0, true));
        memtable_deinit(&table);
        memtable_deinit(&table);
}

static void newer_entry_replaces_and_bytes_follow(void **state)
{
        struct memtable table;
        size_t one;

        memtable_init(&table, 1);
        put(&table, "key", "long value");
        one = table.bytes;
        put(&table, "key", "short");
        assert_value(&table, "key", "short");
        assert_int_equal(table.count, 1);
        assert_int_equal(table.bytes, one - strlen("long value") + strlen("short"));
        put(&table, "key", NULL);
        assert_true(memtable_get(&table, "key", 3)->tombstone);
        assert_int_equal(table.count, 1);
        put(&table, "key", "");
        assert_false(memtable_get(&table, "key", 3)->tombstone);
        memtable_deinit(&table);
        assert_int_equal(table.bytes, 0);
        assert_int_equal(table.count, 0);
}

static void keys_are_ordered_bytewise_with_prefixes_first(void **state)
{
        static const char *const keys[] = { "", "a", "a\x01", "a\x7f", "a\xff", "b", "\xff" };
        struct memtable table;
        const struct memtable_entry *entry;
        size_t i = 0;

        memtable_init(&table, 7);
        for (size_t k = sizeof(keys) / sizeof(*keys); k-- > 0;)
                put(&table, keys[k], "x");
        entry = memtable_next(&table, "", 0, true);
        for (; entry; entry = memtable_next(&table, entry->bytes, entry->key_size, false), i++) {
                assert_int_equal(entry->key_size, strlen(keys[i]));
                assert_memory_equal(entry->bytes, keys[i], strlen(keys[i]));
        }
        assert_int_equal(i, sizeof(keys) / sizeof(*keys));
        assert_int_equal(memtable_next(&table, "a\x02", 2, true)->bytes[1], 0x7f);
        assert_null(memtable_next(&table, "\xff", 1, false));
        memtable_deinit(&table);
}

static void sequential_keys_keep_the_tree_shallow(void **state)
{
        struct memtable table;

        memtable_init(&table, 42);
        for (uint32_t i = 0; i < 100000; i++) {
                uint32_t big = __builtin_bswap32(i);
                struct memtable_entry *entry = memtable_entry_new(&big, sizeof(big), &i, sizeof(i));

                assert_non_null(entry);
                memtable_insert(&table, entry);
        }
        assert_int_equal(table.count, 100000);
        assert_true(depth(table.root) < 64);
        check_heap(table.root);
        memtable_deinit(&table);
}

/* Against a plain array: 4096 possible keys, values that say when they were put. */
static void random_calls_agree_with_an_array(void **state)
{
        enum { KEYS = 4096, CALLS = 40000 };
        static uint32_t model[KEYS]; /* 0 none, 1 tombstone, else value */
        unsigned seed = (unsigned)time(NULL);
        struct memtable table;

        print_message("seed %u\n", seed);
        memset(model, 0, sizeof(model));
        memtable_init(&table, seed);
        for (uint32_t call = 2; call < CALLS; call++) {
                uint16_t key = (uint16_t)((unsigned)rand_r(&seed) % KEYS), big = __builtin_bswap16(key);
                bool tombstone = rand_r(&seed) % 4 == 0;
                struct memtable_entry *entry =
                    memtable_entry_new(&big, 2, tombstone ? NULL : &call, tombstone ? 0 : sizeof(call));

                assert_non_null(entry);
                memtable_insert(&table, entry);
                model[key] = tombstone ? 1 : call;
        }
        const struct memtable_entry *walk = memtable_next(&table, "", 0, true);
        for (uint16_t key = 0; key < KEYS; key++) {
                uint16_t big = __builtin_bswap16(key);
                const struct memtable_entry *entry = memtable_get(&table, &big, 2);

                if (model[key] == 0) {
                        assert_null(entry);
                        continue;
                }
                assert_non_null(entry);
                assert_ptr_equal(walk, entry);
                assert_int_equal(entry->tombstone, model[key] == 1);
                if (!entry->tombstone)
                        assert_memory_equal(memtable_entry_value(entry), &model[key], 4);
                walk = memtable_next(&table, walk->bytes, walk->key_size, false);
        }
        assert_null(walk);
        check_heap(table.root);
        memtable_deinit(&table);
}

static void oversized_key_gives_no_entry(void **state)
{
        static char key[UINT16_MAX + 1];

        assert_null(memtable_entry_new(key, sizeof(key), "", 0));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(empty_table_has_nothing),
                cmocka_unit_test(newer_entry_replaces_and_bytes_follow),
                cmocka_unit_test(keys_are_ordered_bytewise_with_prefixes_first),
                cmocka_unit_test(sequential_keys_keep_the_tree_shallow),
                cmocka_unit_test(random_calls_agree_with_an_array),
                cmocka_unit_test(oversized_key_gives_no_entry),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
