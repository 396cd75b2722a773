#include "core/json_path.h"

#include "core/cleanup.h"
#include "core/error.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *escaped_new(const char *text)
{
        size_t size = strlen(text) * 4 + 5; /* each byte can become \xNN; error_escape keeps 4 bytes and the NUL in hand */
        cleanup(pointer_free) char *escaped = malloc(size);

        if (!escaped)
                return NULL;
        error_escape(text, escaped, size);
        return json_string(escaped);
}

json_t *json_text_new(const char *text)
{
        json_t *string;

        if (!text)
                return json_null();
        string = json_string(text); /* NULL: not UTF-8, or no memory, which the second try then finds again */
        return string ? string : escaped_new(text);
}

static json_t *base64_new(const char *text)
{
        size_t length = strlen(text);
        cleanup(pointer_free) unsigned char *encoded = NULL;

        if (length > INT_MAX / 2)
                return NULL;
        encoded = malloc((length + 2) / 3 * 4 + 1);
        if (!encoded)
                return NULL;
        (void)EVP_EncodeBlock(encoded, (const unsigned char *)text, (int)length); /* gives the length, known already */
        return json_string((const char *)encoded);
}

int json_path_set(json_t *object, const char *path)
{
        json_t *string;

        if (!path)
                return json_object_set_new(object, "path", json_null()) < 0 ? -ENOMEM : 0;
        string = json_string(path);
        if (string)
                return json_object_set_new(object, "path", string) < 0 ? -ENOMEM : 0;
        /* json_object_set_new refuses a NULL value, and frees the value where it fails. */
        if (json_object_set_new(object, "path", escaped_new(path)) < 0 ||
            json_object_set_new(object, "path_b64", base64_new(path)) < 0)
                return -ENOMEM;
        return 0;
}

/* Length of the control character at `text` that jansson leaves as it is: U+007F, or U+0080 to U+009F in UTF-8. 0: none. */
static size_t raw_control_length(const unsigned char *text)
{
        if (text[0] == 0x7f)
                return 1;
        return text[0] == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0 ? 2 : 0;
}

char *json_safe_dumps(const json_t *json, size_t flags)
{
        enum { ESCAPE_BYTES = sizeof("\\u009F") - 1 };
        cleanup(pointer_free) char *text = json_dumps(json, flags);
        size_t controls = 0, size;
        char *safe, *out;

        if (!text)
                return NULL;
        for (const char *in = text; *in; in++)
                controls += raw_control_length((const unsigned char *)in) > 0;
        if (controls == 0)
                return pointer_steal(&text);
        size = strlen(text) + controls * ESCAPE_BYTES + 1;
        safe = malloc(size);
        if (!safe)
                return NULL;
        out = safe;
        /* Characters that are not ASCII stand in JSON strings only, where an escape may take their place. */
        for (const unsigned char *in = (const unsigned char *)text; *in;) {
                size_t length = raw_control_length(in);

                if (length == 0) {
                        *out++ = (char)*in++;
                        continue;
                }
                out += snprintf(out, size - (size_t)(out - safe), "\\u%04X", (unsigned)in[length - 1]);
                in += length;
        }
        *out = '\0';
        return safe;
}
