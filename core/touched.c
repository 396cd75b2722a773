#include "core/touched.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Ids in a sorted array: directories are few beside files, and are touched in runs. */
struct directory_set {
        uint64_t *ids;
        size_t count, capacity;
        bool taken; /* by who is finishing them */
};

static size_t position(const struct directory_set *set, uint64_t id)
{
        size_t low = 0, high = set->count;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (set->ids[middle] < id)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static int insert(struct directory_set *set, uint64_t id)
{
        size_t at = position(set, id);

        if (at < set->count && set->ids[at] == id)
                return 0;
        if (set->count == set->capacity) {
                size_t capacity = set->capacity ? set->capacity * 2 : 64;
                uint64_t *ids = reallocarray(set->ids, capacity, sizeof(*ids));

                if (!ids)
                        return -ENOMEM;
                set->ids = ids;
                set->capacity = capacity;
        }
        memmove(set->ids + at + 1, set->ids + at, (set->count - at) * sizeof(*set->ids));
        set->ids[at] = id;
        set->count++;
        return 0;
}

void touched_add(struct target *target, uint64_t id)
{
        MUTEX_SCOPE(&target->lock);
        if (!target->directories)
                target->directories = calloc(1, sizeof(*target->directories));
        if (!target->directories || insert(target->directories, id) < 0)
                target->directories_forgotten = true; /* no memory: the next scan finds it by its times */
}

bool touched_pending(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        return target->directories && (target->directories->count > 0 || target->directories->taken);
}

void touched_free(struct target *target)
{
        if (target->directories)
                free(target->directories->ids);
        free(target->directories);
        target->directories = NULL;
}

size_t touched_take(struct target *target, uint64_t **ret_ids)
{
        size_t count = 0;

        MUTEX_SCOPE(&target->lock);
        *ret_ids = NULL;
        if (target->directories) {
                *ret_ids = target->directories->ids;
                count = target->directories->count;
                *target->directories = (struct directory_set){ .taken = true };
        }
        return count;
}

void touched_finished(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        if (target->directories)
                target->directories->taken = false;
}
