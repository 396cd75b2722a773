#include "core/memtable.h"

#include <stdlib.h>
#include <string.h>

enum { ALLOCATOR_BYTES = 16 }; /* glibc's header and rounding, about */

void memtable_init(struct memtable *table, uint64_t seed)
{
        *table = (struct memtable){ .random = seed };
}

/* Without recursion and without memory: turns left children up until there is none, then frees the root. */
void memtable_deinit(struct memtable *table)
{
        struct memtable_entry *entry = table->root;

        while (entry) {
                struct memtable_entry *left = entry->left;

                if (left) {
                        entry->left = left->right;
                        left->right = entry;
                        entry = left;
                } else {
                        struct memtable_entry *right = entry->right;

                        memtable_entry_free(entry);
                        entry = right;
                }
        }
        *table = (struct memtable){ .random = table->random };
}

struct memtable_entry *memtable_entry_new(const void *key, size_t key_size, const void *value, size_t value_size)
{
        struct memtable_entry *entry;

        if (key_size > UINT16_MAX || value_size > UINT32_MAX)
                return NULL;
        entry = malloc(sizeof(*entry) + key_size + value_size);
        if (!entry)
                return NULL;
        *entry = (struct memtable_entry){
                .key_size = (uint16_t)key_size,
                .value_size = (uint32_t)value_size,
                .tombstone = !value,
        };
        memcpy(entry->bytes, key, key_size);
        if (value_size > 0)
                memcpy(entry->bytes + key_size, value, value_size);
        return entry;
}

void memtable_entry_free(struct memtable_entry *entry)
{
        free(entry);
}

size_t memtable_entry_bytes(const struct memtable_entry *entry)
{
        return sizeof(*entry) + entry->key_size + entry->value_size + ALLOCATOR_BYTES;
}

int memtable_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
        size_t shared = a_size < b_size ? a_size : b_size;
        int order = shared > 0 ? memcmp(a, b, shared) : 0;

        if (order != 0)
                return order;
        return a_size < b_size ? -1 : a_size > b_size;
}

static int compare_entry(const void *key, size_t key_size, const struct memtable_entry *entry)
{
        return memtable_compare(key, key_size, entry->bytes, entry->key_size);
}

/* splitmix64: every seed will do, also 0. */
static uint32_t next_priority(struct memtable *table)
{
        uint64_t mixed = table->random += 0x9e3779b97f4a7c15u;

        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
        return (uint32_t)(mixed >> 32);
}

/* Divides `tree` into what lies before and what lies behind the key of `entry`, which is not in it. */
static void split(struct memtable_entry *tree, struct memtable_entry *entry)
{
        struct memtable_entry **before = &entry->left;
        struct memtable_entry **behind = &entry->right;

        while (tree) {
                if (compare_entry(entry->bytes, entry->key_size, tree) > 0) {
                        *before = tree;
                        before = &tree->right;
                        tree = tree->right;
                } else {
                        *behind = tree;
                        behind = &tree->left;
                        tree = tree->left;
                }
        }
        *before = NULL;
        *behind = NULL;
}

static void replace(struct memtable *table, struct memtable_entry **place, struct memtable_entry *entry)
{
        struct memtable_entry *old = *place;

        entry->left = old->left;
        entry->right = old->right;
        entry->priority = old->priority;
        *place = entry;
        table->bytes += memtable_entry_bytes(entry);
        table->bytes -= memtable_entry_bytes(old);
        memtable_entry_free(old);
}

void memtable_insert(struct memtable *table, struct memtable_entry *entry)
{
        struct memtable_entry **place = &table->root;
        struct memtable_entry **new_place = NULL;
        uint32_t priority = next_priority(table);

        /* The key may be anywhere below the place where its priority would put it: look for it to the end first. */
        while (*place) {
                int order = compare_entry(entry->bytes, entry->key_size, *place);

                if (order == 0) {
                        replace(table, place, entry);
                        return;
                }
                if (!new_place && (*place)->priority < priority)
                        new_place = place;
                place = order < 0 ? &(*place)->left : &(*place)->right;
        }
        if (!new_place)
                new_place = place;
        entry->priority = priority;
        split(*new_place, entry);
        *new_place = entry;
        table->count++;
        table->bytes += memtable_entry_bytes(entry);
}

const struct memtable_entry *memtable_get(const struct memtable *table, const void *key, size_t key_size)
{
        const struct memtable_entry *entry = table->root;

        while (entry) {
                int order = compare_entry(key, key_size, entry);

                if (order == 0)
                        return entry;
                entry = order < 0 ? entry->left : entry->right;
        }
        return NULL;
}

const struct memtable_entry *memtable_next(const struct memtable *table, const void *key, size_t key_size, bool inclusive)
{
        const struct memtable_entry *entry = table->root;
        const struct memtable_entry *best = NULL;

        while (entry) {
                int order = compare_entry(key, key_size, entry);

                if (order < 0 || (order == 0 && inclusive)) {
                        best = entry;
                        entry = entry->left;
                } else {
                        entry = entry->right;
                }
        }
        return best;
}
