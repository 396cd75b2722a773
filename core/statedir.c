#include "core/statedir.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "core/cleanup.h"
#include "core/io.h"
#include "core/log.h"
#include "core/stateaside.h"
#include "core/statehome.h"

enum {
        NEW_STATES_MAX = 100000, /* of one source; far more than anyone has */
};

struct statedir {
        atomic_uint references;
        char *path;
        int fd;
        int lock_fd;
        bool is_new;
        bool identity_is_durable; /* false after a write whose result is unknown */
        struct stateid id;
};

static const char *source_or_none(const char *source)
{
        return source && *source ? source : STATEID_NO_SOURCE;
}

static int error_of(struct error *error, int code, const char *what, const char *path)
{
        return error_set(error, code, "cannot %s %s: %s", what, path, strerrordesc_np(-code));
}

/* --- One state: a handle under construction is a struct statedir that statedir_unref ends -------------------------- */

static struct statedir *statedir_new(void)
{
        struct statedir *state = calloc(1, sizeof(*state));

        if (!state)
                return NULL;
        atomic_init(&state->references, 1);
        state->fd = -1;
        state->lock_fd = -1;
        return state;
}

struct statedir *statedir_ref(struct statedir *state)
{
        atomic_fetch_add(&state->references, 1);
        return state;
}

/* The pid that the lock file names, 0 where it names none. */
static long lock_holder(int lock_fd)
{
        char text[24] = "";

        if (io_read_full(lock_fd, text, sizeof(text) - 1, 0) <= 0)
                return 0;
        long pid = strtol(text, NULL, 10);
        return pid > 0 ? pid : 0;
}

struct statedir *statedir_unref(struct statedir *state)
{
        if (!state || atomic_fetch_sub(&state->references, 1) != 1)
                return NULL;
        /* After a fork parent and child share the lock: only who is named there takes the name out. That is only
         * information; the lock itself ends with the last descriptor. */
        if (state->lock_fd >= 0 && lock_holder(state->lock_fd) == (long)getpid())
                (void)!ftruncate(state->lock_fd, 0);
        fd_close(&state->lock_fd);
        fd_close(&state->fd);
        stateid_deinit(&state->id);
        free(state->path);
        free(state);
        return NULL;
}

static int flock_retried(int fd, int operation)
{
        while (flock(fd, operation) < 0)
                if (errno != EINTR)
                        return -errno;
        return 0;
}

int statedir_write_pid(struct statedir *state)
{
        char text[24];
        int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

        if (ftruncate(state->lock_fd, 0) < 0)
                return -errno;
        return io_write_full(state->lock_fd, text, (size_t)size, 0);
}

/* Takes the state's lock without writing to its file. -EWOULDBLOCK where another holds it, with that one's pid (0: not
 * known). */
static int lock_take(struct statedir *state, long *ret_holder)
{
        cleanup(fd_close) int fd =
            openat(state->fd, STATEHOME_LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);

        if (fd < 0)
                return -errno;
        int result = flock_retried(fd, LOCK_EX | LOCK_NB);
        if (result == -EWOULDBLOCK)
                *ret_holder = lock_holder(fd);
        if (result < 0)
                return result;
        state->lock_fd = fd_steal(&fd);
        return 0;
}

static int error_in_use(struct error *error, const char *path, long holder)
{
        if (holder)
                return error_set(error, -EBUSY, "state %s is in use by process %ld: unmount or stop that one first", path,
                                 holder);
        return error_set(error, -EBUSY, "state %s is in use by another process: unmount or stop that one first", path);
}

static int error_newer(struct error *error, const char *path)
{
        return error_set(error, -EPROTONOSUPPORT,
                         "state %s was made by a newer version of cvv: use that one, or another --state", path);
}

static bool is_out_of_resources(int result)
{
        return result == -ENOMEM || result == -EMFILE || result == -ENFILE;
}

/* 0; -ENOENT: has none; -EBADMSG: has one that says nothing; another -errno of reading it. */
static int identity_read(struct statedir *state)
{
        cleanup(pointer_free) char *text = NULL;
        size_t size;
        int result = io_read_file(state->fd, STATEHOME_IDENTITY_FILE, STATEID_FILE_BYTES_MAX, &text, &size);

        if (result == -EFBIG || result == -EINVAL || result == -ELOOP) /* too long, or no file */
                return -EBADMSG;
        if (result < 0)
                return result;
        result = stateid_parse(text, size, &state->id);
        state->identity_is_durable = result == 0;
        return result;
}

int statedir_set_identity(struct statedir *state, const char *source, const struct stateid_target *targets,
                          size_t target_count, struct error *error)
{
        cleanup(stateid_deinit) struct stateid id = {0};
        cleanup(pointer_free) char *text = NULL;
        size_t size;
        int result = stateid_set(&id, source_or_none(source), targets, target_count);

        if (result == -EINVAL)
                return error_set(error, result, "an identity of source or target has characters that cannot be recorded");
        if (result == 0 && state->identity_is_durable && stateid_equal(&id, &state->id))
                return 0;
        result = result < 0 ? result : stateid_format(&id, &text, &size);
        if (result == 0 && size > STATEID_FILE_BYTES_MAX)
                result = -EFBIG;
        if (result == 0) {
                state->identity_is_durable = false;
                result = io_write_file_durable(state->fd, STATEHOME_IDENTITY_FILE, text, size, 0600);
        }
        if (result < 0)
                return error_of(error, result, "record the identity in state", state->path);
        stateid_deinit(&state->id);
        state->id = id;
        id = (struct stateid){0};
        state->identity_is_durable = true;
        return 0;
}

/* Makes a locked blank directory a state. */
static int state_initialise(struct statedir *state, const struct statedir_request *request, struct error *error)
{
        cleanup(pointer_free) struct stateid_target *targets = calloc(request->target_count + 1, sizeof(*targets));

        if (!targets)
                return error_set(error, -ENOMEM, "not enough memory");
        for (size_t i = 0; i < request->target_count; i++) {
                targets[i].number = (uint32_t)(i + 1);
                targets[i].identity = (char *)(uintptr_t)request->target_identities[i]; /* copied, not changed */
        }
        state->is_new = true;
        return statedir_set_identity(state, request->source_identity, targets, request->target_count, error);
}

/* The data goes last: as long as it is there, an interrupted move is seen as the damage that it was. */
static const char *const state_files[] = {STATEHOME_IDENTITY_FILE, "lock.mdb", "data.mdb"};
enum { STATE_FILES = sizeof(state_files) / sizeof(state_files[0]) };

/* The first `skip` of the files stay. */
static int set_aside(const struct statedir *state, size_t skip, const char *reason, struct error *error)
{
        int result = stateaside_move(state->fd, state_files + skip, STATE_FILES - skip, reason);

        return result < 0 ? error_of(error, result, "set aside the damaged state in", state->path) : 0;
}

int statedir_set_aside(struct statedir *state, const char *reason, struct error *error)
{
        return set_aside(state, 1, reason, error); /* whose state it is holds on */
}

const char *statedir_path(const struct statedir *state)
{
        return state->path;
}

int statedir_fd(const struct statedir *state)
{
        return state->fd;
}

bool statedir_is_new(const struct statedir *state)
{
        return state->is_new;
}

const struct stateid *statedir_identity(const struct statedir *state)
{
        return &state->id;
}

/* --- An explicit state --------------------------------------------------------------------------------------------- */

static bool belongs_to(const struct stateid *id, const struct statedir_request *request)
{
        const char *source = source_or_none(request->source_identity);

        if (strcmp(id->source, source) != 0)
                return false;
        return strcmp(source, STATEID_NO_SOURCE) != 0 ||
               stateid_shared(id, request->target_identities, request->target_count) > 0;
}

/* What a directory that was named as the state is. */
enum explicit_kind {
        EXPLICIT_STATE, /* a state that may be used */
        EXPLICIT_BLANK,
        EXPLICIT_DAMAGED, /* a state that has lost its identity */
};

/* A directory without a sound identity. */
static int unidentified_check(const struct statedir *state, struct error *error)
{
        int result = statehome_is_blank(state->fd);

        if (result > 0)
                return EXPLICIT_BLANK;
        result = result < 0 ? result : statehome_is_state_like(state->fd);
        if (result > 0)
                return EXPLICIT_DAMAGED;
        if (result < 0)
                return error_of(error, result, "read directory", state->path);
        return error_set(error, -EINVAL, "%s is neither empty nor a state of cvv: choose another directory with --state",
                         state->path);
}

/* One of enum explicit_kind. */
static int explicit_check(struct statedir *state, const struct statedir_request *request, struct error *error)
{
        int result = identity_read(state);

        if (result == -ENOENT || result == -EBADMSG)
                return unidentified_check(state, error);
        if (result < 0)
                return error_of(error, result, "read state", state->path);
        if (state->id.version > STATEID_VERSION)
                return error_newer(error, state->path);
        if (belongs_to(&state->id, request))
                return EXPLICIT_STATE;
        return error_set(error, -EINVAL, "state %s belongs to %s: choose another directory with --state", state->path,
                         strcmp(state->id.source, STATEID_NO_SOURCE) == 0 ? "a mirror of other targets" : "another source");
}

/* Begins a damaged state anew. */
static int renew(struct statedir *state, const struct statedir_request *request, struct error *error)
{
        log_warning("the state in %s has lost its identity: it is set aside, and what the targets hold is compared",
                    state->path);
        int result = set_aside(state, 0, "without a sound identity", error);
        return result < 0 ? result : state_initialise(state, request, error);
}

static int open_explicit(const struct statedir_request *request, struct error *error, struct statedir *state)
{
        long holder = 0;
        int result;

        state->fd = statehome_open(request->base_or_state, 1, error);
        if (state->fd < 0)
                return state->fd;
        state->path = realpath(request->base_or_state, NULL);
        if (!state->path)
                return error_of(error, -errno, "find the path of state", request->base_or_state);
        int check = explicit_check(state, request, error);
        if (check < 0)
                return check;
        result = lock_take(state, &holder);
        if (result == -EWOULDBLOCK)
                return error_in_use(error, state->path, holder);
        result = result < 0 ? result : statedir_write_pid(state);
        if (result < 0)
                return error_of(error, result, "lock state", state->path);
        if (check == EXPLICIT_DAMAGED)
                result = renew(state, request, error);
        else if (check == EXPLICIT_BLANK)
                result = state_initialise(state, request, error);
        (void)flock_retried(state->fd, LOCK_UN); /* an own lock of a local filesystem; the descriptor stays open */
        return result;
}

/* --- One of several states ----------------------------------------------------------------------------------------- */

/* The search through a base directory, one state at a time. */
struct search {
        const struct statedir_request *request;
        const char *base_path;
        int base_fd;
        struct statedir *best; /* locked */
        size_t best_shared;
        struct timespec best_used;
        bool any_in_use; /* of that source, and sharing no target */
};

static void search_deinit(struct search *search)
{
        (void)statedir_unref(search->best); /* always NULL */
        fd_close(&search->base_fd);
}

static bool later(const struct timespec *a, const struct timespec *b)
{
        return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* Opens the state `name` of the base without its identity. 0; -ENOTDIR or -ELOOP where it is no directory. */
static int open_in_base(const struct search *search, const char *name, struct statedir **ret_state)
{
        cleanup(statedir_unref_pointer) struct statedir *state = statedir_new();

        if (!state)
                return -ENOMEM;
        if (asprintf(&state->path, "%s/%s", search->base_path, name) < 0) {
                state->path = NULL;
                return -ENOMEM;
        }
        state->fd = openat(search->base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (state->fd < 0)
                return -errno;
        *ret_state = pointer_steal(&state);
        return 0;
}

/* Opens the state `name` with its identity. 0, or 1 where there is none that could be used; a negative errno stops the
 * search: passing over a good state for want of a descriptor would cost the work that it remembers. */
static int open_candidate(const struct search *search, const char *name, struct error *error, struct statedir **ret_state)
{
        cleanup(statedir_unref_pointer) struct statedir *state = NULL;
        int result = open_in_base(search, name, &state);

        if (result == -ENOTDIR || result == -ELOOP || result == -ENOENT)
                return 1;
        result = result < 0 ? result : identity_read(state);
        if (is_out_of_resources(result))
                return error_of(error, result, "look at the states in", search->base_path);
        if (result == -ENOENT)
                return 1; /* a creation that was interrupted; the next new state takes it */
        if (result == -EBADMSG)
                log_warning("state %s is passed over and left as it is: its identity file is damaged", state->path);
        else if (result < 0)
                log_warning("state %s/%s is passed over: %s", search->base_path, name, strerrordesc_np(-result));
        if (result < 0)
                return 1;
        *ret_state = pointer_steal(&state);
        return 0;
}

static void keep_better(struct search *search, struct statedir **state, size_t shared)
{
        struct stat status;
        struct timespec used = {0};

        if (fstat((*state)->lock_fd, &status) == 0) /* each use writes its pid there */
                used = status.st_mtim;
        if (search->best &&
            (shared < search->best_shared || (shared == search->best_shared && !later(&used, &search->best_used))))
                return;
        (void)statedir_unref(search->best); /* always NULL */
        search->best = pointer_steal(state);
        search->best_shared = shared;
        search->best_used = used;
}

static int consider(struct search *search, const char *name, struct error *error)
{
        cleanup(statedir_unref_pointer) struct statedir *state = NULL;
        const struct statedir_request *request = search->request;
        long holder = 0;
        int result = open_candidate(search, name, error, &state);

        if (result != 0 || !state)
                return result < 0 ? result : 0;
        if (!belongs_to(&state->id, request))
                return 0;
        size_t shared = stateid_shared(&state->id, request->target_identities, request->target_count);
        if (state->id.version > STATEID_VERSION)
                return shared ? error_newer(error, state->path) : 0;
        /* Who opens it by --state meanwhile waits here, instead of finding a lock that is only being looked at. */
        result = flock_retried(state->fd, LOCK_EX);
        result = result < 0 ? result : lock_take(state, &holder);
        if (result == -EWOULDBLOCK && shared)
                return error_in_use(error, state->path, holder);
        if (result == -EWOULDBLOCK) {
                search->any_in_use = true;
                return 0;
        }
        if (result < 0)
                return error_of(error, result, "lock state", state->path);
        keep_better(search, &state, shared);
        return 0;
}

static int search_states(struct search *search, struct error *error)
{
        cleanup(dir_close) DIR *directory = NULL;
        cleanup(fd_close) int fd = openat(search->base_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct dirent *entry;

        directory = fd >= 0 ? fdopendir(fd) : NULL;
        if (!directory)
                return error_of(error, -errno, "read directory", search->base_path);
        (void)fd_steal(&fd); /* the stream owns it now */
        for (errno = 0; (entry = readdir(directory)); errno = 0) {
                int result = entry->d_name[0] == '.' ? 0 : consider(search, entry->d_name, error);

                if (result < 0)
                        return result;
        }
        return errno ? error_of(error, -errno, "read directory", search->base_path) : 0;
}

/* Makes the directory `name`, or takes it where an interrupted creation left it blank. 1 where it is something else. */
static int create_named(const struct search *search, const char *name, struct statedir **ret_state)
{
        cleanup(statedir_unref_pointer) struct statedir *state = NULL;
        long holder;

        if (mkdirat(search->base_fd, name, 0700) < 0 && errno != EEXIST)
                return -errno;
        int result = open_in_base(search, name, &state);
        if (result == -ENOTDIR || result == -ELOOP || result == -EACCES)
                return 1;
        result = result < 0 ? result : statehome_is_blank(state->fd);
        if (result <= 0)
                return result < 0 ? result : 1;
        result = lock_take(state, &holder);
        if (result < 0)
                return result == -EWOULDBLOCK ? 1 : result;
        *ret_state = pointer_steal(&state);
        return io_sync_directory(search->base_fd);
}

static int create_in_base(const struct search *search, struct statedir **ret_state)
{
        const char *source = source_or_none(search->request->source_identity);
        char name[48];
        int result = 1;

        for (unsigned int n = 1; result == 1 && n <= NEW_STATES_MAX; n++) {
                (void)snprintf(name, sizeof(name), "%016" PRIx64 "-%u", (uint64_t)XXH3_64bits(source, strlen(source)),
                               n); /* fits */
                result = create_named(search, name, ret_state);
        }
        return result == 1 ? -EEXIST : result;
}

static int open_in_search(struct search *search, struct error *error, struct statedir **ret_state)
{
        cleanup(statedir_unref_pointer) struct statedir *state = NULL;
        int result = search_states(search, error);
        bool found;

        if (result < 0)
                return result;
        /* Where other targets of the source are being served now, an idle state belongs to a further set of them. */
        found = search->best && (search->best_shared > 0 || !search->any_in_use);
        if (found)
                state = pointer_steal(&search->best);
        else
                result = create_in_base(search, &state);
        result = result < 0 ? result : statedir_write_pid(state);
        if (result < 0)
                return error_of(error, result, "make or lock a state in", search->base_path);
        result = found ? 0 : state_initialise(state, search->request, error);
        if (result < 0)
                return result;
        (void)flock_retried(state->fd, LOCK_UN); /* an own lock of a local filesystem; the descriptor stays open */
        *ret_state = pointer_steal(&state);
        return 0;
}

static int open_from_base(const struct statedir_request *request, struct error *error, struct statedir **ret_state)
{
        cleanup(search_deinit) struct search search = {.request = request, .base_fd = -1};
        cleanup(pointer_free) char *standard = NULL;
        cleanup(pointer_free) char *resolved = NULL;
        const char *base = request->base_or_state;
        int result = base ? 0 : statehome_default(&standard, error);

        if (result < 0)
                return result;
        base = base ? base : standard;
        search.base_fd = statehome_open(base, PATH_MAX, error);
        if (search.base_fd < 0)
                return search.base_fd;
        resolved = realpath(base, NULL);
        if (!resolved)
                return error_of(error, -errno, "find the path of", base);
        search.base_path = resolved;
        return open_in_search(&search, error, ret_state);
}

int statedir_open(const struct statedir_request *request, struct error *error, struct statedir **ret_state)
{
        cleanup(statedir_unref_pointer) struct statedir *state = NULL;

        if (!stateid_is_writable(source_or_none(request->source_identity)))
                return error_set(error, -EINVAL, "the identity of the source has characters that cannot be recorded");
        for (size_t i = 0; i < request->target_count; i++) {
                const char *target = request->target_identities[i];

                if (target && *target && !stateid_is_writable(target))
                        return error_set(error, -EINVAL, "the identity of a target has characters that cannot be recorded");
        }
        if (!request->explicit_state)
                return open_from_base(request, error, ret_state);
        state = statedir_new();
        if (!state)
                return error_set(error, -ENOMEM, "not enough memory");
        int result = open_explicit(request, error, state);
        if (result < 0)
                return result;
        *ret_state = pointer_steal(&state);
        return 0;
}
