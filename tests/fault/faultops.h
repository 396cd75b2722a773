/*
 * The operations of faultfs: a passthrough to one directory tree, each call first going through the rules (faultrules.h).
 *
 * One tree for the process. Inodes are O_PATH descriptors and names are resolved below them without following links.
 */
#pragma once

#define FUSE_USE_VERSION 312

#include <fuse_lowlevel.h>
#include <stdbool.h>

extern const struct fuse_lowlevel_ops faultfs_operations;

/* Takes fd, an O_PATH descriptor of the backing directory, as the root; called once, before serving. False with errno set.
 */
bool faultfs_set_root(int fd);
