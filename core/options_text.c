#include "core/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"

static void stream_close(FILE **stream)
{
        if (*stream)
                (void)fclose(*stream); /* an early return: the text is thrown away */
}

/* `key = value`, the value escaped; NULL is written as `absent`. 0 or -ENOMEM. Errors of the stream show at its end. */
static int put_text(FILE *stream, const char *key, const char *value, const char *absent)
{
        cleanup(pointer_free) char *escaped = NULL;
        size_t size;

        if (!value)
                value = absent;
        size = strlen(value) * 4 + 5; /* \xNN for each byte, and what error_escape keeps free */
        escaped = malloc(size);
        if (!escaped)
                return -ENOMEM;
        error_escape(value, escaped, size);
        (void)fprintf(stream, "%s = %s\n", key, escaped); /* see above */
        return 0;
}

static int put_list(FILE *stream, const char *key, const struct options_list *list)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < list->count; i++)
                r = put_text(stream, key, list->items[i], "");
        return r;
}

/* The size in the largest unit that divides it, as options_parse_size() reads it. */
static void put_size(FILE *stream, const char *key, uint64_t bytes)
{
        static const char units[] = "KMGT";
        char unit[2] = "";

        for (size_t i = 0; bytes > 0 && bytes % 1024 == 0 && units[i]; i++) {
                bytes /= 1024;
                unit[0] = units[i];
        }
        (void)fprintf(stream, "%s = %" PRIu64 "%s\n", key, bytes, unit); /* see put_text() */
}

static void put_flag(FILE *stream, const char *key, bool value)
{
        (void)fprintf(stream, "%s = %s\n", key, value ? "yes" : "no"); /* see put_text() */
}

static void put_settings(FILE *stream, const struct options *options)
{
        /* The results of these are looked at where the stream is closed. */
        (void)fprintf(stream, "mode = %s\nhash = ", options_mode_name(options->mode));
        for (unsigned i = 0; i < options->hash.count; i++)
                (void)fprintf(stream, "%s%s", i > 0 ? "," : "", hash_name(options->hash.order[i]));
        (void)fprintf(stream, "\nfill = %s\n", options_fill_name(options->fill));
        put_size(stream, "chunk-size", options->chunk_bytes);
        if (options->jobs == 0)
                (void)fprintf(stream, "jobs = auto\n");
        else
                (void)fprintf(stream, "jobs = %u\n", options->jobs);
        if (options->limit_bytes_per_s == 0)
                (void)fprintf(stream, "limit = none\n");
        else
                put_size(stream, "limit", options->limit_bytes_per_s);
        put_size(stream, "memory", options->memory_bytes);
        (void)fprintf(stream, "min-targets = %u\nexisting = %s\nreads = %s\n", options->min_targets,
                      options_existing_name(options_existing(options)), options->reads_checked ? "checked" : "fast");
        put_flag(stream, "mhl", options->mhl);
        put_flag(stream, "list-control", options->list_control);
        put_flag(stream, "no-space-check", options->no_space_check);
        put_flag(stream, "read-only", options->read_only);
        put_flag(stream, "allow-other", options->allow_other);
}

static int put_all(FILE *stream, const struct options *options)
{
        int r = put_text(stream, "source", options->source, "none");

        if (r == 0 && options->mountpoint)
                r = put_text(stream, "mountpoint", options->mountpoint, "");
        if (r == 0)
                r = put_list(stream, "target", &options->targets);
        if (r < 0)
                return r;
        put_settings(stream, options);
        r = put_text(stream, "state", options->state_dir, "auto");
        if (r == 0)
                r = put_text(stream, "log", options->log_file, "none");
        if (r == 0)
                r = put_list(stream, "exclude", &options->exclude);
        if (r == 0 && options->fsname)
                r = put_text(stream, "fsname", options->fsname, "");
        if (r == 0 && options->subtype)
                r = put_text(stream, "subtype", options->subtype, "");
        if (r == 0)
                r = put_list(stream, "fuse-option", &options->fuse_options);
        return r;
}

int options_config_text(const struct options *options, char **ret_text)
{
        cleanup(pointer_free) char *text = NULL; /* freed after the stream is closed: declared before it */
        cleanup(stream_close) FILE *stream = NULL;
        size_t size = 0;
        int r;

        stream = open_memstream(&text, &size);
        if (!stream)
                return -ENOMEM;
        r = put_all(stream, options);
        if (r < 0)
                return r;
        if (ferror(stream))
                return -ENOMEM;
        if (fclose(pointer_steal(&stream)) != 0)
                return -ENOMEM;
        *ret_text = pointer_steal(&text);
        return 0;
}

#define USAGE_COMMON                                                                                                       \
        "  -m, --mode MODE         transfer: compare sizes; source: read the source a second time;\n"                      \
        "                          full: read source and every target back from the medium (full)\n"                       \
        "      --hash ALGO[,ALGO]  digests: xxh64, xxh3, xxh128, md5, sha1, sha256, c4 (xxh64);\n"                         \
        "                          --hash-algorithm is the same\n"                                                         \
        "      --existing WHAT     for a file that a target has already: skip if size and time are equal,\n"               \
        "                          verify, or replace if it differs (transfer: skip; else verify)\n"                       \
        "      --chunk-size SIZE   unit of the completion map, a power of two, 1M to 64M (8M)\n"                           \
        "      --state DIR         where the state lies (found by the source, under $XDG_STATE_HOME/cvv;\n"                \
        "                          for root under /var/lib/cvv)\n"                                                         \
        "      --jobs N            concurrent copies, 1 to 64, or auto (auto)\n"                                           \
        "      --limit RATE        bytes per second of background work, or none (none)\n"                                  \
        "      --memory SIZE       ceiling for buffers, at least 16M (256M)\n"                                             \
        "      --min-targets N     a write succeeds while at least N targets take it (1)\n"                                \
        "      --exclude PATTERN   leave out what matches, gitignore syntax; any number of times (nothing)\n"              \
        "      --mhl               seal an ASC MHL generation on each complete target (off)\n"                             \
        "      --log FILE          log into FILE, too (journal or syslog)\n"

#define USAGE_END                                                                                                          \
        "  -h, --help              this text\n"                                                                            \
        "  -V, --version           the version\n"                                                                          \
        "\n"                                                                                                               \
        "SIZE and RATE take K, M, G, T (powers of 1024).\n"

const char *options_usage_mount(void)
{
        return "usage: cvv mount [options] -t TARGET [-t TARGET]... SOURCE MOUNTPOINT\n"
               "\n"
               "Shows the finished copy of SOURCE at MOUNTPOINT at once, and makes it true on every target.\n"
               "'none' as SOURCE: a pure mirror for what is written into the mount.\n"
               "\n"
               "  -t, --target DIR        a target; once or more\n" USAGE_COMMON
               "      --fill WHAT         what a read starts: file, the rest of that file; chunk, nothing more;\n"
               "                          all: everything is queued from the start (file)\n"
               "      --reads HOW         finished files: fast, by kernel passthrough, or checked, by hash (fast)\n"
               "      --list-control      list .cvv in the root of the mount (off)\n"
               "      --no-space-check    no complaint about targets that are too small (off)\n"
               "  -f, --foreground        do not become a daemon (off)\n"
               "  -o OPT[,OPT]            options of FUSE: allow_other, ro, suid, dev, ...; each long option above\n"
               "                          by its name, too; '\\,' is a comma\n"
               "  -v, --verbose           say more in the log (off)\n" USAGE_END;
}

const char *options_usage_copy(void)
{
        return "usage: cvv copy [options] SOURCE TARGET...\n"
               "\n"
               "Copies SOURCE to every TARGET, verifies, reports. Needs no FUSE; may be interrupted and run again.\n"
               "A file as SOURCE goes into a TARGET that is a directory; any other TARGET is its new name.\n"
               "\n" USAGE_COMMON "      --no-space-check    start also if a target is too small (off)\n"
               "      --json              print the final status.json instead of the report (off)\n"
               "  -v, --verbose           name each file with its digests, say more in the log (off)\n" USAGE_END;
}
