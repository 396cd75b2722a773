#include "fs/session.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "core/sync.h"
#include "fs/initreply.h"
#include "fs/lowlevel.h"
#include "fs/mountargs.h"
#include "fs/mountlog.h"
#include "fs/mountpoint.h"
#include "fs/mountwatch.h"
#include "fs/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum {
        THREADS = 10,
        PAGE_BYTES = 4096,
        BUFFER_BYTES = 1024 * 1024 + 2 * PAGE_BYTES, /* the largest write and the headers before it */
        END_SECONDS = 2,                             /* for what is under way when the session ends */
};

/* One thread of the loop. Each waits on an epoll of its own, where the session's descriptor is an exclusive entry, so that
 * a request wakes one of them; blocking reads could not be ended by a signal handler. */
struct worker {
        struct session *session;
        pthread_t thread;
        bool started;
        int epoll_fd;
        char *buffer; /* BUFFER_BYTES, page aligned */
};

struct session {
        struct ops *ops;
        struct fuse_session *fuse;
        char *mountpoint;
        bool is_mounted;
        int fuse_fd;
        int exit_fd; /* an eventfd, readable from session_exit() on, and when a worker has ended */
        atomic_bool exiting;
        bool is_stuck; /* threads or reads are under way that do not end */

        struct mutex lock;      /* guards the rest but the workers' own */
        struct condition ended; /* a worker has */
        unsigned running;
        int result;
        struct worker workers[THREADS];
};

/* ---- the loop's threads ---- */

/* The size of the next request in the buffer; 0: wait; -ENODEV: unmounted; another -errno. */
static ssize_t request_read(struct worker *worker)
{
        for (;;) {
                ssize_t n = read(worker->session->fuse_fd, worker->buffer, BUFFER_BYTES);

                if (n >= 0)
                        return n > 0 ? n : -EIO;
                if (errno == EAGAIN)
                        return 0;
                /* ENOENT: the request was taken back before it could be read. */
                if (errno != EINTR && errno != ENOENT)
                        return -errno;
        }
}

static int request_wait(struct worker *worker)
{
        struct epoll_event event;

        if (epoll_wait(worker->epoll_fd, &event, 1, -1) < 0 && errno != EINTR)
                return -errno;
        return 0;
}

/* Serves requests until the session ends. 0 or -errno. */
static int serve(struct worker *worker)
{
        struct session *session = worker->session;
        int r = 0;

        while (r == 0 && !atomic_load(&session->exiting)) {
                ssize_t size = request_read(worker);

                if (size == -ENODEV)
                        return 0;
                if (size < 0)
                        return (int)size;
                if (size == 0) {
                        r = request_wait(worker);
                        continue;
                }
                initreply_note(worker->buffer, (size_t)size);
                fuse_session_process_buf(session->fuse,
                                         &(struct fuse_buf){.size = (size_t)size, .mem = worker->buffer, .fd = -1});
                if (fuse_session_exited(session->fuse))
                        return -EPROTO; /* libfuse and the kernel do not understand each other */
        }
        return r;
}

static void *worker_main(void *context)
{
        struct worker *worker = context;
        struct session *session = worker->session;
        int r = serve(worker);

        session_exit(session);

        MUTEX_SCOPE(&session->lock);
        session->running--;
        if (r < 0 && session->result == 0)
                session->result = r;
        condition_broadcast(&session->ended);
        return NULL;
}

static int worker_init(struct session *session, struct worker *worker)
{
        struct epoll_event request = {.events = EPOLLIN | EPOLLEXCLUSIVE};
        struct epoll_event end = {.events = EPOLLIN};

        worker->session = session;
        worker->buffer = aligned_alloc(PAGE_BYTES, BUFFER_BYTES);
        if (!worker->buffer)
                return -ENOMEM;
        worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (worker->epoll_fd < 0 || epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, session->fuse_fd, &request) < 0 ||
            epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, session->exit_fd, &end) < 0)
                return -errno;
        return 0;
}

static void worker_deinit(struct worker *worker)
{
        fd_close(&worker->epoll_fd);
        worker->epoll_fd = -1;
        free(worker->buffer);
        worker->buffer = NULL;
}

/* ---- mounting ---- */

static void session_destroy(struct session *session)
{
        for (size_t i = 0; i < THREADS; i++)
                worker_deinit(&session->workers[i]);
        if (session->is_mounted)
                fuse_session_unmount(session->fuse);
        if (session->fuse)
                fuse_session_destroy(session->fuse);
        ops_free(session->ops);
        fd_close(&session->exit_fd);
        condition_deinit(&session->ended);
        mutex_deinit(&session->lock);
        free(session->mountpoint);
        free(session);
}

static int session_new(struct mirror *mirror, const struct options *options, struct session **ret_session)
{
        struct session *session = calloc(1, sizeof(*session));
        int r;

        if (!session)
                return -ENOMEM;
        mutex_init(&session->lock);
        condition_init(&session->ended);
        for (size_t i = 0; i < THREADS; i++)
                session->workers[i].epoll_fd = -1;
        session->mountpoint = strdup(options->mountpoint);
        session->exit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        r = session->exit_fd < 0 ? -errno : session->mountpoint ? 0 : -ENOMEM;
        if (r == 0)
                r = ops_new(mirror, options, THREADS, &session->ops);
        if (r < 0) {
                session_destroy(session);
                return r;
        }
        *ret_session = session;
        return 0;
}

static int fuse_mount(struct session *session, const struct options *options)
{
        struct fuse_args args = {0};
        int r = mountargs_make(options, &args);

        if (r == 0) {
                session->fuse = fuse_session_new(&args, &ops_table, sizeof(ops_table), session->ops);
                r = session->fuse ? 0 : -EINVAL;
        }
        fuse_opt_free_args(&args);
        if (r < 0)
                return r;
        errno = 0;
        if (fuse_session_mount(session->fuse, session->mountpoint) < 0)
                return errno > 0 ? -errno : -EPERM;
        session->is_mounted = true;
        session->fuse_fd = fuse_session_fd(session->fuse);
        return initreply_install(session->fuse);
}

static int session_set_up(struct session *session, struct error *error)
{
        int flags = fcntl(session->fuse_fd, F_GETFL);
        int r = flags < 0 || fcntl(session->fuse_fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;

        for (size_t i = 0; i < THREADS && r == 0; i++)
                r = worker_init(session, &session->workers[i]);
        return r < 0 ? error_set(error, r, "cannot serve the mount: %s", strerror(-r)) : 0;
}

static int session_fuse_mount(struct session *session, const struct options *options, struct error *error)
{
        struct mountlog said;
        int r;

        mountlog_begin(&said);
        r = fuse_mount(session, options);
        mountlog_end(&said);
        if (r == 0)
                return 0;
        return error_set(error, r, "cannot mount on %s: %s%s", session->mountpoint, said.text[0] ? said.text : strerror(-r),
                         r == -EPERM ? "; mounting needs root or the set-user-id program fusermount3, and in a container "
                                       "the right to mount; `cvv copy` needs neither"
                                     : "");
}

int session_mount(struct mirror *mirror, const struct options *options, struct error *error, struct session **ret_session)
{
        struct session *session;
        int r = mountpoint_prepare(options, error);

        if (r < 0)
                return r;
        r = session_new(mirror, options, &session);
        if (r < 0)
                return error_set(error, r, "cannot set up the mount: %s", strerror(-r));
        r = session_fuse_mount(session, options, error);
        if (r == 0)
                r = session_set_up(session, error);
        if (r < 0) {
                session_destroy(session);
                return r;
        }
        *ret_session = session;
        return 0;
}

/* ---- running ---- */

void session_exit(struct session *session)
{
        const uint64_t one = 1;
        int saved = errno;

        atomic_store(&session->exiting, true);
        if (write(session->exit_fd, &one, sizeof(one)) < 0) {
                /* Only when it was told 2^64 times already. */
        }
        errno = saved;
}

void session_end_readers(struct session *session)
{
        ops_end_readers(session->ops);
}

static int workers_start(struct session *session)
{
        int r = ops_start(session->ops);

        for (size_t i = 0; i < THREADS && r == 0; i++) {
                struct worker *worker = &session->workers[i];

                {
                        MUTEX_SCOPE(&session->lock);
                        session->running++;
                }
                r = thread_start(&worker->thread, "cvv-fuse", worker_main, worker);
                worker->started = r == 0;
        }
        if (r == 0)
                return 0;
        session_exit(session);

        MUTEX_SCOPE(&session->lock);
        if (session->running > 0)
                session->running--; /* the one that was not started; without ops_start() there is none */
        return r;
}

/* Readers that block in `.cvv` would keep a mount alive that is in no mount table any more. */
static void wait_for_the_end(struct session *session)
{
        const int end_fd = session->exit_fd;

        if (!mountwatch_wait(session->mountpoint, end_fd))
                return;
        ops_end_blocking(session->ops);
        while (poll(&(struct pollfd){.fd = end_fd, .events = POLLIN}, 1, -1) < 0 && errno == EINTR)
                ;
}

/* False: some do not end. */
static bool workers_end(struct session *session, uint64_t deadline_ns)
{
        {
                MUTEX_SCOPE(&session->lock);
                while (session->running > 0) {
                        if (!condition_wait_until(&session->ended, &session->lock, deadline_ns))
                                return false;
                }
        }
        for (size_t i = 0; i < THREADS; i++) {
                if (session->workers[i].started)
                        (void)pthread_join(session->workers[i].thread, NULL); /* fails for a thread that is none */
                session->workers[i].started = false;
        }
        return true;
}

int session_loop(struct session *session)
{
        int r = workers_start(session);
        uint64_t deadline_ns;
        bool have_ended;

        if (r == 0)
                wait_for_the_end(session);
        deadline_ns = clock_now_ns() + END_SECONDS * UINT64_C(1000000000);
        ops_close_gates(session->ops);
        have_ended = workers_end(session, deadline_ns);
        session->is_stuck = !ops_stop(session->ops, have_ended, deadline_ns) || !have_ended;
        if (session->is_stuck)
                return -ETIMEDOUT;
        return r < 0 ? r : session->result;
}

void session_free(struct session *session)
{
        if (!session)
                return;
        if (session->is_stuck) {
                /* A stuck thread may still use all of this; above all the descriptor must not be closed, or its reply
                 * could go to whatever is opened under that number next. The end of the process frees everything. */
                if (mountpoint_detach(session->mountpoint) < 0)
                        log_warning("cannot unmount %s", session->mountpoint);
                return;
        }
        if (session->is_mounted)
                fuse_session_unmount(session->fuse);
        session->is_mounted = false;
        /* An aborted connection leaves its mount behind, which libfuse takes for unmounted. */
        if (mountpoint_clear_dead(session->mountpoint) < 0)
                log_warning("cannot unmount %s", session->mountpoint);
        session_destroy(session);
}
