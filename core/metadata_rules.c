#include "core/metadata_rules.h"

#include <endian.h>
#include <string.h>

/* system.posix_acl_access: a version, then entries, all little-endian (linux/posix_acl_xattr.h). */
enum {
        ACL_VERSION = 2,
        ACL_HEADER_BYTES = 4,
        ACL_ENTRY_BYTES = 8,
        ACL_USER = 0x02,
        ACL_GROUP_OBJ = 0x04,
        ACL_GROUP = 0x08,
        ACL_MASK = 0x10,
        ACL_OTHER = 0x20,
};

struct acl_entry {
        uint16_t tag, permissions;
};

static struct acl_entry acl_entry_at(const void *acl, size_t offset)
{
        struct acl_entry entry;

        memcpy(&entry, (const char *)acl + offset, sizeof(entry));
        return (struct acl_entry){.tag = le16toh(entry.tag), .permissions = le16toh(entry.permissions)};
}

mode_t metadata_mode_without_acl(mode_t mode, const void *acl, size_t size)
{
        unsigned group = (mode >> 3) & 7u, other = mode & 7u, mask = 7u;
        uint32_t version = 0;

        if (size >= ACL_HEADER_BYTES)
                memcpy(&version, acl, sizeof(version));
        if (le32toh(version) != ACL_VERSION || (size - ACL_HEADER_BYTES) % ACL_ENTRY_BYTES != 0)
                return mode & ~(mode_t)077;
        for (size_t offset = ACL_HEADER_BYTES; offset < size; offset += ACL_ENTRY_BYTES) {
                struct acl_entry entry = acl_entry_at(acl, offset);

                if (entry.tag == ACL_MASK)
                        mask = entry.permissions;
        }
        for (size_t offset = ACL_HEADER_BYTES; offset < size; offset += ACL_ENTRY_BYTES) {
                struct acl_entry entry = acl_entry_at(acl, offset);

                /* A named user or group may have had less than the owning group, or than all others: without the ACL they
                 * fall under these, which so get no more than the least of them. A member of a named group that is in the
                 * owning group too had the rights of both. */
                if (entry.tag == ACL_GROUP_OBJ || entry.tag == ACL_USER)
                        group &= entry.permissions & mask;
                if (entry.tag == ACL_OTHER)
                        other &= entry.permissions;
                if (entry.tag == ACL_USER || entry.tag == ACL_GROUP)
                        other &= entry.permissions & mask;
        }
        return (mode & ~(mode_t)077) | group << 3 | other;
}

static int64_t time_ns(int64_t seconds, int64_t nanoseconds)
{
        int64_t ns;

        if (__builtin_mul_overflow(seconds, INT64_C(1000000000), &ns) || __builtin_add_overflow(ns, nanoseconds, &ns))
                return seconds < 0 ? INT64_MIN : INT64_MAX;
        return ns;
}

int64_t metadata_time_ns(const struct statx_timestamp *time)
{
        return time_ns(time->tv_sec, time->tv_nsec);
}

int64_t metadata_timespec_ns(const struct timespec *time)
{
        return time_ns(time->tv_sec, time->tv_nsec);
}

bool metadata_mtime_equal(int64_t a_ns, int64_t b_ns, uint64_t granularity_ns)
{
        uint64_t difference = a_ns > b_ns ? (uint64_t)a_ns - (uint64_t)b_ns : (uint64_t)b_ns - (uint64_t)a_ns;

        return difference < (granularity_ns > 0 ? granularity_ns : 1);
}

bool metadata_time_is_common(int64_t time_ns)
{
        const int64_t day_ns = INT64_C(86400000000000), begin = 3653 * day_ns, end = 24855 * day_ns; /* 1980-01-02, 2038-01-19 */

        return time_ns >= begin && time_ns < end;
}
