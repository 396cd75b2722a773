/* SIGINT, SIGTERM and SIGHUP of the commands that run in the foreground and touch nothing that needs an orderly end: they
 * are noted, and system calls return early. (The daemon has a module of its own: ending.) One thread only.
 */
#ifndef CVV_MOUNT_HELPER_INTERRUPT_H
#define CVV_MOUNT_HELPER_INTERRUPT_H

/* Notes the signals from now on. One that was ignored when the program was started stays so. */
void interrupt_catch(void);
/* The default action again, for a child. */
void interrupt_release(void);
/* The number of the first signal that came, 0 while there was none. */
int interrupt_signal(void);

#endif
