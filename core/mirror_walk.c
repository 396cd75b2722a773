/* The walk over all names of the source, in the order of the bytes of their paths: the lists, and what `cvv copy` prints, are made of it.
 * See mirror_each_file() in mirror.h.
 *
 * The records of a directory come in the order of its names. In the order of paths a directory stands where its name with a slash would, so
 * one whose name begins that of siblings waits behind those of them that go on with a byte below the slash ("a", "a.b" are "a.b", "a/x").
 * Those that wait are prefixes of one another, and so there are few. Names are read ahead in portions, small ones far down, so that memory
 * depends neither on the number of names nor much on the depth.
 */
#include "core/mirror_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cleanup.h"
#include "core/log.h"

enum {
        DEPTH_MAX = 8192, /* more levels than any path has: a circle, which is damage */
        DEEP = 16,        /* levels from which on portions are small */
        PORTION = 256,
        PORTION_DEEP = 8,
};

struct walk_name {
        struct name_record record;
        char name[VIEW_NAME_MAX + 1];
};

/* A directory that waits behind siblings. */
struct waiting {
        struct name_record record;
        size_t name_size; /* of the level's waiting_name */
};

struct level {
        uint64_t directory;
        size_t path_size; /* with the slash */
        struct walk_name *names;
        size_t capacity, count, next;
        bool at_end;                     /* nothing comes behind the portion */
        char last[VIEW_NAME_MAX + 1];    /* of the portions so far; "" before the first */
        struct waiting *waiting;
        size_t waiting_count, waiting_capacity;
        char waiting_name[VIEW_NAME_MAX + 1];
};

struct walk {
        struct mirror *mirror;
        struct level *levels;
        size_t depth, capacity;
        char *path;
        size_t path_capacity;
        mirror_visit *visit;
        void *context;
        bool stopped;
};

/* --- levels --- */

static void level_deinit(struct level *level)
{
        free(level->names);
        free(level->waiting);
}

/* `array` with room for `need` elements; NULL, and all as it was, where memory is short. */
static void *grown(void *array, size_t *capacity, size_t need, size_t size)
{
        size_t wanted = *capacity * 2 > need ? *capacity * 2 : need;
        void *bigger = need <= *capacity ? array : reallocarray(array, wanted, size);

        if (bigger && need > *capacity)
                *capacity = wanted;
        return bigger;
}

/* Writes the name behind the path of `above` (NULL: it is the root, which has no name). */
static int set_path(struct walk *walk, const struct level *above, const char *name, size_t name_size)
{
        size_t start = above ? above->path_size : 0;
        char *path = grown(walk->path, &walk->path_capacity, start + name_size + 2, 1);

        if (!path)
                return -ENOMEM;
        walk->path = path;
        memcpy(path + start, name, name_size);
        path[start + name_size] = '\0';
        return 0;
}

/* Goes down into a directory, whose path is set, without a slash. */
static int push_level(struct walk *walk, uint64_t directory)
{
        size_t path_size = strlen(walk->path);
        struct level *levels = grown(walk->levels, &walk->capacity, walk->depth + 1, sizeof(*walk->levels));
        struct level level = { .directory = directory, .capacity = walk->depth < DEEP ? PORTION : PORTION_DEEP };

        if (!levels)
                return -ENOMEM;
        walk->levels = levels;
        if (walk->depth == DEPTH_MAX)
                return -ELOOP;
        level.names = calloc(level.capacity, sizeof(*level.names));
        if (!level.names)
                return -ENOMEM;
        if (path_size > 0) {
                walk->path[path_size++] = '/'; /* set_path() leaves room */
                walk->path[path_size] = '\0';
        }
        level.path_size = path_size;
        walk->levels[walk->depth++] = level;
        return 0;
}

static bool take_name(void *context, const char *name, const struct name_record *record)
{
        struct level *level = context;

        if (level->count == level->capacity) {
                level->at_end = false;
                return false;
        }
        level->names[level->count].record = *record;
        (void)snprintf(level->names[level->count++].name, sizeof(level->names[0].name), "%s", name); /* fits */
        return true;
}

/* The level's next name; NULL at its end. */
static int peek(struct walk *walk, struct level *level, const struct walk_name **ret_name)
{
        int result = 0;

        if (level->next == level->count && !level->at_end) {
                const char *after = level->last[0] ? level->last : NULL;

                level->count = level->next = 0;
                level->at_end = true;
                result = view_list(walk->mirror->view, level->directory, after, take_name, level);
                if (level->count > 0)
                        (void)snprintf(level->last, sizeof(level->last), "%s", level->names[level->count - 1].name); /* fits */
        }
        if (result < 0)
                return result;
        *ret_name = level->next < level->count ? &level->names[level->next] : NULL;
        return 0;
}

/* --- directories --- */

/* What is excluded, or deleted through the mount, is one entry, whatever lay below it. */
static bool is_descended(const struct name_record *record)
{
        return S_ISDIR(record->mode_type) && !(record->flags & (VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT));
}

static int wait_behind(struct level *level, const struct walk_name *name)
{
        struct waiting *waiting = grown(level->waiting, &level->waiting_capacity, level->waiting_count + 1, sizeof(*waiting));

        if (!waiting)
                return -ENOMEM;
        level->waiting = waiting;
        waiting[level->waiting_count++] = (struct waiting){ name->record, strlen(name->name) };
        (void)snprintf(level->waiting_name, sizeof(level->waiting_name), "%s", name->name); /* fits */
        return 0;
}

/* Whether the last of the waiting directories comes before the sibling `name`. */
static bool is_due(const struct level *level, const struct walk_name *name)
{
        size_t size;

        if (level->waiting_count == 0)
                return false;
        size = level->waiting[level->waiting_count - 1].name_size;
        return !name || strncmp(name->name, level->waiting_name, size) != 0 || (unsigned char)name->name[size] > '/';
}

/* --- what is visited --- */

static int show(struct walk *walk, const struct level *level, const struct name_record *record, const char *name, size_t name_size)
{
        struct node_record node;
        int result = set_path(walk, level, name, name_size);

        if (result < 0 || !(record->flags & VIEW_NAME_SOURCE) ||
            ((record->flags & VIEW_NAME_VANISHED) && !view_name_is_counted(walk->mirror->view, record)))
                return result; /* no file of the source, or not any more */
        result = view_node(walk->mirror->view, record->id, &node);
        if (result == 0)
                walk->stopped = !walk->visit(walk->context, walk->path, record, &node);
        else if (result != -ENOENT) /* else it was forgotten in between */
                log_error("a damaged record is passed over: %s: %s", walk->path, strerror(-result));
        return 0;
}

static int descend(struct walk *walk, struct level *level)
{
        struct waiting due = level->waiting[--level->waiting_count];
        int result = show(walk, level, &due.record, level->waiting_name, due.name_size);

        return result < 0 || walk->stopped ? result : push_level(walk, due.record.id);
}

static int step(struct walk *walk)
{
        struct level *level = &walk->levels[walk->depth - 1];
        const struct walk_name *name;
        int result = peek(walk, level, &name);

        if (result < 0)
                return result;
        if (is_due(level, name))
                return descend(walk, level);
        if (!name) {
                level_deinit(level);
                walk->depth--;
                return 0;
        }
        level->next++;
        return is_descended(&name->record) ? wait_behind(level, name)
                                           : show(walk, level, &name->record, name->name, strlen(name->name));
}

int mirror_walk(struct mirror *mirror, mirror_visit *visit, void *context)
{
        struct walk walk = { .mirror = mirror, .visit = visit, .context = context };
        int result = set_path(&walk, NULL, "", 0);

        if (result == 0)
                result = push_level(&walk, VIEW_ROOT);
        while (result == 0 && walk.depth > 0 && !walk.stopped)
                result = step(&walk);
        while (walk.depth > 0)
                level_deinit(&walk.levels[--walk.depth]);
        free(walk.levels);
        free(walk.path);
        return result;
}

/* --- files --- */

/* Why the source cannot confirm what the targets have; NULL where nothing is known against it. */
static const char *source_reason(const struct node_record *node)
{
        return (node->flags & VIEW_NODE_UNREADABLE) && node->last_error < 0 ? error_describe(node->last_error) : NULL;
}

const char *mirror_reason(enum category category, const struct name_record *name, const struct node_record *node)
{
        switch (category) {
        case CATEGORY_SKIPPED:
                return source_reason(node) ? source_reason(node) : "the targets have it already";
        case CATEGORY_EXCLUDED:
                return "excluded";
        case CATEGORY_CONFLICT:
                return "a target has a different file of this name";
        case CATEGORY_MISSING:
                if ((name->flags & VIEW_NAME_VANISHED) || !(node->flags & VIEW_NODE_UNREADABLE))
                        return "vanished from the source";
                return node->last_error < 0 ? error_describe(node->last_error) : "the source does not give it";
        case CATEGORY_FAILED:
                return node->last_error < 0 ? error_describe(node->last_error) : "unknown error";
        case CATEGORY_COPIED: /* and perhaps it could not be read back */
                return !source_reason(node) && node->failed && node->last_error < 0 ? error_describe(node->last_error) : source_reason(node);
        case CATEGORY_PENDING:
        case CATEGORY_COUNT:
                break;
        }
        return NULL;
}

/* Of the ways in which the copies were read back. */
static uint8_t weakest_method(const struct node_record *node, uint64_t slots)
{
        unsigned weakest = 0;

        for (uint64_t left = node->verified & slots; left; left &= left - 1) {
                unsigned method = node_method(node, (unsigned)__builtin_ctzll(left));

                weakest = method > weakest ? method : weakest;
        }
        return (uint8_t)weakest;
}

struct each_file {
        uint64_t all;
        bool (*visit)(void *context, const struct mirror_entry *entry);
        void *context;
};

static bool visit_file(void *context, const char *path, const struct name_record *name, const struct node_record *node)
{
        const struct each_file *each = context;
        enum category category = view_classify(each->all, node, name);
        bool done = category == CATEGORY_COPIED || category == CATEGORY_SKIPPED;
        struct mirror_entry entry = {
                .path = path,
                .mode = node->mode,
                .size = node->size,
                .category = category,
                .verified = done && (node->verified & each->all) == each->all,
                .doubted = done && source_reason(node),
                .verify_method = weakest_method(node, each->all),
                .reason = mirror_reason(category, name, node),
                .digests = &node->digests,
        };

        if (S_ISDIR(node->mode) && category != CATEGORY_EXCLUDED &&
            !(category == CATEGORY_MISSING && (node->flags & VIEW_NODE_UNREADABLE)))
                return true;
        return each->visit(each->context, &entry);
}

int mirror_each_file(struct mirror *mirror, bool (*visit)(void *context, const struct mirror_entry *entry), void *context)
{
        struct each_file each = { .all = mirror->context.target_mask, .visit = visit, .context = context };

        return mirror_walk(mirror, visit_file, &each);
}

struct each_repair {
        struct mirror *mirror;
        void (*visit)(void *context, const char *path, uint32_t n, const char *root, unsigned times);
        void *context;
};

static void visit_repair(void *context, uint64_t id, struct target *target, unsigned times)
{
        struct each_repair *each = context;
        cleanup(pointer_free) char *path = NULL;

        if (view_path(each->mirror->view, id, &path) == 0)
                each->visit(each->context, path, target->n, target->root.path, times);
}

void mirror_each_repair(struct mirror *mirror, void (*visit)(void *context, const char *path, uint32_t n, const char *root, unsigned times),
                        void *context)
{
        struct each_repair each = { .mirror = mirror, .visit = visit, .context = context };

        verify_each_repair(mirror->verify, visit_repair, &each);
}
