#include "core/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/cleanup.h"
#include "core/io.h"
#include "core/log.h"
#include "core/places.h"
#include "core/targetrecord.h"
#include "core/timed.h"
#include "core/view.h"

#define RUNNING_FILE "running" /* in the state: it was not closed well */
#define CLOSED_FILE "closed"   /* in the state: size and mtime of its database when it was closed well */
#define DATABASE_FILE "data.mdb"

enum { CLOSED_BYTES = 64, SOON_WALKED_BYTES = 64 << 20 };

/* --- opening --- */

static int create_absent(const struct place *place, bool *ret_created, struct error *error)
{
        const char *slash = strrchr(place->path, '/');
        int result = mkdirat(place->fd, slash ? slash + 1 : place->path, 0755) < 0 ? -errno : 0;

        if (result < 0 && result != -EEXIST)
                return error_set(error, result, "cannot create target %s: %s", place->path, strerror(-result));
        *ret_created = result == 0;
        return 0;
}

static void say_created(const struct setup *setup, void (*notice)(const char *line))
{
        for (size_t i = 0; i < setup->target_count && notice; i++) {
                struct error said;

                if (!setup->created[i])
                        continue;
                (void)error_set(&said, 0, "created target directory %s", setup->targets[i]->root.path); /* escapes the path */
                notice(said.message);
        }
}

/* Nothing was brought to them. */
static void remove_created(struct setup *setup)
{
        for (size_t i = 0; i < setup->target_count; i++)
                if (setup->created[i] && setup->targets[i]->root.path)
                        (void)rmdir(setup->targets[i]->root.path); /* somebody else put something there: it stays */
}

/* Those that are there; an absent one is made when it is known that it is no drive that is not mounted. */
struct opening {
        struct target *target;
        char *path;
        uint32_t source_tag;
        struct error error;
};

static int call_target_open(void *argument)
{
        struct opening *opening = argument;

        return target_open(opening->target, opening->path, opening->source_tag, &opening->error);
}

static void opening_free(struct opening **opening)
{
        if (*opening)
                free((*opening)->path);
        free(*opening);
}

static int open_target(struct target **target, const char *path, uint32_t source_tag, struct error *error)
{
        cleanup(opening_free) struct opening *opening = calloc(1, sizeof(*opening));
        int result;

        if (opening)
                opening->path = strdup(path);
        if (!opening || !opening->path)
                return error_set(error, -ENOMEM, "not enough memory");
        opening->target = *target;
        opening->source_tag = source_tag;
        result = timed_call(call_target_open, opening, PLACE_TIMEOUT_NS);
        if (result == -ETIMEDOUT) {
                opening = NULL; /* the thread has it, and the target */
                *target = NULL;
                return error_set(error, result, "target %s does not answer; is its device well?", path);
        }
        if (result < 0 && error)
                *error = opening->error;
        return result == -EINVAL ? -EIO : result;
}

static int open_targets(const struct options *options, const struct place *places, struct setup *setup, struct error *error)
{
        for (size_t i = 0; i < options->targets.count; i++) {
                struct target *target = calloc(1, sizeof(*target));
                int result;

                if (!target)
                        return error_set(error, -ENOMEM, "not enough memory");
                result = places[i].absent ? target_init_absent(target, places[i].path)
                                          : open_target(&target, places[i].path, setup->source_tag, error);
                if (target)
                        setup->targets[setup->target_count++] = target;
                if (result == 0 && options->source_file && target_set_file_name(target, options->target_files.items[i]) < 0)
                        result = error_set(error, -ENOMEM, "not enough memory");
                if (result < 0)
                        return result;
        }
        return 0;
}

static int create_targets(const struct place *places, struct setup *setup, struct error *error)
{
        for (size_t i = 0; i < setup->target_count; i++) {
                struct target *target = setup->targets[i];
                int result;

                if (!places[i].absent || target->state == TARGET_OFFLINE)
                        continue;
                result = create_absent(&places[i], &setup->created[i], error);
                if (result == 0) {
                        uint32_t n = target->n;
                        unsigned slot = target->slot;

                        target_close(target);
                        result = target_open(target, places[i].path, setup->source_tag, error);
                        target->n = n;
                        target->slot = slot;
                }
                if (result < 0)
                        return result == -EINVAL ? -EIO : result;
        }
        return 0;
}

enum { MARKER_IDENTITY_BYTES = 64 };

/* A target is also known by its marker, which stands in where its filesystem has no identity. Empty while there is none. */
static void marker_identity(const struct target *target, char identity[static MARKER_IDENTITY_BYTES])
{
        (void)snprintf(identity, MARKER_IDENTITY_BYTES, "%s%s", target->marker[0] ? "marker=" : "", target->marker); /* fits */
}

static int open_state(const struct options *options, struct setup *setup, struct error *error)
{
        const char *identities[2 * TARGET_SLOTS];
        char markers[TARGET_SLOTS][MARKER_IDENTITY_BYTES];
        struct statedir_request request = {
                .base_or_state = options->state_dir,
                .explicit_state = options->state_dir != NULL,
                .source_identity = setup->has_source ? setup->source_identity : STATEID_NO_SOURCE,
                .target_identities = identities,
        };

        for (size_t i = 0; i < setup->target_count; i++) {
                marker_identity(setup->targets[i], markers[i]);
                identities[request.target_count++] = setup->targets[i]->identity;
                identities[request.target_count++] = markers[i];
        }
        return statedir_open(&request, error, &setup->state);
}

/* --- the database --- */

int setup_put_meta(struct statedb *db, const struct meta_record *meta)
{
        struct record_key key = record_key_meta(VIEW_META_NAME);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = record_encode_meta(meta, buffer, sizeof(buffer), &size);

        return result < 0 ? result : statedb_put(db, key.bytes, key.size, buffer, size);
}

int setup_get_meta(struct statedb *db, struct meta_record *ret_meta)
{
        struct record_key key = record_key_meta(VIEW_META_NAME);
        uint8_t buffer[RECORD_VALUE_BYTES];
        size_t size;
        int result = statedb_get(db, key.bytes, key.size, buffer, sizeof(buffer), &size);

        return result < 0 ? result : record_decode_meta(buffer, size, ret_meta);
}

static void describe_database(const struct stat *stat, char ret_text[static CLOSED_BYTES])
{
        (void)snprintf(ret_text, CLOSED_BYTES, "%lld %lld.%09ld\n", (long long)stat->st_size, (long long)stat->st_mtim.tv_sec,
                       stat->st_mtim.tv_nsec); /* fits */
}

/* Whether the database is as it was left, as far as that shows. One that was cut since would end the process with SIGBUS when it is read; one that
 * somebody wrote to, or brought back from elsewhere, may say anything. */
static bool was_closed_well(struct setup *setup)
{
        cleanup(pointer_free) char *text = NULL;
        char expected[CLOSED_BYTES];
        struct stat stat;
        size_t size;

        if (faccessat(statedir_fd(setup->state), RUNNING_FILE, F_OK, 0) == 0)
                return false;
        if (fstatat(statedir_fd(setup->state), DATABASE_FILE, &stat, AT_SYMLINK_NOFOLLOW) < 0)
                return true; /* there is none yet */
        describe_database(&stat, expected);
        return io_read_file(statedir_fd(setup->state), CLOSED_FILE, CLOSED_BYTES, &text, &size) == 0 && strcmp(text, expected) == 0;
}

static void record_close(struct setup *setup)
{
        char text[CLOSED_BYTES];
        struct stat stat;

        if (fstatat(statedir_fd(setup->state), DATABASE_FILE, &stat, AT_SYMLINK_NOFOLLOW) < 0)
                return; /* then it is checked the next time */
        describe_database(&stat, text);
        if (io_write_file_durable(statedir_fd(setup->state), CLOSED_FILE, text, strlen(text), 0600) == 0)
                (void)unlinkat(statedir_fd(setup->state), RUNNING_FILE, 0); /* left over, it costs a check */
}

/* What takes no time to be walked through, is so each time: media rot. */
static bool is_soon_walked(struct setup *setup)
{
        struct stat stat;

        return fstatat(statedir_fd(setup->state), DATABASE_FILE, &stat, AT_SYMLINK_NOFOLLOW) == 0 && stat.st_size <= SOON_WALKED_BYTES;
}

/* A state that was not closed well is walked by a child process before it is believed. */
static int check_database(struct setup *setup, struct error *error)
{
        int result;

        setup->unclean = !was_closed_well(setup);
        if (!setup->unclean && !is_soon_walked(setup))
                return 0;
        result = statedb_check(statedir_path(setup->state), record_validate);
        if (result == STATEDB_DAMAGED) {
                log_error("the state in %s is damaged: it is set aside, and what the targets hold is compared",
                          statedir_path(setup->state));
                return statedir_set_aside(setup->state, setup->unclean ? "damaged after an unclean end" : "damaged since it was closed", error);
        }
        if (result < 0 && result != -ENOENT)
                return error_set(error, result, "cannot check the state in %s: %s", statedir_path(setup->state),
                                 result == -EPROTONOSUPPORT ? "made by a newer version of cvv" : strerror(-result));
        return 0;
}

static int64_t realtime_ns(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void new_meta(const struct options *options, struct setup *setup)
{
        setup->meta = (struct meta_record){
                .version = 1,
                .chunk_bytes = options->chunk_bytes,
                .next_id = VIEW_ROOT + 1,
                .next_target_n = 1,
                .created_ns = realtime_ns(),
        };
        memcpy(setup->meta.source_identity, setup->source_identity, sizeof(setup->meta.source_identity));
        (void)snprintf(setup->meta.source_path, sizeof(setup->meta.source_path), "%s",
                       setup->has_source ? setup->source.path : STATEID_NO_SOURCE); /* for people: a cut path is enough */
}

static int open_database(const struct options *options, struct setup *setup, struct error *error)
{
        int result = statedb_open(statedir_path(setup->state), NULL, error, &setup->db);

        if (result < 0)
                return result == -EINVAL ? -EIO : result;
        result = setup_get_meta(setup->db, &setup->meta);
        if (result == 0)
                return 0;
        if (result != -ENOENT)
                return error_set(error, result, "the state in %s cannot be read: %s", statedir_path(setup->state),
                                 strerror(-result));
        new_meta(options, setup);
        return 0;
}

/* --- matching targets with the records --- */

static int new_slot(struct setup *setup, struct target *target, uint64_t *used, struct error *error)
{
        for (unsigned slot = 0; slot < TARGET_SLOTS; slot++) {
                if (*used >> slot & 1)
                        continue;
                *used |= 1ull << slot;
                target->slot = slot;
                target->n = setup->meta.next_target_n++;
                return 0;
        }
        return error_set(error, -ENOSPC,
                         "the state in %s has had %d targets, the most that it can have; start a new one with --state",
                         statedir_path(setup->state), TARGET_SLOTS);
}

static uint64_t newest_event(const struct setup *setup)
{
        uint64_t newest = 0;

        for (size_t i = 0; i < setup->target_count; i++)
                if (setup->targets[i]->event_count > newest)
                        newest = setup->targets[i]->event_count;
        return newest;
}

static void take_offline(struct target *target)
{
        fd_close(&target->root.fd);
        fd_close(&target->control_fd);
        target->root.fd = target->control_fd = -1;
        target->event_count = 0;
        target->marker[0] = '\0';
        target->state = TARGET_OFFLINE;
        (void)snprintf(target->last_error, sizeof(target->last_error),
                       "another filesystem is at its path: is the drive mounted?"); /* fits */
        log_warning("target %u: %s: another filesystem is at its path; it is left alone", target->n, target->root.path);
}

static int match_targets(struct setup *setup, struct error *error)
{
        uint64_t used = 0, matched = 0;

        for (unsigned slot = 0; slot < TARGET_SLOTS; slot++) {
                struct target_record record;
                int result = targetrecord_get(setup->db, (uint8_t)slot, &record);

                if (result == -ENOENT)
                        continue;
                if (result < 0)
                        return error_set(error, result, "the state in %s cannot be read: %s", statedir_path(setup->state),
                                         strerror(-result));
                used |= 1ull << slot;
                for (size_t i = 0; i < setup->target_count; i++) {
                        struct target *target = setup->targets[i];

                        if ((matched >> i & 1) || (!targetrecord_is_same(target, &record) && !targetrecord_is_not_mounted(target, &record)))
                                continue;
                        matched |= 1ull << i;
                        target->n = record.n;
                        target->slot = slot;
                        if (!targetrecord_is_same(target, &record)) {
                                take_offline(target);
                                break;
                        }
                        if (targetrecord_is_void(target, &record, setup->meta.event_pending))
                                setup->void_slots |= 1ull << slot;
                        break;
                }
        }
        for (size_t i = 0; i < setup->target_count; i++) {
                int result;

                setup->unrecorded[i] = !(matched >> i & 1);
                result = setup->unrecorded[i] ? new_slot(setup, setup->targets[i], &used, error) : 0;
                if (result < 0)
                        return result;
        }
        return 0;
}

/* --- raising the event counts --- */

static int commit(struct setup *setup, struct error *error)
{
        int result = statedb_wait(setup->db, statedb_request_commit(setup->db), UINT64_MAX);

        return result < 0 ? error_set(error, result, "cannot write the state in %s: %s", statedir_path(setup->state),
                                      strerror(-result))
                          : 0;
}

static int put_target(struct setup *setup, const struct target *target, uint32_t flags)
{
        cleanup(pointer_free) struct target_record *record = calloc(1, sizeof(*record));

        if (!record)
                return -ENOMEM;
        if (target->root.fd < 0)
                return 0; /* offline from the beginning: its record stands */
        record->n = target->n;
        record->slot = (uint8_t)target->slot;
        record->event_count = target->event_count;
        record->flags = flags;
        memcpy(record->identity, target->identity, sizeof(record->identity));
        memcpy(record->marker, target->marker, sizeof(record->marker));
        (void)snprintf(record->path, sizeof(record->path), "%s", target->root.path); /* for people */
        return targetrecord_put(setup->db, record);
}

static int put_targets(struct setup *setup, uint64_t removed_markers)
{
        int result = 0;

        for (size_t i = 0; i < setup->target_count && result == 0; i++)
                result = put_target(setup, setup->targets[i],
                                    removed_markers >> setup->targets[i]->slot & 1 ? TARGET_MARKER_REMOVED : 0);
        return result;
}

/* From here on the records are of a new mount. New targets get their records, so that nothing that is found out about them now can ever be
 * taken for another one's; those that were made now hold nothing to find out, and may yet be removed again. */
static int begin_epoch(struct setup *setup, struct error *error)
{
        int result;

        setup->meta.epoch++;
        setup->meta.flags &= ~(uint32_t)META_CLEAN;
        result = setup_put_meta(setup->db, &setup->meta);
        for (size_t i = 0; i < setup->target_count && result == 0; i++)
                if (setup->unrecorded[i] && !setup->created[i])
                        result = put_target(setup, setup->targets[i], 0);
        return result == 0 ? commit(setup, error) : error_set(error, result, "cannot write the state: %s", strerror(-result));
}

static int raise_events(struct setup *setup, struct error *error)
{
        uint64_t event = setup->meta.event_pending > setup->meta.event_count ? setup->meta.event_pending : setup->meta.event_count;
        int result;

        if (newest_event(setup) > event)
                event = newest_event(setup);
        event++;
        setup->meta.event_pending = event;
        result = setup_put_meta(setup->db, &setup->meta);
        if (result == 0)
                result = commit(setup, error);
        for (size_t i = 0; i < setup->target_count && result == 0; i++)
                if (setup->targets[i]->state != TARGET_OFFLINE)
                        result = target_write_marker(setup->targets[i], event, error);
        if (result < 0)
                return result;
        setup->meta.event_count = event;
        result = setup_put_meta(setup->db, &setup->meta);
        if (result == 0)
                result = put_targets(setup, 0);
        return result == 0 ? commit(setup, error) : error_set(error, result, "cannot write the state: %s", strerror(-result));
}

static int record_identities(struct setup *setup, struct error *error)
{
        const struct stateid *known = statedir_identity(setup->state);
        struct stateid_target targets[4 * TARGET_SLOTS];
        char markers[TARGET_SLOTS][MARKER_IDENTITY_BYTES];
        size_t count = 0;

        for (size_t i = 0; i < setup->target_count; i++) {
                if (setup->targets[i]->root.fd < 0)
                        continue; /* what is known of it stays */
                marker_identity(setup->targets[i], markers[i]);
                targets[count++] = (struct stateid_target){ setup->targets[i]->n, setup->targets[i]->identity };
                if (markers[i][0])
                        targets[count++] = (struct stateid_target){ setup->targets[i]->n, markers[i] };
        }
        for (size_t i = 0; i < known->target_count && count < 4 * TARGET_SLOTS; i++) {
                bool current = false;

                for (size_t j = 0; j < setup->target_count; j++)
                        current = current || (setup->targets[j]->root.fd >= 0 &&
                                              known->targets[i].number == setup->targets[j]->n);
                if (!current)
                        targets[count++] = known->targets[i];
        }
        return statedir_set_identity(setup->state, setup->has_source ? setup->source_identity : STATEID_NO_SOURCE, targets, count,
                                     error);
}

/* --- all of it --- */

static int open_source(const struct options *options, struct setup *setup, struct error *error)
{
        if (setup->has_source) {
                int result = root_open(&setup->source, options->source, error);

                if (result < 0)
                        return result;
                (void)snprintf(setup->source_identity, sizeof(setup->source_identity), "%.255s",
                               setup->source.device.identity[0] ? setup->source.device.identity
                                                                : setup->source.device.weak_identity);
        }
        if (options->source_file) {
                char directory[sizeof(setup->source_identity)];

                memcpy(directory, setup->source_identity, sizeof(directory));
                stateid_of_file(directory, options->source_file, setup->source_identity, sizeof(setup->source_identity));
        }
        setup->source_tag = (uint32_t)XXH3_64bits(setup->source_identity, strlen(setup->source_identity));
        return 0;
}

/* Why what the state says is not of this source and these targets now; NULL: it is. */
static const char *stale_reason(const struct setup *setup)
{
        if (strcmp(setup->meta.source_identity, setup->source_identity) != 0)
                return "of another source"; /* the file `identity` beside it says otherwise: they were mixed up */
        /* An old copy of a state over newer targets: what it says is of another time. */
        return newest_event(setup) > setup->meta.event_pending && setup->meta.epoch != 0 ? "older than the targets" : NULL;
}

static int set_aside_stale(const struct options *options, struct setup *setup, struct error *error)
{
        const char *reason = stale_reason(setup);
        int result;

        if (!reason)
                return 0;
        log_warning("the state in %s is %s: it is set aside, and what the targets hold is compared", statedir_path(setup->state), reason);
        (void)statedb_close(setup->db); /* nothing was applied */
        setup->db = NULL;
        result = statedir_set_aside(setup->state, reason, error);
        return result < 0 ? result : open_database(options, setup, error);
}

static int read_state(const struct options *options, struct setup *setup, struct error *error)
{
        int result = open_database(options, setup, error);

        if (result == 0)
                result = set_aside_stale(options, setup, error);
        return result == 0 ? match_targets(setup, error) : result;
}

/* A state that was closed well may have rotted since. */
static int read_state_or_begin_anew(const struct options *options, struct setup *setup, struct error *error)
{
        int result = read_state(options, setup, error);

        if (result != -EBADMSG)
                return result;
        log_error("the state in %s is damaged: it is set aside, and what the targets hold is compared", statedir_path(setup->state));
        if (setup->db)
                (void)statedb_close(setup->db); /* nothing was applied */
        setup->db = NULL;
        result = statedir_set_aside(setup->state, "damaged since it was closed", error);
        return result == 0 ? read_state(options, setup, error) : result;
}

static int mark_running(struct setup *setup, struct error *error)
{
        int result = io_write_file_durable(statedir_fd(setup->state), RUNNING_FILE, "", 0, 0600);

        return result < 0 ? error_set(error, result, "cannot write to the state in %s: %s", statedir_path(setup->state),
                                      strerror(-result))
                          : 0;
}

static int open_all(const struct options *options, const struct place *places, struct error *error, struct setup *setup)
{
        int result = open_source(options, setup, error);

        if (result == 0)
                result = open_targets(options, places, setup, error);
        if (result == 0)
                result = open_state(options, setup, error);
        if (result == 0)
                result = check_database(setup, error);
        if (result == 0)
                result = read_state_or_begin_anew(options, setup, error);
        if (result == 0)
                result = create_targets(places, setup, error);
        if (result == 0)
                result = mark_running(setup, error);
        return result == 0 ? begin_epoch(setup, error) : result;
}

int setup_open_untouched(const struct options *options, struct error *error, struct setup *setup)
{
        struct place places[TARGET_SLOTS];
        int result;

        memset(setup, 0, sizeof(*setup));
        setup->source.fd = -1;
        for (size_t i = 0; i < TARGET_SLOTS; i++)
                places[i] = (struct place){ .fd = -1 };
        if (options->targets.count > TARGET_SLOTS)
                return error_set(error, -EINVAL, "%zu targets are given; %d is the most", options->targets.count, TARGET_SLOTS);
        setup->has_source = options->source && strcmp(options->source, "none") != 0;
        result = places_check(options, setup->has_source, places, error);
        if (result == 0)
                result = open_all(options, places, error, setup);
        for (size_t i = 0; i < TARGET_SLOTS; i++)
                place_close(&places[i]);
        if (result < 0)
                setup_close(setup);
        return result;
}

int setup_attach(struct setup *setup, void (*notice)(const char *line), struct error *error)
{
        int result;

        setup->attached = true;
        say_created(setup, notice);
        result = raise_events(setup, error);
        return result == 0 ? record_identities(setup, error) : result;
}

int setup_open(const struct options *options, void (*notice)(const char *line), struct error *error, struct setup *setup)
{
        int result = setup_open_untouched(options, error, setup);

        if (result < 0)
                return result;
        result = setup_attach(setup, notice, error);
        if (result < 0)
                setup_close(setup);
        return result;
}

int setup_record_end(struct setup *setup, uint64_t removed_markers)
{
        int result = setup_get_meta(setup->db, &setup->meta);

        if (result == 0) {
                setup->meta.flags |= META_CLEAN;
                result = setup_put_meta(setup->db, &setup->meta);
        }
        if (result == 0 && setup->attached)
                result = put_targets(setup, removed_markers);
        if (result == 0)
                result = statedb_wait(setup->db, statedb_request_commit(setup->db), UINT64_MAX);
        return result;
}

void setup_close(struct setup *setup)
{
        int closed = setup->db ? statedb_close(setup->db) : -ENOENT;

        setup->db = NULL;
        if (closed == 0 && setup->state && !setup->damaged)
                record_close(setup);
        if (!setup->attached)
                remove_created(setup);
        for (size_t i = 0; i < setup->target_count; i++) {
                target_close(setup->targets[i]);
                free(setup->targets[i]);
        }
        setup->target_count = 0;
        if (setup->has_source && setup->source.fd >= 0)
                root_close(&setup->source);
        setup->state = statedir_unref(setup->state);
}
