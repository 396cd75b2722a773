/* Errors: one convention for every module.
 *
 * 0 is success, a negative value is -errno passed on unchanged, a positive value is a named condition of the function's own
 * header. A failure that a person is to read travels as a `struct error`: the code plus one clear sentence that names what
 * was wrong and what would be right. The core never prints; the caller decides where the sentence goes.
 */
#ifndef CVV_CORE_ERROR_H
#define CVV_CORE_ERROR_H

#include <stddef.h>

enum { ERROR_MESSAGE_BYTES = 768 };

struct error {
        int code;                            /* negative errno; 0 while nothing failed */
        char message[ERROR_MESSAGE_BYTES];   /* one line without its newline; control characters are already escaped */
};

/* Fills `error` (which may be NULL) and returns `code`, so that a failing function ends with `return error_set(…)`.
 * `code` is a negative errno. Control characters that the arguments bring in (names of files) are escaped as \xNN. */
int error_set(struct error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* What an error (negative errno) means, for people. As strerror(), with words of cvv's own for what a verification finds: -EILSEQ (a copy does not read
 * back as it was written) and -EBADMSG (a second reading of the source gave other bytes). Static, or as lasting as strerror()'s. */
const char *error_describe(int error);

/* Copies `text` into `ret_buffer` (of `size` bytes, at least 1; always terminated) with control characters and bytes that
 * are not UTF-8 written as \xNN, so that no name from a disk reaches a terminal or a line-based file raw. */
void error_escape(const char *text, char *ret_buffer, size_t size);

#endif
