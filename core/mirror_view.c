#include "core/mirror_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/log.h"
#include "core/metadata_rules.h"

#define OWN_XATTRS "user.cvv."

enum { DIR_INDEX_STEP = 1024 };

uint64_t mirror_finished_slots(struct mirror *mirror, const struct node_record *node)
{
        struct name_record name;

        if (view_primary_name(mirror->view, node, &name) < 0)
                return 0;
        return view_finished(node, &name) & mirror->context.target_mask;
}

/* --- names and attributes --- */

static int give_stat(struct mirror *mirror, uint64_t id, struct stat *ret_stat)
{
        struct node_record node;
        int result = view_node(mirror->view, id, &node);

        if (result == 0)
                view_stat(&mirror->context, id, &node, ret_stat);
        return result == -ENOENT ? -ESTALE : result;
}

int mirror_lookup(struct mirror *mirror, uint64_t parent, const char *name, struct stat *ret_stat)
{
        struct node_record directory;
        uint64_t id;
        int result;

        if (strlen(name) > VIEW_NAME_MAX)
                return -ENAMETOOLONG;
        if (parent == VIEW_ROOT && strcmp(name, ".cvv") == 0)
                return -ENOENT;
        result = view_node(mirror->view, parent, &directory);
        if (result < 0)
                return result == -ENOENT ? -ESTALE : result;
        if (!S_ISDIR(directory.mode))
                return -ENOTDIR;
        result = reconcile_lookup(mirror->reconcile, parent, name, &id);
        return result < 0 ? result : give_stat(mirror, id, ret_stat);
}

static bool change_root(void *context, struct node_record *node)
{
        const struct statx *stat = context;
        struct node_record before = *node;

        node->mode = stat->stx_mode;
        node->uid = stat->stx_uid;
        node->gid = stat->stx_gid;
        node->nlink = stat->stx_nlink;
        node->mtime_ns = metadata_time_ns(&stat->stx_mtime);
        node->ctime_ns = metadata_time_ns(&stat->stx_ctime);
        return memcmp(&before, node, sizeof(before)) != 0;
}

int mirror_getattr(struct mirror *mirror, uint64_t id, struct stat *ret_stat)
{
        struct node_record node;
        struct statx stat;
        int result;

        if (id == VIEW_ROOT) {
                struct root *root = mirror->context.source ? mirror->context.source : &mirror->setup.targets[0]->root;

                if (root_call_stat(root, "", &stat) == 0)
                        (void)view_update(mirror->view, id, change_root, &stat); /* else as it was */
                return give_stat(mirror, id, ret_stat);
        }
        result = reconcile_refresh(mirror->reconcile, id, &node);
        if (result < 0)
                return result == -ENOENT ? -ESTALE : result;
        view_stat(&mirror->context, id, &node, ret_stat);
        return 0;
}

/* Where an object's other facts (link text, attributes) can be asked for: the source first, else the targets that have it finished. */
struct places {
        struct root *roots[TARGET_SLOTS + 1];
        char *paths[2];
        bool source_first;
        size_t count;
};

static void places_deinit(struct places *places)
{
        free(places->paths[0]);
        free(places->paths[1]);
}

static int find_places(struct mirror *mirror, uint64_t id, struct places *places)
{
        struct node_record node;
        int result = view_node(mirror->view, id, &node);

        if (result < 0)
                return result == -ENOENT ? -ESTALE : result;
        if (mirror->context.source && ((node.flags & VIEW_NODE_SOURCE) || id == VIEW_ROOT)) {
                result = view_source_path(mirror->view, id, &places->paths[0]);
                if (result < 0)
                        return result;
                places->source_first = true;
                places->roots[places->count++] = mirror->context.source;
        }
        result = view_path(mirror->view, id, &places->paths[1]);
        for (CONTEXT_EACH_TARGET(&mirror->context, id == VIEW_ROOT ? mirror->context.target_mask : mirror_finished_slots(mirror, &node),
                                 target))
                if (target_serves_reads(target))
                        places->roots[places->count++] = &target->root;
        return result;
}

static const char *place_path(const struct places *places, size_t index)
{
        return places->paths[index == 0 && places->source_first ? 0 : 1];
}

int mirror_readlink(struct mirror *mirror, uint64_t id, char **ret_text)
{
        cleanup(places_deinit) struct places places = { 0 };
        int result = find_places(mirror, id, &places);

        if (result < 0)
                return result;
        result = -EIO;
        for (size_t i = 0; i < places.count && result < 0; i++)
                result = root_call_readlink(places.roots[i], place_path(&places, i), ret_text);
        return result < 0 ? (result == -EINVAL ? -EINVAL : -EIO) : 0;
}

static int64_t give(const char *text, void *buffer, size_t size)
{
        size_t length = strlen(text);

        if (size == 0)
                return (int64_t)length;
        if (length > size)
                return -ERANGE;
        memcpy(buffer, text, length);
        return (int64_t)length;
}

/* Percent of the pairs of this file and the targets, in tenths. */
static int file_tenths(struct mirror *mirror, uint64_t id, const struct node_record *node)
{
        uint64_t done = 0, total = 0, finished = mirror_finished_slots(mirror, node);
        bool complete = finished == mirror->context.target_mask;

        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target)) {
                done += S_ISREG(node->mode) ? view_slot_bytes(mirror->view, id, node, target->slot) : 0;
                total += S_ISREG(node->mode) ? node->size : 0;
        }
        return progress_tenths(done, total, complete);
}

static int64_t own_xattr(struct mirror *mirror, uint64_t id, const char *name, void *buffer, size_t size)
{
        char text[HASH_TEXT_BYTES + 32];
        struct node_record node;
        int result = view_node(mirror->view, id, &node);

        if (result < 0)
                return result;
        if (strcmp(name, OWN_XATTRS "state") == 0)
                return give(status_file_state_name(mirror_node_state(mirror, &node)), buffer, size);
        if (strcmp(name, OWN_XATTRS "progress") == 0) {
                int tenths = file_tenths(mirror, id, &node);

                (void)snprintf(text, sizeof(text), "%d.%d", tenths / 10, tenths % 10); /* fits */
                return give(text, buffer, size);
        }
        if (strcmp(name, OWN_XATTRS "digest") == 0) {
                const struct hash_set *set = &mirror->context.options->hash;
                char digest[HASH_TEXT_BYTES];

                if (set->count == 0 || digest_text(&node.digests, set->order[0], digest) < 0)
                        return -ENODATA;
                (void)snprintf(text, sizeof(text), "%s:%s", hash_name(set->order[0]), digest); /* fits */
                return give(text, buffer, size);
        }
        return -ENODATA;
}

int64_t mirror_getxattr(struct mirror *mirror, uint64_t id, const char *name, void *buffer, size_t size)
{
        cleanup(places_deinit) struct places places = { 0 };
        int64_t result;

        if (strncmp(name, OWN_XATTRS, strlen(OWN_XATTRS)) == 0)
                return own_xattr(mirror, id, name, buffer, size);
        result = find_places(mirror, id, &places);
        if (result < 0)
                return result;
        result = -EIO;
        for (size_t i = 0; i < places.count; i++) {
                result = root_call_getxattr(places.roots[i], place_path(&places, i), name, buffer, size);
                if (result >= 0 || result == -ENODATA || result == -ERANGE || result == -EOPNOTSUPP)
                        return result;
        }
        return result == -ENOENT ? -EIO : result;
}

/* Takes names of cvv's own out of a list that came from a device. */
static int64_t filter_list(char *list, int64_t length)
{
        int64_t kept = 0;

        for (int64_t at = 0; at < length;) {
                int64_t size = (int64_t)strnlen(list + at, (size_t)(length - at)) + 1;

                if (strncmp(list + at, OWN_XATTRS, strlen(OWN_XATTRS)) != 0) {
                        memmove(list + kept, list + at, (size_t)size);
                        kept += size;
                }
                at += size;
        }
        return kept;
}

int64_t mirror_listxattr(struct mirror *mirror, uint64_t id, char *buffer, size_t size)
{
        cleanup(places_deinit) struct places places = { 0 };
        int64_t result = find_places(mirror, id, &places);

        if (result < 0)
                return result;
        result = -EIO;
        for (size_t i = 0; i < places.count; i++) {
                result = root_call_listxattr(places.roots[i], place_path(&places, i), buffer, size);
                if (result >= 0)
                        return size > 0 ? filter_list(buffer, result) : result;
                if (result == -ERANGE || result == -EOPNOTSUPP)
                        return result;
        }
        return result == -ENOENT ? -EIO : result;
}

/* --- space --- */

/* What can still be written: for each filesystem, what is free less what all its targets are owed, shared among them. */
static uint64_t writable_bytes(struct mirror *mirror, const struct target *target, const struct progress_snapshot *snapshot)
{
        uint64_t owed = 0, count = 0, free_bytes = target->space.f_bavail * target->space.f_frsize;

        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, other)) {
                if (!device_same_filesystem(&other->root.device, &target->root.device))
                        continue;
                owed += snapshot->targets[other->slot].owed_bytes;
                count++;
        }
        return owed >= free_bytes ? 0 : (free_bytes - owed) / count;
}

int mirror_statfs(struct mirror *mirror, struct statvfs *ret_statvfs)
{
        struct progress_snapshot snapshot;
        uint64_t least = UINT64_MAX;
        struct statvfs space = { .f_bsize = 4096, .f_frsize = 4096, .f_namemax = VIEW_NAME_MAX };

        progress_snapshot(&mirror->context.progress, &snapshot);
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target)) {
                uint64_t bytes;

                MUTEX_SCOPE(&target->lock);
                if (!target->space_known || (target->state != TARGET_ONLINE && target->state != TARGET_BEHIND))
                        continue;
                bytes = writable_bytes(mirror, target, &snapshot);
                if (bytes >= least)
                        continue;
                least = bytes;
                space = target->space;
                space.f_bavail = bytes / space.f_frsize;
                space.f_bfree = space.f_bavail;
                space.f_namemax = VIEW_NAME_MAX;
        }
        *ret_statvfs = space;
        return 0;
}

/* --- paths --- */

int mirror_resolve(struct mirror *mirror, const char *path, uint64_t *ret_id)
{
        uint64_t id = VIEW_ROOT;

        while (*path) {
                char name[VIEW_NAME_MAX + 1];
                size_t size = strcspn(path, "/");
                int result;

                if (size > VIEW_NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, path, size);
                name[size] = '\0';
                path += size;
                path += strspn(path, "/");
                if (size == 0)
                        continue;
                if (strcmp(name, "..") == 0)
                        return -EINVAL;
                result = strcmp(name, ".") == 0 ? 0 : reconcile_lookup(mirror->reconcile, id, name, &id);
                if (result < 0)
                        return result;
        }
        *ret_id = id;
        return 0;
}

int mirror_path(struct mirror *mirror, uint64_t id, char **ret_path)
{
        return view_path(mirror->view, id, ret_path);
}

/* --- directories --- */

/* Entries are numbered from 2 ("." and ".." are 0 and 1) in the order of their bytes. To go on somewhere, the name before is needed: the
 * last one is kept, and one of each DIR_INDEX_STEP for whoever seeks back. */
struct mirror_dir {
        struct mirror *mirror;
        uint64_t id, parent;
        struct mutex lock; /* guards all below */
        uint64_t position;             /* number of the entry after `last` */
        char last[VIEW_NAME_MAX + 1];  /* empty: the beginning */
        char (*index)[VIEW_NAME_MAX + 1]; /* index[i]: the name before entry 2 + (i + 1) * DIR_INDEX_STEP */
        size_t index_count;
};

int mirror_opendir(struct mirror *mirror, uint64_t id, struct mirror_dir **ret_dir)
{
        struct node_record node;
        struct mirror_dir *dir;
        int result = view_node(mirror->view, id, &node);

        if (result < 0)
                return result == -ENOENT ? -ESTALE : result;
        if (!S_ISDIR(node.mode))
                return -ENOTDIR;
        result = reconcile_load(mirror->reconcile, id);
        if (result < 0)
                return result;
        dir = calloc(1, sizeof(*dir));
        if (!dir)
                return -ENOMEM;
        dir->mirror = mirror;
        dir->id = id;
        dir->parent = node.parent;
        dir->position = 2;
        mutex_init(&dir->lock);
        *ret_dir = dir;
        return 0;
}

void mirror_closedir(struct mirror_dir *dir)
{
        free(dir->index);
        mutex_deinit(&dir->lock);
        free(dir);
}

struct fill_walk {
        struct mirror_dir *dir;
        uint64_t skip_until; /* entries before this number are passed over */
        bool with_attributes;
        bool (*fill)(void *context, const char *name, const struct stat *stat, uint64_t next_offset);
        void *context;
        bool full;
};

static void remember(struct mirror_dir *dir, const char *name)
{
        (void)snprintf(dir->last, sizeof(dir->last), "%s", name); /* fits: a name of the view */
        dir->position++;
        if ((dir->position - 2) % DIR_INDEX_STEP == 0 && (dir->position - 2) / DIR_INDEX_STEP == dir->index_count + 1) {
                void *index = reallocarray(dir->index, dir->index_count + 1, sizeof(*dir->index));

                if (!index)
                        return; /* seeking back begins further in front */
                dir->index = index;
                memcpy(dir->index[dir->index_count++], dir->last, sizeof(dir->last));
        }
}

static bool fill_name(void *context, const char *name, const struct name_record *record)
{
        struct fill_walk *walk = context;
        struct mirror_dir *dir = walk->dir;
        struct stat stat = { .st_ino = record->id, .st_mode = record->mode_type };

        if (record->flags & (VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT))
                return true;
        if (dir->position >= walk->skip_until) {
                if (walk->with_attributes && give_stat(dir->mirror, record->id, &stat) < 0)
                        return true; /* forgotten just now */
                if (!walk->fill(walk->context, name, &stat, dir->position + 1)) {
                        walk->full = true;
                        return false;
                }
        }
        remember(dir, name);
        return true;
}

/* Puts the position to the last known one that is not behind `offset`. */
static void seek_locked(struct mirror_dir *dir, uint64_t offset)
{
        size_t entry;

        if (dir->position <= offset)
                return;
        entry = (size_t)((offset - 2) / DIR_INDEX_STEP);
        if (entry > dir->index_count)
                entry = dir->index_count;
        dir->position = 2 + (uint64_t)entry * DIR_INDEX_STEP;
        if (entry > 0)
                memcpy(dir->last, dir->index[entry - 1], sizeof(dir->last));
        else
                dir->last[0] = '\0';
}

int mirror_readdir(struct mirror_dir *dir, uint64_t offset, bool with_attributes,
                   bool (*fill)(void *context, const char *name, const struct stat *stat, uint64_t next_offset),
                   void *context)
{
        struct fill_walk walk = { .dir = dir, .with_attributes = with_attributes, .fill = fill, .context = context };

        for (; offset < 2; offset++) {
                struct stat stat = { .st_ino = offset == 0 ? dir->id : dir->parent, .st_mode = S_IFDIR };

                if (with_attributes)
                        (void)give_stat(dir->mirror, stat.st_ino, &stat); /* else number and type, as without */
                if (!fill(context, offset == 0 ? "." : "..", &stat, offset + 1))
                        return 0;
        }
        MUTEX_SCOPE(&dir->lock);
        seek_locked(dir, offset);
        walk.skip_until = offset;
        return view_list(dir->mirror->view, dir->id, dir->last[0] ? dir->last : NULL, fill_name, &walk);
}
