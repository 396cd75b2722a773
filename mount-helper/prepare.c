#include "mount-helper/prepare.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/cleanup.h"
#include "mount-helper/bounded.h"
#include "mount-helper/client.h"
#include "mount-helper/detach.h"
#include "mount-helper/path.h"

enum { STALE_MAX = 16, PROBE_MS = 5000, DETACH_MS = 10 * 1000, ANSWER_MS = 15 * 1000 };

/* A path that the user gave is usage where it names nothing that can be used; all else is the environment's. */
static int path_error(struct error *error, int code, const char *what, const char *path)
{
        int code_of_error = code == -ENOENT || code == -ENOTDIR || code == -ELOOP || code == -ENAMETOOLONG ? -EINVAL : code;

        return error_set(error, code_of_error, "%s %s: %s", what, path, strerror(-code));
}

static void replace(char **path, char *absolute)
{
        free(*path);
        *path = absolute;
}

static int job_look(const void *context, int out)
{
        struct stat found;

        (void)out;
        (void)stat(context, &found); /* what there is, is found again; here it only matters whether it comes back */
        return 0;
}

/* A path on a device that hangs would hang us too. */
static int check_answers(const char *what, const char *path, struct error *error)
{
        struct bounded bounded = {.timeout_ms = ANSWER_MS};

        if (bounded_run(&bounded, job_look, path, NULL, NULL) != -ETIMEDOUT)
                return 0;
        return error_set(error, -ETIMEDOUT, "%s %s does not answer; is its device well?", what, path);
}

static int check_directory(const char *what, const char *path, struct error *error)
{
        struct stat found;

        if (stat(path, &found) < 0)
                return path_error(error, -errno, what, path);
        if (!S_ISDIR(found.st_mode))
                return error_set(error, -EINVAL, "%s %s is not a directory", what, path);
        return 0;
}

/* What `cvv mount` gives as the type, to know our own mounts again. */
static int type_name(const struct options *options, char **ret_name)
{
        if (asprintf(ret_name, "fuse.%s", options->subtype ? options->subtype : "cvv") < 0)
                return -ENOMEM;
        return 0;
}

/* Looks at the mount at the mount point, if it is one of ours. 0: there is none; 1: a dead one was taken off. */
static int clear_stale(const struct options *options, struct error *error)
{
        cleanup(client_deinit) struct client client = {0};
        cleanup(pointer_free) char *type = NULL;
        struct error nothing_there;
        int r;

        if (type_name(options, &type) < 0) {
                type = NULL;
                return error_set(error, -ENOMEM, "out of memory");
        }
        if (client_open(options->mountpoint, &client, &nothing_there) < 0 || strcmp(client.entry.info.fs_name, type) != 0)
                return 0;
        r = client_probe(&client, PROBE_MS);
        if (r != -ENOTCONN && r != -ECONNABORTED)
                return error_set(error, -EBUSY, "a cvv is mounted at %s already; 'cvv umount' ends it", client.path);
        r = detach_mount(client.path, DETACH_LAZY, DETACH_MS);
        if (r < 0)
                return error_set(error, r, "the mount of a dead cvv at %s cannot be taken off: %s; try umount -l as root",
                                 client.path, strerror(-r));
        return 1;
}

static int prepare_mountpoint(struct options *options, struct error *error)
{
        char *absolute;
        int r = check_answers("mount point", options->mountpoint, error);

        if (r < 0)
                return r;
        r = path_real(options->mountpoint, &absolute);
        if (r < 0)
                return path_error(error, r, "mount point", options->mountpoint);
        replace(&options->mountpoint, absolute);
        for (int i = 0; i < STALE_MAX; i++) {
                r = clear_stale(options, error);
                if (r <= 0)
                        break;
        }
        return r < 0 ? r : check_directory("mount point", options->mountpoint, error);
}

static int prepare_source(struct options *options, struct error *error)
{
        char *absolute;
        int r;

        if (strcmp(options->source, "none") == 0)
                return 0;
        r = check_answers("source", options->source, error);
        if (r < 0)
                return r;
        r = path_real(options->source, &absolute);
        if (r < 0)
                return path_error(error, r, "source", options->source);
        replace(&options->source, absolute);
        return check_directory("source", options->source, error);
}

static int prepare_target(char **target, struct error *error)
{
        bool exists;
        char *absolute;
        int r = check_answers("target", *target, error);

        if (r < 0)
                return r;
        r = path_real_or_new(*target, &absolute, &exists);
        if (r == -ENOENT || r == -ENOTDIR)
                return error_set(error, -EINVAL, "target %s: the directory in which it is to be created does not exist",
                                 *target);
        if (r < 0)
                return path_error(error, r, "target", *target);
        replace(target, absolute);
        return exists ? check_directory("target", *target, error) : 0;
}

/* A path of which only the module that uses it can say whether it will do. */
static int prepare_other(char **path, const char *what, struct error *error)
{
        char *absolute;
        int r;

        if (!*path)
                return 0;
        r = path_absolute(*path, &absolute);
        if (r < 0)
                return path_error(error, r, what, *path);
        replace(path, absolute);
        return 0;
}

/* The source is never written. (By path: what lies in it through another mount is found when the mirror is opened.) */
static int check_outside(const struct options *options, const char *path, const char *what, struct error *error)
{
        if (!path || strcmp(options->source, "none") == 0 || !path_below(path, options->source))
                return 0;
        return error_set(error, -EINVAL, "%s %s lies inside the source, which is never written", what, path);
}

int prepare_mount(struct options *options, struct error *error)
{
        /* The mount point first: under a dead mount nothing else could be seen, and it may be a target as well. */
        int r = prepare_mountpoint(options, error);

        if (r == 0)
                r = prepare_source(options, error);
        for (size_t i = 0; r == 0 && i < options->targets.count; i++)
                r = prepare_target(&options->targets.items[i], error);
        if (r == 0)
                r = prepare_other(&options->state_dir, "--state", error);
        if (r == 0)
                r = prepare_other(&options->log_file, "--log", error);
        if (r == 0)
                r = check_outside(options, options->state_dir, "--state", error);
        if (r == 0)
                r = check_outside(options, options->log_file, "--log", error);
        return r;
}
