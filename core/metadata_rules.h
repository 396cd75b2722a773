/* The decisions of core/metadata.h that need no object: what mode stands for a lost ACL, which times are the same.
 *
 * Pure functions: no I/O, no state, safe from any thread.
 */
#ifndef CVV_CORE_METADATA_RULES_H
#define CVV_CORE_METADATA_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

/* The permission bits that serve `mode` (with the mask of `acl` as its group bits, as the kernel shows them) best where the
 * access ACL is lost, and give nobody more than the ACL did. `acl` is a value of system.posix_acl_access, any bytes; from
 * what cannot be parsed only the owner's bits stay. */
mode_t metadata_mode_without_acl(mode_t mode, const void *acl, size_t size) __attribute__((nonnull, warn_unused_result));

/* Nanoseconds since 1970; a time beyond the range of int64_t is its nearest end. */
int64_t metadata_time_ns(const struct statx_timestamp *time) __attribute__((nonnull, warn_unused_result));

/* The same of what stat() gives. */
int64_t metadata_timespec_ns(const struct timespec *time) __attribute__((nonnull, warn_unused_result));

/* Whether two modification times are the same one, stored by filesystems of which the coarser keeps multiples of
 * `granularity_ns` (0 and 1: exact; FAT: 2 s), rounded up or down. */
bool metadata_mtime_equal(int64_t a_ns, int64_t b_ns, uint64_t granularity_ns) __attribute__((warn_unused_result));

/* Whether every filesystem in use can hold this time: FAT begins in 1980 (local time), 32-bit seconds end in 2038. */
bool metadata_time_is_common(int64_t time_ns) __attribute__((warn_unused_result));

#endif
