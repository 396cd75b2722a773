#include "core/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/cleanup.h"

static void file_close(FILE **file)
{
        if (*file)
                (void)fclose(*file); /* only read */
}

static bool is_octal(char c)
{
        return c >= '0' && c <= '7';
}

/* Undoes the kernel's \ooo escapes in place. */
static void unescape(char *text)
{
        char *out = text;

        for (const char *in = text; *in; out++) {
                if (in[0] == '\\' && is_octal(in[1]) && is_octal(in[2]) && is_octal(in[3])) {
                        *out = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0'));
                        in += 4;
                } else {
                        *out = *in++;
                }
        }
        *out = '\0';
}

/* Cuts the next field off *rest; NULL at the end of the line. The kernel writes an empty source as an empty field. */
static char *next_field(char **rest)
{
        return *rest ? strsep(rest, " ") : NULL;
}

/* The field after the optional ones and their "-". */
static char *field_after_separator(char **rest)
{
        for (char *field = next_field(rest); field; field = next_field(rest))
                if (strcmp(field, "-") == 0)
                        return next_field(rest);
        return NULL;
}

static int duplicate(struct mountinfo *mount, const char *root, const char *mount_point, const char *fs_name,
                     const char *source)
{
        mount->root = strdup(root);
        mount->mount_point = strdup(mount_point);
        mount->fs_name = strdup(fs_name);
        mount->source = strdup(source);
        if (!mount->root || !mount->mount_point || !mount->fs_name || !mount->source)
                return -ENOMEM;
        unescape(mount->root);
        unescape(mount->mount_point);
        unescape(mount->fs_name);
        unescape(mount->source);
        return 0;
}

int mountinfo_parse(const char *line, struct mountinfo *ret_mount)
{
        cleanup(mountinfo_deinit) struct mountinfo mount = {0};
        cleanup(pointer_free) char *copy = strndup(line, strcspn(line, "\n"));
        char *rest = copy;
        int used = 0;

        if (!copy)
                return -ENOMEM;
        if (sscanf(copy, "%" SCNu64 " %*u %u:%u %n", &mount.id, &mount.major, &mount.minor, &used) != 3 || !used)
                return -EINVAL;
        rest += used;
        const char *root = next_field(&rest);
        const char *mount_point = next_field(&rest);
        const char *fs_name = field_after_separator(&rest);
        const char *source = next_field(&rest);
        if (!root || !mount_point || !fs_name || !source || mount_point[0] != '/')
                return -EINVAL;
        int result = duplicate(&mount, root, mount_point, fs_name, source);
        if (result < 0)
                return result;
        *ret_mount = mount;
        mount = (struct mountinfo){0};
        return 0;
}

int mountinfo_find(uint64_t id, struct mountinfo *ret_mount)
{
        cleanup(file_close) FILE *file = fopen("/proc/self/mountinfo", "re");
        cleanup(pointer_free) char *line = NULL;
        size_t size = 0;

        if (!file)
                return -errno;
        while (getline(&line, &size, file) > 0) {
                if (strtoull(line, NULL, 10) == id)
                        return mountinfo_parse(line, ret_mount);
        }
        return ferror(file) ? -EIO : -ENOENT;
}

int mountinfo_find_fd(int fd, struct mountinfo *ret_mount)
{
        struct statx attributes;

        if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &attributes) < 0)
                return -errno;
        if (!(attributes.stx_mask & STATX_MNT_ID))
                return -ENOENT;
        return mountinfo_find(attributes.stx_mnt_id, ret_mount);
}

/* `path` without `prefix` ("" or starting with '/'), NULL where it does not lie below it. */
static const char *below(const char *path, const char *prefix)
{
        size_t length = strcmp(prefix, "/") == 0 ? 0 : strlen(prefix);

        if (strncmp(path, prefix, length) != 0 || (path[length] && path[length] != '/'))
                return NULL;
        return strcmp(path + length, "/") == 0 ? "" : path + length;
}

int mountinfo_path_inside(const struct mountinfo *mount, const char *path, char **ret_path)
{
        const char *rest = path[0] == '/' ? below(path, mount->mount_point) : NULL;
        const char *root = strcmp(mount->root, "/") == 0 ? "" : mount->root;
        char *joined;

        if (!rest)
                return -ENOENT;
        if (asprintf(&joined, "%s%s", *root || *rest ? root : "/", rest) < 0)
                return -ENOMEM;
        *ret_path = joined;
        return 0;
}

void mountinfo_deinit(struct mountinfo *mount)
{
        free(mount->root);
        free(mount->mount_point);
        free(mount->fs_name);
        free(mount->source);
        *mount = (struct mountinfo){0};
}
