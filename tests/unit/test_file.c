#include "core/marks.h"
#include "core/file.h"

#include "engine_fixture.h"

enum { MIB = 1 << 20 };

/* A live file of the source, whose parts are opened for writing on all targets. */
static struct file *live(struct engine *engine, const char *name, uint64_t size)
{
        struct file *file = NULL;
        uint64_t id;

        if (view_resolve(engine->view, name, &id) < 0)
                id = engine_record(engine, VIEW_ROOT, name, S_IFREG | 0644, size);
        assert_int_equal(files_get(engine->files, id, &file), 0);
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++)
                if (file->parts[slot].kind == PART_UNKNOWN)
                        file->parts[slot].kind = PART_PARTIAL;
        return file;
}

static bool set_partial(void *context, struct node_record *node)
{
        node->partial |= *(const uint64_t *)context;
        return true;
}

static void record_partial(struct engine *engine, struct file *file)
{
        uint64_t all = ENGINE_ALL;

        assert_int_equal(view_update(engine->view, file->id, set_partial, &all), 0);
}

static int claim(struct file *file, uint64_t chunk, uint64_t slots, bool demand, struct move **ret_move)
{
        MUTEX_SCOPE(&file->lock);
        return file_claim_locked(file, chunk, slots, demand, ret_move);
}

static uint64_t lacking(struct file *file, uint64_t chunk)
{
        MUTEX_SCOPE(&file->lock);
        return file_lacking_locked(file, chunk, ENGINE_ALL);
}

static struct hash128 hash_of(uint64_t chunk)
{
        return hash128_of(&chunk, sizeof(chunk));
}

static void read_done(struct move *move, bool intact)
{
        struct hash128 hash = hash_of(move->chunk);

        assert_null(file_move_read_done(move, intact, &hash));
}

/* Brings a chunk to `slots` as a mover and a sync do. */
static void bring(struct file *file, uint64_t chunk, uint64_t slots, bool synced)
{
        uint64_t generation = file->generation;
        struct move *move;

        assert_int_equal(claim(file, chunk, slots, false, &move), 0);
        read_done(move, true);
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++) {
                bool all_written, complete;

                if (!(slots >> slot & 1))
                        continue;
                assert_true(file_slot_done(move, slot, true, &all_written));
                if (synced)
                        assert_int_equal(marks_present(file, slot, chunk, generation, file->epoch, &complete), 0);
        }
        move_unref(move);
}

/* --- claims --- */

static void chunk_is_brought_by_one_move_at_a_time(void **state)
{
        struct file *file = live(*state, "a", 3 * MIB + 5);
        struct move *move, *other;
        bool all_written;

        assert_int_equal(file->chunk_count, 4);
        assert_int_equal(file_chunk_length(file, 3), 5);
        assert_int_equal(file_chunk_length(file, 4), 0);
        assert_int_equal(claim(file, 3, ENGINE_ALL, false, &move), 0);
        assert_int_equal(move->slots, ENGINE_ALL);
        assert_int_equal(move->length, 5);
        assert_int_equal(move->origin, MOVE_ORIGIN_SOURCE);
        assert_int_equal(lacking(file, 3), 0);
        assert_int_equal(claim(file, 3, ENGINE_ALL, true, &other), FILE_CLAIM_BUSY);
        assert_int_equal(file_next_lacking(file, 3, ENGINE_ALL), 4);
        assert_int_equal(file_next_lacking(file, 0, ENGINE_ALL), 0);
        read_done(move, true);
        assert_int_equal(claim(file, 3, ENGINE_ALL, false, &other), FILE_CLAIM_NOTHING); /* its jobs still will write */
        assert_true(file_slot_done(move, 0, true, &all_written));
        assert_false(all_written);
        assert_false(file_slot_done(move, 1, false, &all_written));
        assert_int_equal(lacking(file, 3), 2); /* failed there: it comes again */
        assert_int_equal(claim(file, 3, ENGINE_ALL, false, &other), 0);
        assert_int_equal(other->slots, 2);
        move_unref(move);
        read_done(other, true);
        assert_true(file_slot_done(other, 1, true, &all_written));
        move_unref(other);
        assert_false(file_is_claimed_locked(file, 0) || file_is_claimed_locked(file, 1));
        assert_int_equal(claim(file, 3, ENGINE_ALL, false, &other), FILE_CLAIM_NOTHING);
        assert_null(file->moves);
        file_unref(file);
}

static void reader_gets_a_move_without_aims(void **state)
{
        struct file *file = live(*state, "a", MIB);
        struct move *move;

        bring(file, 0, ENGINE_ALL, false);
        assert_int_equal(claim(file, 0, ENGINE_ALL, true, &move), 0);
        assert_int_equal(move->slots, 0);
        read_done(move, true);
        assert_null(file->moves); /* nobody needs it there */
        move_unref(move);
        file_unref(file);
}

static void chunk_that_was_not_read_whole_is_written_nowhere(void **state)
{
        struct file *file = live(*state, "a", 2 * MIB);
        struct move *move;
        bool all_written;

        assert_int_equal(claim(file, 1, ENGINE_ALL, false, &move), 0);
        read_done(move, false);
        assert_false(file_slot_done(move, 0, true, &all_written));
        assert_false(bitmap_test(&file->hashed, 1));
        atomic_fetch_or(&move->dropped, 2);
        assert_false(file_slot_done(move, 1, true, &all_written));
        move_unref(move);
        assert_int_equal(lacking(file, 1), ENGINE_ALL);
        file_unref(file);
}

static void dropped_slot_lacks_the_chunk_whatever_its_job_says(void **state)
{
        struct file *file = live(*state, "a", 2 * MIB);
        struct move *move;
        bool all_written;

        assert_int_equal(claim(file, 0, ENGINE_ALL, false, &move), 0);
        atomic_fetch_or(&move->dropped, 1);
        read_done(move, true);
        assert_false(file_slot_done(move, 0, true, &all_written));
        assert_true(file_slot_done(move, 1, true, &all_written));
        move_unref(move);
        assert_int_equal(lacking(file, 0), 1);
        file_unref(file);
}

static void blocked_and_finished_parts_lack_nothing(void **state)
{
        struct file *file = live(*state, "a", 2 * MIB);

        file->parts[0].kind = PART_BLOCKED;
        assert_int_equal(lacking(file, 0), 2);
        file->parts[1].kind = PART_FINISHED;
        assert_int_equal(lacking(file, 0), 0);
        assert_int_equal(file_next_lacking(file, 0, ENGINE_ALL), 2);
        file_unref(file);
}

static void last_chunk_says_that_all_is_written(void **state)
{
        struct file *file = live(*state, "a", 3 * MIB);
        struct move *move;
        bool all_written;

        bring(file, 2, 1, false);
        bring(file, 0, 1, false);
        file->parts[0].metadata_set = true;
        assert_int_equal(claim(file, 1, 1, false, &move), 0);
        read_done(move, true);
        assert_true(file_slot_done(move, 0, true, &all_written));
        assert_true(all_written);
        assert_false(file->parts[0].metadata_set); /* the write moved its times */
        move_unref(move);
        file_unref(file);
}

static void holder_is_one_that_has_it_and_serves_present_before_written(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 2 * MIB);
        int fd = openat(engine->source_dir, ".", O_RDONLY | O_CLOEXEC);

        record_partial(engine, file);
        bring(file, 0, 1, false);
        bring(file, 0, 2, true);
        mutex_lock(&file->lock);
        assert_int_equal(file_holder_locked(file, 0, 0), -1); /* nothing is open */
        file->parts[0].fd = dup(fd);
        file->parts[1].fd = fd;
        assert_int_equal(file_holder_locked(file, 0, 0), 1);
        assert_int_equal(file_holder_locked(file, 0, 2), 0);
        assert_int_equal(file_holder_locked(file, 0, 3), -1);
        assert_int_equal(file_holder_locked(file, 1, 0), -1);
        target_set_state(&engine->targets[1], TARGET_FULL, NULL); /* it still serves reads */
        assert_int_equal(file_holder_locked(file, 0, 0), 1);
        target_set_state(&engine->targets[1], TARGET_OFFLINE, NULL);
        assert_int_equal(file_holder_locked(file, 0, 0), 0);
        mutex_unlock(&file->lock);
        file_unref(file);
}

/* --- generations --- */

static bool new_generation(void *context, struct node_record *node)
{
        (void)context;
        node->generation++;
        node->complete = node->partial = 0;
        node->mtime_ns++;
        return true;
}

static void old_generation_counts_for_nothing(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 2 * MIB);
        uint64_t old = file->generation;
        struct move *move, *other;
        bool all_written, complete;

        record_partial(engine, file);
        bring(file, 0, ENGINE_ALL, true);
        assert_int_equal(claim(file, 1, ENGINE_ALL, false, &move), 0);
        assert_int_equal(view_update(engine->view, file->id, new_generation, NULL), 0);
        file_reload(file);
        file->parts[0].kind = file->parts[1].kind = PART_PARTIAL;
        assert_int_equal(lacking(file, 0), ENGINE_ALL);
        assert_int_equal(lacking(file, 1), ENGINE_ALL); /* the old move is no claim */
        assert_int_equal(claim(file, 1, ENGINE_ALL, false, &other), 0);
        read_done(move, true);
        assert_false(bitmap_test(&file->hashed, 1));
        assert_false(file_slot_done(move, 0, true, &all_written));
        assert_false(file_slot_done(move, 1, true, &all_written));
        move_unref(move);
        assert_true(file_is_claimed_locked(file, 0));
        assert_int_equal(marks_present(file, 0, 1, old, file->epoch, &complete), 0);
        assert_int_equal(marks_lacking(file, 0, 1, old), 0);
        assert_false(complete);
        engine_assert_totals(engine);
        read_done(other, true);
        assert_true(file_slot_done(other, 0, true, &all_written));
        assert_true(file_slot_done(other, 1, true, &all_written));
        move_unref(other);
        file_unref(file);
}

static void marks_that_meet_a_newer_record_are_void(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 2 * MIB);
        bool complete;

        bring(file, 0, 1, false);
        assert_int_equal(view_update(engine->view, file->id, new_generation, NULL), 0); /* not reloaded yet */
        assert_int_equal(marks_present(file, 0, 0, file->generation, file->epoch, &complete), 0);
        assert_false(complete);
        assert_int_equal(engine_progress(engine).targets[0].present_bytes, 0);
        engine_assert_totals(engine);
        file_unref(file);
}

static void reload_of_the_same_generation_keeps_the_claims_of_its_moves(void **state)
{
        struct file *file = live(*state, "a", 2 * MIB);
        struct move *move;
        bool all_written;

        assert_int_equal(claim(file, 1, ENGINE_ALL, false, &move), 0);
        file_reload(file);
        assert_true(file_is_claimed_locked(file, 0));
        assert_int_equal(lacking(file, 1), 0);
        read_done(move, true);
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++) {
                assert_false(file_slot_done(move, slot, true, &all_written)); /* into a file that is not the part any more */
                assert_false(file_is_claimed_locked(file, slot));
        }
        move_unref(move);
        file_unref(file);
}

static void reload_without_a_record_voids_all(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 2 * MIB);
        struct record_key key = record_key_node(file->id);
        uint8_t buffer[RECORD_VALUE_BYTES];
        uint64_t generation = file->generation;
        bool complete;
        size_t size;

        assert_int_equal(statedb_get(engine->context.db, key.bytes, key.size, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(statedb_put(engine->context.db, key.bytes, key.size, "damage", 6), 0);
        file_reload(file);
        assert_int_equal(statedb_put(engine->context.db, key.bytes, key.size, buffer, size), 0);
        assert_int_equal(marks_present(file, 0, TARGET_WHOLE, generation, file->epoch, &complete), 0);
        assert_false(complete);
        assert_int_equal(engine_node(engine, file->id).complete, 0);
        file_unref(file);
}

/* --- marks --- */

static void present_chunks_complete_a_slot_and_are_counted(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 2 * MIB + 7);
        bool complete;

        record_partial(engine, file);
        bring(file, 2, ENGINE_ALL, true);
        engine_assert_totals(engine);
        assert_int_equal(engine_progress(engine).targets[0].present_bytes, 7);
        bring(file, 0, 1, true);
        assert_int_equal(marks_present(file, 0, 1, 1, file->epoch, &complete), 0); /* never written: nothing */
        assert_false(complete);
        bring(file, 1, 1, false);
        assert_int_equal(marks_present(file, 0, 1, 1, file->epoch, &complete), 0);
        assert_true(complete);
        assert_int_equal(marks_present(file, 0, 1, 1, file->epoch, &complete), 0); /* twice counts once */
        assert_true(complete);
        assert_int_equal(engine_node(engine, file->id).complete, 1);
        assert_int_equal(engine_progress(engine).targets[0].owed_bytes, 0);
        assert_int_equal(engine_progress(engine).targets[1].owed_bytes, 2 * MIB);
        engine_assert_totals(engine);
        file_unref(file);
}

static void lost_chunk_is_lacking_also_in_the_records(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 2 * MIB);

        record_partial(engine, file);
        bring(file, 0, ENGINE_ALL, true);
        bring(file, 1, ENGINE_ALL, true);
        assert_int_equal(engine_node(engine, file->id).complete, ENGINE_ALL);
        assert_int_equal(marks_lacking(file, 1, 0, 1), 0);
        assert_int_equal(engine_node(engine, file->id).complete, 1);
        assert_int_equal(lacking(file, 0), 2);
        assert_int_equal(engine_progress(engine).targets[1].owed_bytes, MIB);
        engine_assert_totals(engine);
        assert_int_equal(marks_lacking(file, 1, 0, 1), 0); /* again */
        engine_assert_totals(engine);
        file_unref(file);
        engine_remount(engine);
        file = live(engine, "a", 0);
        assert_int_equal(lacking(file, 0), 2);
        assert_int_equal(lacking(file, 1), 0);
        file_unref(file);
}

static void file_of_one_chunk_keeps_its_hash_in_its_record(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 100);
        struct hash128 hash = hash_of(0);

        record_partial(engine, file);
        bring(file, 0, 1, true);
        assert_int_equal(engine_node(engine, file->id).complete, 1);
        engine_assert_totals(engine);
        assert_int_equal(marks_lacking(file, 0, 0, 1), 0);
        engine_assert_totals(engine);
        assert_int_equal(engine_node(engine, file->id).complete, 0);
        bring(file, 0, 1, true);
        file_unref(file);
        engine_remount(engine);
        file = live(engine, "a", 0);
        assert_true(bitmap_test(&file->hashed, 0));
        assert_true(hash128_equal(&file->hashes[0], &hash));
        assert_int_equal(lacking(file, 0), 2);
        file_unref(file);
}

static void empty_file_is_complete_as_a_whole(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 0);
        bool complete;

        assert_int_equal(file->chunk_count, 0);
        assert_int_equal(file_next_lacking(file, 0, ENGINE_ALL), 0);
        assert_int_equal(marks_present(file, 1, TARGET_WHOLE, 1, file->epoch, &complete), 0);
        assert_true(complete);
        assert_int_equal(engine_node(engine, file->id).complete, 2);
        file_unref(file);
}

static void groups_of_a_big_file_come_back_whole(void **state)
{
        struct engine *engine = *state;
        static const uint64_t chunks[] = { 0, 1, 63, 64, RECORD_GROUP_CHUNKS - 1, RECORD_GROUP_CHUNKS, 200,
                                           2 * RECORD_GROUP_CHUNKS + 3 };
        enum { COUNT = sizeof(chunks) / sizeof(chunks[0]) };
        struct file *file = live(engine, "a", (2 * RECORD_GROUP_CHUNKS + 3) * (uint64_t)MIB + 9);
        uint64_t written = 5;

        record_partial(engine, file);
        for (size_t i = 0; i < COUNT; i++)
                bring(file, chunks[i], i % 2 ? ENGINE_ALL : 2, true);
        bring(file, written, ENGINE_ALL, false);
        engine_assert_totals(engine);
        file_unref(file);
        engine_remount(engine);
        file = live(engine, "a", 0);
        for (size_t i = 0; i < COUNT; i++) {
                struct hash128 hash = hash_of(chunks[i]);

                assert_int_equal(lacking(file, chunks[i]), i % 2 ? 0 : 1);
                assert_true(bitmap_test(&file->hashed, chunks[i]));
                assert_true(hash128_equal(&file->hashes[chunks[i]], &hash));
        }
        assert_int_equal(lacking(file, written), ENGINE_ALL); /* it was never synced */
        assert_int_equal(bitmap_count(&file->parts[1].present), COUNT);
        assert_int_equal(view_count(engine->view, VIEW_ROOT, "a"), 0);
        engine_assert_totals(engine);
        file_unref(file);
}

static void forgotten_slot_inherits_nothing(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", (RECORD_GROUP_CHUNKS + 2) * (uint64_t)MIB);

        record_partial(engine, file);
        bring(file, 0, ENGINE_ALL, true);
        bring(file, RECORD_GROUP_CHUNKS, ENGINE_ALL, true);
        assert_int_equal(marks_forget_slot(file, 0), 0);
        engine_assert_totals(engine);
        assert_int_equal(engine_progress(engine).targets[0].present_bytes, 0);
        assert_int_equal(engine_progress(engine).targets[1].present_bytes, 2 * MIB);
        record_partial(engine, file); /* a new partial file */
        engine_assert_totals(engine);
        file_unref(file);
        engine_remount(engine);
        file = live(engine, "a", 0);
        assert_int_equal(bitmap_count(&file->parts[0].present), 0);
        assert_int_equal(bitmap_count(&file->parts[1].present), 2);
        file_unref(file);
}

/* --- the digest --- */

static void feed(struct file *file, uint64_t chunk)
{
        uint64_t length = file_chunk_length(file, chunk);
        char *data = malloc(length);

        assert_non_null(data);
        memset(data, 'a' + (int)chunk, length);
        file_feed_digest(file, file->generation, chunk * ENGINE_CHUNK, data, length);
        free(data);
}

static struct digest_values expected_digest(struct engine *engine, uint64_t chunks)
{
        struct digest_values values;
        struct digest *digest;
        char *data = malloc(MIB);

        assert_non_null(data);
        assert_int_equal(digest_new(&engine->options.hash, &digest), 0);
        for (uint64_t chunk = 0; chunk < chunks; chunk++) {
                memset(data, 'a' + (int)chunk, MIB);
                digest_update(digest, data, MIB);
        }
        digest_final(digest, &values);
        digest_free(digest);
        free(data);
        return values;
}

static void assert_digest(struct engine *engine, uint64_t id, uint64_t chunks)
{
        struct digest_values expected = expected_digest(engine, chunks);
        struct node_record node = engine_node(engine, id);

        assert_int_not_equal(node.digests.mask, 0);
        assert_int_equal(node.digests.mask, expected.mask);
        assert_memory_equal(&node.digests, &expected, sizeof(expected));
}

static void digest_of_bytes_in_order_is_recorded_with_the_last_mark(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 3 * MIB);

        record_partial(engine, file);
        for (uint64_t chunk = 0; chunk < 3; chunk++) {
                feed(file, chunk);
                feed(file, chunk); /* a second reading changes nothing */
                bring(file, chunk, 1, true);
        }
        assert_digest(engine, file->id, 3);
        file_unref(file);
}

static void digest_goes_on_after_a_reload(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 3 * MIB);
        uint64_t id = file->id;

        record_partial(engine, file);
        feed(file, 0);
        feed(file, 1);
        bring(file, 0, 1, true);
        file_unref(file);
        engine_remount(engine);
        file = live(engine, "a", 0);
        feed(file, 1); /* chunk 1 was not marked: it is read again */
        bring(file, 1, 1, true);
        feed(file, 2);
        bring(file, 2, 1, true);
        assert_digest(engine, id, 3);
        file_unref(file);
}

static void digest_of_bytes_out_of_order_is_not_made_up(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 3 * MIB);
        static const uint64_t order[] = { 0, 2, 1 };

        record_partial(engine, file);
        for (int i = 0; i < 3; i++) {
                feed(file, order[i]);
                bring(file, order[i], ENGINE_ALL, true);
        }
        assert_int_equal(engine_node(engine, file->id).complete, ENGINE_ALL);
        assert_int_equal(engine_node(engine, file->id).digests.mask, 0);
        file_feed_digest(file, file->generation + 1, 2ull * MIB, "x", 1); /* another generation's bytes */
        feed(file, 2);                                                   /* a later reading */
        file_unref(file);
}

static void hole_is_digested_as_zeros(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", MIB);
        struct digest_values expected;
        struct node_record node;
        struct digest *digest;

        record_partial(engine, file);
        file_feed_digest(file, 1, 0, NULL, MIB);
        bring(file, 0, 1, true);
        assert_int_equal(digest_new(&engine->options.hash, &digest), 0);
        digest_skip_zeros(digest, MIB);
        digest_final(digest, &expected);
        digest_free(digest);
        node = engine_node(engine, file->id);
        assert_memory_equal(&node.digests, &expected, sizeof(expected));
        file_unref(file);
}

/* --- the table, threads --- */

static bool count_file(void *context, struct file *file)
{
        (void)file;
        return --*(int *)context > 0;
}

static void file_is_live_while_it_is_used(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", MIB), *same;
        struct move *move;
        uint64_t id = file->id;
        int count = 10;

        assert_int_equal(files_get(engine->files, id, &same), 0);
        assert_ptr_equal(same, file);
        file_unref(same);
        files_each(engine->files, count_file, &count);
        assert_int_equal(count, 9);
        assert_int_equal(claim(file, 0, 1, false, &move), 0);
        file_unref(file);
        same = files_peek(engine->files, id); /* the move holds it */
        assert_ptr_equal(same, file);
        file_unref(same);
        read_done(move, false);
        (void)file_slot_done(move, 0, false, &(bool){ false });
        move_unref(move);
        assert_null(files_peek(engine->files, id));
        assert_int_equal(files_get(engine->files, 999, &same), -ENOENT);
}

static void *bring_all(void *argument)
{
        struct file *file = argument;

        for (uint64_t chunk = 0; chunk < file->chunk_count; chunk++) {
                uint64_t slots;
                struct move *move;

                if (claim(file, chunk, ENGINE_ALL, false, &move) != 0)
                        continue;
                slots = move->slots;
                read_done(move, true);
                for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++) {
                        bool all_written, complete;

                        if (slots >> slot & 1 && file_slot_done(move, slot, true, &all_written))
                                (void)marks_present(file, slot, chunk, 1, file->epoch, &complete);
                }
                move_unref(move);
        }
        return NULL;
}

static void movers_side_by_side_bring_each_chunk_once(void **state)
{
        struct engine *engine = *state;
        struct file *file = live(engine, "a", 200 * (uint64_t)MIB);
        pthread_t threads[3];

        record_partial(engine, file);
        for (int i = 0; i < 3; i++)
                assert_int_equal(thread_start(&threads[i], "mover", bring_all, file), 0);
        for (int i = 0; i < 3; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(engine_node(engine, file->id).complete, ENGINE_ALL);
        assert_int_equal(engine_progress(engine).owed_bytes, 0);
        engine_assert_totals(engine);
        assert_null(file->moves);
        file_unref(file);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ENGINE_CASE(chunk_is_brought_by_one_move_at_a_time),
                ENGINE_CASE(reader_gets_a_move_without_aims),
                ENGINE_CASE(chunk_that_was_not_read_whole_is_written_nowhere),
                ENGINE_CASE(dropped_slot_lacks_the_chunk_whatever_its_job_says),
                ENGINE_CASE(blocked_and_finished_parts_lack_nothing),
                ENGINE_CASE(last_chunk_says_that_all_is_written),
                ENGINE_CASE(holder_is_one_that_has_it_and_serves_present_before_written),
                ENGINE_CASE(old_generation_counts_for_nothing),
                ENGINE_CASE(marks_that_meet_a_newer_record_are_void),
                ENGINE_CASE(reload_of_the_same_generation_keeps_the_claims_of_its_moves),
                ENGINE_CASE(reload_without_a_record_voids_all),
                ENGINE_CASE(present_chunks_complete_a_slot_and_are_counted),
                ENGINE_CASE(lost_chunk_is_lacking_also_in_the_records),
                ENGINE_CASE(file_of_one_chunk_keeps_its_hash_in_its_record),
                ENGINE_CASE(empty_file_is_complete_as_a_whole),
                ENGINE_CASE(groups_of_a_big_file_come_back_whole),
                ENGINE_CASE(forgotten_slot_inherits_nothing),
                ENGINE_CASE(digest_of_bytes_in_order_is_recorded_with_the_last_mark),
                ENGINE_CASE(digest_goes_on_after_a_reload),
                ENGINE_CASE(digest_of_bytes_out_of_order_is_not_made_up),
                ENGINE_CASE(hole_is_digested_as_zeros),
                ENGINE_CASE(file_is_live_while_it_is_used),
                ENGINE_CASE(movers_side_by_side_bring_each_chunk_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
