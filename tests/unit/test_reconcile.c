#include "core/judge.h"
#include "core/reconcile.h"

#include "engine_fixture.h"

#include <sys/syscall.h>
#include <sys/sysmacros.h>

enum { MIB = 1 << 20, FAT_NS = 2000000000 };

/* --- the judgement --- */

/* The node is a file of 100 bytes at ENGINE_TIME_NS, its published version one of 90 bytes, a minute older. */
enum seen { NOTHING, SAME, NEWER, LONGER, OLD, DIRECTORY, SAME_FAT };

static struct statx stat_of(enum seen seen)
{
        int64_t mtime_ns = ENGINE_TIME_NS;
        struct statx stat = { .stx_mode = S_IFREG | 0644, .stx_size = 100 };

        mtime_ns += seen == NEWER ? 60000000000 : seen == OLD ? -60000000000 : seen == SAME_FAT ? 1500000000 : 0;
        stat.stx_size = seen == LONGER ? 101 : seen == OLD ? 90 : 100;
        stat.stx_mode = seen == DIRECTORY ? S_IFDIR | 0755 : S_IFREG | 0644;
        stat.stx_mtime.tv_sec = mtime_ns / 1000000000;
        stat.stx_mtime.tv_nsec = (uint32_t)(mtime_ns % 1000000000);
        return stat;
}

enum { P = 1, C = 2, X = 4 }; /* published, complete, in conflict */
enum { SKIP = EXISTING_SKIP, VERIFY = EXISTING_VERIFY, REPLACE = EXISTING_REPLACE };
static const struct {
        unsigned records;
        enum seen seen;
        int existing;
        uint64_t granularity_ns;
        enum verdict verdict;
} sights[] = {
        /* nothing there */
        { 0, NOTHING, SKIP, 1, VERDICT_LACKING },
        { C, NOTHING, SKIP, 1, VERDICT_LACKING },
        { P, NOTHING, SKIP, 1, VERDICT_LOST },
        { P | C, NOTHING, VERIFY, 1, VERDICT_LOST },
        { X, NOTHING, SKIP, 1, VERDICT_LOST },
        { P | C | X, NOTHING, REPLACE, 1, VERDICT_LOST },
        /* what cvv never put there */
        { 0, SAME, SKIP, 1, VERDICT_EQUAL },
        { 0, SAME, VERIFY, 1, VERDICT_COMPARE },
        { 0, SAME, REPLACE, 1, VERDICT_EQUAL },
        { 0, NEWER, SKIP, 1, VERDICT_CONFLICT },
        { 0, NEWER, VERIFY, 1, VERDICT_COMPARE },
        { 0, NEWER, REPLACE, 1, VERDICT_REPLACE },
        { 0, LONGER, SKIP, 1, VERDICT_CONFLICT },
        { 0, LONGER, VERIFY, 1, VERDICT_CONFLICT },
        { 0, LONGER, REPLACE, 1, VERDICT_REPLACE },
        { 0, OLD, SKIP, 1, VERDICT_REPLACE }, /* its rename was not recorded any more: cvv's own former version */
        { 0, OLD, VERIFY, 1, VERDICT_REPLACE },
        { X, OLD, SKIP, 1, VERDICT_REPLACE },
        { X, SAME, SKIP, 1, VERDICT_COMPARE }, /* it differed once, and perhaps in its bytes alone */
        { X, LONGER, SKIP, 1, VERDICT_CONFLICT },
        { 0, DIRECTORY, SKIP, 1, VERDICT_CONFLICT },
        { 0, DIRECTORY, VERIFY, 1, VERDICT_CONFLICT },
        { 0, DIRECTORY, REPLACE, 1, VERDICT_CONFLICT },
        { 0, SAME_FAT, SKIP, 1, VERDICT_CONFLICT },
        { 0, SAME_FAT, SKIP, FAT_NS, VERDICT_EQUAL },
        /* whole, and cvv was about to name it */
        { C, SAME, SKIP, 1, VERDICT_OURS },
        { C, SAME, VERIFY, 1, VERDICT_OURS },
        { C, SAME, REPLACE, 1, VERDICT_OURS },
        { C, LONGER, VERIFY, 1, VERDICT_CONFLICT },
        { C, LONGER, REPLACE, 1, VERDICT_REPLACE },
        /* cvv's own, finished */
        { P | C, SAME, SKIP, 1, VERDICT_AS_RECORDED },
        { P | C, SAME, VERIFY, 1, VERDICT_AS_RECORDED },
        { P | C | X, SAME, VERIFY, 1, VERDICT_AS_RECORDED },
        { P | C, SAME_FAT, VERIFY, FAT_NS, VERDICT_AS_RECORDED },
        { P | C, NEWER, SKIP, 1, VERDICT_CONFLICT },
        { P | C, NEWER, VERIFY, 1, VERDICT_CONFLICT },
        { P | C, LONGER, VERIFY, 1, VERDICT_CONFLICT },
        { P | C, DIRECTORY, REPLACE, 1, VERDICT_CONFLICT },
        /* cvv's own of an older version of the source */
        { P, OLD, SKIP, 1, VERDICT_AS_RECORDED },
        { P, OLD, VERIFY, 1, VERDICT_AS_RECORDED },
        { P, OLD, REPLACE, 1, VERDICT_AS_RECORDED },
        { P, SAME, SKIP, 1, VERDICT_AS_RECORDED }, /* looks like the version to come */
        { P, LONGER, SKIP, 1, VERDICT_CONFLICT },
        { P, LONGER, VERIFY, 1, VERDICT_CONFLICT },
        { P, DIRECTORY, SKIP, 1, VERDICT_CONFLICT },
};

static bool note_former_version(void *context, struct node_record *node)
{
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++)
                judge_note_former(node, slot, context);
        return true;
}

static enum verdict judge_sight(unsigned records, enum seen seen, enum existing existing, uint64_t granularity_ns)
{
        enum { SLOT = 5 };
        uint64_t others = ~(1ull << SLOT); /* what the other slots have is all the contrary */
        struct node_record node = { .mode = S_IFREG | 0600, .size = 100, .mtime_ns = ENGINE_TIME_NS, .former = 1ull << SLOT };
        struct name_record name = { 0 };
        struct statx stat = stat_of(seen);

        node.kept[SLOT] = (struct node_version){ .size = 90, .mtime_ns = ENGINE_TIME_NS - 60000000000 };
        node.complete = records & C ? 1ull << SLOT : others;
        name.published = records & P ? 1ull << SLOT : others;
        name.conflict = records & X ? 1ull << SLOT : others;
        return judge_target(&node, &name, true, SLOT, seen == NOTHING ? NULL : &stat, existing,
                            (struct judge_clock){ .granularity_ns = granularity_ns });
}

static void files_are_judged_by_records_and_sight(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(sights) / sizeof(sights[0]); i++) {
                enum verdict verdict = judge_sight(sights[i].records, sights[i].seen, (enum existing)sights[i].existing, sights[i].granularity_ns);

                if (verdict != sights[i].verdict)
                        fail_msg("case %zu: %d is not %d", i, verdict, sights[i].verdict);
        }
}

/* A crash came between the rename of a version and its record: the version before must not stay noted as what stands there, or the next change of the
 * source meets a file that nobody knows. */
static void version_that_is_found_under_its_name_without_a_record_is_what_the_next_one_replaces(void **state)
{
        struct engine *engine = *state;
        struct node_version before = { .size = 5, .mtime_ns = ENGINE_TIME_NS - 60000000000 };
        struct node_record node;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        engine_publish(engine, VIEW_ROOT, "a", ENGINE_ALL);
        assert_int_equal(view_update(engine->view, id, note_former_version, &before), 0);
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++)
                assert_int_equal(judge_apply(engine->view, VIEW_ROOT, "a", slot, VERDICT_AS_RECORDED), 0);
        assert_int_equal(view_node(engine->view, id, &node), 0);
        assert_int_equal(node.former, 0);
        judge_begin_version(&node);
        assert_int_equal(node.former & ENGINE_ALL, ENGINE_ALL);
        assert_int_equal(node.kept[0].size, 10);
        assert_int_equal(node.kept[0].mtime_ns, node.mtime_ns);
}

/* A target that cannot hold a time shows another one for it, now or only when it is mounted again. */
static void times_that_a_target_cannot_hold_are_no_conflict(void **state)
{
        enum { COMMON = 1000000000, AGES_AGO = -1000000000, CLAMPED = 315532800, OTHER = 400000000 }; /* seconds */
        static const struct {
                int wanted, kept, seen; /* kept 0: nothing is */
                unsigned longer;
                bool published, complete, vague;
                enum existing existing;
                enum verdict verdict;
        } cases[] = {
                /* it was seen when it was published */
                { AGES_AGO, CLAMPED, CLAMPED, 0, true, true, false, EXISTING_SKIP, VERDICT_AS_RECORDED },
                { AGES_AGO, CLAMPED, OTHER, 0, true, true, false, EXISTING_SKIP, VERDICT_CONFLICT },
                { AGES_AGO, CLAMPED, CLAMPED, 1, true, true, false, EXISTING_SKIP, VERDICT_CONFLICT },
                { COMMON, OTHER, OTHER, 0, true, true, false, EXISTING_VERIFY, VERDICT_AS_RECORDED },
                { COMMON, OTHER, COMMON, 0, true, true, false, EXISTING_VERIFY, VERDICT_AS_RECORDED },
                /* it shows later only */
                { AGES_AGO, 0, CLAMPED, 0, true, true, true, EXISTING_SKIP, VERDICT_AS_RECORDED },
                { AGES_AGO, 0, CLAMPED, 0, true, true, false, EXISTING_SKIP, VERDICT_CONFLICT },
                { AGES_AGO, 0, CLAMPED, 1, true, true, true, EXISTING_SKIP, VERDICT_CONFLICT },
                { COMMON, 0, OTHER, 0, true, true, true, EXISTING_SKIP, VERDICT_CONFLICT },
                /* a crash came between the rename and its record: only the bytes tell */
                { AGES_AGO, 0, CLAMPED, 0, false, true, true, EXISTING_SKIP, VERDICT_COMPARE },
                { AGES_AGO, 0, CLAMPED, 0, false, false, true, EXISTING_SKIP, VERDICT_COMPARE },
                { AGES_AGO, 0, CLAMPED, 0, false, false, false, EXISTING_SKIP, VERDICT_CONFLICT },
                { AGES_AGO, 0, CLAMPED, 0, false, false, true, EXISTING_REPLACE, VERDICT_REPLACE },
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct node_record node = { .mode = S_IFREG | 0600, .size = 100, .mtime_ns = cases[i].wanted * INT64_C(1000000000),
                                            .altered = cases[i].kept ? 2 : 0, .complete = cases[i].complete ? 2 : 0 };
                struct name_record name = { .published = cases[i].published ? 2 : 0 };
                struct statx stat = { .stx_mode = S_IFREG | 0600, .stx_size = 100 + cases[i].longer, .stx_mtime.tv_sec = cases[i].seen };

                node.kept[1] = (struct node_version){ .size = cases[i].kept ? 100 : 0, .mtime_ns = cases[i].kept * INT64_C(1000000000) };
                if (judge_target(&node, &name, true, 1, &stat, cases[i].existing,
                                 (struct judge_clock){ .granularity_ns = 1, .vague = cases[i].vague }) != cases[i].verdict)
                        fail_msg("case %zu", i);
        }
}

static void each_target_keeps_the_version_that_it_was_left_with(void **state)
{
        const struct judge_clock exact = { .granularity_ns = 1 };
        struct node_record node = { .mode = S_IFREG | 0600, .size = 1, .mtime_ns = 1, .complete = 7 };

        (void)state;
        judge_note_published(&node, 1, &(struct node_version){ .size = 1, .mtime_ns = 1000 }, exact); /* which cannot hold the time */
        judge_begin_version(&node); /* 2: it comes to slot 0 alone */
        node.size = node.mtime_ns = 2;
        node.complete = 1;
        judge_note_published(&node, 0, &(struct node_version){ .size = 2, .mtime_ns = 2 }, exact);
        judge_begin_version(&node); /* 3 */
        node.size = node.mtime_ns = 3;
        node.complete = 4; /* on its way to its name on slot 2 */
        judge_begin_version(&node); /* 4 */
        assert_int_equal(node.former, 7);
        assert_int_equal(node.altered, 0);
        assert_true(judge_is_former(&node, 0, &(struct node_version){ .size = 2, .mtime_ns = 2 }, exact));
        assert_true(judge_is_former(&node, 1, &(struct node_version){ .size = 1, .mtime_ns = 1000 }, exact));
        assert_true(judge_is_former(&node, 2, &(struct node_version){ .size = 1, .mtime_ns = 1 }, exact));
        assert_false(judge_is_former(&node, 0, &(struct node_version){ .size = 1, .mtime_ns = 1 }, exact));
        judge_note_former(&node, 2, &(struct node_version){ .size = 3, .mtime_ns = 3 }); /* it got there all the same */
        assert_true(judge_is_former(&node, 2, &(struct node_version){ .size = 3, .mtime_ns = 3 }, exact));
}

/* `A` may be a link that was made by cvv, or a copy that somebody made; its looks do not tell. */
static void further_name_is_not_taken_for_the_first_by_its_looks(void **state)
{
        struct node_record node = { .mode = S_IFREG | 0600, .size = 1, .mtime_ns = 0, .complete = 1 };
        struct name_record name = { 0 };
        struct statx stat = { .stx_mode = S_IFREG | 0600, .stx_size = 1 };
        const struct judge_clock exact = { .granularity_ns = 1 };

        (void)state;
        assert_int_equal(judge_target(&node, &name, true, 0, &stat, EXISTING_VERIFY, exact), VERDICT_OURS);
        assert_int_equal(judge_target(&node, &name, false, 0, &stat, EXISTING_VERIFY, exact), VERDICT_COMPARE);
        assert_int_equal(judge_target(&node, &name, false, 0, &stat, EXISTING_SKIP, exact), VERDICT_OURS);
}

static void other_types_are_judged_by_what_they_are(void **state)
{
        static const struct {
                mode_t node, seen;
                bool published, complete, other_device;
                enum existing existing;
                enum verdict verdict;
        } cases[] = {
                { S_IFDIR, S_IFDIR, false, false, false, EXISTING_VERIFY, VERDICT_EQUAL },
                { S_IFDIR, S_IFDIR, true, true, false, EXISTING_VERIFY, VERDICT_AS_RECORDED },
                { S_IFDIR, S_IFREG, false, false, false, EXISTING_REPLACE, VERDICT_CONFLICT },
                { S_IFDIR, S_IFLNK, true, true, false, EXISTING_SKIP, VERDICT_CONFLICT },
                { S_IFIFO, S_IFIFO, false, false, false, EXISTING_VERIFY, VERDICT_EQUAL },
                { S_IFSOCK, S_IFSOCK, false, false, false, EXISTING_SKIP, VERDICT_EQUAL },
                { S_IFCHR, S_IFCHR, false, false, false, EXISTING_VERIFY, VERDICT_EQUAL },
                { S_IFCHR, S_IFCHR, false, false, true, EXISTING_VERIFY, VERDICT_CONFLICT },
                { S_IFBLK, S_IFBLK, false, false, true, EXISTING_REPLACE, VERDICT_REPLACE },
                { S_IFBLK, S_IFCHR, false, false, false, EXISTING_SKIP, VERDICT_CONFLICT },
                { S_IFCHR, S_IFCHR, true, true, true, EXISTING_SKIP, VERDICT_CONFLICT },
                { S_IFLNK, S_IFLNK, false, false, false, EXISTING_VERIFY, VERDICT_EQUAL },
                { S_IFLNK, S_IFLNK, false, true, false, EXISTING_VERIFY, VERDICT_OURS },
                { S_IFLNK, S_IFLNK, true, false, false, EXISTING_VERIFY, VERDICT_AS_RECORDED },
        };

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct node_record node = { .mode = cases[i].node | 0644, .mtime_ns = ENGINE_TIME_NS, .size = 4,
                                            .rdev = makedev(1, 3), .complete = cases[i].complete };
                struct name_record name = { .published = cases[i].published };
                struct statx stat = { .stx_mode = (uint16_t)(cases[i].seen | 0600), .stx_size = 4, .stx_rdev_major = 1,
                                      .stx_rdev_minor = cases[i].other_device ? 5 : 3,
                                      .stx_mtime = { .tv_sec = ENGINE_TIME_NS / 1000000000 } };

                if (judge_target(&node, &name, true, 0, &stat, cases[i].existing, (struct judge_clock){ .granularity_ns = 1 }) != cases[i].verdict)
                        fail_msg("case %zu", i);
        }
}

static void verdicts_leave_records_and_totals_in_step(void **state)
{
        struct engine *engine = *state;
        uint64_t id = engine_record(engine, VIEW_ROOT, "a", S_IFREG | 0644, 3 * MIB);
        uint64_t random = 88172645463325252u;

        for (int i = 0; i < 300; i++) {
                struct name_record name;
                struct node_record node;
                enum verdict verdict;
                unsigned slot;
                uint64_t bit;
                bool skipped;

                random ^= random << 13, random ^= random >> 7, random ^= random << 17;
                verdict = (enum verdict)(random % 8);
                slot = random >> 20 & 1;
                bit = 1ull << slot;
                skipped = engine_node(engine, id).skipped & bit;
                assert_int_equal(judge_apply(engine->view, VIEW_ROOT, "a", slot, verdict), 0);
                engine_assert_totals(engine);
                name = engine_name(engine, VIEW_ROOT, "a");
                node = engine_node(engine, id);
                if (verdict == VERDICT_EQUAL || verdict == VERDICT_OURS) {
                        assert_true(node.complete & name.published & bit);
                        assert_int_equal(!!(node.skipped & bit), verdict == VERDICT_EQUAL || skipped);
                }
                if (verdict == VERDICT_LOST)
                        assert_false((node.complete | name.published | node.skipped) & bit);
                assert_int_equal(!!(name.conflict & bit), verdict == VERDICT_CONFLICT);
        }
        assert_int_equal(judge_apply(engine->view, VIEW_ROOT, "b", 0, VERDICT_EQUAL), -ENOENT);
}

static void name_lost_on_a_target_keeps_the_other_link_complete(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        assert_int_equal(linkat(engine->source_dir, "a", engine->source_dir, "b", 0), 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        assert_int_equal(engine_lookup(engine, VIEW_ROOT, "b"), id);
        engine_publish(engine, VIEW_ROOT, "a", 1);
        engine_publish(engine, VIEW_ROOT, "b", 1);
        assert_int_equal(judge_apply(engine->view, VIEW_ROOT, "a", 0, VERDICT_LOST), 0);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "a").published, 0);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "b").published, 1);
        assert_int_equal(engine_node(engine, id).complete, 1); /* a link to it suffices */
}

/* --- names of the source --- */

static void new_name_is_found_with_its_attributes_and_keeps_its_id(void **state)
{
        struct engine *engine = *state;
        struct node_record node;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 3 * MIB, 'a', 7);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        node = engine_node(engine, id);
        assert_int_equal(node.size, 3 * MIB);
        assert_int_equal(node.mtime_ns, ENGINE_TIME_NS + 7);
        assert_int_equal(node.mode, S_IFREG | 0644);
        assert_true(node.flags & VIEW_NODE_SOURCE);
        assert_int_equal(node.source_limit, UINT64_MAX);
        engine_assert_totals(engine);
        engine_remount(engine);
        assert_int_equal(engine_lookup(engine, VIEW_ROOT, "a"), id);
        engine_assert_totals(engine);
}

static void absent_name_is_absent(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        assert_int_equal(reconcile_lookup(engine->reconcile, VIEW_ROOT, "a", &id), -ENOENT);
        engine_put_file(engine->source_dir, "f", 1, 'a', 0);
        (void)engine_lookup(engine, VIEW_ROOT, "f");
        engine_put_file(engine->source_dir, "a", 1, 'a', 0); /* it comes: nothing was kept of its absence */
        assert_true(engine_lookup(engine, VIEW_ROOT, "a") > VIEW_ROOT);
}

static void source_file_that_changes_is_a_new_generation(void **state)
{
        struct engine *engine = *state;
        uint64_t id;
        struct node_record node;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        engine_publish(engine, VIEW_ROOT, "a", ENGINE_ALL);
        assert_int_equal(reconcile_renew(engine->reconcile, id), 0);
        assert_int_equal(engine_node(engine, id).generation, 1);
        assert_int_equal(atomic_load(&engine->content_changes), 0);
        engine_put_file(engine->source_dir, "a", 11, 'b', 1);
        assert_int_equal(reconcile_renew(engine->reconcile, id), 0);
        node = engine_node(engine, id);
        assert_int_equal(node.generation, 2);
        assert_int_equal(node.complete, 0);
        assert_int_equal(node.former, ENGINE_ALL); /* what stands there is known as cvv's own */
        assert_int_equal(node.kept[1].size, 10);
        assert_true(node.flags & VIEW_NODE_DRIFTED);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "a").published, ENGINE_ALL);
        assert_int_equal(atomic_load(&engine->content_changes), 1);
        assert_int_equal(atomic_load(&engine->changed_id), id);
        engine_assert_totals(engine);
        assert_int_equal(engine_progress(engine).owed_bytes, 2 * 11);
}

static bool set_complete(void *context, struct node_record *node)
{
        (void)context;
        node->complete |= 1;
        return true;
}

static void version_whose_rename_was_not_recorded_is_replaced_by_the_next(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine->options.existing = EXISTING_SKIP;
        engine->options.existing_given = true;
        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        assert_int_equal(view_update(engine->view, id, set_complete, NULL), 0);
        engine_put_file(engine->target_dirs[0], "a", 10, 'a', 0); /* renamed, and then the crash */
        engine_put_file(engine->source_dir, "a", 11, 'b', 60000000000);
        engine_remount(engine);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_node(engine, id).generation, 2);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "a").conflict, 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 1);
        engine_assert_totals(engine);
}

static bool set_partial(void *context, struct node_record *node)
{
        (void)context;
        node->partial |= 1;
        return true;
}

static void changed_ctime_counts_in_the_middle_of_a_copy_only(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        assert_int_equal(fchmodat(engine->source_dir, "a", 0600, 0), 0);
        assert_int_equal(reconcile_renew(engine->reconcile, id), 0);
        assert_int_equal(engine_node(engine, id).generation, 1);
        assert_int_equal(engine_node(engine, id).mode, S_IFREG | 0600);
        assert_int_equal(view_update(engine->view, id, set_partial, NULL), 0);
        assert_int_equal(fchmodat(engine->source_dir, "a", 0640, 0), 0);
        assert_int_equal(reconcile_renew(engine->reconcile, id), 0);
        assert_int_equal(engine_node(engine, id).generation, 2);
        assert_int_equal(engine_node(engine, id).partial, 0);
}

static void untrusted_generation_begins_again_once(void **state)
{
        struct engine *engine = *state;
        struct node_record node;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        engine_publish(engine, VIEW_ROOT, "a", 1);
        for (int mover = 0; mover < 3; mover++) /* several met it */
                assert_int_equal(reconcile_begin_again(engine->reconcile, id, 1), 0);
        node = engine_node(engine, id);
        assert_int_equal(node.generation, 2);
        assert_int_equal(node.complete | node.partial, 0);
        assert_int_equal(node.former, 1);
        assert_int_equal(node.kept[0].size, 10);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "a").published, 1);
        assert_int_equal(engine_progress(engine).owed_bytes, 20);
        engine_assert_totals(engine);
}

static void name_that_changes_its_type_keeps_the_totals(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        for (int type = 0; type < 3; type++) {
                (void)unlinkat(engine->source_dir, "a", type == 2 ? AT_REMOVEDIR : 0);
                if (type == 0)
                        assert_int_equal(symlinkat("b", engine->source_dir, "a"), 0);
                else if (type == 1)
                        assert_int_equal(mkdirat(engine->source_dir, "a", 0755), 0);
                else
                        engine_put_file(engine->source_dir, "a", 20, 'a', 0);
                assert_int_equal(reconcile_renew(engine->reconcile, id), 0);
                engine_assert_totals(engine);
        }
        assert_int_equal(engine_node(engine, id).generation, 4);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 1);
        assert_int_equal(view_directories_owed(engine->view), 0);
}

static bool set_unreadable(void *context, struct node_record *node)
{
        (void)context;
        node->flags |= VIEW_NODE_UNREADABLE;
        node->last_error = -EIO;
        return true;
}

static void unreadable_file_is_missing_until_it_changes_or_the_next_mount(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        for (int round = 0; round < 2; round++) {
                assert_int_equal(view_update(engine->view, id, set_unreadable, NULL), 0);
                assert_int_equal(reconcile_renew(engine->reconcile, id), 0); /* it is there: that was known */
                assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
                assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 1);
                assert_int_equal(engine_progress(engine).owed_bytes, 0);
                engine_assert_totals(engine);
                if (round == 0)
                        engine_put_file(engine->source_dir, "a", 11, 'b', 1);
                else
                        engine_remount(engine);
                (void)reconcile_directory(engine->reconcile, VIEW_ROOT);
                assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 1);
                assert_int_equal(engine_node(engine, id).last_error, 0);
                engine_assert_totals(engine);
        }
}

static void vanished_name_is_missing_until_it_returns(void **state)
{
        struct engine *engine = *state;
        uint64_t id, found;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        assert_int_equal(unlinkat(engine->source_dir, "a", 0), 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 1);
        assert_int_equal(engine_progress(engine).owed_bytes, 0);
        engine_assert_totals(engine);
        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 1);
        assert_int_equal(engine_progress(engine).owed_bytes, 20);
        engine_assert_totals(engine);
        assert_int_equal(engine_lookup(engine, VIEW_ROOT, "a"), id);
        assert_int_equal(unlinkat(engine->source_dir, "a", 0), 0);
        engine_remount(engine);
        assert_int_equal(reconcile_lookup(engine->reconcile, VIEW_ROOT, "a", &found), -ENOENT);
        assert_int_equal(view_resolve(engine->view, "a", &found), -ENOENT); /* nothing was copied of it: it is forgotten */
        assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 0);
}

static void finished_name_that_vanishes_is_missing_and_no_file_of_the_source_in_the_next_mount(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        for (int slot = 0; slot < ENGINE_TARGETS; slot++)
                engine_put_file(engine->target_dirs[slot], "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        engine_publish(engine, VIEW_ROOT, "a", ENGINE_ALL);
        assert_int_equal(unlinkat(engine->source_dir, "a", 0), 0);
        for (int round = 0; round < 2; round++) {
                assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
                assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 1);
                assert_int_equal(engine_progress(engine).files[CATEGORY_COPIED], 0);
                engine_assert_totals(engine);
        }
        engine_remount(engine);
        for (int round = 0; round < 2; round++) {
                assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
                assert_int_equal(engine_lookup(engine, VIEW_ROOT, "a"), id); /* the view still has it */
                assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 0);
                assert_int_equal(engine_progress(engine).files[CATEGORY_COPIED], 0);
                engine_assert_totals(engine);
        }
        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_COPIED], 1);
        engine_assert_totals(engine);
}

static void name_that_only_some_targets_have_is_missing_in_every_mount(void **state)
{
        struct engine *engine = *state;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        engine_put_file(engine->target_dirs[0], "a", 10, 'a', 0);
        (void)engine_lookup(engine, VIEW_ROOT, "a");
        engine_publish(engine, VIEW_ROOT, "a", 1);
        assert_int_equal(unlinkat(engine->source_dir, "a", 0), 0);
        for (int round = 0; round < 3; round++) {
                assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
                assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 1);
                engine_assert_totals(engine);
                engine_remount(engine);
        }
}

static void excluded_file_that_vanishes_leaves_the_totals(void **state)
{
        struct engine *engine = *state;

        engine_exclude(engine, "*.tmp");
        engine_put_file(engine->source_dir, "a.tmp", 10, 'a', 0);
        engine_put_file(engine->source_dir, "b", 20, 'a', 0);
        assert_int_equal(linkat(engine->source_dir, "b", engine->source_dir, "b.tmp", 0), 0);
        engine_remount(engine);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_EXCLUDED], 2);
        engine_assert_totals(engine);
        assert_int_equal(unlinkat(engine->source_dir, "a.tmp", 0), 0);
        assert_int_equal(unlinkat(engine->source_dir, "b.tmp", 0), 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_EXCLUDED], 0);
        assert_int_equal(engine_progress(engine).bytes[CATEGORY_EXCLUDED], 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 1);
        engine_assert_totals(engine);
}

static void directory_that_cannot_be_read_is_missing_until_it_can(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        assert_int_equal(mkdirat(engine->source_dir, "d", 0755), 0);
        id = engine_lookup(engine, VIEW_ROOT, "d");
        assert_int_equal(unlinkat(engine->source_dir, "d", AT_REMOVEDIR), 0);
        assert_int_equal(symlinkat("e", engine->source_dir, "d"), 0); /* never followed */
        for (int round = 0; round < 2; round++) {
                assert_int_equal(reconcile_directory(engine->reconcile, id), -ELOOP);
                assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 1);
                assert_int_equal(engine_node(engine, id).last_error, -ELOOP);
                engine_assert_totals(engine);
        }
        assert_int_equal(unlinkat(engine->source_dir, "d", 0), 0);
        assert_int_equal(mkdirat(engine->source_dir, "d", 0755), 0);
        assert_int_equal(reconcile_directory(engine->reconcile, id), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 0);
        assert_int_equal(engine_node(engine, id).last_error, 0);
        engine_assert_totals(engine);
}

/* Only this thread: what the others do needs the rights that they have. */
static void act_as(uid_t uid)
{
        assert_int_equal(syscall(SYS_setresuid, -1, uid, -1), 0);
}

static void directory_that_may_not_be_searched_is_missing_with_its_files(void **state)
{
        struct engine *engine = *state;
        uid_t me = geteuid();
        uint64_t id;

        assert_int_equal(mkdirat(engine->source_dir, "d", 0755), 0);
        engine_put_file(engine->source_dir, "d/f", 10, 'a', 0);
        assert_int_equal(fchmod(engine->source_dir, 0755), 0);
        assert_int_equal(fchmodat(engine->source_dir, "d", 0444, 0), 0);
        id = engine_lookup(engine, VIEW_ROOT, "d");
        act_as(me == 0 ? 65534 : me);
        assert_int_equal(reconcile_directory(engine->reconcile, id), -EACCES);
        act_as(me);
        assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 1);
        assert_int_equal(engine_node(engine, id).last_error, -EACCES);
        engine_assert_totals(engine);
        assert_int_equal(fchmodat(engine->source_dir, "d", 0755, 0), 0);
        assert_int_equal(reconcile_directory(engine->reconcile, id), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 1);
        engine_assert_totals(engine);
}

static void all_vanished_names_of_a_big_directory_are_met(void **state)
{
        struct engine *engine = *state;
        enum { COUNT = 1200 };
        char name[32];

        for (int i = 0; i < COUNT; i++) {
                (void)snprintf(name, sizeof(name), "f%04d", i);
                assert_int_equal(mknodat(engine->source_dir, name, S_IFREG | 0644, 0), 0);
        }
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], COUNT);
        for (int i = 0; i < COUNT; i++) {
                (void)snprintf(name, sizeof(name), "f%04d", i);
                assert_int_equal(unlinkat(engine->source_dir, name, 0), 0);
        }
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_MISSING], COUNT);
}

static void source_that_is_gone_deletes_nothing(void **state)
{
        struct engine *engine = *state;
        uint64_t id, found;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        assert_int_equal(unlinkat(engine->source_dir, "a", 0), 0);
        assert_int_equal(unlinkat(engine->sandbox->dir, "source", AT_REMOVEDIR), 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), -EIO);
        assert_true(atomic_load(&engine->context.source_absent));
        assert_int_equal(view_resolve(engine->view, "a", &found), 0);
        assert_int_equal(found, id);
        assert_false(engine_node(engine, id).flags & VIEW_NODE_MISSING);
        assert_int_equal(reconcile_lookup(engine->reconcile, VIEW_ROOT, "b", &found), -EIO); /* nobody knows */
        assert_int_equal(mkdirat(engine->sandbox->dir, "source", 0755), 0); /* for the end of the test */
}

/* --- hard links --- */

static void assert_source_path(struct engine *engine, uint64_t id, const char *expected)
{
        cleanup(pointer_free) char *path = NULL;

        assert_int_equal(view_source_path(engine->view, id, &path), 0);
        assert_string_equal(path, expected);
}

static void assert_missing(struct engine *engine, uint64_t id, unsigned missing, unsigned pending, uint64_t owed_bytes)
{
        struct progress_snapshot now = engine_progress(engine);

        assert_int_equal(now.files[CATEGORY_MISSING], missing);
        assert_int_equal(now.files[CATEGORY_PENDING], pending);
        assert_int_equal(now.owed_bytes, owed_bytes);
        assert_int_equal(!!(engine_node(engine, id).flags & VIEW_NODE_MISSING), pending == 0);
        engine_assert_totals(engine);
}

static void link_that_vanished_is_missing_alone_and_the_file_when_all_did(void **state)
{
        static const char *const names[] = { "a", "b", "d/c" };
        struct engine *engine = *state;
        uint64_t id, directory;

        assert_int_equal(mkdirat(engine->source_dir, "d", 0755), 0);
        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        assert_int_equal(linkat(engine->source_dir, "a", engine->source_dir, "b", 0), 0);
        assert_int_equal(linkat(engine->source_dir, "a", engine->source_dir, "d/c", 0), 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        directory = engine_lookup(engine, VIEW_ROOT, "d");
        assert_int_equal(engine_lookup(engine, VIEW_ROOT, "b"), id);
        assert_int_equal(engine_lookup(engine, directory, "c"), id);
        for (unsigned i = 0; i < 3; i++) {
                assert_missing(engine, id, i, 3 - i, 20);
                assert_source_path(engine, id, names[i]);
                assert_int_equal(unlinkat(engine->source_dir, names[i], 0), 0);
                assert_int_equal(reconcile_directory(engine->reconcile, i == 2 ? directory : VIEW_ROOT), 0);
        }
        assert_missing(engine, id, 3, 0, 0);
        engine_put_file(engine->source_dir, "b", 10, 'a', 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_lookup(engine, VIEW_ROOT, "b"), id);
        assert_missing(engine, id, 2, 1, 20);
        assert_source_path(engine, id, "b");
}

static void renewing_a_file_whose_first_name_vanished_finds_another(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        assert_int_equal(linkat(engine->source_dir, "a", engine->source_dir, "b", 0), 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        assert_int_equal(engine_lookup(engine, VIEW_ROOT, "b"), id);
        engine_put_file(engine->target_dirs[0], "a", 10, 'a', 0);
        engine_publish(engine, VIEW_ROOT, "a", 1);
        assert_int_equal(unlinkat(engine->source_dir, "a", 0), 0);
        assert_int_equal(reconcile_renew(engine->reconcile, id), 0);
        assert_int_equal(engine_node(engine, id).nlink, 1); /* as `b` has it now */
        assert_missing(engine, id, 1, 1, 10);
        assert_int_equal(unlinkat(engine->source_dir, "b", 0), 0);
        (void)reconcile_renew(engine->reconcile, id); /* whatever the targets have */
        assert_missing(engine, id, 2, 0, 0);
}

static void first_name_that_vanished_before_the_mount_leaves_its_bytes_to_the_next(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        assert_int_equal(linkat(engine->source_dir, "a", engine->source_dir, "b", 0), 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        assert_int_equal(engine_lookup(engine, VIEW_ROOT, "b"), id);
        assert_int_equal(unlinkat(engine->source_dir, "a", 0), 0);
        engine_remount(engine);
        assert_int_equal(engine_lookup(engine, VIEW_ROOT, "b"), id);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_missing(engine, id, 0, 1, 20);
        assert_int_equal(engine_progress(engine).bytes[CATEGORY_PENDING], 10);
        assert_source_path(engine, id, "b");
}

/* What is asked for each of them must not take the longer, the more there are. */
static void many_links_vanish_in_reasonable_time(void **state)
{
        enum { LINKS = 3000 };
        struct engine *engine = *state;
        char name[32];
        uint64_t id;

        engine_put_file(engine->source_dir, "f0000", 10, 'a', 0);
        for (int i = 1; i < LINKS; i++) {
                (void)snprintf(name, sizeof(name), "f%04d", i);
                assert_int_equal(linkat(engine->source_dir, "f0000", engine->source_dir, name, 0), 0);
        }
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        id = engine_lookup(engine, VIEW_ROOT, "f0000");
        assert_missing(engine, id, 0, LINKS, 20);
        for (int i = 0; i < LINKS; i++) {
                (void)snprintf(name, sizeof(name), "f%04d", i);
                assert_int_equal(unlinkat(engine->source_dir, name, 0), 0);
        }
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_missing(engine, id, LINKS, 0, 0);
}

static void hard_links_share_a_node_also_over_mounts(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        assert_int_equal(mkdirat(engine->source_dir, "d", 0755), 0);
        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        assert_int_equal(linkat(engine->source_dir, "a", engine->source_dir, "d/b", 0), 0);
        id = engine_lookup(engine, VIEW_ROOT, "a");
        assert_int_equal(engine_lookup(engine, engine_lookup(engine, VIEW_ROOT, "d"), "b"), id);
        assert_true(engine_node(engine, id).flags & VIEW_NODE_LINKS);
        assert_int_equal(engine_node(engine, id).nlink, 2);
        engine_assert_totals(engine);
        engine_remount(engine);
        assert_int_equal(linkat(engine->source_dir, "a", engine->source_dir, "c", 0), 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "c").id, id);
        assert_int_equal(engine_lookup(engine, engine_lookup(engine, VIEW_ROOT, "d"), "b"), id);
        engine_assert_totals(engine);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 3);
        assert_int_equal(engine_progress(engine).bytes[CATEGORY_PENDING], 10);
        assert_int_equal(engine_progress(engine).owed_bytes, 20);
}

/* --- excluded --- */

static void excluded_names_are_counted_and_not_shown(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_exclude(engine, "*.tmp");
        engine_remount(engine);
        engine_put_file(engine->source_dir, "a.tmp", 10, 'a', 0);
        engine_put_file(engine->source_dir, "a", 10, 'a', 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(reconcile_lookup(engine->reconcile, VIEW_ROOT, "a.tmp", &id), -ENOENT);
        assert_int_equal(engine_progress(engine).files[CATEGORY_EXCLUDED], 1);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 1);
        assert_int_equal(engine_progress(engine).owed_bytes, 20);
        engine_assert_totals(engine);
}

static void names_follow_what_is_excluded_in_this_mount(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_put_file(engine->source_dir, "a.tmp", 10, 'a', 0);
        for (int mount = 0; mount < 4; mount++) {
                bool excluded = mount % 2 == 0;

                engine_exclude(engine, excluded ? "*.tmp" : NULL);
                engine_remount(engine);
                assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
                assert_int_equal(view_resolve(engine->view, "a.tmp", &id), excluded ? -ENOENT : 0);
                assert_int_equal(engine_progress(engine).files[CATEGORY_EXCLUDED], excluded ? 1 : 0);
                assert_int_equal(engine_progress(engine).owed_bytes, excluded ? 0 : 20);
                engine_assert_totals(engine);
        }
}

static void control_directory_is_never_of_the_view(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        assert_int_equal(mkdirat(engine->source_dir, ".cvv", 0755), 0);
        assert_int_equal(reconcile_lookup(engine->reconcile, VIEW_ROOT, ".cvv", &id), -ENOENT);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(view_resolve(engine->view, ".cvv", &id), -ENOENT);
}

/* --- targets --- */

static void existing_files_are_judged_when_a_directory_is_loaded(void **state)
{
        struct engine *engine = *state;
        struct name_record name;

        engine->options.existing = EXISTING_SKIP;
        engine->options.existing_given = true;
        engine_put_file(engine->source_dir, "equal", 10, 'a', 0);
        engine_put_file(engine->source_dir, "differs", 10, 'a', 0);
        engine_put_file(engine->target_dirs[1], "equal", 10, 'a', 0);
        engine_put_file(engine->target_dirs[1], "differs", 11, 'a', 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        name = engine_name(engine, VIEW_ROOT, "equal");
        assert_int_equal(name.published, 2);
        assert_int_equal(engine_node(engine, name.id).skipped, 2);
        name = engine_name(engine, VIEW_ROOT, "differs");
        assert_int_equal(name.conflict, 2);
        assert_int_equal(engine_progress(engine).files[CATEGORY_CONFLICT], 1);
        engine_assert_totals(engine);
        assert_int_equal(unlinkat(engine->target_dirs[1], "differs", 0), 0);
        assert_int_equal(unlinkat(engine->target_dirs[1], "equal", 0), 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 2);
        assert_int_equal(engine_progress(engine).owed_bytes, 40);
        engine_assert_totals(engine);
}

static void names_of_targets_are_shown_and_owed_to_nobody(void **state)
{
        struct engine *engine = *state;
        uint64_t id, found;

        engine_put_file(engine->target_dirs[0], "listed", 10, 'a', 0);
        engine_put_file(engine->target_dirs[1], "looked-up", 20, 'a', 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(view_resolve(engine->view, "listed", &id), 0);
        assert_true(engine_name(engine, VIEW_ROOT, "listed").flags & VIEW_NAME_TARGET);
        id = engine_lookup(engine, VIEW_ROOT, "looked-up");
        assert_int_equal(engine_node(engine, id).size, 20);
        assert_int_equal(engine_node(engine, id).complete, 2);
        assert_int_equal(engine_progress(engine).owed_bytes, 0);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], 0);
        engine_remount(engine);
        assert_int_equal(engine_lookup(engine, VIEW_ROOT, "looked-up"), id);
        assert_int_equal(unlinkat(engine->target_dirs[1], "looked-up", 0), 0);
        engine_remount(engine);
        assert_int_equal(reconcile_lookup(engine->reconcile, VIEW_ROOT, "looked-up", &found), -ENOENT);
        assert_int_equal(view_resolve(engine->view, "looked-up", &found), -ENOENT);
}

static void name_deleted_on_its_target_is_not_listed_any_more(void **state)
{
        struct engine *engine = *state;
        uint64_t id;

        engine_put_file(engine->target_dirs[0], "t", 10, 'a', 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(view_resolve(engine->view, "t", &id), 0);
        assert_int_equal(unlinkat(engine->target_dirs[0], "t", 0), 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(view_resolve(engine->view, "t", &id), -ENOENT);
}

static void name_of_an_offline_target_is_not_forgotten(void **state)
{
        struct engine *engine = *state;
        uint64_t id, found;

        engine_put_file(engine->target_dirs[0], "t", 10, 'a', 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(view_resolve(engine->view, "t", &id), 0);
        target_set_state(&engine->targets[0], TARGET_OFFLINE, "test");
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        (void)reconcile_renew(engine->reconcile, id);
        assert_int_equal(view_resolve(engine->view, "t", &found), 0);
        assert_int_equal(found, id);
}

static void source_that_gets_a_targets_name_takes_it_over(void **state)
{
        struct engine *engine = *state;
        struct node_record node;
        uint64_t id;

        engine_put_file(engine->target_dirs[0], "t", 10, 'a', 0);
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(view_resolve(engine->view, "t", &id), 0);
        engine_put_file(engine->source_dir, "t", 30, 'b', 9);
        engine->options.existing = EXISTING_SKIP;
        engine->options.existing_given = true;
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(engine_name(engine, VIEW_ROOT, "t").id, id);
        node = engine_node(engine, id);
        assert_int_equal(node.size, 30);
        assert_int_equal(node.source_limit, UINT64_MAX); /* all of it comes from the source */
        assert_int_equal(engine_name(engine, VIEW_ROOT, "t").conflict, 1);
        assert_int_equal(engine_progress(engine).files[CATEGORY_CONFLICT], 1);
        engine_assert_totals(engine);
}

/* --- threads --- */

enum { RACE_NAMES = 300 };

struct racer {
        struct engine *engine;
        int dir_failures, lookup_failures;
};

static void *look_up_all(void *argument)
{
        struct racer *racer = argument;
        char name[32];

        for (int i = 0; i < RACE_NAMES; i++) {
                uint64_t id;

                (void)snprintf(name, sizeof(name), "f%04d", i);
                if (reconcile_lookup(racer->engine->reconcile, VIEW_ROOT, name, &id) != 0)
                        racer->lookup_failures++;
        }
        return NULL;
}

static void *load_all(void *argument)
{
        struct racer *racer = argument;

        if (reconcile_directory(racer->engine->reconcile, VIEW_ROOT) != 0)
                racer->dir_failures++;
        return NULL;
}

static void names_that_two_threads_meet_first_are_found_by_both(void **state)
{
        struct engine *engine = *state;
        struct racer racers[4] = { { .engine = engine }, { .engine = engine }, { .engine = engine }, { .engine = engine } };
        pthread_t threads[4];
        char name[32];

        for (int i = 0; i < RACE_NAMES; i++) {
                (void)snprintf(name, sizeof(name), "f%04d", i);
                engine_put_file(i % 2 ? engine->source_dir : engine->target_dirs[0], name, 1, 'a', 0);
        }
        for (int i = 0; i < 4; i++)
                assert_int_equal(thread_start(&threads[i], "racer", i % 2 ? load_all : look_up_all, &racers[i]), 0);
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (int i = 0; i < 4; i++) {
                assert_int_equal(racers[i].dir_failures, 0);
                assert_int_equal(racers[i].lookup_failures, 0);
        }
        engine_assert_totals(engine);
        assert_int_equal(engine_progress(engine).files[CATEGORY_PENDING], RACE_NAMES / 2);
}

struct rescan {
        struct engine *engine;
        atomic_bool stop;
        int failures;
};

static void *scan_all_the_time(void *argument)
{
        struct rescan *rescan = argument;

        while (!atomic_load(&rescan->stop))
                rescan->failures += reconcile_directory(rescan->engine->reconcile, VIEW_ROOT) != 0;
        return NULL;
}

static void what_is_published_during_a_scan_is_not_taken_back(void **state)
{
        struct engine *engine = *state;
        struct rescan rescan = { .engine = engine };
        pthread_t thread;
        char name[32];

        for (int i = 0; i < RACE_NAMES; i++) {
                (void)snprintf(name, sizeof(name), "f%04d", i);
                engine_put_file(engine->source_dir, name, 1, 'a', 0);
        }
        assert_int_equal(reconcile_directory(engine->reconcile, VIEW_ROOT), 0);
        assert_int_equal(thread_start(&thread, "scan", scan_all_the_time, &rescan), 0);
        for (int i = 0; i < RACE_NAMES; i++) {
                (void)snprintf(name, sizeof(name), "f%04d", i);
                engine_put_file(engine->sandbox->dir, "new", 1, 'a', 0);
                assert_int_equal(renameat(engine->sandbox->dir, "new", engine->target_dirs[0], name), 0);
                engine_publish(engine, VIEW_ROOT, name, 1);
        }
        atomic_store(&rescan.stop, true);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(rescan.failures, 0);
        for (int i = 0; i < RACE_NAMES; i++) {
                (void)snprintf(name, sizeof(name), "f%04d", i);
                assert_int_equal(engine_name(engine, VIEW_ROOT, name).published & 1, 1);
                assert_int_equal(engine_node(engine, engine_name(engine, VIEW_ROOT, name).id).complete & 1, 1);
        }
        engine_assert_totals(engine);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(files_are_judged_by_records_and_sight),
                ENGINE_CASE(version_that_is_found_under_its_name_without_a_record_is_what_the_next_one_replaces),
                cmocka_unit_test(times_that_a_target_cannot_hold_are_no_conflict),
                cmocka_unit_test(each_target_keeps_the_version_that_it_was_left_with),
                cmocka_unit_test(further_name_is_not_taken_for_the_first_by_its_looks),
                cmocka_unit_test(other_types_are_judged_by_what_they_are),
                ENGINE_CASE(verdicts_leave_records_and_totals_in_step),
                ENGINE_CASE(name_lost_on_a_target_keeps_the_other_link_complete),
                ENGINE_CASE(new_name_is_found_with_its_attributes_and_keeps_its_id),
                ENGINE_CASE(absent_name_is_absent),
                ENGINE_CASE(source_file_that_changes_is_a_new_generation),
                ENGINE_CASE(version_whose_rename_was_not_recorded_is_replaced_by_the_next),
                ENGINE_CASE(changed_ctime_counts_in_the_middle_of_a_copy_only),
                ENGINE_CASE(untrusted_generation_begins_again_once),
                ENGINE_CASE(name_that_changes_its_type_keeps_the_totals),
                ENGINE_CASE(unreadable_file_is_missing_until_it_changes_or_the_next_mount),
                ENGINE_CASE(vanished_name_is_missing_until_it_returns),
                ENGINE_CASE(finished_name_that_vanishes_is_missing_and_no_file_of_the_source_in_the_next_mount),
                ENGINE_CASE(name_that_only_some_targets_have_is_missing_in_every_mount),
                ENGINE_CASE(excluded_file_that_vanishes_leaves_the_totals),
                ENGINE_CASE(directory_that_cannot_be_read_is_missing_until_it_can),
                ENGINE_CASE(directory_that_may_not_be_searched_is_missing_with_its_files),
                ENGINE_CASE(link_that_vanished_is_missing_alone_and_the_file_when_all_did),
                ENGINE_CASE(renewing_a_file_whose_first_name_vanished_finds_another),
                ENGINE_CASE(first_name_that_vanished_before_the_mount_leaves_its_bytes_to_the_next),
                ENGINE_CASE(many_links_vanish_in_reasonable_time),
                ENGINE_CASE(all_vanished_names_of_a_big_directory_are_met),
                ENGINE_CASE(source_that_is_gone_deletes_nothing),
                ENGINE_CASE(hard_links_share_a_node_also_over_mounts),
                ENGINE_CASE(excluded_names_are_counted_and_not_shown),
                ENGINE_CASE(names_follow_what_is_excluded_in_this_mount),
                ENGINE_CASE(control_directory_is_never_of_the_view),
                ENGINE_CASE(existing_files_are_judged_when_a_directory_is_loaded),
                ENGINE_CASE(names_of_targets_are_shown_and_owed_to_nobody),
                ENGINE_CASE(name_deleted_on_its_target_is_not_listed_any_more),
                ENGINE_CASE(name_of_an_offline_target_is_not_forgotten),
                ENGINE_CASE(source_that_gets_a_targets_name_takes_it_over),
                ENGINE_CASE(names_that_two_threads_meet_first_are_found_by_both),
                ENGINE_CASE(what_is_published_during_a_scan_is_not_taken_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
