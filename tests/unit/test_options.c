#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/options.h"

typedef int parser(int argc, char **argv, struct options *ret_options, struct error *error);

/* Runs `parse` over the NULL-terminated words; they are copied, so that a parser which wrote into them would be seen. */
static int run(parser *parse, struct options *ret_options, struct error *error, const char *const *words)
{
        char *argv[64];
        int argc = 0, r;

        for (; words[argc]; argc++)
                argv[argc] = strdup(words[argc]);
        r = parse(argc, argv, ret_options, error);
        for (int i = 0; i < argc; i++) {
                assert_string_equal(argv[i], words[i]); /* neither changed nor permuted */
                free(argv[i]);
        }
        return r;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define MOUNT(...) accept(options_parse_mount, WORDS(__VA_ARGS__))
#define COPY(...) accept(options_parse_copy, WORDS(__VA_ARGS__))
#define HELPER(...) accept(options_parse_helper, WORDS(__VA_ARGS__))
#define REFUSE_MOUNT(part, ...) refuse(options_parse_mount, part, WORDS(__VA_ARGS__))
#define REFUSE_COPY(part, ...) refuse(options_parse_copy, part, WORDS(__VA_ARGS__))
#define REFUSE_HELPER(part, ...) refuse(options_parse_helper, part, WORDS(__VA_ARGS__))

static struct options accept(parser *parse, const char *const *words)
{
        struct options options;
        struct error error = {0};
        int r = run(parse, &options, &error, words);

        if (r != 0)
                fail_msg("result %d: %s", r, error.message);
        return options;
}

static void refuse(parser *parse, const char *part, const char *const *words)
{
        struct options options, before;
        struct error error = {0};

        memset(&options, 0x5a, sizeof(options));
        before = options;
        assert_int_equal(run(parse, &options, &error, words), -EINVAL);
        assert_int_equal(error.code, -EINVAL);
        if (!strstr(error.message, part))
                fail_msg("'%s' is not in: %s", part, error.message);
        assert_null(strchr(error.message, '\n'));
        assert_memory_equal(&options, &before, sizeof(options));
}

static void expect_list(const struct options_list *list, const char *const *words)
{
        size_t count = 0;

        for (; words[count]; count++) {
                assert_true(count < list->count);
                assert_string_equal(list->items[count], words[count]);
        }
        assert_int_equal(list->count, count);
}

static void mount_takes_defaults_where_nothing_is_said(void **state)
{
        struct options o = MOUNT("-t", "/t", "/src", "/mnt");

        assert_string_equal(o.source, "/src");
        assert_string_equal(o.mountpoint, "/mnt");
        expect_list(&o.targets, WORDS("/t"));
        assert_int_equal(o.mode, MODE_FULL);
        assert_int_equal(o.hash.count, 1);
        assert_int_equal(o.hash.order[0], HASH_XXH64);
        assert_int_equal(o.fill, FILL_FILE);
        assert_int_equal(o.chunk_bytes, 8 << 20);
        assert_int_equal(o.memory_bytes, 256 << 20);
        assert_int_equal(o.jobs, 0);
        assert_int_equal(o.limit_bytes_per_s, 0);
        assert_int_equal(o.min_targets, 1);
        assert_false(o.existing_given || o.reads_checked || o.mhl || o.list_control || o.foreground || o.read_only);
        assert_null(o.state_dir);
        options_deinit(&o);
}

static void mount_takes_every_long_option(void **state)
{
        struct options o =
            MOUNT("--target=/t1", "--target", "/t2", "--mode=source", "--hash", "md5,xxh128", "--fill=all",
                  "--chunk-size=1M", "--state=/st", "--jobs=7", "--limit=10M/s", "--memory=1g", "--min-targets=2",
                  "--existing=replace", "--reads=checked", "--mhl", "--exclude=*.tmp", "--exclude", "/x", "--log=/l",
                  "--list-control", "--no-space-check", "--verbose", "--foreground", "none", "/mnt");

        expect_list(&o.targets, WORDS("/t1", "/t2"));
        expect_list(&o.exclude, WORDS("*.tmp", "/x"));
        assert_int_equal(o.mode, MODE_SOURCE);
        assert_int_equal(o.hash.order[0], HASH_MD5);
        assert_int_equal(o.hash.order[1], HASH_XXH128);
        assert_int_equal(o.fill, FILL_ALL);
        assert_int_equal(o.chunk_bytes, 1 << 20);
        assert_string_equal(o.state_dir, "/st");
        assert_int_equal(o.jobs, 7);
        assert_int_equal(o.limit_bytes_per_s, 10 << 20);
        assert_int_equal(o.memory_bytes, 1 << 30);
        assert_int_equal(o.min_targets, 2);
        assert_int_equal(options_existing(&o), EXISTING_REPLACE);
        assert_true(o.reads_checked && o.mhl && o.list_control && o.no_space_check && o.verbose && o.foreground);
        assert_string_equal(o.log_file, "/l");
        options_deinit(&o);
}

static void mount_takes_options_and_operands_in_any_order(void **state)
{
        struct options o = MOUNT("/src", "-ft", "a", "/mnt", "-mtransfer", "-t", "b", "-o", "ro");

        expect_list(&o.targets, WORDS("a", "b"));
        assert_string_equal(o.source, "/src");
        assert_int_equal(o.mode, MODE_TRANSFER);
        assert_true(o.foreground && o.read_only);
        options_deinit(&o);

        assert_int_equal(setenv("POSIXLY_CORRECT", "1", 1), 0);
        o = MOUNT("/src", "/mnt", "-t", "a");
        assert_int_equal(unsetenv("POSIXLY_CORRECT"), 0);
        options_deinit(&o);
}

static void double_hyphen_ends_the_options(void **state)
{
        struct options o = MOUNT("-t", "a", "--", "-src", "--help");

        assert_string_equal(o.source, "-src");
        assert_string_equal(o.mountpoint, "--help");
        options_deinit(&o);
}

static void help_and_version_are_conditions(void **state)
{
        struct options o;

        assert_int_equal(run(options_parse_mount, &o, NULL, WORDS("--help", "--nonsense")), OPTIONS_HELP);
        assert_int_equal(run(options_parse_mount, &o, NULL, WORDS("-h")), OPTIONS_HELP);
        assert_int_equal(run(options_parse_copy, &o, NULL, WORDS("a", "-V")), OPTIONS_VERSION);
        assert_int_equal(run(options_parse_helper, &o, NULL, WORDS("--version")), OPTIONS_VERSION);
}

static void mistakes_are_named(void **state)
{
        REFUSE_MOUNT("SOURCE is missing; usage: cvv mount", "-t", "a");
        REFUSE_MOUNT("MOUNTPOINT is missing", "-t", "a", "src");
        REFUSE_MOUNT("no target given", "src", "mnt");
        REFUSE_MOUNT("'extra'", "-t", "a", "src", "mnt", "extra");
        REFUSE_MOUNT("unknown or ambiguous option '--nonsense'", "-t", "a", "--nonsense=5", "src", "mnt");
        REFUSE_MOUNT("unknown or ambiguous option '--m'", "-t", "a", "--m", "src", "mnt");
        REFUSE_MOUNT("unknown option '-x'", "--mhl", "-vxv", "src", "mnt");
        REFUSE_MOUNT("--mode needs a value", "src", "mnt", "--mode");
        REFUSE_MOUNT("-m needs a value", "src", "mnt", "-vm");
        REFUSE_MOUNT("--mhl takes no value", "src", "mnt", "--mhl=1");
        REFUSE_MOUNT("--json is for cvv copy", "src", "mnt", "--json");
        REFUSE_MOUNT("--mode: 'fast' is not one of transfer, source, full", "--mode", "fast");
        REFUSE_MOUNT("SOURCE is empty", "-t", "a", "", "mnt");
        REFUSE_MOUNT("--target: the path is empty", "-t", "", "src", "mnt");
        REFUSE_MOUNT("\\x1b", "-t", "a", "src", "mnt", "\x1b[2J");
}

static void bad_values_are_refused(void **state)
{
        REFUSE_MOUNT("power of two", "--chunk-size=3M");
        REFUSE_MOUNT("power of two", "--chunk-size=512K");
        REFUSE_MOUNT("power of two", "--chunk-size=128M");
        REFUSE_MOUNT("at least 16M", "--memory=15M");
        REFUSE_MOUNT("from 1 to 64", "--jobs=0");
        REFUSE_MOUNT("from 1 to 64", "--jobs=65");
        REFUSE_MOUNT("from 1 to 64", "--jobs=");
        REFUSE_MOUNT("from 1 to 64", "--jobs=99999999999");
        REFUSE_MOUNT("rate", "--limit=fast");
        REFUSE_MOUNT("at least 1", "--min-targets=0");
        REFUSE_MOUNT("more than there are targets (1)", "--min-targets=2", "-t", "a", "src", "mnt");
        REFUSE_MOUNT("--hash: 'crc32'", "--hash=crc32");
        REFUSE_MOUNT("--hash: ''", "--hash=");
        REFUSE_MOUNT("one of file, chunk, all", "--fill=some");
        REFUSE_MOUNT("one of skip, verify, replace", "--existing=keep");
        REFUSE_MOUNT("one of fast, checked", "--reads=slow");
        REFUSE_MOUNT("--state: the path is empty", "--state=");
}

static void copy_takes_source_and_targets(void **state)
{
        struct options o = COPY("src", "--json", "t1", "-v", "t2", "--min-targets=2", "--mode", "transfer");

        assert_string_equal(o.source, "src");
        assert_null(o.mountpoint);
        expect_list(&o.targets, WORDS("t1", "t2"));
        assert_true(o.json && o.verbose);
        assert_int_equal(options_existing(&o), EXISTING_SKIP);
        options_deinit(&o);
        REFUSE_COPY("TARGET is missing", "src");
        REFUSE_COPY("SOURCE is missing", "-v");
        REFUSE_COPY("TARGET is empty", "src", "");
        REFUSE_COPY("-t is for cvv mount", "-t", "a", "src");
        REFUSE_COPY("--fill is for cvv mount", "--fill=all", "src", "t");
}

static void helper_takes_what_mount_8_gives(void **state)
{
        struct options o = HELPER("src", "mnt", "-sfnv", "-N", "/proc/1/ns/mnt", "-t", "fuse.cvv", "-o",
                                  "rw,nonsense,target=a,target=b\\,c\\\\d,mode=source,list-control,dev");

        assert_string_equal(o.source, "src");
        expect_list(&o.targets, WORDS("a", "b,c\\d"));
        expect_list(&o.fuse_options, WORDS("rw", "dev"));
        assert_true(o.sloppy && o.fake && o.verbose && o.list_control);
        assert_false(o.read_only || o.remount);
        assert_string_equal(o.namespace_path, "/proc/1/ns/mnt");
        assert_int_equal(o.mode, MODE_SOURCE);
        options_deinit(&o);

        o = HELPER("-o", "target=a,x", "-s", "src", "mnt"); /* -s behind -o counts as well */
        options_deinit(&o);
        REFUSE_HELPER("unknown option '-o nonsense'", "src", "mnt", "-o", "target=a,nonsense=7");
        REFUSE_HELPER("no target given", "src", "mnt", "-o", "rw");
        REFUSE_HELPER("unknown or ambiguous option '--target'", "src", "mnt", "--target=a");
}

static void remount_needs_no_target(void **state)
{
        struct options o = HELPER("src", "mnt", "-o", "remount,ro");

        assert_true(o.remount && o.read_only);
        options_deinit(&o);
}

static void what_only_the_kernel_says_is_taken_and_left_out(void **state)
{
        struct options o = HELPER("src", "mnt", "-o", "rw,nosuid,user_id=0,group_id=0,remount,ro,blksize=512,fd=3,rootmode=40000");

        expect_list(&o.fuse_options, WORDS("rw", "nosuid", "ro"));
        options_deinit(&o);
        REFUSE_HELPER("unknown option '-o user_idx'", "src", "mnt", "-o", "remount,user_idx=1");
}

static void o_list_sorts_options_out(void **state)
{
        struct options o;

        options_init(&o);
        assert_int_equal(options_parse_o("auto,noauto,user,user=me,users,nofail,_netdev,x-systemd.automount,comment=a b,"
                                         "defaults,relatime,,nodev,suid,max_read=4096,allow_other,fsname=x\\,y,subtype=z,"
                                         "context=u:r:t:s0:c1\\,c2,exclude=\\#a,mhl,ro,hash=md5\\,c4",
                                         &o, NULL),
                         0);
        expect_list(&o.fuse_options, WORDS("nodev", "suid", "max_read=4096", "context=u:r:t:s0:c1,c2", "ro"));
        expect_list(&o.exclude, WORDS("\\#a"));
        assert_true(o.allow_other && o.mhl && o.read_only);
        assert_string_equal(o.fsname, "x,y");
        assert_string_equal(o.subtype, "z");
        assert_int_equal(o.hash.count, 2);
        assert_int_equal(options_parse_o("rw", &o, NULL), 0);
        assert_false(o.read_only);
        options_deinit(&o);
}

static void o_list_refuses_what_it_does_not_know(void **state)
{
        static const struct {
                const char *list, *part;
        } cases[] = {
            {"ro,frob", "unknown option '-o frob'"}, {"frob=1", "unknown option '-o frob'"},
            {"=x", "unknown option '-o '"},          {"json", "unknown option '-o json'"},
            {"ro=1", "-o ro takes no value"},        {"mhl=yes", "-o mhl takes no value"},
            {"target", "-o target needs a value"},   {"mode", "-o mode needs a value"},
            {"mode=fast", "-o mode: 'fast'"},        {"fsname=", "-o fsname needs a value"},
            {"max_read=1x", "-o max_read: '1x'"},    {"max_read", "-o max_read needs a value"},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct error error = {0};
                struct options o;

                options_init(&o);
                assert_int_equal(options_parse_o(cases[i].list, &o, &error), -EINVAL);
                if (!strstr(error.message, cases[i].part))
                        fail_msg("%s: %s", cases[i].list, error.message);
                options_deinit(&o);
        }
}

static void sizes_are_parsed_exactly(void **state)
{
        static const struct {
                const char *text;
                uint64_t bytes;
        } good[] = {
            {"0", 0},
            {"512", 512},
            {"512B", 512},
            {"8M", 8 << 20},
            {"8m", 8 << 20},
            {"8MiB", 8 << 20},
            {"8mib", 8 << 20},
            {"8MB", 8 << 20},
            {"3k", 3072},
            {"1T", UINT64_C(1) << 40},
            {"18446744073709551615", UINT64_MAX},
            {"16777215T", UINT64_C(16777215) << 40},
        };
        static const char *const bad[] = {"",          " 1",
                                          "1 ",        "-1",
                                          "+1",        "M",
                                          "1.5M",      "1MM",
                                          "1iB",       "1Mi",
                                          "1Q",        "0x10",
                                          "1M/s",      "18446744073709551616",
                                          "16777216T", "99999999999999999999999",
                                          "none"};
        uint64_t bytes;

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
                assert_int_equal(options_parse_size(good[i].text, &bytes), 0);
                assert_true(bytes == good[i].bytes);
        }
        bytes = 5;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                if (options_parse_size(bad[i], &bytes) != -EINVAL || bytes != 5)
                        fail_msg("'%s' was taken", bad[i]);
        assert_int_equal(options_parse_rate("10MiB/s", &bytes), 0);
        assert_int_equal(bytes, 10 << 20);
        assert_int_equal(options_parse_rate("none", &bytes), 0);
        assert_int_equal(bytes, 0);
        assert_int_equal(options_parse_rate("1M/", &bytes), -EINVAL);
        assert_int_equal(options_parse_rate("1M/s ", &bytes), -EINVAL);
}

static void existing_follows_the_mode_unless_given(void **state)
{
        struct options o;

        options_init(&o);
        assert_int_equal(options_existing(&o), EXISTING_VERIFY);
        o.mode = MODE_SOURCE;
        assert_int_equal(options_existing(&o), EXISTING_VERIFY);
        o.mode = MODE_TRANSFER;
        assert_int_equal(options_existing(&o), EXISTING_SKIP);
        assert_int_equal(options_parse_o("existing=verify", &o, NULL), 0);
        assert_int_equal(options_existing(&o), EXISTING_VERIFY);
        options_deinit(&o);
}

static void config_has_a_line_for_each_setting(void **state)
{
        static const char *const lines[] = {
            "source = s\\x0ax\n", "mountpoint = mnt\n", "target = a\n",      "target = b\n",       "mode = transfer\n",
            "hash = xxh64,c4\n",  "fill = file\n",      "chunk-size = 8M\n", "jobs = auto\n",      "limit = 1G\n",
            "memory = 300000K\n", "min-targets = 2\n",  "existing = skip\n", "reads = fast\n",     "mhl = no\n",
            "state = auto\n",     "exclude = *.tmp\n",  "read-only = yes\n", "fuse-option = ro\n",
        };
        struct options o = MOUNT("s\nx", "mnt", "-t", "a", "-t", "b", "-m", "transfer", "--hash=xxh64,c4", "--limit=1024M",
                                 "--memory=300000K", "--min-targets=2", "--exclude=*.tmp", "-o", "ro");
        char *text = NULL;

        assert_int_equal(options_config_text(&o, &text), 0);
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
                if (!strstr(text, lines[i]))
                        fail_msg("%s is not in:\n%s", lines[i], text);
        free(text);
        options_deinit(&o);
}

static void expect_width(const char *text)
{
        for (size_t length; *text; text += length + 1) {
                length = strcspn(text, "\n");
                if (length > 100)
                        fail_msg("too wide: %.*s", (int)length, text);
                assert_true(text[length] == '\n');
        }
}

static void usage_fits_in_100_columns_and_names_the_options(void **state)
{
        static const char *const names[] = {
            "--target", "--mode",         "--hash",           "--fill",     "--chunk-size", "--state", "--jobs",
            "--limit",  "--memory",       "--min-targets",    "--existing", "--reads",      "--mhl",   "--exclude",
            "--log",    "--list-control", "--no-space-check", "--help",     "-o OPT",
        };

        expect_width(options_usage_mount());
        expect_width(options_usage_copy());
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                assert_non_null(strstr(options_usage_mount(), names[i]));
        assert_non_null(strstr(options_usage_copy(), "--json"));
}

static void deinit_is_idempotent_and_last_value_wins(void **state)
{
        struct options o = MOUNT("--state=a", "--state=b", "--log=c", "--log=d", "-t", "x", "src", "mnt");

        assert_string_equal(o.state_dir, "b");
        assert_string_equal(o.log_file, "d");
        options_deinit(&o);
        options_deinit(&o);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(mount_takes_defaults_where_nothing_is_said),
            cmocka_unit_test(mount_takes_every_long_option),
            cmocka_unit_test(mount_takes_options_and_operands_in_any_order),
            cmocka_unit_test(double_hyphen_ends_the_options),
            cmocka_unit_test(help_and_version_are_conditions),
            cmocka_unit_test(mistakes_are_named),
            cmocka_unit_test(bad_values_are_refused),
            cmocka_unit_test(copy_takes_source_and_targets),
            cmocka_unit_test(helper_takes_what_mount_8_gives),
            cmocka_unit_test(remount_needs_no_target),
            cmocka_unit_test(what_only_the_kernel_says_is_taken_and_left_out),
            cmocka_unit_test(o_list_sorts_options_out),
            cmocka_unit_test(o_list_refuses_what_it_does_not_know),
            cmocka_unit_test(sizes_are_parsed_exactly),
            cmocka_unit_test(existing_follows_the_mode_unless_given),
            cmocka_unit_test(config_has_a_line_for_each_setting),
            cmocka_unit_test(usage_fits_in_100_columns_and_names_the_options),
            cmocka_unit_test(deinit_is_idempotent_and_last_value_wins),
        };

        return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
