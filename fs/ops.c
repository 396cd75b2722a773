#include "fs/ops.h"

#include "core/cleanup.h"
#include "fs/ops_changes.h"
#include "fs/ops_context.h"
#include "fs/ops_dirs.h"
#include "fs/ops_files.h"
#include "fs/ops_names.h"

#include <errno.h>
#include <string.h>

enum {
        FREE_THREADS = 2, /* never behind a gate */
        SLOW_THREADS = 1,
        MAX_WRITE_BYTES = 1024 * 1024,
        /* Parked reads count as background requests, and the kernel holds back others when there are too many. */
        MAX_BACKGROUND = 4096,
        CONGESTION_THRESHOLD = MAX_BACKGROUND / 4 * 3,
};

/* ---- what the kernel is asked for ---- */

#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
#define WANTED_MMAP FUSE_CAP_DIRECT_IO_ALLOW_MMAP
#else
#define WANTED_MMAP 0 /* libfuse before 3.17: shared mappings of unfinished files fail with ENODEV */
#endif

/* Attributes that changed in the source make the kernel drop what it has cached of a file (AUTO_INVAL_DATA). */
static const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_EXPORT_SUPPORT |
                               FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                               FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL | WANTED_MMAP;

/* Data goes through memory, since each reply comes from there (SPLICE). Set-user-id bits are the kernel's business
 * (HANDLE_KILLPRIV). Cached symlinks outlive a change in the source, as nothing invalidates them (CACHE_SYMLINKS). */
static const unsigned unwanted = FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                                 FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_CACHE_SYMLINKS;

/* The number behind "max_read=" in the mount's options, which libfuse wants to see in both places; 0: none. */
static unsigned max_read_bytes(const struct options *options)
{
        static const char key[] = "max_read=";
        unsigned bytes = 0;

        for (size_t i = 0; i < options->fuse_options.count; i++) {
                const char *option = options->fuse_options.items[i];

                if (strncmp(option, key, sizeof(key) - 1) == 0)
                        bytes = (unsigned)strtoul(option + sizeof(key) - 1, NULL, 10);
        }
        return bytes;
}

static void ops_init(void *userdata, struct fuse_conn_info *conn)
{
        const struct ops *ops = userdata;

        conn->want = (conn->want & ~unwanted) | (conn->capable & wanted);
        conn->max_background = MAX_BACKGROUND;
        conn->congestion_threshold = CONGESTION_THRESHOLD;
        if (conn->max_write > MAX_WRITE_BYTES)
                conn->max_write = MAX_WRITE_BYTES;
        conn->max_read = max_read_bytes(ops->options);
}

const struct fuse_lowlevel_ops ops_table = {
    .init = ops_init,
    .lookup = ops_lookup,
    .forget = ops_forget,
    .forget_multi = ops_forget_multi,
    .getattr = ops_getattr,
    .setattr = ops_setattr,
    .readlink = ops_readlink,
    .mknod = ops_mknod,
    .mkdir = ops_mkdir,
    .unlink = ops_remove,
    .rmdir = ops_remove,
    .symlink = ops_symlink,
    .rename = ops_rename,
    .link = ops_link,
    .open = ops_open,
    .read = ops_read,
    .write = ops_write,
    .flush = ops_flush,
    .release = ops_release,
    .fsync = ops_fsync,
    .opendir = ops_opendir,
    .readdir = ops_readdir,
    .readdirplus = ops_readdirplus,
    .releasedir = ops_release,
    .fsyncdir = ops_fsync,
    .statfs = ops_statfs,
    .setxattr = ops_setxattr,
    .getxattr = ops_getxattr,
    .listxattr = ops_listxattr,
    .removexattr = ops_removexattr,
    .create = ops_create,
    .ioctl = ops_ioctl,
    .poll = ops_poll,
    .fallocate = ops_fallocate,
    .copy_file_range = ops_copy_file_range,
    .lseek = ops_lseek,
};

/* ---- lifecycle ---- */

static int ops_set_up(struct ops *ops, unsigned thread_count)
{
        int r = openlist_new(&ops->open);

        if (r == 0)
                r = control_new(ops->mirror, ops->options, ops->open, &ops->control);
        if (r == 0)
                r = parked_new(&ops->parked);
        if (r == 0)
                r = gate_new(thread_count - FREE_THREADS - SLOW_THREADS, &ops->view_gate);
        if (r == 0)
                r = gate_new(SLOW_THREADS, &ops->slow_gate);
        return r;
}

int ops_new(struct mirror *mirror, const struct options *options, unsigned thread_count, struct ops **ret_ops)
{
        struct ops *ops = calloc(1, sizeof(*ops));
        int r;

        if (!ops)
                return -ENOMEM;
        ops->mirror = mirror;
        ops->options = options;
        r = ops_set_up(ops, thread_count);
        if (r < 0) {
                ops_free(ops);
                return r;
        }
        *ret_ops = ops;
        return 0;
}

void ops_free(struct ops *ops)
{
        if (!ops)
                return;
        gate_free(ops->slow_gate);
        gate_free(ops->view_gate);
        parked_free(ops->parked);
        control_free(ops->control);
        openlist_free(ops->open);
        free(ops);
}

int ops_start(struct ops *ops)
{
        return control_start(ops->control);
}

void ops_end_readers(struct ops *ops)
{
        control_end_readers(ops->control);
}

void ops_end_blocking(struct ops *ops)
{
        control_stop(ops->control);
}

void ops_close_gates(struct ops *ops)
{
        gate_close(ops->view_gate);
        gate_close(ops->slow_gate);
}

bool ops_stop(struct ops *ops, bool close_open, uint64_t deadline_ns)
{
        control_stop(ops->control);
        if (!parked_stop(ops->parked, deadline_ns))
                return false;
        if (close_open)
                openlist_close_all(ops->open);
        return true;
}
