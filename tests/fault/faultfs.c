/*
 * faultfs BACKING MOUNTPOINT RULES
 *
 * Shows the directory BACKING at MOUNTPOINT and misbehaves as the file RULES tells. A tool of the tests: it is placed
 * under a target or a source of cvv, where it can fail the Nth call of one operation on one path.
 *
 * RULES holds one rule a line; '#' begins a comment. A rule is an operation and what happens to it:
 *
 *     write fail=EIO after=3 count=1 path=.cvv/partial/a*
 *     read delay_ms=20
 *     write rate=1048576          (bytes a second, over all callers of this rule)
 *     write short                 (takes half of the bytes)
 *     read flip                   (one wrong byte)
 *     any hang                    (until the rule is gone from the file)
 *
 * after=N lets the first N matching calls pass, count=N ends the rule after it acted N times. path= is a glob over the
 * path below BACKING ('*' matches '/' too) and, being last, takes the rest of the line. All rules that match act. The
 * file is read again when it is replaced or changed, and at SIGHUP; the counters of its rules then begin anew. Replace
 * it by rename: an operation that starts after the rename sees the new rules. SIGUSR1 writes how often each
 * operation was called to RULES.counts. SIGTERM and SIGINT let go of the mount and exit. `faultfs --check RULES` only
 * parses.
 *
 * Nothing is cached by the kernel across operations (timeouts 0), so that each call of the program under test arrives.
 * Not for production: a descriptor for each known inode, and everything happens with the rights of its own user. release
 * and forget are neither counted nor faulted: nobody waits for them.
 */
#include "faultops.h"
#include "faultrules.h"

#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

struct control {
        int signals;
        int changes;
        const char *mountpoint;
};

/* Serves signals and changes of the rules: calls that hang wait for what this thread finds. Ends with the process. */
static void *control_run(void *argument)
{
        const struct control *control = argument;
        struct pollfd polled[] = {{.fd = control->signals, .events = POLLIN}, {.fd = control->changes, .events = POLLIN}};
        struct signalfd_siginfo signal;
        char event[4096];

        for (;;) {
                if (poll(polled, 2, -1) < 0)
                        continue;
                if ((polled[1].revents & POLLIN) != 0 && read(control->changes, event, sizeof event) > 0)
                        rules_reload(false);
                if ((polled[0].revents & POLLIN) == 0 || read(control->signals, &signal, sizeof signal) != sizeof signal)
                        continue;
                if (signal.ssi_signo == SIGHUP)
                        rules_reload(true);
                if (signal.ssi_signo == SIGUSR1)
                        rules_write_counts();
                if (signal.ssi_signo != SIGTERM && signal.ssi_signo != SIGINT)
                        continue;
                rules_end();
                (void)umount2(control->mountpoint, MNT_DETACH);
                _exit(0); /* closing the session aborts what is still under way */
        }
}

static bool control_start(const char *rules_path, struct control *control)
{
        sigset_t signals;
        pthread_t thread;
        char *copy = strdup(rules_path);

        sigemptyset(&signals);
        sigaddset(&signals, SIGHUP);
        sigaddset(&signals, SIGUSR1);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        control->signals = signalfd(-1, &signals, SFD_CLOEXEC);
        control->changes = inotify_init1(IN_CLOEXEC);
        bool good = control->signals >= 0 && control->changes >= 0 && pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0 &&
                    inotify_add_watch(control->changes, dirname(copy), IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE) >= 0 &&
                    pthread_create(&thread, NULL, control_run, control) == 0;
        free(copy);
        return good;
}

static int serve(const char *program, const char *mountpoint, const char *rules_path)
{
        char *arguments[] = {strdup(program),
                             strdup("-odefault_permissions,allow_other,suid,dev,fsname=faultfs,subtype=faultfs"), NULL};
        struct fuse_args args = FUSE_ARGS_INIT(2, arguments);
        static struct control control;
        struct fuse_session *session = fuse_session_new(&args, &faultfs_operations, sizeof faultfs_operations, NULL);
        struct fuse_loop_config *config = fuse_loop_cfg_create();

        control.mountpoint = mountpoint;
        if (session == NULL || config == NULL || fuse_session_mount(session, mountpoint) < 0)
                return 1;
        if (!control_start(rules_path, &control)) {
                perror("faultfs: control");
                fuse_session_unmount(session);
                return 1;
        }
        fuse_loop_cfg_set_max_threads(config, 2000);
        fuse_loop_cfg_set_idle_threads(config, 16);
        int result = fuse_session_loop_mt(session, config);
        fuse_session_unmount(session);
        fuse_session_destroy(session);
        fuse_loop_cfg_destroy(config);
        return result == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
        struct rlimit files;

        if (argc == 3 && strcmp(argv[1], "--check") == 0)
                return rules_start(argv[2], AT_FDCWD) ? 0 : 2;
        if (argc != 4) {
                fprintf(stderr, "usage: faultfs BACKING MOUNTPOINT RULES | faultfs --check RULES\n");
                return 2;
        }
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &files); /* the old limit serves small trees */
        }
        umask(0);
        int backing = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (backing < 0 || !faultfs_set_root(backing)) {
                perror(argv[1]);
                return 1;
        }
        if (!rules_start(argv[3], backing))
                return 2;
        return serve(argv[0], argv[2], argv[3]);
}
