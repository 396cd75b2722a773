/* Reports for programs: status.json, targets/N.json and files/PATH as CONTRACT.md has them under "Formats", and the reader
 * of status.json for `cvv status`.
 *
 * Each report is one line of JSON that ends in a newline, so that `cvv status --json --watch` gives JSON lines. Fields come
 * in the contract's order. Names and messages are written by core/json_path.h: what is not UTF-8 is escaped, and a path
 * then has its exact bytes beside it in path_b64; nothing in a report makes a terminal do anything. A count above 2^63-1,
 * which JSON readers do not take, is written as that. The writers stand in report_json.c, the reader in report_parse.c.
 *
 * Pure functions on snapshots: thread safe, nothing blocks. Built on jansson.
 */
#ifndef CVV_CORE_REPORT_JSON_H
#define CVV_CORE_REPORT_JSON_H

#include <stddef.h>

#include "core/error.h"
#include "core/status.h"

/* The text of status.json. status->copies has no field in it. The caller frees *ret. 0 or -ENOMEM. */
int report_status_json(const struct status *status, char **ret) __attribute__((nonnull, warn_unused_result));

/* The text of targets/N.json, the same object as in status.json's `targets`. The caller frees *ret. 0 or -ENOMEM. */
int report_target_json(const struct status_target *target, char **ret) __attribute__((nonnull, warn_unused_result));

/* The text of files/PATH. The caller frees *ret. 0 or -ENOMEM. */
int report_file_json(const struct status_file *file, char **ret) __attribute__((nonnull, warn_unused_result));

/* Reads status.json back: `size` bytes at `json`, any bytes. Unknown fields are ignored. Texts come as they stand in the
 * JSON: a name that is not UTF-8 stays in its escaped form. There are no copies in it. A verify_method that this version
 * does not know becomes "unknown". The caller frees *ret with status_deinit(). 0; -EBADMSG with a sentence in `error` (may
 * be NULL) that names the field that is missing or is not what it should be; -ENOMEM. *ret is untouched unless it is 0. */
int report_parse_status(const char *json, size_t size, struct status *ret, struct error *error)
    __attribute__((nonnull(1, 3), warn_unused_result));

#endif
