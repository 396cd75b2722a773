#include "core/manifest.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

static bool has_escapes(enum hash_algorithm algorithm)
{
        return algorithm == HASH_MD5 || algorithm == HASH_SHA1 || algorithm == HASH_SHA256;
}

const char *manifest_refusal(enum hash_algorithm algorithm, const char *path, const struct digest_values *digests)
{
        if (!digest_raw(digests, algorithm))
                return "its digest is not known";
        if (!has_escapes(algorithm) && strchr(path, '\n'))
                return "a line cannot hold the line feed in its name";
        if (strlen(path) >= PATH_MAX)
                return "no program can open a path as long as this";
        return NULL;
}

static void write_path(FILE *out, const char *path, bool escaped)
{
        if (strcmp(path, "-") == 0 || strcmp(path, "stdin") == 0)
                (void)fputs("./", out); /* the caller looks at ferror(), here and below */
        for (; *path; path++) {
                const char *code = *path == '\\' ? "\\\\" : *path == '\n' ? "\\n" : *path == '\r' ? "\\r" : NULL;

                if (escaped && code)
                        (void)fputs(code, out);
                else
                        (void)putc(*path, out);
        }
}

void manifest_line(FILE *out, enum hash_algorithm algorithm, const char *path, const struct digest_values *digests)
{
        bool escaped = has_escapes(algorithm) && strpbrk(path, "\\\n\r");
        char digest[HASH_TEXT_BYTES];

        if (digest_text(digests, algorithm, digest) < 0)
                return; /* a file without a line */
        if (algorithm == HASH_XXH3)
                (void)fputs("XXH3 (", out);
        else
                (void)fprintf(out, "%s%s  ", escaped ? "\\" : "", digest);
        write_path(out, path, escaped);
        if (algorithm == HASH_XXH3)
                (void)fprintf(out, ") = %s", digest);
        (void)putc('\n', out);
}
