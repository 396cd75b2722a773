#include "core/sync.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A lock that misbehaves means that memory can no longer be trusted: going on could mark bytes present that are not. */
static void must(int result)
{
        if (result != 0)
                abort();
}

void mutex_init(struct mutex *mutex)
{
        pthread_mutexattr_t attributes;

        must(pthread_mutexattr_init(&attributes));
        must(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK));
        must(pthread_mutex_init(&mutex->handle, &attributes));
        must(pthread_mutexattr_destroy(&attributes));
}

void mutex_deinit(struct mutex *mutex)
{
        must(pthread_mutex_destroy(&mutex->handle));
}

void mutex_lock(struct mutex *mutex)
{
        must(pthread_mutex_lock(&mutex->handle));
}

void mutex_unlock(struct mutex *mutex)
{
        must(pthread_mutex_unlock(&mutex->handle));
}

void condition_init(struct condition *condition)
{
        pthread_condattr_t attributes;

        must(pthread_condattr_init(&attributes));
        must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC));
        must(pthread_cond_init(&condition->handle, &attributes));
        must(pthread_condattr_destroy(&attributes));
}

void condition_deinit(struct condition *condition)
{
        must(pthread_cond_destroy(&condition->handle));
}

void condition_signal(struct condition *condition)
{
        must(pthread_cond_signal(&condition->handle));
}

void condition_broadcast(struct condition *condition)
{
        must(pthread_cond_broadcast(&condition->handle));
}

void condition_wait(struct condition *condition, struct mutex *mutex)
{
        must(pthread_cond_wait(&condition->handle, &mutex->handle));
}

bool condition_wait_until(struct condition *condition, struct mutex *mutex, uint64_t deadline_ns)
{
        struct timespec deadline = {
                .tv_sec = (time_t)(deadline_ns / 1000000000u),
                .tv_nsec = (long)(deadline_ns % 1000000000u),
        };
        int result = pthread_cond_timedwait(&condition->handle, &mutex->handle, &deadline);

        if (result == ETIMEDOUT)
                return false;
        must(result);
        return true;
}

uint64_t clock_now_ns(void)
{
        struct timespec now;

        must(clock_gettime(CLOCK_MONOTONIC, &now));
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int thread_start(pthread_t *ret_thread, const char *name, void *(*main)(void *), void *argument)
{
        sigset_t all, before;
        pthread_t thread;
        int result;

        sigfillset(&all);
        must(pthread_sigmask(SIG_SETMASK, &all, &before));
        result = pthread_create(&thread, NULL, main, argument);
        must(pthread_sigmask(SIG_SETMASK, &before, NULL));
        if (result != 0)
                return -result;
        (void)pthread_setname_np(thread, name); /* the name only helps a person with a debugger */
        *ret_thread = thread;
        return 0;
}
