#include "core/judge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "core/metadata_rules.h"

static bool same_version(uint64_t size, int64_t mtime_ns, const struct statx *stat, uint64_t granularity_ns)
{
        return stat->stx_size == size && metadata_mtime_equal(mtime_ns, metadata_time_ns(&stat->stx_mtime), granularity_ns);
}

bool judge_looks_equal(const struct node_record *node, const struct statx *stat, uint64_t granularity_ns)
{
        if (S_ISREG(node->mode) || S_ISLNK(node->mode))
                return same_version(node->size, node->mtime_ns, stat, granularity_ns);
        if (S_ISCHR(node->mode) || S_ISBLK(node->mode))
                return makedev(stat->stx_rdev_major, stat->stx_rdev_minor) == node->rdev;
        return true;
}

/* The version before, which cvv itself brought to some target. */
static bool is_former(const struct node_record *node, const struct statx *stat, uint64_t granularity_ns)
{
        return (S_ISREG(node->mode) || S_ISLNK(node->mode)) &&
               same_version(node->copied_size, node->copied_mtime_ns, stat, granularity_ns);
}

static enum verdict judge_unpublished(const struct node_record *node, unsigned slot, bool in_conflict, const struct statx *stat,
                                      enum existing existing, uint64_t granularity_ns)
{
        bool equal = judge_looks_equal(node, stat, granularity_ns);

        /* All chunks were present, only the name was missing: the crash came between the rename and its record. */
        if (equal && (node->complete >> slot & 1))
                return VERDICT_OURS;
        if (equal && in_conflict && S_ISREG(node->mode))
                return VERDICT_COMPARE; /* it differed once, and perhaps in nothing but its bytes */
        if (equal && (existing != EXISTING_VERIFY || !S_ISREG(node->mode)))
                return VERDICT_EQUAL;
        /* The source changed between the rename and its record: what stands there is the version that was complete before. */
        if (!equal && node->copied_mtime_ns != 0 && is_former(node, stat, granularity_ns))
                return VERDICT_REPLACE;
        if (existing == EXISTING_REPLACE)
                return VERDICT_REPLACE;
        if (existing == EXISTING_VERIFY && S_ISREG(node->mode) && stat->stx_size == node->size)
                return VERDICT_COMPARE;
        return VERDICT_CONFLICT;
}

/* What has the name is this version, or the one before: cvv's own, and to be replaced. While the new version is complete and waits for
 * its name (also over a crash), the old one is no conflict. */
static enum verdict judge_published(const struct node_record *node, bool complete, const struct statx *stat,
                                              uint64_t granularity_ns)
{
        bool equal = judge_looks_equal(node, stat, granularity_ns);
        bool former = is_former(node, stat, granularity_ns);

        if (complete)
                return equal ? VERDICT_AS_RECORDED : former ? VERDICT_REPLACE : VERDICT_CONFLICT;
        return equal || former || !S_ISREG(node->mode) ? VERDICT_AS_RECORDED : VERDICT_CONFLICT;
}

enum verdict judge_target(const struct node_record *node, const struct name_record *name, unsigned slot,
                                       const struct statx *target_stat, enum existing existing, uint64_t granularity_ns)
{
        bool published = name->published >> slot & 1;

        if (!target_stat)
                return published || (name->conflict >> slot & 1) ? VERDICT_LOST : VERDICT_LACKING;
        if ((target_stat->stx_mode & S_IFMT) != (node->mode & S_IFMT))
                return VERDICT_CONFLICT;
        if (S_ISDIR(node->mode))
                return published ? VERDICT_AS_RECORDED : VERDICT_EQUAL;
        if (!published)
                return judge_unpublished(node, slot, name->conflict >> slot & 1, target_stat, existing, granularity_ns);
        return judge_published(node, node->complete >> slot & 1, target_stat, granularity_ns);
}

struct verdict_change {
        unsigned slot;
        enum verdict verdict;
};

static void set_finished(struct node_record *node, struct name_record *name, uint64_t bit, bool skipped)
{
        name->published |= bit;
        name->conflict &= ~bit;
        node->conflict &= ~bit;
        node->failed &= ~bit;
        node->complete |= bit;
        node->partial &= ~bit;
        node->skipped = skipped ? node->skipped | bit : node->skipped & ~bit;
        if (skipped)
                node->verified &= ~bit; /* whatever was read back there before, this is only thought to be it */
}

static bool change_verdict(void *context, struct node_record *node, struct name_record *name)
{
        const struct verdict_change *change = context;
        uint64_t bit = 1ull << change->slot;

        switch (change->verdict) {
        case VERDICT_LACKING:
        case VERDICT_COMPARE:
        case VERDICT_REPLACE:
        case VERDICT_AS_RECORDED:
                if (change->verdict == VERDICT_REPLACE && (node->complete & name->published & bit))
                        node->complete &= ~bit; /* the version before: together these bits would say that it is finished */
                else if (!((name->conflict | node->conflict) & bit))
                        return false;
                name->conflict &= ~bit;
                node->conflict &= ~bit;
                return true;
        case VERDICT_EQUAL:
                set_finished(node, name, bit, true);
                return true;
        case VERDICT_OURS: /* of a further name: the node's first may have been there, and found equal */
                set_finished(node, name, bit, node->skipped & bit);
                return true;
        case VERDICT_LOST:
                name->published &= ~bit;
                name->conflict &= ~bit;
                node->conflict &= ~bit;
                node->skipped &= ~bit;
                node->verified &= ~bit;
                if (node->nlink <= 1 || !(node->flags & VIEW_NODE_LINKS))
                        node->complete &= ~bit;
                return true;
        case VERDICT_CONFLICT:
                if (name->conflict & bit)
                        return false;
                name->conflict |= bit;
                node->conflict |= bit;
                node->verified &= ~bit;
                return true;
        }
        return false;
}

int judge_apply(struct view *view, uint64_t parent, const char *name, unsigned slot, enum verdict verdict)
{
        struct verdict_change change = { .slot = slot, .verdict = verdict };

        return view_update_name(view, parent, name, change_verdict, &change);
}

uint64_t judge_granularity_ns(const struct context *context, const struct target *target)
{
        uint64_t ours = context->source ? context->source->device.mtime_granularity_ns : 1;
        uint64_t theirs = target->root.device.mtime_granularity_ns;

        return ours > theirs ? ours : theirs;
}
