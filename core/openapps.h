/* Which programs read files by themselves: indexers, thumbnailers, previewers. What such a process opens it gets, but its
 * reads start no fill: else a file manager that shows a directory would start the copy of every file in it.
 *
 * A process is known by the name of its thread, the name of its program file, or, where that may not be read, of its main
 * thread, as /proc shows them; KDE's I/O workers, which are one program for everything, by their command line. A guess for
 * priorities only: any process can choose its name, so nothing that matters for safety may rest on this.
 *
 * There is no cache: what its key would have to be checked against costs as many reads of /proc as the answer, and a shell
 * that becomes updatedb by exec keeps its id and its start time.
 *
 * Thread safe, no state, no locks. Reads only such files of /proc as the kernel answers without waiting for the process
 * (the command line of KDE's workers excepted, which can wait for that process's memory map).
 */
#ifndef CVV_CORE_OPENAPPS_H
#define CVV_CORE_OPENAPPS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whether the process or thread `pid`, as FUSE reports it, is one of them. False where that cannot be found out: it has
 * gone, is in another pid namespace (0), belongs to somebody else and hides. */
bool openapps_is_indexer(pid_t pid);

/* Whether that is the name of one: the last component of a program's path, or a name in /proc/PID/comm, which is cut to 15
 * bytes. */
bool openapps_name_is_indexer(const char *name) __attribute__((nonnull));

/* Whether a command line as in /proc/PID/cmdline (arguments, each with a NUL behind it, the last one perhaps without) is
 * that of a KDE I/O worker which makes thumbnails. */
bool openapps_command_line_is_indexer(const char *command_line, size_t size) __attribute__((nonnull));

#endif
