/* What the program says to the person who runs it: lines on standard error, each `cvv: text`.
 *
 * A line goes out with one write, so that lines of several processes do not mix. Control characters and bytes that are not
 * UTF-8 come out as \xNN: names of files may be passed as they are. Nothing here fails; who cannot be told is not told.
 */
#ifndef CVV_MOUNT_HELPER_MESSAGE_H
#define CVV_MOUNT_HELPER_MESSAGE_H

#include "core/error.h"

/* Exit codes (CONTRACT.md); a signal adds its number to EXIT_SIGNAL. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_SIGNAL = 128 };

/* Writes `cvv: `, the text (printf-like, without a newline) and a newline. May wait for a terminal that was stopped. */
void message_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As message_line(), but gives up where standard error takes nothing within `timeout_ms`. */
void message_line_within(int timeout_ms, const char *text) __attribute__((nonnull));

/* Writes the sentence of `error` and returns the exit code that belongs to its code: EXIT_USAGE for -EINVAL, else
 * EXIT_FAILED. */
int message_error(const struct error *error) __attribute__((nonnull));

/* Writes text that is not the program's own (a help, a report) to standard output as it is. 0 or -errno. */
int message_output(const char *text) __attribute__((nonnull));

#endif
