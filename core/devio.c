#include "core/devio.h"

#include <errno.h>
#include <stdlib.h>

#include "core/cleanup.h"
#include "core/sync.h"

enum { DEVIO_THREADS_MAX = 16 };
enum { JOB_QUEUED, JOB_RUNNING, JOB_DONE };

struct devio_thread {
        struct devio *devio;
        pthread_t handle;
        uint64_t busy_since_ns; /* 0: idle */
        struct devio_job *job;  /* that it runs */
        bool ended;
};

struct devio {
        struct mutex lock; /* guards everything below, and the private part of the jobs */
        struct condition work, done;
        struct devio_job *head, **tail;
        bool stopping;
        unsigned thread_count;
        struct devio_thread threads[DEVIO_THREADS_MAX];
};

static void job_init(struct devio_job *job)
{
        job->state = JOB_QUEUED;
        job->next = NULL;
}

void devio_job_unref(struct devio_job *job)
{
        if (job && atomic_fetch_sub(&job->references, 1) == 1)
                job->free(job);
}

static void *devio_main(void *argument)
{
        struct devio_thread *thread = argument;
        struct devio *devio = thread->devio;

        mutex_lock(&devio->lock);
        for (;;) {
                struct devio_job *job = devio->head;
                int result;

                if (!job && devio->stopping)
                        break;
                if (!job) {
                        condition_wait(&devio->work, &devio->lock);
                        continue;
                }
                devio->head = job->next;
                if (!devio->head)
                        devio->tail = &devio->head;
                job->state = JOB_RUNNING;
                thread->busy_since_ns = clock_now_ns();
                thread->job = job;
                mutex_unlock(&devio->lock);

                result = job->run(job);

                mutex_lock(&devio->lock);
                thread->busy_since_ns = 0;
                thread->job = NULL;
                job->result = result;
                job->state = JOB_DONE;
                condition_broadcast(&devio->done);
                mutex_unlock(&devio->lock);
                devio_job_unref(job);
                mutex_lock(&devio->lock);
        }
        thread->ended = true;
        condition_broadcast(&devio->done);
        mutex_unlock(&devio->lock);
        return NULL;
}

int devio_new(const char *name, unsigned thread_count, struct devio **ret_devio)
{
        struct devio *devio = calloc(1, sizeof(*devio));
        int result = 0;

        if (!devio)
                return -ENOMEM;
        mutex_init(&devio->lock);
        condition_init(&devio->work);
        condition_init(&devio->done);
        devio->tail = &devio->head;
        if (thread_count > DEVIO_THREADS_MAX)
                thread_count = DEVIO_THREADS_MAX;
        for (unsigned i = 0; i < thread_count && result == 0; i++) {
                devio->threads[i].devio = devio;
                result = thread_start(&devio->threads[i].handle, name, devio_main, &devio->threads[i]);
                if (result == 0)
                        devio->thread_count++;
        }
        if (devio->thread_count == 0) {
                devio_free(devio);
                return result;
        }
        *ret_devio = devio; /* fewer threads than asked for still serve */
        return 0;
}

static uint64_t stuck_ns_locked(const struct devio *devio)
{
        uint64_t now = clock_now_ns(), stuck_ns = UINT64_MAX;

        for (unsigned i = 0; i < devio->thread_count; i++) {
                uint64_t since = devio->threads[i].busy_since_ns;

                if (since == 0)
                        return 0;
                if (now - since < stuck_ns)
                        stuck_ns = now - since;
        }
        return stuck_ns;
}

static bool is_hung_locked(const struct devio *devio)
{
        return stuck_ns_locked(devio) >= DEVIO_HUNG_NS;
}

bool devio_is_hung(struct devio *devio)
{
        MUTEX_SCOPE(&devio->lock);
        return is_hung_locked(devio);
}

uint64_t devio_stuck_ns(struct devio *devio)
{
        MUTEX_SCOPE(&devio->lock);
        return stuck_ns_locked(devio);
}

static void append_locked(struct devio *devio, struct devio_job *job)
{
        *devio->tail = job;
        devio->tail = &job->next;
        condition_signal(&devio->work);
}

/* Takes a job that nobody has begun out of the queue again, so that a device that wakes up finds no stale work. */
static bool remove_locked(struct devio *devio, struct devio_job *job)
{
        for (struct devio_job **at = &devio->head; *at; at = &(*at)->next) {
                if (*at != job)
                        continue;
                *at = job->next;
                if (!*at)
                        devio->tail = at;
                return true;
        }
        return false;
}

int devio_call(struct devio *devio, struct devio_job *job, uint64_t timeout_ns)
{
        uint64_t deadline_ns = clock_now_ns() + timeout_ns;
        unsigned seen = job->progress ? atomic_load(job->progress) : 0;
        int result;

        job_init(job);
        mutex_lock(&devio->lock);
        if (devio->stopping || is_hung_locked(devio)) {
                result = devio->stopping ? -ESHUTDOWN : -ETIMEDOUT;
                mutex_unlock(&devio->lock);
                return result;
        }
        atomic_fetch_add(&job->references, 1);
        append_locked(devio, job);
        while (job->state != JOB_DONE) {
                if (condition_wait_until(&devio->done, &devio->lock, deadline_ns))
                        continue;
                if (!job->progress || atomic_load(job->progress) == seen || devio->stopping)
                        break;
                seen = atomic_load(job->progress);
                deadline_ns = clock_now_ns() + timeout_ns;
        }
        result = job->state == JOB_DONE ? job->result : -ETIMEDOUT;
        if (job->state == JOB_QUEUED && remove_locked(devio, job)) {
                mutex_unlock(&devio->lock);
                devio_job_unref(job);
                return result;
        }
        mutex_unlock(&devio->lock);
        return result;
}

int devio_submit(struct devio *devio, struct devio_job *job)
{
        job_init(job);
        mutex_lock(&devio->lock);
        if (devio->stopping) {
                mutex_unlock(&devio->lock);
                return -ESHUTDOWN;
        }
        job->submitted_ns = clock_now_ns();
        append_locked(devio, job);
        mutex_unlock(&devio->lock);
        return 0;
}

static void list_overdue(struct devio_job *job, uint64_t before_ns, struct devio_job ***tail)
{
        if (!job || !job->overdue || job->submitted_ns > before_ns)
                return;
        atomic_fetch_add(&job->references, 1);
        job->next_overdue = NULL;
        **tail = job;
        *tail = &job->next_overdue;
}

/* Those that run, and those that wait behind them. */
static struct devio_job *find_overdue(struct devio *devio, uint64_t before_ns)
{
        struct devio_job *first = NULL, **tail = &first;

        MUTEX_SCOPE(&devio->lock);
        for (unsigned i = 0; i < devio->thread_count; i++)
                list_overdue(devio->threads[i].job, before_ns, &tail);
        for (struct devio_job *job = devio->head; job; job = job->next)
                list_overdue(job, before_ns, &tail);
        return first;
}

void devio_overdue(struct devio *devio, uint64_t age_ns)
{
        uint64_t now = clock_now_ns();
        struct devio_job *job = now > age_ns ? find_overdue(devio, now - age_ns) : NULL, *next;

        for (; job; job = next) {
                bool queued = false;

                next = job->next_overdue;
                if (job->overdue(job, now - job->submitted_ns)) {
                        mutex_lock(&devio->lock);
                        queued = job->state == JOB_QUEUED && remove_locked(devio, job);
                        mutex_unlock(&devio->lock);
                }
                if (queued)
                        devio_job_unref(job); /* the queue's */
                devio_job_unref(job);
        }
}

bool devio_stop(struct devio *devio, uint64_t deadline_ns)
{
        bool all = true;

        mutex_lock(&devio->lock);
        devio->stopping = true;
        condition_broadcast(&devio->work);
        for (unsigned i = 0; i < devio->thread_count; i++)
                while (!devio->threads[i].ended &&
                       condition_wait_until(&devio->done, &devio->lock, deadline_ns))
                        ;
        for (unsigned i = 0; i < devio->thread_count; i++)
                all = all && devio->threads[i].ended;
        mutex_unlock(&devio->lock);
        if (!all)
                return false;
        for (unsigned i = 0; i < devio->thread_count; i++)
                (void)pthread_join(devio->threads[i].handle, NULL); /* it has ended */
        devio->thread_count = 0;
        return true;
}

void devio_free(struct devio *devio)
{
        if (!devio)
                return;
        condition_deinit(&devio->work);
        condition_deinit(&devio->done);
        mutex_deinit(&devio->lock);
        free(devio);
}
