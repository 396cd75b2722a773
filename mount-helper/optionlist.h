/* Lists of -o options as text, before core/options.h parses them: which names they hold. `,` separates, a backslash
 * before `,` or `\` takes their meaning away. Pure.
 */
#ifndef CVV_MOUNT_HELPER_OPTIONLIST_H
#define CVV_MOUNT_HELPER_OPTIONLIST_H

#include <stdbool.h>

/* Whether an item of the list is `name`, with or without a value. */
bool optionlist_has(const char *list, const char *name) __attribute__((nonnull));

/* Whether `text` has `line` (of `length` bytes, without its newline) as one of its lines. */
bool optionlist_has_line(const char *text, const char *line, int length) __attribute__((nonnull));

#endif
