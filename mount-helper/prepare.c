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

static int prepare_others(struct options *options, struct error *error)
{
        int r = prepare_other(&options->state_dir, "--state", error);

        return r == 0 ? prepare_other(&options->log_file, "--log", error) : r;
}

static int prepare_outside(const struct options *options, struct error *error)
{
        int r = check_outside(options, options->state_dir, "--state", error);

        return r == 0 ? check_outside(options, options->log_file, "--log", error) : r;
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
                r = prepare_others(options, error);
        return r == 0 ? prepare_outside(options, error) : r;
}

/* --- copying --- */

static const char *last_component(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* Splits the path of something in a directory: *path becomes the real path of the directory; the name is the caller's. */
static int split(char **path, const char *what, char **ret_name, struct error *error)
{
        cleanup(pointer_free) char *name = strdup(last_component(*path));
        cleanup(pointer_free) char *parent = NULL;
        const char *slash = strrchr(*path, '/');
        char *real;
        int r;

        parent = slash == *path ? strdup("/") : slash ? strndup(*path, (size_t)(slash - *path)) : strdup(".");
        if (!name || !parent)
                return error_set(error, -ENOMEM, "out of memory");
        r = path_real(parent, &real);
        if (r < 0)
                return path_error(error, r, what, parent);
        replace(path, real);
        *ret_name = pointer_steal(&name);
        return 0;
}

static int set_name(struct options *options, const char *name, const char *what, struct error *error)
{
        if (strcmp(name, ".cvv") == 0)
                return error_set(error, -EINVAL, "%s: .cvv is the name of cvv's own directory; choose another", what);
        return options_list_add(&options->target_files, name, strlen(name)) < 0 ? error_set(error, -ENOMEM, "out of memory")
                                                                                : 0;
}

/* A target of a file: the directory that receives it, or its new name. */
static int prepare_file_target(struct options *options, size_t index, const char *name, struct error *error)
{
        cleanup(pointer_free) char *own = NULL;
        char **target = &options->targets.items[index], *real;
        struct stat found;
        int r = check_answers("target", *target, error);

        if (r < 0)
                return r;
        r = stat(*target, &found) < 0 ? -errno : 0;
        if (r == 0 && S_ISDIR(found.st_mode)) {
                r = path_real(*target, &real);
                if (r < 0)
                        return path_error(error, r, "target", *target);
                replace(target, real);
                return set_name(options, name, "target", error);
        }
        if (r == 0 && !S_ISREG(found.st_mode))
                return error_set(error, -EINVAL, "target %s is neither a directory nor a file", *target);
        if (r < 0 && r != -ENOENT)
                return path_error(error, r, "target", *target);
        if (!*last_component(*target))
                return error_set(error, -EINVAL, "target %s: the directory does not exist", *target);
        r = split(target, "target: the directory in which it is to be created,", &own, error);
        return r < 0 ? r : set_name(options, own, "target", error);
}

/* `given` is SOURCE as the user wrote it. */
static int prepare_file(struct options *options, const char *given, struct error *error)
{
        const char *name = last_component(given);
        struct stat found, log;
        int r;

        if (options->log_file && stat(options->source, &found) == 0 && stat(options->log_file, &log) == 0 &&
            found.st_dev == log.st_dev && found.st_ino == log.st_ino)
                return error_set(error, -EINVAL, "--log %s is the source, which is never written", options->log_file);
        r = split(&options->source, "source", &options->source_file, error);
        if (r == 0 && strcmp(options->source_file, ".cvv") == 0)
                r = error_set(error, -EINVAL, "source %s: .cvv is the name of cvv's own directory", given);
        for (size_t i = 0; r == 0 && i < options->targets.count; i++)
                r = prepare_file_target(options, i, name, error);
        return r;
}

int prepare_copy(struct options *options, struct error *error)
{
        cleanup(pointer_free) char *given = strdup(options->source);
        struct stat found;
        char *real;
        int r;

        if (!given)
                return error_set(error, -ENOMEM, "out of memory");
        if (strcmp(given, "none") == 0)
                return error_set(error, -EINVAL, "SOURCE none is for cvv mount: there would be nothing to copy");
        r = check_answers("source", given, error);
        if (r == 0)
                r = prepare_others(options, error);
        if (r < 0)
                return r;
        r = path_real(given, &real);
        if (r < 0)
                return path_error(error, r, "source", given);
        replace(&options->source, real);
        if (stat(options->source, &found) < 0)
                return path_error(error, -errno, "source", given);
        if (S_ISREG(found.st_mode))
                return prepare_file(options, given, error);
        if (!S_ISDIR(found.st_mode))
                return error_set(error, -EINVAL, "source %s is neither a directory nor a file", given);
        for (size_t i = 0; r == 0 && i < options->targets.count; i++)
                r = prepare_target(&options->targets.items[i], error);
        return r == 0 ? prepare_outside(options, error) : r;
}
