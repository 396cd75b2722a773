/* For unit tests of the engine: a source, three targets and a state in an empty directory of their own, a mirror over them, and
 * what reads, waits and compares. Every function fails the running test where something does not work, and belongs to the test's
 * thread; the exceptions say so.
 */
#ifndef CVV_TESTS_UNIT_MIRROR_FIXTURE_H
#define CVV_TESTS_UNIT_MIRROR_FIXTURE_H

#include "sandbox.h"

#include "core/mirror.h"
#include "core/sync.h"

enum { LAB_TARGETS = 3, MIB = 1 << 20 };

struct lab {
        char path[128];              /* of all that follows */
        int dir;
        int source;                  /* descriptors of "source", "t1", "t2", "t3" */
        int targets[LAB_TARGETS];
        struct options options;      /* for the next lab_start: transfer, skip, fill chunk, chunks of 1 MiB, memory of 32 MiB */
        struct mirror *mirror;       /* NULL while stopped */
};

int lab_set_up(void **state);
/* Stops a mirror that still runs. */
int lab_tear_down(void **state);
#define LAB_CASE(name) cmocka_unit_test_setup_teardown(name, lab_set_up, lab_tear_down)

/* "PATH/name" in a buffer that the next eight calls do not touch. */
const char *lab_path(const struct lab *lab, const char *name);
/* Names the targets of the next lab_start: directories of the lab, NULL at the end. */
void lab_use_targets(struct lab *lab, const char *const *names);
/* mirror_open alone, without threads. */
void lab_open(struct lab *lab);
void lab_start(struct lab *lab);
void lab_stop(struct lab *lab);
/* fill all: start, wait until all is done, stop. */
void lab_copy_all(struct lab *lab);

/* Passes text to .cvv/control; the result of the parser or of mirror_control. */
int lab_control(struct lab *lab, const char *text);
uint64_t lab_id(struct lab *lab, const char *path);
struct mirror_handle *lab_open_file(struct lab *lab, const char *path);
/* Reads and waits: the bytes read, or -errno. On any thread. */
int lab_read_handle(struct mirror_handle *handle, uint64_t offset, size_t size, void *buffer);
/* Opens, reads, releases. */
int lab_read(struct lab *lab, const char *path, uint64_t offset, size_t size, void *buffer);
/* Reads all of PATH and compares it with pattern_fill(seed). */
void lab_assert_reads_pattern(struct lab *lab, const char *path, uint64_t size, unsigned seed);
/* The text of user.cvv.NAME, in a static buffer. */
const char *lab_xattr(struct lab *lab, const char *path, const char *name);

/* Waits until `holds` does, half a minute at most. */
void lab_wait(struct lab *lab, bool (*holds)(struct lab *lab));
void lab_wait_idle(struct lab *lab);
void lab_wait_scanned(struct lab *lab);
struct status lab_status(struct lab *lab);
uint64_t lab_source_bytes(struct lab *lab);
/* Whether the history of events holds `event`. */
bool lab_has_event(struct lab *lab, const char *event);

/* Bytes that a position and a seed give, never a zero. */
void pattern_fill(uint8_t *buffer, uint64_t offset, size_t size, unsigned seed);
void pattern_file(int dir, const char *name, uint64_t size, unsigned seed);
/* On any thread. */
bool pattern_is(int dir, const char *name, uint64_t size, unsigned seed);
/* Sets mtime and atime. */
void set_mtime(int dir, const char *name, int64_t seconds);

/* Everything under the target is what is under the source, and nothing else is there: names, types, content, links, times, modes. */
void lab_assert_mirrored(struct lab *lab, int target);
void lab_assert_all_mirrored(struct lab *lab);
/* Every regular file under a final name of the target has the source's content. Returns how many there are. */
int lab_assert_whole(struct lab *lab, int target);
void lab_shell(struct lab *lab, const char *command);

#endif
