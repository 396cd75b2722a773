/* Which paths --exclude leaves out: patterns with the meaning of gitignore(5).
 *
 * The last pattern that matches a path decides; a leading `!` turns its decision round. A trailing `/` matches directories
 * only. A `/` at the start or in the middle anchors the pattern at the root; without one it is compared with the last
 * component, at any depth. `*` and `?` and `[…]` never match a `/`; a double star that stands alone between slashes spans
 * any number of directories. A backslash takes the next byte literally; trailing spaces fall away unless they are escaped.
 * A pattern that is empty, ends in a lone backslash or has an unclosed bracket matches nothing, as in git.
 *
 * Two things follow from patterns being arguments, not lines of a file, and are the same in git's own --exclude: a leading
 * `#` is an ordinary character (`#recycle` is a directory that many a NAS has), and bytes are compared, not characters.
 *
 * Each pattern is compiled once into a list of states, and a path runs through all of them at the same time. So the work
 * is at most (length of the pattern) x (length of the path), whatever the pattern; nothing backtracks, nothing allocates.
 *
 * What it does not do: a path below an excluded directory is not excluded by that. The caller walks from the top, and does
 * not descend into a directory that matched (which is why a `!` cannot bring back what lies below one).
 */
#ifndef CVV_CORE_EXCLUDE_H
#define CVV_CORE_EXCLUDE_H

#include <stdbool.h>
#include <stddef.h>

/* The longest pattern in bytes, without its terminator. */
enum { EXCLUDE_PATTERN_BYTES_MAX = 4096 };

struct exclude;

/* Compiles `count` patterns, in the order given, into *ret_exclude, which the caller frees with exclude_free(). The
 * patterns are not kept. 0; -EINVAL for a pattern that is longer than EXCLUDE_PATTERN_BYTES_MAX; -ENOMEM. */
int exclude_new(char *const *patterns, size_t count, struct exclude **ret_exclude)
    __attribute__((nonnull(3), warn_unused_result));

/* Frees `exclude`; NULL is fine. Returns NULL. */
struct exclude *exclude_free(struct exclude *exclude);

static inline void exclude_release(struct exclude **exclude)
{
        *exclude = exclude_free(*exclude);
}

/* Whether `path` is excluded: a path relative to the root, components of any bytes with one `/` between them, none in front
 * or at the end. The root itself ("") never is. A NULL `exclude` excludes nothing. Does not block; any number of threads
 * may ask at the same time. */
bool exclude_match(const struct exclude *exclude, const char *path, bool is_directory) __attribute__((nonnull(2)));

#endif
