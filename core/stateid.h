/* The `identity` file of a state directory: whose state it is. Pure functions of the file's text; no I/O.
 *
 *   version=1
 *   source=<identity>
 *   target=<n> <identity>      (any number of these)
 *   check=<16 hex digits>      (XXH3 of all bytes before this line)
 *
 * What is not exactly of this form, or whose check differs, is damaged. Of a newer version only the lines known here are
 * read, and the check not at all.
 */
#ifndef CVV_CORE_STATEID_H
#define CVV_CORE_STATEID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        STATEID_VERSION = 1,
        STATEID_FILE_BYTES_MAX = 1024 * 1024, /* a longer file is damaged */
};

/* The source identity of a mirror without a source. */
#define STATEID_NO_SOURCE "none"

struct stateid_target {
        uint32_t number; /* from 1, never reused within a state */
        char *identity;
};

struct stateid {
        uint32_t version;
        char *source;
        struct stateid_target *targets;
        size_t target_count;
};

/* True when `identity` can stand in the file: neither NULL nor empty, and without control characters. */
bool stateid_is_writable(const char *identity) __attribute__((warn_unused_result));

/* The identity of one file in a source or target that is mirrored alone: that of the directory, and a hash of it and the name behind a '#'. It is
 * cut where `size` is too small. Pure. */
void stateid_of_file(const char *directory, const char *name, char *ret_identity, size_t size) __attribute__((nonnull));

/* Replaces *id (initialised, or zeroed) by copies of the arguments. Targets without an identity ("" or NULL) are left out.
 * 0; -EINVAL where a text cannot stand in the file or a number is 0; -ENOMEM. *id is untouched on failure. */
int stateid_set(struct stateid *id, const char *source, const struct stateid_target *targets, size_t target_count)
    __attribute__((nonnull(1), warn_unused_result));

/* Reads a file's `size` bytes. 0, with *ret_id for the caller to end with stateid_deinit; -EBADMSG where it is damaged;
 * -ENOMEM. A newer version is no failure: see `version`. *ret_id is untouched on failure. */
int stateid_parse(const char *text, size_t size, struct stateid *ret_id) __attribute__((nonnull, warn_unused_result));

/* Writes the file's text, which the caller frees, to *ret_text. 0 or -ENOMEM. */
int stateid_format(const struct stateid *id, char **ret_text, size_t *ret_size)
    __attribute__((nonnull, warn_unused_result));

/* How many of the `count` identities (NULL and "" never match) are targets of `id`. */
size_t stateid_shared(const struct stateid *id, const char *const *identities, size_t count)
    __attribute__((nonnull(1), warn_unused_result));

/* True when both would give the same file. */
bool stateid_equal(const struct stateid *a, const struct stateid *b) __attribute__((nonnull, warn_unused_result));

/* Frees what it owns and zeroes it. Accepts a zeroed one. */
void stateid_deinit(struct stateid *id) __attribute__((nonnull));

#endif
