#include "core/stateid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/cleanup.h"

enum { CHECK_LINE_BYTES = 6 + 16 + 1 }; /* "check=", the digits, a newline */

bool stateid_is_writable(const char *identity)
{
        if (!identity || !*identity)
                return false;
        for (const char *c = identity; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        return false;
        return true;
}

static int append_target(struct stateid *id, uint32_t number, const char *identity)
{
        if (number == 0 || !stateid_is_writable(identity))
                return -EINVAL;
        struct stateid_target *grown = reallocarray(id->targets, id->target_count + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        id->targets = grown;
        char *copy = strdup(identity);
        if (!copy)
                return -ENOMEM;
        id->targets[id->target_count++] = (struct stateid_target){.number = number, .identity = copy};
        return 0;
}

static int set_source(struct stateid *id, const char *source)
{
        if (!stateid_is_writable(source))
                return -EINVAL;
        id->source = strdup(source);
        return id->source ? 0 : -ENOMEM;
}

void stateid_of_file(const char *directory, const char *name, char *ret_identity, size_t size)
{
        XXH64_hash_t hash = XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits(directory, strlen(directory)));
        char suffix[24];
        int suffix_size = snprintf(suffix, sizeof(suffix), "#%016" PRIx64, (uint64_t)hash);

        /* What is cut is in the hash. */
        (void)snprintf(ret_identity, size, "%.*s%s", (int)(size - 1 - (size_t)suffix_size), directory, suffix);
}

int stateid_set(struct stateid *id, const char *source, const struct stateid_target *targets, size_t target_count)
{
        cleanup(stateid_deinit) struct stateid made = {.version = STATEID_VERSION};
        int result = set_source(&made, source);

        for (size_t i = 0; result == 0 && i < target_count; i++)
                if (targets[i].identity && *targets[i].identity)
                        result = append_target(&made, targets[i].number, targets[i].identity);
        if (result < 0)
                return result;
        stateid_deinit(id);
        *id = made;
        made = (struct stateid){0};
        return 0;
}

/* A decimal number without sign or blanks that ends at `end`, 0 where it is none: no number in the file is 0. */
static uint32_t parse_number(const char *text, char end, const char **ret_rest)
{
        uint64_t value = 0;
        size_t digits = strspn(text, "0123456789");

        if (digits == 0 || digits > 10 || text[digits] != end)
                return 0;
        for (size_t i = 0; i < digits; i++)
                value = value * 10 + (uint64_t)(text[i] - '0');
        *ret_rest = text + digits;
        return value > UINT32_MAX ? 0 : (uint32_t)value;
}

static int parse_line(struct stateid *id, const char *line)
{
        const char *rest;

        if (strncmp(line, "source=", 7) == 0)
                return id->source ? -EINVAL : set_source(id, line + 7);
        if (strncmp(line, "target=", 7) == 0) {
                uint32_t number = parse_number(line + 7, ' ', &rest);
                return number ? append_target(id, number, rest + 1) : -EINVAL;
        }
        return id->version > STATEID_VERSION ? 0 : -EINVAL; /* a newer version may say more */
}

static bool check_holds(const char *text, size_t size)
{
        char line[CHECK_LINE_BYTES + 1];

        if (size < CHECK_LINE_BYTES)
                return false;
        size_t before = size - CHECK_LINE_BYTES;
        (void)snprintf(line, sizeof(line), "check=%016" PRIx64 "\n", (uint64_t)XXH3_64bits(text, before)); /* fits */
        return memcmp(text + before, line, CHECK_LINE_BYTES) == 0;
}

static int parse_lines(struct stateid *id, char *text)
{
        const char *rest;
        char *line = strsep(&text, "\n");

        id->version = line && strncmp(line, "version=", 8) == 0 ? parse_number(line + 8, '\0', &rest) : 0;
        if (id->version == 0)
                return -EINVAL;
        while ((line = strsep(&text, "\n")) && text) { /* what follows the last newline is no line */
                int result = parse_line(id, line);
                if (result < 0)
                        return result;
        }
        return id->source ? 0 : -EINVAL;
}

/* Only the first line can tell that the check is not to be understood. */
static bool is_newer(const char *text)
{
        const char *rest;

        return strncmp(text, "version=", 8) == 0 && parse_number(text + 8, '\n', &rest) > STATEID_VERSION;
}

int stateid_parse(const char *text, size_t size, struct stateid *ret_id)
{
        cleanup(stateid_deinit) struct stateid id = {0};
        cleanup(pointer_free) char *copy = NULL;

        if (size > STATEID_FILE_BYTES_MAX || memchr(text, '\0', size))
                return -EBADMSG;
        copy = strndup(text, size);
        if (!copy)
                return -ENOMEM;
        if (!is_newer(copy)) {
                if (!check_holds(copy, size))
                        return -EBADMSG;
                copy[size - CHECK_LINE_BYTES] = '\0';
        }
        int result = parse_lines(&id, copy);
        if (result < 0)
                return result == -EINVAL ? -EBADMSG : result;
        *ret_id = id;
        id = (struct stateid){0};
        return 0;
}

int stateid_format(const struct stateid *id, char **ret_text, size_t *ret_size)
{
        cleanup(pointer_free) char *text = NULL;
        size_t size = 0;
        FILE *stream = open_memstream(&text, &size);

        if (!stream)
                return -ENOMEM;
        (void)fprintf(stream, "version=%" PRIu32 "\nsource=%s\n", id->version, id->source); /* fclose tells, see below */
        for (size_t i = 0; i < id->target_count; i++)
                (void)fprintf(stream, "target=%" PRIu32 " %s\n", id->targets[i].number, id->targets[i].identity);
        if (fflush(stream) == 0)
                (void)fprintf(stream, "check=%016" PRIx64 "\n", (uint64_t)XXH3_64bits(text, size));
        bool failed = ferror(stream);
        if (fclose(stream) != 0 || failed)
                return -ENOMEM;
        *ret_size = size;
        *ret_text = pointer_steal(&text);
        return 0;
}

static bool has_target(const struct stateid *id, const char *identity)
{
        for (size_t i = 0; identity && *identity && i < id->target_count; i++)
                if (strcmp(id->targets[i].identity, identity) == 0)
                        return true;
        return false;
}

size_t stateid_shared(const struct stateid *id, const char *const *identities, size_t count)
{
        size_t shared = 0;

        for (size_t i = 0; i < count; i++)
                shared += has_target(id, identities[i]);
        return shared;
}

bool stateid_equal(const struct stateid *a, const struct stateid *b)
{
        if (a->version != b->version || a->target_count != b->target_count || strcmp(a->source, b->source) != 0)
                return false;
        for (size_t i = 0; i < a->target_count; i++)
                if (a->targets[i].number != b->targets[i].number ||
                    strcmp(a->targets[i].identity, b->targets[i].identity) != 0)
                        return false;
        return true;
}

void stateid_deinit(struct stateid *id)
{
        free(id->source);
        for (size_t i = 0; i < id->target_count; i++)
                free(id->targets[i].identity);
        free(id->targets);
        *id = (struct stateid){0};
}
