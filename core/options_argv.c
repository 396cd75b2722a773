#include "core/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/options_table.h"

/* getopt's keys: a letter, or one of these. */
enum {
        KEY_OPERAND = 1, /* what getopt returns for it where the option string begins with '-' */
        KEY_ROW = 256,   /* + index into the table */
        KEY_MAX = KEY_ROW + 64,
        KEY_HELP = KEY_MAX,
        KEY_VERSION,
};

struct parse;

struct command_line {
        const char *letters; /* for getopt: '-' in front keeps POSIXLY_CORRECT and permutation out */
        const char *usage;
        unsigned commands; /* OPTION_FOR_…; 0: --help and --version are the only long options */
        int (*take)(struct parse *parse, int key, const char *value);
};

/* One parse under way. The strings are borrowed from argv. */
struct parse {
        struct options options;
        struct error *error;
        const struct command_line *line;
        char **words; /* what getopt gets: a name, argv, NULL */
        struct option longs[64];
        const char **operands;
        size_t operand_count;
        const char **lists; /* -o of the mount helper, kept until it is known whether they are taken sloppily */
        size_t list_count;
};

static void parse_deinit(struct parse *parse)
{
        options_deinit(&parse->options);
        free(parse->words);
        free(parse->operands);
        free(parse->lists);
}

static int out_of_memory(struct error *error)
{
        return error_set(error, -ENOMEM, "out of memory");
}

/* Makes getopt's table of long options from ours. */
static void fill_longs(struct parse *parse)
{
        size_t count, used = 0;
        const struct option_row *rows = option_table(&count);

        for (size_t i = 0; i < count; i++) {
                if (!(rows[i].commands & parse->line->commands))
                        continue;
                parse->longs[used++] = (struct option){
                    .name = rows[i].name,
                    .has_arg = rows[i].has_value ? required_argument : no_argument,
                    .val = KEY_ROW + (int)i,
                };
        }
        parse->longs[used++] = (struct option){.name = "help", .val = KEY_HELP};
        parse->longs[used++] = (struct option){.name = "version", .val = KEY_VERSION};
        parse->longs[used] = (struct option){0};
}

static int parse_init(struct parse *parse, int argc, char **argv, const struct command_line *line)
{
        size_t count = argc > 0 ? (size_t)argc : 0;
        static char name[] = "cvv";

        options_init(&parse->options);
        parse->line = line;
        fill_longs(parse);
        parse->words = calloc(count + 2, sizeof(*parse->words));
        parse->operands = calloc(count + 1, sizeof(*parse->operands));
        parse->lists = calloc(count + 1, sizeof(*parse->lists));
        if (!parse->words || !parse->operands || !parse->lists)
                return -ENOMEM;
        parse->words[0] = name;
        for (size_t i = 0; i < count; i++)
                parse->words[i + 1] = argv[i];
        return 0;
}

static const struct option_row *row_of(int key)
{
        size_t count;
        const struct option_row *rows = option_table(&count);

        for (size_t i = 0; i < count; i++)
                if (key == KEY_ROW + (int)i || (rows[i].letter && key == rows[i].letter))
                        return &rows[i];
        return NULL;
}

/* A sentence for getopt's ':' (a value is missing) and '?'. `word` is the argument that it stumbled over. */
static int complain(const struct parse *parse, int result, const char *word)
{
        bool is_long = optopt == 0 || optopt >= KEY_ROW; /* 0: no such name */
        int length = (int)strcspn(word, "=");
        const struct option_row *other = is_long ? option_find(word + 2, strcspn(word + 2, "=")) : NULL;

        if (result == ':' && is_long)
                return error_set(parse->error, -EINVAL, "%s needs a value", word);
        if (result == ':')
                return error_set(parse->error, -EINVAL, "-%c needs a value", optopt);
        if (is_long && optopt >= KEY_ROW)
                return error_set(parse->error, -EINVAL, "%.*s takes no value", length, word);
        if (other && parse->line->commands == OPTION_FOR_COPY)
                return error_set(parse->error, -EINVAL, "%.*s is for cvv mount, not for a copy", length, word);
        if (other && parse->line->commands == OPTION_FOR_MOUNT)
                return error_set(parse->error, -EINVAL, "%.*s is for cvv copy, not for a mount", length, word);
        if (is_long)
                return error_set(parse->error, -EINVAL, "unknown or ambiguous option '%.*s'; usage: %s", length, word,
                                 parse->line->usage);
        if (strchr("tof", optopt) && parse->line->commands == OPTION_FOR_COPY)
                return error_set(parse->error, -EINVAL, "-%c is for cvv mount; usage: %s", optopt, parse->line->usage);
        return error_set(parse->error, -EINVAL, "unknown option '-%c'; usage: %s", optopt, parse->line->usage);
}

/* Runs getopt over all words. 0, OPTIONS_HELP, OPTIONS_VERSION or a failure. */
static int walk(struct parse *parse, int argc)
{
        int r = 0, key;

        optind = 0; /* glibc: start anew, whatever happened before */
        opterr = 0;
        while (r == 0 && (key = getopt_long(argc + 1, parse->words, parse->line->letters, parse->longs, NULL)) != -1) {
                if (key == ':' || key == '?')
                        return complain(parse, key, parse->words[optind > 1 ? optind - 1 : 1]);
                if (key == KEY_HELP || key == 'h')
                        return OPTIONS_HELP;
                if (key == KEY_VERSION || key == 'V')
                        return OPTIONS_VERSION;
                if (key == KEY_OPERAND)
                        parse->operands[parse->operand_count++] = optarg;
                else
                        r = parse->line->take(parse, key, optarg);
        }
        for (; r == 0 && optind <= argc; optind++) /* behind "--" */
                parse->operands[parse->operand_count++] = parse->words[optind];
        return r;
}

static int take_common(struct parse *parse, int key, const char *value)
{
        const struct option_row *row = row_of(key);

        if (key == 'o')
                return options_parse_o(value, &parse->options, parse->error);
        return option_set(&parse->options, row, "--", row->has_value ? value : NULL, parse->error);
}

static int take_helper(struct parse *parse, int key, const char *value)
{
        switch (key) {
        case 'o':
                parse->lists[parse->list_count++] = value;
                return 0;
        case 's':
                parse->options.sloppy = true;
                return 0;
        case 'f':
                parse->options.fake = true;
                return 0;
        case 'v':
                parse->options.verbose = true;
                return 0;
        case 'r':
                return options_parse_o("ro", &parse->options, parse->error);
        case 'w':
                return options_parse_o("rw", &parse->options, parse->error);
        case 'N':
                free(parse->options.namespace_path);
                parse->options.namespace_path = strdup(value);
                return parse->options.namespace_path ? 0 : out_of_memory(parse->error);
        default: /* -n: there is no mtab any more; -t: the type that mount(8) found us by */
                return 0;
        }
}

static int set_operand(struct parse *parse, char **field, const char *name, size_t index)
{
        if (index >= parse->operand_count)
                return error_set(parse->error, -EINVAL, "%s is missing; usage: %s", name, parse->line->usage);
        if (!*parse->operands[index])
                return error_set(parse->error, -EINVAL, "%s is empty; usage: %s", name, parse->line->usage);
        *field = strdup(parse->operands[index]);
        return *field ? 0 : out_of_memory(parse->error);
}

/* SOURCE MOUNTPOINT */
static int take_mount_operands(struct parse *parse)
{
        int r = set_operand(parse, &parse->options.source, "SOURCE", 0);

        if (r == 0)
                r = set_operand(parse, &parse->options.mountpoint, "MOUNTPOINT", 1);
        if (r == 0 && parse->operand_count > 2)
                return error_set(parse->error, -EINVAL, "'%s' is one operand too many; usage: %s", parse->operands[2],
                                 parse->line->usage);
        return r;
}

/* SOURCE TARGET… */
static int take_copy_operands(struct parse *parse)
{
        int r = set_operand(parse, &parse->options.source, "SOURCE", 0);

        if (r == 0 && parse->operand_count < 2)
                return error_set(parse->error, -EINVAL, "TARGET is missing; usage: %s", parse->line->usage);
        for (size_t i = 1; r == 0 && i < parse->operand_count; i++) {
                if (!*parse->operands[i])
                        return error_set(parse->error, -EINVAL, "TARGET is empty; usage: %s", parse->line->usage);
                if (options_list_add(&parse->options.targets, parse->operands[i], strlen(parse->operands[i])) < 0)
                        return out_of_memory(parse->error);
        }
        return r;
}

static int run(int argc, char **argv, const struct command_line *line, int (*take_operands)(struct parse *),
               struct options *ret_options, struct error *error)
{
        cleanup(parse_deinit) struct parse parse = {.error = error};
        int r = parse_init(&parse, argc, argv, line);

        if (r < 0)
                return out_of_memory(error);
        r = walk(&parse, argc > 0 ? argc : 0);
        for (size_t i = 0; r == 0 && i < parse.list_count; i++)
                r = options_parse_o(parse.lists[i], &parse.options, error);
        if (r == 0)
                r = take_operands(&parse);
        if (r == 0 && parse.options.targets.count == 0 && !parse.options.remount)
                r = error_set(error, -EINVAL, "no target given; usage: %s", line->usage);
        if (r == 0)
                r = options_validate(&parse.options, error);
        if (r != 0)
                return r;
        *ret_options = parse.options;
        parse.options = (struct options){0};
        return 0;
}

int options_parse_mount(int argc, char **argv, struct options *ret_options, struct error *error)
{
        static const struct command_line line = {
            .letters = "-:t:m:o:fvhV",
            .usage = "cvv mount [options] -t TARGET [-t TARGET]... SOURCE MOUNTPOINT",
            .commands = OPTION_FOR_MOUNT,
            .take = take_common,
        };

        return run(argc, argv, &line, take_mount_operands, ret_options, error);
}

int options_parse_copy(int argc, char **argv, struct options *ret_options, struct error *error)
{
        static const struct command_line line = {
            .letters = "-:m:vhV",
            .usage = "cvv copy [options] SOURCE TARGET...",
            .commands = OPTION_FOR_COPY,
            .take = take_common,
        };

        return run(argc, argv, &line, take_copy_operands, ret_options, error);
}

int options_parse_helper(int argc, char **argv, struct options *ret_options, struct error *error)
{
        static const struct command_line line = {
            .letters = "-:sfnvrwN:t:o:hV",
            .usage = "mount.cvv SOURCE MOUNTPOINT [-sfnvrw] [-N NAMESPACE] [-t TYPE] -o target=DIR[,OPTION]...",
            .take = take_helper,
        };

        return run(argc, argv, &line, take_mount_operands, ret_options, error);
}
