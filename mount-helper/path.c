#include "mount-helper/path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"

int path_real(const char *path, char **ret_path)
{
        char *real = realpath(path, NULL);

        if (!real)
                return -errno;
        *ret_path = real;
        return 0;
}

static int join(const char *parent, const char *name, char **ret_path)
{
        char *joined;

        if (asprintf(&joined, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) < 0)
                return -ENOMEM;
        *ret_path = joined;
        return 0;
}

/* The parent's real path and the last component of `path`, which does not exist. */
static int real_new(const char *path, char **ret_path)
{
        cleanup(pointer_free) char *copy = strdup(path);
        cleanup(pointer_free) char *parent = NULL;
        size_t length;
        char *slash, *name;
        struct stat link;
        int r;

        if (!copy)
                return -ENOMEM;
        for (length = strlen(copy); length > 1 && copy[length - 1] == '/';)
                copy[--length] = '\0';
        if (lstat(copy, &link) == 0)
                return -ENOENT; /* a link to nothing: its name is taken */
        slash = strrchr(copy, '/');
        name = slash ? slash + 1 : copy;
        if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                return -ENOENT;
        if (slash)
                *slash = '\0';
        r = path_real(!slash ? "." : *copy ? copy : "/", &parent);
        return r < 0 ? r : join(parent, name, ret_path);
}

int path_real_or_new(const char *path, char **ret_path, bool *ret_exists)
{
        int r = path_real(path, ret_path);
        bool exists = r == 0;

        if (r == -ENOENT && *path)
                r = real_new(path, ret_path);
        if (r == 0)
                *ret_exists = exists;
        return r;
}

int path_absolute(const char *path, char **ret_path)
{
        cleanup(pointer_free) char *here = NULL;
        bool exists;
        int r = path_real_or_new(path, ret_path, &exists);

        if (r == 0 || r == -ENOMEM)
                return r;
        if (path[0] == '/') {
                *ret_path = strdup(path);
                return *ret_path ? 0 : -ENOMEM;
        }
        here = getcwd(NULL, 0);
        return here ? join(here, path, ret_path) : -errno;
}

const char *path_below(const char *path, const char *root)
{
        size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);

        if (strncmp(path, root, length) != 0 || (path[length] && path[length] != '/'))
                return NULL;
        path += length;
        return path + strspn(path, "/");
}

/* Tries each prefix of the path, the longest last: the shortest one that is `root` is the right one. */
int path_rest_below(const char *path, const char *root, char **ret_rest)
{
        cleanup(pointer_free) char *copy = strdup(path);
        size_t length = strlen(path);

        if (!copy)
                return -ENOMEM;
        for (size_t end = 1; end <= length; end++) {
                cleanup(pointer_free) char *real = NULL;
                char kept = copy[end];

                if (kept && kept != '/')
                        continue;
                copy[end] = '\0';
                int r = path_real(copy, &real);
                copy[end] = kept;
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        break; /* what is absent has nothing below it */
                if (strcmp(real, root) == 0) {
                        *ret_rest = strdup(path + end + strspn(path + end, "/"));
                        return *ret_rest ? 0 : -ENOMEM;
                }
        }
        return -ENOENT;
}
