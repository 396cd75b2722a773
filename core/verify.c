#include "core/verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/attempts.h"
#include "core/inspect.h"
#include "core/log.h"
#include "core/need.h"
#include "core/wholemove.h"

enum {
        QUEUE_MAX = 512,   /* files that wait on one target before its producers wait … */
        QUEUE_MORE = 2048, /* … and so many above them before they are turned away: what one checkpoint has */
        LOOKS_MAX = 16,    /* so often in a row a file is looked at again that could not be looked at */
        PATIENCE_MS = 4000 /* so long a call to the device is thought to go on; then nobody waits for it */
};

struct item {
        struct file *file; /* with a reference */
        struct item *next;
};

struct worker {
        struct verify *verify;
        struct inspector inspector;  /* of the thread */
        pthread_t thread;
        bool started;
        struct item *head, **tail;   /* guarded by the gate, as all below */
        size_t count, count_max;
        bool busy, ended;
        bool turned_away;            /* somebody was, and is to come again when there is room */
};

struct verify {
        struct files *files;
        struct view *view;
        struct context *context;
        struct attempts *attempts;
        struct gate gate;
        struct worker workers[TARGET_SLOTS];
};

int verify_new(struct files *files, struct verify **ret_verify)
{
        struct verify *verify = calloc(1, sizeof(*verify));
        int result = verify ? attempts_new(&verify->attempts) : -ENOMEM;

        if (result < 0) {
                free(verify);
                return result;
        }
        verify->files = files;
        verify->view = files_view(files);
        verify->context = files_context(files);
        mutex_init(&verify->gate.lock);
        condition_init(&verify->gate.changed);
        for (unsigned slot = 0; slot < TARGET_SLOTS; slot++) {
                verify->workers[slot].verify = verify;
                verify->workers[slot].count_max = QUEUE_MAX;
                verify->workers[slot].tail = &verify->workers[slot].head;
                readback_init(&verify->workers[slot].inspector.readback);
        }
        *ret_verify = verify;
        return 0;
}

static void drop_queue(struct worker *worker)
{
        struct item *items;

        mutex_lock(&worker->verify->gate.lock);
        items = worker->head;
        worker->head = NULL;
        worker->tail = &worker->head;
        worker->count = 0;
        mutex_unlock(&worker->verify->gate.lock);
        while (items) {
                struct item *item = items;

                items = item->next;
                file_unref(item->file);
                free(item);
        }
}

void verify_free(struct verify *verify)
{
        if (!verify)
                return;
        for (unsigned slot = 0; slot < TARGET_SLOTS; slot++) {
                drop_queue(&verify->workers[slot]);
                readback_deinit(&verify->workers[slot].inspector.readback);
                limiter_free(verify->workers[slot].inspector.limiter);
        }
        attempts_free(verify->attempts);
        condition_deinit(&verify->gate.changed);
        mutex_deinit(&verify->gate.lock);
        free(verify);
}

/* --- the queues --- */

bool verify_wants(struct verify *verify, const struct node_record *node, unsigned slot)
{
        struct need need = need_of(verify->context->options, node, verify->context->target_mask);

        return need_concerns(&need, slot);
}

static bool set_verifying(struct file *file, unsigned slot, bool verifying)
{
        bool before;

        MUTEX_SCOPE(&file->lock);
        before = file->parts[slot].verifying;
        file->parts[slot].verifying = verifying;
        return before;
}

void verify_release(struct file *file, unsigned slot)
{
        (void)set_verifying(file, slot, false);
}

/* Takes over the item. False: there are too many, or verification ends. */
static bool append(struct worker *worker, struct item *item)
{
        struct gate *gate = &worker->verify->gate;
        size_t more = worker->count_max < QUEUE_MORE ? worker->count_max : QUEUE_MORE;

        MUTEX_SCOPE(&gate->lock);
        if (gate->stopping)
                return false;
        if (worker->count >= worker->count_max + more) {
                worker->turned_away = true;
                return false;
        }
        *worker->tail = item;
        worker->tail = &item->next;
        worker->count++;
        condition_broadcast(&gate->changed);
        return true;
}

/* Whether a reader alone brought it or not: it comes again with what is queued, when there is room. */
void verify_add(struct verify *verify, struct file *file, unsigned slot)
{
        struct item *item;

        if (set_verifying(file, slot, true))
                return;
        item = calloc(1, sizeof(*item));
        if (item) {
                item->file = file_ref(file);
                if (append(&verify->workers[slot], item))
                        return;
                file_unref(item->file);
                free(item);
        }
        (void)set_verifying(file, slot, false);
        (void)view_queue(verify->view, file->id, VIEW_QUEUE_ASKED); /* if not, the next mount finds it */
}

bool verify_has_room(struct verify *verify, unsigned slot)
{
        const struct worker *worker = &verify->workers[slot];

        MUTEX_SCOPE(&verify->gate.lock);
        return worker->count < worker->count_max;
}

static uint64_t stuck_ns_locked(const struct worker *worker)
{
        uint64_t since = worker->inspector.in_device_since_ns, now = clock_now_ns();

        return since && now > since ? now - since : 0;
}

void verify_wait_room(struct verify *verify, unsigned slot)
{
        struct worker *worker = &verify->workers[slot];
        struct target *target = verify->context->targets[slot];

        MUTEX_SCOPE(&verify->gate.lock);
        while (worker->count >= worker->count_max && !verify->gate.stopping && !verify->gate.paused &&
               !atomic_load(&verify->context->stopping) && target_serves_reads(target) &&
               stuck_ns_locked(worker) < PATIENCE_MS * 1000000ull)
                (void)condition_wait_until(&verify->gate.changed, &verify->gate.lock, clock_now_ns() + PATIENCE_MS * 1000000ull);
}

static struct item *take_locked(struct worker *worker)
{
        struct item *item = worker->head;

        worker->head = item->next;
        if (!worker->head)
                worker->tail = &worker->head;
        worker->count--;
        return item;
}

/* --- the threads --- */

/* The copy is as it should be: it is to get its final name (positive: and is reserved until then), or has it and nothing more is to be done (0).
 * Negative: neither. */
static int pass_on(struct worker *worker, struct file *file, const struct node_record *node)
{
        struct context *context = worker->verify->context;
        struct target *target = worker->inspector.target;
        struct unsynced item = { .chunk = TARGET_WHOLE, .generation = node->generation };

        if (inspect_is_finished(worker->verify->view, node, target->slot)) {
                context->published(context->callback_context, file->id);
                return 0;
        }
        if (!need_may_publish(context->options, node, target->slot))
                return -EAGAIN;
        item.file = file_ref(file);
        if (target_add_verified(target, &item))
                return 1;
        file_unref(file);
        return -ENOMEM;
}

/* What could not be looked at comes again at once, but not for ever: then when something else has all files looked through. */
static bool comes_again(struct worker *worker, struct file *file, int result)
{
        unsigned key = ATTEMPTS_LOOKS + worker->inspector.target->slot;

        if (result < 0 && result != -ESHUTDOWN && result != -EILSEQ) /* the last: what is bad has a limit of its own */
                return attempts_add(worker->verify->attempts, file->id, key) <= LOOKS_MAX;
        if (result >= 0)
                attempts_forget(worker->verify->attempts, file->id, key);
        return result == -EILSEQ;
}

static void run(struct worker *worker, struct file *file)
{
        struct verify *verify = worker->verify;
        struct context *context = verify->context;
        struct target *target = worker->inspector.target;
        struct node_record node;
        int result = target_serves_reads(target) ? inspect_file(&worker->inspector, file, &node) : -ESHUTDOWN;
        bool again;

        if (result == 0)
                result = pass_on(worker, file, &node);
        again = comes_again(worker, file, result);
        if (result > 0)
                return;
        verify_release(file, target->slot); /* who looks for idleness finds it here as long as it is nowhere else */
        if (wholemove_release(file, target->slot, false, false) || again)
                context->work_found(context->callback_context); /* who fills the file may have left it to this */
}

/* Called with the lock held; gives it up in between. */
static void call_back_locked(struct worker *worker)
{
        struct context *context = worker->verify->context;
        struct gate *gate = &worker->verify->gate;

        if (!worker->turned_away || worker->count > worker->count_max / 2)
                return;
        worker->turned_away = false;
        mutex_unlock(&gate->lock);
        context->work_found(context->callback_context);
        mutex_lock(&gate->lock);
}

static void *worker_main(void *argument)
{
        struct worker *worker = argument;
        struct gate *gate = &worker->verify->gate;

        mutex_lock(&gate->lock);
        while (!gate->stopping) {
                struct item *item;
                bool last;

                if (!worker->head || gate->paused) {
                        condition_wait(&gate->changed, &gate->lock);
                        continue;
                }
                item = take_locked(worker);
                worker->busy = true;
                condition_broadcast(&gate->changed); /* room */
                mutex_unlock(&gate->lock);
                run(worker, item->file);
                file_unref(item->file);
                free(item);
                mutex_lock(&gate->lock);
                call_back_locked(worker);
                worker->busy = false;
                last = !worker->head;
                mutex_unlock(&gate->lock);
                if (last)
                        context_room_signal(worker->verify->context); /* who waits for idleness looks again */
                mutex_lock(&gate->lock);
        }
        worker->ended = true;
        condition_broadcast(&gate->changed);
        mutex_unlock(&gate->lock);
        return NULL;
}

/* --- lifecycle and control --- */

static int start_worker(struct worker *worker, struct target *target)
{
        struct verify *verify = worker->verify;
        struct inspector *inspector = &worker->inspector;
        char name[16];
        int result = limiter_new(verify->context->options->limit_bytes_per_s, &inspector->limiter);

        inspector->view = verify->view;
        inspector->context = verify->context;
        inspector->attempts = verify->attempts;
        inspector->gate = &verify->gate;
        inspector->target = target;
        worker->count_max = target->unsynced_max < QUEUE_MAX ? target->unsynced_max : QUEUE_MAX; /* they are open, too */
        (void)snprintf(name, sizeof(name), "cvv-verify-%u", target->n); /* a cut name is still a name */
        if (result == 0)
                result = thread_start(&worker->thread, name, worker_main, worker);
        worker->started = result == 0;
        return result;
}

int verify_start(struct verify *verify)
{
        int result = 0;

        for (CONTEXT_EACH_TARGET(verify->context, verify->context->target_mask, target))
                if (result == 0)
                        result = start_worker(&verify->workers[target->slot], target);
        return result;
}

static bool stop_worker(struct worker *worker, uint64_t deadline_ns)
{
        struct gate *gate = &worker->verify->gate;
        bool ended;

        if (!worker->started)
                return true;
        limiter_close(worker->inspector.limiter);
        mutex_lock(&gate->lock);
        while (!worker->ended && condition_wait_until(&gate->changed, &gate->lock, deadline_ns))
                ;
        ended = worker->ended;
        mutex_unlock(&gate->lock);
        if (!ended)
                return false;
        (void)pthread_join(worker->thread, NULL); /* it has ended */
        worker->started = false;
        drop_queue(worker);
        return true;
}

bool verify_stop(struct verify *verify, uint64_t deadline_ns)
{
        bool all = true;

        mutex_lock(&verify->gate.lock);
        verify->gate.stopping = true;
        condition_broadcast(&verify->gate.changed);
        mutex_unlock(&verify->gate.lock);
        for (unsigned slot = 0; slot < TARGET_SLOTS; slot++)
                all = stop_worker(&verify->workers[slot], deadline_ns) && all;
        return all;
}

void verify_pause(struct verify *verify, bool paused)
{
        MUTEX_SCOPE(&verify->gate.lock);
        verify->gate.paused = paused;
        condition_broadcast(&verify->gate.changed);
}

void verify_wake(struct verify *verify)
{
        MUTEX_SCOPE(&verify->gate.lock);
        condition_broadcast(&verify->gate.changed);
}

void verify_set_limit(struct verify *verify, uint64_t bytes_per_s)
{
        for (unsigned slot = 0; slot < TARGET_SLOTS; slot++)
                if (verify->workers[slot].inspector.limiter)
                        limiter_set_rate(verify->workers[slot].inspector.limiter, bytes_per_s);
}

bool verify_is_idle(struct verify *verify)
{
        struct context *context = verify->context;

        for (CONTEXT_EACH_TARGET(context, context->target_mask, target)) {
                const struct worker *worker = &verify->workers[target->slot];
                bool idle;

                mutex_lock(&verify->gate.lock);
                idle = verify->gate.paused ? !worker->busy || worker->inspector.rests : !worker->busy && worker->count == 0;
                mutex_unlock(&verify->gate.lock);
                if (!idle && target_serves_reads(target))
                        return false;
        }
        return true;
}

uint64_t verify_stuck_ns(struct verify *verify, unsigned slot)
{
        MUTEX_SCOPE(&verify->gate.lock);
        return stuck_ns_locked(&verify->workers[slot]);
}

void verify_forget_attempts(struct verify *verify)
{
        attempts_clear(verify->attempts);
}

struct repair_walk {
        struct verify *verify;
        void (*visit)(void *context, uint64_t id, struct target *target, unsigned times);
        void *context;
};

static void visit_repair(void *context, uint64_t id, unsigned slot, unsigned times)
{
        struct repair_walk *walk = context;
        struct target *target = walk->verify->context->targets[slot];

        if (target)
                walk->visit(walk->context, id, target, times);
}

void verify_each_repair(struct verify *verify, void (*visit)(void *context, uint64_t id, struct target *target, unsigned times), void *context)
{
        struct repair_walk walk = { .verify = verify, .visit = visit, .context = context };

        attempts_each_repaired(verify->attempts, visit_repair, &walk);
}
