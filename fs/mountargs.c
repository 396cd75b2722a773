#include "fs/mountargs.h"

#include "core/cleanup.h"

#include <errno.h>
#include <stdio.h>

static int add(char **list, const char *option)
{
        return fuse_opt_add_opt_escaped(list, option) < 0 ? -ENOMEM : 0;
}

static int add_value(char **list, const char *key, const char *value)
{
        cleanup(pointer_free) char *option = NULL;

        if (asprintf(&option, "%s=%s", key, value) < 0) {
                option = NULL;
                return -ENOMEM;
        }
        return add(list, option);
}

static int add_all(char **list, const struct options *options)
{
        const char *source = options->source ? options->source : "none";
        int r = add(list, "default_permissions");

        if (r == 0)
                r = add_value(list, "fsname", options->fsname ? options->fsname : source);
        if (r == 0)
                r = add_value(list, "subtype", options->subtype ? options->subtype : "cvv");
        if (r == 0 && options->allow_other)
                r = add(list, "allow_other");
        for (size_t i = 0; r == 0 && i < options->fuse_options.count; i++)
                r = add(list, options->fuse_options.items[i]);
        return r;
}

int mountargs_make(const struct options *options, struct fuse_args *ret_args)
{
        cleanup(pointer_free) char *list = NULL;
        int r = add_all(&list, options);

        if (r < 0)
                return r;
        if (fuse_opt_add_arg(ret_args, "cvv") < 0 || fuse_opt_add_arg(ret_args, "-o") < 0 ||
            fuse_opt_add_arg(ret_args, list) < 0)
                return -ENOMEM;
        return 0;
}
