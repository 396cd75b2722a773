#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Length of the well-formed UTF-8 sequence at `text` (RFC 3629, table of section 4), 0 where there is none. */
static size_t utf8_length(const unsigned char *text)
{
        size_t length = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3
                                                                       : text[0] < 0xf5 ? 4 : 0;

        for (size_t i = 1; i < length; i++)
                if ((text[i] & 0xc0) != 0x80)
                        return 0;
        if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
            (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
                return 0;
        return length;
}

void error_escape(const char *text, char *ret_buffer, size_t size)
{
        const unsigned char *in = (const unsigned char *)text;
        size_t used = 0;

        while (*in) {
                size_t length = utf8_length(in);
                /* C1 controls (U+0080 to U+009F) are two bytes long, and some terminals obey them. */
                int raw = length > 1 ? !(in[0] == 0xc2 && in[1] < 0xa0) : length == 1 && *in >= 0x20 && *in != 0x7f;

                if (raw) {
                        if (used + length >= size)
                                break;
                        memcpy(ret_buffer + used, in, length);
                        used += length;
                        in += length;
                } else {
                        if (used + 4 >= size)
                                break;
                        (void)snprintf(ret_buffer + used, 5, "\\x%02x", *in); /* fits, see above */
                        used += 4;
                        in++;
                }
        }
        ret_buffer[used] = '\0';
}

const char *error_describe(int error)
{
        switch (error) {
        case -EILSEQ:
                return "it does not read back as it was written";
        case -EBADMSG:
                return "a second reading gave other bytes";
        default:
                return strerror(-error);
        }
}

int error_set(struct error *error, int code, const char *format, ...)
{
        char raw[ERROR_MESSAGE_BYTES];
        va_list arguments;

        if (!error)
                return code;
        va_start(arguments, format);
        (void)vsnprintf(raw, sizeof(raw), format, arguments); /* a sentence that is too long is cut */
        va_end(arguments);
        error->code = code;
        error_escape(raw, error->message, sizeof(error->message));
        return code;
}
