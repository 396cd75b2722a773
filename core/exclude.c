#include "core/exclude.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"

enum state_kind {
        STATE_BYTE,        /* this byte */
        STATE_ANY,         /* any byte but '/' */
        STATE_CLASS,       /* a byte of the class */
        STATE_STAR,        /* any number of bytes, no '/' among them */
        STATE_SPAN,        /* any number of bytes */
        STATE_DIRECTORIES, /* any number of whole directories with their slashes: nothing, or STATE_INSIDE */
        STATE_INSIDE,      /* stands behind STATE_DIRECTORIES: inside of such a directory; left with a '/' */
};

struct state {
        uint8_t kind;
        uint8_t byte;   /* STATE_BYTE */
        uint16_t index; /* STATE_CLASS: into classes */
};

struct byte_class {
        uint64_t bits[4];
};

struct pattern {
        struct state *states;
        size_t count;
        struct byte_class *classes;
        size_t class_count;
        bool negated; /* a match says: not excluded */
        bool directory_only;
        bool basename; /* compared with the last component */
        bool never;    /* malformed or empty: matches nothing */
};

struct exclude {
        size_t count;
        struct pattern patterns[];
};

/* A set of states: where in the pattern the path can stand. One more bit than states: the end, that is a match. A pattern
 * compiles to no more states than it has bytes. */
enum { SET_WORDS = (EXCLUDE_PATTERN_BYTES_MAX + 1 + 63) / 64 };

struct set {
        uint64_t words[SET_WORDS];
};

/* Compiling */

struct cursor {
        const char *text;
        size_t at, end;
};

static int cursor_peek(const struct cursor *cursor, size_t ahead)
{
        return cursor->end - cursor->at > ahead ? (unsigned char)cursor->text[cursor->at + ahead] : -1;
}

static void class_add(struct byte_class *set, int first, int last)
{
        for (int byte = first; byte <= last; byte++)
                set->bits[byte / 64] |= UINT64_C(1) << (byte % 64);
}

static bool class_has(const struct byte_class *set, unsigned char byte)
{
        return set->bits[byte / 64] >> (byte % 64) & 1;
}

/* The classes of the C locale, whatever locale the process runs in. */
static bool named_class_has(const char *name, size_t length, int byte)
{
        bool upper = byte >= 'A' && byte <= 'Z', lower = byte >= 'a' && byte <= 'z', digit = byte >= '0' && byte <= '9';
        bool graph = byte > ' ' && byte < 0x7f;
        const struct {
                const char *name;
                bool has;
        } classes[] = {
            {"alnum", upper || lower || digit},
            {"alpha", upper || lower},
            {"blank", byte == ' ' || byte == '\t'},
            {"cntrl", byte < ' ' || byte == 0x7f},
            {"digit", digit},
            {"graph", graph},
            {"lower", lower},
            {"print", graph || byte == ' '},
            {"punct", graph && !upper && !lower && !digit},
            {"space", byte == ' ' || (byte >= '\t' && byte <= '\r')},
            {"upper", upper},
            {"xdigit", digit || (byte >= 'A' && byte <= 'F') || (byte >= 'a' && byte <= 'f')},
        };

        for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
                if (strlen(classes[i].name) == length && memcmp(classes[i].name, name, length) == 0)
                        return classes[i].has;
        return false;
}

static bool class_add_named(struct byte_class *set, const char *name, size_t length)
{
        bool any = false;

        for (int byte = 0; byte < 256; byte++) {
                if (!named_class_has(name, length, byte))
                        continue;
                class_add(set, byte, byte);
                any = true;
        }
        return any;
}

/* `[:name:]` at the cursor, which stands on its first '['. 1: taken; 0: an ordinary '['; -EINVAL: no such class. */
static int parse_named(struct cursor *cursor, struct byte_class *set)
{
        const char *name = cursor->text + cursor->at + 2;
        const char *close;

        if (cursor_peek(cursor, 1) != ':')
                return 0;
        close = memchr(name, ']', cursor->end - cursor->at - 2);
        if (!close)
                return -EINVAL;
        if (close == name || close[-1] != ':')
                return 0;
        if (!class_add_named(set, name, (size_t)(close - name) - 1))
                return -EINVAL;
        cursor->at = (size_t)(close - cursor->text) + 1;
        return 1;
}

/* One byte of a class, escaped or not; the cursor moves behind it. -EINVAL at the end of the pattern. */
static int parse_class_byte(struct cursor *cursor)
{
        int byte;

        if (cursor_peek(cursor, 0) == '\\')
                cursor->at++;
        byte = cursor_peek(cursor, 0);
        if (byte < 0)
                return -EINVAL;
        cursor->at++;
        return byte;
}

/* A byte, a range or a named class; *previous is the byte that a range could begin with, or 0. */
static int parse_class_item(struct cursor *cursor, struct byte_class *set, int *previous)
{
        int byte = cursor_peek(cursor, 0), r;

        if (byte == '-' && *previous > 0 && cursor_peek(cursor, 1) >= 0 && cursor_peek(cursor, 1) != ']') {
                cursor->at++;
                byte = parse_class_byte(cursor);
                if (byte < 0)
                        return byte;
                class_add(set, *previous, byte);
                *previous = 0;
                return 0;
        }
        if (byte == '[') {
                r = parse_named(cursor, set);
                if (r != 0) {
                        *previous = 0;
                        return r < 0 ? r : 0;
                }
        }
        byte = parse_class_byte(cursor);
        if (byte < 0)
                return byte;
        class_add(set, byte, byte);
        *previous = byte;
        return 0;
}

/* A class from behind its '[' to behind its ']'. A ']' that comes first is a member. 0 or -EINVAL. */
static int parse_class(struct cursor *cursor, struct byte_class *ret_class)
{
        struct byte_class set = {0};
        bool negated = cursor_peek(cursor, 0) == '!' || cursor_peek(cursor, 0) == '^';
        int previous = 0;

        if (negated)
                cursor->at++;
        do {
                int r = parse_class_item(cursor, &set, &previous);
                if (r < 0)
                        return r;
        } while (cursor_peek(cursor, 0) != ']');
        cursor->at++;
        for (size_t i = 0; negated && i < 4; i++)
                set.bits[i] = ~set.bits[i];
        set.bits['/' / 64] &= ~(UINT64_C(1) << ('/' % 64));
        *ret_class = set;
        return 0;
}

static void pattern_add(struct pattern *pattern, enum state_kind kind, int byte)
{
        pattern->states[pattern->count++] = (struct state){.kind = (uint8_t)kind, .byte = (uint8_t)byte};
}

/* The stars at the cursor. Two or more that fill a component span directories, unless the pattern has no slash at all. */
static void compile_stars(struct pattern *pattern, struct cursor *cursor, size_t begin)
{
        size_t first = cursor->at;
        bool component;

        while (cursor_peek(cursor, 0) == '*')
                cursor->at++;
        component = cursor->at - first > 1 && (first == begin || cursor->text[first - 1] == '/');
        if (component && cursor_peek(cursor, 0) == '/') {
                cursor->at++;
                pattern_add(pattern, STATE_DIRECTORIES, 0);
                pattern_add(pattern, STATE_INSIDE, 0);
        } else if (component && cursor_peek(cursor, 0) < 0) {
                pattern_add(pattern, STATE_SPAN, 0);
        } else {
                pattern_add(pattern, STATE_STAR, 0);
        }
}

/* The next piece of the pattern. `begin` is where the pattern begins. 0 or -EINVAL. */
static int compile_next(struct pattern *pattern, struct cursor *cursor, size_t begin)
{
        int byte = cursor_peek(cursor, 0), r;

        switch (byte) {
        case '*':
                compile_stars(pattern, cursor, begin);
                return 0;
        case '?':
                cursor->at++;
                pattern_add(pattern, STATE_ANY, 0);
                return 0;
        case '[':
                cursor->at++;
                r = parse_class(cursor, &pattern->classes[pattern->class_count]);
                if (r < 0)
                        return r;
                pattern_add(pattern, STATE_CLASS, 0);
                pattern->states[pattern->count - 1].index = (uint16_t)pattern->class_count++;
                return 0;
        default:
                byte = parse_class_byte(cursor); /* the same escapes */
                if (byte < 0)
                        return byte;
                pattern_add(pattern, STATE_BYTE, byte);
                return 0;
        }
}

/* The length of `text` without the spaces at its end that no backslash protects. */
static size_t trimmed_length(const char *text)
{
        size_t length = 0, i = 0;

        while (text[i]) {
                bool space = text[i] == ' ';
                i += text[i] == '\\' && text[i + 1] ? 2 : 1;
                if (!space)
                        length = i;
        }
        return length;
}

static int pattern_init(struct pattern *pattern, const char *text)
{
        struct cursor cursor = {.text = text, .end = trimmed_length(text)};
        size_t begin, classes = 0;

        pattern->negated = cursor_peek(&cursor, 0) == '!';
        cursor.at += pattern->negated;
        pattern->directory_only = cursor.end > cursor.at && text[cursor.end - 1] == '/';
        cursor.end -= pattern->directory_only;
        pattern->basename = !memchr(text + cursor.at, '/', cursor.end - cursor.at);
        cursor.at += cursor_peek(&cursor, 0) == '/';
        pattern->never = cursor.at == cursor.end;
        if (pattern->never)
                return 0;

        for (begin = cursor.at; cursor.at < cursor.end; cursor.at++)
                classes += text[cursor.at] == '[';
        cursor.at = begin;
        pattern->states = calloc(cursor.end - begin, sizeof(*pattern->states));
        pattern->classes = calloc(classes + 1, sizeof(*pattern->classes));
        if (!pattern->states || !pattern->classes)
                return -ENOMEM;
        while (cursor.at < cursor.end && !pattern->never)
                pattern->never = compile_next(pattern, &cursor, begin) < 0;
        return 0;
}

int exclude_new(char *const *patterns, size_t count, struct exclude **ret_exclude)
{
        cleanup(exclude_release) struct exclude *exclude = NULL;

        if (count > (SIZE_MAX - sizeof(*exclude)) / sizeof(exclude->patterns[0]))
                return -ENOMEM;
        exclude = calloc(1, sizeof(*exclude) + count * sizeof(exclude->patterns[0]));
        if (!exclude)
                return -ENOMEM;
        exclude->count = count;
        for (size_t i = 0; i < count; i++) {
                int r;

                if (strlen(patterns[i]) > EXCLUDE_PATTERN_BYTES_MAX)
                        return -EINVAL;
                r = pattern_init(&exclude->patterns[i], patterns[i]);
                if (r < 0)
                        return r;
        }
        *ret_exclude = pointer_steal(&exclude);
        return 0;
}

struct exclude *exclude_free(struct exclude *exclude)
{
        if (!exclude)
                return NULL;
        for (size_t i = 0; i < exclude->count; i++) {
                free(exclude->patterns[i].states);
                free(exclude->patterns[i].classes);
        }
        free(exclude);
        return NULL;
}

/* Matching */

/* Adds `state` and all that can be reached from it without a byte. */
static void set_add(struct set *set, const struct pattern *pattern, size_t state)
{
        for (;;) {
                uint64_t bit = UINT64_C(1) << (state % 64);

                if (set->words[state / 64] & bit)
                        return; /* and so is what can be reached from it */
                set->words[state / 64] |= bit;
                if (state == pattern->count)
                        return;
                switch (pattern->states[state].kind) {
                case STATE_STAR:
                case STATE_SPAN:
                        state++;
                        break;
                case STATE_DIRECTORIES:
                        set_add(set, pattern, state + 1); /* STATE_INSIDE, from where it goes no further: depth 1 */
                        state += 2;
                        break;
                default:
                        return;
                }
        }
}

/* Adds to `next` where `byte` leads from `state`. */
static void set_step(struct set *next, const struct pattern *pattern, size_t state, unsigned char byte)
{
        const struct state *from = &pattern->states[state];

        switch (from->kind) {
        case STATE_BYTE:
                if (byte == from->byte)
                        set_add(next, pattern, state + 1);
                break;
        case STATE_ANY:
                if (byte != '/')
                        set_add(next, pattern, state + 1);
                break;
        case STATE_CLASS:
                if (class_has(&pattern->classes[from->index], byte))
                        set_add(next, pattern, state + 1);
                break;
        case STATE_STAR:
                if (byte != '/')
                        set_add(next, pattern, state);
                break;
        case STATE_SPAN:
                set_add(next, pattern, state);
                break;
        case STATE_INSIDE:
                set_add(next, pattern, state);
                if (byte == '/')
                        set_add(next, pattern, state + 1);
                break;
        default: /* STATE_DIRECTORIES: set_add() has gone on from it */
                break;
        }
}

static bool pattern_match(const struct pattern *pattern, const char *text)
{
        struct set sets[2];
        size_t words = pattern->count / 64 + 1;
        struct set *here = &sets[0], *next = &sets[1];

        memset(here->words, 0, words * sizeof(here->words[0]));
        set_add(here, pattern, 0);
        for (; *text; text++) {
                uint64_t any = 0;

                memset(next->words, 0, words * sizeof(next->words[0]));
                for (size_t i = 0; i < words; i++) {
                        for (uint64_t bits = here->words[i]; bits; bits &= bits - 1) {
                                size_t state = i * 64 + (size_t)__builtin_ctzll(bits);
                                if (state < pattern->count)
                                        set_step(next, pattern, state, (unsigned char)*text);
                        }
                }
                for (size_t i = 0; i < words; i++)
                        any |= next->words[i];
                if (!any)
                        return false;
                struct set *swap = here;
                here = next;
                next = swap;
        }
        return here->words[pattern->count / 64] >> (pattern->count % 64) & 1;
}

bool exclude_match(const struct exclude *exclude, const char *path, bool is_directory)
{
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;

        for (size_t i = exclude && *path ? exclude->count : 0; i > 0; i--) {
                const struct pattern *pattern = &exclude->patterns[i - 1];

                if (pattern->never || (pattern->directory_only && !is_directory))
                        continue;
                if (pattern_match(pattern, pattern->basename ? name : path))
                        return !pattern->negated;
        }
        return false;
}
