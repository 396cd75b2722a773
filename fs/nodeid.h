/* The kernel's node ids: what the bits above an id of the view mean. Pure.
 *
 *   bit 63   the node belongs to the virtual directory `.cvv` (the rest: control_tree.h)
 *   bit 62   a second node of the same inode of the view, for an open whose mode does not go with the first one's
 *            (openmode.h); its st_ino is that of the first
 *
 * What remains is the id that core/mirror.h knows; 1 is the root there and here.
 */
#ifndef CVV_FS_NODEID_H
#define CVV_FS_NODEID_H

#include <stdbool.h>
#include <stdint.h>

#define NODEID_CONTROL (UINT64_C(1) << 63)
#define NODEID_SECOND (UINT64_C(1) << 62)

static inline bool nodeid_is_control(uint64_t nodeid)
{
        return (nodeid & NODEID_CONTROL) != 0;
}

static inline bool nodeid_is_second(uint64_t nodeid)
{
        return !nodeid_is_control(nodeid) && (nodeid & NODEID_SECOND) != 0;
}

/* The mirror's id of a node of the view. */
static inline uint64_t nodeid_view(uint64_t nodeid)
{
        return nodeid & ~NODEID_SECOND;
}

#endif
