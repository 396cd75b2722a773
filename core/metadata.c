#include "core/metadata.h"

#include "core/cleanup.h"
#include "core/metadata_rules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The kernel's limits for a list and for a value. Reading with buffers of this size never races with a growing value: there
 * is no first call that asks for the size. */
enum {
        XATTR_LIST_BYTES = 65536,
        XATTR_VALUE_BYTES = 65536,
};

/* Less free space than this is a full disk; with more, ENOSPC of an attribute is a limit of the format (one block on ext4).
 */
enum { ROOM_BYTES = 1 << 20 };

#define MTIME_COARSEST_NS UINT64_C(2000000001) /* FAT's 2 s still count as kept */

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define CAPABILITY "security.capability"

enum xattr_kind {
        KIND_SKIPPED,
        KIND_USER,
        KIND_OTHER,
        KIND_LABEL,
        KIND_CAPABILITY,
        KIND_ACL,
};

/* The first prefix that fits decides. */
static enum xattr_kind kind_of(const char *name)
{
        static const struct {
                const char *prefix;
                enum xattr_kind kind;
        } kinds[] = {
            {"user.cvv.", KIND_SKIPPED},    {"user.", KIND_USER},      {ACL_ACCESS, KIND_ACL},
            {ACL_DEFAULT, KIND_ACL},        {"system.", KIND_SKIPPED}, {CAPABILITY, KIND_CAPABILITY},
            {"security.evm", KIND_SKIPPED}, {"security.", KIND_LABEL}, {"trusted.SGI_", KIND_SKIPPED},
            {"btrfs.", KIND_SKIPPED},       {"afs.", KIND_SKIPPED},
        };

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
                        return kinds[i].kind;
        return KIND_OTHER;
}

static unsigned loss_of(enum xattr_kind kind)
{
        switch (kind) {
        case KIND_ACL:
                return METADATA_LOST_ACL;
        case KIND_CAPABILITY:
                return METADATA_LOST_CAPABILITY;
        case KIND_LABEL:
                return METADATA_LOST_LABEL;
        case KIND_SKIPPED:
                return 0;
        case KIND_USER:
        case KIND_OTHER:
                break;
        }
        return METADATA_LOST_XATTR;
}

/* An open object. The f… calls refuse O_PATH descriptors with EBADF; /proc/self/fd/N leads to the very same object, and not
 * beyond it where it is a symlink. */
struct object {
        int fd;
        bool by_path;
        char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
};

static int object_init(struct object *object, int fd)
{
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0)
                return -errno;
        object->fd = fd;
        object->by_path = (flags & O_PATH) != 0;
        (void)snprintf(object->path, sizeof(object->path), "/proc/self/fd/%d", fd); /* fits every int */
        return 0;
}

/* -errno of a call on the object. Without /proc, an object that needs it has no such operation. */
static int object_error(const struct object *object)
{
        return object->by_path && errno == ENOENT ? -ENOSYS : -errno;
}

static int object_stat(const struct object *object, struct statx *ret)
{
        struct statx st;

        if (statx(object->fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
                return -errno;
        *ret = st;
        return 0;
}

static int object_chmod(const struct object *object, mode_t mode)
{
        int result = object->by_path ? chmod(object->path, mode) : fchmod(object->fd, mode);

        return result < 0 ? object_error(object) : 0;
}

static int object_chown(const struct object *object, uid_t uid, gid_t gid)
{
        return fchownat(object->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static ssize_t object_list_xattrs(const struct object *object, char *names, size_t size)
{
        ssize_t got = object->by_path ? listxattr(object->path, names, size) : flistxattr(object->fd, names, size);

        return got < 0 ? object_error(object) : got;
}

static ssize_t object_get_xattr(const struct object *object, const char *name, void *value, size_t size)
{
        ssize_t got =
            object->by_path ? getxattr(object->path, name, value, size) : fgetxattr(object->fd, name, value, size);

        return got < 0 ? object_error(object) : got;
}

static int object_set_xattr(const struct object *object, const struct metadata_xattr *xattr)
{
        int result = object->by_path ? setxattr(object->path, xattr->name, xattr->value, xattr->size, 0)
                                     : fsetxattr(object->fd, xattr->name, xattr->value, xattr->size, 0);

        return result < 0 ? object_error(object) : 0;
}

static int object_remove_xattr(const struct object *object, const char *name)
{
        int result = object->by_path ? removexattr(object->path, name) : fremovexattr(object->fd, name);

        if (result < 0 && errno == ENODATA)
                return 0;
        return result < 0 ? object_error(object) : 0;
}

/* What says "not here" or "not you", in contrast to "the medium fails". */
static bool is_loss(int result)
{
        switch (-result) {
        case EPERM:
        case EACCES:
        case EOPNOTSUPP:
        case ENOSYS:
        case EINVAL:
        case ERANGE:
        case E2BIG:
        case EOVERFLOW:
        case ENAMETOOLONG:
                return true;
        default:
                return false;
        }
}

/* Lists into a new buffer; the names are terminated, the last one is followed by an empty one. *ret_loss: it may not be
 * listed. */
static int list_names(const struct object *object, char **ret_names, unsigned *ret_loss)
{
        cleanup(pointer_free) char *names = malloc(XATTR_LIST_BYTES + 2);
        unsigned loss = 0;
        ssize_t size;

        if (!names)
                return -ENOMEM;
        size = object_list_xattrs(object, names, XATTR_LIST_BYTES);
        if (size < 0) {
                if (!is_loss((int)size))
                        return (int)size;
                if (size != -EOPNOTSUPP && (size != -ENOSYS || object->by_path))
                        loss = METADATA_LOST_XATTR | METADATA_LOST_ACL;
                size = 0;
        }
        names[size] = names[size + 1] = '\0';
        *ret_names = names;
        names = NULL;
        *ret_loss = loss;
        return 0;
}

static const char *name_next(const char *name)
{
        return name + strlen(name) + 1;
}

static int xattr_append(struct metadata *metadata, const char *name, const void *value, size_t size)
{
        size_t count = metadata->xattr_count;
        struct metadata_xattr *larger = reallocarray(metadata->xattrs, count + 1, sizeof(*larger));
        struct metadata_xattr xattr = {.size = size};

        if (!larger)
                return -ENOMEM;
        metadata->xattrs = larger;
        xattr.name = strdup(name);
        xattr.value = malloc(size > 0 ? size : 1);
        if (!xattr.name || !xattr.value) {
                free(xattr.name);
                free(xattr.value);
                return -ENOMEM;
        }
        memcpy(xattr.value, value, size);
        larger[count] = xattr;
        metadata->xattr_count = count + 1;
        return 0;
}

static int capture_xattrs(const struct object *object, struct metadata *metadata)
{
        cleanup(pointer_free) char *names = NULL;
        cleanup(pointer_free) void *value = malloc(XATTR_VALUE_BYTES);
        size_t total = 0;
        int result;

        if (!value)
                return -ENOMEM;
        result = list_names(object, &names, &metadata->unread);
        if (result < 0)
                return result;
        for (const char *name = names; *name; name = name_next(name)) {
                enum xattr_kind kind = kind_of(name);
                ssize_t size;

                if (kind == KIND_SKIPPED)
                        continue;
                size = object_get_xattr(object, name, value, XATTR_VALUE_BYTES);
                if (size == -ENODATA) /* removed since it was listed */
                        continue;
                if (size < 0 && !is_loss((int)size))
                        return (int)size;
                if (size < 0 || (total += (size_t)size) > METADATA_XATTR_BYTES_MAX) {
                        metadata->unread |= loss_of(kind);
                        continue;
                }
                result = xattr_append(metadata, name, value, (size_t)size);
                if (result < 0)
                        return result;
        }
        return 0;
}

int metadata_capture(int fd, struct metadata *ret)
{
        cleanup(metadata_deinit) struct metadata metadata = {0};
        struct object object;
        int result = object_init(&object, fd);

        if (result == 0)
                result = object_stat(&object, &metadata.stat);
        if (result == 0)
                result = capture_xattrs(&object, &metadata);
        if (result < 0)
                return result;
        *ret = metadata;
        metadata = (struct metadata){0};
        return 0;
}

void metadata_deinit(struct metadata *metadata)
{
        for (size_t i = 0; i < metadata->xattr_count; i++) {
                free(metadata->xattrs[i].name);
                free(metadata->xattrs[i].value);
        }
        free(metadata->xattrs);
        *metadata = (struct metadata){0};
}

/* One metadata_apply() at work. */
struct application {
        struct object object;
        const struct metadata *source;
        struct statx now; /* of the target's object; its owner is up to date after apply_owner() */
        char *names;      /* the attributes that it had at first */
        unsigned lost;
};

static int settle(struct application *a, int result, unsigned loss)
{
        if (result >= 0)
                return 0;
        if (!is_loss(result))
                return result;
        a->lost |= loss;
        return 0;
}

static bool is_symlink(const struct application *a)
{
        return S_ISLNK(a->now.stx_mode);
}

static bool owner_is_kept(const struct application *a)
{
        return a->now.stx_uid == a->source->stat.stx_uid && a->now.stx_gid == a->source->stat.stx_gid;
}

static const struct metadata_xattr *source_xattr(const struct application *a, const char *name)
{
        for (size_t i = 0; i < a->source->xattr_count; i++)
                if (strcmp(a->source->xattrs[i].name, name) == 0)
                        return &a->source->xattrs[i];
        return NULL;
}

/* An attribute that the object has and has to lose. A present access ACL always goes: until the new one is set, its entries
 * would grant what the mode of the moment lets through. */
static bool is_stale(const struct application *a, const char *name)
{
        if (strcmp(name, ACL_ACCESS) == 0)
                return true;
        if (source_xattr(a, name))
                return false;
        switch (kind_of(name)) {
        case KIND_USER: /* stays where it may just not have been readable in the source */
                return !(a->source->unread & METADATA_LOST_XATTR);
        case KIND_ACL:
        case KIND_CAPABILITY:
                return true;
        case KIND_SKIPPED:
        case KIND_OTHER:
        case KIND_LABEL:
                break;
        }
        return false;
}

/* Owner, user.* attributes or an ACL are about to change: until the final mode is set, the object is for its owner alone,
 * and writable by him, since user.* attributes can be set by those only who may write the file. */
static bool needs_privacy(const struct application *a)
{
        if (is_symlink(a))
                return false;
        if (!owner_is_kept(a))
                return true;
        for (const char *name = a->names; *name; name = name_next(name))
                if (is_stale(a, name))
                        return true;
        for (size_t i = 0; i < a->source->xattr_count && !(a->now.stx_mode & S_IWUSR); i++)
                if (kind_of(a->source->xattrs[i].name) == KIND_USER)
                        return true;
        return false;
}

static int apply_privacy(struct application *a)
{
        mode_t mode = (a->now.stx_mode & S_IRWXU) | S_IRUSR | S_IWUSR;

        return needs_privacy(a) ? settle(a, object_chmod(&a->object, mode), 0) : 0; /* the final look at the mode counts */
}

static int remove_stale_xattrs(struct application *a)
{
        for (const char *name = a->names; *name; name = name_next(name)) {
                int result;

                if (!is_stale(a, name))
                        continue;
                result = settle(a, object_remove_xattr(&a->object, name), loss_of(kind_of(name)));
                if (result < 0)
                        return result;
        }
        return 0;
}

static bool has_room(int fd)
{
        struct statvfs fs;

        return fstatvfs(fd, &fs) == 0 && fs.f_bavail > ROOM_BYTES / (fs.f_frsize > 0 ? fs.f_frsize : 1);
}

/* Security labels in particular often stand there already, and may not be set. */
static bool has_value(const struct application *a, const struct metadata_xattr *xattr)
{
        cleanup(pointer_free) void *value = malloc(XATTR_VALUE_BYTES);
        ssize_t size = value ? object_get_xattr(&a->object, xattr->name, value, XATTR_VALUE_BYTES) : -ENOMEM;

        return size >= 0 && (size_t)size == xattr->size && memcmp(value, xattr->value, xattr->size) == 0;
}

static int apply_xattr(struct application *a, const struct metadata_xattr *xattr)
{
        int result = object_set_xattr(&a->object, xattr);

        if (result == -ENOSPC && has_room(a->object.fd))
                result = -E2BIG;
        if (result < 0 && is_loss(result) && has_value(a, xattr))
                return 0;
        return settle(a, result, loss_of(kind_of(xattr->name)));
}

static int apply_kinds(struct application *a, unsigned kinds)
{
        for (size_t i = 0; i < a->source->xattr_count; i++) {
                int result;

                if (!(kinds & (1u << kind_of(a->source->xattrs[i].name))))
                        continue;
                result = apply_xattr(a, &a->source->xattrs[i]);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int apply_xattrs(struct application *a)
{
        return apply_kinds(a, 1u << KIND_USER | 1u << KIND_OTHER | 1u << KIND_LABEL);
}

static int apply_owner(struct application *a)
{
        uid_t uid = a->source->stat.stx_uid;
        gid_t gid = a->source->stat.stx_gid;
        int result;

        if (owner_is_kept(a))
                return 0;
        result = settle(a, object_chown(&a->object, uid, gid), 0);
        if (result == 0)
                result = object_stat(&a->object, &a->now);
        /* A user may give a file to another of his groups; a user namespace may know only one of the two. */
        if (result == 0 && a->now.stx_gid != gid)
                result = settle(a, object_chown(&a->object, (uid_t)-1, gid), 0);
        if (result == 0 && a->now.stx_uid != uid)
                result = settle(a, object_chown(&a->object, uid, (gid_t)-1), 0);
        return result == 0 ? object_stat(&a->object, &a->now) : result;
}

/* The mode as it may stand without the ACL, which follows and gives the group bits their last value. */
static int apply_mode(struct application *a)
{
        const struct metadata_xattr *acl = source_xattr(a, ACL_ACCESS);
        mode_t mode = a->source->stat.stx_mode & 07777;

        if (is_symlink(a))
                return 0;
        if (acl)
                mode = metadata_mode_without_acl(mode, acl->value, acl->size);
        if (!owner_is_kept(a))
                mode &= ~(mode_t)(S_ISUID | S_ISGID);
        return settle(a, object_chmod(&a->object, mode), METADATA_LOST_MODE);
}

static int apply_acls(struct application *a)
{
        return apply_kinds(a, 1u << KIND_ACL);
}

/* After the owner, as a chown drops it. It was granted to a program of that owner, not to one of another. */
static int apply_capability(struct application *a)
{
        if (owner_is_kept(a))
                return apply_kinds(a, 1u << KIND_CAPABILITY);
        if (!source_xattr(a, CAPABILITY))
                return 0; /* one that was there went with what is stale */
        a->lost |= METADATA_LOST_CAPABILITY;
        for (const char *name = a->names; *name; name = name_next(name))
                if (strcmp(name, CAPABILITY) == 0)
                        return settle(a, object_remove_xattr(&a->object, name), METADATA_LOST_CAPABILITY);
        return 0;
}

static struct timespec time_to_set(const struct metadata *source, const struct statx_timestamp *time, unsigned mask)
{
        struct timespec result = {.tv_sec = (time_t)time->tv_sec, .tv_nsec = (long)time->tv_nsec};

        if (!(source->stat.stx_mask & mask))
                return (struct timespec){.tv_nsec = UTIME_OMIT};
        if (result.tv_nsec > 999999999) /* a crafted one could read as UTIME_NOW */
                result.tv_nsec = 999999999;
        return result;
}

/* Last, as everything before may touch them. */
static int apply_times(struct application *a)
{
        const struct metadata *source = a->source;
        struct timespec times[2] = {
            time_to_set(source, &source->stat.stx_atime, STATX_ATIME),
            time_to_set(source, &source->stat.stx_mtime, STATX_MTIME),
        };
        int result = utimensat(a->object.fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;

        return settle(a, result, METADATA_LOST_TIMES);
}

static int look_again(struct application *a)
{
        const struct statx *wanted = &a->source->stat;
        int result = object_stat(&a->object, &a->now);

        if (result < 0)
                return result;
        a->lost &= ~(unsigned)METADATA_LOST_MODE; /* a refused call that would have changed nothing is no loss */
        if (!owner_is_kept(a))
                a->lost |= METADATA_LOST_OWNER;
        if (!is_symlink(a) && a->now.stx_mode != wanted->stx_mode)
                a->lost |= METADATA_LOST_MODE;
        if ((wanted->stx_mask & STATX_MTIME) &&
            !metadata_mtime_equal(metadata_time_ns(&a->now.stx_mtime), metadata_time_ns(&wanted->stx_mtime),
                                  MTIME_COARSEST_NS))
                a->lost |= METADATA_LOST_TIMES;
        return 0;
}

int metadata_apply(int fd, const struct metadata *source, unsigned *ret_lost)
{
        static int (*const steps[])(struct application *) = {
            apply_privacy, remove_stale_xattrs, apply_xattrs, apply_owner, apply_mode,
            apply_acls,    apply_capability,    apply_times,  look_again,
        };
        struct application a = {.source = source, .lost = source->unread};
        cleanup(pointer_free) char *names = NULL;
        unsigned unlisted; /* what cannot be listed cannot be removed; setting shows by itself what is lost */
        int result = object_init(&a.object, fd);

        if (result == 0)
                result = object_stat(&a.object, &a.now);
        if (result < 0)
                return result;
        if ((a.now.stx_mode & S_IFMT) != (source->stat.stx_mode & S_IFMT))
                return -EINVAL;
        result = list_names(&a.object, &names, &unlisted);
        a.names = names;
        for (size_t i = 0; result == 0 && i < sizeof(steps) / sizeof(steps[0]); i++)
                result = steps[i](&a);
        if (result < 0)
                return result;
        *ret_lost = a.lost;
        return 0;
}

int metadata_apply_at(int dir_fd, const char *name, const struct metadata *source, unsigned *ret_lost)
{
        cleanup(fd_close) int fd = -1;

        if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strchr(name, '/'))
                return -EINVAL;
        fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? -errno : metadata_apply(fd, source, ret_lost);
}
