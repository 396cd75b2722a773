/* One write to .cvv/control. What was parsed must hold what the header promises. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
        if (!holds)
                abort();
}

static void check_path(const char *path)
{
        check(*path != '/' && !strstr(path, "//"));
        for (const char *component = path; *component;) {
                size_t length = strcspn(component, "/");
                check(!(length == 1 && component[0] == '.') && !(length == 2 && memcmp(component, "..", 2) == 0));
                check(component[length] != '/' || component[length + 1]);
                component += length + (component[length] == '/');
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct command *commands = NULL;
        struct error error = {0};
        size_t count = 0;

        if (command_parse((const char *)data, size, &commands, &count, &error) < 0) {
                check(error.code < 0 && !commands && count == 0);
                return 0;
        }
        check(count > 0);
        for (size_t i = 0; i < count; i++) {
                enum command_kind kind = commands[i].kind;

                check(!commands[i].path == (kind != COMMAND_FILL && kind != COMMAND_VERIFY));
                check(!commands[i].directory == (kind != COMMAND_ADD));
                check(kind != COMMAND_REMOVE || commands[i].target > 0);
                if (commands[i].path)
                        check_path(commands[i].path);
        }
        command_free(commands, count);
        return 0;
}
