#include "mount-helper/optionlist.h"

#include <stddef.h>
#include <string.h>

/* The length of the first item of the list. */
static size_t item_length(const char *list)
{
        size_t length = 0;

        while (list[length] && list[length] != ',')
                length += list[length] == '\\' && list[length + 1] ? 2 : 1;
        return length;
}

static bool is_named(const char *item, size_t length, const char *name)
{
        size_t name_length = strlen(name);

        return length >= name_length && memcmp(item, name, name_length) == 0 &&
               (length == name_length || item[name_length] == '=');
}

bool optionlist_has(const char *list, const char *name)
{
        for (const char *item = list; *item;) {
                size_t length = item_length(item);

                if (is_named(item, length, name))
                        return true;
                item += length;
                item += *item == ',';
        }
        return false;
}

bool optionlist_has_line(const char *text, const char *line, int length)
{
        for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
                if (strcspn(text, "\n") == (size_t)length && memcmp(text, line, (size_t)length) == 0)
                        return true;
        return false;
}
