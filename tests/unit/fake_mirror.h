/* A mirror without disks, for tests of fs/: core/mirror.h over a few nodes in memory, with reads that wait until they are
 * told to go on, look-ups that hang, and a count of what was left open.
 *
 *   /a     finished file          /slow  unfinished file whose reads park
 *   /d/b   finished file          /l     symlink to a
 *   /hang… looking it up waits for fake_mirror_let_go()
 */
#ifndef CVV_TESTS_FAKE_MIRROR_H
#define CVV_TESTS_FAKE_MIRROR_H

#include "core/mirror.h"

enum { FAKE_SIZE = 3 * 1024 * 1024 + 5 };

struct mirror *fake_mirror_new(const struct options *options);
/* Fails the test when something is still open. */
void fake_mirror_free(struct mirror *mirror);

/* The byte that every file has at that place. */
unsigned char fake_mirror_byte(uint64_t offset);
/* How mirror_read_cancel answers: from within the call, or from another thread. */
void fake_mirror_cancel_inside(struct mirror *mirror, bool inside);
/* Waits until `count` reads are parked; answers all parked ones. */
void fake_mirror_wait_parked(struct mirror *mirror, unsigned count);
void fake_mirror_answer(struct mirror *mirror);
/* Waits until `count` look-ups hang; lets all go on from now on. */
void fake_mirror_wait_hanging(struct mirror *mirror, unsigned count);
void fake_mirror_let_go(struct mirror *mirror);
void fake_mirror_set_busy(struct mirror *mirror, bool busy);
/* How many commands mirror_control was given so far. */
unsigned fake_mirror_commands(struct mirror *mirror);

#endif
