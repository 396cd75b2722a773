#include "core/checkpoint.h"
#include "core/marks.h"
#include "core/publish.h"
#include "core/wholemove.h"

#include "engine_fixture.h"

static atomic_uint work_found;

static void on_work_found(void *context)
{
        (void)context;
        atomic_fetch_add(&work_found, 1);
}

static void on_published(void *context, uint64_t id)
{
        (void)context;
        (void)id;
}

static bool is_idle(void *context)
{
        (void)context;
        return true;
}

static void put_link(struct engine *engine, const char *text, int64_t seconds)
{
        struct timespec time = { .tv_sec = 1600000000 + seconds };

        (void)unlinkat(engine->source_dir, "link", 0); /* absent at first */
        assert_int_equal(symlinkat(text, engine->source_dir, "link"), 0);
        assert_int_equal(utimensat(engine->source_dir, "link", (struct timespec[2]){ time, time }, AT_SYMLINK_NOFOLLOW), 0);
}

/* The live file of a link in the source. */
static struct file *live_link(struct engine *engine, const char *text)
{
        struct file *file = NULL;

        atomic_store(&work_found, 0);
        engine->context.work_found = on_work_found;
        engine->context.published = on_published;
        put_link(engine, text, 0);
        assert_int_equal(files_get(engine->files, engine_lookup(engine, VIEW_ROOT, "link"), &file), 0);
        return file;
}

static void change_link(struct engine *engine, const char *text)
{
        put_link(engine, text, 100);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
}

static void assert_links_to(struct engine *engine, const char *text)
{
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++) {
                char got[64] = "";

                assert_true(readlinkat(engine->target_dirs[slot], "link", got, sizeof(got) - 1) > 0);
                assert_string_equal(got, text);
        }
}

static void make(struct engine *engine, struct file *file)
{
        assert_int_equal(wholemove_run(file, ENGINE_ALL), 0);
        engine_wait_drained(engine);
}

/* What waits for a sync, as its round takes it. */
static struct unsynced_list take_list(struct target *target)
{
        struct unsynced_list list;

        MUTEX_SCOPE(&target->lock);
        list = target->unsynced;
        target->unsynced = (struct unsynced_list){ 0 };
        return list;
}

/* The round of one target behind its sync: marks, then `between`, then names. Returns how many objects had been passed by. */
static unsigned run_round(struct engine *engine, struct target *target, void (*between)(struct engine *engine))
{
        struct unsynced_list list = take_list(target);
        struct publish_batch *batch;
        bool complete[8];
        unsigned passed_by = 0;

        assert_true(list.count <= 8);
        assert_int_equal(publish_begin(engine->view, target, &batch), 0);
        for (size_t i = 0; i < list.count; i++)
                assert_int_equal(marks_present(list.items[i].file, target->slot, list.items[i].chunk, list.items[i].generation,
                                               list.items[i].epoch, &complete[i]), 0);
        if (between)
                between(engine);
        for (size_t i = 0; i < list.count; i++)
                if (complete[i])
                        publish_add(batch, list.items[i].file);
        publish_end(batch);
        for (size_t i = 0; i < list.count; i++) {
                passed_by += wholemove_release(list.items[i].file, target->slot, true, true);
                file_unref(list.items[i].file);
        }
        free(list.items);
        return passed_by;
}

static unsigned run_rounds(struct engine *engine)
{
        unsigned passed_by = 0;

        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++)
                passed_by += run_round(engine, &engine->targets[slot], NULL);
        return passed_by;
}

static void look_at_the_targets(struct engine *engine)
{
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
}

static void changed_link_that_a_scan_takes_back_before_it_has_its_name_comes_again(void **state)
{
        struct engine *engine = *state;
        struct file *file = live_link(engine, "one");
        struct node_record node;

        make(engine, file);
        assert_int_equal(run_rounds(engine), 0);
        assert_links_to(engine, "one");
        change_link(engine, "another");
        make(engine, file);
        assert_int_equal(run_round(engine, &engine->targets[0], look_at_the_targets), 0);
        assert_int_equal(engine_node(engine, file->id).complete & 1, 0); /* its name still stands for the version before */
        assert_int_equal(work_found, 1);
        assert_true(engine_node(engine, file->id).flags & VIEW_NODE_QUEUED);
        assert_int_equal(run_round(engine, &engine->targets[1], NULL), 0);
        make(engine, file);
        assert_int_equal(run_rounds(engine), 0);
        assert_links_to(engine, "another");
        node = engine_node(engine, file->id);
        assert_int_equal(node.complete, ENGINE_ALL);
        assert_int_equal(node.partial, 0);
        assert_int_equal(work_found, 1);
        file_unref(file);
}

static void object_that_waits_for_its_sync_is_not_made_twice_and_who_went_by_is_told(void **state)
{
        struct engine *engine = *state;
        struct file *file = live_link(engine, "one");

        make(engine, file);
        make(engine, file);
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++)
                assert_int_equal(engine->targets[slot].unsynced.count, 1);
        assert_int_equal(run_rounds(engine), ENGINE_TARGETS);
        assert_false(wholemove_release(file, 0, true, true)); /* told once */
        assert_links_to(engine, "one");
        file_unref(file);
}

static void new_version_waits_for_the_end_of_what_is_under_way_of_the_one_before(void **state)
{
        struct engine *engine = *state;
        struct file *file = live_link(engine, "one");

        make(engine, file);
        change_link(engine, "another");
        make(engine, file);
        assert_int_equal(run_rounds(engine), ENGINE_TARGETS); /* nothing of it was new */
        make(engine, file);
        assert_int_equal(run_rounds(engine), 0);
        assert_links_to(engine, "another");
        file_unref(file);
}

static void stop_checkpoints(struct target *target)
{
        mutex_lock(&target->lock);
        target->stopping = true;
        condition_broadcast(&target->work);
        condition_broadcast(&target->checkpoint);
        mutex_unlock(&target->lock);
        assert_int_equal(pthread_join(target->checkpointer, NULL), 0);
}

static void checkpoint_tells_who_went_by_that_it_is_over(void **state)
{
        struct engine *engine = *state;
        struct file *file = live_link(engine, "one");
        struct verify *verify;

        assert_int_equal(verify_new(engine->files, &verify), 0); /* not started: in this mode nothing is handed to it */
        make(engine, file);
        make(engine, file);
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++) {
                struct target *target = &engine->targets[slot];

                assert_int_equal(checkpoint_start(engine->view, verify, target, is_idle, NULL), 0);
                assert_int_equal(checkpoint_wait(target, checkpoint_request(target), clock_now_ns() + ENGINE_WAIT_NS), 0);
                assert_int_equal(work_found, slot + 1);
                stop_checkpoints(target);
        }
        assert_links_to(engine, "one");
        verify_free(verify);
        file_unref(file);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ENGINE_CASE(changed_link_that_a_scan_takes_back_before_it_has_its_name_comes_again),
                ENGINE_CASE(object_that_waits_for_its_sync_is_not_made_twice_and_who_went_by_is_told),
                ENGINE_CASE(new_version_waits_for_the_end_of_what_is_under_way_of_the_one_before),
                ENGINE_CASE(checkpoint_tells_who_went_by_that_it_is_over),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
