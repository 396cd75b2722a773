#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mount-helper/quote.h"

static void expect(const char *expected, size_t count, char *const *words)
{
        char *text;

        assert_int_equal(quote_words(count, words, &text), 0);
        assert_string_equal(text, expected);
        free(text);
}

static void expect_word(char *word, const char *expected)
{
        char *words[] = {word};

        expect(expected, 1, words);
}

static void plain_words_stay_as_they_are(void **state)
{
        char cvv[] = "/usr/bin/cvv", mount[] = "mount", option[] = "--jobs=2", path[] = "/a_b/c-d.e,f:g@h%i+j";
        char *words[] = {cvv, mount, option, path};

        expect("/usr/bin/cvv mount --jobs=2 /a_b/c-d.e,f:g@h%i+j", 4, words);
        expect("", 0, words);
}

static void words_that_a_shell_would_change_are_quoted(void **state)
{
        char space[] = "a b", empty[] = "", quote[] = "it's", glob[] = "*", tilde[] = "~", home[] = "$HOME",
             slash[] = "a\\b";

        expect_word(space, "'a b'");
        expect_word(empty, "''");
        expect_word(quote, "'it'\\''s'");
        expect_word(glob, "'*'");
        expect_word(tilde, "'~'");
        expect_word(home, "'$HOME'");
        expect_word(slash, "'a\\b'");
}

static void names_in_utf_8_stay_readable(void **state)
{
        char word[] = "Grüße";

        expect_word(word, "'Grüße'");
}

static void what_a_terminal_would_obey_is_written_in_octal(void **state)
{
        char newline[] = "a\nb", escape[] = "\033[2J'\\", latin[] = "\xe9t\xe9";

        expect_word(newline, "$'a\\012b'");
        expect_word(escape, "$'\\033[2J\\047\\134'");
        expect_word(latin, "$'\\351t\\351'");
}

/* bash is the witness: what it reads back must be the same bytes. */
static void a_shell_reads_the_same_words_back(void **state)
{
        char all[256], *words[] = {all};
        char *text, *script;
        char got[256];
        FILE *shell;

        for (int i = 1; i < 256; i++)
                all[i - 1] = (char)i;
        all[255] = '\0';
        assert_int_equal(quote_words(1, words, &text), 0);
        assert_true(asprintf(&script, "exec bash -c \"$(cat <<'END'\nprintf %%s %s\nEND\n)\"", text) > 0);
        shell = popen(script, "r");
        assert_non_null(shell);
        size_t size = fread(got, 1, sizeof(got), shell);
        int status = pclose(shell);
        free(text);
        free(script);
        if (status == 127 << 8)
                skip(); /* no bash */
        assert_int_equal(size, 255);
        assert_memory_equal(got, all, 255);
}

static void the_line_that_resumes_is_the_command_line(void **state)
{
        char program[] = "cvv", source[] = "my card", option[] = "--json";
        char *words[] = {program, option, source};
        char *text;

        (void)state;
        assert_int_equal(quote_resume(3, words, &text), 0);
        assert_string_equal(text, "resume with: cvv --json 'my card'");
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(plain_words_stay_as_they_are),
            cmocka_unit_test(words_that_a_shell_would_change_are_quoted),
            cmocka_unit_test(names_in_utf_8_stay_readable),
            cmocka_unit_test(what_a_terminal_would_obey_is_written_in_octal),
            cmocka_unit_test(a_shell_reads_the_same_words_back),
            cmocka_unit_test(the_line_that_resumes_is_the_command_line),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
