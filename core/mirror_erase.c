/* `.cvv/safe-to-erase`: the facts that erase.h judges, and the look at the source that a `yes` needs.
 *
 * A yes needs a walk over the source that began after the last change. When nothing else speaks against it, that walk starts by itself, once,
 * and is work in progress until it has ended, so that after `.cvv/wait` the answer stands. A yes that rests on a walk of some time ago
 * is not given: another walk starts, and the reader waits for its end.
 */
#include "core/mirror_internal.h"

#include <errno.h>

#include "core/erase.h"

enum { LOOK_HOLDS_S = 10 }; /* a yes may rest on a look that ended as long before it was asked for */

/* `ret_look` says what the facts say of it. */
static struct erase_facts gather(struct mirror *mirror, struct scan_look *ret_look)
{
        struct context *context = &mirror->context;
        struct erase_facts facts = { .has_source = context->source, .source_absent = atomic_load(&context->source_absent),
                                     .mode = context->options->mode };
        uint64_t changes = atomic_load(&context->changes); /* before the totals, which it must not be younger than */

        progress_snapshot(&context->progress, &facts.totals);
        facts.directories_owed = view_directories_owed(mirror->view);
        for (CONTEXT_EACH_TARGET(context, context->target_mask, target))
                if (target_state(target) != TARGET_ONLINE) {
                        facts.targets_away++;
                        facts.target_away = target->root.path;
                }
        *ret_look = scan_last(mirror->scan);
        facts.looked = ret_look->number > 0 && ret_look->changes == changes;
        facts.saw_all = ret_look->saw_all;
        facts.unsafe_names = ret_look->unsafe_names;
        return facts;
}

bool mirror_look_is_due(struct mirror *mirror)
{
        struct scan_look look;
        struct erase_facts facts;

        if (mirror->context.options->mode != MODE_FULL || !mirror->context.source)
                return false;
        facts = gather(mirror, &look);
        return erase_judge(&facts) == ERASE_LOOK;
}

void mirror_look_again(struct mirror *mirror)
{
        if (!scan_is_running(mirror->scan))
                scan_again(mirror->scan);
}

int mirror_safe_to_erase(struct mirror *mirror, uint64_t asked_ns, char **ret_text)
{
        bool running = scan_is_running(mirror->scan); /* before the facts: they are not older than the end of a walk that it saw */
        struct scan_look look;
        struct erase_facts facts = gather(mirror, &look);
        enum erase_verdict verdict = erase_judge(&facts);
        bool old = look.ended_ns + LOOK_HOLDS_S * UINT64_C(1000000000) < asked_ns;

        if (verdict == ERASE_NO || (verdict == ERASE_YES && !old))
                return erase_text(&facts, ret_text);
        if (!running)
                mirror_look_again(mirror);
        return -EAGAIN;
}
