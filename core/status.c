#include "core/status.h"

#include <stdlib.h>
#include <string.h>

static void target_deinit(struct status_target *target)
{
        free(target->path);
        free(target->identity);
        free(target->last_error);
        free(target->lost);
}

void status_deinit(struct status *status)
{
        for (size_t i = 0; i < status->target_count; i++)
                target_deinit(&status->targets[i]);
        for (size_t i = 0; i < status->copy_count; i++)
                free(status->copies[i].path);
        free(status->targets);
        free(status->copies);
        free(status->mountpoint);
        free(status->source);
        memset(status, 0, sizeof(*status));
}

void status_file_deinit(struct status_file *file)
{
        for (size_t i = 0; i < file->target_count; i++)
                free(file->targets[i].ranges);
        free(file->targets);
        free(file->path);
        free(file->last_error);
        memset(file, 0, sizeof(*file));
}

/* No default below: the compiler names a state that was forgotten. */

const char *status_state_name(enum mirror_state state)
{
        switch (state) {
        case MIRROR_PAUSED:
                return "paused";
        case MIRROR_FILLING:
                return "filling";
        case MIRROR_VERIFYING:
                return "verifying";
        case MIRROR_FAILED:
                return "failed";
        case MIRROR_DEGRADED:
                return "degraded";
        case MIRROR_COMPLETE:
                return "complete";
        case MIRROR_IDLE:
                return "idle";
        }
        return "unknown";
}

const char *status_target_state_name(enum target_state state)
{
        switch (state) {
        case TARGET_ONLINE:
                return "online";
        case TARGET_BEHIND:
                return "behind";
        case TARGET_FULL:
                return "full";
        case TARGET_FAILED:
                return "failed";
        case TARGET_OFFLINE:
                return "offline";
        }
        return "unknown";
}

const char *status_file_state_name(enum file_state state)
{
        switch (state) {
        case FILE_PENDING:
                return "pending";
        case FILE_PARTIAL:
                return "partial";
        case FILE_COPIED:
                return "copied";
        case FILE_VERIFIED:
                return "verified";
        case FILE_CONFLICT:
                return "conflict";
        case FILE_FAILED:
                return "failed";
        }
        return "unknown";
}
