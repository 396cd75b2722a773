#include "core/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "core/bufpool.h"
#include "core/cleanup.h"
#include "core/io.h"
#include "core/log.h"
#include "core/stateid.h"

enum {
        MARKER_LIMIT_BYTES = 4096,
        EVENT_NAME_BYTES = 32,
        DYING_TRIES = 100,
        UNTOLD_TRIES = 20,
};
#define EVENT_PREFIX "event."

/* --- opening, the marker --- */

static int64_t realtime_ns(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The pid that holds a flock on the inode of `fd`, from /proc/locks; 0 where it is not told. */
static long lock_holder(int fd)
{
        struct stat stat;
        char line[256];
        FILE *locks;
        long pid = 0;

        if (fstat(fd, &stat) < 0)
                return 0;
        locks = fopen("/proc/locks", "re");
        if (!locks)
                return 0;
        while (pid == 0 && fgets(line, sizeof(line), locks)) {
                unsigned long ino;
                long holder;

                if (sscanf(line, "%*d: FLOCK %*s %*s %ld %*x:%*x:%lu", &holder, &ino) == 2 && ino == stat.st_ino)
                        pid = holder;
        }
        (void)fclose(locks); /* only read */
        return pid;
}

/* Whether the process was killed and is on its way out: it holds its locks until it is gone. */
static bool is_dying(long pid)
{
        unsigned long long pending = 0;
        char path[64], line[256], state = 0;
        FILE *status;

        (void)snprintf(path, sizeof(path), "/proc/%ld/status", pid); /* fits */
        status = fopen(path, "re");
        if (!status)
                return pid > 0; /* gone just now */
        while (fgets(line, sizeof(line), status)) {
                (void)sscanf(line, "State: %c", &state); /* of the lines one is each */
                (void)sscanf(line, "ShdPnd: %llx", &pending);
        }
        (void)fclose(status); /* only read */
        return state == 'Z' || state == 'X' || (pending >> (SIGKILL - 1) & 1);
}

static int lock_root(struct target *target, struct error *error)
{
        long pid = 0;

        for (int tries = 0; tries < DYING_TRIES; tries++) {
                if (flock(target->root.fd, LOCK_EX | LOCK_NB) == 0)
                        return 0;
                if (errno != EWOULDBLOCK)
                        return 0; /* the filesystem has no locks: the state's lock stands alone */
                pid = lock_holder(target->root.fd);
                if (pid != 0 ? !is_dying(pid) : tries >= UNTOLD_TRIES)
                        break; /* 0: it let go just now, or lives where this process cannot see it */
                /* The kernel tells nobody when the last thread of a killed process lets go. */
                (void)nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL); /* cut short, it looks sooner */
        }
        return error_set(error, -EBUSY, "target %s is in use by cvv, pid %ld; unmount that one first", target->root.path, pid);
}

static void parse_marker(struct target *target, const char *text)
{
        const char *id = strstr(text, "id=");
        size_t size;

        if (!id)
                return;
        size = strspn(id + 3, "0123456789abcdef");
        if (size < 16 || size >= sizeof(target->marker))
                return;
        memcpy(target->marker, id + 3, size);
        target->marker[size] = '\0';
}

static void event_name(const struct target *target, char name[static EVENT_NAME_BYTES])
{
        (void)snprintf(name, EVENT_NAME_BYTES, EVENT_PREFIX "%08" PRIx32, target->source_tag); /* fits */
}

static int read_event(struct target *target)
{
        cleanup(pointer_free) char *text = NULL;
        char name[EVENT_NAME_BYTES];
        const char *event;
        size_t size;
        int result;

        event_name(target, name);
        result = io_read_file(target->control_fd, name, MARKER_LIMIT_BYTES, &text, &size);
        if (result < 0)
                return result == -ENOENT || result == -EFBIG ? 0 : result;
        event = strstr(text, "event=");
        target->event_count = event ? strtoull(event + 6, NULL, 10) : 0;
        return 0;
}

static int read_marker(struct target *target)
{
        cleanup(pointer_free) char *text = NULL;
        size_t size;
        int result;

        target->control_fd = io_open_beneath(target->root.fd, ".cvv", O_RDONLY | O_DIRECTORY, 0);
        if (target->control_fd < 0)
                return target->control_fd == -ENOENT ? 0 : target->control_fd;
        result = io_read_file(target->control_fd, "id", MARKER_LIMIT_BYTES, &text, &size);
        if (result == 0)
                parse_marker(target, text);
        if (target->marker[0]) /* without it nobody knows whose the counts are */
                return read_event(target);
        return result == -ENOENT || result == -EFBIG ? 0 : result;
}

static void init(struct target *target)
{
        memset(target, 0, sizeof(*target));
        target->root.fd = target->control_fd = target->partial_fd = -1;
        target->since_ns = realtime_ns();
        mutex_init(&target->lock);
        condition_init(&target->work);
        condition_init(&target->checkpoint);
        target->tail = &target->head;
        target->unsynced_max = SIZE_MAX;
}

int target_init_absent(struct target *target, const char *path)
{
        init(target);
        target->root.path = strdup(path);
        return target->root.path ? 0 : -ENOMEM;
}

int target_open(struct target *target, const char *path, uint32_t source_tag, struct error *error)
{
        int result;

        init(target);
        target->source_tag = source_tag;
        result = root_open(&target->root, path, error);
        if (result < 0)
                return result;
        result = lock_root(target, error);
        if (result < 0)
                return result;
        result = read_marker(target);
        if (result < 0)
                return error_set(error, result, "cannot read %s/.cvv: %s", path, strerror(-result));
        (void)snprintf(target->identity, sizeof(target->identity), "%.255s",
                       target->root.device.identity[0] ? target->root.device.identity : target->root.device.weak_identity);
        return 0;
}

int target_set_file_name(struct target *target, const char *name)
{
        char identity[sizeof(target->identity)];

        target->file_name = strdup(name);
        if (!target->file_name)
                return -ENOMEM;
        memcpy(identity, target->identity, sizeof(identity));
        stateid_of_file(identity, name, target->identity, sizeof(target->identity));
        return 0;
}

static int make_marker_id(struct target *target)
{
        unsigned char random[16];

        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        for (size_t i = 0; i < sizeof(random); i++)
                (void)snprintf(target->marker + 2 * i, 3, "%02x", random[i]); /* fits: 33 bytes */
        return 0;
}

/* That .cvv comes and goes leaves no trace in the times of the target's root, which may be the source's. */
static int make_control(struct target *target)
{
        struct stat stat;

        if (fstat(target->root.fd, &stat) < 0)
                return -errno;
        if (mkdirat(target->root.fd, ".cvv", 0700) < 0)
                return errno == EEXIST ? 0 : -errno;
        (void)futimens(target->root.fd, (struct timespec[2]){ stat.st_atim, stat.st_mtim }); /* somebody else's directory: it may not */
        return 0;
}

static int remove_control(struct target *target)
{
        struct stat stat;

        if (fstat(target->root.fd, &stat) < 0)
                return -errno;
        if (unlinkat(target->root.fd, ".cvv", AT_REMOVEDIR) < 0)
                return errno == ENOENT ? 0 : -errno;
        (void)futimens(target->root.fd, (struct timespec[2]){ stat.st_atim, stat.st_mtim }); /* as above */
        return 0;
}

static int open_control(struct target *target)
{
        if (target->control_fd < 0) {
                int result = make_control(target);

                if (result < 0)
                        return result;
                target->control_fd = io_open_beneath(target->root.fd, ".cvv", O_RDONLY | O_DIRECTORY, 0);
                if (target->control_fd < 0)
                        return target->control_fd;
        }
        if (target->partial_fd < 0) {
                if (mkdirat(target->control_fd, "partial", 0700) < 0 && errno != EEXIST)
                        return -errno;
                target->partial_fd = io_open_beneath(target->control_fd, "partial", O_RDONLY | O_DIRECTORY, 0);
                if (target->partial_fd < 0)
                        return target->partial_fd;
        }
        return 0;
}

/* The id is for all sources: it is written once. */
static int write_id(struct target *target)
{
        char text[128];
        int size, result;

        if (target->marker[0])
                return 0;
        result = make_marker_id(target);
        if (result < 0)
                return result;
        size = snprintf(text, sizeof(text), "version=1\nid=%s\n", target->marker);
        result = io_write_file_durable(target->control_fd, "id", text, (size_t)size, 0600);
        if (result < 0)
                target->marker[0] = '\0';
        return result;
}

int target_write_marker(struct target *target, uint64_t event_count, struct error *error)
{
        char text[128], name[EVENT_NAME_BYTES];
        int result = open_control(target);

        if (result == 0)
                result = write_id(target);
        if (result == 0) {
                int size = snprintf(text, sizeof(text), "version=1\nevent=%" PRIu64 "\npid=%ld\n", event_count, (long)getpid());

                event_name(target, name);
                result = io_write_file_durable(target->control_fd, name, text, (size_t)size, 0600);
        }
        if (result == 0)
                result = io_sync_directory(target->root.fd);
        if (result < 0)
                return error_set(error, result, "cannot write to target %s: %s", target->root.path, strerror(-result));
        target->event_count = event_count;
        return 0;
}

/* What a crash left of writing the marker or an event count, of any source: see io_write_file_durable(). The lock on the target keeps all
 * others from writing one now. */
static bool is_unfinished(const char *name)
{
        return strncmp(name, "id.tmp.", 7) == 0 || (strncmp(name, EVENT_PREFIX, sizeof(EVENT_PREFIX) - 1) == 0 && strstr(name, ".tmp."));
}

/* Removes what is unfinished in .cvv, and looks whether another source has an event count there. What cannot be told counts as yes. */
static bool look_for_other_sources(struct target *target)
{
        cleanup(dir_close) DIR *dir = NULL;
        int fd = openat(target->control_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *entry;
        bool found = false;

        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                fd_close(&fd);
                return true;
        }
        while ((entry = readdir(dir))) {
                if (is_unfinished(entry->d_name))
                        (void)unlinkat(target->control_fd, entry->d_name, 0); /* what stays keeps .cvv, no more */
                else if (strncmp(entry->d_name, EVENT_PREFIX, sizeof(EVENT_PREFIX) - 1) == 0)
                        found = true;
        }
        return found;
}

int target_remove_marker(struct target *target)
{
        char name[EVENT_NAME_BYTES];
        int result;

        if (target->control_fd < 0)
                return 0;
        event_name(target, name);
        if (unlinkat(target->control_fd, name, 0) < 0 && errno != ENOENT)
                return -errno;
        target->event_count = 0;
        if (look_for_other_sources(target))
                return io_sync_directory(target->control_fd);
        if (unlinkat(target->control_fd, "partial", AT_REMOVEDIR) < 0 && errno != ENOENT)
                return errno == ENOTEMPTY || errno == EEXIST ? io_sync_directory(target->control_fd) : -errno;
        if (unlinkat(target->control_fd, "id", 0) < 0 && errno != ENOENT)
                return -errno;
        target->marker[0] = '\0';
        result = remove_control(target);
        if (result < 0)
                return result;
        fd_close(&target->partial_fd);
        fd_close(&target->control_fd);
        target->partial_fd = target->control_fd = -1;
        return io_sync_directory(target->root.fd);
}

void target_close(struct target *target)
{
        free(target->unsynced.items);
        free(target->syncing.items);
        free(target->verified.items);
        free(target->file_name);
        fd_close(&target->partial_fd);
        fd_close(&target->control_fd);
        root_close(&target->root);
        condition_deinit(&target->work);
        condition_deinit(&target->checkpoint);
        mutex_deinit(&target->lock);
}

/* --- the queue and its writer --- */

static bool takes_writes(enum target_state state)
{
        return state == TARGET_ONLINE || state == TARGET_BEHIND;
}

static void notify_changed(struct target *target)
{
        if (target->changed)
                target->changed(target->changed_context, target);
}

static void *writer_main(void *argument)
{
        struct target *target = argument;

        mutex_lock(&target->lock);
        for (;;) {
                struct target_job *job = target->head;
                uint64_t bytes;

                if (!job && target->stopping)
                        break;
                if (!job) {
                        condition_wait(&target->work, &target->lock);
                        continue;
                }
                target->head = job->next;
                if (!target->head)
                        target->tail = &target->head;
                target->writer_busy_since_ns = clock_now_ns();
                bool discard = target->stopping || !takes_writes(target->state);
                mutex_unlock(&target->lock);

                bytes = job->bytes;
                job->run(job, target, discard);

                mutex_lock(&target->lock);
                if (bytes > 0 && !discard)
                        target->write_ns = (3 * target->write_ns + (clock_now_ns() - target->writer_busy_since_ns)) / 4;
                target->writer_busy_since_ns = 0;
                target->queued_bytes -= bytes;
                target->job_count--;
                mutex_unlock(&target->lock);
                notify_changed(target);
                mutex_lock(&target->lock);
        }
        target->writer_ended = true;
        condition_broadcast(&target->checkpoint);
        mutex_unlock(&target->lock);
        return NULL;
}

int target_start(struct target *target, uint64_t queue_ceiling_bytes)
{
        char name[16];
        int result;

        target->queue_ceiling_bytes = queue_ceiling_bytes;
        (void)snprintf(name, sizeof(name), "cvv-meta-%u", target->n); /* a cut name is still a name */
        result = root_start(&target->root, name, 2);
        if (result < 0)
                return result;
        (void)snprintf(name, sizeof(name), "cvv-write-%u", target->n);
        result = thread_start(&target->writer, name, writer_main, target);
        target->writer_started = result == 0;
        return result;
}

/* Two intervals that wait for the disk are as much as may be lost, so the third does not begin (CONTRACT.md, guarantee 4). */
static bool sync_is_behind(const struct target *target)
{
        uint64_t now = clock_now_ns();

        if (target->syncing_since_ns == 0)
                return false;
        if (target->unsynced.bytes >= TARGET_INTERVAL_BYTES)
                return true;
        return target->unsynced.count > 0 && now - target->unsynced.since_ns > TARGET_INTERVAL_MS * 1000000ull &&
               now - target->syncing_since_ns > TARGET_INTERVAL_MS * 1000000ull;
}

static bool has_room_locked(const struct target *target, uint64_t bytes)
{
        if (target->stopping || !takes_writes(target->state) || sync_is_behind(target))
                return false;
        if (target->unsynced.count + target->job_count >= target->unsynced_max)
                return false; /* small files are written faster than they are named, and are open until then */
        return target->queued_bytes == 0 || target->queued_bytes + bytes <= target->queue_ceiling_bytes;
}

bool target_enqueue(struct target *target, struct target_job *job, bool force)
{
        MUTEX_SCOPE(&target->lock);
        if (force ? target->stopping || !takes_writes(target->state) : !has_room_locked(target, job->bytes))
                return false;
        job->next = NULL;
        *target->tail = job;
        target->tail = &job->next;
        target->queued_bytes += job->bytes;
        target->job_count++;
        condition_signal(&target->work);
        return true;
}

enum target_level target_level(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        if (!has_room_locked(target, BUFPOOL_BLOCK_BYTES))
                return TARGET_QUEUE_FULL;
        return target->queued_bytes * 2 <= target->queue_ceiling_bytes ? TARGET_QUEUE_LOW : TARGET_QUEUE_ROOM;
}

bool target_is_moving(struct target *target, uint64_t patience_ms)
{
        uint64_t patience_ns = patience_ms * 1000000ull;

        MUTEX_SCOPE(&target->lock);
        return !target->stopping && takes_writes(target->state) && !sync_is_behind(target) && target->write_ns < patience_ns &&
               (target->writer_busy_since_ns == 0 || clock_now_ns() < target->writer_busy_since_ns + patience_ns);
}

void target_let_down(struct target *target, uint64_t slow_ms)
{
        uint64_t now = clock_now_ns(), slow_ns = slow_ms * 1000000ull;

        MUTEX_SCOPE(&target->lock);
        if (target->write_ns >= slow_ns || (target->writer_busy_since_ns && now >= target->writer_busy_since_ns + slow_ns))
                target->let_down_ns = now;
}

bool target_has_let_down(struct target *target, uint64_t grudge_ms)
{
        MUTEX_SCOPE(&target->lock);
        return target->let_down_ns && clock_now_ns() < target->let_down_ns + grudge_ms * 1000000ull;
}

bool target_has_room(struct target *target, uint64_t bytes)
{
        MUTEX_SCOPE(&target->lock);
        return has_room_locked(target, bytes);
}

bool target_takes_writes(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        return takes_writes(target->state) && !target->stopping;
}

bool target_serves_reads(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        return takes_writes(target->state) || target->state == TARGET_FULL;
}

bool target_is_drained(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        return target->job_count == 0 && target->unsynced.count == 0 && target->syncing_since_ns == 0 &&
               target->verified.count == 0 && !target->publishing_verified &&
               target->pending_publish == 0;
}

static bool append(struct unsynced_list *list, const struct unsynced *item, uint64_t bytes)
{
        if (list->count == list->capacity) {
                size_t capacity = list->capacity ? list->capacity * 2 : 64;
                struct unsynced *items = reallocarray(list->items, capacity, sizeof(*items));

                if (!items)
                        return false;
                list->items = items;
                list->capacity = capacity;
        }
        if (list->count == 0)
                list->since_ns = clock_now_ns();
        list->items[list->count++] = *item;
        list->bytes += bytes;
        return true;
}

bool target_interval_is_full_locked(const struct target *target)
{
        const struct unsynced_list *list = &target->unsynced;

        return list->bytes >= TARGET_INTERVAL_BYTES || list->count >= TARGET_UNSYNCED_FILES || list->count >= target->unsynced_max;
}

bool target_add_unsynced(struct target *target, const struct unsynced *item, uint64_t bytes)
{
        struct unsynced_list *list = &target->unsynced;

        MUTEX_SCOPE(&target->lock);
        if (!append(list, item, bytes))
                return false;
        if (list->count == 1 || target_interval_is_full_locked(target))
                condition_broadcast(&target->checkpoint);
        return true;
}

bool target_add_verified(struct target *target, const struct unsynced *item)
{
        MUTEX_SCOPE(&target->lock);
        if (!append(&target->verified, item, 0))
                return false;
        condition_broadcast(&target->checkpoint);
        return true;
}

/* --- state --- */

enum target_state target_state(struct target *target)
{
        MUTEX_SCOPE(&target->lock);
        return target->state;
}

static void change_state(struct target *target, enum target_state state, const char *detail, bool only_worse)
{
        char event[32];

        mutex_lock(&target->lock);
        if (target->state == state || (only_worse && state < target->state)) {
                mutex_unlock(&target->lock);
                return;
        }
        target->state = state;
        target->since_ns = realtime_ns();
        if (state == TARGET_FULL)
                target->free_at_full = target->space_known ? target->space.f_bavail * target->space.f_frsize : 0;
        condition_broadcast(&target->work);
        condition_broadcast(&target->checkpoint);
        mutex_unlock(&target->lock);
        (void)snprintf(event, sizeof(event), "target-%s", status_target_state_name(state)); /* fits */
        if (target->events)
                events_add(target->events, event, NULL, (int)target->n, detail);
        log_info("target %u (%s) is %s%s%s", target->n, target->root.path, status_target_state_name(state),
                 detail ? ": " : "", detail ? detail : "");
        notify_changed(target);
}

void target_set_state(struct target *target, enum target_state state, const char *detail)
{
        change_state(target, state, detail, false);
}

enum target_state target_state_of_error(int error)
{
        switch (error) {
        case -ENOSPC:
        case -EDQUOT:
                return TARGET_FULL;
        case -ENOTCONN:
        case -ECONNABORTED:
        case -ECONNRESET:
        case -ENODEV:
        case -ENXIO:
        case -ESHUTDOWN:
        case -ESTALE:
        case -ETIMEDOUT:
        case -EHOSTDOWN:
        case -EHOSTUNREACH:
                return TARGET_OFFLINE;
        case -EIO:
        case -EROFS:
        case -EUCLEAN:
        case -EBADF:
        case -ENOMEM:
        case -EMFILE:
        case -ENFILE:
                return TARGET_FAILED;
        default:
                return TARGET_ONLINE;
        }
}

void target_note_verify_method(struct target *target, unsigned method)
{
        unsigned known = atomic_load(&target->verify_method);

        while (method > known && !atomic_compare_exchange_weak(&target->verify_method, &known, method))
                ;
}

void target_note_error(struct target *target, int error, const char *what, const char *path)
{
        char detail[sizeof(target->last_error)];

        (void)snprintf(detail, sizeof(detail), "%s%s%s: %s", what, path && *path ? " " : "", path ? path : "",
                       error_describe(error)); /* a long path is cut */
        mutex_lock(&target->lock);
        target->error_count++;
        error_escape(detail, target->last_error, sizeof(target->last_error));
        mutex_unlock(&target->lock);
        if (target->events)
                events_add(target->events, "target-error", path, (int)target->n, detail);
        log_warning("target %u: %s", target->n, detail);
}

bool target_report(struct target *target, int error, const char *what, const char *path)
{
        enum target_state state = target_state_of_error(error);
        char detail[sizeof(target->last_error)];

        target_note_error(target, error, what, path);
        if (state == TARGET_ONLINE)
                return false;
        if (state == TARGET_FULL)
                target_refresh_space(target); /* its way back begins where this is left behind */
        (void)snprintf(detail, sizeof(detail), "%s%s%s: %s", what, path && *path ? " " : "", path ? path : "",
                       error_describe(error)); /* as above */
        change_state(target, state, detail, true);
        return true;
}

void target_refresh_space(struct target *target)
{
        struct statvfs space;
        int result;

        mutex_lock(&target->lock);
        target->looking_since_ns = clock_now_ns();
        mutex_unlock(&target->lock);
        result = fstatvfs(target->root.fd, &space);
        MUTEX_SCOPE(&target->lock);
        target->looking_since_ns = 0;
        if (result < 0)
                return; /* the last figures stand; writes will tell what is wrong */
        target->space = space;
        target->space_known = true;
}
