#include "mount-helper/controlline.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/command.h"
#include "mount-helper/path.h"

const char *controlline_names(void)
{
        return "fill [PATH], pause, resume, verify [PATH], resync [N], retry, limit RATE, checkpoint, add DIR, remove N";
}

static int escape(const char *text, char **ret_escaped)
{
        char *escaped = malloc(strlen(text) * 2 + 1), *to = escaped;

        if (!escaped)
                return -ENOMEM;
        for (; *text; text++) {
                if (*text == '\n' || *text == '\\')
                        *to++ = '\\';
                *to++ = *text == '\n' ? 'n' : *text;
        }
        *to = '\0';
        *ret_escaped = escaped;
        return 0;
}

/* The argument as the mount is to get it; *ret_argument NULL: none. */
static int translate(const char *root, const char *command, const char *argument, char **ret_argument)
{
        cleanup(pointer_free) char *path = NULL;
        int r;

        if (strcmp(command, "add") == 0) {
                r = *argument ? path_absolute(argument, &path) : -EINVAL;
                return r < 0 ? r : escape(path, ret_argument);
        }
        if (strcmp(command, "fill") != 0 && strcmp(command, "verify") != 0) {
                *ret_argument = strdup(argument);
                return *ret_argument ? 0 : -ENOMEM;
        }
        r = argument[0] == '/' ? path_rest_below(argument, root, &path) : -ENOENT;
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return escape(argument, ret_argument);
        return *path ? escape(path, ret_argument) : 0; /* the mount itself: everything */
}

/* The parser's sentence begins with the number of the line, which here is always the first. */
static int check(const char *line, struct error *error)
{
        static const char prefix[] = "line 1: ";
        struct command *commands;
        struct error bad = {0};
        size_t count;
        int r = command_parse(line, strlen(line), &commands, &count, &bad);

        if (r == 0) {
                command_free(commands, count);
                return count == 1 ? 0 : error_set(error, -EINVAL, "one command at a time");
        }
        return error_set(error, r, "%s",
                         bad.message + (strncmp(bad.message, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0));
}

static bool is_command(const char *word)
{
        const char *name = controlline_names();

        while (*name) {
                size_t length = strcspn(name, " ,");

                if (strlen(word) == length && memcmp(name, word, length) == 0)
                        return true;
                name += strcspn(name, ",");
                name += strspn(name, ", ");
        }
        return false;
}

int controlline_build(const char *root, const char *command, const char *argument, char **ret_line, struct error *error)
{
        cleanup(pointer_free) char *translated = NULL;
        cleanup(pointer_free) char *line = NULL;
        int r = 0;

        if (!is_command(command))
                return error_set(error, -EINVAL, "'%s' is no command; there are %s", command, controlline_names());
        if (argument)
                r = translate(root, command, argument, &translated);
        if (r < 0)
                return error_set(error, r, "%s %s: %s", command, argument, strerror(-r));
        if (translated && strchr(translated, '\n'))
                return error_set(error, -EINVAL, "%s: the argument must not contain a newline", command);
        if (asprintf(&line, "%s%s%s\n", command, translated ? " " : "", translated ? translated : "") < 0) {
                line = NULL;
                return error_set(error, -ENOMEM, "out of memory");
        }
        r = check(line, error);
        if (r == 0)
                *ret_line = pointer_steal(&line);
        return r;
}
