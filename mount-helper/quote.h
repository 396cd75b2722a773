/* Words of a command line as text that a shell reads back as the same words, and that is safe on a terminal.
 *
 * A word is left as it is where it can be, else put into '…', and into $'…' (bash, zsh, ksh, POSIX 2024) where it holds
 * control characters or bytes that are not UTF-8. Pure.
 */
#ifndef CVV_MOUNT_HELPER_QUOTE_H
#define CVV_MOUNT_HELPER_QUOTE_H

#include <stddef.h>

/* One line, the `count` words separated by a space. The caller frees *ret_text. 0 or -ENOMEM. */
int quote_words(size_t count, char *const *words, char **ret_text) __attribute__((nonnull(3), warn_unused_result));

/* The line that resumes: "resume with: " and the words of the command line. As quote_words(). */
int quote_resume(int argc, char *const *argv, char **ret_text) __attribute__((nonnull, warn_unused_result));

#endif
