/* How often files were copied again because a reading proved them wrong, in this mount: so that nobody tries for ever, and so that it can be said.
 *
 * A small table: such files are rare. It keeps the last ATTEMPTS_FILES entries. Thread safe; a lock of its own, held for operations in memory.
 */
#ifndef CVV_CORE_ATTEMPTS_H
#define CVV_CORE_ATTEMPTS_H

#include <stdbool.h>
#include <stdint.h>

struct attempts;

enum {
        ATTEMPTS_SOURCE = 64,  /* in the place of a target's slot: the source */
        ATTEMPTS_LOOKS = 128,  /* added to a target's slot: looks that came to nothing, for no fault of the copy */
        ATTEMPTS_FILES = 4096,
};

int attempts_new(struct attempts **ret_attempts);
void attempts_free(struct attempts *attempts);
/* Counts one more and returns how many there are. */
unsigned attempts_add(struct attempts *attempts, uint64_t id, unsigned slot);
/* They do not count any more. */
void attempts_forget(struct attempts *attempts, uint64_t id, unsigned slot);
/* The file is good there now. True: it was not before, and this is news. */
bool attempts_repaired(struct attempts *attempts, uint64_t id, unsigned slot);
/* Everything may be tried again; what was repaired stays on the list. */
void attempts_clear(struct attempts *attempts);
/* Calls `visit`, without locks, for what was repaired: on which slot, after how many attempts. */
void attempts_each_repaired(struct attempts *attempts, void (*visit)(void *context, uint64_t id, unsigned slot, unsigned times), void *context);

#endif
