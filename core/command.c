#include "core/command.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/options.h"

enum argument {
        ARGUMENT_NONE,
        ARGUMENT_PATH, /* may be missing */
        ARGUMENT_DIRECTORY,
        ARGUMENT_TARGET,
        ARGUMENT_TARGET_OR_ALL, /* may be missing */
        ARGUMENT_RATE,
};

static const struct {
        const char *name;
        enum argument argument;
} grammar[] = {
    [COMMAND_FILL] = {"fill", ARGUMENT_PATH},
    [COMMAND_PAUSE] = {"pause", ARGUMENT_NONE},
    [COMMAND_RESUME] = {"resume", ARGUMENT_NONE},
    [COMMAND_VERIFY] = {"verify", ARGUMENT_PATH},
    [COMMAND_RESYNC] = {"resync", ARGUMENT_TARGET_OR_ALL},
    [COMMAND_RETRY] = {"retry", ARGUMENT_NONE},
    [COMMAND_LIMIT] = {"limit", ARGUMENT_RATE},
    [COMMAND_CHECKPOINT] = {"checkpoint", ARGUMENT_NONE},
    [COMMAND_ADD] = {"add", ARGUMENT_DIRECTORY},
    [COMMAND_REMOVE] = {"remove", ARGUMENT_TARGET},
};

enum { GRAMMAR_COUNT = sizeof(grammar) / sizeof(grammar[0]) };

/* One line; `text` is terminated, so that it can be named in a sentence and read by string functions. */
struct line {
        size_t number;
        const char *command;
        char *argument; /* NULL where the line has none */
        struct error *error;
};

struct list {
        struct command *commands;
        size_t count, room;
};

static void list_deinit(struct list *list)
{
        command_free(list->commands, list->count);
        *list = (struct list){0};
}

static int list_reserve(struct list *list)
{
        size_t room = list->room ? list->room * 2 : 4;
        struct command *larger;

        if (list->count < list->room)
                return 0;
        larger = realloc(list->commands, room * sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        list->commands = larger;
        list->room = room;
        return 0;
}

static int line_error(const struct line *line, const char *reason)
{
        return error_set(line->error, -EINVAL, "line %zu: %s: %s", line->number, line->command, reason);
}

/* Turns `\n` and `\\` of the argument into what they stand for, in place. */
static int unescape(const struct line *line)
{
        char *to = line->argument;

        for (const char *from = line->argument; *from; from++) {
                if (*from != '\\') {
                        *to++ = *from;
                        continue;
                }
                from++;
                if (*from != 'n' && *from != '\\')
                        return line_error(line, "only \\n and \\\\ are escapes; write a backslash as \\\\");
                *to++ = *from == 'n' ? '\n' : '\\';
        }
        *to = '\0';
        return 0;
}

/* Drops empty and `.` components and outer slashes, in place. */
static int normalise(const struct line *line)
{
        const char *from = line->argument;
        char *to = line->argument;

        while (*from) {
                size_t length = strcspn(from, "/");

                if (length == 2 && from[0] == '.' && from[1] == '.')
                        return line_error(line, "the path must not contain '..'");
                if (length > 0 && !(length == 1 && from[0] == '.')) {
                        if (to != line->argument)
                                *to++ = '/';
                        memmove(to, from, length);
                        to += length;
                }
                from += length;
                from += *from == '/';
        }
        *to = '\0';
        return 0;
}

static int parse_path(const struct line *line, struct command *command)
{
        int r = 0;

        if (line->argument) {
                if (!*line->argument)
                        return line_error(line, "the path is empty; leave the space out to mean everything");
                r = unescape(line);
                if (r == 0)
                        r = normalise(line);
        }
        if (r < 0)
                return r;
        command->path = strdup(line->argument ? line->argument : "");
        return command->path ? 0 : -ENOMEM;
}

static int parse_directory(const struct line *line, struct command *command)
{
        int r = unescape(line);

        if (r < 0)
                return r;
        if (*line->argument != '/') /* the daemon's working directory is not the writer's */
                return line_error(line, "the directory must be an absolute path");
        command->directory = strdup(line->argument);
        return command->directory ? 0 : -ENOMEM;
}

static int parse_target(const struct line *line, struct command *command)
{
        uint64_t number = 0;

        for (const char *digit = line->argument; *digit; digit++) {
                if (*digit < '0' || *digit > '9' || number > UINT32_MAX)
                        number = 0;
                else
                        number = number * 10 + (uint64_t)(*digit - '0');
                if (number == 0)
                        break;
        }
        if (number == 0 || number > UINT32_MAX)
                return line_error(line, "the argument must be the number of a target, from 1");
        command->target = (uint32_t)number;
        return 0;
}

static int parse_argument(const struct line *line, enum argument argument, struct command *command)
{
        bool optional = argument == ARGUMENT_PATH || argument == ARGUMENT_TARGET_OR_ALL;

        if (!line->argument && argument != ARGUMENT_NONE && !optional)
                return line_error(line, "the argument is missing");
        switch (argument) {
        case ARGUMENT_NONE:
                return line->argument ? line_error(line, "takes no argument") : 0;
        case ARGUMENT_PATH:
                return parse_path(line, command);
        case ARGUMENT_DIRECTORY:
                return parse_directory(line, command);
        case ARGUMENT_TARGET:
                return parse_target(line, command);
        case ARGUMENT_TARGET_OR_ALL:
                return line->argument ? parse_target(line, command) : 0;
        case ARGUMENT_RATE:
                if (options_parse_rate(line->argument, &command->limit_bytes_per_s) == 0)
                        return 0;
                return line_error(line, "the rate must be bytes per second such as 50M, or 'none'");
        }
        return -EINVAL; /* not reached: the grammar has no other argument */
}

/* Takes the line apart (it is cut at the first space) and appends its command. */
static int parse_line(struct list *list, char *text, size_t number, struct error *error)
{
        struct line line = {.number = number, .command = text, .argument = strchr(text, ' '), .error = error};
        int r = list_reserve(list);

        if (r < 0)
                return r;
        if (line.argument)
                *line.argument++ = '\0';
        for (size_t kind = 0; kind < GRAMMAR_COUNT; kind++) {
                struct command *command = &list->commands[list->count];

                if (strcmp(line.command, grammar[kind].name) != 0)
                        continue;
                *command = (struct command){.kind = (enum command_kind)kind};
                r = parse_argument(&line, grammar[kind].argument, command);
                if (r == 0)
                        list->count++; /* a command that failed owns nothing */
                return r;
        }
        return error_set(error, -EINVAL, "line %zu: '%s' is no command; reading this file lists them", number, text);
}

int command_parse(const char *text, size_t size, struct command **ret_commands, size_t *ret_count, struct error *error)
{
        cleanup(list_deinit) struct list list = {0};
        cleanup(pointer_free) char *copy = NULL;
        size_t number = 0;

        if (size > COMMAND_TEXT_BYTES_MAX)
                return error_set(error, -EINVAL, "more than %d bytes in one write", COMMAND_TEXT_BYTES_MAX);
        if (size > 0 && memchr(text, '\0', size))
                return error_set(error, -EINVAL, "a NUL byte among the commands");
        copy = malloc(size + 1); /* the text is not terminated */
        if (!copy)
                return error_set(error, -ENOMEM, "out of memory");
        if (size > 0)
                memcpy(copy, text, size);
        copy[size] = '\0';
        for (char *rest = copy, *line; (line = strsep(&rest, "\n"));) {
                int r = 0;

                number++;
                if (*line)
                        r = parse_line(&list, line, number, error);
                if (r == -ENOMEM)
                        return error_set(error, r, "out of memory");
                if (r < 0)
                        return r;
        }
        if (list.count == 0)
                return error_set(error, -EINVAL, "no command; reading this file lists them");
        *ret_count = list.count;
        *ret_commands = pointer_steal(&list.commands);
        list.count = 0;
        return 0;
}

void command_free(struct command *commands, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                free(commands[i].path);
                free(commands[i].directory);
        }
        free(commands);
}

const char *command_help(void)
{
        return "Commands, one a line; a write is checked whole before the first one is obeyed.\n"
               "\n"
               "fill [PATH]    queue PATH (all that is below it), or everything\n"
               "pause          stop background work; what a reader waits for goes on\n"
               "resume         go on with background work\n"
               "verify [PATH]  read PATH, or everything, again from every target and compare\n"
               "resync [N]     bring target N, or all of them, up to date\n"
               "retry          try again what failed, and look for targets that are gone\n"
               "limit RATE     at most RATE bytes a second of background work (50M, 1G); none lifts it\n"
               "checkpoint     make what is copied durable and record it now\n"
               "add DIR        add the directory DIR (an absolute path) as a target\n"
               "remove N       let target N go\n"
               "\n"
               "PATH and DIR are the rest of the line, a newline in them as \\n, a backslash as \\\\.\n"
               "N is the number of a target, as in status.\n";
}
