#include "core/mirror_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/marks.h"

enum { CHECKPOINT_S = 10 };

/* A command that was checked: what it names was found. Nothing is changed before all of a write were. */
struct checked {
        const struct command *command;
        uint64_t id;
};

static struct target *find_target(struct mirror *mirror, uint32_t n)
{
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                if (target->n == n)
                        return target;
        return NULL;
}

static int check(struct mirror *mirror, const struct command *command, struct checked *ret_checked, struct error *error)
{
        int result;

        ret_checked->command = command;
        ret_checked->id = VIEW_ROOT;
        switch (command->kind) {
        case COMMAND_FILL:
        case COMMAND_VERIFY:
                result = mirror_resolve(mirror, command->path, &ret_checked->id);
                return result < 0 ? error_set(error, result, "%s: %s", command->path, strerror(-result)) : 0;
        case COMMAND_RESYNC:
                if (command->target != 0 && !find_target(mirror, command->target))
                        return error_set(error, -EINVAL, "there is no target %u", command->target);
                return 0;
        case COMMAND_REMOVE:
                if (!find_target(mirror, command->target))
                        return error_set(error, -EINVAL, "there is no target %u", command->target);
                return error_set(error, -EOPNOTSUPP, "this version does not have that command yet");
        case COMMAND_ADD:
                return error_set(error, -EOPNOTSUPP, "this version does not have that command yet");
        case COMMAND_PAUSE:
        case COMMAND_RESUME:
        case COMMAND_RETRY:
        case COMMAND_LIMIT:
        case COMMAND_CHECKPOINT:
                return 0;
        }
        return error_set(error, -EINVAL, "unknown command");
}

static int set_fill_all(struct mirror *mirror)
{
        struct meta_record meta;
        int result;

        atomic_store(&mirror->context.fill_all, true);
        result = setup_get_meta(mirror->context.db, &meta);
        if (result == 0) {
                meta.flags |= META_FILL_ALL;
                result = setup_put_meta(mirror->context.db, &meta);
        }
        if (result == 0)
                scan_again(mirror->scan);
        return result;
}

int mirror_fill(struct mirror *mirror, uint64_t id)
{
        int result = id == VIEW_ROOT ? set_fill_all(mirror) : scan_queue_tree(mirror->reconcile, mirror->view, id, VIEW_QUEUE_ASKED);

        scheduler_kick(mirror->scheduler);
        return result;
}

static int verify(struct mirror *mirror, uint64_t id)
{
        struct node_record node;
        int result = view_node(mirror->view, id, &node);

        if (result < 0)
                return result;
        marks_doubt(mirror->files, S_ISDIR(node.mode) ? VIEW_ROOT : id);
        result = scan_verify_tree(mirror->reconcile, mirror->view, id);

        scheduler_kick(mirror->scheduler);
        return result;
}

/* --- retry --- */

static bool change_retry(void *context, struct node_record *node)
{
        (void)context;
        if (node->failed == 0 && !(node->flags & VIEW_NODE_UNAVAILABLE))
                return false;
        node->failed = 0;
        node->flags &= ~(uint32_t)VIEW_NODE_UNAVAILABLE;
        node->last_error = 0;
        return true;
}

static bool retry_entry(void *context, const struct statedb_view *entry)
{
        struct mirror *mirror = context;
        cleanup(file_release) struct file *file = NULL;
        struct name_record name;
        enum category category;

        if (record_decode_name(entry->value, entry->value_size, &name) < 0)
                return true;
        category = view_name_category(&name);
        if (category != CATEGORY_FAILED && category != CATEGORY_MISSING)
                return true;
        if (view_update(mirror->view, name.id, change_retry, NULL) < 0)
                return true;
        file = files_peek(mirror->files, name.id);
        if (file)
                file_reload(file);
        (void)view_queue(mirror->view, name.id, VIEW_QUEUE_ASKED); /* else the scan, which comes next, finds it */
        return true;
}

static int retry(struct mirror *mirror)
{
        struct record_key prefix = record_prefix_table(TABLE_NAME);
        int64_t scanned = statedb_scan(mirror->context.db, NULL, 0, prefix.bytes, prefix.size, UINT64_MAX, retry_entry, mirror);

        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                if (target_state(target) != TARGET_ONLINE && target->root.fd >= 0)
                        target_set_state(target, TARGET_BEHIND, "retry");
        verify_forget_attempts(mirror->verify);
        atomic_store(&mirror->context.source_absent, false);
        scan_again(mirror->scan);
        scheduler_resync(mirror->scheduler, mirror->context.target_mask);
        return scanned < 0 ? (int)scanned : 0;
}

static int resync(struct mirror *mirror, uint32_t n)
{
        struct target *target = n ? find_target(mirror, n) : NULL;
        uint64_t slots = target ? 1ull << target->slot : mirror->context.target_mask;

        for (CONTEXT_EACH_TARGET(&mirror->context, slots, one))
                if (target_state(one) != TARGET_ONLINE && one->root.fd >= 0)
                        target_set_state(one, TARGET_BEHIND, "resync");
        scheduler_resync(mirror->scheduler, slots);
        return 0;
}

static int carry_out(struct mirror *mirror, const struct checked *checked)
{
        static const char *const names[] = {
                [COMMAND_FILL] = "fill",     [COMMAND_PAUSE] = "paused",   [COMMAND_RESUME] = "resumed",
                [COMMAND_VERIFY] = "verify", [COMMAND_RESYNC] = "resync",  [COMMAND_RETRY] = "retry",
                [COMMAND_LIMIT] = "limit",   [COMMAND_CHECKPOINT] = "checkpoint-asked", [COMMAND_ADD] = "add",
                [COMMAND_REMOVE] = "remove",
        };
        const struct command *command = checked->command;

        events_add(mirror->context.events, names[command->kind], command->path, (int)command->target, command->directory);

        switch (command->kind) {
        case COMMAND_FILL:
                return mirror_fill(mirror, checked->id);
        case COMMAND_PAUSE:
                scheduler_pause(mirror->scheduler, true);
                verify_pause(mirror->verify, true);
                return 0;
        case COMMAND_RESUME:
                verify_pause(mirror->verify, false);
                scheduler_pause(mirror->scheduler, false);
                return 0;
        case COMMAND_RETRY:
                return retry(mirror);
        case COMMAND_RESYNC:
                return resync(mirror, command->target);
        case COMMAND_LIMIT:
                limiter_set_rate(mirror->context.limiter, command->limit_bytes_per_s);
                verify_set_limit(mirror->verify, command->limit_bytes_per_s);
                return 0;
        case COMMAND_CHECKPOINT:
                return mirror_checkpoint(mirror, clock_now_ns() + CHECKPOINT_S * 1000000000ull);
        case COMMAND_VERIFY:
                return verify(mirror, checked->id);
        case COMMAND_ADD:
        case COMMAND_REMOVE:
                break;
        }
        return -EOPNOTSUPP;
}

int mirror_control(struct mirror *mirror, const struct command *commands, size_t count, struct error *error)
{
        cleanup(pointer_free) struct checked *checked = calloc(count > 0 ? count : 1, sizeof(*checked));
        int result = checked ? 0 : error_set(error, -ENOMEM, "not enough memory");

        for (size_t i = 0; i < count && result == 0; i++)
                result = check(mirror, &commands[i], &checked[i], error);
        for (size_t i = 0; i < count && result == 0; i++) {
                result = carry_out(mirror, &checked[i]);
                if (result < 0)
                        (void)error_set(error, result, "the command failed: %s", strerror(-result));
        }
        return result;
}

int mirror_config(struct mirror *mirror, char **ret_text)
{
        struct options options = *mirror->context.options; /* only looked at: what it points to stays the original's */

        options.limit_bytes_per_s = limiter_rate(mirror->context.limiter);
        if (atomic_load(&mirror->context.fill_all))
                options.fill = FILL_ALL;
        options.chunk_bytes = mirror->context.chunk_bytes;
        options.state_dir = (char *)(uintptr_t)statedir_path(mirror->setup.state);
        return options_config_text(&options, ret_text);
}
