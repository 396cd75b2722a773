/* What may be written to `.cvv/control`: a pure parser from text to a list of commands. It touches nothing; the mirror does
 * what they say.
 *
 * A write is one or more lines, each a command, one space, its argument. The last newline may be missing, empty lines are
 * allowed. The text is parsed whole first: one malformed line, and none of the commands exists. Because the rest of the
 * line is the argument, spaces at its end or a second space are part of a name, and after any other command they are
 * malformed; nothing is guessed, since a command for the wrong file is worse than none.
 */
#ifndef CVV_CORE_COMMAND_H
#define CVV_CORE_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* The longest write in bytes. */
enum { COMMAND_TEXT_BYTES_MAX = 64 * 1024 };

enum command_kind {
        COMMAND_FILL, /* path */
        COMMAND_PAUSE,
        COMMAND_RESUME,
        COMMAND_VERIFY, /* path */
        COMMAND_RESYNC, /* target, or all */
        COMMAND_RETRY,
        COMMAND_LIMIT, /* limit_bytes_per_s */
        COMMAND_CHECKPOINT,
        COMMAND_ADD,    /* directory */
        COMMAND_REMOVE, /* target */
};

struct command {
        enum command_kind kind;
        char *path;                 /* fill, verify: relative to the root of the view, without `.`, `..`, double or outer
                                       slashes; "" for everything. Else NULL */
        char *directory;            /* add: an absolute path, as given. Else NULL */
        uint32_t target;            /* resync, remove: the target's number, from 1; resync without one: 0, all of them */
        uint64_t limit_bytes_per_s; /* limit: 0 lifts it */
};

/* Parses `size` bytes at `text` (any bytes, no terminator needed). On success the caller owns *ret_commands, `*ret_count`
 * (at least 1) commands in the order written, and frees them with command_free(). Paths are unescaped (`\n`, `\\`).
 * 0; -EINVAL with a sentence in `error` (may be NULL) that names the line: no command at all, more than
 * COMMAND_TEXT_BYTES_MAX, a NUL byte, an unknown command, a missing, superfluous or malformed argument, another escape, a
 * `..` in a path; -ENOMEM. Does not block. */
int command_parse(const char *text, size_t size, struct command **ret_commands, size_t *ret_count, struct error *error)
    __attribute__((nonnull(3, 4), warn_unused_result));

/* Frees what command_parse() returned; NULL with 0 is fine. */
void command_free(struct command *commands, size_t count);

/* What a read of `.cvv/control` gives: a line for each command. */
const char *command_help(void) __attribute__((returns_nonnull));

#endif
