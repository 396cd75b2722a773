#include "fake_mirror.h"

#include "core/sync.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NODE_A = 2, NODE_SLOW, NODE_D, NODE_B, NODE_L, NODE_HANG, NODE_END };

static const struct {
        const char *name;
        uint64_t parent;
        mode_t mode;
} nodes[NODE_END] = {
    [MIRROR_ROOT] = {"", MIRROR_ROOT, S_IFDIR | 0755},
    [NODE_A] = {"a", MIRROR_ROOT, S_IFREG | 0644},
    [NODE_SLOW] = {"slow", MIRROR_ROOT, S_IFREG | 0644},
    [NODE_D] = {"d", MIRROR_ROOT, S_IFDIR | 0755},
    [NODE_B] = {"b", NODE_D, S_IFREG | 0600},
    [NODE_L] = {"l", MIRROR_ROOT, S_IFLNK | 0777},
    [NODE_HANG] = {"hang", MIRROR_ROOT, S_IFREG | 0644},
};

struct mirror_dir {
        struct mirror *mirror;
        uint64_t id;
};

struct mirror_handle {
        struct mirror *mirror;
        uint64_t id;
};

struct mirror_read {
        struct mirror_read *next;
        struct mirror *mirror;
        mirror_read_done done;
        void *context;
        uint64_t offset;
        size_t size;
        bool parked;
};

struct mirror {
        const struct options *options;
        struct events *events;
        struct mutex lock;
        struct condition changed;
        atomic_bool cancel_inside;
        bool let_go, busy;
        unsigned parked_count, hanging, commands;
        struct mirror_read *parked;
        void (*notify)(void *context);
        void *notify_context;
        atomic_int open; /* directories, handles, reads, cancelling threads */
};

struct mirror *fake_mirror_new(const struct options *options)
{
        struct mirror *mirror = calloc(1, sizeof(*mirror));

        if (!mirror || events_new(&mirror->events) < 0)
                abort();
        mirror->options = options;
        mutex_init(&mirror->lock);
        condition_init(&mirror->changed);
        return mirror;
}

void fake_mirror_free(struct mirror *mirror)
{
        {
                MUTEX_SCOPE(&mirror->lock);
                while (atomic_load(&mirror->open) != 0) {
                        if (!condition_wait_until(&mirror->changed, &mirror->lock, clock_now_ns() + 5000000000u)) {
                                (void)fprintf(stderr, "%d things left open\n", atomic_load(&mirror->open));
                                abort();
                        }
                }
        }
        events_unref(mirror->events);
        condition_deinit(&mirror->changed);
        mutex_deinit(&mirror->lock);
        free(mirror);
}

static void count(struct mirror *mirror, int change)
{
        MUTEX_SCOPE(&mirror->lock);
        atomic_fetch_add(&mirror->open, change);
        condition_broadcast(&mirror->changed);
}

unsigned char fake_mirror_byte(uint64_t offset)
{
        return (unsigned char)(offset * 7 + offset / 4096);
}

/* ---- names ---- */

static void fill_stat(uint64_t id, struct stat *ret_stat)
{
        *ret_stat = (struct stat){
            .st_ino = id,
            .st_mode = nodes[id].mode,
            .st_nlink = 1,
            .st_size = S_ISREG(nodes[id].mode) ? FAKE_SIZE : 1,
            .st_blksize = 4096,
            .st_mtim = {.tv_sec = 1000 + (time_t)id},
        };
}

static void hang(struct mirror *mirror)
{
        MUTEX_SCOPE(&mirror->lock);
        mirror->hanging++;
        condition_broadcast(&mirror->changed);
        while (!mirror->let_go)
                condition_wait(&mirror->changed, &mirror->lock);
}

int mirror_lookup(struct mirror *mirror, uint64_t parent, const char *name, struct stat *ret_stat)
{
        for (uint64_t id = NODE_A; id < NODE_END; id++) {
                size_t length = strlen(nodes[id].name) + (id != NODE_HANG);

                if (nodes[id].parent != parent || strncmp(nodes[id].name, name, length) != 0)
                        continue;
                if (id == NODE_HANG)
                        hang(mirror);
                fill_stat(id, ret_stat);
                return 0;
        }
        return -ENOENT;
}

int mirror_getattr(struct mirror *mirror, uint64_t id, struct stat *ret_stat)
{
        if (id == 0 || id >= NODE_END)
                return -ENOENT;
        fill_stat(id, ret_stat);
        return 0;
}

int mirror_readlink(struct mirror *mirror, uint64_t id, char **ret_text)
{
        *ret_text = strdup("a");
        return id == NODE_L ? 0 : -EINVAL;
}

int64_t mirror_getxattr(struct mirror *mirror, uint64_t id, const char *name, void *buffer, size_t size)
{
        if (strcmp(name, "user.cvv.state") != 0)
                return strncmp(name, "system.", 7) == 0 ? -EOPNOTSUPP : -ENODATA;
        if (size > 0 && size < 6)
                return -ERANGE;
        if (size > 0)
                memcpy(buffer, "copied", 6);
        return 6;
}

int64_t mirror_listxattr(struct mirror *mirror, uint64_t id, char *buffer, size_t size)
{
        return 0;
}

int mirror_statfs(struct mirror *mirror, struct statvfs *ret_statvfs)
{
        *ret_statvfs = (struct statvfs){.f_bsize = 4096, .f_frsize = 4096, .f_blocks = 1000, .f_namemax = 255};
        return 0;
}

int mirror_resolve(struct mirror *mirror, const char *path, uint64_t *ret_id)
{
        *ret_id = strcmp(path, "d") == 0 ? NODE_D : MIRROR_ROOT;
        return 0;
}

int mirror_path(struct mirror *mirror, uint64_t id, char **ret_path)
{
        char path[32];

        (void)snprintf(path, sizeof(path), "%s%s", nodes[id].parent == NODE_D ? "d/" : "", nodes[id].name);
        *ret_path = strdup(path);
        return *ret_path ? 0 : -ENOMEM;
}

/* ---- directories ---- */

int mirror_opendir(struct mirror *mirror, uint64_t id, struct mirror_dir **ret_dir)
{
        struct mirror_dir *dir = calloc(1, sizeof(*dir));

        *dir = (struct mirror_dir){.mirror = mirror, .id = id};
        count(mirror, 1);
        *ret_dir = dir;
        return 0;
}

int mirror_readdir(struct mirror_dir *dir, uint64_t offset, bool with_attributes,
                   bool (*fill)(void *context, const char *name, const struct stat *stat, uint64_t next_offset),
                   void *context)
{
        struct stat stat;

        for (uint64_t id = offset; id < NODE_END; id++) {
                if (id >= 2 && (nodes[id].parent != dir->id || id == NODE_HANG))
                        continue;
                fill_stat(id == 0 ? dir->id : id == 1 ? nodes[dir->id].parent : id, &stat);
                if (!fill(context, id == 0 ? "." : id == 1 ? ".." : nodes[id].name, &stat, id + 1))
                        break;
        }
        return 0;
}

void mirror_closedir(struct mirror_dir *dir)
{
        count(dir->mirror, -1);
        free(dir);
}

/* ---- data ---- */

int mirror_open_file(struct mirror *mirror, uint64_t id, const struct mirror_open_request *request, bool *ret_finished,
                     struct mirror_handle **ret_handle)
{
        struct mirror_handle *handle = calloc(1, sizeof(*handle));

        *handle = (struct mirror_handle){.mirror = mirror, .id = id};
        count(mirror, 1);
        *ret_finished = id != NODE_SLOW;
        *ret_handle = handle;
        return 0;
}

void mirror_release(struct mirror_handle *handle)
{
        count(handle->mirror, -1);
        free(handle);
}

static void answer(const struct mirror_read *read)
{
        size_t size = read->offset >= FAKE_SIZE ? 0 : FAKE_SIZE - read->offset;
        unsigned char *data;

        size = size < read->size ? size : read->size;
        data = malloc(size + 1);
        for (size_t i = 0; i < size; i++)
                data[i] = fake_mirror_byte(read->offset + i);
        read->done(read->context, 0,
                   (struct iovec[]){{.iov_base = data, .iov_len = size / 2},
                                    {.iov_base = data + size / 2, .iov_len = size - size / 2}},
                   2);
        free(data);
}

void mirror_read(struct mirror_handle *handle, uint64_t offset, size_t size, mirror_read_done done, void *context,
                 struct mirror_read **ret_read)
{
        struct mirror *mirror = handle->mirror;
        struct mirror_read *read = calloc(1, sizeof(*read));

        *read = (struct mirror_read){
            .mirror = mirror,
            .done = done,
            .context = context,
            .offset = offset,
            .size = size,
        };
        count(mirror, 1);
        *ret_read = read;
        if (handle->id != NODE_SLOW) {
                answer(read);
                return;
        }

        MUTEX_SCOPE(&mirror->lock);
        read->parked = true;
        read->next = mirror->parked;
        mirror->parked = read;
        mirror->parked_count++;
        condition_broadcast(&mirror->changed);
}

static bool unpark(struct mirror_read *read)
{
        struct mirror_read **link = &read->mirror->parked;

        MUTEX_SCOPE(&read->mirror->lock);
        if (!read->parked)
                return false;
        while (*link != read)
                link = &(*link)->next;
        *link = read->next;
        read->parked = false;
        read->mirror->parked_count--;
        return true;
}

static void *cancel_thread(void *context)
{
        struct mirror_read *read = context;
        struct mirror *mirror = read->mirror;

        read->done(read->context, -EINTR, NULL, 0);
        count(mirror, -1);
        return NULL;
}

void mirror_read_cancel(struct mirror_read *read)
{
        struct mirror *mirror = read->mirror;
        pthread_t thread;

        if (!unpark(read))
                return;
        if (atomic_load(&mirror->cancel_inside)) {
                read->done(read->context, -EINTR, NULL, 0);
                return;
        }
        count(mirror, 1);
        if (thread_start(&thread, "cancel", cancel_thread, read) < 0)
                abort();
        pthread_detach(thread);
}

void mirror_read_forget(struct mirror_read *read)
{
        count(read->mirror, -1);
        free(read);
}

int64_t mirror_lseek(struct mirror_handle *handle, uint64_t offset, int whence)
{
        return whence == SEEK_DATA ? (int64_t)offset : FAKE_SIZE;
}

/* ---- control and reports ---- */

int mirror_control(struct mirror *mirror, const struct command *commands, size_t n, struct error *error)
{
        MUTEX_SCOPE(&mirror->lock);
        if (commands[0].path && strcmp(commands[0].path, "absent") == 0)
                return error_set(error, -ENOENT, "absent does not exist");
        mirror->commands += (unsigned)n;
        return 0;
}

int mirror_status(struct mirror *mirror, struct status *ret_status)
{
        *ret_status = (struct status){.state = MIRROR_IDLE, .target_count = 1};
        ret_status->targets = calloc(1, sizeof(*ret_status->targets));
        ret_status->targets[0] = (struct status_target){.n = 3, .path = strdup("/t"), .identity = strdup("x")};
        return 0;
}

int mirror_file_status(struct mirror *mirror, uint64_t id, struct status_file *ret_file)
{
        *ret_file = (struct status_file){.type = "file", .size = FAKE_SIZE, .chunk_size = 1};
        return mirror_path(mirror, id, &ret_file->path);
}

int mirror_errors(struct mirror *mirror, int *ret_fd)
{
        FILE *file = tmpfile();

        (void)fputs("an error\n", file);
        (void)fflush(file);
        *ret_fd = dup(fileno(file));
        (void)fclose(file);
        return 0;
}

int mirror_skipped(struct mirror *mirror, int *ret_fd)
{
        return mirror_errors(mirror, ret_fd);
}

int mirror_manifest(struct mirror *mirror, int *ret_fd)
{
        return mirror_errors(mirror, ret_fd);
}

int mirror_safe_to_erase(struct mirror *mirror, uint64_t asked_ns, char **ret_text)
{
        assert(asked_ns > 0 && asked_ns <= clock_now_ns());
        MUTEX_SCOPE(&mirror->lock);
        if (mirror->busy)
                return -EAGAIN;
        *ret_text = strdup("no: there is no source\nand no mirror\n");
        return *ret_text ? 0 : -ENOMEM;
}

struct events *mirror_events(struct mirror *mirror)
{
        return mirror->events;
}

int mirror_config(struct mirror *mirror, char **ret_text)
{
        return options_config_text(mirror_options(mirror), ret_text);
}

const struct options *mirror_options(struct mirror *mirror)
{
        return mirror->options;
}

uid_t mirror_owner(struct mirror *mirror)
{
        return getuid();
}

bool mirror_is_busy(struct mirror *mirror)
{
        MUTEX_SCOPE(&mirror->lock);
        return mirror->busy;
}

void mirror_on_idle(struct mirror *mirror, void (*notify)(void *context), void *context)
{
        MUTEX_SCOPE(&mirror->lock);
        mirror->notify = notify;
        mirror->notify_context = context;
}

/* ---- the test's side ---- */

void fake_mirror_cancel_inside(struct mirror *mirror, bool inside)
{
        atomic_store(&mirror->cancel_inside, inside);
}

static void wait_for(struct mirror *mirror, const unsigned *number, unsigned least)
{
        MUTEX_SCOPE(&mirror->lock);
        while (*number < least) {
                if (!condition_wait_until(&mirror->changed, &mirror->lock, clock_now_ns() + 20000000000u)) {
                        (void)fprintf(stderr, "waited in vain\n");
                        abort();
                }
        }
}

void fake_mirror_wait_parked(struct mirror *mirror, unsigned n)
{
        wait_for(mirror, &mirror->parked_count, n);
}

static struct mirror_read *take_parked(struct mirror *mirror)
{
        struct mirror_read *read;

        MUTEX_SCOPE(&mirror->lock);
        read = mirror->parked;
        if (!read)
                return NULL;
        mirror->parked = read->next;
        read->parked = false;
        mirror->parked_count--;
        return read;
}

void fake_mirror_answer(struct mirror *mirror)
{
        struct mirror_read *read;

        while ((read = take_parked(mirror)))
                answer(read);
}

void fake_mirror_wait_hanging(struct mirror *mirror, unsigned n)
{
        wait_for(mirror, &mirror->hanging, n);
}

void fake_mirror_let_go(struct mirror *mirror)
{
        MUTEX_SCOPE(&mirror->lock);
        mirror->let_go = true;
        condition_broadcast(&mirror->changed);
}

void fake_mirror_set_busy(struct mirror *mirror, bool busy)
{
        void (*notify)(void *context);
        void *context;

        {
                MUTEX_SCOPE(&mirror->lock);
                mirror->busy = busy;
                notify = mirror->notify;
                context = mirror->notify_context;
        }
        if (!busy && notify)
                notify(context);
}

unsigned fake_mirror_commands(struct mirror *mirror)
{
        MUTEX_SCOPE(&mirror->lock);
        return mirror->commands;
}
