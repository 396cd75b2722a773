#include "core/view.h"

#include "engine_fixture.h"

#include "core/setup.h"

#include <sys/sysmacros.h>

enum { MIB = 1 << 20 };

/* --- ids, names, paths --- */

static void ids_are_never_given_twice_also_not_over_mounts(void **state)
{
        struct engine *engine = *state;
        uint64_t last = VIEW_ROOT;

        for (int mount = 0; mount < 3; mount++) {
                for (int i = 0; i < 5000; i++) { /* more than are reserved at once */
                        uint64_t id = view_new_id(engine->view);

                        assert_true(id > last);
                        last = id;
                }
                engine_remount(engine);
        }
}

static void writer_of_the_meta_record_does_not_take_reserved_ids_back(void **state)
{
        struct engine *engine = *state;
        struct meta_record meta;
        uint64_t last;

        assert_int_equal(setup_get_meta(engine->context.db, &meta), 0);
        last = view_new_id(engine->view); /* reserves; the writer has read before that */
        assert_int_equal(setup_put_meta(engine->context.db, &meta), 0);
        engine_remount(engine);
        assert_true(view_new_id(engine->view) > last);
}

static void name_is_taken_once_and_hidden_where_it_is_excluded_or_deleted(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "a", S_IFREG | 0644, 1);
        struct node_record node = engine_node(engine, id);
        struct name_record record = { .id = id, .flags = VIEW_NAME_SOURCE | VIEW_NAME_EXCLUDED }, got;

        assert_int_equal(view_add(engine->view, VIEW_ROOT, "a", &record, &node), -EEXIST);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "a").id, id);
        assert_int_equal(view_name(engine->view, VIEW_ROOT, "b", &got), -ENOENT);
        assert_int_equal(view_name(engine->view, id, "a", &got), -ENOENT);
        assert_int_equal(view_add(engine->view, VIEW_ROOT, "x", &record, NULL), 0);
        assert_int_equal(view_name(engine->view, VIEW_ROOT, "x", &got), -ENOENT);
        record.flags = VIEW_NAME_WHITEOUT;
        assert_int_equal(view_add(engine->view, VIEW_ROOT, "w", &record, NULL), 0);
        assert_int_equal(view_name(engine->view, VIEW_ROOT, "w", &got), -ENOENT);
}

static void names_that_no_record_can_hold_are_refused(void **state)
{
        struct engine *engine = *state;
        char name[VIEW_NAME_MAX + 2];
        struct name_record record = { .id = 99, .flags = VIEW_NAME_SOURCE };
        struct node_record node = { .parent = VIEW_ROOT, .name_size = 1, .name = "x" };

        memset(name, 'n', sizeof(name) - 1);
        name[VIEW_NAME_MAX + 1] = '\0';
        assert_int_equal(view_name(engine->view, VIEW_ROOT, name, &record), -ENOENT);
        assert_true(view_add(engine->view, VIEW_ROOT, name, &record, &node) < 0);
        assert_int_equal(view_node(engine->view, 99, &node), -ENOENT); /* nothing of it is recorded */
        assert_true(view_add(engine->view, VIEW_ROOT, "", &record, &node) < 0);
        name[VIEW_NAME_MAX] = '\0';
        (void)engine_record(engine, VIEW_ROOT, name, S_IFREG | 0644, 1);
        assert_true(engine_name(engine, VIEW_ROOT, name).id > VIEW_ROOT);
}

static void paths_lead_to_a_node_and_back(void **state)
{
        struct engine *engine = *state;
        uint64_t a = engine_record(engine, VIEW_ROOT, "a", S_IFDIR | 0755, 0);
        uint64_t b = engine_record(engine, a, "b\n\xff", S_IFDIR | 0755, 0);
        uint64_t c = engine_record(engine, b, "c", S_IFREG | 0644, 1);
        static const char *const good[] = { "a/b\n\xff/c", "/a//b\n\xff/./c", "./a/b\n\xff/c/" };
        uint64_t id;
        char *path;

        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(view_resolve(engine->view, good[i], &id), 0);
                assert_int_equal(id, c);
        }
        assert_int_equal(view_resolve(engine->view, "", &id), 0);
        assert_int_equal(id, VIEW_ROOT);
        assert_int_equal(view_resolve(engine->view, "a/../a", &id), -ENOENT);
        assert_int_equal(view_resolve(engine->view, "a/x", &id), -ENOENT);
        assert_int_equal(view_path(engine->view, c, &path), 0);
        assert_string_equal(path, "a/b\n\xff/c");
        free(path);
        assert_int_equal(view_path(engine->view, VIEW_ROOT, &path), 0);
        assert_string_equal(path, "");
        free(path);
        assert_int_equal(view_join_path(engine->view, a, "new", &path), 0);
        assert_string_equal(path, "a/new");
        free(path);
        assert_int_equal(view_join_path(engine->view, VIEW_ROOT, "new", &path), 0);
        assert_string_equal(path, "new");
        free(path);
        assert_int_equal(view_path(engine->view, 12345, &path), -ENOENT);
}

struct move_node {
        uint64_t parent, source_parent;
};

static bool move_node(void *context, struct node_record *node)
{
        const struct move_node *move = context;

        node->source_parent = move->source_parent;
        node->source_name_size = node->name_size;
        memcpy(node->source_name, node->name, sizeof(node->name));
        node->parent = move->parent;
        return true;
}

static void renamed_directory_keeps_its_path_in_the_source(void **state)
{
        struct engine *engine = *state;
        uint64_t old = engine_record(engine, VIEW_ROOT, "old", S_IFDIR | 0755, 0);
        uint64_t new = engine_record(engine, VIEW_ROOT, "new", S_IFDIR | 0755, 0);
        uint64_t directory = engine_record(engine, old, "d", S_IFDIR | 0755, 0);
        uint64_t file = engine_record(engine, directory, "f", S_IFREG | 0644, 1);
        struct move_node move = { .parent = new, .source_parent = old };
        char *path;

        assert_int_equal(view_update(engine->view, directory, move_node, &move), 0);
        assert_int_equal(view_path(engine->view, file, &path), 0);
        assert_string_equal(path, "new/d/f");
        free(path);
        assert_int_equal(view_source_path(engine->view, file, &path), 0);
        assert_string_equal(path, "old/d/f");
        free(path);
}

static void circle_of_records_is_damage_and_no_endless_loop(void **state)
{
        struct engine *engine = *state;
        uint64_t a = engine_record(engine, VIEW_ROOT, "a", S_IFDIR | 0755, 0);
        uint64_t b = engine_record(engine, a, "b", S_IFDIR | 0755, 0);
        struct move_node move = { .parent = b, .source_parent = b };
        char *path;

        assert_int_equal(view_update(engine->view, a, move_node, &move), 0);
        assert_int_equal(view_path(engine->view, b, &path), -ELOOP);
        assert_int_equal(view_source_path(engine->view, a, &path), -ELOOP);
}

static void deep_path_is_built_whole(void **state)
{
        struct engine *engine = *state;
        char name[101];
        uint64_t id = VIEW_ROOT, found;
        char *path;

        memset(name, 'd', 100);
        name[100] = '\0';
        for (int i = 0; i < 200; i++)
                id = engine_record(engine, id, name, S_IFDIR | 0755, 0);
        assert_int_equal(view_path(engine->view, id, &path), 0);
        assert_int_equal(strlen(path), 200 * 101 - 1);
        assert_int_equal(view_resolve(engine->view, path, &found), 0);
        assert_int_equal(found, id);
        free(path);
}

static void stat_shows_times_before_1970_right(void **state)
{
        struct engine *engine = *state;
        struct node_record node = { .mode = S_IFREG | 0640, .size = 5, .uid = 3, .gid = 4, .blocks = 8, .mtime_ns = -1,
                                    .atime_ns = -1000000000, .ctime_ns = 1500000000, .rdev = makedev(8, 1) };
        struct stat stat;

        view_stat(&engine->context, 42, &node, &stat);
        assert_int_equal(stat.st_ino, 42);
        assert_int_equal(stat.st_nlink, 1);
        assert_int_equal(stat.st_mtim.tv_sec, -1);
        assert_int_equal(stat.st_mtim.tv_nsec, 999999999);
        assert_int_equal(stat.st_atim.tv_sec, -1);
        assert_int_equal(stat.st_atim.tv_nsec, 0);
        assert_int_equal(stat.st_ctim.tv_sec, 1);
        assert_int_equal(stat.st_ctim.tv_nsec, 500000000);
        assert_int_equal(stat.st_blocks, 8);
}

/* --- listing and links --- */

struct names {
        char text[256];
        unsigned limit;
};

static bool note(void *context, const char *name, const struct name_record *record)
{
        struct names *names = context;

        (void)record;
        (void)strcat(names->text, name);
        (void)strcat(names->text, " ");
        return --names->limit > 0;
}

static void list_shows_the_names_of_one_directory_in_order_from_where_it_is_asked(void **state)
{
        struct engine *engine = *state;
        uint64_t other = engine_record(engine, VIEW_ROOT, "d", S_IFDIR | 0755, 0);
        static const char *const files[] = { "c", "a", "b", "aa", "\xff", "e" };
        struct names names = { .limit = 100 };

        (void)engine_record(engine, other, "inside", S_IFREG | 0644, 1);
        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
                (void)engine_record(engine, VIEW_ROOT, files[i], S_IFREG | 0644, 1);
        assert_int_equal(view_list(engine->view, VIEW_ROOT, NULL, note, &names), 0);
        assert_string_equal(names.text, "a aa b c d e \xff ");
        names = (struct names){ .limit = 2 };
        assert_int_equal(view_list(engine->view, VIEW_ROOT, "aa", note, &names), 0);
        assert_string_equal(names.text, "b c ");
        names = (struct names){ .limit = 2 };
        assert_int_equal(view_list(engine->view, VIEW_ROOT, "bb", note, &names), 0); /* which is gone meanwhile */
        assert_string_equal(names.text, "c d ");
        names = (struct names){ .limit = 9 };
        assert_int_equal(view_list(engine->view, other, NULL, note, &names), 0);
        assert_string_equal(names.text, "inside ");
}

static uint64_t add_link(struct engine *engine, uint64_t id, uint64_t parent, const char *name)
{
        struct name_record record = { .id = id, .flags = VIEW_NAME_SOURCE, .mode_type = S_IFREG };

        assert_int_equal(view_add(engine->view, parent, name, &record, NULL), 0);
        return id;
}

static int note_link(void *context, uint64_t parent, const char *name)
{
        char one[80];

        (void)snprintf(one, sizeof(one), "%llu/%s ", (unsigned long long)parent, name);
        (void)strcat(((struct names *)context)->text, one);
        return 0;
}

static void names_of(struct engine *engine, uint64_t id, struct names *names)
{
        struct node_record node = engine_node(engine, id);

        *names = (struct names){ .limit = 0 };
        assert_int_equal(view_each_name(engine->view, id, &node, note_link, names), 0);
}

static void first_name_that_goes_is_followed_by_a_link_and_the_last_takes_the_node(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "m", S_IFREG | 0644, 7);
        struct node_record node;
        struct names names;

        add_link(engine, id, VIEW_ROOT, "z");
        add_link(engine, id, VIEW_ROOT, "a");
        names_of(engine, id, &names);
        assert_string_equal(names.text, "1/m 1/a 1/z ");
        engine_remount(engine); /* what is counted in a mount stays in it */
        assert_int_equal(view_remove(engine->view, VIEW_ROOT, "m"), 0);
        names_of(engine, id, &names);
        assert_string_equal(names.text, "1/a 1/z ");
        assert_int_equal(view_remove(engine->view, VIEW_ROOT, "z"), 0);
        names_of(engine, id, &names);
        assert_string_equal(names.text, "1/a ");
        assert_int_equal(view_remove(engine->view, VIEW_ROOT, "a"), 0);
        assert_int_equal(view_node(engine->view, id, &node), -ENOENT);
        assert_int_equal(view_remove(engine->view, VIEW_ROOT, "a"), -ENOENT);
}

static void counted_name_of_the_source_stays_in_its_mount(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "a", S_IFREG | 0644, 7);

        assert_int_equal(view_remove(engine->view, VIEW_ROOT, "a"), 0);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "a").id, id);
        engine_assert_totals(engine);
}

static void inode_of_the_source_leads_to_its_node(void **state)
{
        struct engine *engine = *state;
        struct inode_record inode;

        assert_int_equal(view_inode(engine->view, UINT64_MAX, &inode), -ENOENT);
        assert_int_equal(view_put_inode(engine->view, UINT64_MAX, 77), 0);
        engine_remount(engine);
        assert_int_equal(view_inode(engine->view, UINT64_MAX, &inode), 0);
        assert_int_equal(inode.id, 77);
        assert_true(inode.epoch < engine->context.epoch); /* of an earlier mount */
}

/* --- classification --- */

static void category_follows_from_the_masks(void **state)
{
        enum { A = 1, B = 2, AB = 3, C = 4 };
        static const struct {
                uint64_t mask, complete, published, skipped, conflict, failed;
                uint32_t node_flags, name_flags;
                enum category category;
        } cases[] = {
                { AB, 0, 0, 0, 0, 0, 0, 0, CATEGORY_PENDING },
                { AB, AB, AB, 0, 0, 0, 0, 0, CATEGORY_COPIED },
                { AB, AB, A, 0, 0, 0, 0, 0, CATEGORY_PENDING },     /* one has no name yet */
                { AB, A, AB, 0, 0, 0, 0, 0, CATEGORY_PENDING },     /* one has an older version */
                { AB, AB, AB, AB, 0, 0, 0, 0, CATEGORY_SKIPPED },
                { AB, AB, AB, A, 0, 0, 0, 0, CATEGORY_COPIED },
                { A, AB, A, A | C, 0, 0, 0, 0, CATEGORY_SKIPPED },  /* what other slots say does not count */
                { AB, AB | C, AB | C, 0, C, C, 0, 0, CATEGORY_COPIED },
                { AB, AB, AB, 0, B, 0, 0, 0, CATEGORY_CONFLICT },   /* changed behind cvv's back */
                { AB, A, A, 0, B, B, 0, 0, CATEGORY_CONFLICT },
                { AB, A, A, 0, 0, B, 0, 0, CATEGORY_FAILED },
                { AB, A, A, 0, 0, 0, VIEW_NODE_MISSING, 0, CATEGORY_MISSING },
                { AB, A, A, 0, 0, B, VIEW_NODE_MISSING, 0, CATEGORY_MISSING },
                { AB, AB, AB, 0, 0, 0, VIEW_NODE_MISSING, 0, CATEGORY_COPIED }, /* by this name it has it still */
                { AB, AB, AB, AB, 0, 0, VIEW_NODE_MISSING, VIEW_NAME_VANISHED, CATEGORY_MISSING },
                { AB, AB, AB, 0, 0, 0, 0, VIEW_NAME_VANISHED, CATEGORY_MISSING }, /* another name is there */
                { AB, A, A, 0, B, 0, 0, VIEW_NAME_VANISHED, CATEGORY_MISSING },
                { AB, 0, 0, 0, 0, 0, 0, VIEW_NAME_VANISHED | VIEW_NAME_EXCLUDED, CATEGORY_EXCLUDED },
                { AB, AB, AB, AB, AB, AB, VIEW_NODE_MISSING, VIEW_NAME_EXCLUDED, CATEGORY_EXCLUDED },
                { 0, 0, 0, 0, 0, 0, 0, 0, CATEGORY_PENDING },
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct node_record node = { .complete = cases[i].complete, .skipped = cases[i].skipped,
                                            .failed = cases[i].failed, .flags = cases[i].node_flags };
                struct name_record name = { .published = cases[i].published, .conflict = cases[i].conflict,
                                            .flags = cases[i].name_flags };

                if (view_classify(cases[i].mask, &node, &name) != cases[i].category)
                        fail_msg("case %zu", i);
        }
}

/* --- totals --- */

static bool apply_mask(void *context, struct node_record *node)
{
        const struct node_record *wanted = context;

        node->complete = wanted->complete;
        node->partial = wanted->partial;
        node->failed = wanted->failed;
        node->conflict = wanted->conflict;
        node->skipped = wanted->skipped;
        node->verified = wanted->verified;
        node->flags = wanted->flags | VIEW_NODE_SOURCE | (node->flags & VIEW_NODE_LINKS);
        node->mode = wanted->mode;
        node->size = wanted->size;
        return true;
}

static uint64_t next_random(uint64_t *random)
{
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        return *random;
}

/* Any change of a node, from any state to any other, leaves the totals as a fresh count would give them. */
static void totals_follow_every_change_of_a_node(void **state)
{
        struct engine *engine = *state;
        static const uint32_t modes[] = { S_IFREG | 0644, S_IFREG | 0644, S_IFDIR | 0755, S_IFLNK | 0777, S_IFIFO | 0644 };
        static const char *const names[] = { "a", "b", "c" };
        uint64_t random = 0x9e3779b97f4a7c15, ids[3];

        engine->options.mode = MODE_FULL;
        for (int i = 0; i < 3; i++)
                ids[i] = engine_record(engine, VIEW_ROOT, names[i], S_IFREG | 0644, (uint64_t)i * MIB + 1);
        for (int round = 0; round < 800; round++) {
                uint64_t bits = next_random(&random);
                struct node_record wanted = { .complete = bits & 3, .partial = bits >> 2 & 3, .failed = bits >> 4 & bits >> 5 & 3,
                                              .conflict = bits >> 7 & bits >> 9 & 3, .skipped = bits >> 11 & 3,
                                              .flags = (bits >> 13 & 1 ? VIEW_NODE_QUEUED : 0) |
                                                       (bits >> 14 & bits >> 15 & 1 ? VIEW_NODE_MISSING : 0) |
                                                       (bits >> 50 & 1 ? VIEW_NODE_HASHED : 0) | (bits >> 51 & 1 ? VIEW_NODE_REREAD : 0) |
                                                       (bits >> 52 & bits >> 53 & 1 ? VIEW_NODE_VERIFY : 0) |
                                                       (bits >> 54 & 1 ? VIEW_NODE_UNPROVEN : 0),
                                              .verified = bits >> 56 & 3,
                                              .mode = modes[(bits >> 16) % 5], .size = (bits >> 24) % (4 * MIB) };

                assert_int_equal(view_update(engine->view, ids[bits >> 61 & 1 ? 0 : (bits >> 62) % 3], apply_mask, &wanted), 0);
                if (round % 7 == 0)
                        engine_publish(engine, VIEW_ROOT, names[(bits >> 32) % 3], bits >> 40 & 3);
                engine_assert_totals(engine);
        }
        print_message("seed 0x9e3779b97f4a7c15\n");
}

static void totals_of_hard_links_count_their_bytes_once(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "m", S_IFREG | 0644, 3 * MIB);
        struct node_record wanted = { .mode = S_IFREG | 0644, .size = 5 * MIB };

        add_link(engine, id, VIEW_ROOT, "a");
        assert_int_equal(view_count(engine->view, VIEW_ROOT, "a"), 0);
        assert_int_equal(view_count(engine->view, VIEW_ROOT, "a"), 0); /* once */
        engine_assert_totals(engine);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 2);
        assert_int_equal(engine_progress(engine).bytes[CATEGORY_PENDING], 3 * MIB);
        assert_int_equal(engine_progress(engine).owed_bytes, 2 * 3 * MIB);
        assert_int_equal(view_update(engine->view, id, apply_mask, &wanted), 0);
        engine_assert_totals(engine);
        engine_publish(engine, VIEW_ROOT, "a", ENGINE_ALL); /* the link before the first name */
        engine_assert_totals(engine);
        assert_int_equal(engine_progress(engine).files[CATEGORY_COPIED], 1);
        engine_publish(engine, VIEW_ROOT, "m", ENGINE_ALL);
        engine_assert_totals(engine);
        assert_int_equal(engine_progress(engine).bytes[CATEGORY_COPIED], 5 * MIB);
        assert_int_equal(engine_progress(engine).owed_bytes, 0);
}

static void next_mount_counts_what_it_sees_and_nothing_twice(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "a", S_IFREG | 0644, 3 * MIB);
        uint64_t directory = engine_record(engine, VIEW_ROOT, "d", S_IFDIR | 0755, 0);

        (void)directory;
        engine_publish(engine, VIEW_ROOT, "a", 1);
        assert_int_equal(view_queue(engine->view, id, VIEW_QUEUE_FILL), 0);
        assert_int_equal(view_directories_owed(engine->view), 1);
        engine_remount(engine);
        assert_int_equal(engine_progress(engine).owed_bytes, 0);
        assert_int_equal(view_directories_owed(engine->view), 0);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(view_count(engine->view, VIEW_ROOT, "a"), 0);
                assert_int_equal(view_count(engine->view, VIEW_ROOT, "d"), 0);
                engine_assert_totals(engine);
        }
        assert_int_equal(engine_progress(engine).queued_bytes, 3 * MIB);
        assert_int_equal(engine_progress(engine).targets[0].present_bytes, 3 * MIB);
}

static void excluded_file_is_counted_and_owed_to_nobody(void **state)
{
        struct engine *engine = *state;
        uint64_t id = view_new_id(engine->view);
        struct name_record record = { .id = id, .flags = VIEW_NAME_SOURCE | VIEW_NAME_EXCLUDED, .mode_type = S_IFREG };
        struct node_record node = { .parent = VIEW_ROOT, .generation = 1, .mode = S_IFREG | 0644, .size = 2 * MIB,
                                    .flags = VIEW_NODE_SOURCE, .name_size = 1, .name = "x" };

        assert_int_equal(view_add(engine->view, VIEW_ROOT, "x", &record, &node), 0);
        assert_int_equal(view_count(engine->view, VIEW_ROOT, "x"), 0);
        assert_int_equal(view_count(engine->view, VIEW_ROOT, "x"), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_EXCLUDED], 1);
        assert_int_equal(engine_progress(engine).bytes[CATEGORY_EXCLUDED], 2 * MIB);
        assert_int_equal(engine_progress(engine).owed_bytes, 0);
        engine_assert_totals(engine);
        add_link(engine, id, VIEW_ROOT, "y"); /* another name of it is wanted */
        assert_int_equal(view_count(engine->view, VIEW_ROOT, "y"), 0);
        assert_int_equal(engine_progress(engine).owed_bytes, 2 * 2 * MIB);
}

static bool no_change(void *context, struct node_record *node)
{
        (void)node;
        ++*(int *)context;
        return false;
}

struct marks_call {
        uint64_t generation;
        struct statedb_batch *batch;
        int64_t delta;
        bool (*change)(void *context, struct node_record *node);
        void *context;
};

enum { OUTDATED = 1 };

static int fill_marks(void *context, struct node_record *node, bool *ret_node_changed, struct statedb_batch *batch,
                      int64_t *ret_present_delta)
{
        struct marks_call *call = context;

        if (node->generation != call->generation)
                return OUTDATED;
        *batch = *call->batch;
        statedb_batch_init(call->batch);
        *ret_present_delta = call->delta;
        *ret_node_changed = call->change && call->change(call->context, node);
        return 0;
}

static int apply_marks(struct view *view, uint64_t id, uint64_t generation, struct statedb_batch *batch, unsigned slot,
                       int64_t delta, bool (*change)(void *context, struct node_record *node), void *context)
{
        struct marks_call call = { generation, batch, delta, change, context };

        return view_apply_marks(view, id, slot, fill_marks, &call);
}

static void marks_move_bytes_from_owed_to_present(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "a", S_IFREG | 0644, 3 * MIB);
        struct statedb_batch batch;
        int called = 0;

        assert_int_equal(view_queue(engine->view, id, VIEW_QUEUE_ASKED), 0);
        statedb_batch_init(&batch);
        assert_int_equal(apply_marks(engine->view, id, 1, &batch, 1, MIB, no_change, &called), 0);
        assert_int_equal(called, 1);
        assert_int_equal(engine_progress(engine).targets[1].present_bytes, MIB);
        assert_int_equal(engine_progress(engine).targets[1].owed_bytes, 2 * MIB);
        assert_int_equal(engine_progress(engine).targets[1].queued_bytes, 2 * MIB);
        assert_int_equal(engine_progress(engine).targets[0].owed_bytes, 3 * MIB);
        assert_int_equal(apply_marks(engine->view, id, 1, &batch, 1, -MIB, NULL, NULL), 0);
        engine_assert_totals(engine);
        assert_int_equal(apply_marks(engine->view, id, 2, &batch, 1, MIB, no_change, &called), OUTDATED);
        assert_int_equal(called, 1);
        engine_assert_totals(engine);
        assert_int_equal(apply_marks(engine->view, 999, 1, &batch, 1, MIB, NULL, NULL), -ENOENT);
        statedb_batch_deinit(&batch);
}

static bool take_back(void *context, struct node_record *node)
{
        (void)context;
        node->complete &= ~2ull;
        node->verified &= ~2ull;
        return true;
}

static void marks_that_are_taken_back_make_a_finished_file_pending_at_once(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "a", S_IFREG | 0644, MIB);
        struct statedb_batch batch;

        engine_publish(engine, VIEW_ROOT, "a", ENGINE_ALL);
        assert_int_equal(engine_progress(engine).files[CATEGORY_COPIED], 1);
        statedb_batch_init(&batch);
        assert_int_equal(apply_marks(engine->view, id, 1, &batch, 1, -MIB, take_back, NULL), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_COPIED], 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 1);
        engine_assert_totals(engine);
        statedb_batch_deinit(&batch);
}

static void marks_of_what_is_not_owed_take_nothing_from_what_others_owe(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "gone", S_IFREG | 0644, 3 * MIB);
        struct node_record missing = { .mode = S_IFREG | 0644, .size = 3 * MIB, .flags = VIEW_NODE_MISSING };
        struct node_record failed = { .mode = S_IFREG | 0644, .size = 3 * MIB, .failed = 1 };
        struct statedb_batch batch;

        (void)engine_record(engine, VIEW_ROOT, "other", S_IFREG | 0644, 5 * MIB);
        statedb_batch_init(&batch);
        assert_int_equal(view_update(engine->view, id, apply_mask, &missing), 0);
        assert_int_equal(apply_marks(engine->view, id, 1, &batch, 0, MIB, NULL, NULL), 0);
        assert_int_equal(engine_progress(engine).targets[0].owed_bytes, 5 * MIB);
        assert_int_equal(apply_marks(engine->view, id, 1, &batch, 0, -MIB, NULL, NULL), 0);
        assert_int_equal(view_update(engine->view, id, apply_mask, &failed), 0);
        assert_int_equal(apply_marks(engine->view, id, 1, &batch, 0, MIB, NULL, NULL), 0);
        assert_int_equal(engine_progress(engine).targets[0].owed_bytes, 5 * MIB);
        assert_int_equal(engine_progress(engine).targets[1].owed_bytes, 8 * MIB);
        statedb_batch_deinit(&batch);
}

/* --- the queue --- */

static void queue_shows_what_was_asked_for_before_the_rest(void **state)
{
        struct engine *engine = *state;
        uint8_t priority = 0;
        uint64_t ids[4], id = 0;
        char name[2] = "a";

        for (int i = 0; i < 4; i++, name[0]++)
                ids[i] = engine_record(engine, VIEW_ROOT, name, S_IFREG | 0644, MIB);
        assert_int_equal(view_queue(engine->view, ids[0], VIEW_QUEUE_FILL), 0);
        assert_int_equal(view_queue(engine->view, ids[2], VIEW_QUEUE_FILL), 0);
        assert_int_equal(view_queue(engine->view, ids[3], VIEW_QUEUE_ASKED), 0);
        assert_int_equal(view_queue(engine->view, ids[3], VIEW_QUEUE_ASKED), 0);
        engine_assert_totals(engine);
        assert_int_equal(engine_progress(engine).queued_bytes, 6 * MIB);
        assert_int_equal(view_next_queued(engine->view, &priority, &id), 0);
        assert_int_equal(priority, VIEW_QUEUE_ASKED);
        assert_int_equal(id, ids[3]);
        assert_int_equal(view_next_queued(engine->view, &priority, &id), 0);
        assert_int_equal(priority, VIEW_QUEUE_FILL);
        assert_int_equal(id, ids[0]);
        assert_int_equal(view_unqueue(engine->view, ids[0]), 0); /* the place holds */
        assert_int_equal(view_next_queued(engine->view, &priority, &id), 0);
        assert_int_equal(id, ids[2]);
        assert_int_equal(view_next_queued(engine->view, &priority, &id), -ENOENT);
        engine_remount(engine);
        priority = 0;
        assert_int_equal(view_next_queued(engine->view, &priority, &id), 0);
        assert_int_equal(id, ids[3]);
        assert_true(engine_node(engine, ids[3]).flags & VIEW_NODE_QUEUED);
        assert_false(engine_node(engine, ids[0]).flags & VIEW_NODE_QUEUED);
}

static void unqueueing_takes_both_priorities(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "a", S_IFREG | 0644, MIB), next;
        uint8_t priority = 0;

        assert_int_equal(view_queue(engine->view, id, VIEW_QUEUE_FILL), 0);
        assert_int_equal(view_queue(engine->view, id, VIEW_QUEUE_ASKED), 0);
        assert_int_equal(view_unqueue(engine->view, id), 0);
        assert_int_equal(view_unqueue(engine->view, id), 0);
        assert_int_equal(view_next_queued(engine->view, &priority, &next), -ENOENT);
        assert_int_equal(engine_progress(engine).queued_bytes, 0);
        engine_assert_totals(engine);
}

/* --- a slot that is void --- */

static void forgetting_a_slot_leaves_what_others_have(void **state)
{
        struct engine *engine = *state;
        uint64_t copied = engine_record(engine, VIEW_ROOT, "copied", S_IFREG | 0644, MIB);
        uint64_t half = engine_record(engine, VIEW_ROOT, "half", S_IFREG | 0644, 3 * MIB);
        uint64_t other = engine_record(engine, VIEW_ROOT, "other", S_IFREG | 0644, 3 * MIB);
        struct node_record wanted = { .mode = S_IFREG | 0644, .size = 3 * MIB, .partial = 3, .failed = 2 };

        engine_publish(engine, VIEW_ROOT, "copied", ENGINE_ALL);
        assert_int_equal(view_update(engine->view, half, apply_mask, &wanted), 0);
        wanted.partial = 1;
        wanted.failed = 0;
        assert_int_equal(view_update(engine->view, other, apply_mask, &wanted), 0);
        engine_remount(engine);
        assert_int_equal(view_forget_slot(engine->view, 1), 0);
        assert_int_equal(engine_node(engine, copied).complete, 1);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "copied").published, 1);
        assert_int_equal(engine_node(engine, copied).generation, 1);
        assert_int_equal(engine_node(engine, half).generation, 1);
        assert_int_equal(engine_node(engine, half).partial, 1);
        assert_int_equal(engine_node(engine, half).failed, 0);
        assert_int_equal(engine_node(engine, other).generation, 1);
        assert_int_equal(engine_node(engine, other).partial, 1);
        assert_int_equal(view_count(engine->view, VIEW_ROOT, "copied"), 0);
        assert_int_equal(engine_progress(engine).targets[1].owed_bytes, MIB);
        assert_int_equal(engine_progress(engine).targets[0].owed_bytes, 0);
}

/* --- threads --- */

static void *change_many(void *argument)
{
        struct engine *engine = argument;
        uint64_t random = (uint64_t)(uintptr_t)&random | 1;

        for (int i = 0; i < 300; i++) {
                uint64_t bits = next_random(&random), id;
                struct node_record wanted = { .complete = bits & 3, .mode = S_IFREG | 0644, .size = (bits >> 8) % MIB };

                if (view_resolve(engine->view, bits >> 2 & 1 ? "a" : "b", &id) == 0) {
                        (void)view_update(engine->view, id, apply_mask, &wanted);
                        engine_publish(engine, VIEW_ROOT, bits >> 2 & 1 ? "a" : "b", bits >> 4 & 3);
                }
        }
        return NULL;
}

static void totals_hold_under_changes_from_many_threads(void **state)
{
        struct engine *engine = *state;
        pthread_t threads[4];

        (void)engine_record(engine, VIEW_ROOT, "a", S_IFREG | 0644, MIB);
        (void)engine_record(engine, VIEW_ROOT, "b", S_IFREG | 0644, MIB);
        for (int i = 0; i < 4; i++)
                assert_int_equal(thread_start(&threads[i], "change", change_many, engine), 0);
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        engine_assert_totals(engine);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ENGINE_CASE(ids_are_never_given_twice_also_not_over_mounts),
                ENGINE_CASE(writer_of_the_meta_record_does_not_take_reserved_ids_back),
                ENGINE_CASE(name_is_taken_once_and_hidden_where_it_is_excluded_or_deleted),
                ENGINE_CASE(names_that_no_record_can_hold_are_refused),
                ENGINE_CASE(paths_lead_to_a_node_and_back),
                ENGINE_CASE(renamed_directory_keeps_its_path_in_the_source),
                ENGINE_CASE(circle_of_records_is_damage_and_no_endless_loop),
                ENGINE_CASE(deep_path_is_built_whole),
                ENGINE_CASE(stat_shows_times_before_1970_right),
                ENGINE_CASE(list_shows_the_names_of_one_directory_in_order_from_where_it_is_asked),
                ENGINE_CASE(first_name_that_goes_is_followed_by_a_link_and_the_last_takes_the_node),
                ENGINE_CASE(counted_name_of_the_source_stays_in_its_mount),
                ENGINE_CASE(inode_of_the_source_leads_to_its_node),
                cmocka_unit_test(category_follows_from_the_masks),
                ENGINE_CASE(totals_follow_every_change_of_a_node),
                ENGINE_CASE(totals_of_hard_links_count_their_bytes_once),
                ENGINE_CASE(next_mount_counts_what_it_sees_and_nothing_twice),
                ENGINE_CASE(excluded_file_is_counted_and_owed_to_nobody),
                ENGINE_CASE(marks_move_bytes_from_owed_to_present),
                ENGINE_CASE(marks_that_are_taken_back_make_a_finished_file_pending_at_once),
                ENGINE_CASE(marks_of_what_is_not_owed_take_nothing_from_what_others_owe),
                ENGINE_CASE(queue_shows_what_was_asked_for_before_the_rest),
                ENGINE_CASE(unqueueing_takes_both_priorities),
                ENGINE_CASE(forgetting_a_slot_leaves_what_others_have),
                ENGINE_CASE(totals_hold_under_changes_from_many_threads),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
