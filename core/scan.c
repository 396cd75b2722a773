#include "core/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/erase.h"
#include "core/log.h"
#include "core/need.h"

struct scan {
        struct reconcile *reconcile;
        struct view *view;
        struct context *context;
        void (*ended)(void *context);
        void *callback_context;
        pthread_t thread;
        bool started;
        atomic_bool stopping;
        struct mutex lock; /* guards all below */
        struct condition changed;
        bool wanted, running, thread_ended;
        struct scan_look last;
};

/* The directories that are still to be visited. */
struct stack {
        uint64_t *ids;
        size_t count, capacity;
        int error;
};

static void push(struct stack *stack, uint64_t id)
{
        if (stack->count == stack->capacity) {
                size_t capacity = stack->capacity ? stack->capacity * 2 : 256;
                uint64_t *ids = reallocarray(stack->ids, capacity, sizeof(*ids));

                if (!ids) {
                        stack->error = -ENOMEM;
                        return;
                }
                stack->ids = ids;
                stack->capacity = capacity;
        }
        stack->ids[stack->count++] = id;
}

struct visit {
        struct view *view;
        struct stack *stack;
        uint8_t priority; /* queue what is lacking; 0: nothing */
        bool verify;      /* all that is complete somewhere is to be looked at again */
        uint64_t unsafe_names; /* see scan.h */
        int error;
};

/* Whether a target lacks it and can have it, whatever stands in its way on others; or its copies are to be looked at. */
static bool is_lacking(const struct context *context, const struct node_record *node, const struct name_record *name)
{
        enum category category = view_name_category(name);

        struct need need = need_of(context->options, node, context->target_mask);

        if (category == CATEGORY_PENDING || !need_is_nothing(&need))
                return true;
        if (category == CATEGORY_MISSING && (!S_ISDIR(node->mode) || (name->flags & VIEW_NAME_VANISHED)))
                return false; /* a directory that cannot be read is there all the same */
        return (category == CATEGORY_CONFLICT || category == CATEGORY_FAILED || category == CATEGORY_MISSING) &&
               (~view_finished(node, name) & ~(node->conflict | name->conflict | node->failed) & context->target_mask) != 0;
}

static bool change_verify(void *context, struct node_record *node)
{
        (void)context;
        if (S_ISDIR(node->mode) || node->complete == 0)
                return false;
        node->flags |= VIEW_NODE_VERIFY;
        node->verified = 0;
        return true;
}

static bool is_unsafe(struct view *view, const struct name_record *record)
{
        const struct context *context = view_context(view);
        struct node_record node;

        if (context->options->mode != MODE_FULL || !(record->flags & VIEW_NAME_SOURCE) ||
            ((record->flags & VIEW_NAME_VANISHED) && !view_name_is_counted(view, record)))
                return false; /* the last: no file of the source any more */
        return view_node(view, record->id, &node) < 0 || !erase_is_safe(context->options, context->target_mask, record, &node);
}

static bool visit_name(void *context, const char *name, const struct name_record *record)
{
        struct visit *visit = context;
        struct node_record node;

        (void)name;
        visit->unsafe_names += is_unsafe(visit->view, record);
        if ((record->flags & (VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT)) || !(record->flags & (VIEW_NAME_SOURCE | VIEW_NAME_TARGET)))
                return true;
        if (S_ISDIR(record->mode_type))
                push(visit->stack, record->id);
        if (visit->verify && (record->flags & VIEW_NAME_SOURCE))
                visit->error = view_update(visit->view, record->id, change_verify, NULL);
        if (visit->error < 0)
                return false;
        if (visit->priority == 0 || !(record->flags & VIEW_NAME_SOURCE) ||
            view_node(visit->view, record->id, &node) < 0 || !is_lacking(view_context(visit->view), &node, record) ||
            (node.flags & VIEW_NODE_QUEUED))
                return true;
        visit->error = view_queue(visit->view, record->id, visit->priority);
        return visit->error == 0;
}

/* Adds to *unsafe_names. */
static int visit_directory(struct view *view, uint64_t id, uint8_t priority, bool verify, struct stack *stack, uint64_t *unsafe_names)
{
        struct visit visit = { .view = view, .stack = stack, .priority = priority, .verify = verify };
        int result = view_list(view, id, NULL, visit_name, &visit);

        *unsafe_names += visit.unsafe_names;
        if (result == 0)
                result = visit.error;
        return result < 0 ? result : stack->error;
}

static void say_unreadable(struct scan *scan, uint64_t id, int error)
{
        cleanup(pointer_free) char *path = NULL;

        if (view_path(scan->view, id, &path) < 0)
                return;
        log_error("cannot read directory %s: %s", *path ? path : ".", strerror(-error));
        events_add(scan->context->events, "directory-error", path, 0, strerror(-error));
}

static void walk(struct scan *scan)
{
        struct scan_look look = { .changes = atomic_load(&scan->context->changes) };
        struct stack stack = { 0 };
        bool complete = true;

        push(&stack, VIEW_ROOT);
        while (stack.count > 0 && stack.error == 0 && !atomic_load(&scan->stopping)) {
                uint64_t id = stack.ids[--stack.count];
                int result = reconcile_directory(scan->reconcile, id);

                if (result < 0) {
                        complete = false;
                        say_unreadable(scan, id, result);
                }
                result = visit_directory(scan->view, id, atomic_load(&scan->context->fill_all) ? VIEW_QUEUE_FILL : 0, false, &stack,
                                         &look.unsafe_names);
                if (result < 0) {
                        complete = false;
                        log_error("the scan cannot record what it finds: %s", strerror(-result));
                }
                if (atomic_load(&scan->context->fill_all))
                        scan->context->work_found(scan->context->callback_context);
        }
        complete = complete && stack.error == 0 && stack.count == 0;
        free(stack.ids);
        if (atomic_load(&scan->stopping))
                return;
        progress_set_scan_complete(&scan->context->progress, complete);
        look.saw_all = complete;
        look.ended_ns = clock_now_ns();
        MUTEX_SCOPE(&scan->lock);
        look.number = scan->last.number + 1;
        scan->last = look;
}

static void *scan_main(void *argument)
{
        struct scan *scan = argument;

        mutex_lock(&scan->lock);
        while (!atomic_load(&scan->stopping)) {
                if (!scan->wanted) {
                        condition_wait(&scan->changed, &scan->lock);
                        continue;
                }
                scan->wanted = false;
                scan->running = true;
                mutex_unlock(&scan->lock);
                walk(scan);
                if (!atomic_load(&scan->stopping))
                        scan->ended(scan->callback_context); /* while it counts as running: who sees that it ended sees this done */
                mutex_lock(&scan->lock);
                scan->running = false;
                mutex_unlock(&scan->lock);
                context_room_signal(scan->context); /* who waits for idleness looks again */
                mutex_lock(&scan->lock);
        }
        scan->thread_ended = true;
        condition_broadcast(&scan->changed);
        mutex_unlock(&scan->lock);
        return NULL;
}

int scan_new(struct reconcile *reconcile, struct view *view, void (*ended)(void *context), void *callback_context,
             struct scan **ret_scan)
{
        struct scan *scan = calloc(1, sizeof(*scan));

        if (!scan)
                return -ENOMEM;
        scan->reconcile = reconcile;
        scan->view = view;
        scan->context = view_context(view);
        scan->ended = ended;
        scan->callback_context = callback_context;
        scan->wanted = true;
        mutex_init(&scan->lock);
        condition_init(&scan->changed);
        *ret_scan = scan;
        return 0;
}

int scan_start(struct scan *scan)
{
        int result = thread_start(&scan->thread, "cvv-scan", scan_main, scan);

        scan->started = result == 0;
        return result;
}

void scan_again(struct scan *scan)
{
        MUTEX_SCOPE(&scan->lock);
        scan->wanted = true;
        condition_broadcast(&scan->changed);
}

struct scan_look scan_last(struct scan *scan)
{
        MUTEX_SCOPE(&scan->lock);
        return scan->last;
}

bool scan_is_running(struct scan *scan)
{
        MUTEX_SCOPE(&scan->lock);
        return scan->wanted || scan->running;
}

bool scan_stop(struct scan *scan, uint64_t deadline_ns)
{
        bool ended;

        if (!scan->started)
                return true;
        atomic_store(&scan->stopping, true);
        mutex_lock(&scan->lock);
        condition_broadcast(&scan->changed);
        while (!scan->thread_ended && condition_wait_until(&scan->changed, &scan->lock, deadline_ns))
                ;
        ended = scan->thread_ended;
        mutex_unlock(&scan->lock);
        if (ended)
                (void)pthread_join(scan->thread, NULL); /* it has ended */
        return ended;
}

void scan_free(struct scan *scan)
{
        if (!scan)
                return;
        condition_deinit(&scan->changed);
        mutex_deinit(&scan->lock);
        free(scan);
}

static int queue_tree(struct reconcile *reconcile, struct view *view, uint64_t id, uint8_t priority, bool verify)
{
        struct stack stack = { 0 };
        struct node_record node;
        uint64_t unsafe_names = 0; /* of no concern here */
        int result = view_node(view, id, &node);

        if (result == 0 && verify)
                result = view_update(view, id, change_verify, NULL);
        if (result == 0 && id != VIEW_ROOT)
                result = view_queue(view, id, priority);
        if (result == 0 && S_ISDIR(node.mode))
                push(&stack, id);
        while (result == 0 && stack.count > 0) {
                uint64_t directory = stack.ids[--stack.count];

                result = reconcile ? reconcile_load(reconcile, directory) : 0;
                if (result == 0)
                        result = visit_directory(view, directory, priority, verify, &stack, &unsafe_names);
        }
        free(stack.ids);
        return result;
}

int scan_queue_tree(struct reconcile *reconcile, struct view *view, uint64_t id, uint8_t priority)
{
        return queue_tree(reconcile, view, id, priority, false);
}

int scan_verify_tree(struct reconcile *reconcile, struct view *view, uint64_t id)
{
        return queue_tree(reconcile, view, id, VIEW_QUEUE_ASKED, true);
}
