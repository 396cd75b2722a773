#include "core/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <linux/types.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <xxhash.h>

#include "core/cleanup.h"
#include "core/fstraits.h"
#include "core/io.h"
#include "core/mountinfo.h"

enum {
        SAMPLE_ENTRIES = 64, /* names looked at for a regular file and for times; a bound, since a directory can be huge */
        SAMPLE_FILES = 16,   /* and files: each may cost a round trip */
        HANDLE_BYTES = 32,   /* the handles used here are 8 to 20 bytes long */
        PLACE_BYTES = 2 * HANDLE_BYTES + 16,
};

/* Kernel 6.9. Headers before that lack it, later ones call the struct fsuuid2. */
struct filesystem_uuid {
        __u8 length;
        __u8 bytes[16];
};
#define GET_FILESYSTEM_UUID _IOR(0x15, 0, struct filesystem_uuid)

/* What device_probe gathers before it decides. */
struct probe {
        int directory_fd;
        int readable_fd; /* the same directory opened for reading, -1 where it may not be */
        struct statx attributes;
        struct statfs filesystem;
        const struct fs_traits *traits;
        struct mountinfo mount; /* zeroed where it is not seen */
        uint64_t times_ns[SAMPLE_FILES + 1];
        size_t time_count;
        int direct_io; /* 1 or 0 as a file said, -1 while none did */
};

static void probe_deinit(struct probe *probe)
{
        fd_close(&probe->readable_fd);
        mountinfo_deinit(&probe->mount);
}

static const char *text_or(const char *text, const char *otherwise)
{
        return text && *text ? text : otherwise;
}

static const char *probe_fs_name(const struct probe *probe)
{
        return text_or(probe->mount.fs_name, probe->traits->name);
}

/* fuseblk: FUSE on a block device of its own, such as ntfs-3g and exfat-fuse. */
static bool is_fuse_on_block_device(const struct probe *probe)
{
        return probe->traits->class == FS_CLASS_FUSE && strncmp(probe_fs_name(probe), "fuseblk", 7) == 0;
}

static int open_for_reading(int directory_fd)
{
        const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
        int fd = openat(directory_fd, ".", flags | O_NOATIME); /* EPERM for who does not own it */

        return fd >= 0 ? fd : openat(directory_fd, ".", flags);
}

/* --- Samples of what lies in the directory: times, and whether a file can be read with O_DIRECT -------------------- */

static void add_time(struct probe *probe, const struct statx *attributes)
{
        if (probe->time_count >= SAMPLE_FILES + 1 || !(attributes->stx_mask & STATX_MTIME) ||
            attributes->stx_mtime.tv_sec < 0)
                return;
        probe->times_ns[probe->time_count++] =
            (uint64_t)attributes->stx_mtime.tv_sec * UINT64_C(1000000000) + attributes->stx_mtime.tv_nsec;
}

static int file_takes_direct_io(int directory_fd, const char *name)
{
        cleanup(fd_close) int fd =
            openat(directory_fd, name, O_RDONLY | O_DIRECT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

        if (fd >= 0)
                return 1;
        return errno == EINVAL ? 0 : -1; /* EACCES and the like say nothing about the filesystem */
}

static bool sample_file(struct probe *probe, const char *name)
{
        unsigned int mask = STATX_TYPE | STATX_MTIME;
        struct statx attributes;

#ifdef STATX_DIOALIGN
        mask |= STATX_DIOALIGN;
#endif
        if (statx(probe->readable_fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, mask, &attributes) <
            0)
                return false;
        if (!S_ISREG(attributes.stx_mode) || attributes.stx_dev_major != probe->attributes.stx_dev_major ||
            attributes.stx_dev_minor != probe->attributes.stx_dev_minor)
                return false;
        add_time(probe, &attributes);
#ifdef STATX_DIOALIGN
        if (attributes.stx_mask & STATX_DIOALIGN)
                probe->direct_io = attributes.stx_dio_mem_align != 0;
#endif
        if (probe->direct_io < 0)
                probe->direct_io = file_takes_direct_io(probe->readable_fd, name);
        return true;
}

static void sample_directory(struct probe *probe)
{
        cleanup(dir_close) DIR *directory = NULL;
        cleanup(fd_close) int fd = open_for_reading(probe->readable_fd); /* of its own: closedir closes it */
        size_t files = 0;

        directory = fd >= 0 ? fdopendir(fd) : NULL;
        if (!directory)
                return;
        (void)fd_steal(&fd); /* the stream owns it now */
        for (size_t i = 0; i < SAMPLE_ENTRIES && files < SAMPLE_FILES; i++) {
                const struct dirent *entry = readdir(directory);

                if (!entry)
                        return; /* the end or an error: a sample needs no more */
                if (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN)
                        files += sample_file(probe, entry->d_name);
        }
}

uint64_t device_granularity_of(const uint64_t *times_ns, size_t count)
{
        static const uint64_t known[] = {2000000000, 1000000000, 10000000, 1000000, 1000, 100};

        for (size_t i = count ? 0 : 1; i < sizeof(known) / sizeof(known[0]); i++) {
                size_t multiples = 0;

                while (multiples < count && times_ns[multiples] % known[i] == 0)
                        multiples++;
                if (multiples == count)
                        return known[i];
        }
        return 1;
}

static uint64_t probe_granularity(const struct probe *probe)
{
        const uint64_t table = probe->traits->mtime_granularity_ns;

        /* ext2 to ext4 with 128-byte inodes keep whole seconds, and just these have no room for a birth time. */
        if (probe->traits->magic == FS_EXT)
                return probe->attributes.stx_mask & STATX_BTIME ? 1 : UINT64_C(1000000000);
        return table ? table : device_granularity_of(probe->times_ns, probe->time_count);
}

/* --- The block device ---------------------------------------------------------------------------------------------- */

static dev_t probe_st_dev(const struct probe *probe)
{
        return makedev(probe->attributes.stx_dev_major, probe->attributes.stx_dev_minor);
}

/* The block device under the filesystem, 0 where there is none. The source of a mount is believed only of filesystems that
 * the kernel mounts from block devices: a FUSE daemon writes there what it likes. */
static dev_t block_device(const struct probe *probe)
{
        const char *source = text_or(probe->mount.source, "");
        struct stat status;

        if (probe->attributes.stx_dev_major != 0)
                return probe_st_dev(probe);
        if (probe->traits->class == FS_CLASS_BLOCK && source[0] == '/' && stat(source, &status) == 0 &&
            S_ISBLK(status.st_mode))
                return status.st_rdev;
        return 0;
}

static enum device_kind rotation_of(dev_t device)
{
        static const char *const where[] = {"", "../"}; /* a partition has the queue of its disk */

        for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
                char path[80];
                char value;

                (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/rotational", major(device), minor(device),
                               where[i]); /* fits */
                cleanup(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd >= 0 && read(fd, &value, 1) == 1)
                        return value == '1' ? DEVICE_SPINNING : DEVICE_SOLID;
        }
        return DEVICE_UNKNOWN;
}

bool device_fuse_is_network(const char *fs_name, const char *source)
{
        static const char *const names[] = {
            "sshfs",    "glusterfs", "rclone",    "s3fs",      "gcsfuse",    "ceph",          "ceph-fuse",
            "davfs",    "davfs2",    "curlftpfs", "smbnetfs",  "gvfsd-fuse", "mfs",           "moosefs",
            "lizardfs", "saunafs",   "juicefs",   "seaweedfs", "JuiceFS",    "s3ql",          "fuse-nfs",
            "goofys",   "blobfuse",  "blobfuse2", "cvmfs2",    "ipfs",       "onedriver",     "google-drive-ocamlfuse",
            "kio-fuse", "hdfs",      "fuse_dfs",  "beegfs",    "mount-s3",   "mountpoint-s3", "geesefs"};

        if (strstr(source, "://"))
                return true;
        if (strncmp(fs_name, "fuse.", 5) != 0)
                return false;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (strcmp(fs_name + 5, names[i]) == 0)
                        return true;
        return false;
}

static enum device_kind probe_kind(const struct probe *probe)
{
        switch (probe->traits->class) {
        case FS_CLASS_NETWORK:
                return DEVICE_NETWORK;
        case FS_CLASS_MEMORY:
                return DEVICE_MEMORY;
        case FS_CLASS_FUSE:
                return device_fuse_is_network(probe_fs_name(probe), text_or(probe->mount.source, "")) ? DEVICE_NETWORK
                                                                                                      : DEVICE_FUSE;
        case FS_CLASS_BLOCK:
        case FS_CLASS_OTHER:
                break;
        }
        dev_t device = block_device(probe);
        return device ? rotation_of(device) : DEVICE_UNKNOWN;
}

/* --- Identity ------------------------------------------------------------------------------------------------------ */

static void write_hex(const uint8_t *bytes, size_t count, char *ret_text)
{
        for (size_t i = 0; i < count; i++)
                (void)snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]); /* the caller made room */
}

/* The kernel says 16 bytes, udev "0a1b-…" or "ABCD-1234": written alike, so that either way gives the same identity. */
static void normalise_uuid(const char *text, char ret_uuid[static DEVICE_UUID_BYTES])
{
        size_t used = 0;

        for (; *text && used + 1 < DEVICE_UUID_BYTES; text++) {
                if (*text == '-')
                        continue;
                ret_uuid[used++] = *text >= 'A' && *text <= 'Z' ? (char)(*text + ('a' - 'A')) : *text == '/' ? '_' : *text;
        }
        ret_uuid[used] = '\0';
}

int device_uuid_from_links(const char *directory, dev_t device, char ret_uuid[static DEVICE_UUID_BYTES])
{
        cleanup(dir_close) DIR *links = opendir(directory);
        const struct dirent *entry;

        if (!links)
                return -errno;
        while ((entry = readdir(links))) {
                struct stat status;

                if (entry->d_name[0] != '.' && fstatat(dirfd(links), entry->d_name, &status, 0) == 0 &&
                    S_ISBLK(status.st_mode) && status.st_rdev == device) {
                        normalise_uuid(entry->d_name, ret_uuid);
                        return 0;
                }
        }
        return -ENOENT;
}

/* btrfs answers GET_FILESYSTEM_UUID with ENOTTY (kernel 6.18), and its own ioctl needs no privilege. */
static bool uuid_from_btrfs(const struct probe *probe, struct filesystem_uuid *ret_answer)
{
        struct btrfs_ioctl_fs_info_args information = {0};

        if (probe->traits->magic != FS_BTRFS || ioctl(probe->readable_fd, BTRFS_IOC_FS_INFO, &information) < 0)
                return false;
        ret_answer->length = sizeof(ret_answer->bytes);
        memcpy(ret_answer->bytes, information.fsid, sizeof(ret_answer->bytes));
        return true;
}

static bool uuid_from_kernel(const struct probe *probe, char ret_uuid[static DEVICE_UUID_BYTES])
{
        static const uint8_t zero[16];
        struct filesystem_uuid answer = {0};

        if (probe->readable_fd < 0)
                return false;
        if (ioctl(probe->readable_fd, GET_FILESYSTEM_UUID, &answer) < 0 && !uuid_from_btrfs(probe, &answer))
                return false;
        if (answer.length == 0 || answer.length > sizeof(answer.bytes) || memcmp(answer.bytes, zero, answer.length) == 0)
                return false;
        /* Serial numbers (vfat: 4 bytes) come in little-endian order, and udev writes them as numbers. */
        bool serial = answer.length <= 8;
        for (size_t i = 0; i < answer.length; i++)
                write_hex(&answer.bytes[serial ? answer.length - 1u - i : i], 1, ret_uuid + 2 * i);
        return true;
}

static bool uuid_from_fsid(const struct probe *probe, char ret_uuid[static DEVICE_UUID_BYTES])
{
        int words[2];

        if (!probe->traits->fsid_is_uuid)
                return false;
        memcpy(words, &probe->filesystem.f_fsid, sizeof(words));
        if (words[0] == 0 && words[1] == 0)
                return false;
        (void)snprintf(ret_uuid, DEVICE_UUID_BYTES, "fsid-%08x%08x", (unsigned int)words[0],
                       (unsigned int)words[1]); /* fits */
        return true;
}

/* Leaves "" where the filesystem has no identity of its own. tmpfs has a UUID, but a random one for each mount, and a FUSE
 * daemon would be asked for one; what a network filesystem says of the server's disk is not known well enough. */
static void probe_uuid(const struct probe *probe, char ret_uuid[static DEVICE_UUID_BYTES])
{
        bool block = probe->traits->class == FS_CLASS_BLOCK || probe->traits->class == FS_CLASS_OTHER;

        ret_uuid[0] = '\0';
        if (!block && !is_fuse_on_block_device(probe))
                return;
        if (block && uuid_from_kernel(probe, ret_uuid))
                return;
        dev_t device = block_device(probe);
        if (device && device_uuid_from_links("/dev/disk/by-uuid", device, ret_uuid) == 0)
                return;
        ret_uuid[0] = '\0';
        (void)uuid_from_fsid(probe, ret_uuid); /* the last way: none is an answer too */
}

/* The path of the directory inside its filesystem. 0, -ENOENT where it is not seen, -ENOMEM. */
static int path_inside(int directory_fd, const struct mountinfo *mount, char **ret_path)
{
        char link[40];
        char path[4096];

        if (!mount->mount_point)
                return -ENOENT;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", directory_fd); /* fits */
        ssize_t length = readlink(link, path, sizeof(path));
        if (length < 0)
                return -errno;
        if ((size_t)length >= sizeof(path))
                return -ENAMETOOLONG;
        path[length] = '\0';
        return mountinfo_path_inside(mount, path, ret_path);
}

static bool place_by_handle(const struct probe *probe, char ret_place[static PLACE_BYTES])
{
        union {
                struct file_handle handle;
                char room[sizeof(struct file_handle) + HANDLE_BYTES];
        } answer = {.handle.handle_bytes = HANDLE_BYTES};
        int mount_id;

        if (name_to_handle_at(probe->directory_fd, "", &answer.handle, &mount_id, AT_EMPTY_PATH) < 0)
                return false;
        int used = snprintf(ret_place, PLACE_BYTES, "handle=%02x", (unsigned int)answer.handle.handle_type & 0xffu);
        write_hex(answer.handle.f_handle, answer.handle.handle_bytes, ret_place + used);
        return true;
}

static bool place_by_path(const struct probe *probe, char ret_place[static PLACE_BYTES])
{
        cleanup(pointer_free) char *path = NULL;

        if (path_inside(probe->directory_fd, &probe->mount, &path) < 0)
                return false;
        for (char *c = path; probe->traits->folds_case && *c; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c = (char)(*c + ('a' - 'A'));
        XXH128_hash_t hash = XXH3_128bits(path, strlen(path));
        (void)snprintf(ret_place, PLACE_BYTES, "path=%016" PRIx64 "%016" PRIx64, hash.high64, hash.low64); /* fits */
        return true;
}

/* What tells this directory from the others of its filesystem. False where nothing does that would last. */
static bool probe_place(const struct probe *probe, char ret_place[static PLACE_BYTES])
{
        if (probe->traits->stable_handle && place_by_handle(probe, ret_place))
                return true;
        if (!probe->traits->stable_inodes)
                return place_by_path(probe, ret_place);
        (void)snprintf(ret_place, PLACE_BYTES, "ino=%" PRIu64, (uint64_t)probe->attributes.stx_ino); /* fits */
        return true;
}

/* When the directory was made, where the filesystem knows: tells one filesystem in memory from the next at the same place. */
static unsigned long long born_ns(const struct statx *attributes)
{
        if (!(attributes->stx_mask & STATX_BTIME))
                return 0;
        return (unsigned long long)attributes->stx_btime.tv_sec * 1000000000ull + attributes->stx_btime.tv_nsec;
}

static void set_identities(const struct probe *probe, struct device *device)
{
        char place[PLACE_BYTES] = "";
        char source[DEVICE_WEAK_IDENTITY_BYTES - PLACE_BYTES - 96];
        bool placed = probe_place(probe, place);

        probe_uuid(probe, device->uuid);
        if (device->uuid[0] && placed)
                (void)snprintf(device->identity, sizeof(device->identity), "uuid=%s/%s", device->uuid, place); /* fits */
        error_escape(text_or(probe->mount.source, "none"), source, sizeof(source));
        /* An anonymous device number changes with each mount; a filesystem in memory does not outlive its mount either. */
        bool anonymous = probe->attributes.stx_dev_major == 0 && strcmp(device->fs_name, "tmpfs") != 0;
        (void)snprintf(device->weak_identity, sizeof(device->weak_identity), "type=%s/device=%u:%u/source=%s/%s+born=%llx",
                       device->fs_name, probe->attributes.stx_dev_major, anonymous ? 0 : probe->attributes.stx_dev_minor,
                       source, place, born_ns(&probe->attributes)); /* fits: the source was cut */
}

/* --- The whole ----------------------------------------------------------------------------------------------------- */

static int probe_init(struct probe *probe, int directory_fd)
{
        if (statx(directory_fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &probe->attributes) <
            0)
                return -errno;
        if (!S_ISDIR(probe->attributes.stx_mode))
                return -ENOTDIR;
        if (fstatfs(directory_fd, &probe->filesystem) < 0)
                return -errno;
        probe->directory_fd = directory_fd;
        probe->direct_io = -1;
        probe->traits = fs_traits_of((uint32_t)probe->filesystem.f_type);
        probe->readable_fd = open_for_reading(directory_fd);
        add_time(probe, &probe->attributes);
        int result = mountinfo_find_fd(directory_fd, &probe->mount);
        if (result == -ENOMEM)
                return result;
        if (probe->readable_fd >= 0) /* a mount that is not seen leaves the names empty */
                sample_directory(probe);
        return 0;
}

int device_probe(int directory_fd, struct device *ret_device, struct error *error)
{
        cleanup(probe_deinit) struct probe probe = {.readable_fd = -1};
        struct device device = {0};
        int result = probe_init(&probe, directory_fd);

        if (result < 0)
                return error_set(error, result, "cannot find out what the directory lies on: %s", strerrordesc_np(-result));
        error_escape(probe_fs_name(&probe), device.fs_name, sizeof(device.fs_name));
        device.kind = probe_kind(&probe);
        device.st_dev = probe_st_dev(&probe);
        device.root_ino = probe.attributes.stx_ino;
        device.fs_type = (uint32_t)probe.filesystem.f_type;
        device.stable_inodes = probe.traits->stable_inodes;
        /* What is kept in memory has no medium behind it that a direct read could reach, whatever an open says. */
        device.direct_io = device.kind == DEVICE_MEMORY ? false
                           : probe.direct_io >= 0       ? probe.direct_io
                                                        : probe.traits->direct_io;
        device.syncfs_works = probe.traits->syncfs_works;
        device.mtime_granularity_ns = probe_granularity(&probe);
        device.read_only = probe.filesystem.f_flags & ST_RDONLY;
        set_identities(&probe, &device);
        *ret_device = device;
        return 0;
}

int device_confirm_sync(const struct device *device, int directory_fd)
{
        if (device->fs_type != FS_EXT)
                return 0;
        if (futimens(directory_fd, NULL) < 0)
                return -errno;
        return io_sync_directory(directory_fd);
}

bool device_same_filesystem(const struct device *a, const struct device *b)
{
        if (a->st_dev == b->st_dev)
                return true;
        /* Subvolumes of one btrfs have device numbers of their own, all anonymous. */
        return major(a->st_dev) == 0 && major(b->st_dev) == 0 && a->fs_type == b->fs_type && a->uuid[0] &&
               strcmp(a->uuid, b->uuid) == 0;
}

/* --- Containment --------------------------------------------------------------------------------------------------- */

static int look(int fd, struct statx *ret_attributes)
{
        return statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_INO | STATX_MNT_ID, ret_attributes) < 0 ? -errno : 0;
}

static bool same_inode(const struct statx *a, const struct statx *b)
{
        return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor;
}

/* Goes up from `inner_fd` until it meets `outer` (1) or the root (0). */
static int meets_going_up(const struct statx *outer, int inner_fd)
{
        cleanup(fd_close) int current = fcntl(inner_fd, F_DUPFD_CLOEXEC, 3);
        struct statx here;
        int result = current < 0 ? -errno : look(current, &here);

        while (result == 0) {
                struct statx above;

                if (same_inode(&here, outer))
                        return 1;
                int parent = openat(current, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (parent < 0)
                        return -errno;
                fd_close(&current);
                current = parent;
                result = look(current, &above);
                /* Only the root is its own parent. With a directory bound below itself the inode alone would say so too. */
                if (result == 0 && same_inode(&above, &here) && above.stx_mnt_id == here.stx_mnt_id)
                        return 0;
                here = above;
        }
        return result;
}

/* Whether mountinfo tells which directory of the filesystem is mounted: NFS writes "/" there for every export. */
static bool mounts_tell_paths(int fd)
{
        struct statfs filesystem;

        if (fstatfs(fd, &filesystem) < 0)
                return false;
        enum fs_class class = fs_traits_of((uint32_t)filesystem.f_type)->class;
        return class == FS_CLASS_BLOCK || class == FS_CLASS_MEMORY;
}

/* Going up leaves a bind mount through its mount point; inside the filesystem itself the paths tell. */
static int contains_inside_filesystem(int outer_fd, int inner_fd)
{
        cleanup(mountinfo_deinit) struct mountinfo outer_mount = {0}, inner_mount = {0};
        cleanup(pointer_free) char *outer = NULL;
        cleanup(pointer_free) char *inner = NULL;
        int result = mountinfo_find_fd(outer_fd, &outer_mount);

        result = result < 0 ? result : mountinfo_find_fd(inner_fd, &inner_mount);
        if (result < 0 || outer_mount.major != inner_mount.major || outer_mount.minor != inner_mount.minor)
                return result < 0 ? result : 0;
        result = path_inside(outer_fd, &outer_mount, &outer);
        result = result < 0 ? result : path_inside(inner_fd, &inner_mount, &inner);
        if (result < 0)
                return result;
        size_t length = strcmp(outer, "/") == 0 ? 0 : strlen(outer);
        return strncmp(outer, inner, length) == 0 && (inner[length] == '\0' || inner[length] == '/');
}

int device_contains(int outer_fd, int inner_fd)
{
        struct statx outer;
        int result = look(outer_fd, &outer);

        result = result < 0 ? result : meets_going_up(&outer, inner_fd);
        if (result != 0)
                return result;
        if (!mounts_tell_paths(outer_fd))
                return 0;
        result = contains_inside_filesystem(outer_fd, inner_fd);
        return result == -ENOENT ? 0 : result; /* not seen from here: the way up has answered */
}
