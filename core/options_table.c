#include "core/options_table.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/exclude.h"

/* Each setter has the shape of option_row.set; `label` is the option's name as the user knows it. */

static int out_of_memory(struct error *error)
{
        return error_set(error, -ENOMEM, "out of memory");
}

static int bad_value(const char *label, const char *value, const char *expected, struct error *error)
{
        return error_set(error, -EINVAL, "%s: '%s' is not %s", label, value, expected);
}

/* The index of `value` among `words`, or -EINVAL. */
static int find_word(const char *const *words, size_t count, const char *value)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(words[i], value) == 0)
                        return (int)i;
        return -EINVAL;
}

/* Decimal digits only; 1 to `maximum`. */
static int parse_count(const char *text, unsigned maximum, unsigned *ret)
{
        unsigned number = 0;

        if (!*text)
                return -EINVAL;
        for (; *text; text++) {
                if (*text < '0' || *text > '9' || number > (UINT_MAX - 9) / 10)
                        return -EINVAL;
                number = number * 10 + (unsigned)(*text - '0');
        }
        if (number < 1 || number > maximum)
                return -EINVAL;
        *ret = number;
        return 0;
}

static int set_path(char **path, const char *label, const char *value, struct error *error)
{
        char *copy;

        if (!*value)
                return error_set(error, -EINVAL, "%s: the path is empty", label);
        copy = strdup(value);
        if (!copy)
                return out_of_memory(error);
        free(*path);
        *path = copy;
        return 0;
}

static int set_target(struct options *options, const char *label, const char *value, struct error *error)
{
        if (!*value)
                return error_set(error, -EINVAL, "%s: the path is empty", label);
        return options_list_add(&options->targets, value, strlen(value)) < 0 ? out_of_memory(error) : 0;
}

static int set_mode(struct options *options, const char *label, const char *value, struct error *error)
{
        static const char *const words[] = {[MODE_TRANSFER] = "transfer", [MODE_SOURCE] = "source", [MODE_FULL] = "full"};
        int word = find_word(words, 3, value);

        if (word < 0)
                return bad_value(label, value, "one of transfer, source, full", error);
        options->mode = (enum mode)word;
        return 0;
}

static int set_hash(struct options *options, const char *label, const char *value, struct error *error)
{
        if (hash_parse_list(value, &options->hash) < 0)
                return bad_value(label, value, "a list of xxh64, xxh3, xxh128, md5, sha1, sha256, c4", error);
        return 0;
}

static int set_fill(struct options *options, const char *label, const char *value, struct error *error)
{
        static const char *const words[] = {[FILL_FILE] = "file", [FILL_CHUNK] = "chunk", [FILL_ALL] = "all"};
        int word = find_word(words, 3, value);

        if (word < 0)
                return bad_value(label, value, "one of file, chunk, all", error);
        options->fill = (enum fill)word;
        return 0;
}

static int set_chunk_size(struct options *options, const char *label, const char *value, struct error *error)
{
        uint64_t bytes;

        if (options_parse_size(value, &bytes) < 0 || bytes < OPTIONS_CHUNK_BYTES_MIN || bytes > OPTIONS_CHUNK_BYTES_MAX ||
            (bytes & (bytes - 1)) != 0)
                return bad_value(label, value, "a power of two from 1M to 64M", error);
        options->chunk_bytes = bytes;
        return 0;
}

static int set_state(struct options *options, const char *label, const char *value, struct error *error)
{
        return set_path(&options->state_dir, label, value, error);
}

static int set_jobs(struct options *options, const char *label, const char *value, struct error *error)
{
        unsigned jobs = 0;

        if (strcmp(value, "auto") != 0 && parse_count(value, OPTIONS_JOBS_MAX, &jobs) < 0)
                return bad_value(label, value, "'auto' or a number from 1 to 64", error);
        options->jobs = jobs;
        return 0;
}

static int set_limit(struct options *options, const char *label, const char *value, struct error *error)
{
        if (options_parse_rate(value, &options->limit_bytes_per_s) < 0)
                return bad_value(label, value, "a rate in bytes per second such as 50M or 1G, or 'none'", error);
        return 0;
}

static int set_memory(struct options *options, const char *label, const char *value, struct error *error)
{
        uint64_t bytes;

        if (options_parse_size(value, &bytes) < 0 || bytes < OPTIONS_MEMORY_BYTES_MIN || bytes > SIZE_MAX / 2)
                return bad_value(label, value, "a size such as 256M, at least 16M", error);
        options->memory_bytes = bytes;
        return 0;
}

static int set_min_targets(struct options *options, const char *label, const char *value, struct error *error)
{
        if (parse_count(value, UINT_MAX, &options->min_targets) < 0)
                return bad_value(label, value, "a number of targets, at least 1", error);
        return 0;
}

static int set_existing(struct options *options, const char *label, const char *value, struct error *error)
{
        static const char *const words[] = {
            [EXISTING_SKIP] = "skip", [EXISTING_VERIFY] = "verify", [EXISTING_REPLACE] = "replace"};
        int word = find_word(words, 3, value);

        if (word < 0)
                return bad_value(label, value, "one of skip, verify, replace", error);
        options->existing = (enum existing)word;
        options->existing_given = true;
        return 0;
}

static int set_reads(struct options *options, const char *label, const char *value, struct error *error)
{
        static const char *const words[] = {"fast", "checked"};
        int word = find_word(words, 2, value);

        if (word < 0)
                return bad_value(label, value, "one of fast, checked", error);
        options->reads_checked = word == 1;
        return 0;
}

static int set_exclude(struct options *options, const char *label, const char *value, struct error *error)
{
        if (strlen(value) > EXCLUDE_PATTERN_BYTES_MAX)
                return error_set(error, -EINVAL, "%s: a pattern has at most %d bytes", label, EXCLUDE_PATTERN_BYTES_MAX);
        return options_list_add(&options->exclude, value, strlen(value)) < 0 ? out_of_memory(error) : 0;
}

static int set_log(struct options *options, const char *label, const char *value, struct error *error)
{
        return set_path(&options->log_file, label, value, error);
}

#define FLAG_SETTER(field)                                                                                                 \
        static int set_##field(struct options *options, const char *label, const char *value, struct error *error)         \
        {                                                                                                                  \
                options->field = true;                                                                                     \
                return 0;                                                                                                  \
        }
FLAG_SETTER(mhl)
FLAG_SETTER(list_control)
FLAG_SETTER(foreground)
FLAG_SETTER(no_space_check)
FLAG_SETTER(verbose)
FLAG_SETTER(json)

static const struct option_row rows[] = {
    {"target", 't', true, OPTION_FOR_MOUNT, set_target},
    {"mode", 'm', true, OPTION_FOR_BOTH, set_mode},
    {"hash", 0, true, OPTION_FOR_BOTH, set_hash},
    {"hash-algorithm", 0, true, OPTION_FOR_BOTH, set_hash},
    {"fill", 0, true, OPTION_FOR_MOUNT, set_fill},
    {"chunk-size", 0, true, OPTION_FOR_BOTH, set_chunk_size},
    {"state", 0, true, OPTION_FOR_BOTH, set_state},
    {"jobs", 0, true, OPTION_FOR_BOTH, set_jobs},
    {"limit", 0, true, OPTION_FOR_BOTH, set_limit},
    {"memory", 0, true, OPTION_FOR_BOTH, set_memory},
    {"min-targets", 0, true, OPTION_FOR_BOTH, set_min_targets},
    {"existing", 0, true, OPTION_FOR_BOTH, set_existing},
    {"reads", 0, true, OPTION_FOR_MOUNT, set_reads},
    {"mhl", 0, false, OPTION_FOR_BOTH, set_mhl},
    {"exclude", 0, true, OPTION_FOR_BOTH, set_exclude},
    {"log", 0, true, OPTION_FOR_BOTH, set_log},
    {"list-control", 0, false, OPTION_FOR_MOUNT, set_list_control},
    {"foreground", 'f', false, OPTION_FOR_MOUNT, set_foreground},
    {"no-space-check", 0, false, OPTION_FOR_BOTH, set_no_space_check},
    {"verbose", 'v', false, OPTION_FOR_BOTH, set_verbose},
    {"json", 0, false, OPTION_FOR_COPY, set_json},
};

const struct option_row *option_table(size_t *ret_count)
{
        *ret_count = sizeof(rows) / sizeof(rows[0]);
        return rows;
}

const struct option_row *option_find(const char *name, size_t length)
{
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0)
                        return &rows[i];
        return NULL;
}

int option_set(struct options *options, const struct option_row *row, const char *prefix, const char *value,
               struct error *error)
{
        char label[32];

        (void)stpcpy(stpcpy(label, prefix), row->name); /* the longest: "--no-space-check" */
        return row->set(options, label, value, error);
}
