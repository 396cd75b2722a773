#include "core/need.h"

#include <sys/stat.h>

#include "core/view.h"

/* The slots of which anything can be said: all is there, and it is this source's. */
static uint64_t readable_slots(const struct node_record *node, uint64_t target_mask)
{
        return node->complete & ~(node->conflict | node->failed) & target_mask;
}

/* Its bytes are to be looked at, though nobody has seen them yet: somebody asks, or everything is to be verified, also what an earlier mount took as
 * equal by its looks. */
static bool is_asked_for(const struct options *options, const struct node_record *node)
{
        return (node->flags & VIEW_NODE_VERIFY) ||
               ((node->flags & VIEW_NODE_SOURCE) && options->mode == MODE_FULL && options_existing(options) == EXISTING_VERIFY);
}

struct need need_of(const struct options *options, const struct node_record *node, uint64_t target_mask)
{
        bool hashed = node->flags & VIEW_NODE_HASHED, asked = is_asked_for(options, node);
        uint64_t slots = readable_slots(node, target_mask);
        bool reread = options->mode != MODE_TRANSFER && !(node->flags & VIEW_NODE_REREAD);
        struct need need = { .slots = slots };

        if (S_ISDIR(node->mode) || slots == 0 || (!hashed && !asked))
                return need;
        need.source = (node->flags & VIEW_NODE_SOURCE) && (reread || !hashed);
        if (need.source && (node->flags & VIEW_NODE_UNAVAILABLE))
                return (struct need){ 0 }; /* until the source gives it again */
        if (options->mode == MODE_FULL || asked)
                need.read_back = slots & ~node->verified;
        need.digest = S_ISREG(node->mode) && hashed && (options->hash.mask & ~node->digests.mask) != 0;
        return need;
}

bool need_is_nothing(const struct need *need)
{
        return !need->source && need->read_back == 0 && !need->digest;
}

bool need_concerns(const struct need *need, unsigned slot)
{
        return ((need->read_back | (need->source || need->digest ? need->slots : 0)) >> slot & 1) != 0;
}

bool need_may_publish(const struct options *options, const struct node_record *node, unsigned slot)
{
        if (options->mode == MODE_TRANSFER)
                return true;
        if (!(node->flags & VIEW_NODE_REREAD))
                return false;
        return options->mode != MODE_FULL || (node->verified >> slot & 1);
}
