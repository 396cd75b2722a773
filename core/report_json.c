#include "core/report_json.h"

#include "core/cleanup.h"
#include "core/json_path.h"
#include "core/timestamp.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum {
        REPORT_VERSION = 1,
        PROGRESS_DIGITS = 4, /* "100.0", the one real number of all reports; with 17 digits 12.3 is 12.300000000000001 */
};

#define NS_PER_S INT64_C(1000000000)

/* All set_… functions below return 0, or -1 where memory is short; their callers gather that in `failed`. */

static int set(json_t *object, const char *key, json_t *value)
{
        return json_object_set_new(object, key, value); /* takes the value, and refuses NULL */
}

static int set_count(json_t *object, const char *key, uint64_t count)
{
        return set(object, key, json_integer(count > INT64_MAX ? INT64_MAX : (json_int_t)count));
}

/* A negative value is an unknown one. */
static int set_known(json_t *object, const char *key, int64_t value)
{
        return set(object, key, value < 0 ? json_null() : json_integer(value));
}

static int set_text(json_t *object, const char *key, const char *text)
{
        return set(object, key, json_text_new(text));
}

static int set_time(json_t *object, const char *key, int64_t time_ns)
{
        char text[TIMESTAMP_BYTES];
        struct timespec time = {.tv_sec = time_ns / NS_PER_S, .tv_nsec = time_ns % NS_PER_S};

        if (time.tv_nsec < 0) {
                time.tv_sec--;
                time.tv_nsec += NS_PER_S;
        }
        timestamp_format(&time, text);
        return set(object, key, json_string(text));
}

static int dump(const json_t *json, char **ret)
{
        cleanup(pointer_free) char *text = json_safe_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(PROGRESS_DIGITS));
        size_t length;
        char *line;

        if (!text)
                return -ENOMEM;
        length = strlen(text);
        line = realloc(text, length + 2);
        if (!line)
                return -ENOMEM;
        text = NULL; /* realloc has taken it */
        memcpy(line + length, "\n", 2);
        *ret = line;
        return 0;
}

/* ---- a target ---- */

/* A new object, or NULL where memory is short. */
static json_t *target_new(const struct status_target *target)
{
        cleanup(json_decrefp) json_t *object = json_object();
        int failed = 0;

        failed |= set_count(object, "n", target->n);
        failed |= json_path_set(object, target->path);
        failed |= set_text(object, "identity", target->identity);
        failed |= set_text(object, "state", status_target_state_name(target->state));
        failed |= set_time(object, "since", target->since_ns);
        failed |= set_count(object, "present_bytes", target->present_bytes);
        failed |= set_count(object, "verified_bytes", target->verified_bytes);
        failed |= set_count(object, "owed_bytes", target->owed_bytes);
        failed |= set_known(object, "free_bytes", target->free_bytes);
        failed |= set_count(object, "rate_bytes_per_s", target->rate_bytes_per_s);
        failed |= set_text(object, "verify_method", target->verify_method);
        failed |= set_count(object, "errors", target->errors);
        failed |= set_text(object, "last_error", target->last_error);
        return failed ? NULL : json_incref(object);
}

int report_target_json(const struct status_target *target, char **ret)
{
        cleanup(json_decrefp) json_t *object = target_new(target);

        return object ? dump(object, ret) : -ENOMEM;
}

/* ---- the whole ---- */

static int set_categories(json_t *status, const char *key, uint64_t total, const uint64_t counts[static CATEGORY_COUNT],
                          uint64_t verified)
{
        cleanup(json_decrefp) json_t *object = json_object();
        int failed = set_count(object, "total", total);

        for (enum category category = 0; category < CATEGORY_COUNT; category++)
                failed |= set_count(object, category_name(category), counts[category]);
        failed |= set_count(object, "verified", verified);
        return failed ? -1 : json_object_set(status, key, object);
}

static int set_targets(json_t *object, const struct status *status)
{
        cleanup(json_decrefp) json_t *targets = json_array();

        for (size_t i = 0; i < status->target_count; i++)
                if (json_array_append_new(targets, target_new(&status->targets[i])) < 0)
                        return -1;
        return json_object_set(object, "targets", targets);
}

int report_status_json(const struct status *status, char **ret)
{
        cleanup(json_decrefp) json_t *object = json_object();
        int failed = 0;

        failed |= set_count(object, "version", REPORT_VERSION);
        failed |= set_text(object, "state", status_state_name(status->state));
        failed |= set_text(object, "mode", options_mode_name(status->mode));
        failed |= set_text(object, "fill", options_fill_name(status->fill));
        failed |= set_text(object, "mountpoint", status->mountpoint);
        failed |= set_text(object, "source", status->source);
        failed |= set(object, "pid", json_integer(status->pid));
        failed |= set(object, "scan_complete", json_boolean(status->scan_complete));
        failed |= set(object, "progress", json_real(status->progress_tenths / 10.0));
        failed |= set_count(object, "rate_bytes_per_s", status->rate_bytes_per_s);
        failed |= set_known(object, "eta_s", status->eta_s);
        failed |= set_categories(object, "files", status->files_total, status->files, status->files_verified);
        failed |= set_categories(object, "bytes", status->bytes_total, status->bytes, status->bytes_verified);
        failed |= set_count(object, "owed_bytes", status->owed_bytes);
        failed |= set_count(object, "queued_bytes", status->queued_bytes);
        failed |= set_count(object, "source_copy_bytes", status->source_copy_bytes);
        failed |= set_count(object, "source_verify_bytes", status->source_verify_bytes);
        failed |= set_count(object, "passthrough_opens", status->passthrough_opens);
        failed |= set_count(object, "log_dropped", status->log_dropped);
        failed |= set_targets(object, status);
        return failed ? -ENOMEM : dump(object, ret);
}

/* ---- a file ---- */

static int set_digests(json_t *object, const struct digest_values *values)
{
        cleanup(json_decrefp) json_t *digests = json_object();

        for (enum hash_algorithm algorithm = 0; algorithm < HASH_COUNT; algorithm++) {
                char text[HASH_TEXT_BYTES];

                if (digest_text(values, algorithm, text) == 0 && set_text(digests, hash_name(algorithm), text) < 0)
                        return -1;
        }
        return json_object_set(object, "digests", digests);
}

static const char *chunk_state_name(enum chunk_state state)
{
        return state == CHUNK_VERIFIED ? "verified" : state == CHUNK_PRESENT ? "present" : "written";
}

static json_t *range_new(const struct status_range *range)
{
        cleanup(json_decrefp) json_t *array = json_array();
        int failed = 0;

        failed |= json_array_append_new(array, json_integer((json_int_t)range->first));
        failed |= json_array_append_new(array, json_integer((json_int_t)range->end));
        failed |= json_array_append_new(array, json_string(chunk_state_name(range->state)));
        return failed ? NULL : json_incref(array);
}

static json_t *file_target_new(const struct status_file_target *target)
{
        cleanup(json_decrefp) json_t *object = json_object();
        cleanup(json_decrefp) json_t *map = json_array();
        int failed = 0;

        for (size_t i = 0; i < target->range_count; i++)
                failed |= json_array_append_new(map, range_new(&target->ranges[i]));
        failed |= set_count(object, "n", target->n);
        failed |= set_text(object, "state", status_file_state_name(target->state));
        failed |= json_object_set(object, "map", map);
        return failed ? NULL : json_incref(object);
}

static int set_file_targets(json_t *object, const struct status_file *file)
{
        cleanup(json_decrefp) json_t *targets = json_array();

        for (size_t i = 0; i < file->target_count; i++)
                if (json_array_append_new(targets, file_target_new(&file->targets[i])) < 0)
                        return -1;
        return json_object_set(object, "targets", targets);
}

int report_file_json(const struct status_file *file, char **ret)
{
        cleanup(json_decrefp) json_t *object = json_object();
        int failed = 0;

        failed |= set_count(object, "version", REPORT_VERSION);
        failed |= json_path_set(object, file->path);
        failed |= set_text(object, "type", file->type);
        failed |= set_text(object, "state", status_file_state_name(file->state));
        failed |= set_count(object, "size", file->size);
        failed |= set(object, "mtime_ns", json_integer(file->mtime_ns));
        failed |= set_count(object, "chunk_size", file->chunk_size);
        failed |= set_digests(object, &file->digests);
        failed |= set_text(object, "last_error", file->last_error);
        failed |= set_file_targets(object, file);
        return failed ? -ENOMEM : dump(object, ret);
}
