/*
 * The rules of faultfs (their text is described in faultfs.c) and what they do to a call.
 *
 * One set of rules and counters for the process. All functions are thread-safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum operation {
        OP_LOOKUP,
        OP_GETATTR,
        OP_READLINK,
        OP_READDIR,
        OP_OPEN,
        OP_CREATE,
        OP_READ,
        OP_WRITE,
        OP_FLUSH,
        OP_FSYNC,
        OP_RENAME,
        OP_UNLINK,
        OP_RMDIR,
        OP_MKDIR,
        OP_MKNOD,
        OP_LINK,
        OP_SYMLINK,
        OP_TRUNCATE,
        OP_SETATTR,
        OP_STATFS,
        OP_SETXATTR,
        OP_GETXATTR,
        OP_FALLOCATE,
        OP_LSEEK,
        OP_ANY
};

/* What is left for the operation itself to do after the rules acted. */
struct verdict {
        int error;     /* an errno, or 0 to go on */
        bool is_short; /* handle half of the bytes */
        bool flip;     /* change one byte */
};

/*
 * Reads the rules at path for the first time; an absent file holds no rules. root_fd is the backing directory, below which
 * the paths of globs begin. Both are borrowed for good. False, with a line on stderr, where a line is not a rule.
 */
bool rules_start(const char *path, int root_fd);

/* Reads the rules again if the file changed, or in any case; rules that do not parse are said on stderr and ignored. */
void rules_reload(bool force);

/* Drops all rules for good and lets go of the calls that hang. */
void rules_end(void);

/* Writes "NAME NUMBER" for each operation, and how many calls hang now, to path + ".counts", by rename. */
void rules_write_counts(void);

/*
 * Counts a call on the object behind fd (or on name in it, where not NULL) that moves size_bytes, and does to it what the
 * rules say: blocks for as long as they want. Returns what remains to be done.
 */
struct verdict fault(enum operation operation, int fd, const char *name, size_t size_bytes);
