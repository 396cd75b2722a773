#include "core/targetrecord.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/recordkey.h"

int targetrecord_put(struct statedb *db, const struct target_record *record)
{
        struct record_key key = record_key_target(record->slot);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = record_encode_target(record, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_put(db, key.bytes, key.size, buffer, size);
}

int targetrecord_get(struct statedb *db, uint8_t slot, struct target_record *ret_record)
{
        struct record_key key = record_key_target(slot);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = statedb_get(db, key.bytes, key.size, buffer, sizeof(buffer), &size);

        return result < 0 ? result : record_decode_target(buffer, size, ret_record);
}

bool targetrecord_is_void(const struct target *target, const struct target_record *record, uint64_t event_pending)
{
        if (target->event_count == 0)
                return !(record->flags & TARGET_MARKER_REMOVED);
        return target->event_count != record->event_count && target->event_count != event_pending;
}

/* The part of an identity that names the filesystem, not the directory on it. */
static bool same_filesystem_text(const char *a, const char *b)
{
        const char *a_end = strrchr(a, '/'), *b_end = strrchr(b, '/');

        return a_end && b_end && a_end - a == b_end - b && strncmp(a, b, (size_t)(a_end - a)) == 0;
}

bool targetrecord_is_not_mounted(const struct target *target, const struct target_record *record)
{
        cleanup(fd_close) int parent = -1;
        struct stat here, above;

        if (strcmp(target->root.path, record->path) != 0)
                return false;
        if (target->root.fd < 0)
                return true;
        parent = openat(target->root.fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (parent < 0 || fstat(target->root.fd, &here) < 0 || fstat(parent, &above) < 0)
                return false;
        return here.st_dev == above.st_dev && !same_filesystem_text(target->identity, record->identity);
}

bool targetrecord_is_same(const struct target *target, const struct target_record *record)
{
        if (target->marker[0] && record->marker[0] && strcmp(target->marker, record->marker) == 0 && !target->file_name)
                return target->root.device.identity[0] == '\0' || strcmp(target->identity, record->identity) == 0;
        return strcmp(target->identity, record->identity) == 0;
}
