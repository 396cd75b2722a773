#include "core/places.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/cleanup.h"
#include "core/device.h"
#include "core/timed.h"

void place_close(const struct place *place)
{
        fd_close(&place->fd);
}

static int call_open(void *argument)
{
        const char *path = argument;
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

static int open_place(const char *path, const char *what, bool may_be_absent, struct place *ret_place, struct error *error)
{
        cleanup(pointer_free) char *parent = NULL, *copy = strdup(path);
        const char *slash;

        if (!copy)
                return error_set(error, -ENOMEM, "not enough memory");
        ret_place->path = path;
        ret_place->absent = false;
        ret_place->fd = timed_call(call_open, copy, PLACE_TIMEOUT_NS);
        if (ret_place->fd >= 0)
                return 0;
        if (ret_place->fd == -ETIMEDOUT) {
                copy = NULL; /* the thread has it */
                return error_set(error, -ETIMEDOUT, "%s %s does not answer; is its device well?", what, path);
        }
        if (ret_place->fd == -ENOTDIR)
                return error_set(error, -EINVAL, "%s %s is not a directory", what, path);
        if (ret_place->fd != -ENOENT)
                return error_set(error, ret_place->fd == -EINVAL ? -EIO : ret_place->fd, "cannot open %s %s: %s", what, path,
                                 strerror(-ret_place->fd));
        if (!may_be_absent)
                return error_set(error, -EINVAL, "%s %s does not exist", what, path);
        slash = strrchr(path, '/');
        parent = slash && slash != path ? strndup(path, (size_t)(slash - path)) : strdup("/");
        if (!parent)
                return error_set(error, -ENOMEM, "not enough memory");
        ret_place->absent = true;
        ret_place->fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (ret_place->fd < 0)
                return error_set(error, -EINVAL, "%s %s cannot be created: its parent directory %s: %s", what, path, parent,
                                 strerror(errno));
        return 0;
}

static bool same_directory(int a, int b)
{
        struct stat first, second;

        return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
               first.st_ino == second.st_ino;
}

/* -1: cannot be told, which counts as no. */
static bool contains(const struct place *outer, const struct place *inner)
{
        return !outer->absent && device_contains(outer->fd, inner->fd) == 1;
}

/* Where one file alone is copied, its directory and those of the targets may lie in any way to one another: cvv writes that name, and .cvv. */
static int check_file(const struct options *options, const struct place *source, const struct place *targets, size_t index,
                      struct error *error)
{
        const char *name = options->target_files.items[index];
        struct stat first, second;

        if (fstatat(targets[index].fd, name, &second, AT_SYMLINK_NOFOLLOW) == 0) {
                if (S_ISDIR(second.st_mode))
                        return error_set(error, -EINVAL, "target %s has a directory %s, where the file is to be", targets[index].path, name);
                if (fstatat(source->fd, options->source_file, &first, AT_SYMLINK_NOFOLLOW) == 0 && first.st_dev == second.st_dev &&
                    first.st_ino == second.st_ino)
                        return error_set(error, -EINVAL, "source and target are the same file: %s in %s", name, targets[index].path);
        }
        for (size_t i = 0; i < index; i++)
                if (same_directory(targets[i].fd, targets[index].fd))
                        return error_set(error, -EINVAL, "two targets are in the directory %s; copy to one of them, then to the other",
                                         targets[index].path);
        return 0;
}

static int check_pair(const struct place *source, const struct place *target, struct error *error)
{
        if (!source)
                return 0;
        if (!target->absent && same_directory(source->fd, target->fd))
                return error_set(error, -EINVAL, "source and target are the same directory: %s", target->path);
        if (contains(source, target))
                return error_set(error, -EINVAL, "target %s is inside the source %s; choose a directory outside of it",
                                 target->path, source->path);
        if (contains(target, source))
                return error_set(error, -EINVAL, "the source %s is inside the target %s; choose another target", source->path,
                                 target->path);
        return 0;
}

static int check_mountpoint(const struct place *mountpoint, const struct place *source, const struct place *targets,
                            size_t count, struct error *error)
{
        if (source && contains(source, mountpoint))
                return error_set(error, -EINVAL, "the mount point %s is inside the source %s; choose a directory outside of it",
                                 mountpoint->path, source->path);
        for (size_t i = 0; i < count; i++) {
                if (!targets[i].absent && same_directory(targets[i].fd, mountpoint->fd))
                        continue;
                if (contains(&targets[i], mountpoint))
                        return error_set(error, -EINVAL,
                                         "the mount point %s is inside the target %s; choose the target itself, or a directory "
                                         "outside of it",
                                         mountpoint->path, targets[i].path);
        }
        return 0;
}

static int check_two_targets(const struct place *a, const struct place *b, struct error *error)
{
        if (a->absent == b->absent && (a->absent ? strcmp(a->path, b->path) == 0 : same_directory(a->fd, b->fd)))
                return error_set(error, -EINVAL, "target %s is given twice (%s is the same directory)", a->path, b->path);
        if (contains(a, b))
                return error_set(error, -EINVAL, "target %s is inside the target %s; choose a directory outside of it", b->path,
                                 a->path);
        return 0;
}

static int check_targets(const struct place *targets, size_t count, struct error *error)
{
        int result = 0;

        for (size_t i = 0; i < count && result == 0; i++) {
                for (size_t j = 0; j < count && result == 0; j++)
                        if (i != j)
                                result = check_two_targets(&targets[i], &targets[j], error);
        }
        return result;
}

/* The state must not lie in what is mirrored, nor where the mount will hide it. */
static int check_state(const struct options *options, const struct place *source, const struct place *mountpoint,
                       const struct place *targets, struct error *error)
{
        cleanup(place_close) struct place state = { .fd = -1 };
        const char *inside = NULL;
        int result;

        if (!options->state_dir)
                return 0;
        result = open_place(options->state_dir, "state directory", true, &state, error);
        if (result < 0)
                return result;
        if (source && contains(source, &state))
                inside = source->path;
        if (options->mountpoint && contains(mountpoint, &state))
                inside = mountpoint->path;
        for (size_t i = 0; i < options->targets.count; i++)
                if (contains(&targets[i], &state))
                        inside = targets[i].path;
        return inside ? error_set(error, -EINVAL, "the state directory %s is inside %s; choose one outside of source, targets and "
                                                  "mount point",
                                  state.path, inside)
                      : 0;
}

int places_check(const struct options *options, bool has_source, struct place *targets, struct error *error)
{
        cleanup(place_close) struct place source = { .fd = -1 };
        cleanup(place_close) struct place mountpoint = { .fd = -1 };
        int result = has_source ? open_place(options->source, "source", false, &source, error) : 0;

        if (result == 0 && options->mountpoint)
                result = open_place(options->mountpoint, "mount point", false, &mountpoint, error);
        for (size_t i = 0; i < options->targets.count && result == 0; i++) {
                result = open_place(options->targets.items[i], "target", !options->source_file, &targets[i], error);
                if (result == 0)
                        result = options->source_file ? check_file(options, &source, targets, i, error)
                                                      : check_pair(has_source ? &source : NULL, &targets[i], error);
        }
        if (result == 0 && !options->source_file)
                result = check_targets(targets, options->targets.count, error);
        if (result == 0 && options->mountpoint)
                result = check_mountpoint(&mountpoint, has_source ? &source : NULL, targets, options->targets.count, error);
        if (options->source_file)
                return result;
        return result == 0 ? check_state(options, has_source ? &source : NULL, &mountpoint, targets, error) : result;
}
