/* Lists of -o options as text, before core/options.h parses them: which names they hold, and without what only the kernel
 * says. `,` separates, a backslash before `,` or `\` takes their meaning away. Pure.
 */
#ifndef CVV_MOUNT_HELPER_OPTIONLIST_H
#define CVV_MOUNT_HELPER_OPTIONLIST_H

#include <stdbool.h>

/* The list without fd, rootmode, user_id, group_id and blksize: mount(8) hands them to a remount because they stand in the
 * mount table, nobody has chosen them. The caller frees *ret_list. 0 or -ENOMEM. */
int optionlist_filter(const char *list, char **ret_list) __attribute__((nonnull, warn_unused_result));

/* Whether an item of the list is `name`, with or without a value. */
bool optionlist_has(const char *list, const char *name) __attribute__((nonnull));

/* Whether `text` has `line` (of `length` bytes, without its newline) as one of its lines. */
bool optionlist_has_line(const char *text, const char *line, int length) __attribute__((nonnull));

#endif
