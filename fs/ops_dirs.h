/* Operations on open directories; the kernel's view of them is in fuse_lowlevel.h. */
#ifndef CVV_FS_OPS_DIRS_H
#define CVV_FS_OPS_DIRS_H

#include "fs/lowlevel.h"

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);

#endif
