#include "faultops.h"
#include "faultrules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

struct node {
        struct node *next;
        int fd;
        dev_t device;
        ino_t ino;
        uint64_t lookups;
};

struct directory {
        DIR *stream;
};

#define BUCKETS 4096

static struct node root = {.lookups = UINT64_MAX / 2};
static struct node *buckets[BUCKETS];
static pthread_mutex_t nodes_lock = PTHREAD_MUTEX_INITIALIZER; /* buckets, node.lookups */

/* ---- nodes ---- */

static struct node *node_of(fuse_ino_t ino)
{
        return ino == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)ino;
}

static int fd_of(fuse_ino_t ino)
{
        return node_of(ino)->fd;
}

static struct node **bucket_of(dev_t device, ino_t ino)
{
        return &buckets[(device * 31 + ino) % BUCKETS];
}

static void node_forget(struct node *node, uint64_t lookups)
{
        pthread_mutex_lock(&nodes_lock);
        node->lookups -= lookups;
        if (node != &root && node->lookups == 0) {
                struct node **link = bucket_of(node->device, node->ino);
                while (*link != node)
                        link = &(*link)->next;
                *link = node->next;
                close(node->fd);
                free(node);
        }
        pthread_mutex_unlock(&nodes_lock);
}

/* Fills the entry for name in the directory and takes one lookup on its node; returns an errno. */
static int node_lookup(int parent_fd, const char *name, struct fuse_entry_param *ret_entry)
{
        struct fuse_entry_param entry = {0};
        int fd = openat(parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return errno;
        if (fstatat(fd, "", &entry.attr, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0) {
                int error = errno;
                close(fd);
                return error;
        }
        pthread_mutex_lock(&nodes_lock);
        struct node **bucket = bucket_of(entry.attr.st_dev, entry.attr.st_ino), *node = *bucket;
        while (node != NULL && (node->device != entry.attr.st_dev || node->ino != entry.attr.st_ino))
                node = node->next;
        if (node != NULL) {
                close(fd);
        } else if ((node = calloc(1, sizeof *node)) == NULL) {
                abort();
        } else {
                *node = (struct node){.next = *bucket, .fd = fd, .device = entry.attr.st_dev, .ino = entry.attr.st_ino};
                *bucket = node;
        }
        node->lookups++;
        pthread_mutex_unlock(&nodes_lock);
        entry.ino = (fuse_ino_t)(uintptr_t)node;
        *ret_entry = entry;
        return 0;
}

static void proc_path(fuse_ino_t ino, char *ret_path)
{
        snprintf(ret_path, 64, "/proc/self/fd/%d", fd_of(ino));
}

static void reply_result(fuse_req_t req, int result)
{
        (void)fuse_reply_err(req, result < 0 ? errno : 0); /* a caller that is gone needs no answer */
}

/* Answers and returns true where the rules make the call fail. */
static bool refused(fuse_req_t req, struct verdict verdict)
{
        if (verdict.error != 0)
                (void)fuse_reply_err(req, verdict.error);
        return verdict.error != 0;
}

/* ---- names ---- */

static void reply_entry(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        struct fuse_entry_param entry;
        int error = node_lookup(fd_of(parent), name, &entry);

        if (error != 0)
                (void)fuse_reply_err(req, error);
        else if (fuse_reply_entry(req, &entry) < 0)
                node_forget(node_of(entry.ino), 1);
}

/* After a creation by this process: gives the new name to the caller and answers. */
static void reply_created(fuse_req_t req, fuse_ino_t parent, const char *name, int result)
{
        const struct fuse_ctx *caller = fuse_req_ctx(req);

        if (result < 0 ||
            (caller->uid != geteuid() && fchownat(fd_of(parent), name, caller->uid, caller->gid, AT_SYMLINK_NOFOLLOW) < 0))
                (void)fuse_reply_err(req, errno);
        else
                reply_entry(req, parent, name);
}

static void faultfs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        if (!refused(req, fault(OP_LOOKUP, fd_of(parent), name, 0)))
                reply_entry(req, parent, name);
}

static void faultfs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
        node_forget(node_of(ino), lookups);
        fuse_reply_none(req);
}

static void faultfs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
        if (!refused(req, fault(OP_MKDIR, fd_of(parent), name, 0)))
                reply_created(req, parent, name, mkdirat(fd_of(parent), name, mode));
}

static void faultfs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
        if (!refused(req, fault(OP_MKNOD, fd_of(parent), name, 0)))
                reply_created(req, parent, name, mknodat(fd_of(parent), name, mode, device));
}

static void faultfs_symlink(fuse_req_t req, const char *content, fuse_ino_t parent, const char *name)
{
        if (!refused(req, fault(OP_SYMLINK, fd_of(parent), name, 0)))
                reply_created(req, parent, name, symlinkat(content, fd_of(parent), name));
}

static void faultfs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
        char path[64];

        if (refused(req, fault(OP_LINK, fd_of(parent), name, 0)))
                return;
        proc_path(ino, path);
        if (linkat(AT_FDCWD, path, fd_of(parent), name, AT_SYMLINK_FOLLOW) < 0)
                (void)fuse_reply_err(req, errno);
        else
                reply_entry(req, parent, name);
}

static void faultfs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        if (!refused(req, fault(OP_UNLINK, fd_of(parent), name, 0)))
                reply_result(req, unlinkat(fd_of(parent), name, 0));
}

static void faultfs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        if (!refused(req, fault(OP_RMDIR, fd_of(parent), name, 0)))
                reply_result(req, unlinkat(fd_of(parent), name, AT_REMOVEDIR));
}

static void faultfs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
                           unsigned int flags)
{
        if (!refused(req, fault(OP_RENAME, fd_of(new_parent), new_name, 0)))
                reply_result(req, renameat2(fd_of(parent), name, fd_of(new_parent), new_name, flags));
}

static void faultfs_readlink(fuse_req_t req, fuse_ino_t ino)
{
        char content[PATH_MAX + 1];

        if (refused(req, fault(OP_READLINK, fd_of(ino), NULL, 0)))
                return;
        ssize_t length = readlinkat(fd_of(ino), "", content, PATH_MAX);
        if (length < 0) {
                (void)fuse_reply_err(req, errno);
                return;
        }
        content[length] = '\0';
        (void)fuse_reply_readlink(req, content);
}

/* ---- attributes ---- */

static void reply_attributes(fuse_req_t req, fuse_ino_t ino)
{
        struct stat attributes;

        if (fstatat(fd_of(ino), "", &attributes, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
                (void)fuse_reply_err(req, errno);
        else
                (void)fuse_reply_attr(req, &attributes, 0.0);
}

static void faultfs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
        if (!refused(req, fault(OP_GETATTR, fd_of(ino), NULL, 0)))
                reply_attributes(req, ino);
}

static int set_times(int fd, const struct stat *wanted, int which)
{
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};

        if ((which & FUSE_SET_ATTR_ATIME_NOW) != 0)
                times[0].tv_nsec = UTIME_NOW;
        else if ((which & FUSE_SET_ATTR_ATIME) != 0)
                times[0] = wanted->st_atim;
        if ((which & FUSE_SET_ATTR_MTIME_NOW) != 0)
                times[1].tv_nsec = UTIME_NOW;
        else if ((which & FUSE_SET_ATTR_MTIME) != 0)
                times[1] = wanted->st_mtim;
        return utimensat(fd, "", times, AT_EMPTY_PATH);
}

static int set_attributes(fuse_ino_t ino, const struct stat *wanted, int which, const struct fuse_file_info *info)
{
        char path[64];

        proc_path(ino, path);
        if ((which & FUSE_SET_ATTR_MODE) != 0 && chmod(path, wanted->st_mode) < 0)
                return -1;
        uid_t uid = (which & FUSE_SET_ATTR_UID) != 0 ? wanted->st_uid : (uid_t)-1;
        gid_t gid = (which & FUSE_SET_ATTR_GID) != 0 ? wanted->st_gid : (gid_t)-1;
        if ((which & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0 &&
            fchownat(fd_of(ino), "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
                return -1;
        if ((which & FUSE_SET_ATTR_SIZE) != 0 &&
            (info != NULL ? ftruncate((int)info->fh, wanted->st_size) : truncate(path, wanted->st_size)) < 0)
                return -1;
        if ((which & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)) != 0)
                return set_times(fd_of(ino), wanted, which);
        return 0;
}

static void faultfs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int which, struct fuse_file_info *info)
{
        bool sizes = (which & FUSE_SET_ATTR_SIZE) != 0;

        if (sizes && refused(req, fault(OP_TRUNCATE, fd_of(ino), NULL, 0)))
                return;
        if (!sizes && refused(req, fault(OP_SETATTR, fd_of(ino), NULL, 0)))
                return;
        if (set_attributes(ino, wanted, which, info) < 0)
                (void)fuse_reply_err(req, errno);
        else
                reply_attributes(req, ino);
}

static void faultfs_statfs(fuse_req_t req, fuse_ino_t ino)
{
        struct statvfs result;

        if (refused(req, fault(OP_STATFS, fd_of(ino), NULL, 0)))
                return;
        if (fstatvfs(fd_of(ino), &result) < 0)
                (void)fuse_reply_err(req, errno);
        else
                (void)fuse_reply_statfs(req, &result);
}

static void faultfs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
        char path[64];

        proc_path(ino, path);
        if (!refused(req, fault(OP_SETXATTR, fd_of(ino), NULL, 0)))
                reply_result(req, setxattr(path, name, value, size, flags));
}

static void faultfs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
        char path[64];

        proc_path(ino, path);
        if (!refused(req, fault(OP_SETXATTR, fd_of(ino), NULL, 0)))
                reply_result(req, removexattr(path, name));
}

/* getxattr, and with no name listxattr: both give a size where none was offered, else the bytes. */
static void reply_xattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
        char path[64], *value = malloc(size + 1);

        proc_path(ino, path);
        if (!refused(req, fault(OP_GETXATTR, fd_of(ino), NULL, 0))) {
                ssize_t length = name != NULL ? getxattr(path, name, value, size) : listxattr(path, value, size);
                if (length < 0)
                        (void)fuse_reply_err(req, errno);
                else if (size == 0)
                        (void)fuse_reply_xattr(req, (size_t)length);
                else
                        (void)fuse_reply_buf(req, value, (size_t)length);
        }
        free(value);
}

static void faultfs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
        reply_xattr(req, ino, name, size);
}

static void faultfs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
        reply_xattr(req, ino, NULL, size);
}

/* ---- contents ---- */

static int reopen(fuse_ino_t ino, int flags)
{
        char path[64];

        proc_path(ino, path);
        /* O_DIRECT would ask for alignment of buffers that are libfuse's; the kernel gives offsets, not O_APPEND. */
        return open(path, (flags & ~(O_NOFOLLOW | O_DIRECT | O_APPEND | O_CREAT | O_EXCL)) | O_CLOEXEC);
}

static void faultfs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
        if (refused(req, fault(OP_OPEN, fd_of(ino), NULL, 0)))
                return;
        int fd = reopen(ino, info->flags);
        info->fh = (uint64_t)fd;
        if (fd < 0)
                (void)fuse_reply_err(req, errno);
        else if (fuse_reply_open(req, info) < 0)
                close(fd);
}

static void faultfs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info)
{
        const struct fuse_ctx *caller = fuse_req_ctx(req);
        struct fuse_entry_param entry;

        if (refused(req, fault(OP_CREATE, fd_of(parent), name, 0)))
                return;
        int flags = (info->flags & ~(O_DIRECT | O_APPEND)) | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
        int fd = openat(fd_of(parent), name, flags, mode);
        int error = fd < 0 ? errno : 0;
        if (error == 0 && caller->uid != geteuid() && fchown(fd, caller->uid, caller->gid) < 0)
                error = errno;
        if (error == 0)
                error = node_lookup(fd_of(parent), name, &entry);
        if (error != 0) {
                if (fd >= 0)
                        close(fd);
                (void)fuse_reply_err(req, error);
                return;
        }
        info->fh = (uint64_t)fd;
        if (fuse_reply_create(req, &entry, info) < 0) {
                close(fd);
                node_forget(node_of(entry.ino), 1);
        }
}

static void faultfs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
        close((int)info->fh);
        (void)fuse_reply_err(req, 0);
}

static void faultfs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
        int fd = (int)info->fh;
        struct verdict verdict = fault(OP_READ, fd, NULL, size);
        char *buffer;

        if (refused(req, verdict))
                return;
        if ((buffer = malloc(size + 1)) == NULL) {
                (void)fuse_reply_err(req, ENOMEM);
                return;
        }
        ssize_t length = pread(fd, buffer, size, offset);
        if (length > 1 && verdict.is_short)
                length /= 2;
        if (length > 0 && verdict.flip)
                buffer[length / 2] ^= 1;
        if (length < 0)
                (void)fuse_reply_err(req, errno);
        else
                (void)fuse_reply_buf(req, buffer, (size_t)length);
        free(buffer);
}

static void faultfs_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                          struct fuse_file_info *info)
{
        int fd = (int)info->fh;
        struct verdict verdict = fault(OP_WRITE, fd, NULL, size);

        if (refused(req, verdict))
                return;
        if (verdict.is_short && size > 1)
                size /= 2;
        char *changed = verdict.flip ? malloc(size + 1) : NULL;
        if (changed != NULL) {
                memcpy(changed, bytes, size);
                changed[size / 2] ^= 1;
        }
        ssize_t length = pwrite(fd, changed != NULL ? changed : bytes, size, offset);
        if (length < 0)
                (void)fuse_reply_err(req, errno);
        else
                (void)fuse_reply_write(req, (size_t)length);
        free(changed);
}

static void faultfs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
        if (!refused(req, fault(OP_FLUSH, (int)info->fh, NULL, 0)))
                reply_result(req, close(dup((int)info->fh)));
}

static void faultfs_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
        int fd = (int)info->fh;

        if (!refused(req, fault(OP_FSYNC, fd, NULL, 0)))
                reply_result(req, data_only ? fdatasync(fd) : fsync(fd));
}

static void faultfs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                              struct fuse_file_info *info)
{
        if (!refused(req, fault(OP_FALLOCATE, (int)info->fh, NULL, 0)))
                reply_result(req, fallocate((int)info->fh, mode, offset, length));
}

static void faultfs_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *info)
{
        if (refused(req, fault(OP_LSEEK, (int)info->fh, NULL, 0)))
                return;
        off_t result = lseek((int)info->fh, offset, whence);
        if (result < 0)
                (void)fuse_reply_err(req, errno);
        else
                (void)fuse_reply_lseek(req, result);
}

/* ---- directories ---- */

static struct directory *directory_of(const struct fuse_file_info *info)
{
        return (struct directory *)(uintptr_t)info->fh;
}

static void faultfs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
        if (refused(req, fault(OP_OPEN, fd_of(ino), NULL, 0)))
                return;
        struct directory *directory = calloc(1, sizeof *directory);
        int fd = directory != NULL ? reopen(ino, O_RDONLY | O_DIRECTORY) : -1;
        if (fd < 0 || (directory->stream = fdopendir(fd)) == NULL) {
                (void)fuse_reply_err(req, errno);
                if (fd >= 0)
                        close(fd);
                free(directory);
                return;
        }
        info->fh = (uint64_t)(uintptr_t)directory;
        (void)fuse_reply_open(req, info);
}

static void faultfs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
        closedir(directory_of(info)->stream);
        free(directory_of(info));
        (void)fuse_reply_err(req, 0);
}

static void faultfs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *info)
{
        DIR *stream = directory_of(info)->stream;
        char *buffer;
        size_t used = 0;
        struct dirent *entry;

        if (refused(req, fault(OP_READDIR, dirfd(stream), NULL, 0)))
                return;
        if ((buffer = malloc(size)) == NULL) {
                (void)fuse_reply_err(req, ENOMEM);
                return;
        }
        if (offset != telldir(stream))
                seekdir(stream, offset);
        while (errno = 0, (entry = readdir(stream)) != NULL) {
                struct stat attributes = {.st_ino = entry->d_ino, .st_mode = DTTOIF(entry->d_type)};
                size_t needed =
                    fuse_add_direntry(req, buffer + used, size - used, entry->d_name, &attributes, entry->d_off);
                if (needed > size - used)
                        break;
                used += needed;
        }
        if (errno != 0 && used == 0)
                (void)fuse_reply_err(req, errno);
        else
                (void)fuse_reply_buf(req, buffer, used);
        free(buffer);
}

static void faultfs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *info)
{
        int fd = dirfd(directory_of(info)->stream);

        if (!refused(req, fault(OP_FSYNC, fd, NULL, 0)))
                reply_result(req, fsync(fd));
}

/* ---- the table ---- */

static void faultfs_init(void *data, struct fuse_conn_info *connection)
{
        connection->max_background = 4096; /* calls that hang must not keep others from arriving */
        connection->congestion_threshold = 4096;
}

const struct fuse_lowlevel_ops faultfs_operations = {
    .init = faultfs_init,
    .lookup = faultfs_lookup,
    .forget = faultfs_forget,
    .getattr = faultfs_getattr,
    .setattr = faultfs_setattr,
    .readlink = faultfs_readlink,
    .mknod = faultfs_mknod,
    .mkdir = faultfs_mkdir,
    .unlink = faultfs_unlink,
    .rmdir = faultfs_rmdir,
    .symlink = faultfs_symlink,
    .rename = faultfs_rename,
    .link = faultfs_link,
    .open = faultfs_open,
    .read = faultfs_read,
    .write = faultfs_write,
    .flush = faultfs_flush,
    .release = faultfs_release,
    .fsync = faultfs_fsync,
    .opendir = faultfs_opendir,
    .readdir = faultfs_readdir,
    .releasedir = faultfs_releasedir,
    .fsyncdir = faultfs_fsyncdir,
    .statfs = faultfs_statfs,
    .setxattr = faultfs_setxattr,
    .getxattr = faultfs_getxattr,
    .listxattr = faultfs_listxattr,
    .removexattr = faultfs_removexattr,
    .create = faultfs_create,
    .fallocate = faultfs_fallocate,
    .lseek = faultfs_lseek,
};

bool faultfs_set_root(int fd)
{
        struct stat attributes;

        if (fstat(fd, &attributes) < 0)
                return false;
        root.fd = fd;
        root.device = attributes.st_dev;
        root.ino = attributes.st_ino;
        return true;
}
