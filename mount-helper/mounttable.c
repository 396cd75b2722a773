#include "mount-helper/mounttable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "mount-helper/path.h"

enum { FIELD_OPTIONS = 5, FIELDS_MIN = 6 };

static void file_close(FILE **file)
{
        if (*file)
                (void)fclose(*file); /* only read */
}

/* Finds the two lists of options among the fields of `copy`, which is cut up. */
static bool find_lists(char *copy, const char **ret_options, const char **ret_super_options)
{
        const char *options = NULL, *field;
        char *rest = copy;
        int number = 0;

        while ((field = strsep(&rest, " ")) && strcmp(field, "-") != 0)
                if (number++ == FIELD_OPTIONS)
                        options = field;
        if (!field || number < FIELDS_MIN || !strsep(&rest, " ") || !strsep(&rest, " ") || !rest)
                return false;
        *ret_options = options;
        *ret_super_options = strsep(&rest, " ");
        return true;
}

int mount_entry_parse(const char *line, struct mount_entry *ret_entry)
{
        cleanup(mount_entry_deinit) struct mount_entry entry = {0};
        cleanup(pointer_free) char *copy = strndup(line, strcspn(line, "\n"));
        const char *options, *super_options;
        int r = mountinfo_parse(line, &entry.info);

        if (!copy)
                return -ENOMEM;
        if (r < 0)
                return r;
        if (!find_lists(copy, &options, &super_options))
                return -EINVAL;
        entry.options = strdup(options);
        entry.super_options = strdup(super_options);
        if (!entry.options || !entry.super_options)
                return -ENOMEM;
        *ret_entry = entry;
        entry = (struct mount_entry){0};
        return 0;
}

/* Calls `take` for each mount; it returns 1 to keep the entry (the last one kept wins), 0 or -errno. */
static int for_each(int (*take)(const struct mount_entry *entry, const char *path), const char *path,
                    struct mount_entry *ret_entry)
{
        cleanup(file_close) FILE *file = fopen("/proc/self/mountinfo", "re");
        cleanup(mount_entry_deinit) struct mount_entry found = {0};
        cleanup(pointer_free) char *line = NULL;
        size_t size = 0;

        if (!file)
                return -errno;
        while (getline(&line, &size, file) > 0) {
                cleanup(mount_entry_deinit) struct mount_entry entry = {0};
                int r = mount_entry_parse(line, &entry);

                if (r == -ENOMEM)
                        return r;
                if (r < 0 || !take(&entry, path))
                        continue;
                mount_entry_deinit(&found);
                found = entry;
                entry = (struct mount_entry){0};
        }
        if (ferror(file))
                return -EIO;
        if (!found.info.mount_point)
                return -ENOENT;
        *ret_entry = found;
        found = (struct mount_entry){0};
        return 0;
}

static int is_at(const struct mount_entry *entry, const char *path)
{
        return strcmp(entry->info.mount_point, path) == 0;
}

static int is_below(const struct mount_entry *entry, const char *path)
{
        const char *rest = path_below(entry->info.mount_point, path);

        return rest && *rest;
}

int mount_entry_find(const char *path, struct mount_entry *ret_entry)
{
        return for_each(is_at, path, ret_entry);
}

int mount_entry_find_below(const char *path, char **ret_path)
{
        cleanup(mount_entry_deinit) struct mount_entry entry = {0};
        int r = for_each(is_below, path, &entry);

        if (r == 0)
                *ret_path = pointer_steal(&entry.info.mount_point);
        return r;
}

void mount_entry_deinit(struct mount_entry *entry)
{
        mountinfo_deinit(&entry->info);
        free(entry->options);
        free(entry->super_options);
        *entry = (struct mount_entry){0};
}

/* What follows `name` in the list: "" or "=…", NULL where the list does not have it. */
static const char *after(const char *list, const char *name)
{
        size_t length = strlen(name);

        for (const char *item = list; *item; item += strcspn(item, ","), item += *item == ',')
                if (strncmp(item, name, length) == 0 && strchr(",=", item[length]))
                        return item + length;
        return NULL;
}

bool mount_list_has(const char *list, const char *name)
{
        return after(list, name) != NULL;
}

long mount_list_number(const char *list, const char *name)
{
        const char *text = after(list, name);
        char *end;
        long number;

        if (!text || *text != '=' || text[1] < '0' || text[1] > '9')
                return -1;
        errno = 0;
        number = strtol(text + 1, &end, 10);
        return errno != 0 || (*end && *end != ',') ? -1 : number;
}
