#include "mount-helper/utab.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "mount-helper/program.h"

enum { PROGRAM_MS = 5000, OUTPUT_BYTES = 256, TABLE_BYTES_MAX = 16 * 1024 * 1024 };

static bool is_octal(char c)
{
        return c >= '0' && c <= '7';
}

/* Whether the field, up to the next blank, is `path`; \ooo in it are bytes. */
static bool is_path(const char *field, const char *path)
{
        for (; *field && *field != ' ' && *field != '\n'; path++) {
                int byte = (unsigned char)*field++;

                if (byte == '\\' && is_octal(field[0]) && is_octal(field[1]) && is_octal(field[2])) {
                        byte = (field[0] - '0') << 6 | (field[1] - '0') << 3 | (field[2] - '0');
                        field += 3;
                }
                if (byte != (unsigned char)*path)
                        return false;
        }
        return *path == '\0';
}

int utab_count(const char *text, const char *mountpoint)
{
        static const char key[] = "TARGET=";
        int count = 0;

        for (const char *found = text; (found = strstr(found, key));) {
                bool is_field = found == text || found[-1] == ' ' || found[-1] == '\n';

                found += strlen(key);
                count += is_field && is_path(found, mountpoint);
        }
        return count;
}

/* The table; NULL where there is none, or none that can be read. */
static char *read_table(void)
{
        cleanup(fd_close) int fd = open("/run/mount/utab", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        cleanup(pointer_free) char *text = NULL;
        struct stat table;
        ssize_t size;

        if (fd < 0 || fstat(fd, &table) < 0 || table.st_size > TABLE_BYTES_MAX)
                return NULL;
        text = malloc((size_t)table.st_size + 1);
        size = text ? read(fd, text, (size_t)table.st_size) : -1; /* the table is replaced, never changed */
        if (size < 0)
                return NULL;
        text[size] = '\0';
        return pointer_steal(&text);
}

static void run(char *const *words)
{
        char output[OUTPUT_BYTES];
        int r = program_run(words, PROGRAM_MS, output, sizeof(output));

        if (r != 0)
                log_debug("%s cannot write the table of mounts (%d): %s", words[0], r, output);
}

void utab_add(const char *source, const char *mountpoint, const char *type)
{
        char name[] = "mount", flags[] = "-fi", exact[] = "--no-canonicalize", type_flag[] = "-t", option_flag[] = "-o";
        char options[] = "helper=fuse.cvv", end[] = "--";
        cleanup(pointer_free) char *source_word = strdup(source);
        cleanup(pointer_free) char *point = strdup(mountpoint);
        cleanup(pointer_free) char *type_word = strdup(type);
        char *words[] = {name, exact, flags, type_flag, type_word, option_flag, options, end, source_word, point, NULL};

        if (geteuid() != 0 || !source_word || !point || !type_word)
                return;
        utab_remove(mountpoint);
        run(words);
}

void utab_remove(const char *mountpoint)
{
        char name[] = "umount", fake[] = "--fake", internal[] = "-i", exact[] = "--no-canonicalize", end[] = "--";
        cleanup(pointer_free) char *table = geteuid() == 0 ? read_table() : NULL;
        cleanup(pointer_free) char *point = strdup(mountpoint);
        char *words[] = {name, fake, internal, exact, end, point, NULL};

        if (!table || !point)
                return;
        for (int left = utab_count(table, mountpoint); left > 0; left--) /* one is removed at a time */
                run(words);
}
