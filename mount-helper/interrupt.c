#include "mount-helper/interrupt.h"

#include <signal.h>
#include <stddef.h>

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t first_signal;

static void note(int number)
{
        if (first_signal == 0)
                first_signal = number;
}

static void set_all(void (*handler)(int))
{
        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
                struct sigaction action = {.sa_handler = handler}, old;

                /* These cannot fail: the numbers are valid. Without SA_RESTART: calls are to return. */
                (void)sigaction(signals[i], NULL, &old);
                if (old.sa_handler != SIG_IGN)
                        (void)sigaction(signals[i], &action, NULL);
        }
}

void interrupt_catch(void)
{
        set_all(note);
}

void interrupt_release(void)
{
        set_all(SIG_DFL);
}

int interrupt_signal(void)
{
        return first_signal;
}
