/* What the kernel has open, so that it can be closed when the session ends before the kernel closes it: no release comes
 * after the connection is gone. An entry stands in fi->fh. Thread safe. */
#ifndef CVV_FS_OPENLIST_H
#define CVV_FS_OPENLIST_H

#include <stdint.h>

struct openlist;
struct openlist_entry;

/* 0 or -ENOMEM. */
int openlist_new(struct openlist **ret_list) __attribute__((nonnull, warn_unused_result));
/* It has to be empty. NULL is allowed. */
void openlist_free(struct openlist *list);

/* Puts `object` in the list; `close` takes it back. *ret_handle is for fi->fh. 0; after -ENOMEM `object` has been closed.
 */
int openlist_add(struct openlist *list, void *object, void (*close)(void *object), uint64_t *ret_handle)
    __attribute__((nonnull, warn_unused_result));
/* The object behind fi->fh. */
void *openlist_object(uint64_t handle) __attribute__((returns_nonnull));
/* Takes it out of the list and closes it. */
void openlist_close(struct openlist *list, uint64_t handle) __attribute__((nonnull));
/* Closes all that are left; nobody may use them. */
void openlist_close_all(struct openlist *list) __attribute__((nonnull));

#endif
