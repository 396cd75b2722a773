#include "core/listing.h"

#include "engine_fixture.h"


enum { MANY = 2 * LISTING_BATCH + 3 };

static struct listing_entry entry_of(const struct listing *listing, const char *name)
{
        for (size_t i = 0; i < listing->count; i++)
                if (strcmp(listing->entries[i].name, name) == 0)
                        return listing->entries[i];
        fail_msg("%s is not shown", name);
        return (struct listing_entry){ 0 };
}

static void make_many(int dir)
{
        char name[32];

        for (int i = 0; i < MANY; i++) {
                (void)snprintf(name, sizeof(name), "file-%04d", i);
                assert_int_equal(mknodat(dir, name, S_IFREG | 0644, 0), 0);
        }
}

/* Marks what a batch shows; each may be shown once. */
static void mark(const struct listing *batch, bool seen[static MANY])
{
        for (size_t i = 0; i < batch->count; i++) {
                int number = -1;

                assert_int_equal(sscanf(batch->entries[i].name, "file-%d", &number), 1);
                assert_int_equal(batch->entries[i].error, 0);
                assert_true(S_ISREG(batch->entries[i].stat.stx_mode));
                assert_false(seen[number]);
                seen[number] = true;
        }
}

static void batches_show_each_name_of_a_big_directory_once(void **state)
{
        struct engine *engine = *state;
        bool seen[MANY] = { false };
        int64_t cookie = 0;
        bool end = false;
        int batches = 0;

        make_many(engine->source_dir);
        while (!end) {
                cleanup(listing_deinit) struct listing batch = { 0 };

                assert_int_equal(listing_read(engine->source_dir, cookie, &batch), 0);
                assert_true(batch.count <= LISTING_BATCH);
                mark(&batch, seen);
                cookie = batch.cookie;
                end = batch.end;
                batches++;
        }
        assert_int_equal(batches, 3);
        for (int i = 0; i < MANY; i++)
                assert_true(seen[i]);
}

static void cookie_holds_over_opens_of_the_directory(void **state)
{
        struct engine *engine = *state;
        bool seen[MANY] = { false };
        int64_t cookie = 0;
        bool end = false;

        make_many(engine->source_dir);
        while (!end) { /* each call opens it anew, on another thread */
                cleanup(listing_deinit) struct listing batch = { 0 };

                assert_int_equal(listing_call_read(&engine->source, "", cookie, &batch), 0);
                mark(&batch, seen);
                cookie = batch.cookie;
                end = batch.end;
        }
        for (int i = 0; i < MANY; i++)
                assert_true(seen[i]);
}

static void empty_directory_ends_at_once(void **state)
{
        struct engine *engine = *state;
        struct listing batch = { 0 };

        assert_int_equal(listing_read(engine->source_dir, 0, &batch), 0);
        assert_int_equal(batch.count, 0);
        assert_true(batch.end);
        listing_deinit(&batch);
        listing_deinit(&batch); /* once more is no harm */
}

static void every_type_is_shown_as_itself_and_no_link_is_followed(void **state)
{
        struct engine *engine = *state;
        cleanup(listing_deinit) struct listing batch = { 0 };

        make_file(engine->source_dir, "file", "abc");
        assert_int_equal(mkdirat(engine->source_dir, "dir", 0755), 0);
        assert_int_equal(mkfifoat(engine->source_dir, "fifo", 0644), 0);
        assert_int_equal(symlinkat("dir", engine->source_dir, "link"), 0);
        assert_int_equal(symlinkat("/nowhere", engine->source_dir, "dangling"), 0);
        make_file(engine->source_dir, "\xff\x01 \n", "any bytes");
        assert_int_equal(listing_read(engine->source_dir, 0, &batch), 0);
        assert_int_equal(batch.count, 6);
        assert_int_equal(entry_of(&batch, "file").stat.stx_size, 3);
        assert_true(S_ISDIR(entry_of(&batch, "dir").stat.stx_mode));
        assert_true(S_ISFIFO(entry_of(&batch, "fifo").stat.stx_mode));
        assert_true(S_ISLNK(entry_of(&batch, "link").stat.stx_mode));
        assert_true(S_ISLNK(entry_of(&batch, "dangling").stat.stx_mode));
        assert_int_equal(entry_of(&batch, "\xff\x01 \n").stat.stx_size, 9);
}

static void looking_at_names_answers_for_each_in_order(void **state)
{
        struct engine *engine = *state;
        cleanup(listing_deinit) struct listing there = { 0 };
        char two[] = "two", absent[] = "absent", one[] = "one", *names[] = { two, absent, one };

        assert_int_equal(mkdirat(engine->source_dir, "dir", 0755), 0);
        make_file(engine->source_dir, "dir/one", "1");
        make_file(engine->source_dir, "dir/two", "22");
        assert_int_equal(listing_call_stat(&engine->source, "dir", names, 3, &there), 0);
        assert_int_equal(there.count, 3);
        assert_string_equal(there.entries[0].name, "two");
        assert_int_equal(there.entries[0].stat.stx_size, 2);
        assert_int_equal(there.entries[1].error, -ENOENT);
        assert_int_equal(there.entries[2].error, 0);
        assert_int_equal(there.entries[2].stat.stx_size, 1);
}

static void looking_at_no_names_still_tells_whether_the_directory_is_there(void **state)
{
        struct engine *engine = *state;
        struct listing there = { 0 };

        assert_int_equal(listing_call_stat(&engine->source, "", NULL, 0, &there), 0);
        listing_deinit(&there);
        assert_int_equal(listing_call_stat(&engine->source, "absent", NULL, 0, &there), -ENOENT);
        assert_null(there.entries); /* untouched */
}

static void what_is_no_directory_or_leads_out_is_refused(void **state)
{
        struct engine *engine = *state;
        struct listing batch = { 0 };

        make_file(engine->source_dir, "file", "");
        assert_int_equal(symlinkat("/", engine->source_dir, "out"), 0);
        assert_int_equal(listing_call_read(&engine->source, "file", 0, &batch), -ENOTDIR);
        assert_int_equal(listing_call_read(&engine->source, "absent", 0, &batch), -ENOENT);
        assert_true(listing_call_read(&engine->source, "out", 0, &batch) < 0);
        assert_true(listing_call_read(&engine->source, "out/etc", 0, &batch) < 0);
        assert_true(listing_call_read(&engine->source, "../source", 0, &batch) < 0);
        assert_null(batch.entries);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ENGINE_CASE(batches_show_each_name_of_a_big_directory_once),
                ENGINE_CASE(cookie_holds_over_opens_of_the_directory),
                ENGINE_CASE(empty_directory_ends_at_once),
                ENGINE_CASE(every_type_is_shown_as_itself_and_no_link_is_followed),
                ENGINE_CASE(looking_at_names_answers_for_each_in_order),
                ENGINE_CASE(looking_at_no_names_still_tells_whether_the_directory_is_there),
                ENGINE_CASE(what_is_no_directory_or_leads_out_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
