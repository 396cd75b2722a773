#include "core/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/options_table.h"

enum item_value { VALUE_NONE, VALUE_TEXT, VALUE_NUMBER, VALUE_MAYBE };
enum item_use {
        USE_PASS, /* to fuse_options, as it stands */
        USE_SKIP, /* says nothing to us */
        USE_READ_ONLY,
        USE_READ_WRITE,
        USE_ALLOW_OTHER,
        USE_FSNAME,
        USE_SUBTYPE,
        USE_REMOUNT,
};

/* What an -o list may hold beside our own options. The ones that pass are those that libfuse 3 takes (lib/mount.c); it
 * refuses `relatime` and its like, which change nothing on FUSE. */
static const struct item {
        const char *name;
        enum item_value value;
        enum item_use use;
} items[] = {
    {"ro", VALUE_NONE, USE_READ_ONLY},
    {"rw", VALUE_NONE, USE_READ_WRITE},
    {"allow_other", VALUE_NONE, USE_ALLOW_OTHER},
    {"fsname", VALUE_TEXT, USE_FSNAME},
    {"subtype", VALUE_TEXT, USE_SUBTYPE},
    {"remount", VALUE_NONE, USE_REMOUNT},

    {"allow_root", VALUE_NONE, USE_PASS},
    {"auto_unmount", VALUE_NONE, USE_PASS},
    {"default_permissions", VALUE_NONE, USE_PASS},
    {"debug", VALUE_NONE, USE_PASS},
    {"max_read", VALUE_NUMBER, USE_PASS},
    {"suid", VALUE_NONE, USE_PASS},
    {"nosuid", VALUE_NONE, USE_PASS},
    {"dev", VALUE_NONE, USE_PASS},
    {"nodev", VALUE_NONE, USE_PASS},
    {"exec", VALUE_NONE, USE_PASS},
    {"noexec", VALUE_NONE, USE_PASS},
    {"sync", VALUE_NONE, USE_PASS},
    {"async", VALUE_NONE, USE_PASS},
    {"dirsync", VALUE_NONE, USE_PASS},
    {"atime", VALUE_NONE, USE_PASS},
    {"noatime", VALUE_NONE, USE_PASS},
    {"nodiratime", VALUE_NONE, USE_PASS},
    {"norelatime", VALUE_NONE, USE_PASS},
    {"nostrictatime", VALUE_NONE, USE_PASS},
    {"context", VALUE_TEXT, USE_PASS},
    {"fscontext", VALUE_TEXT, USE_PASS},
    {"defcontext", VALUE_TEXT, USE_PASS},
    {"rootcontext", VALUE_TEXT, USE_PASS},

    {"defaults", VALUE_NONE, USE_SKIP},
    {"auto", VALUE_NONE, USE_SKIP},
    {"noauto", VALUE_NONE, USE_SKIP},
    {"user", VALUE_MAYBE, USE_SKIP},
    {"nouser", VALUE_NONE, USE_SKIP},
    {"users", VALUE_NONE, USE_SKIP},
    {"nousers", VALUE_NONE, USE_SKIP},
    {"owner", VALUE_NONE, USE_SKIP},
    {"noowner", VALUE_NONE, USE_SKIP},
    {"group", VALUE_NONE, USE_SKIP},
    {"nogroup", VALUE_NONE, USE_SKIP},
    {"nofail", VALUE_NONE, USE_SKIP},
    {"fail", VALUE_NONE, USE_SKIP},
    {"_netdev", VALUE_NONE, USE_SKIP},
    {"comment", VALUE_MAYBE, USE_SKIP},
    {"uhelper", VALUE_TEXT, USE_SKIP},
    {"helper", VALUE_TEXT, USE_SKIP},
    {"relatime", VALUE_NONE, USE_SKIP},
    {"strictatime", VALUE_NONE, USE_SKIP},
    {"diratime", VALUE_NONE, USE_SKIP},
    {"lazytime", VALUE_NONE, USE_SKIP},
    {"nolazytime", VALUE_NONE, USE_SKIP},
    {"silent", VALUE_NONE, USE_SKIP},
    {"loud", VALUE_NONE, USE_SKIP},
    {"mand", VALUE_NONE, USE_SKIP},
    {"nomand", VALUE_NONE, USE_SKIP},
    {"iversion", VALUE_NONE, USE_SKIP},
    {"noiversion", VALUE_NONE, USE_SKIP},
    {"nonempty", VALUE_NONE, USE_SKIP}, /* FUSE 2; since FUSE 3 it is always so */

    /* The kernel's words for a FUSE mount. Nobody chooses them: mount(8) reads them in the mount table and hands them to a
     * remount. */
    {"fd", VALUE_TEXT, USE_SKIP},
    {"rootmode", VALUE_TEXT, USE_SKIP},
    {"user_id", VALUE_TEXT, USE_SKIP},
    {"group_id", VALUE_TEXT, USE_SKIP},
    {"blksize", VALUE_TEXT, USE_SKIP},
};

static const struct item *item_find(const char *name, size_t length)
{
        for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++)
                if (strlen(items[i].name) == length && memcmp(items[i].name, name, length) == 0)
                        return &items[i];
        return NULL;
}

static int out_of_memory(struct error *error)
{
        return error_set(error, -ENOMEM, "out of memory");
}

/* Whether an item has the value that it needs, or none where it takes none. `value` is NULL where there was no '='. */
static int item_check(const struct item *item, const char *value, struct error *error)
{
        bool needed = item->value == VALUE_TEXT || item->value == VALUE_NUMBER;

        if (value && item->value == VALUE_NONE)
                return error_set(error, -EINVAL, "-o %s takes no value", item->name);
        if (needed && (!value || !*value))
                return error_set(error, -EINVAL, "-o %s needs a value: %s=...", item->name, item->name);
        if (item->value == VALUE_NUMBER && (strlen(value) > 9 || value[strspn(value, "0123456789")]))
                return error_set(error, -EINVAL, "-o %s: '%s' is not a number", item->name, value);
        return 0;
}

static int replace_text(char **text, const char *value, struct error *error)
{
        char *copy = strdup(value);

        if (!copy)
                return out_of_memory(error);
        free(*text);
        *text = copy;
        return 0;
}

static int item_apply(struct options *options, const struct item *item, const char *text, const char *value,
                      struct error *error)
{
        int r = item_check(item, value, error);

        if (r < 0)
                return r;
        switch (item->use) {
        case USE_SKIP:
                return 0;
        case USE_ALLOW_OTHER:
                options->allow_other = true;
                return 0;
        case USE_REMOUNT:
                options->remount = true;
                return 0;
        case USE_FSNAME:
                return replace_text(&options->fsname, value, error);
        case USE_SUBTYPE:
                return replace_text(&options->subtype, value, error);
        case USE_READ_ONLY:
        case USE_READ_WRITE:
        case USE_PASS:
                break;
        }
        if (options_list_add(&options->fuse_options, text, strlen(text)) < 0)
                return out_of_memory(error);
        if (item->use != USE_PASS)
                options->read_only = item->use == USE_READ_ONLY;
        return 0;
}

static int own_apply(struct options *options, const struct option_row *row, const char *value, struct error *error)
{
        if (value && !row->has_value)
                return error_set(error, -EINVAL, "-o %s takes no value", row->name);
        if (!value && row->has_value)
                return error_set(error, -EINVAL, "-o %s needs a value: %s=...", row->name, row->name);
        return option_set(options, row, "-o ", value, error);
}

/* One item, unescaped. */
static int apply(struct options *options, const char *text, struct error *error)
{
        size_t length = strcspn(text, "=");
        const char *value = text[length] ? text + length + 1 : NULL;
        const struct option_row *row = option_find(text, length);
        const struct item *item = item_find(text, length);

        if (row && (row->commands & OPTION_FOR_MOUNT))
                return own_apply(options, row, value, error);
        if (item)
                return item_apply(options, item, text, value, error);
        if (strncmp(text, "x-", 2) == 0 || strncmp(text, "X-", 2) == 0 || options->sloppy)
                return 0;
        return error_set(error, -EINVAL, "unknown option '-o %.*s'; 'cvv mount --help' lists what there is", (int)length,
                         text);
}

/* Takes the next item off *list into `ret_item`, unescaped; it has room for all of the list. */
static void next_item(const char **list, char *ret_item)
{
        const char *from = *list;

        while (*from && *from != ',') {
                if (from[0] == '\\' && (from[1] == ',' || from[1] == '\\'))
                        from++;
                *ret_item++ = *from++;
        }
        *ret_item = '\0';
        *list = from + (*from == ',');
}

int options_parse_o(const char *list, struct options *options, struct error *error)
{
        cleanup(pointer_free) char *text = malloc(strlen(list) + 1);

        if (!text)
                return out_of_memory(error);
        while (*list) {
                int r;

                next_item(&list, text);
                if (!*text)
                        continue;
                r = apply(options, text, error);
                if (r < 0)
                        return r;
        }
        return 0;
}
