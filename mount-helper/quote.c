#include "mount-helper/quote.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/error.h"

enum { QUOTED_BYTES = 4 }; /* the most that one byte becomes: '\'' and \ooo */

static bool is_plain(const char *word)
{
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";

        return *word && word[strspn(word, plain)] == '\0';
}

/* Whether error_escape() would change the word: then it is not for a terminal. 1, 0 or -ENOMEM. */
static int is_unprintable(const char *word)
{
        size_t size = strlen(word) * 4 + 5;
        cleanup(pointer_free) char *escaped = malloc(size);

        if (!escaped)
                return -ENOMEM;
        error_escape(word, escaped, size);
        return strcmp(word, escaped) != 0;
}

static char *put(char *to, const char *text)
{
        return stpcpy(to, text);
}

static char *put_single(char *to, const char *word)
{
        *to++ = '\'';
        for (; *word; word++) {
                if (*word == '\'')
                        to = put(to, "'\\''");
                else
                        *to++ = *word;
        }
        *to++ = '\'';
        return to;
}

static char *put_escaped(char *to, const char *word)
{
        to = put(to, "$'");
        for (; *word; word++) {
                unsigned char byte = (unsigned char)*word;

                if (byte >= 0x20 && byte < 0x7f && byte != '\'' && byte != '\\') {
                        *to++ = *word;
                        continue;
                }
                *to++ = '\\';
                *to++ = (char)('0' + (byte >> 6));
                *to++ = (char)('0' + (byte >> 3 & 7));
                *to++ = (char)('0' + (byte & 7));
        }
        *to++ = '\'';
        return to;
}

int quote_words(size_t count, char *const *words, char **ret_text)
{
        cleanup(pointer_free) char *text = NULL;
        size_t size = 1;
        char *to;

        for (size_t i = 0; i < count; i++)
                size += strlen(words[i]) * QUOTED_BYTES + 4; /* $'' and the space */
        to = text = malloc(size);
        if (!text)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++) {
                int unprintable = is_unprintable(words[i]);

                if (unprintable < 0)
                        return unprintable;
                if (i > 0)
                        *to++ = ' ';
                if (is_plain(words[i]))
                        to = put(to, words[i]);
                else
                        to = unprintable ? put_escaped(to, words[i]) : put_single(to, words[i]);
        }
        *to = '\0';
        *ret_text = pointer_steal(&text);
        return 0;
}

int quote_resume(int argc, char *const *argv, char **ret_text)
{
        cleanup(pointer_free) char *words = NULL;
        char *text;
        int r = quote_words((size_t)argc, argv, &words);

        if (r < 0)
                return r;
        if (asprintf(&text, "resume with: %s", words) < 0)
                return -ENOMEM;
        *ret_text = text;
        return 0;
}
