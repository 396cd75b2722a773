/* Everything a user can say to `cvv mount`, `cvv copy` and the mount helper, and the parsers that turn it into one struct.
 *
 * One table (options_table.c) holds each long option once; command lines (options_argv.c) and `-o` lists (options_o.c) both
 * go through it, so that they cannot drift apart. options_text.c writes the help texts and `.cvv/config`. Parsing touches
 * nothing outside: paths are kept as they were given, whether they exist is the caller's question.
 *
 * The parsers of command lines use getopt_long(3), whose state is global: one thread at a time, in practice before the
 * first one is started. They reset that state themselves, and leave argv as it is. All else here is pure and may run
 * anywhere.
 */
#ifndef CVV_CORE_OPTIONS_H
#define CVV_CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/digest_values.h"
#include "core/error.h"

enum mode { MODE_TRANSFER, MODE_SOURCE, MODE_FULL };
enum fill { FILL_FILE, FILL_CHUNK, FILL_ALL };
enum existing { EXISTING_SKIP, EXISTING_VERIFY, EXISTING_REPLACE };

/* Positive results of the parsers of command lines: the user asked for this and nothing else. */
enum { OPTIONS_HELP = 1, OPTIONS_VERSION = 2 };

#define OPTIONS_CHUNK_BYTES_MIN (UINT64_C(1) << 20)
#define OPTIONS_CHUNK_BYTES_MAX (UINT64_C(64) << 20)
#define OPTIONS_MEMORY_BYTES_MIN (UINT64_C(16) << 20)
enum { OPTIONS_JOBS_MAX = 64 };

/* Strings in the order given; each owned. */
struct options_list {
        char **items;
        size_t count;
};

/* Zeroed or initialised by options_init(); all pointers are owned. */
struct options {
        char *source;                /* as given; "none" for a pure mirror; NULL where the command took none */
        char *mountpoint;            /* as given; NULL for a copy */
        struct options_list targets; /* as given, in order */
        /* Where one file alone is copied: its name in the directory that `source` is, and its name on each target. Not set by the parsers:
         * see mount-helper/prepare.h. */
        char *source_file; /* NULL: everything in `source` */
        struct options_list target_files;

        enum mode mode;
        struct hash_set hash; /* in order; the first one is the manifest's */
        enum fill fill;
        uint64_t chunk_bytes;
        char *state_dir;            /* NULL: to be found by the source's identity */
        unsigned jobs;              /* 0: follow the devices */
        uint64_t limit_bytes_per_s; /* 0: none */
        uint64_t memory_bytes;
        unsigned min_targets;
        enum existing existing; /* meaningful if existing_given; ask options_existing() */
        bool existing_given;
        bool reads_checked;
        bool mhl;
        bool list_control;
        bool no_space_check;
        struct options_list exclude; /* patterns of core/exclude.h, each of a length that it takes */
        char *log_file;              /* NULL: journal or syslog only */

        bool foreground;
        bool verbose;
        bool json;

        bool read_only;         /* -o ro; stands in fuse_options too */
        bool allow_other;       /* -o allow_other; not in fuse_options */
        char *fsname, *subtype; /* -o fsname=, subtype=, else NULL; not in fuse_options */
        /* What the kernel or libfuse is to get, unescaped, in order: "dev", "max_read=4096". A value may hold commas
         * (SELinux contexts), so each one is to be added escaped. */
        struct options_list fuse_options;

        bool remount;         /* -o remount: change the mount that is there; targets need not be named again */
        bool fake;            /* mount helper, -f: everything but the mount itself */
        bool sloppy;          /* mount helper, -s: unknown -o options are ignored */
        char *namespace_path; /* mount helper, -N: mount namespace to enter first, else NULL */
};

/* The defaults, without source, targets and mount point. Allocates nothing. */
void options_init(struct options *options) __attribute__((nonnull));

/* Frees what the struct owns and zeroes it. Takes a zeroed one, too. */
void options_deinit(struct options *options) __attribute__((nonnull));

/* The arguments behind `cvv mount`: argv[0] is the first of them, argv need not end in NULL. Options and operands come in
 * any order, `--` ends the options. On success *ret_options, which is only written, holds what was said over the defaults,
 * passed options_validate(), and has a source and a mount point; the caller frees it with options_deinit(). 0; OPTIONS_HELP
 * or OPTIONS_VERSION where that option comes before any mistake; -EINVAL with one sentence in `error` (may be NULL);
 * -ENOMEM. *ret_options is untouched unless the result is 0. */
int options_parse_mount(int argc, char **argv, struct options *ret_options, struct error *error)
    __attribute__((nonnull(3), warn_unused_result));

/* The arguments behind `cvv copy`: SOURCE TARGET…; otherwise as options_parse_mount(). Options that mean something for a
 * mount only are refused. */
int options_parse_copy(int argc, char **argv, struct options *ret_options, struct error *error)
    __attribute__((nonnull(3), warn_unused_result));

/* The arguments of mount.cvv and mount.fuse.cvv, as mount(8) gives them to a helper: SOURCE MOUNTPOINT, and before or
 * behind them [-sfnvrw] [-N namespace] [-t type] [-o list]. mount(8) has decoded fstab's \040.
 * As options_parse_mount(). */
int options_parse_helper(int argc, char **argv, struct options *ret_options, struct error *error)
    __attribute__((nonnull(3), warn_unused_result));

/* Adds the `-o` list to `options`, which is initialised. `,` separates, `\,` is a comma, `\\` a backslash, before any other
 * byte a backslash stands for itself; empty items are skipped. Every long option of `cvv mount` is known by its name
 * without the hyphens in front; options of FUSE and of the kernel are kept for passing on; what only fstab's readers care
 * for (`auto`, `nofail`, `x-…`, …) is skipped. An unknown one is an error, unless options->sloppy. 0; -EINVAL with a
 * sentence; -ENOMEM. After a failure `options` holds the items in front of the bad one, and can be freed. Does not
 * validate. */
int options_parse_o(const char *list, struct options *options, struct error *error)
    __attribute__((nonnull(1, 2), warn_unused_result));

/* A number of bytes: decimal digits, then nothing or one of K, M, G, T (powers of 1024), then nothing, B or, behind one of
 * those letters, iB; case does not matter. 0; -EINVAL for anything else, also for what does not fit 64 bits. */
int options_parse_size(const char *text, uint64_t *ret_bytes) __attribute__((nonnull, warn_unused_result));

/* Bytes per second: a size, or a size with `/s` behind it; `none` is 0, that is no limit. 0 or -EINVAL. */
int options_parse_rate(const char *text, uint64_t *ret_bytes_per_s) __attribute__((nonnull, warn_unused_result));

/* Checks what one option alone cannot: the ranges of chunk size, memory and jobs, a digest, at least one target (unless
 * remount), min_targets between 1 and their number. Equal targets are the business of who knows identities. 0, or -EINVAL
 * with a sentence. */
int options_validate(const struct options *options, struct error *error) __attribute__((nonnull(1), warn_unused_result));

/* What happens to files that a target already has: as given, else the default of the mode. */
enum existing options_existing(const struct options *options) __attribute__((nonnull));

/* The words of the command line for these values. */
const char *options_mode_name(enum mode mode) __attribute__((returns_nonnull));
const char *options_fill_name(enum fill fill) __attribute__((returns_nonnull));
const char *options_existing_name(enum existing existing) __attribute__((returns_nonnull));

/* Appends a copy of `text`, or its first `length` bytes. 0 or -ENOMEM. */
int options_list_add(struct options_list *list, const char *text, size_t length)
    __attribute__((nonnull, warn_unused_result));

/* Frees what is in the list and empties it. */
void options_list_deinit(struct options_list *list) __attribute__((nonnull));

/* The text of `.cvv/config`: the effective settings, a line `key = value` each, keys as the long options, several lines for
 * `target`, `exclude` and `fuse-option`; control characters in values as \xNN. The caller frees *ret_text. 0 or -ENOMEM. */
int options_config_text(const struct options *options, char **ret_text) __attribute__((nonnull, warn_unused_result));

/* Help for `cvv mount` and `cvv copy`: usage, then a line for each option with its default; at most 100 columns. */
const char *options_usage_mount(void) __attribute__((returns_nonnull));
const char *options_usage_copy(void) __attribute__((returns_nonnull));

#endif
