#include "core/report_text.h"

#include "core/cleanup.h"
#include "core/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        BAR_MAX = 20,
        BAR_MIN = 10,
        BAR_FRAME = 4,   /* brackets and the gap behind them */
        PATH_MIN = 12,   /* what a path keeps before the bar goes */
        COPIES_MAX = 10, /* lines */
};

#define COLOUR_RED "\033[31m"
#define COLOUR_GREEN "\033[32m"
#define COLOUR_YELLOW "\033[33m"
#define COLOUR_CYAN "\033[36m"
#define COLOUR_OFF "\033[0m"

/* Where a report is written. Errors of the stream (memory) show when it is finished; each fprintf below relies on that. */
struct sheet {
        FILE *stream;
        bool colour;
        unsigned columns; /* 0: no limit */
};

static void stream_close(FILE **stream)
{
        if (*stream)
                (void)fclose(*stream); /* an early return: the text is thrown away */
}

/* ---- sizes and times ---- */

void report_size(uint64_t bytes, char ret[static REPORT_SIZE_BYTES])
{
        static const char units[] = "KMGTPE";
        unsigned unit = 0;
        uint64_t tenths = 0;

        if (bytes < 1024) {
                (void)snprintf(ret, REPORT_SIZE_BYTES, "%" PRIu64 " B", bytes); /* fits, as below */
                return;
        }
        for (;; unit++) {
                unsigned shift = 10 * (unit + 1);
                uint64_t rest = bytes & ((UINT64_C(1) << shift) - 1);

                tenths = (bytes >> shift) * 10 + ((rest * 10 + (UINT64_C(1) << (shift - 1))) >> shift);
                if (tenths < 10240 || unit == sizeof(units) - 2)
                        break; /* else: 1024 of this unit, perhaps by rounding only */
        }
        (void)snprintf(ret, REPORT_SIZE_BYTES, "%u.%u %ciB", (unsigned)(tenths / 10), (unsigned)(tenths % 10), units[unit]);
}

void report_duration(int64_t seconds, char ret[static REPORT_DURATION_BYTES])
{
        int64_t minutes = seconds / 60, hours = minutes / 60;

        /* All fit. */
        if (seconds < 0)
                (void)snprintf(ret, REPORT_DURATION_BYTES, "unknown");
        else if (minutes == 0)
                (void)snprintf(ret, REPORT_DURATION_BYTES, "%" PRId64 " s", seconds);
        else if (hours == 0)
                (void)snprintf(ret, REPORT_DURATION_BYTES, "%" PRId64 " min %02" PRId64 " s", minutes, seconds % 60);
        else if (hours < 24)
                (void)snprintf(ret, REPORT_DURATION_BYTES, "%" PRId64 " h %02" PRId64 " min", hours, minutes % 60);
        else
                (void)snprintf(ret, REPORT_DURATION_BYTES, "%" PRId64 " d %" PRId64 " h", hours / 24, hours % 24);
}

struct size_text {
        char text[REPORT_SIZE_BYTES];
};

struct duration_text {
        char text[REPORT_DURATION_BYTES];
};

static struct size_text size_of(uint64_t bytes)
{
        struct size_text size;

        report_size(bytes, size.text);
        return size;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static unsigned widest(unsigned a, size_t b)
{
        return b > a ? (unsigned)b : a;
}

static const char *plural(uint64_t count)
{
        return count == 1 ? "" : "s";
}

/* ---- names ---- */

static char *escaped_of(const char *text)
{
        size_t size = strlen(text) * 4 + 5; /* \xNN for each byte, and what error_escape keeps free */
        char *escaped = malloc(size);

        if (escaped)
                error_escape(text, escaped, size);
        return escaped;
}

static bool starts_character(char byte)
{
        return ((unsigned char)byte & 0xc0) != 0x80;
}

static size_t characters_of(const char *text)
{
        size_t count = 0;

        for (; *text; text++)
                count += starts_character(*text);
        return count;
}

/* Writes a name, escaped; where it is wider than `room` (0: no limit) its end, which tells names apart. 0 or -ENOMEM. */
static int put_name(const struct sheet *sheet, const char *name, size_t room)
{
        cleanup(pointer_free) char *escaped = escaped_of(name);
        const char *end = escaped;
        size_t count;

        if (!escaped)
                return -ENOMEM;
        count = characters_of(escaped);
        if (room == 0 || count <= room || room < 4) {
                (void)fputs(escaped, sheet->stream);
                return 0;
        }
        for (size_t drop = count - (room - 3); drop > 0; end++)
                drop -= starts_character(end[1]);
        (void)fprintf(sheet->stream, "...%s", end);
        return 0;
}

/* ---- finishing ---- */

/* Cuts each line to `columns` characters, in place; the escape sequences, which are only ours, stay. */
static void clip_lines(char *text, unsigned columns)
{
        char *out = text;
        size_t column = 0;

        for (const char *in = text; *in; in++) {
                if (*in == '\033') {
                        while (*in != 'm')
                                *out++ = *in++;
                        *out++ = 'm';
                        continue;
                }
                if (*in == '\n')
                        column = 0;
                else if (starts_character(*in))
                        column++;
                if (column <= columns)
                        *out++ = *in;
        }
        *out = '\0';
}

/* Writes a text with `put` and hands it over. */
static int build(int (*put)(const struct sheet *sheet, const struct status *status), const struct status *status,
                 bool colour, unsigned columns, char **ret)
{
        cleanup(pointer_free) char *text = NULL; /* freed after the stream is closed: declared before it */
        cleanup(stream_close) FILE *stream = NULL;
        struct sheet sheet = {.colour = colour, .columns = columns};
        size_t size = 0;

        stream = open_memstream(&text, &size);
        if (!stream)
                return -ENOMEM;
        sheet.stream = stream;
        if (put(&sheet, status) < 0 || ferror(stream) || fclose(pointer_steal(&stream)) != 0)
                return -ENOMEM;
        if (columns > 0)
                clip_lines(text, columns);
        *ret = pointer_steal(&text);
        return 0;
}

/* `word` in a colour (NULL: none), padded to `width` characters. */
static void put_word(const struct sheet *sheet, const char *colour, const char *word, unsigned width)
{
        bool coloured = sheet->colour && colour;

        (void)fprintf(sheet->stream, "%s%-*s%s", coloured ? colour : "", (int)width, word, coloured ? COLOUR_OFF : "");
}

static const char *state_colour(enum mirror_state state)
{
        switch (state) {
        case MIRROR_COMPLETE:
                return COLOUR_GREEN;
        case MIRROR_FILLING:
        case MIRROR_VERIFYING:
                return COLOUR_CYAN;
        case MIRROR_PAUSED:
                return COLOUR_YELLOW;
        case MIRROR_FAILED:
        case MIRROR_DEGRADED:
                return COLOUR_RED;
        case MIRROR_IDLE:
                break;
        }
        return NULL;
}

static const char *target_colour(enum target_state state)
{
        switch (state) {
        case TARGET_ONLINE:
                return COLOUR_GREEN;
        case TARGET_BEHIND:
        case TARGET_FULL:
                return COLOUR_YELLOW;
        case TARGET_FAILED:
        case TARGET_OFFLINE:
                break;
        }
        return COLOUR_RED;
}

/* ---- the first line ---- */

/* Bytes that are done: whole files that are everywhere, or the mean of what lies on the targets where that is more, so that
 * the number also moves while one huge file is copied. */
static uint64_t done_bytes(const struct status *status)
{
        uint64_t whole = sum(status->bytes[CATEGORY_COPIED], status->bytes[CATEGORY_SKIPPED]);
        uint64_t present = 0;

        for (size_t i = 0; i < status->target_count; i++)
                present = sum(present, status->targets[i].present_bytes);
        if (status->target_count > 0 && present / status->target_count > whole)
                whole = present / status->target_count;
        return whole < status->bytes_total ? whole : status->bytes_total;
}

static void put_figures(const struct sheet *sheet, const struct status *status)
{
        bool busy = status->state == MIRROR_FILLING || status->state == MIRROR_VERIFYING;

        (void)fprintf(sheet->stream, "%d.%d%%  %s of %s  %" PRIu64 " of %" PRIu64 " file%s", status->progress_tenths / 10,
                      status->progress_tenths % 10, size_of(done_bytes(status)).text, size_of(status->bytes_total).text,
                      sum(status->files[CATEGORY_COPIED], status->files[CATEGORY_SKIPPED]), status->files_total,
                      plural(status->files_total));
        if (!status->scan_complete)
                (void)fputs(" found so far", sheet->stream);
        if (busy || status->rate_bytes_per_s > 0)
                (void)fprintf(sheet->stream, "  %s/s", size_of(status->rate_bytes_per_s).text);
        if (status->eta_s > 0) {
                char left[REPORT_DURATION_BYTES];

                report_duration(status->eta_s, left);
                (void)fprintf(sheet->stream, "  %s left", left);
        } else if (busy && status->eta_s < 0) {
                (void)fputs("  time left unknown", sheet->stream);
        }
}

static void put_head(const struct sheet *sheet, const struct status *status)
{
        put_word(sheet, state_colour(status->state), status_state_name(status->state), 0);
        (void)fputs("  ", sheet->stream);
        put_figures(sheet, status);
        (void)fputc('\n', sheet->stream);
}

/* ---- targets ---- */

/* Widths of the columns of the table of targets. */
struct widths {
        unsigned n, state, rate, left, owed, free; /* of the last four 0: left out */
        unsigned bar;  /* 0: no room for one */
        unsigned room; /* for the path; 0: no limit */
};

static struct size_text free_of(const struct status_target *target)
{
        if (target->free_bytes < 0)
                return (struct size_text){"unknown"};
        return size_of((uint64_t)target->free_bytes);
}

/* How long the target still takes, where that can be told: "" where not. */
static struct duration_text left_of(const struct status *status, const struct status_target *target)
{
        struct duration_text left = {""};
        int64_t eta_s = progress_eta_s(target->owed_bytes, target->rate_bytes_per_s);

        if (status->scan_complete && eta_s > 0)
                report_duration(eta_s, left.text);
        return left;
}

static struct size_text rate_of(const struct status_target *target)
{
        return size_of(target->rate_bytes_per_s);
}

static unsigned digits_of(uint32_t n)
{
        unsigned digits = 1;

        for (; n >= 10; n /= 10)
                digits++;
        return digits;
}

static unsigned used_by(const struct widths *widths)
{
        return widths->n + 2 + 6 + 2 + widths->state + (widths->rate > 0 ? widths->rate + 4 : 0) +
               (widths->left > 0 ? widths->left + 7 : 0) + (widths->owed > 0 ? 2 + 5 + widths->owed : 0) +
               (widths->free > 0 ? 2 + 5 + widths->free : 0) + 2;
}

/* Where it is narrow, what flows goes before what stands. Returns what the figures take. */
static unsigned fit_figures(struct widths *widths, unsigned columns)
{
        unsigned rest = BAR_MIN + BAR_FRAME + PATH_MIN;

        if (widths->rate > 0 && used_by(widths) + rest > columns)
                widths->free = 0;
        if (widths->rate > 0 && used_by(widths) + rest > columns)
                widths->owed = 0;
        return used_by(widths);
}

static struct widths widths_of(const struct sheet *sheet, const struct status *status)
{
        struct widths widths = {.bar = BAR_MAX};
        unsigned longest = PATH_MIN, used;

        for (size_t i = 0; i < status->target_count; i++) {
                const struct status_target *target = &status->targets[i];

                widths.n = widest(widths.n, digits_of(target->n));
                widths.state = widest(widths.state, strlen(status_target_state_name(target->state)));
                widths.owed = widest(widths.owed, strlen(size_of(target->owed_bytes).text));
                widths.free = widest(widths.free, strlen(free_of(target).text));
                longest = widest(longest, characters_of(target->path));
                if (target->rate_bytes_per_s > 0 && target->owed_bytes > 0) {
                        widths.rate = widest(widths.rate, strlen(rate_of(target).text));
                        widths.left = widest(widths.left, strlen(left_of(status, target).text));
                }
        }
        if (sheet->columns == 0)
                return widths;
        used = fit_figures(&widths, sheet->columns);
        while (widths.bar > BAR_MIN && used + widths.bar + BAR_FRAME + longest > sheet->columns)
                widths.bar--;
        if (used + widths.bar + BAR_FRAME + PATH_MIN > sheet->columns)
                widths.bar = 0;
        used += widths.bar > 0 ? widths.bar + BAR_FRAME : 0;
        widths.room = sheet->columns > used ? sheet->columns - used : 1;
        return widths;
}

/* As `progress`: in mode full what was written and what was read back count half each. */
static int target_tenths(const struct status *status, const struct status_target *target)
{
        uint64_t total = sum(target->present_bytes, target->owed_bytes), done = target->present_bytes;
        uint64_t verified = target->verified_bytes < done ? target->verified_bytes : done;

        if (status->mode == MODE_FULL)
                done = verified + (done - verified) / 2;
        return progress_tenths(done, total, status->scan_complete && target->owed_bytes == 0);
}

static void put_bar(const struct sheet *sheet, int tenths, unsigned width)
{
        unsigned full = width * (unsigned)tenths / 1000;

        (void)fprintf(sheet->stream, "[%s", sheet->colour ? COLOUR_GREEN : "");
        for (unsigned i = 0; i < width; i++) {
                if (i == full && sheet->colour)
                        (void)fputs(COLOUR_OFF, sheet->stream);
                (void)fputc(i < full ? '#' : '-', sheet->stream);
        }
        (void)fprintf(sheet->stream, "%s]  ", full == width && sheet->colour ? COLOUR_OFF : "");
}

static int put_target_errors(const struct sheet *sheet, const struct status_target *target, unsigned indent)
{
        cleanup(pointer_free) char *escaped = NULL;

        if (target->errors == 0 && !target->last_error)
                return 0;
        if (target->last_error) {
                escaped = escaped_of(target->last_error);
                if (!escaped)
                        return -ENOMEM;
        }
        (void)fprintf(sheet->stream, "%*s%s", (int)indent, "", sheet->colour ? COLOUR_RED : "");
        if (target->errors > 0)
                (void)fprintf(sheet->stream, "%" PRIu64 " error%s%s", target->errors, plural(target->errors),
                              escaped ? ", last: " : "");
        (void)fprintf(sheet->stream, "%s%s\n", escaped ? escaped : "", sheet->colour ? COLOUR_OFF : "");
        return 0;
}

/* What flows to the target, and for how long yet; blank where nothing does beside others. */
static void put_flow(const struct sheet *sheet, const struct status *status, const struct status_target *target,
                     const struct widths *widths)
{
        bool flows = target->rate_bytes_per_s > 0 && target->owed_bytes > 0;
        struct duration_text left = left_of(status, target);

        if (widths->rate > 0)
                (void)fprintf(sheet->stream, "  %*s%s", (int)widths->rate, flows ? rate_of(target).text : "", flows ? "/s" : "  ");
        if (widths->left > 0)
                (void)fprintf(sheet->stream, "  %*s%s", (int)widths->left, flows ? left.text : "",
                              flows && left.text[0] ? " left" : "     ");
}

static int put_target(const struct sheet *sheet, const struct status *status, const struct status_target *target,
                      const struct widths *widths)
{
        int tenths = target_tenths(status, target);
        int r;

        (void)fprintf(sheet->stream, "%*" PRIu32 "  ", (int)widths->n, target->n);
        if (widths->bar > 0)
                put_bar(sheet, tenths, widths->bar);
        (void)fprintf(sheet->stream, "%3d.%d%%  ", tenths / 10, tenths % 10);
        put_word(sheet, target_colour(target->state), status_target_state_name(target->state), widths->state);
        put_flow(sheet, status, target, widths);
        if (widths->owed > 0)
                (void)fprintf(sheet->stream, "  owed %*s", (int)widths->owed, size_of(target->owed_bytes).text);
        if (widths->free > 0)
                (void)fprintf(sheet->stream, "  free %*s", (int)widths->free, free_of(target).text);
        (void)fputs("  ", sheet->stream);
        r = put_name(sheet, target->path, widths->room);
        (void)fputc('\n', sheet->stream);
        return r < 0 ? r : put_target_errors(sheet, target, widths->n + 2);
}

static int put_targets(const struct sheet *sheet, const struct status *status)
{
        struct widths widths = widths_of(sheet, status);
        int r = 0;

        if (status->target_count > 0)
                (void)fputc('\n', sheet->stream);
        for (size_t i = 0; r == 0 && i < status->target_count; i++)
                r = put_target(sheet, status, &status->targets[i], &widths);
        return r;
}

/* ---- counts and copies ---- */

static void put_count(const struct sheet *sheet, const char *colour, const char *name, uint64_t files, uint64_t bytes)
{
        if (files == 0)
                return;
        put_word(sheet, colour, name, 8);
        (void)fprintf(sheet->stream, "  %" PRIu64 " file%s (%s)\n", files, plural(files), size_of(bytes).text);
}

static bool has_counts(const struct status *status)
{
        uint64_t shown = status->owed_bytes | status->files_verified | status->copy_count;

        for (enum category category = CATEGORY_SKIPPED; category < CATEGORY_COUNT; category++)
                shown |= status->files[category];
        return shown > 0;
}

static void put_counts(const struct sheet *sheet, const struct status *status)
{
        if (has_counts(status))
                (void)fputc('\n', sheet->stream);
        if (status->owed_bytes > 0) {
                (void)fprintf(sheet->stream, "owed      %s, ", size_of(status->owed_bytes).text);
                if (status->queued_bytes == 0)
                        (void)fputs("none of it queued\n", sheet->stream);
                else if (status->queued_bytes >= status->owed_bytes)
                        (void)fputs("all of it queued\n", sheet->stream);
                else
                        (void)fprintf(sheet->stream, "%s of it queued\n", size_of(status->queued_bytes).text);
        }
        put_count(sheet, NULL, "verified", status->files_verified, status->bytes_verified);
        for (enum category category = CATEGORY_SKIPPED; category < CATEGORY_COUNT; category++) {
                bool harmless = category == CATEGORY_SKIPPED || category == CATEGORY_EXCLUDED;

                put_count(sheet, harmless ? NULL : COLOUR_RED, category_name(category), status->files[category],
                          status->bytes[category]);
        }
}

static int put_copy(const struct sheet *sheet, const struct status_copy *copy)
{
        enum { USED = 44 }; /* characters in front of the name */
        int tenths = progress_tenths(copy->done_bytes, copy->size_bytes, true);
        int r;

        (void)fprintf(sheet->stream, "copying:  %3d.%d%%  %10s of %10s  ", tenths / 10, tenths % 10,
                      size_of(copy->done_bytes).text, size_of(copy->size_bytes).text);
        r = put_name(sheet, copy->path, sheet->columns > USED ? sheet->columns - USED : 0);
        (void)fputc('\n', sheet->stream);
        return r;
}

static int put_copies(const struct sheet *sheet, const struct status *status)
{
        size_t shown = status->copy_count > COPIES_MAX ? COPIES_MAX - 1 : status->copy_count;

        for (size_t i = 0; i < shown; i++) {
                int r = put_copy(sheet, &status->copies[i]);

                if (r < 0)
                        return r;
        }
        if (shown < status->copy_count)
                (void)fprintf(sheet->stream, "copying:  %zu more files\n", status->copy_count - shown);
        return 0;
}

static int put_status(const struct sheet *sheet, const struct status *status)
{
        int r;

        put_head(sheet, status);
        r = put_targets(sheet, status);
        if (r < 0)
                return r;
        put_counts(sheet, status);
        return put_copies(sheet, status);
}

int report_status_text(const struct status *status, bool colour, unsigned columns, char **ret)
{
        return build(put_status, status, colour, columns, ret);
}

/* ---- the one-liners ---- */

static int put_progress(const struct sheet *sheet, const struct status *status)
{
        (void)fprintf(sheet->stream, "%d.%d\n", status->progress_tenths / 10, status->progress_tenths % 10);
        return 0;
}

int report_progress_text(const struct status *status, char **ret)
{
        return build(put_progress, status, false, 0, ret);
}

static int put_line(const struct sheet *sheet, const struct status *status)
{
        put_figures(sheet, status);
        return 0;
}

int report_line_text(const struct status *status, char **ret)
{
        return build(put_line, status, false, 0, ret);
}

static int put_state(const struct sheet *sheet, const struct status *status)
{
        (void)fprintf(sheet->stream, "%s\n", status_state_name(status->state));
        return 0;
}

int report_state_text(const struct status *status, char **ret)
{
        return build(put_state, status, false, 0, ret);
}

/* "nothing is owed", "12 files (3.4 GiB) are still owed" or, where no file waits as a whole, "3.4 GiB are still owed". */
static void put_owed_sum(const struct sheet *sheet, const struct status *status)
{
        uint64_t files = status->files[CATEGORY_PENDING], owed_bytes = 0;
        struct size_text size;

        for (size_t i = 0; i < status->target_count; i++)
                owed_bytes = sum(owed_bytes, status->targets[i].owed_bytes);
        if (owed_bytes < status->owed_bytes)
                owed_bytes = status->owed_bytes; /* the sums should agree; never say less than is owed */
        size = size_of(owed_bytes);
        if (files > 0)
                (void)fprintf(sheet->stream, "%" PRIu64 " file%s (%s) %s still owed", files, plural(files), size.text,
                              files == 1 ? "is" : "are");
        else if (owed_bytes > 0)
                (void)fprintf(sheet->stream, "%s are still owed", size.text);
        else
                (void)fputs("nothing is owed", sheet->stream);
}

static int put_owed(const struct sheet *sheet, const struct status *status)
{
        const enum category bad[] = {CATEGORY_FAILED, CATEGORY_MISSING, CATEGORY_CONFLICT};
        const char *before = ": ";

        put_owed_sum(sheet, status);
        for (size_t i = 0; i < status->target_count; i++) {
                const struct status_target *target = &status->targets[i];

                if (target->owed_bytes == 0)
                        continue;
                (void)fprintf(sheet->stream, "%starget %" PRIu32 " ", before, target->n);
                if (put_name(sheet, target->path, 0) < 0)
                        return -ENOMEM;
                (void)fprintf(sheet->stream, " %s", size_of(target->owed_bytes).text);
                before = ", ";
        }
        if (!status->scan_complete)
                (void)fputs("; the scan of the source is not finished", sheet->stream);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                if (status->files[bad[i]] > 0)
                        (void)fprintf(sheet->stream, "; %" PRIu64 " file%s %s", status->files[bad[i]],
                                      plural(status->files[bad[i]]),
                                      bad[i] == CATEGORY_FAILED    ? "failed"
                                      : bad[i] == CATEGORY_MISSING ? "missing"
                                                                   : "in conflict");
        return 0;
}

int report_owed_text(const struct status *status, char **ret)
{
        return build(put_owed, status, false, 0, ret);
}
