#include "fs/openlist.h"

#include "core/sync.h"

#include <errno.h>
#include <stdlib.h>

struct openlist_entry {
        struct openlist_entry *previous, *next;
        void *object;
        void (*close)(void *object);
};

struct openlist {
        struct mutex lock;          /* guards the ring */
        struct openlist_entry head; /* of a ring */
};

int openlist_new(struct openlist **ret_list)
{
        struct openlist *list = calloc(1, sizeof(*list));

        if (!list)
                return -ENOMEM;
        mutex_init(&list->lock);
        list->head.previous = &list->head;
        list->head.next = &list->head;
        *ret_list = list;
        return 0;
}

void openlist_free(struct openlist *list)
{
        if (!list)
                return;
        mutex_deinit(&list->lock);
        free(list);
}

int openlist_add(struct openlist *list, void *object, void (*close)(void *object), uint64_t *ret_handle)
{
        struct openlist_entry *entry = calloc(1, sizeof(*entry));

        if (!entry) {
                close(object);
                return -ENOMEM;
        }
        entry->object = object;
        entry->close = close;
        *ret_handle = (uintptr_t)entry;

        MUTEX_SCOPE(&list->lock);
        entry->next = list->head.next;
        entry->previous = &list->head;
        entry->next->previous = entry;
        list->head.next = entry;
        return 0;
}

void *openlist_object(uint64_t handle)
{
        return ((struct openlist_entry *)(uintptr_t)handle)->object;
}

static void entry_remove(struct openlist *list, struct openlist_entry *entry)
{
        MUTEX_SCOPE(&list->lock);
        entry->previous->next = entry->next;
        entry->next->previous = entry->previous;
}

void openlist_close(struct openlist *list, uint64_t handle)
{
        struct openlist_entry *entry = (struct openlist_entry *)(uintptr_t)handle;

        entry_remove(list, entry);
        entry->close(entry->object);
        free(entry);
}

void openlist_close_all(struct openlist *list)
{
        while (list->head.next != &list->head)
                openlist_close(list, (uintptr_t)list->head.next);
}
