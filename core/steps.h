/* Which step of the way to a durable copy is under way, and how often each was begun, for the tests that kill the process: they must
 * hit every step. Counted in a few atomics; with the environment variable CVV_STEPS naming a file, that file is mapped and holds
 * the counts (begun, ended: two 64-bit numbers for each step), so that they survive the process.
 */
#ifndef CVV_CORE_STEPS_H
#define CVV_CORE_STEPS_H

enum step { STEP_WRITE, STEP_SYNC, STEP_COMMIT, STEP_RENAME, STEP_DIRECTORY_SYNC, STEP_COUNT };

/* Maps the file that CVV_STEPS names; does nothing without it. Before the threads start. */
void steps_init(void);
void steps_begin(enum step step);
void steps_end(enum step step);

#endif
