/* The first byte says which parser; the rest is its words, a NUL behind each. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/options.h"

enum { WORDS_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse_words(char kind, char *text, size_t size)
{
        struct options options = {0};
        struct error error = {0};
        char *argv[WORDS_MAX], *config = NULL;
        int argc = 0, r;

        for (char *word = text; argc < WORDS_MAX && word <= text + size; word += strlen(word) + 1)
                argv[argc++] = word;
        if (kind == 'm')
                r = options_parse_mount(argc, argv, &options, &error);
        else if (kind == 'h')
                r = options_parse_helper(argc, argv, &options, &error);
        else
                r = options_parse_copy(argc, argv, &options, &error);
        if (r < 0 && (!error.code || !*error.message))
                abort();
        if (r == 0 && (options_validate(&options, NULL) < 0 || options_config_text(&options, &config) < 0))
                abort();
        free(config);
        options_deinit(&options);
}

static void parse_list(const char *text)
{
        struct options options;
        struct error error = {0};
        uint64_t bytes = 0;

        options_init(&options);
        if (options_parse_o(text, &options, &error) < 0 && (!error.code || !*error.message))
                abort();
        if (options_parse_size(text, &bytes) == 0 && options_parse_rate(text, &bytes) < 0)
                abort(); /* a size is a rate */
        options_deinit(&options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        cleanup(pointer_free) char *text = NULL;

        if (size == 0)
                return 0;
        text = malloc(size);
        if (!text)
                abort();
        memcpy(text, data + 1, size - 1);
        text[size - 1] = '\0';
        if (data[0] == 'o')
                parse_list(text);
        else
                parse_words((char)data[0], text, size - 1);
        return 0;
}
