/* Names from disks in JSON: a name is any bytes but NUL, a JSON string is Unicode.
 *
 * A name that is UTF-8 is written as it is. One that is not is written in a readable form (error_escape) for the eye, with
 * its exact bytes in base64 beside it. What is dumped can be shown on a terminal: jansson escapes the control characters
 * below U+0020 only, and some terminals obey those from U+0080 to U+009F too. Built on jansson; thread-safe; never blocks.
 */
#ifndef CVV_CORE_JSON_PATH_H
#define CVV_CORE_JSON_PATH_H

#include <jansson.h>

/* A new JSON string (the caller's) of `text`, escaped with error_escape where it is not UTF-8; JSON null for NULL. Returns
 * NULL where memory is short. */
json_t *json_text_new(const char *text) __attribute__((warn_unused_result));

/* Sets "path" in `object`, and "path_b64" where `path` is not UTF-8. NULL: "path" is null. 0 or -ENOMEM (then `object` may
 * have a part of it). */
int json_path_set(json_t *object, const char *path) __attribute__((nonnull(1), warn_unused_result));

/* As json_dumps with `flags`, with U+007F to U+009F written as \uXXXX. The caller frees the text. NULL where memory is
 * short. */
char *json_safe_dumps(const json_t *json, size_t flags) __attribute__((nonnull, warn_unused_result));

#endif
