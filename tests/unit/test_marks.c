/* What was read back, and what happens to it meanwhile. */
#include "core/marks.h"

#include "core/judge.h"
#include "core/readback.h"

#include "engine_fixture.h"

enum { MIB = 1 << 20 };

/* A file that both targets have whole. */
static struct file *whole(struct engine *engine, uint64_t size)
{
        uint64_t id = engine_record(engine, VIEW_ROOT, "a", S_IFREG | 0644, size);
        struct file *file = NULL;

        engine_publish(engine, VIEW_ROOT, "a", ENGINE_ALL);
        assert_int_equal(files_get(engine->files, id, &file), 0);
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++)
                file->parts[slot].kind = PART_PARTIAL;
        return file;
}

static void bring_again(struct engine *engine, struct file *file)
{
        struct hash128 hash = hash128_of("x", 1);
        struct move *move;
        bool all_written, complete;

        (void)engine;
        mutex_lock(&file->lock);
        assert_int_equal(file_claim_locked(file, 0, ENGINE_ALL, false, &move), 0);
        mutex_unlock(&file->lock);
        assert_null(file_move_read_done(move, true, &hash));
        assert_true(file_slot_done(move, 1, true, &all_written));
        assert_int_equal(marks_present(file, 1, 0, file->generation, file->epoch, &complete), 0);
        assert_true(complete);
        move_unref(move);
}

static void what_was_read_is_recorded_as_verified(void **state)
{
        struct engine *engine = *state;
        struct file *file = whole(engine, 2 * MIB);
        uint64_t serial, counted = 0;

        assert_int_equal(marks_reading(file, 1, file->generation, &serial), 0);
        assert_int_equal(marks_verified(file, 1, file->generation, serial, READBACK_DIRECT, &counted), 0);
        assert_int_equal(engine_node(engine, file->id).verified, 2);
        assert_int_equal(engine_progress(engine).targets[1].verified_bytes, 2 * MIB);
        engine_assert_totals(engine);
        file_unref(file);
}

/* All of it is there before and after: that says nothing of the bytes that came in between. */
static void chunk_that_came_again_while_the_copy_was_read_is_not_verified(void **state)
{
        struct engine *engine = *state;
        struct file *file = whole(engine, 2 * MIB);
        uint64_t serial, counted = 2 * MIB;

        assert_int_equal(marks_reading(file, 1, file->generation, &serial), 0);
        progress_target_add(&engine->context.progress, 1, 0, 2 * MIB, 0); /* as it was read */
        assert_int_equal(marks_lacking(file, 1, 0, file->generation), 0);
        assert_int_equal(engine_node(engine, file->id).complete, 1);
        bring_again(engine, file);
        assert_int_equal(engine_node(engine, file->id).complete, ENGINE_ALL);
        assert_int_equal(marks_verified(file, 1, file->generation, serial, READBACK_DIRECT, &counted), 0);
        assert_int_equal(engine_node(engine, file->id).verified, 0);
        assert_int_equal(counted, 0);
        engine_assert_totals(engine);
        file_unref(file);
}

static void copy_that_was_forgotten_or_asked_for_while_it_was_read_is_not_verified(void **state)
{
        struct engine *engine = *state;
        struct file *file = whole(engine, MIB);
        uint64_t serial, counted = 0;

        assert_int_equal(marks_reading(file, 0, file->generation, &serial), 0);
        marks_doubt(engine->files, file->id);
        assert_int_equal(marks_verified(file, 0, file->generation, serial, READBACK_DIRECT, &counted), 0);
        assert_int_equal(engine_node(engine, file->id).verified, 0);
        assert_int_equal(marks_reading(file, 0, file->generation, &serial), 0);
        marks_doubt(engine->files, VIEW_ROOT);
        assert_int_equal(marks_verified(file, 0, file->generation, serial, READBACK_DIRECT, &counted), 0);
        assert_int_equal(engine_node(engine, file->id).verified, 0);
        assert_int_equal(marks_forget_slot(file, 0), 0);
        assert_int_equal(marks_reading(file, 0, file->generation, &serial), -ESTALE);
        assert_int_equal(marks_reading(file, 1, file->generation + 1, &serial), -ESTALE);
        engine_assert_totals(engine);
        file_unref(file);
}

/* As on_drifted() does it. */
static bool change_version(void *context, struct node_record *node)
{
        (void)context;
        judge_begin_version(node);
        node->generation++;
        node->complete = node->verified = 0;
        node->size = 3 * MIB;
        node->mtime_ns += 5000000000;
        return true;
}

static enum verdict judge(struct engine *engine, uint64_t id, uint64_t size, int64_t mtime_ns)
{
        struct statx stat = { .stx_mode = S_IFREG | 0644, .stx_size = size,
                              .stx_mtime = { .tv_sec = mtime_ns / 1000000000, .tv_nsec = (unsigned)(mtime_ns % 1000000000) } };
        struct node_record node = engine_node(engine, id);
        struct name_record name = engine_name(engine, VIEW_ROOT, "a");

        node.complete |= 2; /* the new version is whole, and is to get its name */
        return judge_target(&node, &name, true, 1, &stat, EXISTING_VERIFY, (struct judge_clock){ .granularity_ns = 1 });
}

static void condemned_copy_may_be_replaced_by_this_version_and_by_the_next(void **state)
{
        struct engine *engine = *state;
        struct file *file = whole(engine, 2 * MIB);
        uint64_t id = file->id;
        struct node_record before = engine_node(engine, id);
        struct name_record name;

        file->parts[1].kind = PART_FINISHED;
        assert_int_equal(marks_condemn(file, 1, file->generation), 0);
        name = engine_name(engine, VIEW_ROOT, "a");
        assert_int_equal(engine_node(engine, id).complete, 1);
        assert_int_equal(name.published, ENGINE_ALL);
        assert_int_equal(judge(engine, id, before.size, before.mtime_ns), VERDICT_AS_RECORDED);
        assert_int_equal(view_update(engine->view, id, change_version, NULL), 0);
        assert_int_equal(judge(engine, id, before.size, before.mtime_ns), VERDICT_REPLACE);
        assert_int_equal(judge(engine, id, before.size, before.mtime_ns + 1), VERDICT_CONFLICT); /* somebody's own */
        engine_assert_totals(engine);
        file_unref(file);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ENGINE_CASE(what_was_read_is_recorded_as_verified),
                ENGINE_CASE(chunk_that_came_again_while_the_copy_was_read_is_not_verified),
                ENGINE_CASE(copy_that_was_forgotten_or_asked_for_while_it_was_read_is_not_verified),
                ENGINE_CASE(condemned_copy_may_be_replaced_by_this_version_and_by_the_next),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
