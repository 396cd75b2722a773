/* A call that may hang in a device, made before there are threads for devices (root.h): at setting up.
 *
 * It runs on a thread of its own. When it does not come back in time, the thread and what it works on are left to it: the process will end
 * soon, with a sentence that names the device.
 */
#ifndef CVV_CORE_TIMED_H
#define CVV_CORE_TIMED_H

#include <stdint.h>

/* Calls `call(argument)` and waits for it at most `timeout_ns`. Its result; -ETIMEDOUT: the argument must stay valid for ever; or the error of
 * starting the thread. */
int timed_call(int (*call)(void *argument), void *argument, uint64_t timeout_ns);

#endif
