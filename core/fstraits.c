#include "core/fstraits.h"

#include <stddef.h>

#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)

#define Y true
#define N false

/* vfat and exFAT number inodes as they meet them, and vfat's handles hold a random generation. ISO 9660, UDF, squashfs and
 * erofs number them by their place in the image. CIFS and 9p write pages out on syncfs but send no flush to the server. */
static const struct fs_traits table[] = {
        /* magic, name, class,                       inodes handle fsid fold direct syncfs granularity */
        { FS_EXT,     "ext4",     FS_CLASS_BLOCK,         Y, Y, Y, N, Y, Y, 1 }, /* 128-byte inodes: see device.c */
        { 0x58465342, "xfs",      FS_CLASS_BLOCK,         Y, Y, N, N, Y, Y, 1 },
        { FS_BTRFS,   "btrfs",    FS_CLASS_BLOCK,         Y, Y, Y, N, Y, Y, 1 },
        { 0xf2f52010, "f2fs",     FS_CLASS_BLOCK,         Y, Y, N, N, Y, Y, 1 },
        { 0xca451a4e, "bcachefs", FS_CLASS_BLOCK,         Y, N, N, N, Y, Y, 1 },
        { 0x2fc12fc1, "zfs",      FS_CLASS_BLOCK,         Y, N, N, N, N, Y, 1 },
        { 0x3153464a, "jfs",      FS_CLASS_BLOCK,         Y, N, N, N, Y, Y, 1 },
        { 0x52654973, "reiserfs", FS_CLASS_BLOCK,         Y, N, N, N, Y, Y, S },
        { 0x00003434, "nilfs2",   FS_CLASS_BLOCK,         Y, N, N, N, Y, Y, 1 },
        { 0x00004d44, "vfat",     FS_CLASS_BLOCK,         N, N, N, Y, Y, Y, 2 * S },
        { 0x2011bab0, "exfat",    FS_CLASS_BLOCK,         N, N, N, Y, Y, Y, 10 * MS },
        { 0x7366746e, "ntfs3",    FS_CLASS_BLOCK,         Y, N, N, Y, Y, Y, 100 },
        { 0x5346544e, "ntfs",     FS_CLASS_BLOCK,         Y, N, N, Y, N, Y, 100 },
        { 0x0000482b, "hfsplus",  FS_CLASS_BLOCK,         Y, N, N, Y, Y, Y, S },
        { 0x00004244, "hfs",      FS_CLASS_BLOCK,         Y, N, N, Y, Y, Y, S },
        { 0x15013346, "udf",      FS_CLASS_BLOCK,         Y, N, N, N, Y, Y, 1000 },
        { 0x00009660, "iso9660",  FS_CLASS_BLOCK,         Y, N, N, N, N, Y, 10 * MS },
        { 0x73717368, "squashfs", FS_CLASS_BLOCK,         Y, N, N, N, N, Y, S },
        { 0xe0f5e1e2, "erofs",    FS_CLASS_BLOCK,         Y, N, N, N, N, Y, 1 },
        { 0x794c7630, "overlay",  FS_CLASS_OTHER,         N, N, N, N, N, Y, 1 },
        { 0x01021994, "tmpfs",    FS_CLASS_MEMORY,        Y, N, N, N, N, Y, 1 }, /* accepts O_DIRECT, to no effect */
        { 0x858458f6, "ramfs",    FS_CLASS_MEMORY,        Y, N, N, N, N, Y, 1 },
        { 0x65735546, "fuse",     FS_CLASS_FUSE,          N, N, N, N, N, N, 0 },
        { 0x00006969, "nfs",      FS_CLASS_NETWORK,       Y, N, N, N, Y, Y, 0 },
        { 0x0000517b, "smb",      FS_CLASS_NETWORK,       N, N, N, Y, N, N, 0 },
        { 0xff534d42, "cifs",     FS_CLASS_NETWORK,       N, N, N, Y, N, N, 0 },
        { 0xfe534d42, "smb3",     FS_CLASS_NETWORK,       N, N, N, Y, N, N, 0 },
        { 0x00c36400, "ceph",     FS_CLASS_NETWORK,       Y, N, N, N, Y, Y, 1 },
        { 0x01021997, "9p",       FS_CLASS_NETWORK,       N, N, N, N, N, N, 0 },
        { 0x5346414f, "afs",      FS_CLASS_NETWORK,       N, N, N, N, N, N, 0 },
        { 0x6b414653, "afs",      FS_CLASS_NETWORK,       N, N, N, N, N, N, 0 },
        { 0x73757245, "coda",     FS_CLASS_NETWORK,       N, N, N, N, N, N, 0 },
        { 0x0000564c, "ncpfs",    FS_CLASS_NETWORK,       N, N, N, Y, N, N, 0 },
        { 0x0bd00bd0, "lustre",   FS_CLASS_NETWORK,       Y, N, N, N, N, N, 0 },
        { 0x20030528, "orangefs", FS_CLASS_NETWORK,       N, N, N, N, N, N, 0 },
        { 0x19830326, "beegfs",   FS_CLASS_NETWORK,       N, N, N, N, N, N, 0 },
        { 0x47504653, "gpfs",     FS_CLASS_NETWORK,       N, N, N, N, N, N, 0 },
        { 0xaad7aaea, "panfs",    FS_CLASS_NETWORK,       N, N, N, N, N, N, 0 },
        { 0x786f4256, "vboxsf",   FS_CLASS_NETWORK,       N, N, N, N, N, N, 0 }, /* the host's disk: as far away */
};

static const struct fs_traits unknown = { 0, "unknown", FS_CLASS_OTHER, N, N, N, N, N, N, 0 };

const struct fs_traits *fs_traits_of(uint32_t magic)
{
        for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
                if (table[i].magic == magic)
                        return &table[i];
        return &unknown;
}
