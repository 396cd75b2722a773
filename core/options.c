#include "core/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void options_init(struct options *options)
{
        *options = (struct options){
            .mode = MODE_FULL,
            .hash = {.mask = 1U << HASH_XXH64, .count = 1, .order = {HASH_XXH64}},
            .fill = FILL_FILE,
            .chunk_bytes = UINT64_C(8) << 20,
            .memory_bytes = UINT64_C(256) << 20,
            .min_targets = 1,
        };
}

void options_list_deinit(struct options_list *list)
{
        for (size_t i = 0; i < list->count; i++)
                free(list->items[i]);
        free(list->items);
        *list = (struct options_list){0};
}

void options_deinit(struct options *options)
{
        free(options->source);
        free(options->source_file);
        free(options->mountpoint);
        free(options->state_dir);
        free(options->log_file);
        free(options->fsname);
        free(options->subtype);
        free(options->namespace_path);
        options_list_deinit(&options->targets);
        options_list_deinit(&options->target_files);
        options_list_deinit(&options->exclude);
        options_list_deinit(&options->fuse_options);
        *options = (struct options){0};
}

int options_list_add(struct options_list *list, const char *text, size_t length)
{
        char **larger = realloc(list->items, (list->count + 1) * sizeof(*larger));

        if (!larger)
                return -ENOMEM;
        list->items = larger;
        larger[list->count] = strndup(text, length);
        if (!larger[list->count])
                return -ENOMEM;
        list->count++;
        return 0;
}

/* The power of two that a unit's letter stands for; 0 where it is none. */
static unsigned unit_shift(char letter)
{
        switch (letter) {
        case 'k':
        case 'K':
                return 10;
        case 'm':
        case 'M':
                return 20;
        case 'g':
        case 'G':
                return 30;
        case 't':
        case 'T':
                return 40;
        default:
                return 0;
        }
}

/* Parses a size at the start of `text`; *ret_end is what follows it. */
static int parse_size(const char *text, uint64_t *ret_bytes, const char **ret_end)
{
        uint64_t bytes = 0;
        unsigned shift;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        for (; *text >= '0' && *text <= '9'; text++)
                if (__builtin_mul_overflow(bytes, UINT64_C(10), &bytes) ||
                    __builtin_add_overflow(bytes, (uint64_t)(*text - '0'), &bytes))
                        return -EINVAL;
        shift = unit_shift(*text);
        text += shift > 0;
        if (shift > 0 && (text[0] == 'i' || text[0] == 'I') && (text[1] == 'b' || text[1] == 'B'))
                text += 2;
        else if (*text == 'b' || *text == 'B')
                text++;
        if (bytes > UINT64_MAX >> shift)
                return -EINVAL;
        *ret_bytes = bytes << shift;
        *ret_end = text;
        return 0;
}

int options_parse_size(const char *text, uint64_t *ret_bytes)
{
        const char *end;
        uint64_t bytes;
        int r = parse_size(text, &bytes, &end);

        if (r < 0)
                return r;
        if (*end)
                return -EINVAL;
        *ret_bytes = bytes;
        return 0;
}

int options_parse_rate(const char *text, uint64_t *ret_bytes_per_s)
{
        const char *end;
        uint64_t bytes;
        int r;

        if (strcmp(text, "none") == 0) {
                *ret_bytes_per_s = 0;
                return 0;
        }
        r = parse_size(text, &bytes, &end);
        if (r < 0)
                return r;
        if (*end && strcmp(end, "/s") != 0)
                return -EINVAL;
        *ret_bytes_per_s = bytes;
        return 0;
}

static int validate_targets(const struct options *options, struct error *error)
{
        if (options->min_targets < 1)
                return error_set(error, -EINVAL, "--min-targets must be at least 1");
        if (options->targets.count == 0 && options->remount)
                return 0;
        if (options->targets.count == 0)
                return error_set(error, -EINVAL, "no target given; name each directory that is to receive the files");
        if (options->min_targets > options->targets.count)
                return error_set(error, -EINVAL, "--min-targets %u is more than there are targets (%zu)",
                                 options->min_targets, options->targets.count);
        return 0;
}

int options_validate(const struct options *options, struct error *error)
{
        uint64_t chunk = options->chunk_bytes;

        if (chunk < OPTIONS_CHUNK_BYTES_MIN || chunk > OPTIONS_CHUNK_BYTES_MAX || (chunk & (chunk - 1)) != 0)
                return error_set(error, -EINVAL, "--chunk-size must be a power of two from 1M to 64M");
        if (options->memory_bytes < OPTIONS_MEMORY_BYTES_MIN)
                return error_set(error, -EINVAL, "--memory must be at least 16M");
        if (options->memory_bytes > SIZE_MAX / 2)
                return error_set(error, -EINVAL, "--memory is more than a process can address");
        if (options->jobs > OPTIONS_JOBS_MAX)
                return error_set(error, -EINVAL, "--jobs must be 'auto' or from 1 to %d", OPTIONS_JOBS_MAX);
        if (!hash_set_valid(&options->hash))
                return error_set(error, -EINVAL, "--hash must name each digest once");
        return validate_targets(options, error);
}

enum existing options_existing(const struct options *options)
{
        if (options->existing_given)
                return options->existing;
        return options->mode == MODE_TRANSFER ? EXISTING_SKIP : EXISTING_VERIFY;
}

const char *options_mode_name(enum mode mode)
{
        return mode == MODE_TRANSFER ? "transfer" : mode == MODE_SOURCE ? "source" : "full";
}

const char *options_fill_name(enum fill fill)
{
        return fill == FILL_ALL ? "all" : fill == FILL_CHUNK ? "chunk" : "file";
}

const char *options_existing_name(enum existing existing)
{
        return existing == EXISTING_SKIP ? "skip" : existing == EXISTING_REPLACE ? "replace" : "verify";
}
