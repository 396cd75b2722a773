#include "fs/viewpath.h"

#include "core/cleanup.h"

#include <string.h>

int viewpath_parent(struct mirror *mirror, uint64_t id, uint64_t *ret_parent)
{
        cleanup(pointer_free) char *path = NULL;
        char *slash;
        int r = mirror_path(mirror, id, &path);

        if (r < 0)
                return r;
        slash = strrchr(path, '/');
        if (slash)
                *slash = '\0';
        else
                *path = '\0';
        return mirror_resolve(mirror, path, ret_parent);
}
