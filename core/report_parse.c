#include "core/report_json.h"

#include "core/cleanup.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPORT_VERSION = 1, WHERE_BYTES = 48 };

#define NS_PER_S INT64_C(1000000000)

/* One JSON object that is being read. The read_… functions return 0, or a negative errno with the sentence set. */
struct reader {
        const json_t *object;
        const char *where; /* what stands before its fields' names in a message: "", "files.", "targets[0]." */
        struct error *error;
};

static int field_bad(const struct reader *reader, const char *name, const char *what)
{
        return error_set(reader->error, -EBADMSG, "status.json: %s%s %s", reader->where, name, what);
}

static int no_memory(struct error *error)
{
        return error_set(error, -ENOMEM, "not enough memory for the status");
}

/* The field, borrowed, or NULL with the sentence set. */
static const json_t *field(const struct reader *reader, const char *name)
{
        const json_t *value = json_object_get(reader->object, name);

        if (!value)
                (void)field_bad(reader, name, "is missing"); /* the caller returns -EBADMSG */
        return value;
}

static int read_count(const struct reader *reader, const char *name, uint64_t *ret)
{
        const json_t *value = field(reader, name);

        if (!value)
                return -EBADMSG;
        if (!json_is_integer(value) || json_integer_value(value) < 0)
                return field_bad(reader, name, "is not a count");
        *ret = (uint64_t)json_integer_value(value);
        return 0;
}

/* null is -1. */
static int read_known(const struct reader *reader, const char *name, int64_t *ret)
{
        const json_t *value = field(reader, name);

        if (!value)
                return -EBADMSG;
        if (!json_is_null(value) && (!json_is_integer(value) || json_integer_value(value) < 0))
                return field_bad(reader, name, "is neither a count nor null");
        *ret = json_is_null(value) ? -1 : json_integer_value(value);
        return 0;
}

static int read_bool(const struct reader *reader, const char *name, bool *ret)
{
        const json_t *value = field(reader, name);

        if (!value)
                return -EBADMSG;
        if (!json_is_boolean(value))
                return field_bad(reader, name, "is neither true nor false");
        *ret = json_is_true(value);
        return 0;
}

/* Borrowed from the JSON; NULL for null, where `nullable`. */
static int read_string(const struct reader *reader, const char *name, bool nullable, const char **ret)
{
        const json_t *value = field(reader, name);

        if (!value)
                return -EBADMSG;
        if (!json_is_string(value) && !(nullable && json_is_null(value)))
                return field_bad(reader, name, nullable ? "is neither a text nor null" : "is not a text");
        *ret = json_string_value(value);
        return 0;
}

/* *ret is the caller's. */
static int read_text(const struct reader *reader, const char *name, bool nullable, char **ret)
{
        const char *text = NULL;
        int r = read_string(reader, name, nullable, &text);

        if (r < 0)
                return r;
        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? no_memory(reader->error) : 0;
}

/* ---- words ---- */

static const char *mirror_state_word(int value)
{
        return status_state_name((enum mirror_state)value);
}

static const char *target_state_word(int value)
{
        return status_target_state_name((enum target_state)value);
}

static const char *mode_word(int value)
{
        return options_mode_name((enum mode)value);
}

static const char *fill_word(int value)
{
        return options_fill_name((enum fill)value);
}

/* A field that holds one of the words for the values 0 to `last`. */
static int read_word(const struct reader *reader, const char *name, const char *(*word)(int value), int last, int *ret)
{
        const char *text = NULL;
        int r = read_string(reader, name, false, &text);

        if (r < 0)
                return r;
        for (int value = 0; value <= last; value++) {
                if (strcmp(text, word(value)) != 0)
                        continue;
                *ret = value;
                return 0;
        }
        return error_set(reader->error, -EBADMSG, "status.json: %s%s is not a known word: %s", reader->where, name, text);
}

/* The static text that a snapshot holds. */
static const char *verify_method_of(const char *text)
{
        static const char *const methods[] = {"direct", "remote", "dropped-cache", "memory", "cache"};

        if (!text)
                return NULL;
        for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
                if (strcmp(text, methods[i]) == 0)
                        return methods[i];
        return "unknown";
}

/* ---- time ---- */

static bool has_form(const char *text, const char *form)
{
        for (; *form; text++, form++)
                if (*form == '0' ? *text < '0' || *text > '9' : *text != *form)
                        return false;
        return true;
}

static int number_at(const char *digits, int count)
{
        int number = 0;

        for (int i = 0; i < count; i++)
                number = number * 10 + (digits[i] - '0');
        return number;
}

/* As timestamp_format() writes it: 2025-11-22T07:17:00.123Z, here with 0 to 9 digits of fraction. */
static bool time_of(const char *text, int64_t *ret_ns)
{
        struct tm calendar = {0}, given;
        int64_t fraction_ns = 0, scale_ns = NS_PER_S, seconds;

        if (!has_form(text, "0000-00-00T00:00:00"))
                return false;
        calendar.tm_year = number_at(text, 4) - 1900;
        calendar.tm_mon = number_at(text + 5, 2) - 1;
        calendar.tm_mday = number_at(text + 8, 2);
        calendar.tm_hour = number_at(text + 11, 2);
        calendar.tm_min = number_at(text + 14, 2);
        calendar.tm_sec = number_at(text + 17, 2);
        text += 19;
        if (*text == '.') {
                for (text++; *text >= '0' && *text <= '9' && scale_ns > 1; text++) {
                        scale_ns /= 10;
                        fraction_ns += (*text - '0') * scale_ns;
                }
        }
        given = calendar;
        seconds = timegm(&calendar); /* carries what is out of range, for example the 32nd of a month */
        if (strcmp(text, "Z") != 0 || calendar.tm_mon != given.tm_mon || calendar.tm_mday != given.tm_mday ||
            calendar.tm_hour != given.tm_hour || calendar.tm_min != given.tm_min || calendar.tm_sec != given.tm_sec)
                return false;
        return !__builtin_mul_overflow(seconds, NS_PER_S, ret_ns) && !__builtin_add_overflow(*ret_ns, fraction_ns, ret_ns);
}

static int read_time(const struct reader *reader, const char *name, int64_t *ret_ns)
{
        const char *text = NULL;
        int r = read_string(reader, name, false, &text);

        if (r < 0)
                return r;
        return time_of(text, ret_ns) ? 0 : field_bad(reader, name, "is not a time such as 2025-11-22T07:17:00.123Z");
}

/* ---- targets ---- */

static int read_target_numbers(const struct reader *reader, struct status_target *target)
{
        const struct {
                const char *name;
                uint64_t *ret;
        } counts[] = {
            {"present_bytes", &target->present_bytes},
            {"verified_bytes", &target->verified_bytes},
            {"owed_bytes", &target->owed_bytes},
            {"rate_bytes_per_s", &target->rate_bytes_per_s},
            {"errors", &target->errors},
        };
        uint64_t n = 0;
        int r = read_count(reader, "n", &n);

        if (r == 0 && (n == 0 || n > UINT32_MAX))
                return field_bad(reader, "n", "is not the number of a target");
        target->n = (uint32_t)n;
        for (size_t i = 0; r == 0 && i < sizeof(counts) / sizeof(counts[0]); i++)
                r = read_count(reader, counts[i].name, counts[i].ret);
        return r == 0 ? read_known(reader, "free_bytes", &target->free_bytes) : r;
}

/* What was allocated before a failure stays in *target, which its owner frees. */
static int read_target(const struct reader *reader, struct status_target *target)
{
        const char *method = NULL;
        int state = 0;
        int r = read_target_numbers(reader, target);

        if (r == 0)
                r = read_text(reader, "path", false, &target->path);
        if (r == 0)
                r = read_text(reader, "identity", true, &target->identity);
        if (r == 0)
                r = read_word(reader, "state", target_state_word, TARGET_OFFLINE, &state);
        if (r == 0)
                r = read_time(reader, "since", &target->since_ns);
        if (r == 0)
                r = read_string(reader, "verify_method", true, &method);
        if (r == 0)
                r = read_text(reader, "last_error", true, &target->last_error);
        target->state = (enum target_state)state;
        target->verify_method = verify_method_of(method);
        return r;
}

static int read_targets(const struct reader *reader, struct status *status)
{
        const json_t *array = field(reader, "targets");
        size_t count = json_array_size(array); /* 0 for what is no array */

        if (!array)
                return -EBADMSG;
        if (!json_is_array(array))
                return field_bad(reader, "targets", "is not an array");
        status->targets = calloc(count > 0 ? count : 1, sizeof(*status->targets));
        if (!status->targets)
                return no_memory(reader->error);
        for (; status->target_count < count; status->target_count++) {
                char where[WHERE_BYTES];
                struct reader of_target = {json_array_get(array, status->target_count), where, reader->error};
                int r;

                (void)snprintf(where, sizeof(where), "targets[%zu]", status->target_count); /* fits */
                if (!json_is_object(of_target.object))
                        return field_bad(reader, where, "is not an object");
                (void)strcat(where, "."); /* fits */
                r = read_target(&of_target, &status->targets[status->target_count]);
                if (r < 0) {
                        status->target_count++; /* so that what it holds is freed */
                        return r;
                }
        }
        return 0;
}

/* ---- the whole ---- */

/* `where`: the field's name with a dot behind it. */
static int read_categories(const struct reader *reader, const char *name, const char *where, uint64_t *ret_total,
                           uint64_t *ret_counts, uint64_t *ret_verified)
{
        struct reader inner = {field(reader, name), where, reader->error};
        int r;

        if (!inner.object)
                return -EBADMSG;
        if (!json_is_object(inner.object))
                return field_bad(reader, name, "is not an object");
        r = read_count(&inner, "total", ret_total);
        for (enum category category = 0; r == 0 && category < CATEGORY_COUNT; category++)
                r = read_count(&inner, category_name(category), &ret_counts[category]);
        return r == 0 ? read_count(&inner, "verified", ret_verified) : r;
}

static int read_progress(const struct reader *reader, int *ret_tenths)
{
        const json_t *value = field(reader, "progress");
        double percent = json_number_value(value); /* 0 for what is no number */

        if (!value)
                return -EBADMSG;
        if (!json_is_number(value) || !(percent >= 0 && percent <= 100))
                return field_bad(reader, "progress", "is not a number from 0 to 100");
        *ret_tenths = (int)(percent * 10 + 0.5);
        return 0;
}

static int read_version(const struct reader *reader)
{
        uint64_t version = 0;
        int r = read_count(reader, "version", &version);

        if (r == 0 && version != REPORT_VERSION)
                return field_bad(reader, "version", "is not 1: it was written by another version of cvv");
        return r;
}

static int read_words(const struct reader *reader, struct status *status)
{
        int state = 0, mode = 0, fill = 0;
        int r = read_word(reader, "state", mirror_state_word, MIRROR_IDLE, &state);

        if (r == 0)
                r = read_word(reader, "mode", mode_word, MODE_FULL, &mode);
        if (r == 0)
                r = read_word(reader, "fill", fill_word, FILL_ALL, &fill);
        status->state = (enum mirror_state)state;
        status->mode = (enum mode)mode;
        status->fill = (enum fill)fill;
        return r;
}

static int read_numbers(const struct reader *reader, struct status *status)
{
        const struct {
                const char *name;
                uint64_t *ret;
        } counts[] = {
            {"rate_bytes_per_s", &status->rate_bytes_per_s},
            {"owed_bytes", &status->owed_bytes},
            {"queued_bytes", &status->queued_bytes},
            {"source_copy_bytes", &status->source_copy_bytes},
            {"source_verify_bytes", &status->source_verify_bytes},
            {"passthrough_opens", &status->passthrough_opens},
            {"log_dropped", &status->log_dropped},
        };
        uint64_t pid = 0;
        int r = read_count(reader, "pid", &pid);

        status->pid = (int64_t)pid;
        for (size_t i = 0; r == 0 && i < sizeof(counts) / sizeof(counts[0]); i++)
                r = read_count(reader, counts[i].name, counts[i].ret);
        if (r == 0)
                r = read_bool(reader, "scan_complete", &status->scan_complete);
        if (r == 0)
                r = read_progress(reader, &status->progress_tenths);
        return r == 0 ? read_known(reader, "eta_s", &status->eta_s) : r;
}

static int read_status(const struct reader *reader, struct status *status)
{
        int r = read_version(reader);

        if (r == 0)
                r = read_words(reader, status);
        if (r == 0)
                r = read_text(reader, "mountpoint", true, &status->mountpoint);
        if (r == 0)
                r = read_text(reader, "source", true, &status->source);
        if (r == 0)
                r = read_numbers(reader, status);
        if (r == 0)
                r = read_categories(reader, "files", "files.", &status->files_total, status->files,
                                    &status->files_verified);
        if (r == 0)
                r = read_categories(reader, "bytes", "bytes.", &status->bytes_total, status->bytes,
                                    &status->bytes_verified);
        return r == 0 ? read_targets(reader, status) : r;
}

int report_parse_status(const char *json, size_t size, struct status *ret, struct error *error)
{
        json_error_t wrong;
        cleanup(json_decrefp) json_t *object = json_loadb(json, size, 0, &wrong);
        cleanup(status_deinit) struct status status = {0};
        struct reader reader = {object, "", error};
        int r;

        if (!object && json_error_code(&wrong) == json_error_out_of_memory)
                return no_memory(error);
        if (!object)
                return error_set(error, -EBADMSG, "status.json is not JSON: %s", wrong.text);
        if (!json_is_object(object))
                return error_set(error, -EBADMSG, "status.json is not an object");
        r = read_status(&reader, &status);
        if (r < 0)
                return r;
        *ret = status;
        memset(&status, 0, sizeof(status)); /* handed over */
        return 0;
}
