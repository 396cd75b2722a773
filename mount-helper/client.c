#include "mount-helper/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/report_json.h"
#include "mount-helper/path.h"

enum { COPY_BYTES = 64 * 1024, TICK_MS = 1000 };

struct job {
        const char *path;
        const char *text;
};

/* As whom the mount answers: its owner. */
static struct bounded access_of(const struct mount_entry *entry)
{
        long uid = mount_list_number(entry->super_options, "user_id");
        long gid = mount_list_number(entry->super_options, "group_id");
        struct bounded access = {.timeout_ms = CLIENT_ANSWER_MS};

        if (geteuid() == 0 && uid > 0 && gid >= 0) {
                access.as_other = true;
                access.uid = (uid_t)uid;
                access.gid = (gid_t)gid;
        }
        return access;
}

int client_open(const char *mountpoint, struct client *ret_client, struct error *error)
{
        cleanup(client_deinit) struct client client = {0};
        int r = path_real(mountpoint, &client.path);

        if (r < 0)
                return error_set(error, r, "%s: %s", mountpoint, strerror(-r));
        r = mount_entry_find(client.path, &client.entry);
        if (r == -ENOENT)
                return error_set(error, r, "%s is not a mount point of cvv: nothing is mounted there", mountpoint);
        if (r < 0)
                return error_set(error, r, "cannot read the mount table: %s", strerror(-r));
        if (strncmp(client.entry.info.fs_name, "fuse", 4) != 0)
                return error_set(error, -ENOENT, "%s is not a mount point of cvv: %s is mounted there", mountpoint,
                                 client.entry.info.fs_name);
        client.access = access_of(&client.entry);
        *ret_client = client;
        client = (struct client){0};
        return 0;
}

void client_deinit(struct client *client)
{
        free(client->path);
        mount_entry_deinit(&client->entry);
        *client = (struct client){0};
}

static int probe_job(const void *context, int out)
{
        const struct job *job = context;
        struct statfs answer;

        (void)out; /* it says nothing but its result */
        return statfs(job->path, &answer) < 0 ? -errno : 0;
}

int client_probe(const struct client *client, int timeout_ms)
{
        struct bounded bounded = client->access;
        struct job job = {.path = client->path};

        bounded.timeout_ms = timeout_ms;
        return bounded_run(&bounded, probe_job, &job, NULL, NULL);
}

static int write_all(int fd, const char *bytes, size_t size)
{
        while (size > 0) {
                ssize_t written = write(fd, bytes, size);

                if (written < 0)
                        return -errno;
                bytes += written;
                size -= (size_t)written;
        }
        return 0;
}

static int read_job(const void *context, int out)
{
        const struct job *job = context;
        cleanup(fd_close) int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        cleanup(pointer_free) char *buffer = malloc(COPY_BYTES);

        if (fd < 0)
                return -errno;
        if (!buffer)
                return -ENOMEM;
        for (;;) {
                ssize_t size = read(fd, buffer, COPY_BYTES);
                int r;

                if (size <= 0)
                        return size < 0 ? -errno : 0;
                r = write_all(out, buffer, (size_t)size);
                if (r < 0)
                        return r;
        }
}

static int control_path(const struct client *client, const char *name, char **ret_path)
{
        char *path;

        if (asprintf(&path, "%s/.cvv/%s", strcmp(client->path, "/") == 0 ? "" : client->path, name) < 0)
                return -ENOMEM;
        *ret_path = path;
        return 0;
}

int client_read(const struct client *client, const char *name, int timeout_ms, void (*tick)(void *), void *tick_context,
                char **ret_text, size_t *ret_size)
{
        cleanup(pointer_free) char *path = NULL;
        struct bounded bounded = client->access;
        int r = control_path(client, name, &path);

        if (r < 0)
                return r;
        bounded.timeout_ms = timeout_ms;
        bounded.tick_ms = TICK_MS;
        bounded.tick = tick;
        bounded.tick_context = tick_context;
        return bounded_run(&bounded, read_job, &(struct job){.path = path}, ret_text, ret_size);
}

static int control_job(const void *context, int out)
{
        const struct job *job = context;
        size_t size = strlen(job->text);
        cleanup(fd_close) int fd = open(job->path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        ssize_t written;

        (void)out; /* it says nothing but its result */
        if (fd < 0)
                return errno == ENOENT ? -ENOTDIR : -errno; /* ENOENT is for what the command names */
        written = write(fd, job->text, size);
        if (written < 0)
                return -errno;
        return (size_t)written == size ? 0 : -EIO;
}

int client_control(const struct client *client, const char *text, int timeout_ms)
{
        cleanup(pointer_free) char *path = NULL;
        struct bounded bounded = client->access;
        int r = control_path(client, "control", &path);

        if (r < 0)
                return r;
        bounded.timeout_ms = timeout_ms;
        return bounded_run(&bounded, control_job, &(struct job){.path = path, .text = text}, NULL, NULL);
}

int client_explain(const struct client *client, int code, struct error *error)
{
        const char *path = client->path;

        switch (code) {
        case -ENOENT:
        case -ENOTDIR:
                return error_set(error, code, "%s is not a mount of cvv: it has no .cvv (it is %s)", path,
                                 client->entry.info.fs_name);
        case -ENOTCONN:
        case -ECONNABORTED:
                return error_set(error, code, "%s: the cvv that served it is dead; 'cvv umount' clears it", path);
        case -ETIMEDOUT:
                return error_set(error, code, "%s: the mount does not answer", path);
        case -EACCES:
        case -EPERM:
                return error_set(error, code, "%s: only the user who mounted it may do this", path);
        case -EINTR:
                return error_set(error, code, "interrupted");
        default:
                return error_set(error, code, "%s: %s", path, strerror(-code));
        }
}

int client_status(const struct client *client, struct status *ret_status, struct error *error)
{
        cleanup(pointer_free) char *text = NULL;
        size_t size = 0;
        int r = client_read(client, "status.json", CLIENT_ANSWER_MS, NULL, NULL, &text, &size);

        if (r < 0)
                return client_explain(client, r, error);
        return report_parse_status(text, size, ret_status, error);
}
