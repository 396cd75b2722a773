/* What a copy needs before it begins: space on each filesystem, and names that a filesystem will not hold. See mirror_survey() in mirror.h.
 *
 * Made of the records that the scan has just brought up to date. What those do not say is looked at: whether a target has under the name of
 * a lacking file one that will be compared, which takes no space if it is equal and stays if it is not.
 */
#include "core/mirror_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cleanup.h"
#include "core/fsnames.h"
#include "core/fstraits.h"
#include "core/io.h"
#include "core/judge.h"
#include "core/sync.h"

enum {
        EXTENTS_MAX = 1024 * 1024, /* of one file: a finer one counts as if it had no more holes */
        OWN_BLOCKS = 4,            /* of what cvv puts on a target for itself */
};

struct survey {
        struct mirror *mirror;
        void (*refused)(void *context, const struct mirror_need *target, const char *path, const char *reason);
        void *context;
        struct mirror_need *needs;        /* in the order given */
        uint64_t files[TARGET_SLOTS];     /* by the same index */
        struct statvfs space[TARGET_SLOTS];
        uint64_t parent, parent_published; /* of the name before */
        int result;
};

/* --- what a file takes --- */

/* The bytes of a file that are no holes. */
static uint64_t data_bytes(struct mirror *mirror, uint64_t id, const struct node_record *node)
{
        cleanup(pointer_free) char *path = NULL;
        cleanup(fd_close) int fd = -1;
        uint64_t at = 0, sum = 0;

        if (node->blocks >= node->size / 512)
                return node->size; /* the usual case */
        if (view_source_path(mirror->view, id, &path) < 0)
                return node->size;
        fd = root_call_open(mirror->context.source, path);
        for (unsigned i = 0; fd >= 0 && at < node->size && i < EXTENTS_MAX; i++) {
                off_t start = lseek(fd, (off_t)at, SEEK_DATA), end;

                if (start < 0 && errno == ENXIO)
                        return sum;
                end = start < 0 ? -1 : lseek(fd, start, SEEK_HOLE);
                if (end < 0 || end <= start)
                        break;
                sum += (uint64_t)(end - start);
                at = (uint64_t)end;
        }
        return at >= node->size ? sum : sum + (node->size - at);
}

static uint64_t round_up(uint64_t bytes, uint64_t block)
{
        return block == 0 ? bytes : (bytes + block - 1) / block * block;
}

/* --- what a target has --- */

/* The slots where the directory of a name is: only there can anything be under the name. */
static uint64_t parent_slots(struct survey *survey, uint64_t parent)
{
        struct node_record node;
        struct name_record name;

        if (parent == VIEW_ROOT)
                return UINT64_MAX;
        if (parent != survey->parent) {
                survey->parent = parent;
                survey->parent_published = view_node(survey->mirror->view, parent, &node) == 0 &&
                                                           view_primary_name(survey->mirror->view, &node, &name) == 0
                                                   ? name.published
                                                   : 0;
        }
        return survey->parent_published;
}

/* Something is there that is to be compared: it stays, or is found to be in conflict. */
static bool is_compared(const struct survey *survey, struct target *target, const char *path, const struct name_record *name,
                        const struct node_record *node)
{
        const struct context *context = &survey->mirror->context;
        enum existing existing = options_existing(context->options);
        struct statx stat;

        if (existing != EXISTING_VERIFY || !S_ISREG(node->mode) || !target_serves_reads(target) ||
            root_call_stat(&target->root, target_path_of(target, path), &stat) < 0)
                return false;
        return judge_target(node, name, true, target->slot, &stat, existing, judge_clock_of(context, target)) == VERDICT_COMPARE;
}

/* --- one name on one target --- */

static const char *last_component(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static const char *refusal(const struct survey *survey, size_t index, const struct target *target, const char *name, uint64_t size)
{
        const struct statvfs *space = &survey->space[index];

        if (survey->needs[index].space_known && space->f_namemax > 0 && strlen(name) > space->f_namemax)
                return "the name is longer than its filesystem can hold";
        return fsnames_refusal(target->root.device.fs_type, name, size);
}

struct wanted {
        const char *path;
        const struct name_record *name;
        const struct node_record *node;
        bool further;     /* another name of a file that is counted already */
        uint64_t present; /* slots where something can be under the name */
        uint64_t data;    /* without holes; UINT64_MAX: not looked at yet */
};

static uint64_t size_on(struct survey *survey, const struct target *target, struct wanted *wanted)
{
        const struct node_record *node = wanted->node;

        if (!fsnames_holds_holes(target->root.device.fs_type))
                return node->size;
        if (wanted->data == UINT64_MAX)
                wanted->data = data_bytes(survey->mirror, wanted->name->id, node);
        return wanted->data;
}

static void add_need(struct survey *survey, size_t index, struct target *target, struct wanted *wanted)
{
        struct mirror_need *need = &survey->needs[index];
        uint64_t block = survey->space[index].f_frsize, size, there;
        const struct node_record *node = wanted->node;

        survey->files[index] += !wanted->further;
        if (wanted->further)
                return;
        if (!S_ISREG(node->mode)) {
                if (fs_traits_of((uint32_t)target->root.device.fs_type)->class != FS_CLASS_MEMORY &&
                    (S_ISDIR(node->mode) || S_ISLNK(node->mode)))
                        need->bytes += block;
                return;
        }
        size = round_up(size_on(survey, target, wanted), block);
        there = view_slot_bytes(survey->mirror->view, wanted->name->id, node, target->slot);
        need->bytes += size > there ? size - there : 0;
}

static void look_at(struct survey *survey, size_t index, struct wanted *wanted)
{
        struct target *target = survey->mirror->setup.targets[index];
        const char *name = last_component(target_path_of(target, wanted->path)), *reason;
        uint64_t bit = 1ull << target->slot;

        if ((view_finished(wanted->node, wanted->name) & bit) || ((wanted->node->conflict | wanted->name->conflict) & bit))
                return;
        reason = refusal(survey, index, target, name, S_ISREG(wanted->node->mode) ? wanted->node->size : 0);
        if (reason) {
                survey->refused(survey->context, &survey->needs[index], wanted->path, reason);
                return;
        }
        if ((wanted->present & bit) && is_compared(survey, target, wanted->path, wanted->name, wanted->node))
                return;
        add_need(survey, index, target, wanted);
}

/* --- names that one filesystem takes for the same --- */

struct folded {
        uint64_t *hashes;
        size_t count, capacity;
        bool collecting, failed;
        struct survey *survey;
        size_t index;
        const char *directory;
};

static uint64_t fold(const char *name)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: two names that fall together by chance are looked at closer by nobody */

        for (; *name; name++) {
                unsigned char byte = (unsigned char)*name;

                hash = (hash ^ (byte >= 'A' && byte <= 'Z' ? byte + 32u : byte)) * UINT64_C(0x100000001b3);
        }
        return hash;
}

static int compare_hashes(const void *a, const void *b)
{
        uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

        return left < right ? -1 : left > right;
}

static bool collect(struct folded *folded, const char *name)
{
        if (folded->count == folded->capacity) {
                size_t capacity = folded->capacity ? folded->capacity * 2 : 256;
                uint64_t *hashes = reallocarray(folded->hashes, capacity, sizeof(*hashes));

                folded->failed = !hashes;
                if (!hashes)
                        return false;
                folded->hashes = hashes;
                folded->capacity = capacity;
        }
        folded->hashes[folded->count++] = fold(name);
        return true;
}

static bool is_double(const struct folded *folded, const char *name)
{
        uint64_t hash = fold(name);
        const uint64_t *found = bsearch(&hash, folded->hashes, folded->count, sizeof(hash), compare_hashes);

        return found && ((found > folded->hashes && found[-1] == hash) ||
                         (found + 1 < folded->hashes + folded->count && found[1] == hash));
}

static bool visit_folded(void *context, const char *name, const struct name_record *record)
{
        struct folded *folded = context;
        cleanup(pointer_free) char *path = NULL;

        if (!(record->flags & VIEW_NAME_SOURCE) || (record->flags & (VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT)))
                return true;
        if (folded->collecting)
                return collect(folded, name);
        if (!is_double(folded, name))
                return true;
        path = malloc(strlen(folded->directory) + strlen(name) + 2);
        if (path) {
                (void)stpcpy(stpcpy(stpcpy(path, folded->directory), *folded->directory ? "/" : ""), name);
                folded->survey->refused(folded->survey->context, &folded->survey->needs[folded->index], path,
                                        "its filesystem takes the name for that of another file here, which differs in case only");
        }
        return true;
}

/* Names of a directory that differ in case only, on the targets where that is no difference. */
static int look_for_clashes(struct survey *survey, uint64_t directory, const char *path)
{
        struct folded folded = { .collecting = true, .survey = survey, .directory = path };
        const struct setup *setup = &survey->mirror->setup;
        uint64_t folding = 0;
        int result;

        for (size_t i = 0; i < setup->target_count; i++)
                if (fs_traits_of((uint32_t)setup->targets[i]->root.device.fs_type)->folds_case)
                        folding |= 1ull << i;
        if (folding == 0)
                return 0;
        result = view_list(survey->mirror->view, directory, NULL, visit_folded, &folded);
        if (folded.failed)
                result = -ENOMEM;
        if (folded.count > 0)
                qsort(folded.hashes, folded.count, sizeof(*folded.hashes), compare_hashes);
        folded.collecting = false;
        for (folded.index = 0; folded.index < setup->target_count && result == 0; folded.index++)
                if (folding >> folded.index & 1)
                        result = view_list(survey->mirror->view, directory, NULL, visit_folded, &folded);
        free(folded.hashes);
        return result;
}

/* --- all --- */

/* Whether this is a further name of its node. */
static bool is_further(struct survey *survey, const char *path, uint64_t id, const struct node_record *node)
{
        cleanup(pointer_free) char *first = NULL;

        return (node->flags & VIEW_NODE_LINKS) && view_path(survey->mirror->view, id, &first) == 0 && strcmp(first, path) != 0;
}

static bool visit(void *context, const char *path, const struct name_record *name, const struct node_record *node)
{
        struct survey *survey = context;
        struct wanted wanted = { .path = path, .name = name, .node = node, .data = UINT64_MAX };

        if ((name->flags & (VIEW_NAME_EXCLUDED | VIEW_NAME_WHITEOUT)) || (node->flags & VIEW_NODE_UNAVAILABLE))
                return true;
        wanted.further = is_further(survey, path, name->id, node);
        wanted.present = parent_slots(survey, node->parent);
        for (size_t i = 0; i < survey->mirror->setup.target_count; i++)
                look_at(survey, i, &wanted);
        if (S_ISDIR(node->mode))
                survey->result = look_for_clashes(survey, name->id, path);
        return survey->result == 0;
}

static void take_space(struct survey *survey)
{
        for (size_t i = 0; i < survey->mirror->setup.target_count; i++) {
                struct target *target = survey->mirror->setup.targets[i];
                struct mirror_need *need = &survey->needs[i];

                MUTEX_SCOPE(&target->lock);
                *need = (struct mirror_need){ .n = target->n, .path = target->root.path, .space_known = target->space_known };
                if (!target->space_known)
                        continue;
                survey->space[i] = target->space;
                need->free_bytes = target->space.f_bavail * target->space.f_frsize;
                need->free_files = target->space.f_files > 0 ? target->space.f_favail : UINT64_MAX;
        }
}

/* What targets on one filesystem need together, and what cvv itself puts there. */
static void share(struct survey *survey)
{
        const struct setup *setup = &survey->mirror->setup;

        for (size_t i = 0; i < setup->target_count; i++) {
                struct mirror_need *need = &survey->needs[i];

                for (size_t j = 0; j < setup->target_count; j++) {
                        if (i != j && !device_same_filesystem(&setup->targets[i]->root.device, &setup->targets[j]->root.device))
                                continue;
                        if (survey->needs[j].bytes == 0 && survey->files[j] == 0)
                                continue;
                        need->shared_bytes += survey->needs[j].bytes + OWN_BLOCKS * survey->space[j].f_frsize;
                        need->shared_files += survey->files[j] + OWN_BLOCKS;
                }
        }
}

int mirror_survey(struct mirror *mirror,
                  void (*refused)(void *context, const struct mirror_need *target, const char *path, const char *reason),
                  void *context, struct mirror_need *needs)
{
        cleanup(pointer_free) struct survey *survey = calloc(1, sizeof(*survey));
        int result;

        if (!survey)
                return -ENOMEM;
        survey->mirror = mirror;
        survey->refused = refused;
        survey->context = context;
        survey->needs = needs;
        take_space(survey);
        survey->result = look_for_clashes(survey, VIEW_ROOT, "");
        result = survey->result == 0 ? mirror_walk(mirror, visit, survey) : survey->result;
        if (result == 0)
                result = survey->result;
        share(survey);
        return result;
}

bool mirror_is_finished(struct mirror *mirror)
{
        struct status status;
        bool finished;

        if (mirror->context.unclean || mirror_status(mirror, &status) < 0)
                return false;
        finished = status.progress_tenths == 1000 && (status.mode == MODE_TRANSFER || status.files_verified == status.files_total);
        status_deinit(&status);
        for (CONTEXT_EACH_TARGET(&mirror->context, mirror->context.target_mask, target))
                finished = finished && target->control_fd < 0;
        for (size_t i = 0; i < mirror->setup.target_count; i++)
                finished = finished && !mirror->setup.created[i];
        return finished;
}
