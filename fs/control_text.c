#include "fs/control_text.h"

#include "core/cleanup.h"
#include "core/command.h"
#include "core/log.h"
#include "core/report_json.h"
#include "core/report_text.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static const char readme[] = "This directory shows what cvv does. It is not listed, but always here by name.\n"
                             "\n"
                             "state        one word: paused, filling, verifying, failed, degraded, complete or idle\n"
                             "progress     percent of all that is to be done, over all files and targets\n"
                             "status       totals, rate, time left, each target, and what is being copied now\n"
                             "status.json  the same for programs\n"
                             "files/PATH   one file of the view as JSON: its state on each target\n"
                             "targets/     N.json: one target as JSON\n"
                             "errors       a line for each problem: path, target, what happened, what cvv will do\n"
                             "skipped      a line for each file skipped, excluded, missing or in conflict, and why\n"
                             "manifest     digests of the verified files; xxhsum -c (md5sum -c, sha256sum -c) checks a target\n"
                             "events       what happened, as JSON lines; a reader then waits for the next event\n"
                             "wait         a read waits until nothing queued can progress, then gives the state\n"
                             "safe-to-erase  yes, or no and why; a reader waits where the source is looked through again\n"
                             "log          the recent log\n"
                             "config       the settings in effect\n"
                             "control      takes commands, one a line; reading it lists them\n"
                             "\n"
                             "Each file is a snapshot of the moment in which it is opened.\n";

/* ---- sources ---- */

static int text_of_constant(const char *constant, char **ret_data)
{
        char *data = strdup(constant);

        if (!data)
                return -ENOMEM;
        *ret_data = data;
        return 0;
}

static int status_format(const struct status *status, enum control_kind kind, char **ret_data)
{
        switch (kind) {
        case CONTROL_STATE:
                return report_state_text(status, ret_data);
        case CONTROL_PROGRESS:
                return report_progress_text(status, ret_data);
        case CONTROL_STATUS:
                return report_status_text(status, false, 0, ret_data);
        default:
                return report_status_json(status, ret_data);
        }
}

static int text_of_status(struct mirror *mirror, enum control_kind kind, char **ret_data)
{
        cleanup(status_deinit) struct status status = {0};
        int r = mirror_status(mirror, &status);

        return r < 0 ? r : status_format(&status, kind, ret_data);
}

static int text_of_target(struct mirror *mirror, uint64_t n, char **ret_data)
{
        cleanup(status_deinit) struct status status = {0};
        int r = mirror_status(mirror, &status);

        if (r < 0)
                return r;
        for (size_t i = 0; i < status.target_count; i++) {
                if (status.targets[i].n == n)
                        return report_target_json(&status.targets[i], ret_data);
        }
        return -ENOENT;
}

static int text_of_file(struct mirror *mirror, uint64_t view_id, char **ret_data)
{
        cleanup(status_file_deinit) struct status_file file = {0};
        int r = mirror_file_status(mirror, view_id, &file);

        return r < 0 ? r : report_file_json(&file, ret_data);
}

static int text_of_log(char **ret_data)
{
        size_t size;

        if (!log_default())
                return text_of_constant("", ret_data);
        return log_history(log_default(), ret_data, &size);
}

/* ---- texts ---- */

static int make(struct mirror *mirror, struct control_node node, char **ret_data, int *ret_fd)
{
        switch (node.kind) {
        case CONTROL_README:
                return text_of_constant(readme, ret_data);
        case CONTROL_STATE:
        case CONTROL_PROGRESS:
        case CONTROL_STATUS:
        case CONTROL_STATUS_JSON:
                return text_of_status(mirror, node.kind, ret_data);
        case CONTROL_ERRORS:
                return mirror_errors(mirror, ret_fd);
        case CONTROL_SKIPPED:
                return mirror_skipped(mirror, ret_fd);
        case CONTROL_MANIFEST:
                return mirror_manifest(mirror, ret_fd);
        case CONTROL_LOG:
                return text_of_log(ret_data);
        case CONTROL_CONFIG:
                return mirror_config(mirror, ret_data);
        case CONTROL_CONTROL:
                return text_of_constant(command_help(), ret_data);
        case CONTROL_TARGET:
                return text_of_target(mirror, node.argument, ret_data);
        case CONTROL_FILE:
                return text_of_file(mirror, node.argument, ret_data);
        case CONTROL_ROOT:
        case CONTROL_FILES:
        case CONTROL_TARGETS:
        case CONTROL_EVENTS:
        case CONTROL_WAIT:
        case CONTROL_SAFE_TO_ERASE:
        case CONTROL_NAMED_END:
                break;
        }
        return -EINVAL;
}

int control_text_make(struct mirror *mirror, struct control_node node, struct control_text *ret_text)
{
        char *data = NULL;
        int fd = -1;
        int r = make(mirror, node, &data, &fd);

        if (r < 0)
                return r;
        *ret_text = (struct control_text){.data = data, .size = data ? strlen(data) : 0, .fd = fd};
        return 0;
}

void control_text_deinit(struct control_text *text)
{
        free(text->data);
        fd_close(&text->fd);
        *text = CONTROL_TEXT_NONE;
}

ssize_t control_text_read(const struct control_text *text, uint64_t offset, char *buffer, size_t size)
{
        ssize_t n;

        if (text->data) {
                if (offset >= text->size)
                        return 0;
                if (size > text->size - offset)
                        size = text->size - offset;
                memcpy(buffer, text->data + offset, size);
                return (ssize_t)size;
        }
        do
                n = pread(text->fd, buffer, size, (off_t)offset);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}
