/* The engine without FUSE and without its movers: a context with a real state, a source and two targets in a directory of
 * their own, for the tests of the modules between devio and file.
 *
 * Each test gets an empty one. Targets run their writer and their device threads; nothing is brought unasked.
 */
#ifndef CVV_TESTS_ENGINE_FIXTURE_H
#define CVV_TESTS_ENGINE_FIXTURE_H

#include "core/context.h"
#include "core/file.h"
#include "core/reconcile.h"
#include "core/view.h"

#include "sandbox.h"

enum { ENGINE_TARGETS = 2, ENGINE_ALL = (1 << ENGINE_TARGETS) - 1 };
#define ENGINE_CHUNK ((uint64_t)1 << 20)
#define ENGINE_WAIT_NS UINT64_C(20000000000)
#define ENGINE_TIME_NS INT64_C(1600000000000000000) /* what files are dated, unless a test says otherwise */

struct engine {
        struct fixture *sandbox;
        int source_dir, target_dirs[ENGINE_TARGETS]; /* to put files into */
        struct options options;
        struct root source;
        struct target targets[ENGINE_TARGETS];
        struct context context;
        struct view *view;
        struct reconcile *reconcile;
        struct files *files;
        atomic_uint content_changes;
        atomic_uint_least64_t changed_id;
};

int engine_set_up(void **state);
int engine_tear_down(void **state);
#define ENGINE_CASE(name) cmocka_unit_test_setup_teardown(name, engine_set_up, engine_tear_down)

/* Unmounts and mounts again: all that lives in memory is gone, the epoch is the next one. */
void engine_remount(struct engine *engine);
/* The patterns of --exclude from the next mount on; NULL: none. */
void engine_exclude(struct engine *engine, const char *pattern);

/* A file of `size` bytes, all `fill`, and ENGINE_TIME_NS plus `age_ns` as its mtime. */
void engine_put_file(int dir, const char *name, uint64_t size, int fill, int64_t age_ns);
/* Records a file of the source that no disk has, and counts it. Returns its id. */
uint64_t engine_record(struct engine *engine, uint64_t parent, const char *name, mode_t mode, uint64_t size);

struct node_record engine_node(struct engine *engine, uint64_t id);
struct name_record engine_name(struct engine *engine, uint64_t parent, const char *name);
struct progress_snapshot engine_progress(struct engine *engine);
/* The id of a name, looked up now. */
uint64_t engine_lookup(struct engine *engine, uint64_t parent, const char *name);
/* Puts the masks of a node (complete, published under `name`), as publishing does. */
void engine_publish(struct engine *engine, uint64_t parent, const char *name, uint64_t slots);
/* Waits until the queues of the targets are empty and idle. */
void engine_wait_drained(struct engine *engine);

/* What the totals would be if they were counted afresh from the records; fails where they differ from the running ones. */
void engine_assert_totals(struct engine *engine);

#endif
