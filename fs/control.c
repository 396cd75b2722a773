#include "fs/control.h"

#include "core/cleanup.h"
#include "core/log.h"
#include "fs/control_block.h"
#include "fs/control_dir.h"
#include "fs/control_text.h"
#include "fs/control_tree.h"
#include "fs/reply.h"
#include "fs/viewpath.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>

struct control {
        struct mirror *mirror;
        struct control_owner owner;
        struct control_block *block;
        struct openlist *open;
};

/* An open file. */
struct control_file {
        struct control_text text;            /* where it does not block */
        struct control_block_file *blocking; /* else NULL */
};

int control_new(struct mirror *mirror, const struct options *options, struct openlist *open, struct control **ret_control)
{
        cleanup(pointer_free) struct control *control = calloc(1, sizeof(*control));
        int r;

        if (!control)
                return -ENOMEM;
        control->mirror = mirror;
        control->open = open;
        control->owner = (struct control_owner){
            .uid = mirror_owner(mirror),
            .gid = getgid(),
            .alone = options->allow_other,
        };
        (void)clock_gettime(CLOCK_REALTIME, &control->owner.time); /* this clock always is there */
        r = control_block_new(mirror, &control->block);
        if (r < 0)
                return r;
        *ret_control = pointer_steal(&control);
        return 0;
}

int control_start(struct control *control)
{
        return control_block_start(control->block);
}

void control_end_readers(struct control *control)
{
        control_block_end_readers(control->block);
}

void control_stop(struct control *control)
{
        control_block_stop(control->block);
}

void control_free(struct control *control)
{
        if (!control)
                return;
        control_block_free(control->block);
        free(control);
}

enum control_lane control_lane(uint64_t nodeid, enum control_operation operation)
{
        struct control_node node;

        if (control_node_parse(nodeid, &node) < 0)
                return CONTROL_LANE_MEMORY;
        if (operation == CONTROL_WRITE ||
            (operation == CONTROL_OPEN && (node.kind == CONTROL_ERRORS || node.kind == CONTROL_SKIPPED || node.kind == CONTROL_MANIFEST)))
                return CONTROL_LANE_SLOW;
        if (node.kind == CONTROL_FILE || (node.kind == CONTROL_FILES && operation == CONTROL_SEARCH))
                return CONTROL_LANE_VIEW;
        return CONTROL_LANE_MEMORY;
}

/* ---- names and attributes ---- */

static int target_stat(struct control *control, struct control_node node, struct stat *ret_stat)
{
        cleanup(status_deinit) struct status status = {0};
        int r = mirror_status(control->mirror, &status);

        if (r < 0)
                return r;
        for (size_t i = 0; i < status.target_count; i++) {
                if (status.targets[i].n == node.argument) {
                        control_stat(node, false, &control->owner, ret_stat);
                        return 0;
                }
        }
        return -ENOENT;
}

/* tail -f reads again, and then lets go of the file, only where it looks longer and changed. */
static void make_grown(struct stat *stat)
{
        stat->st_size = EVENT_LINE_BYTES;
        (void)clock_gettime(CLOCK_REALTIME, &stat->st_mtim); /* cannot fail for this clock */
}

static int node_stat(struct control *control, struct control_node node, struct stat *ret_stat)
{
        struct stat stat;
        int r;

        if (node.kind == CONTROL_TARGET)
                return target_stat(control, node, ret_stat);
        if (node.kind != CONTROL_FILE) {
                control_stat(node, control_kind_is_directory(node.kind), &control->owner, ret_stat);
                if (node.kind == CONTROL_EVENTS && control_block_has_ended(control->block))
                        make_grown(ret_stat);
                return 0;
        }
        r = mirror_getattr(control->mirror, node.argument, &stat);
        if (r < 0)
                return r;
        control_stat(node, S_ISDIR(stat.st_mode), &control->owner, ret_stat);
        return 0;
}

static int find_in_files(struct control *control, uint64_t view_id, const char *name, struct control_node *ret_node)
{
        struct stat stat;
        int r = mirror_lookup(control->mirror, view_id, name, &stat);

        if (r < 0)
                return r;
        *ret_node = control_node_of_view(stat.st_ino);
        return 0;
}

static int find_parent(struct control *control, struct control_node node, struct control_node *ret_node)
{
        uint64_t parent;
        int r;

        if (node.kind != CONTROL_FILE) {
                *ret_node = control_node_parent(node);
                return 0;
        }
        r = viewpath_parent(control->mirror, node.argument, &parent);
        if (r < 0)
                return r;
        *ret_node = control_node_of_view(parent);
        return 0;
}

static int find(struct control *control, struct control_node parent, const char *name, struct control_node *ret_node)
{
        enum control_kind kind;
        uint32_t n;
        int r;

        if (strcmp(name, ".") == 0) {
                *ret_node = parent;
                return 0;
        }
        if (strcmp(name, "..") == 0)
                return find_parent(control, parent, ret_node);
        if (control_node_view_id(parent) != 0)
                return find_in_files(control, control_node_view_id(parent), name, ret_node);
        if (parent.kind == CONTROL_ROOT) {
                r = control_kind_find(name, &kind);
                if (r == 0)
                        *ret_node = (struct control_node){.kind = kind};
                return r;
        }
        if (parent.kind != CONTROL_TARGETS)
                return -ENOTDIR;
        r = control_target_find(name, &n);
        if (r == 0)
                *ret_node = (struct control_node){.kind = CONTROL_TARGET, .argument = n};
        return r;
}

bool control_is_root(uint64_t parent, const char *name)
{
        return parent == MIRROR_ROOT && strcmp(name, CONTROL_DIRECTORY_NAME) == 0;
}

void control_root_stat(struct control *control, struct stat *ret_stat)
{
        control_stat((struct control_node){.kind = CONTROL_ROOT}, true, &control->owner, ret_stat);
}

void control_lookup_root(struct control *control, fuse_req_t req)
{
        struct stat stat;

        control_root_stat(control, &stat);
        reply_entry(req, stat.st_ino, &stat, control_dir_timeouts(CONTROL_ROOT));
}

static void lookup_above(struct control *control, fuse_req_t req)
{
        struct stat stat;
        int r = mirror_getattr(control->mirror, MIRROR_ROOT, &stat);

        if (r < 0)
                reply_result(req, r);
        else
                reply_entry(req, MIRROR_ROOT, &stat, control_dir_timeouts(CONTROL_FILE));
}

void control_lookup(struct control *control, fuse_req_t req, uint64_t parent, const char *name)
{
        struct control_node directory, node;
        struct stat stat;
        int r = control_node_parse(parent, &directory);

        if (r < 0) {
                reply_stale(req);
                return;
        }
        if (directory.kind == CONTROL_ROOT && strcmp(name, "..") == 0) {
                lookup_above(control, req);
                return;
        }
        r = find(control, directory, name, &node);
        if (r == 0)
                r = node_stat(control, node, &stat);
        if (r < 0)
                reply_result(req, r);
        else
                reply_entry(req, stat.st_ino, &stat, control_dir_timeouts(node.kind));
}

void control_getattr(struct control *control, fuse_req_t req, uint64_t nodeid)
{
        struct control_node node;
        struct stat stat;
        int r;

        if (control_node_parse(nodeid, &node) < 0) {
                reply_stale(req);
                return;
        }
        r = node_stat(control, node, &stat);
        if (r < 0)
                reply_result(req, r);
        else
                reply_attributes(req, &stat, control_dir_timeouts(node.kind).attributes_s);
}

/* ---- opening ---- */

/* Hands `object` over to the kernel. */
static void open_reply(struct control *control, fuse_req_t req, void *object, void (*close)(void *object),
                       struct fuse_file_info *fi)
{
        int r = openlist_add(control->open, object, close, &fi->fh);

        if (r < 0)
                reply_result(req, r);
        else if (!reply_open(req, fi))
                openlist_close(control->open, fi->fh);
}

/* ---- directories ---- */

static void close_dir(void *object)
{
        control_dir_close(object);
}

void control_opendir(struct control *control, fuse_req_t req, uint64_t nodeid, struct fuse_file_info *fi)
{
        struct control_node node;
        struct control_dir *dir;
        int r;

        if (control_node_parse(nodeid, &node) < 0) {
                reply_stale(req);
                return;
        }
        r = control_dir_open(control->mirror, node, &control->owner, &dir);
        if (r < 0) {
                reply_result(req, r);
                return;
        }
        open_reply(control, req, dir, close_dir, fi);
}

void control_readdir(struct control *control, fuse_req_t req, size_t size, uint64_t offset, bool plus,
                     const struct fuse_file_info *fi)
{
        struct dirbuf buffer;
        int r = dirbuf_init(&buffer, req, size, plus);

        if (r < 0) {
                reply_result(req, r);
                return;
        }
        r = control_dir_read(openlist_object(fi->fh), offset, &control->owner, &buffer);
        dirbuf_reply(&buffer, r);
        dirbuf_deinit(&buffer);
}

/* ---- files ---- */

static void file_close(void *object)
{
        struct control_file *file = object;

        if (file->blocking)
                control_block_close(file->blocking);
        control_text_deinit(&file->text);
        free(file);
}

static int file_open(struct control *control, struct control_node node, struct control_file **ret_file)
{
        struct control_file *file = calloc(1, sizeof(*file));
        int r;

        if (!file)
                return -ENOMEM;
        file->text = CONTROL_TEXT_NONE;
        if (control_kind_blocks(node.kind))
                r = control_block_open(control->block, node.kind, &file->blocking);
        else
                r = control_text_make(control->mirror, node, &file->text);
        if (r < 0) {
                file_close(file);
                return r;
        }
        *ret_file = file;
        return 0;
}

void control_open(struct control *control, fuse_req_t req, uint64_t nodeid, struct fuse_file_info *fi)
{
        struct control_file *file;
        struct control_node node;
        int r;

        if (control_node_parse(nodeid, &node) < 0) {
                reply_stale(req);
                return;
        }
        /* Root may write whatever the modes say. */
        if ((fi->flags & O_ACCMODE) != O_RDONLY && node.kind != CONTROL_CONTROL) {
                reply_result(req, -EACCES);
                return;
        }
        r = file_open(control, node, &file);
        if (r < 0) {
                reply_result(req, r);
                return;
        }
        fi->direct_io = 1;
        fi->noflush = 1;
        open_reply(control, req, file, file_close, fi);
}

/* The reply is a copy: the kernel may release the file while the thread that replies still comes back. */
static void text_read(const struct control_text *text, fuse_req_t req, size_t size, uint64_t offset)
{
        cleanup(pointer_free) char *buffer = malloc(size > 0 ? size : 1);
        ssize_t n = buffer ? control_text_read(text, offset, buffer, size) : -ENOMEM;

        if (n < 0)
                reply_result(req, (int)n);
        else
                reply_buffer(req, buffer, (size_t)n);
}

void control_read(fuse_req_t req, size_t size, uint64_t offset, const struct fuse_file_info *fi)
{
        struct control_file *file = openlist_object(fi->fh);

        if (file->blocking)
                control_block_read(file->blocking, req, size, (fi->flags & O_NONBLOCK) != 0);
        else
                text_read(&file->text, req, size, offset);
}

static int command_run(struct control *control, const char *data, size_t size, struct error *error)
{
        struct command *commands;
        size_t count;
        int r = command_parse(data, size, &commands, &count, error);

        if (r < 0)
                return r;
        r = mirror_control(control->mirror, commands, count, error);
        command_free(commands, count);
        return r;
}

void control_write(struct control *control, fuse_req_t req, const char *data, size_t size, uint64_t nodeid)
{
        struct control_node node;
        struct error error = {0};
        int r;

        if (control_node_parse(nodeid, &node) < 0 || node.kind != CONTROL_CONTROL) {
                reply_result(req, -EACCES);
                return;
        }
        r = command_run(control, data, size, &error);
        if (r == 0) {
                reply_written(req, size);
                return;
        }
        /* The writer sees an errno only; what is wrong with the command stands in `.cvv/log`. */
        log_warning("control: %s", error.message[0] ? error.message : strerror(reply_errno(r)));
        reply_result(req, r);
}

void control_poll(fuse_req_t req, const struct fuse_file_info *fi, struct fuse_pollhandle *handle)
{
        struct control_file *file = openlist_object(fi->fh);

        if (file->blocking) {
                control_block_poll(file->blocking, req, handle);
                return;
        }
        if (handle)
                fuse_pollhandle_destroy(handle);
        reply_poll(req, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
}
