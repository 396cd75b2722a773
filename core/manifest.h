/* Lines of the manifest: a file's digest and path in the form that `xxhsum -c`, `md5sum -c`, `sha1sum -c` and `sha256sum -c` take when they
 * run at the root of a target.
 *
 *   md5, sha1, sha256   "HEX  PATH"; with a backslash, line feed or carriage return in it the escaped form of coreutils (from 9.0 on),
 *                       a backslash in front
 *   xxh64, xxh128       "HEX  PATH", the digest big-endian. xxhsum before 0.8.2 has no escapes, later ones have but need none for a
 *                       backslash: so a path is never escaped, and one with a line feed has no line
 *   xxh3                "XXH3 (PATH) = HEX": the "HEX  PATH" of XXH3 would be taken for XXH64, and 0.8.1 knows no "XXH3_HEX  PATH"
 *   c4                  "ID  PATH"; there is no program for it
 *
 * A path that such a program takes for its standard input ("-", "stdin") gets "./" in front. Pure but for the output stream.
 */
#ifndef CVV_CORE_MANIFEST_H
#define CVV_CORE_MANIFEST_H

#include <stdio.h>

#include "core/digest_values.h"

/* Why there can be no line for a file: one clause, or NULL. `path` is raw bytes, relative to the root. */
const char *manifest_refusal(enum hash_algorithm algorithm, const char *path, const struct digest_values *digests)
    __attribute__((nonnull, warn_unused_result));

/* Writes the line of a file that has one (manifest_refusal() is NULL). Errors stay with `out` (ferror). */
void manifest_line(FILE *out, enum hash_algorithm algorithm, const char *path, const struct digest_values *digests)
    __attribute__((nonnull));

#endif
