#include <errno.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/sync.h"
#include "mount-helper/bounded.h"

static int say(const void *context, int out)
{
        const char *text = context;

        return write(out, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -EIO;
}

static int say_much(const void *context, int out)
{
        char block[1000];

        memset(block, 'x', sizeof(block));
        for (int i = 0; i < 1000; i++)
                if (write(out, block, sizeof(block)) != (ssize_t)sizeof(block))
                        return -EIO;
        return 0;
}

static int refuse(const void *context, int out)
{
        return -ENOTCONN;
}

static int hang(const void *context, int out)
{
        while (pause() < 0) /* until it is killed */
                continue;
        return 0;
}

static int die(const void *context, int out)
{
        abort();
}

static int who(const void *context, int out)
{
        return geteuid() == 65534 && getuid() == 65534 && getegid() == 65533 ? 0 : -EPERM;
}

static const struct bounded patient = {.timeout_ms = 20000};

static void what_the_job_writes_comes_back(void **state)
{
        char *text;
        size_t size;

        assert_int_equal(bounded_run(&patient, say, "hello", &text, &size), 0);
        assert_string_equal(text, "hello");
        assert_int_equal(size, 5);
        free(text);
        assert_int_equal(bounded_run(&patient, say, "", &text, &size), 0);
        assert_string_equal(text, "");
        free(text);
        assert_int_equal(bounded_run(&patient, say_much, NULL, &text, &size), 0);
        assert_int_equal(size, 1000000);
        free(text);
}

static void the_result_of_the_job_comes_back(void **state)
{
        char *text = NULL;

        assert_int_equal(bounded_run(&patient, refuse, NULL, &text, NULL), -ENOTCONN);
        assert_null(text);
        assert_int_equal(bounded_run(&patient, die, NULL, &text, NULL), -EIO);
}

static void a_job_that_hangs_is_given_up_in_time(void **state)
{
        struct bounded hasty = {.timeout_ms = 50};
        uint64_t start = clock_now_ns();

        assert_int_equal(bounded_run(&hasty, hang, NULL, NULL, NULL), -ETIMEDOUT);
        assert_true(clock_now_ns() - start < UINT64_C(3000000000));
}

static void count(void *context)
{
        ++*(int *)context;
}

static void ticks_come_while_it_waits(void **state)
{
        int ticks = 0;
        struct bounded ticking = {.timeout_ms = 100, .tick_ms = 10, .tick = count, .tick_context = &ticks};

        assert_int_equal(bounded_run(&ticking, hang, NULL, NULL, NULL), -ETIMEDOUT);
        assert_true(ticks >= 1);
}

static void the_job_can_be_another_user(void **state)
{
        struct bounded other = {.timeout_ms = 20000, .as_other = true, .uid = 65534, .gid = 65533};

        assert_int_equal(bounded_run(&other, who, NULL, NULL, NULL), geteuid() == 0 ? 0 : -EPERM);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(what_the_job_writes_comes_back),       cmocka_unit_test(the_result_of_the_job_comes_back),
            cmocka_unit_test(a_job_that_hangs_is_given_up_in_time), cmocka_unit_test(ticks_come_while_it_waits),
            cmocka_unit_test(the_job_can_be_another_user),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
