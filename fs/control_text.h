/* What the files of `.cvv` say: one consistent snapshot, made when a file is opened. Texts that may be larger than memory
 * should hold are spooled to an unlinked file by the mirror and read from there. Blocking files are control_block.h.
 */
#ifndef CVV_FS_CONTROL_TEXT_H
#define CVV_FS_CONTROL_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/mirror.h"
#include "fs/control_tree.h"

/* Initialised by CONTROL_TEXT_NONE. */
struct control_text {
        char *data; /* NULL: it stands in `fd` */
        size_t size;
        int fd;
};
#define CONTROL_TEXT_NONE ((struct control_text){.fd = -1})

/* Makes the text of `node`, which is a file that does not block. The caller ends it with control_text_deinit(). 0; -ENOENT
 * where the target or file is gone; another -errno. Errors, skipped, manifest and files may wait for a disk. */
int control_text_make(struct mirror *mirror, struct control_node node, struct control_text *ret_text)
    __attribute__((nonnull, warn_unused_result));
void control_text_deinit(struct control_text *text) __attribute__((nonnull));

/* Copies up to `size` bytes at `offset` into `buffer`. The number of bytes, 0 at the end, or -errno. Any thread. */
ssize_t control_text_read(const struct control_text *text, uint64_t offset, char *buffer, size_t size)
    __attribute__((nonnull, warn_unused_result));

#endif
