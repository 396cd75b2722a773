#include "core/attempts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/sync.h"

struct attempt {
        uint64_t id; /* 0: free */
        unsigned slot;
        unsigned count; /* since the last `retry` */
        unsigned total;
        bool repaired;
};

struct attempts {
        struct mutex lock; /* guards all below */
        size_t next;       /* the oldest entry, once all are in use */
        size_t used;
        struct attempt entries[ATTEMPTS_FILES];
};

int attempts_new(struct attempts **ret_attempts)
{
        struct attempts *attempts = calloc(1, sizeof(*attempts));

        if (!attempts)
                return -ENOMEM;
        mutex_init(&attempts->lock);
        *ret_attempts = attempts;
        return 0;
}

void attempts_free(struct attempts *attempts)
{
        if (!attempts)
                return;
        mutex_deinit(&attempts->lock);
        free(attempts);
}

static struct attempt *find_locked(struct attempts *attempts, uint64_t id, unsigned slot)
{
        for (size_t i = 0; i < attempts->used; i++)
                if (attempts->entries[i].id == id && attempts->entries[i].slot == slot)
                        return &attempts->entries[i];
        return NULL;
}

unsigned attempts_add(struct attempts *attempts, uint64_t id, unsigned slot)
{
        struct attempt *attempt;

        MUTEX_SCOPE(&attempts->lock);
        attempt = find_locked(attempts, id, slot);
        if (!attempt) {
                attempt = &attempts->entries[attempts->next];
                attempts->next = (attempts->next + 1) % ATTEMPTS_FILES;
                if (attempts->used < ATTEMPTS_FILES)
                        attempts->used++;
                *attempt = (struct attempt){ .id = id, .slot = slot };
        }
        attempt->repaired = false;
        attempt->total++;
        return ++attempt->count;
}

void attempts_forget(struct attempts *attempts, uint64_t id, unsigned slot)
{
        struct attempt *attempt;

        MUTEX_SCOPE(&attempts->lock);
        attempt = find_locked(attempts, id, slot);
        if (attempt)
                attempt->count = 0;
}

bool attempts_repaired(struct attempts *attempts, uint64_t id, unsigned slot)
{
        struct attempt *attempt;

        MUTEX_SCOPE(&attempts->lock);
        attempt = find_locked(attempts, id, slot);
        if (!attempt || attempt->repaired)
                return false;
        attempt->repaired = true;
        attempt->count = 0;
        return true;
}

void attempts_clear(struct attempts *attempts)
{
        MUTEX_SCOPE(&attempts->lock);
        for (size_t i = 0; i < attempts->used; i++)
                attempts->entries[i].count = 0;
}

void attempts_each_repaired(struct attempts *attempts, void (*visit)(void *context, uint64_t id, unsigned slot, unsigned times), void *context)
{
        cleanup(pointer_free) struct attempt *entries = malloc(sizeof(attempts->entries));
        size_t used;

        if (!entries)
                return; /* a list for people; the events have it too */
        mutex_lock(&attempts->lock);
        used = attempts->used;
        memcpy(entries, attempts->entries, used * sizeof(*entries));
        mutex_unlock(&attempts->lock);
        for (size_t i = 0; i < used; i++)
                if (entries[i].repaired)
                        visit(context, entries[i].id, entries[i].slot, entries[i].total);
}
