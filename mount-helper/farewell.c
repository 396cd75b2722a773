#include "mount-helper/farewell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/sync.h"
#include "mount-helper/holders.h"
#include "mount-helper/interrupt.h"
#include "mount-helper/message.h"
#include "mount-helper/quote.h"

enum { COMMAND_LINE_BYTES = 64 * 1024, WORDS_MAX = 1024, READERS_MS = 2000, RETRY_MS = 30 };

/* The command line of a process, quoted; NULL where it cannot be read or is too long to be shown whole. */
static char *command_line(pid_t pid)
{
        cleanup(pointer_free) char *bytes = malloc(COMMAND_LINE_BYTES);
        cleanup(pointer_free) char **words = calloc(WORDS_MAX, sizeof(*words));
        cleanup(fd_close) int fd = -1;
        char path[64], *text = NULL;
        size_t count = 0;
        ssize_t size, used = 0;

        (void)snprintf(path, sizeof(path), "/proc/%ld/cmdline", (long)pid); /* fits */
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (!bytes || !words || fd < 0)
                return NULL;
        while ((size = read(fd, bytes + used, (size_t)(COMMAND_LINE_BYTES - 1 - used))) > 0)
                used += size;
        if (used <= 0 || used == COMMAND_LINE_BYTES - 1)
                return NULL;
        bytes[used] = '\0';
        for (char *word = bytes; word < bytes + used; word += strlen(word) + 1) {
                if (count == WORDS_MAX)
                        return NULL;
                words[count++] = word;
        }
        return quote_words(count, words, &text) < 0 ? NULL : text;
}

void farewell_init(struct farewell *farewell, pid_t pid)
{
        /* glibc has pidfd_open from 2.36 on only with newer headers than some of ours. */
        farewell->pid_fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
        farewell->pid = pid;
        farewell->resume = farewell->pid_fd >= 0 ? command_line(pid) : NULL;
}

void farewell_deinit(struct farewell *farewell)
{
        fd_close(&farewell->pid_fd);
        free(farewell->resume);
        *farewell = (struct farewell){.pid_fd = -1};
}

static void say_holder(const char *line)
{
        message_line("%s", line);
}

static void explain(const struct client *client, int code)
{
        int holders;

        switch (code) {
        case -EBUSY:
                message_line("%s is busy and stays mounted; it is in use by:", client->path);
                holders = holders_list(client->path, &client->entry, say_holder);
                if (holders <= 0)
                        message_line("nobody that this user can see; as root, 'cvv umount' sees everybody");
                return;
        case -ENOENT:
                message_line("%s stays mounted: fusermount3 is not installed (package fuse3); or do it as root",
                             client->path);
                return;
        case -EPERM:
        case -EACCES:
                message_line("%s stays mounted: only root and the user who mounted it may unmount it", client->path);
                return;
        default:
                message_line("%s stays mounted: %s", client->path, strerror(-code));
        }
}

/* Whether the daemon takes SIGUSR1 as it is meant. The number may lead to another process, where the daemon lives in
 * another pid namespace, and SIGUSR1 ends who does not expect it. */
static bool expects_signal(pid_t pid)
{
        cleanup(fd_close) int fd = -1;
        char path[64], text[8192];
        unsigned long long blocked;
        const char *found;
        ssize_t size;

        (void)snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid); /* fits */
        fd = open(path, O_RDONLY | O_CLOEXEC);
        size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (size <= 0)
                return false;
        text[size] = '\0';
        found = strstr(text, "\nSigBlk:");
        return found && sscanf(found, " SigBlk: %llx", &blocked) == 1 && (blocked >> (SIGUSR1 - 1) & 1);
}

/* Has the daemon end the readers of its blocking files. */
static bool end_readers(const struct farewell *farewell)
{
        return farewell->pid_fd >= 0 && expects_signal(farewell->pid) &&
               syscall(SYS_pidfd_send_signal, farewell->pid_fd, SIGUSR1, NULL, 0) == 0;
}

/* Tries again and again while only such readers are in the way: nothing tells when they have closed their files. */
static int unmount_from_readers(const struct farewell *farewell, const struct client *client, enum detach_how how)
{
        uint64_t deadline_ns = clock_now_ns() + READERS_MS * UINT64_C(1000000);
        int r = -EBUSY;

        while (r == -EBUSY && interrupt_signal() == 0 && clock_now_ns() < deadline_ns &&
               holders_others(client->path, &client->entry) == 0 && end_readers(farewell)) {
                (void)poll(NULL, 0, RETRY_MS); /* ends early by a signal, which is looked at above */
                r = detach_mount(client->path, how, -1);
        }
        return r;
}

int farewell_unmount(const struct farewell *farewell, const struct client *client, enum detach_how how)
{
        int r;

        if (chdir("/") < 0) /* so that this process itself does not keep the mount busy */
                message_line("cannot change to /: %s", strerror(errno));
        r = detach_mount(client->path, how, -1);
        if (r == -EBUSY)
                r = unmount_from_readers(farewell, client, how);
        if (r < 0)
                explain(client, r);
        return r;
}

int farewell_wait(const struct farewell *farewell)
{
        struct pollfd poll_fd = {.fd = farewell->pid_fd, .events = POLLIN};

        while (farewell->pid_fd >= 0 && poll(&poll_fd, 1, -1) <= 0)
                if (interrupt_signal() != 0)
                        return -EINTR;
        return 0;
}
