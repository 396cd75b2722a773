#include "fs/control_tree.h"

#include "core/mirror.h"
#include "fs/nodeid.h"

#include <errno.h>
#include <string.h>

enum { KIND_SHIFT = 52, KIND_BITS = 10 };

#define ARGUMENT_MASK ((UINT64_C(1) << KIND_SHIFT) - 1)

static const struct {
        const char *name;
        bool is_directory, blocks;
} named[CONTROL_NAMED_END] = {
    [CONTROL_ROOT] = {.name = CONTROL_DIRECTORY_NAME, .is_directory = true},
    [CONTROL_README] = {.name = "README"},
    [CONTROL_STATE] = {.name = "state"},
    [CONTROL_PROGRESS] = {.name = "progress"},
    [CONTROL_STATUS] = {.name = "status"},
    [CONTROL_STATUS_JSON] = {.name = "status.json"},
    [CONTROL_FILES] = {.name = "files", .is_directory = true},
    [CONTROL_TARGETS] = {.name = "targets", .is_directory = true},
    [CONTROL_ERRORS] = {.name = "errors"},
    [CONTROL_SKIPPED] = {.name = "skipped"},
    [CONTROL_MANIFEST] = {.name = "manifest"},
    [CONTROL_EVENTS] = {.name = "events", .blocks = true},
    [CONTROL_WAIT] = {.name = "wait", .blocks = true},
    [CONTROL_SAFE_TO_ERASE] = {.name = "safe-to-erase", .blocks = true},
    [CONTROL_LOG] = {.name = "log"},
    [CONTROL_CONFIG] = {.name = "config"},
    [CONTROL_CONTROL] = {.name = "control"},
};

/* ---- ids ---- */

uint64_t control_node_id(struct control_node node)
{
        return NODEID_CONTROL | (uint64_t)node.kind << KIND_SHIFT | (node.argument & ARGUMENT_MASK);
}

int control_node_parse(uint64_t nodeid, struct control_node *ret_node)
{
        uint64_t kind = nodeid >> KIND_SHIFT & ((1u << KIND_BITS) - 1);
        uint64_t argument = nodeid & ARGUMENT_MASK;
        bool is_named = kind >= CONTROL_ROOT && kind < CONTROL_NAMED_END && argument == 0;
        bool is_counted = (kind == CONTROL_TARGET || kind == CONTROL_FILE) && argument != 0;

        if (!nodeid_is_control(nodeid) || (nodeid & NODEID_SECOND) || !(is_named || is_counted))
                return -ESTALE;
        *ret_node = (struct control_node){.kind = (enum control_kind)kind, .argument = argument};
        return 0;
}

struct control_node control_node_of_view(uint64_t view_id)
{
        if (view_id == MIRROR_ROOT)
                return (struct control_node){.kind = CONTROL_FILES};
        return (struct control_node){.kind = CONTROL_FILE, .argument = view_id};
}

uint64_t control_node_view_id(struct control_node node)
{
        if (node.kind == CONTROL_FILES)
                return MIRROR_ROOT;
        return node.kind == CONTROL_FILE ? node.argument : 0;
}

struct control_node control_node_parent(struct control_node node)
{
        if (node.kind == CONTROL_TARGET)
                return (struct control_node){.kind = CONTROL_TARGETS};
        if (node.kind == CONTROL_FILE)
                return (struct control_node){.kind = CONTROL_FILES};
        return (struct control_node){.kind = CONTROL_ROOT};
}

/* ---- names ---- */

const char *control_kind_name(enum control_kind kind)
{
        return named[kind].name;
}

int control_kind_find(const char *name, enum control_kind *ret_kind)
{
        for (int kind = CONTROL_ROOT + 1; kind < CONTROL_NAMED_END; kind++) {
                if (strcmp(named[kind].name, name) == 0) {
                        *ret_kind = (enum control_kind)kind;
                        return 0;
                }
        }
        return -ENOENT;
}

int control_target_find(const char *name, uint32_t *ret_n)
{
        const char *end = name;
        uint64_t n = 0;

        if (*name == '0')
                return -ENOENT;
        while (*end >= '0' && *end <= '9' && n <= UINT32_MAX)
                n = n * 10 + (uint64_t)(*end++ - '0');
        if (n == 0 || n > UINT32_MAX || strcmp(end, ".json") != 0)
                return -ENOENT;
        *ret_n = (uint32_t)n;
        return 0;
}

bool control_kind_is_directory(enum control_kind kind)
{
        return kind < CONTROL_NAMED_END && named[kind].is_directory;
}

bool control_kind_blocks(enum control_kind kind)
{
        return kind < CONTROL_NAMED_END && named[kind].blocks;
}

/* ---- attributes ---- */

static mode_t node_mode(enum control_kind kind, bool is_directory, bool alone)
{
        if (kind == CONTROL_CONTROL)
                return S_IFREG | 0600;
        if (is_directory)
                return S_IFDIR | (alone ? 0500 : 0555);
        return S_IFREG | (alone ? 0400 : 0444);
}

void control_stat(struct control_node node, bool is_directory, const struct control_owner *owner, struct stat *ret_stat)
{
        *ret_stat = (struct stat){
            .st_ino = control_node_id(node),
            .st_mode = node_mode(node.kind, is_directory, owner->alone),
            .st_nlink = is_directory ? 2 : 1,
            .st_uid = owner->uid,
            .st_gid = owner->gid,
            .st_blksize = 4096,
            .st_atim = owner->time,
            .st_mtim = owner->time,
            .st_ctim = owner->time,
        };
}
