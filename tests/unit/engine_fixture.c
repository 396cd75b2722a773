#include "engine_fixture.h"

#include "core/need.h"

#include "core/metadata_rules.h"
#include "core/setup.h"
#include "core/touched.h"

static void on_content_changed(void *context, uint64_t id)
{
        struct engine *engine = context;
        struct file *file = files_peek(engine->files, id);

        atomic_fetch_add(&engine->content_changes, 1);
        atomic_store(&engine->changed_id, id);
        if (file)
                file_reload(file);
        file_unref(file);
}

static void on_target_changed(void *context, struct target *target)
{
        (void)target;
        context_room_signal(&((struct engine *)context)->context);
}

/* --- a mount --- */

static void put_root(struct engine *engine)
{
        struct node_record node = { .parent = VIEW_ROOT, .generation = 1, .source_limit = UINT64_MAX, .name_size = 1, .name = ".",
                                    .mode = S_IFDIR | 0755, .nlink = 2, .flags = VIEW_NODE_SOURCE };
        struct record_key key = record_key_node(VIEW_ROOT);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;

        (void)view_node(engine->view, VIEW_ROOT, &node); /* absent in a new state */
        assert_int_equal(record_encode_node(&node, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(statedb_put(engine->context.db, key.bytes, key.size, buffer, size), 0);
}

static void open_state(struct engine *engine)
{
        struct meta_record meta = { .version = 1, .chunk_bytes = ENGINE_CHUNK, .next_id = VIEW_ROOT + 1 };
        struct context *context = &engine->context;
        char path[256];

        (void)snprintf(path, sizeof(path), "%s/state", engine->sandbox->path);
        assert_int_equal(statedb_open(path, NULL, NULL, &context->db), 0);
        (void)setup_get_meta(context->db, &meta); /* absent in a new state */
        meta.epoch++;
        assert_int_equal(setup_put_meta(context->db, &meta), 0);
        context->epoch = meta.epoch;
        context->chunk_bytes = ENGINE_CHUNK;
        assert_int_equal(view_new(context, meta.next_id, &engine->view), 0);
        put_root(engine);
        assert_int_equal(reconcile_new(engine->view, &engine->reconcile), 0);
        assert_int_equal(files_new(engine->view, &engine->files), 0);
}

static void open_target(struct engine *engine, unsigned slot)
{
        struct target *target = &engine->targets[slot];
        char path[256];

        (void)snprintf(path, sizeof(path), "%s/target%u", engine->sandbox->path, slot);
        assert_int_equal(target_open(target, path, 0, NULL), 0);
        target->n = slot + 1;
        target->slot = slot;
        target->events = engine->context.events;
        target->changed = on_target_changed;
        target->changed_context = engine;
        assert_int_equal(target_write_marker(target, 1, NULL), 0);
        assert_int_equal(target_start(target, 4 * BUFPOOL_BLOCK_BYTES), 0);
        engine->context.targets[slot] = target;
        engine->context.target_mask |= 1ull << slot;
}

static void mount_engine(struct engine *engine)
{
        struct context *context = &engine->context;
        char path[256];

        memset(context, 0, sizeof(*context));
        mutex_init(&context->room_lock);
        condition_init(&context->room_changed);
        progress_init(&context->progress);
        assert_int_equal(events_new(&context->events), 0);
        assert_int_equal(bufpool_new(0, 0, &context->bufpool), 0);
        assert_int_equal(limiter_new(0, &context->limiter), 0);
        if (engine->options.exclude.count > 0)
                assert_int_equal(exclude_new(engine->options.exclude.items, engine->options.exclude.count, &context->exclude), 0);
        context->options = &engine->options;
        context->content_changed = on_content_changed;
        context->callback_context = engine;
        (void)snprintf(path, sizeof(path), "%s/source", engine->sandbox->path);
        assert_int_equal(root_open(&engine->source, path, NULL), 0);
        assert_int_equal(root_start(&engine->source, "source", 2), 0);
        context->source = &engine->source;
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++)
                open_target(engine, slot);
        open_state(engine);
}

static void close_target(struct target *target)
{
        mutex_lock(&target->lock);
        target->stopping = true;
        condition_broadcast(&target->work);
        mutex_unlock(&target->lock);
        if (target->writer_started)
                (void)pthread_join(target->writer, NULL);
        (void)root_stop(&target->root, clock_now_ns() + ENGINE_WAIT_NS);
        touched_free(target);
        target_close(target);
}

static void unmount_engine(struct engine *engine)
{
        struct context *context = &engine->context;

        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++)
                close_target(&engine->targets[slot]);
        (void)root_stop(&engine->source, clock_now_ns() + ENGINE_WAIT_NS);
        root_close(&engine->source);
        files_free(engine->files);
        reconcile_free(engine->reconcile);
        view_free(engine->view);
        assert_int_equal(statedb_close(context->db), 0);
        context->exclude = exclude_free(context->exclude);
        limiter_free(context->limiter);
        bufpool_unref(context->bufpool);
        events_unref(context->events);
        progress_deinit(&context->progress);
        condition_deinit(&context->room_changed);
        mutex_deinit(&context->room_lock);
}

void engine_remount(struct engine *engine)
{
        unmount_engine(engine);
        mount_engine(engine);
}

static int make_directory(struct fixture *sandbox, const char *name)
{
        int fd;

        assert_int_equal(mkdirat(sandbox->dir, name, 0755), 0);
        fd = openat(sandbox->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

int engine_set_up(void **state)
{
        struct engine *engine = calloc(1, sizeof(*engine));
        void *sandbox = NULL;

        if (!engine || set_up(&sandbox) != 0)
                return -1;
        *state = engine;
        engine->sandbox = sandbox;
        engine->source_dir = make_directory(engine->sandbox, "source");
        engine->target_dirs[0] = make_directory(engine->sandbox, "target0");
        engine->target_dirs[1] = make_directory(engine->sandbox, "target1");
        (void)close(make_directory(engine->sandbox, "state"));
        options_init(&engine->options);
        engine->options.mode = MODE_TRANSFER; /* without threads of verification */
        mount_engine(engine);
        return 0;
}

int engine_tear_down(void **state)
{
        struct engine *engine = *state;
        void *sandbox = engine->sandbox;

        unmount_engine(engine);
        options_deinit(&engine->options);
        (void)close(engine->source_dir);
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++)
                (void)close(engine->target_dirs[slot]);
        free(engine);
        return tear_down(&sandbox);
}

void engine_exclude(struct engine *engine, const char *pattern)
{
        struct options_list *list = &engine->options.exclude;

        for (size_t i = 0; i < list->count; i++)
                free(list->items[i]);
        list->count = 0;
        if (pattern)
                assert_int_equal(options_list_add(list, pattern, strlen(pattern)), 0);
}

/* --- contents --- */

void engine_put_file(int dir, const char *name, uint64_t size, int fill, int64_t age_ns)
{
        cleanup(fd_close) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        int64_t mtime_ns = ENGINE_TIME_NS + age_ns;
        struct timespec time = { mtime_ns / 1000000000, mtime_ns % 1000000000 };
        char *data = malloc(size > 0 ? size : 1);

        assert_true(fd >= 0);
        assert_non_null(data);
        memset(data, fill, size);
        assert_int_equal(io_write_full(fd, data, size, 0), 0);
        free(data);
        assert_int_equal(futimens(fd, (struct timespec[2]){ time, time }), 0);
}

uint64_t engine_record(struct engine *engine, uint64_t parent, const char *name, mode_t mode, uint64_t size)
{
        uint64_t id = view_new_id(engine->view);
        struct name_record record = { .id = id, .flags = VIEW_NAME_SOURCE, .mode_type = mode & S_IFMT };
        struct node_record node = { .parent = parent, .generation = 1, .source_limit = UINT64_MAX, .mode = mode, .size = size,
                                    .nlink = 1, .flags = VIEW_NODE_SOURCE, .mtime_ns = ENGINE_TIME_NS };

        node.name_size = (uint16_t)strlen(name);
        memcpy(node.name, name, node.name_size);
        assert_int_equal(view_add(engine->view, parent, name, &record, &node), 0);
        assert_int_equal(view_count(engine->view, parent, name), 0);
        return id;
}

struct node_record engine_node(struct engine *engine, uint64_t id)
{
        struct node_record node;

        memset(&node, 0, sizeof(node));
        assert_int_equal(view_node(engine->view, id, &node), 0);
        return node;
}

struct name_record engine_name(struct engine *engine, uint64_t parent, const char *name)
{
        struct name_record record = { 0 };

        assert_int_equal(view_name(engine->view, parent, name, &record), 0);
        return record;
}

struct progress_snapshot engine_progress(struct engine *engine)
{
        struct progress_snapshot snapshot;

        progress_snapshot(&engine->context.progress, &snapshot);
        return snapshot;
}

uint64_t engine_lookup(struct engine *engine, uint64_t parent, const char *name)
{
        uint64_t id = 0;

        assert_int_equal(reconcile_lookup(engine->reconcile, parent, name, &id), 0);
        return id;
}

static bool publish(void *context, struct node_record *node, struct name_record *name)
{
        uint64_t slots = *(const uint64_t *)context;

        node->complete |= slots;
        node->partial &= ~slots;
        name->published |= slots;
        return true;
}

void engine_publish(struct engine *engine, uint64_t parent, const char *name, uint64_t slots)
{
        assert_int_equal(view_update_name(engine->view, parent, name, publish, &slots), 0);
}

void engine_wait_drained(struct engine *engine)
{
        uint64_t deadline_ns = clock_now_ns() + ENGINE_WAIT_NS;

        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++) {
                struct target *target = &engine->targets[slot];

                for (;;) {
                        uint64_t serial = context_room_serial(&engine->context);
                        unsigned jobs;

                        mutex_lock(&target->lock);
                        jobs = target->job_count;
                        mutex_unlock(&target->lock);
                        if (jobs == 0)
                                break;
                        assert_true(clock_now_ns() < deadline_ns);
                        context_room_wait_until(&engine->context, serial, deadline_ns);
                }
        }
}

/* --- totals --- */

struct recount {
        struct engine *engine;
        uint64_t parent;
        uint64_t files[CATEGORY_COUNT], bytes[CATEGORY_COUNT], directories_owed, files_verified, bytes_verified;
        struct progress_target targets[ENGINE_TARGETS];
};

static void recount_node(struct recount *recount, uint64_t id, const struct node_record *node)
{
        struct need need = need_of(recount->engine->context.options, node, recount->engine->context.target_mask);

        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++) {
                uint64_t present = view_slot_bytes(recount->engine->view, id, node, slot);
                uint64_t owed = (node->conflict | node->failed) >> slot & 1 || (node->flags & VIEW_NODE_UNAVAILABLE)
                                    ? 0
                                    : node->size - present;

                recount->targets[slot].present_bytes += present;
                recount->targets[slot].owed_bytes += owed;
                recount->targets[slot].queued_bytes += node->flags & VIEW_NODE_QUEUED ? owed : 0;
                if (!(node->complete >> slot & 1))
                        continue;
                if (node->verified >> slot & 1)
                        recount->targets[slot].verified_bytes += node->size;
                else if (!((node->conflict | node->failed | need.read_back) >> slot & 1))
                        recount->targets[slot].exempt_bytes += node->size;
        }
}

static bool recount_name(void *context, const char *name, const struct name_record *record)
{
        struct recount *recount = context;
        struct engine *engine = recount->engine;
        struct node_record node = engine_node(engine, record->id);
        enum category category = view_classify(engine->context.target_mask, &node, record);
        bool primary = node.parent == recount->parent && node.name_size == strlen(name) &&
                       memcmp(node.name, name, node.name_size) == 0;

        if (S_ISDIR(node.mode) && !(record->flags & VIEW_NAME_EXCLUDED)) {
                uint64_t parent = recount->parent;

                recount->parent = record->id;
                assert_int_equal(view_list(engine->view, record->id, NULL, recount_name, recount), 0);
                recount->parent = parent;
        }
        if (!(record->flags & VIEW_NAME_SOURCE))
                return true;
        if (S_ISDIR(node.mode) && category != CATEGORY_EXCLUDED &&
            !(category == CATEGORY_MISSING && (node.flags & VIEW_NODE_UNREADABLE))) {
                recount->directories_owed += category == CATEGORY_PENDING;
                return true;
        }
        if (S_ISREG(node.mode) && primary && !(record->flags & VIEW_NAME_EXCLUDED) && node.epoch == engine->context.epoch)
                recount_node(recount, record->id, &node);
        if ((record->flags & VIEW_NAME_VANISHED) && !view_name_is_counted(engine->view, record))
                return true; /* no file of the source any more */
        recount->files[category]++;
        if (S_ISREG(node.mode) && primary)
                recount->bytes[category] += node.size;
        if ((category != CATEGORY_COPIED && category != CATEGORY_SKIPPED) || (node.verified & ENGINE_ALL) != ENGINE_ALL)
                return true;
        recount->files_verified++;
        recount->bytes_verified += S_ISREG(node.mode) && primary ? node.size : 0;
        return true;
}

void engine_assert_totals(struct engine *engine)
{
        struct progress_snapshot now = engine_progress(engine);
        struct recount recount = { .engine = engine, .parent = VIEW_ROOT };

        assert_int_equal(view_list(engine->view, VIEW_ROOT, NULL, recount_name, &recount), 0);
        for (enum category c = 0; c < CATEGORY_COUNT; c++) {
                if (now.files[c] != recount.files[c] || now.bytes[c] != recount.bytes[c])
                        fail_msg("%s: %llu files, %llu bytes are counted, %llu and %llu recorded", category_name(c),
                                 (unsigned long long)now.files[c], (unsigned long long)now.bytes[c],
                                 (unsigned long long)recount.files[c], (unsigned long long)recount.bytes[c]);
        }
        assert_int_equal(now.files_verified, recount.files_verified);
        assert_int_equal(now.bytes_verified, recount.bytes_verified);
        assert_int_equal(view_directories_owed(engine->view), recount.directories_owed);
        for (unsigned slot = 0; slot < ENGINE_TARGETS; slot++) {
                assert_int_equal(now.targets[slot].present_bytes, recount.targets[slot].present_bytes);
                assert_int_equal(now.targets[slot].owed_bytes, recount.targets[slot].owed_bytes);
                assert_int_equal(now.targets[slot].queued_bytes, recount.targets[slot].queued_bytes);
                assert_int_equal(now.targets[slot].verified_bytes, recount.targets[slot].verified_bytes);
                assert_int_equal(now.targets[slot].exempt_bytes, recount.targets[slot].exempt_bytes);
        }
}
