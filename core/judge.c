#include "core/judge.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "core/metadata_rules.h"

static bool same_version(const struct node_version *a, const struct node_version *b, uint64_t granularity_ns)
{
        return a->size == b->size && metadata_mtime_equal(a->mtime_ns, b->mtime_ns, granularity_ns);
}

static struct node_version version_of(const struct node_record *node)
{
        return (struct node_version){ .size = node->size, .mtime_ns = node->mtime_ns };
}

static struct node_version version_seen(const struct statx *stat)
{
        return (struct node_version){ .size = stat->stx_size, .mtime_ns = metadata_time_ns(&stat->stx_mtime) };
}

bool judge_looks_equal(const struct node_record *node, const struct statx *stat, uint64_t granularity_ns)
{
        struct node_version version = version_of(node), seen = version_seen(stat);

        if (S_ISREG(node->mode) || S_ISLNK(node->mode))
                return same_version(&version, &seen, granularity_ns);
        if (S_ISCHR(node->mode) || S_ISBLK(node->mode))
                return makedev(stat->stx_rdev_major, stat->stx_rdev_minor) == node->rdev;
        return true;
}

/* Of the same size, on a target whose time for it says nothing. */
static bool is_vague(const struct node_version *version, const struct node_version *seen, struct judge_clock clock)
{
        return clock.vague && version->size == seen->size && !metadata_time_is_common(version->mtime_ns);
}

bool judge_is_as_published(const struct node_record *node, unsigned slot, const struct node_version *seen, struct judge_clock clock)
{
        struct node_version version = version_of(node);

        return same_version(&version, seen, clock.granularity_ns) || is_vague(&version, seen, clock) ||
               ((node->altered >> slot & 1) && same_version(&node->kept[slot], seen, clock.granularity_ns));
}

bool judge_is_former(const struct node_record *node, unsigned slot, const struct node_version *seen, struct judge_clock clock)
{
        return ((node->former >> slot & 1) && (S_ISREG(node->mode) || S_ISLNK(node->mode)) &&
                (same_version(&node->kept[slot], seen, clock.granularity_ns) || is_vague(&node->kept[slot], seen, clock)));
}

static void forget_kept(struct node_record *node, unsigned slot)
{
        node->former &= ~(1ull << slot);
        node->altered &= ~(1ull << slot);
        node->kept[slot] = (struct node_version){ 0 };
}

void judge_note_published(struct node_record *node, unsigned slot, const struct node_version *seen, struct judge_clock clock)
{
        struct node_version version = version_of(node);

        forget_kept(node, slot);
        if (same_version(&version, seen, clock.granularity_ns))
                return;
        node->altered |= 1ull << slot;
        node->kept[slot] = *seen;
}

void judge_note_former(struct node_record *node, unsigned slot, const struct node_version *seen)
{
        forget_kept(node, slot);
        node->former |= 1ull << slot;
        node->kept[slot] = *seen;
}

void judge_note_condemned(struct node_record *node, unsigned slot)
{
        struct node_version version = version_of(node);

        if (!((node->former | node->altered) >> slot & 1))
                judge_note_former(node, slot, &version);
}

/* Also where the version is not recorded as published: it may have its name already, and only the record be missing. Where one before it still
 * stands, it does not have its name yet, and publish.c will say so where it gets it all the same. */
void judge_begin_version(struct node_record *node)
{
        for (uint64_t left = node->complete & ~node->former; left; left &= left - 1) {
                unsigned slot = (unsigned)__builtin_ctzll(left);
                struct node_version version = node->altered >> slot & 1 ? node->kept[slot] : version_of(node);

                judge_note_former(node, slot, &version);
        }
        for (uint64_t left = node->altered; left; left &= left - 1) { /* published, and taken back since */
                unsigned slot = (unsigned)__builtin_ctzll(left);
                struct node_version version = node->kept[slot];

                judge_note_former(node, slot, &version);
        }
}

/* What has the name is not recorded as cvv's. */
static enum verdict judge_unpublished(const struct node_record *node, bool primary, unsigned slot, bool in_conflict,
                                      const struct statx *stat, enum existing existing, struct judge_clock clock)
{
        struct node_version seen = version_seen(stat), version = version_of(node);
        bool equal = judge_looks_equal(node, stat, clock.granularity_ns);
        bool looks_suffice = existing != EXISTING_VERIFY || !S_ISREG(node->mode);

        /* All chunks were present, only the name was missing: the crash came between the rename and its record. */
        if (equal && (node->complete >> slot & 1) && (primary || looks_suffice))
                return VERDICT_OURS;
        if (equal && in_conflict && S_ISREG(node->mode))
                return VERDICT_COMPARE; /* it differed once, and perhaps in nothing but its bytes */
        if (equal && looks_suffice)
                return VERDICT_EQUAL;
        /* The source changed between the rename and its record: what stands there is the version that was complete before. */
        if (!equal && judge_is_former(node, slot, &seen, clock))
                return VERDICT_REPLACE;
        if (existing == EXISTING_REPLACE)
                return VERDICT_REPLACE;
        if (S_ISREG(node->mode) && seen.size == node->size && (existing == EXISTING_VERIFY || is_vague(&version, &seen, clock)))
                return VERDICT_COMPARE; /* without a time that says something only the bytes do */
        return VERDICT_CONFLICT;
}

/* What has the name is this version, or the one before: cvv's own, and to be replaced. While the new version is complete and waits for
 * its name (also over a crash), the old one is no conflict. */
static enum verdict judge_published(const struct node_record *node, unsigned slot, const struct statx *stat, struct judge_clock clock)
{
        struct node_version seen = version_seen(stat);
        bool regular = S_ISREG(node->mode) || S_ISLNK(node->mode);
        bool equal = regular ? judge_is_as_published(node, slot, &seen, clock) : judge_looks_equal(node, stat, clock.granularity_ns);
        bool former = judge_is_former(node, slot, &seen, clock);

        if (node->complete >> slot & 1)
                return equal ? VERDICT_AS_RECORDED : former ? VERDICT_REPLACE : VERDICT_CONFLICT;
        return equal || former || !S_ISREG(node->mode) ? VERDICT_AS_RECORDED : VERDICT_CONFLICT;
}

enum verdict judge_target(const struct node_record *node, const struct name_record *name, bool primary, unsigned slot,
                          const struct statx *target_stat, enum existing existing, struct judge_clock clock)
{
        bool published = name->published >> slot & 1;

        if (!target_stat)
                return published || (name->conflict >> slot & 1) ? VERDICT_LOST : VERDICT_LACKING;
        if ((target_stat->stx_mode & S_IFMT) != (node->mode & S_IFMT))
                return VERDICT_CONFLICT;
        if (S_ISDIR(node->mode))
                return published ? VERDICT_AS_RECORDED : VERDICT_EQUAL;
        if (!published)
                return judge_unpublished(node, primary, slot, name->conflict >> slot & 1, target_stat, existing, clock);
        return judge_published(node, slot, target_stat, clock);
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
                if (change->verdict == VERDICT_AS_RECORDED && (view_finished(node, name) & node->former & bit)) {
                        forget_kept(node, change->slot); /* a crash came between the rename and its record: the version before is gone */
                        name->conflict &= ~bit;
                        node->conflict &= ~bit;
                        return true;
                }
                if (change->verdict == VERDICT_REPLACE && (node->complete & name->published & bit))
                        node->complete &= ~bit; /* the version before: together these bits would say that it is finished */
                else if (!((name->conflict | node->conflict) & bit))
                        return false;
                name->conflict &= ~bit;
                node->conflict &= ~bit;
                return true;
        case VERDICT_EQUAL:
                forget_kept(node, change->slot);
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
                        forget_kept(node, change->slot);
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

struct judge_clock judge_clock_of(const struct context *context, const struct target *target)
{
        uint64_t ours = context->source ? context->source->device.mtime_granularity_ns : 1;
        uint64_t theirs = target->root.device.mtime_granularity_ns;
        enum device_kind kind = target->root.device.kind;

        return (struct judge_clock){ .granularity_ns = ours > theirs ? ours : theirs,
                                     .vague = kind == DEVICE_FUSE || kind == DEVICE_NETWORK || kind == DEVICE_UNKNOWN };
}
