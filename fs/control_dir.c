#include "fs/control_dir.h"

#include "core/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TARGET_NAME_BYTES = 32 }; /* "4294967295.json" */

struct control_dir {
        struct control_node node;
        struct mirror_dir *view;     /* in `files`; else NULL, and: */
        size_t count;                /* without "." and ".." */
        struct control_node nodes[]; /* in order */
};

struct reply_timeouts control_dir_timeouts(enum control_kind kind)
{
        return (struct reply_timeouts){
            .entry_s = kind < CONTROL_NAMED_END ? 3600.0 : 1.0,
            .attributes_s = kind == CONTROL_EVENTS ? 0 : 1.0, /* see make_grown() in control.c */
        };
}

/* ---- opening ---- */

static struct control_dir *dir_new(struct control_node node, size_t room)
{
        struct control_dir *dir = calloc(1, sizeof(*dir) + room * sizeof(dir->nodes[0]));

        if (dir)
                dir->node = node;
        return dir;
}

static int open_root(struct control_node node, struct control_dir **ret_dir)
{
        struct control_dir *dir = dir_new(node, CONTROL_NAMED_END);

        if (!dir)
                return -ENOMEM;
        for (int kind = CONTROL_ROOT + 1; kind < CONTROL_NAMED_END; kind++)
                dir->nodes[dir->count++].kind = (enum control_kind)kind;
        *ret_dir = dir;
        return 0;
}

static int open_targets(struct mirror *mirror, struct control_node node, struct control_dir **ret_dir)
{
        cleanup(status_deinit) struct status status = {0};
        struct control_dir *dir;
        int r = mirror_status(mirror, &status);

        if (r < 0)
                return r;
        dir = dir_new(node, status.target_count);
        if (!dir)
                return -ENOMEM;
        for (size_t i = 0; i < status.target_count; i++)
                dir->nodes[dir->count++] = (struct control_node){.kind = CONTROL_TARGET, .argument = status.targets[i].n};
        *ret_dir = dir;
        return 0;
}

static int open_files(struct mirror *mirror, struct control_node node, struct control_dir **ret_dir)
{
        cleanup(pointer_free) struct control_dir *dir = dir_new(node, 0);
        int r;

        if (!dir)
                return -ENOMEM;
        r = mirror_opendir(mirror, control_node_view_id(node), &dir->view);
        if (r < 0)
                return r;
        *ret_dir = pointer_steal(&dir);
        return 0;
}

int control_dir_open(struct mirror *mirror, struct control_node node, const struct control_owner *owner,
                     struct control_dir **ret_dir)
{
        if (node.kind == CONTROL_ROOT)
                return open_root(node, ret_dir);
        if (node.kind == CONTROL_TARGETS)
                return open_targets(mirror, node, ret_dir);
        if (control_node_view_id(node) != 0)
                return open_files(mirror, node, ret_dir);
        return -ENOTDIR;
}

void control_dir_close(struct control_dir *dir)
{
        if (dir->view)
                mirror_closedir(dir->view);
        free(dir);
}

/* ---- reading ---- */

struct listing {
        struct control_node directory;
        const struct control_owner *owner;
        struct dirbuf *buffer;
};

static bool list_node(const struct listing *listing, const char *name, struct control_node node, bool is_directory,
                      uint64_t next_offset)
{
        struct stat stat;

        control_stat(node, is_directory, listing->owner, &stat);
        return dirbuf_add(listing->buffer, name, stat.st_ino, &stat, control_dir_timeouts(node.kind), next_offset);
}

/* Offsets: 0 is ".", 1 "..", then the nodes. */
static bool list_nth(const struct listing *listing, const struct control_dir *dir, uint64_t nth)
{
        const struct stat view_root = {.st_ino = MIRROR_ROOT, .st_mode = S_IFDIR};
        char text[TARGET_NAME_BYTES];
        struct control_node node;

        if (nth == 0)
                return list_node(listing, ".", dir->node, true, 1);
        if (nth == 1 && dir->node.kind == CONTROL_ROOT)
                return dirbuf_add(listing->buffer, "..", MIRROR_ROOT, &view_root, control_dir_timeouts(CONTROL_FILE), 2);
        if (nth == 1)
                return list_node(listing, "..", control_node_parent(dir->node), true, 2);
        node = dir->nodes[nth - 2];
        if (node.kind != CONTROL_TARGET)
                return list_node(listing, control_kind_name(node.kind), node, control_kind_is_directory(node.kind),
                                 nth + 1);
        (void)snprintf(text, sizeof(text), "%" PRIu64 ".json", node.argument); /* a uint32_t: it fits */
        return list_node(listing, text, node, false, nth + 1);
}

static bool list_of_view(void *context, const char *name, const struct stat *stat, uint64_t next_offset)
{
        const struct listing *listing = context;
        struct control_node node = control_node_of_view(stat->st_ino);

        if (strcmp(name, "..") == 0 && listing->directory.kind == CONTROL_FILES)
                node = control_node_parent(listing->directory);
        return list_node(listing, name, node, S_ISDIR(stat->st_mode), next_offset);
}

int control_dir_read(struct control_dir *dir, uint64_t offset, const struct control_owner *owner, struct dirbuf *buffer)
{
        struct listing listing = {.directory = dir->node, .owner = owner, .buffer = buffer};

        if (dir->view)
                return mirror_readdir(dir->view, offset, false, list_of_view, &listing);
        while (offset < dir->count + 2 && list_nth(&listing, dir, offset))
                offset++;
        return 0;
}
