/* libfuse's low-level API, in the one version that all of fs/ is written for: 3.14, which 3.17 still offers. Newer
 * abilities are used where their constants exist. */
#ifndef CVV_FS_LOWLEVEL_H
#define CVV_FS_LOWLEVEL_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#endif
