#include "config.h"
#include "core/options.h"
#include "mount-helper/commands.h"
#include "mount-helper/copying.h"
#include "mount-helper/message.h"
#include "mount-helper/prepare.h"

#include <string.h>

#include "core/cleanup.h"

static int output(const char *text)
{
        return message_output(text) < 0 ? EXIT_FAILED : EXIT_DONE;
}

int command_copy(int argc, char **argv)
{
        cleanup(options_deinit) struct options options = { 0 };
        struct error error = { 0 };
        int skip = argc > 1 && strcmp(argv[1], "copy") == 0 ? 2 : 1;
        int r = options_parse_copy(argc - skip, argv + skip, &options, &error);

        if (r == OPTIONS_HELP)
                return output(options_usage_copy());
        if (r == OPTIONS_VERSION)
                return output("cvv " CVV_VERSION "\n");
        if (r == 0)
                r = prepare_copy(&options, &error);
        return r < 0 ? message_error(&error) : copying_run(&options, argc, argv);
}
