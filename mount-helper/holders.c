#include "mount-helper/holders.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"

struct search {
        const struct mount_entry *mount;
        int proc; /* /proc */
        void (*say)(const char *line);
        int lines;
        const char *except; /* open files whose paths begin so do not count; or NULL */
};

static void file_close(FILE **file)
{
        if (*file)
                (void)fclose(*file); /* only read */
}

uint64_t holders_mount_id(const char *fdinfo)
{
        static const char key[] = "mnt_id:";
        const char *found = strstr(fdinfo, key);

        if (!found || (found != fdinfo && found[-1] != '\n'))
                return 0;
        return strtoull(found + sizeof(key) - 1, NULL, 10);
}

bool holders_line_maps(const char *line, unsigned int major, unsigned int minor)
{
        unsigned int line_major, line_minor;

        return sscanf(line, "%*s %*s %*s %x:%x", &line_major, &line_minor) == 2 && line_major == major &&
               line_minor == minor;
}

/* The mount id in the fdinfo file at `path`, 0 where it cannot be read: the process may have ended, or be another user's.
 */
static uint64_t read_mount_id(int directory, const char *path)
{
        cleanup(fd_close) int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
        char text[1024];
        ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

        if (size <= 0)
                return 0;
        text[size] = '\0';
        return holders_mount_id(text);
}

/* Whether the link `name` (cwd, root, exe) of a process leads onto the mount. */
static bool link_holds(const struct search *search, int process, const char *name)
{
        cleanup(fd_close) int fd = openat(process, name, O_PATH | O_CLOEXEC);
        char path[64];

        if (fd < 0)
                return false;
        (void)snprintf(path, sizeof(path), "self/fdinfo/%d", fd); /* fits */
        return read_mount_id(search->proc, path) == search->mount->info.id;
}

static bool is_excepted(const struct search *search, int process, const char *descriptor)
{
        char link[32], path[PATH_MAX];
        ssize_t size;

        if (!search->except || strlen(descriptor) > 16)
                return false;
        (void)snprintf(link, sizeof(link), "fd/%s", descriptor); /* fits */
        size = readlinkat(process, link, path, sizeof(path));
        return size >= (ssize_t)strlen(search->except) && memcmp(path, search->except, strlen(search->except)) == 0;
}

static bool descriptor_holds(const struct search *search, int process)
{
        cleanup(dir_close) DIR *directory = NULL;
        cleanup(fd_close) int fd = openat(process, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct dirent *entry;

        if (fd < 0)
                return false;
        directory = fdopendir(fd);
        if (!directory)
                return false;
        fd = -1; /* the stream's */
        while ((entry = readdir(directory)))
                if (isdigit((unsigned char)entry->d_name[0]) &&
                    read_mount_id(dirfd(directory), entry->d_name) == search->mount->info.id &&
                    !is_excepted(search, process, entry->d_name))
                        return true;
        return false;
}

static bool mapping_holds(const struct search *search, int process)
{
        cleanup(file_close) FILE *file = NULL;
        cleanup(fd_close) int fd = openat(process, "maps", O_RDONLY | O_CLOEXEC);
        cleanup(pointer_free) char *line = NULL;
        size_t size = 0;

        if (fd < 0)
                return false;
        file = fdopen(fd, "r");
        if (!file)
                return false;
        fd = -1; /* the stream's */
        while (getline(&line, &size, file) > 0)
                if (holders_line_maps(line, search->mount->info.major, search->mount->info.minor))
                        return true;
        return false;
}

/* How the process holds the mount; NULL: not at all. */
static const char *how_held(const struct search *search, int process)
{
        static const char *const links[] = {"cwd", "root", "exe"};

        for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
                if (link_holds(search, process, links[i]))
                        return links[i];
        if (descriptor_holds(search, process))
                return "open file";
        return mapping_holds(search, process) ? "mapped file" : NULL;
}

static void say_line(struct search *search, const char *line)
{
        if (search->lines == HOLDERS_MAX)
                search->say("... and more");
        if (search->lines < HOLDERS_MAX)
                search->say(line);
        search->lines++;
}

static void look_at(struct search *search, const char *pid)
{
        cleanup(fd_close) int process = openat(search->proc, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        cleanup(fd_close) int fd = -1;
        const char *how = process < 0 ? NULL : how_held(search, process);
        char line[128], name[64];
        ssize_t size;

        if (!how)
                return;
        fd = openat(process, "comm", O_RDONLY | O_CLOEXEC);
        size = fd < 0 ? 0 : read(fd, name, sizeof(name) - 1);
        name[size > 0 ? size : 0] = '\0';
        name[strcspn(name, "\n")] = '\0';
        (void)snprintf(line, sizeof(line), "%.16s %s (%s)", pid, *name ? name : "?", how); /* fits: comm has 15 bytes */
        say_line(search, line);
}

static int list_mount_below(struct search *search, const char *path)
{
        cleanup(pointer_free) char *below = NULL;
        cleanup(pointer_free) char *line = NULL;
        int r = mount_entry_find_below(path, &below);

        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (asprintf(&line, "%s is mounted below it", below) < 0) {
                line = NULL;
                return -ENOMEM;
        }
        say_line(search, line);
        return 0;
}

/* Says a line for each holder, until there are more than `limit`. */
static int list(struct search *search, const char *path, int limit)
{
        cleanup(dir_close) DIR *directory = opendir("/proc");
        const struct dirent *entry;
        int r;

        if (!directory)
                return -errno;
        search->proc = dirfd(directory);
        r = list_mount_below(search, path);
        if (r < 0)
                return r;
        while (search->lines <= limit && (entry = readdir(directory)))
                if (isdigit((unsigned char)entry->d_name[0]) && strtol(entry->d_name, NULL, 10) != getpid())
                        look_at(search, entry->d_name);
        return search->lines;
}

int holders_list(const char *path, const struct mount_entry *mount, void (*say)(const char *line))
{
        struct search search = {.mount = mount, .say = say};

        return list(&search, path, HOLDERS_MAX);
}

static void say_nothing(const char *line)
{
        (void)line;
}

int holders_others(const char *path, const struct mount_entry *mount)
{
        cleanup(pointer_free) char *control = NULL;
        struct search search = {.mount = mount, .say = say_nothing};

        if (asprintf(&control, "%s/.cvv/", path) < 0) {
                control = NULL;
                return -ENOMEM;
        }
        search.except = control;
        return list(&search, path, 0);
}
