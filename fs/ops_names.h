/* Operations on names and attributes; the kernel's view of them is in fuse_lowlevel.h. */
#ifndef CVV_FS_OPS_NAMES_H
#define CVV_FS_OPS_NAMES_H

#include "fs/lowlevel.h"

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readlink(fuse_req_t req, fuse_ino_t ino);
void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void ops_statfs(fuse_req_t req, fuse_ino_t ino);
void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);

#endif
