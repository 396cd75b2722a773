/* status.json as a client gets it. What was parsed can be written again, reads back as the same text, and can be shown. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/report_json.h"
#include "core/report_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
        if (!holds)
                abort();
}

/* Nothing but our own colours may move a terminal. */
static void check_text(const struct status *status, unsigned columns)
{
        char *text = NULL;

        check(report_status_text(status, false, columns, &text) == 0);
        for (const char *at = text; *at; at++)
                check(((unsigned char)*at >= 0x20 && *at != 0x7f) || *at == '\n');
        free(text);
        check(report_owed_text(status, &text) == 0 && !strchr(text, '\n'));
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct status status = {0};
        struct error error = {0};
        char *first = NULL, *second = NULL;

        if (report_parse_status((const char *)data, size, &status, &error) < 0) {
                check(error.code < 0 && error.message[0] && !status.targets);
                return 0;
        }
        check(report_status_json(&status, &first) == 0);
        check_text(&status, 0);
        check_text(&status, size % 200);
        status_deinit(&status);
        check(report_parse_status(first, strlen(first), &status, &error) == 0);
        check(report_status_json(&status, &second) == 0);
        check(strcmp(first, second) == 0);
        status_deinit(&status);
        free(first);
        free(second);
        return 0;
}
