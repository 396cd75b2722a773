#include "core/openapps.h"

#include "core/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        COMM_LENGTH = 15, /* the kernel's TASK_COMM_LEN, less the NUL */
        PROC_BYTES = 1024,
};

/* Programs that read without being asked to; a `*` at the end stands for anything. Not here: programs that a person starts
 * on a file (file, mediainfo, ffprobe, mlocate, plocate), and file managers, which also copy. */
static const char *const indexers[] = {
    /* search: GNOME, KDE, Recoll, locate */
    "tracker-miner-f*", /* tracker-miner-fs, tracker-miner-fs-3 */
    "tracker-extract*",
    "localsearch*",
    "baloo_file*", /* baloo_file, baloo_file_extractor, baloo_filemetadata_temp_extractor */
    "recollindex",
    "updatedb*", /* updatedb.mlocate, updatedb.plocate, updatedb.findutils */
    "plocate-build",
    /* thumbnails; what ends in "thumbnailer" is one anyway, but a comm loses that end */
    "tumblerd",
    "ffmpegthumbnailer",
    "ffmpegthumbs",
    "gnome-thumbnail*",
    "mate-thumbnail*",
    "gdk-pixbuf-thumbnailer",
    "gst-video-thumbnailer",
    "gst-audio-thumbnailer",
    "gst-thumbnailers",
    "totem-video-thumbnailer",
    "totem-gst-thumbnailer",
    "glycin-thumbnailer",
    "evince-thumbnailer",
    "papers-thumbnailer",
    "atril-thumbnailer",
    "xreader-thumbnailer",
    "gsf-office-thumbnailer",
    "raw-thumbnailer",
    "enlightenment_thumb",
    "thumbnail.so", /* KDE 5 under kdeinit */
    /* previews: GNOME Sushi */
    "sushi-start",
    "org.gnome.NautilusPreviewer",
};

static const char *const workers[] = {"kioworker", "kioslave5", "kioslave", "kdeinit5", "kdeinit4"};

static bool matches(const char *name, size_t length, const char *pattern)
{
        size_t pattern_length = strlen(pattern);

        if (pattern[pattern_length - 1] == '*') {
                pattern_length--;
                if (length == COMM_LENGTH && pattern_length > COMM_LENGTH)
                        pattern_length = COMM_LENGTH;
                return length >= pattern_length && memcmp(name, pattern, pattern_length) == 0;
        }
        if (length == COMM_LENGTH && pattern_length > COMM_LENGTH)
                pattern_length = COMM_LENGTH;
        return length == pattern_length && memcmp(name, pattern, length) == 0;
}

bool openapps_name_is_indexer(const char *name)
{
        static const char ending[] = "thumbnailer", deleted[] = " (deleted)";
        size_t length = strlen(name);

        /* /proc/PID/exe after an upgrade of the package. */
        if (length > strlen(deleted) && strcmp(name + length - strlen(deleted), deleted) == 0)
                length -= strlen(deleted);
        if (length >= strlen(ending) && memcmp(name + length - strlen(ending), ending, strlen(ending)) == 0)
                return true;
        for (size_t i = 0; i < sizeof(indexers) / sizeof(indexers[0]); i++)
                if (matches(name, length, indexers[i]))
                        return true;
        return false;
}

static bool name_is_worker(const char *name)
{
        for (size_t i = 0; i < sizeof(workers) / sizeof(workers[0]); i++)
                if (strcmp(name, workers[i]) == 0)
                        return true;
        return false;
}

/* "…/kioworker …/kf6/kio/thumbnail.so thumbnail local:…": plugin and protocol. kdeinit puts it all into one argument. */
bool openapps_command_line_is_indexer(const char *command_line, size_t size)
{
        static const char word[] = "thumbnail";
        const size_t length = sizeof(word) - 1;

        for (size_t at = 0; at + length <= size; at++) {
                char before = at > 0 ? command_line[at - 1] : '\0';
                const char *after = command_line + at + length;
                size_t rest = size - at - length;

                if (memcmp(command_line + at, word, length) != 0 || !(before == '\0' || before == ' ' || before == '/'))
                        continue;
                if (rest == 0 || *after == '\0' || *after == ' ' || (rest >= 3 && memcmp(after, ".so", 3) == 0))
                        return true;
        }
        return false;
}

/* ---- /proc ---- */

/* Reads the start of /proc/PID/`name`. Returns its length, 0 where there is nothing to read; always terminated. */
static size_t proc_read(pid_t pid, const char *name, char ret[static PROC_BYTES])
{
        char path[64];
        cleanup(fd_close) int fd = -1;
        ssize_t length;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name); /* fits */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        length = fd >= 0 ? read(fd, ret, PROC_BYTES - 1) : 0;
        if (length < 0)
                length = 0;
        ret[length] = '\0';
        return (size_t)length;
}

/* The name of a thread without its newline; empty where it has gone. */
static void proc_comm(pid_t pid, char ret[static PROC_BYTES])
{
        size_t length = proc_read(pid, "comm", ret);

        if (length > 0 && ret[length - 1] == '\n')
                ret[length - 1] = '\0';
}

/* The last component of the program's path; false where it may not be read, or is a kernel thread's. */
static bool proc_program(pid_t pid, char ret[static PATH_MAX])
{
        char path[64], target[PATH_MAX];
        const char *name;
        ssize_t length;

        (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid); /* fits */
        length = readlink(path, target, sizeof(target) - 1);
        if (length <= 0)
                return false;
        target[length] = '\0';
        name = strrchr(target, '/');
        name = name ? name + 1 : target;
        memcpy(ret, name, strlen(name) + 1);
        return true;
}

/* The process that the thread belongs to, or 0. */
static pid_t proc_group(pid_t pid)
{
        static const char key[] = "\nTgid:";
        char text[PROC_BYTES];
        const char *line;

        if (proc_read(pid, "status", text) == 0)
                return 0;
        line = strstr(text, key);
        return line ? (pid_t)strtol(line + strlen(key), NULL, 10) : 0;
}

bool openapps_is_indexer(pid_t pid)
{
        char comm[PROC_BYTES], program[PATH_MAX];
        bool has_program;
        pid_t group;

        if (pid <= 0)
                return false;
        proc_comm(pid, comm);
        if (openapps_name_is_indexer(comm))
                return true;
        has_program = proc_program(pid, program);
        if (has_program && openapps_name_is_indexer(program))
                return true;
        if (name_is_worker(comm) || (has_program && name_is_worker(program))) {
                char command_line[PROC_BYTES];
                size_t size = proc_read(pid, "cmdline", command_line);

                return openapps_command_line_is_indexer(command_line, size);
        }
        /* With a program, only a script with threads could say more by its main thread: not worth a read at each open. */
        if (has_program)
                return false;
        group = proc_group(pid);
        if (group <= 0 || group == pid)
                return false;
        proc_comm(group, comm);
        return openapps_name_is_indexer(comm);
}
