#include "core/target.h"

#include "engine_fixture.h"


/* --- opening, the marker, the lock --- */

static void target_path(struct engine *engine, const char *name, char path[static 256])
{
        (void)snprintf(path, 256, "%s/%s", engine->sandbox->path, name);
}

static struct target *open_other(struct engine *engine, struct target *target)
{
        char path[256];

        target_path(engine, "other", path);
        if (mkdirat(engine->sandbox->dir, "other", 0755) < 0)
                assert_int_equal(errno, EEXIST);
        assert_int_equal(target_open(target, path, 0, NULL), 0);
        return target;
}

static void opening_changes_nothing(void **state)
{
        struct engine *engine = *state;
        struct target target;
        int dir;

        open_other(engine, &target);
        assert_string_equal(target.marker, "");
        assert_true(target.identity[0] != '\0');
        target_close(&target);
        dir = openat(engine->sandbox->dir, "other", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(count_entries(dir), 0);
        (void)close(dir);
}

static void second_opener_is_refused_and_told_by_whom(void **state)
{
        struct engine *engine = *state;
        struct error error = { 0 };
        char path[256], pid[32];
        struct target target;

        target_path(engine, "target0", path);
        assert_int_equal(target_open(&target, path, 0, &error), -EBUSY);
        (void)snprintf(pid, sizeof(pid), "pid %ld", (long)getpid());
        assert_non_null(strstr(error.message, path));
        assert_non_null(strstr(error.message, pid));
        target_close(&target);
}

static void failed_open_can_be_closed(void **state)
{
        struct engine *engine = *state;
        char path[256];
        struct target target;

        target_path(engine, "absent", path);
        assert_int_equal(target_open(&target, path, 0, NULL), -ENOENT);
        target_close(&target);
}

static void marker_is_read_back_by_the_next_opener(void **state)
{
        struct engine *engine = *state;
        char marker[40];
        struct target target;

        open_other(engine, &target);
        assert_int_equal(target_write_marker(&target, 7, NULL), 0);
        assert_int_equal(strlen(target.marker), 32);
        (void)strcpy(marker, target.marker);
        assert_true(exists(target.partial_fd, "."));
        assert_int_equal(target_write_marker(&target, UINT64_MAX, NULL), 0);
        assert_string_equal(target.marker, marker);
        target_close(&target);

        open_other(engine, &target);
        assert_string_equal(target.marker, marker);
        assert_true(target.event_count == UINT64_MAX);
        target_close(&target);
}

static void sources_have_event_counts_of_their_own(void **state)
{
        struct engine *engine = *state;
        char marker[40], path[256];
        struct target target;

        open_other(engine, &target); /* of source 0 */
        assert_int_equal(target_write_marker(&target, 7, NULL), 0);
        (void)strcpy(marker, target.marker);
        target_close(&target);

        target_path(engine, "other", path);
        assert_int_equal(target_open(&target, path, 0xabc, NULL), 0);
        assert_string_equal(target.marker, marker);
        assert_int_equal(target.event_count, 0);
        assert_int_equal(target_write_marker(&target, 1, NULL), 0);
        make_file(target.control_fd, "event.00000000.tmp.5.1", ""); /* of a crash */
        assert_int_equal(target_remove_marker(&target), 0);
        assert_false(exists(target.control_fd, "event.00000abc"));
        assert_false(exists(target.control_fd, "event.00000000.tmp.5.1"));
        target_close(&target);

        open_other(engine, &target);
        assert_string_equal(target.marker, marker);
        assert_int_equal(target.event_count, 7);
        assert_int_equal(target_remove_marker(&target), 0);
        assert_false(exists(engine->sandbox->dir, "other/.cvv"));
        target_close(&target);
}

static void control_directories_are_the_owners_alone(void **state)
{
        struct engine *engine = *state;
        struct stat stat;

        assert_int_equal(fstatat(engine->target_dirs[0], ".cvv", &stat, 0), 0);
        assert_int_equal(stat.st_mode & 07777, 0700);
        assert_int_equal(fstatat(engine->target_dirs[0], ".cvv/partial", &stat, 0), 0);
        assert_int_equal(stat.st_mode & 07777, 0700);
        assert_int_equal(fstatat(engine->target_dirs[0], ".cvv/id", &stat, 0), 0);
        assert_int_equal(stat.st_mode & 07777, 0600);
}

static void damaged_marker_is_none(void **state)
{
        struct engine *engine = *state;
        static const char *const texts[] = { "", "\n", "id=\nevent=1\n", "event=3\n", "id=XYZ0123456789abcdef\nevent=1\n", "id=0123\nevent=1\n",
                                             "id=0123456789abcdef0123456789abcdef0123456789abcdef\nevent=1\n" };
        struct target target;

        open_other(engine, &target);
        assert_int_equal(target_write_marker(&target, 7, NULL), 0);
        target_close(&target);
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                make_file(engine->sandbox->dir, "other/.cvv/id", texts[i]);
                open_other(engine, &target);
                assert_string_equal(target.marker, "");
                assert_int_equal(target.event_count, 0);
                target_close(&target);
        }
}

static void huge_marker_is_none(void **state)
{
        struct engine *engine = *state;
        struct target target;

        open_other(engine, &target);
        assert_int_equal(target_write_marker(&target, 7, NULL), 0);
        target_close(&target);
        engine_put_file(engine->sandbox->dir, "other/.cvv/id", 1 << 20, 'a', 0);
        open_other(engine, &target);
        assert_string_equal(target.marker, "");
        target_close(&target);
}

static void control_directory_that_is_a_link_is_not_followed(void **state)
{
        struct engine *engine = *state;
        struct error error = { 0 };
        char path[256];
        struct target target;

        assert_int_equal(mkdirat(engine->sandbox->dir, "other", 0755), 0);
        assert_int_equal(symlinkat("../target0/.cvv", engine->sandbox->dir, "other/.cvv"), 0);
        target_path(engine, "other", path);
        assert_true(target_open(&target, path, 0, &error) < 0);
        assert_non_null(strstr(error.message, ".cvv"));
        target_close(&target);
}

static void removing_the_marker_leaves_nothing(void **state)
{
        struct engine *engine = *state;
        struct target target;
        int dir;

        open_other(engine, &target);
        assert_int_equal(target_remove_marker(&target), 0); /* none was there */
        assert_int_equal(target_write_marker(&target, 7, NULL), 0);
        assert_int_equal(target_remove_marker(&target), 0);
        dir = openat(engine->sandbox->dir, "other", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(count_entries(dir), 0);
        assert_int_equal(target_write_marker(&target, 8, NULL), 0); /* and it can come back */
        assert_true(exists(dir, ".cvv/partial"));
        (void)close(dir);
        target_close(&target);
}

static void removing_the_marker_spares_what_others_put_there(void **state)
{
        struct engine *engine = *state;
        struct target target;

        open_other(engine, &target);
        assert_int_equal(target_write_marker(&target, 7, NULL), 0);
        make_file(target.partial_fd, "left-over", "bytes");
        assert_int_equal(target_remove_marker(&target), 0);
        assert_true(exists(engine->sandbox->dir, "other/.cvv/partial/left-over"));
        assert_true(exists(engine->sandbox->dir, "other/.cvv/id")); /* somebody's work is owed: it is known again */
        assert_int_equal(unlinkat(target.partial_fd, "left-over", 0), 0);
        make_file(target.control_fd, "note", "not cvv's");
        assert_int_equal(target_remove_marker(&target), -ENOTEMPTY);
        assert_true(exists(engine->sandbox->dir, "other/.cvv/note"));
        target_close(&target);
}

/* --- the queue --- */

struct gate_job {
        struct target_job base;
        struct queue *queue;
        unsigned number;
};

/* What jobs do: they wait for the gate, and write down their order. */
struct queue {
        struct engine *engine;
        struct target *target;
        struct mutex lock; /* guards all below */
        struct condition changed;
        bool open;
        unsigned count, discarded, running;
        unsigned order[64];
};

static void run_gate_job(struct target_job *base, struct target *target, bool discard)
{
        struct gate_job *job = (struct gate_job *)base;
        struct queue *queue = job->queue;

        assert_ptr_equal(target, queue->target);
        mutex_lock(&queue->lock);
        queue->running++;
        condition_broadcast(&queue->changed);
        while (!queue->open)
                condition_wait(&queue->changed, &queue->lock);
        queue->order[queue->count++] = job->number;
        queue->discarded += discard;
        mutex_unlock(&queue->lock);
        free(job);
}

static void queue_init(struct queue *queue, struct engine *engine)
{
        *queue = (struct queue){ .engine = engine, .target = &engine->targets[0] };
        mutex_init(&queue->lock);
        condition_init(&queue->changed);
}

static void queue_deinit(struct queue *queue)
{
        mutex_lock(&queue->lock);
        queue->open = true;
        condition_broadcast(&queue->changed);
        mutex_unlock(&queue->lock);
        engine_wait_drained(queue->engine);
        condition_deinit(&queue->changed);
        mutex_deinit(&queue->lock);
}

static bool enqueue(struct queue *queue, unsigned number, uint64_t bytes, bool force)
{
        struct gate_job *job = calloc(1, sizeof(*job));

        assert_non_null(job);
        job->base.run = run_gate_job;
        job->base.bytes = bytes;
        job->queue = queue;
        job->number = number;
        if (target_enqueue(queue->target, &job->base, force))
                return true;
        free(job);
        return false;
}

static void wait_running(struct queue *queue)
{
        uint64_t deadline_ns = clock_now_ns() + ENGINE_WAIT_NS;

        MUTEX_SCOPE(&queue->lock);
        while (queue->running == 0)
                assert_true(condition_wait_until(&queue->changed, &queue->lock, deadline_ns));
}

static void jobs_run_in_order(void **state)
{
        struct queue queue;

        queue_init(&queue, *state);
        for (unsigned i = 0; i < 20; i++)
                assert_true(enqueue(&queue, i, 1, false));
        assert_false(target_is_drained(queue.target));
        queue_deinit(&queue);
        assert_true(target_is_drained(queue.target));
        assert_int_equal(queue.count, 20);
        assert_int_equal(queue.discarded, 0);
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(queue.order[i], i);
}

static void levels_follow_the_bytes_that_wait(void **state)
{
        struct queue queue;

        queue_init(&queue, *state); /* room for four blocks */
        assert_int_equal(target_level(queue.target), TARGET_QUEUE_LOW);
        assert_true(enqueue(&queue, 0, BUFPOOL_BLOCK_BYTES, false));
        wait_running(&queue);
        assert_true(enqueue(&queue, 1, BUFPOOL_BLOCK_BYTES, false));
        assert_int_equal(target_level(queue.target), TARGET_QUEUE_LOW); /* half; what runs counts */
        assert_true(enqueue(&queue, 2, BUFPOOL_BLOCK_BYTES, false));
        assert_int_equal(target_level(queue.target), TARGET_QUEUE_ROOM);
        assert_true(target_has_room(queue.target, BUFPOOL_BLOCK_BYTES));
        assert_false(target_has_room(queue.target, BUFPOOL_BLOCK_BYTES + 1));
        assert_false(enqueue(&queue, 9, BUFPOOL_BLOCK_BYTES + 1, false));
        assert_true(enqueue(&queue, 3, BUFPOOL_BLOCK_BYTES, false));
        assert_int_equal(target_level(queue.target), TARGET_QUEUE_FULL);
        assert_false(enqueue(&queue, 9, 1, false));
        assert_true(enqueue(&queue, 4, 1, true)); /* room or not */
        queue_deinit(&queue);
        assert_int_equal(queue.count, 5);
        assert_int_equal(target_level(queue.target), TARGET_QUEUE_LOW);
}

static void idle_queue_takes_a_job_larger_than_itself(void **state)
{
        struct queue queue;

        queue_init(&queue, *state);
        assert_true(enqueue(&queue, 0, 100 * BUFPOOL_BLOCK_BYTES, false));
        assert_false(enqueue(&queue, 1, 1, false));
        queue_deinit(&queue);
}

static void target_out_of_service_discards_its_queue_and_takes_nothing(void **state)
{
        static const enum target_state states[] = { TARGET_FULL, TARGET_FAILED, TARGET_OFFLINE };

        for (size_t i = 0; i < 3; i++) {
                struct queue queue;

                queue_init(&queue, *state);
                assert_true(enqueue(&queue, 0, 1, false));
                wait_running(&queue);
                assert_true(enqueue(&queue, 1, 1, false));
                assert_true(enqueue(&queue, 2, 1, false));
                target_set_state(queue.target, states[i], "test");
                assert_false(enqueue(&queue, 3, 1, false));
                assert_false(enqueue(&queue, 3, 1, true));
                assert_int_equal(target_level(queue.target), TARGET_QUEUE_FULL);
                queue_deinit(&queue);
                assert_int_equal(queue.count, 3);
                assert_int_equal(queue.discarded, 2); /* not the one that had begun */
                target_set_state(queue.target, TARGET_ONLINE, NULL);
                assert_int_equal(target_level(queue.target), TARGET_QUEUE_LOW);
        }
}

static void third_interval_does_not_begin_while_two_are_not_synced(void **state)
{
        struct engine *engine = *state;
        struct target *target = &engine->targets[0];
        struct queue queue;

        queue_init(&queue, engine);
        mutex_lock(&target->lock);
        target->syncing_since_ns = clock_now_ns();
        target->unsynced.bytes = TARGET_INTERVAL_BYTES - 1;
        mutex_unlock(&target->lock);
        assert_true(target_has_room(target, 1));
        assert_false(target_is_drained(target)); /* a sync runs */
        mutex_lock(&target->lock);
        target->unsynced.bytes++;
        mutex_unlock(&target->lock);
        assert_false(target_has_room(target, 1));
        assert_true(enqueue(&queue, 0, 1, true));
        mutex_lock(&target->lock);
        target->unsynced.bytes = 0;
        target->unsynced_max = 8; /* a job is queued, too */
        target->unsynced.count = 6;
        mutex_unlock(&target->lock);
        assert_true(target_has_room(target, 1));
        mutex_lock(&target->lock);
        assert_false(target_interval_is_full_locked(target));
        target->unsynced.count++;
        mutex_unlock(&target->lock);
        assert_false(target_has_room(target, 1)); /* so many files are open, or will be */
        mutex_lock(&target->lock);
        target->unsynced.count++;
        assert_true(target_interval_is_full_locked(target));
        target->unsynced_max = SIZE_MAX;
        target->unsynced.count = 1; /* small, but old, behind an old sync */
        target->unsynced.since_ns = target->syncing_since_ns = clock_now_ns() - TARGET_INTERVAL_MS * 1000000ull - 1;
        mutex_unlock(&target->lock);
        assert_false(target_has_room(target, 1));
        mutex_lock(&target->lock);
        target->syncing_since_ns = clock_now_ns();
        mutex_unlock(&target->lock);
        assert_true(target_has_room(target, 1));
        mutex_lock(&target->lock);
        target->syncing_since_ns = 0;
        target->unsynced.count = 0;
        mutex_unlock(&target->lock);
        queue_deinit(&queue);
}

static void unsynced_list_keeps_order_bytes_and_its_beginning(void **state)
{
        struct engine *engine = *state;
        struct target *target = &engine->targets[0];
        uint64_t before_ns = clock_now_ns();

        for (uint64_t i = 0; i < 1000; i++) {
                struct unsynced item = { .chunk = i, .generation = 2 * i };

                assert_true(target_add_unsynced(target, &item, 3));
        }
        assert_false(target_is_drained(target));
        mutex_lock(&target->lock);
        assert_int_equal(target->unsynced.count, 1000);
        assert_int_equal(target->unsynced.bytes, 3000);
        assert_true(target->unsynced.since_ns >= before_ns);
        for (uint64_t i = 0; i < 1000; i++) {
                assert_int_equal(target->unsynced.items[i].chunk, i);
                assert_int_equal(target->unsynced.items[i].generation, 2 * i);
        }
        target->unsynced.count = 0;
        mutex_unlock(&target->lock);
}

/* --- states --- */

static void states_decide_what_a_target_serves(void **state)
{
        struct engine *engine = *state;
        struct target *target = &engine->targets[0];
        static const struct {
                enum target_state state;
                bool writes, reads;
        } cases[] = {
                { TARGET_BEHIND, true, true },    { TARGET_FULL, false, true },   { TARGET_FAILED, false, false },
                { TARGET_OFFLINE, false, false }, { TARGET_ONLINE, true, true },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint64_t events = events_last_seq(engine->context.events);
                uint64_t serial = context_room_serial(&engine->context);

                target_set_state(target, cases[i].state, "why");
                assert_int_equal(target_state(target), cases[i].state);
                assert_int_equal(target_takes_writes(target), cases[i].writes);
                assert_int_equal(target_serves_reads(target), cases[i].reads);
                assert_int_equal(events_last_seq(engine->context.events), events + 1);
                assert_true(context_room_serial(&engine->context) > serial);
                target_set_state(target, cases[i].state, "again");
                assert_int_equal(events_last_seq(engine->context.events), events + 1); /* nothing new */
        }
}

static void errors_of_the_device_take_it_out_of_service(void **state)
{
        struct engine *engine = *state;
        struct target *target = &engine->targets[0];
        static const struct {
                int error;
                enum target_state state;
        } cases[] = {
                { -ENOSPC, TARGET_FULL },      { -EDQUOT, TARGET_FULL },      { -EIO, TARGET_FAILED },
                { -EROFS, TARGET_FAILED },     { -ETIMEDOUT, TARGET_OFFLINE }, { -ENODEV, TARGET_OFFLINE },
                { -ESTALE, TARGET_OFFLINE },   { -ENOTCONN, TARGET_OFFLINE }, { -EFBIG, TARGET_ONLINE },
                { -ENAMETOOLONG, TARGET_ONLINE }, { -EINVAL, TARGET_ONLINE }, { -EACCES, TARGET_ONLINE },
                { -EPERM, TARGET_ONLINE },     { -EILSEQ, TARGET_ONLINE },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_int_equal(target_state_of_error(cases[i].error), cases[i].state);
                target_set_state(target, TARGET_ONLINE, NULL);
                assert_int_equal(target_report(target, cases[i].error, "writing", "a\x1b[2Jb"), cases[i].state != TARGET_ONLINE);
                assert_int_equal(target_state(target), cases[i].state);
                mutex_lock(&target->lock);
                assert_int_equal(target->error_count, i + 1);
                assert_null(strchr(target->last_error, '\x1b'));
                assert_non_null(strstr(target->last_error, error_describe(cases[i].error)));
                mutex_unlock(&target->lock);
        }
}

static void late_error_never_betters_a_state(void **state)
{
        struct engine *engine = *state;
        struct target *target = &engine->targets[0];

        target_set_state(target, TARGET_FAILED, NULL);
        assert_true(target_report(target, -ENOSPC, "writing", "f"));
        assert_int_equal(target_state(target), TARGET_FAILED); /* full ones serve reads and come back by themselves */
        assert_true(target_report(target, -ETIMEDOUT, "writing", "f"));
        assert_int_equal(target_state(target), TARGET_OFFLINE);
        assert_true(target_report(target, -ENOSPC, "writing", "f"));
        assert_int_equal(target_state(target), TARGET_OFFLINE);
        assert_true(target_report(target, -EIO, "syncing", NULL));
        assert_int_equal(target_state(target), TARGET_OFFLINE);
        assert_false(target_report(target, -EFBIG, "writing", "f"));
}

static void space_is_noted_when_it_becomes_full(void **state)
{
        struct engine *engine = *state;
        struct target *target = &engine->targets[0];

        assert_false(target->space_known);
        target_refresh_space(target);
        assert_true(target->space_known);
        target_set_state(target, TARGET_FULL, NULL);
        assert_int_equal(target->free_at_full, target->space.f_bavail * target->space.f_frsize);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                ENGINE_CASE(opening_changes_nothing),
                ENGINE_CASE(second_opener_is_refused_and_told_by_whom),
                ENGINE_CASE(failed_open_can_be_closed),
                ENGINE_CASE(marker_is_read_back_by_the_next_opener),
                ENGINE_CASE(sources_have_event_counts_of_their_own),
                ENGINE_CASE(control_directories_are_the_owners_alone),
                ENGINE_CASE(damaged_marker_is_none),
                ENGINE_CASE(huge_marker_is_none),
                ENGINE_CASE(control_directory_that_is_a_link_is_not_followed),
                ENGINE_CASE(removing_the_marker_leaves_nothing),
                ENGINE_CASE(removing_the_marker_spares_what_others_put_there),
                ENGINE_CASE(jobs_run_in_order),
                ENGINE_CASE(levels_follow_the_bytes_that_wait),
                ENGINE_CASE(idle_queue_takes_a_job_larger_than_itself),
                ENGINE_CASE(target_out_of_service_discards_its_queue_and_takes_nothing),
                ENGINE_CASE(third_interval_does_not_begin_while_two_are_not_synced),
                ENGINE_CASE(unsynced_list_keeps_order_bytes_and_its_beginning),
                ENGINE_CASE(states_decide_what_a_target_serves),
                ENGINE_CASE(errors_of_the_device_take_it_out_of_service),
                ENGINE_CASE(late_error_never_betters_a_state),
                ENGINE_CASE(space_is_noted_when_it_becomes_full),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
