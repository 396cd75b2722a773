/* What the parts of the mirror share: mirror_life.c (lifecycle), mirror_view.c (names, attributes, directories), mirror_data.c (reading),
 * mirror_status.c (status), mirror_walk.c (all names in the order of their paths), mirror_lists.c (lists),
 * mirror_erase.c (whether the source may be erased), mirror_control.c (commands). For these files alone.
 */
#ifndef CVV_CORE_MIRROR_INTERNAL_H
#define CVV_CORE_MIRROR_INTERNAL_H

#include "core/mirror.h"

#include "core/context.h"
#include "core/file.h"
#include "core/reconcile.h"
#include "core/scan.h"
#include "core/scheduler.h"
#include "core/setup.h"
#include "core/verify.h"
#include "core/view.h"

struct mirror {
        struct context context;
        struct setup setup;
        struct view *view;
        struct reconcile *reconcile;
        struct files *files;
        struct verify *verify;
        struct scheduler *scheduler;
        struct scan *scan;
        uid_t owner;
        atomic_bool surveying;     /* mirror_begin() is still to come */
        pthread_t watchdog;
        bool watchdog_started;
        struct mutex lock;         /* guards all below */
        struct condition changed;
        bool stopping, watchdog_ended;
        void (*idle_notify)(void *context);
        void *idle_context;
};

/* Queues a node (and, for a directory, all below it), or everything for the root. */
int mirror_fill(struct mirror *mirror, uint64_t id);
/* The slots where a node is finished: complete, and published under its first name. */
uint64_t mirror_finished_slots(struct mirror *mirror, const struct node_record *node);
/* Nothing is copied any more, and something is still looked at. */
bool mirror_is_verifying(struct mirror *mirror);
enum file_state mirror_node_state(struct mirror *mirror, const struct node_record *node);

/* Whether only a look at the source, which is yet to come or under way, stands between now and `yes` in safe-to-erase; and begins one. */
bool mirror_look_is_due(struct mirror *mirror);
void mirror_look_again(struct mirror *mirror);

/* Calls `visit` for each name of the source, directories just before what is below them, in the order of the bytes of the paths (those of
 * directories with a slash at the end), until it returns false. Arguments are valid during the call, which is without locks. */
typedef bool mirror_visit(void *context, const char *path, const struct name_record *name, const struct node_record *node);
int mirror_walk(struct mirror *mirror, mirror_visit *visit, void *context);
/* What there is to say of a file of this category: one clause, or NULL. Valid until the next call of strerror() in this thread. */
const char *mirror_reason(enum category category, const struct name_record *name, const struct node_record *node);

#endif
