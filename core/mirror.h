/* The mirror: everything that cvv is, without FUSE. The facade that fs/ and mount-helper/ use.
 *
 * Lifecycle: mirror_open() opens source, targets and state (after the last fork: threads and LMDB do not survive one),
 * mirror_start() starts the threads, mirror_stop() checkpoints and joins them, mirror_free().
 *
 * Nodes are known by id: the record id that is also st_ino and the FUSE node id. Ids are permanent, so nobody counts
 * look-ups; MIRROR_ROOT is the root. All functions are thread safe between start and stop. Metadata calls may wait for a device,
 * at most a few seconds (a device that hangs is given up and then answers at once from what is recorded); data never makes the
 * caller wait: mirror_read() parks.
 *
 * Results: 0 or -errno for the kernel.
 */
#ifndef CVV_CORE_MIRROR_H
#define CVV_CORE_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "core/command.h"
#include "core/error.h"
#include "core/events.h"
#include "core/options.h"
#include "core/status.h"

struct mirror;
struct mirror_dir;
struct mirror_handle;
struct mirror_read;

enum { MIRROR_ROOT = 1 };

/* Opens source, targets and state as `options` (kept by reference until mirror_free) says. Creates the last component of a target that
 * is absent and says so through `notice` (called with one line of text; may be NULL). Paths in options are absolute. On failure
 * `error` has the sentence; code -EINVAL (usage: exit 2) or another (exit 1). Nothing was changed when it is -EINVAL. */
int mirror_open(const struct options *options, void (*notice)(const char *line), struct error *error,
                struct mirror **ret_mirror);
int mirror_start(struct mirror *mirror, struct error *error);
/* Stops background work, checkpoints every target that answers within `deadline_ns` (clock_now_ns time), commits, joins the
 * threads that are not stuck. Returns 0, or positive MIRROR_STUCK when a thread hangs in a device: then the process must end with
 * _exit and mirror_free must not be called. */
enum { MIRROR_STUCK = 1 };
int mirror_stop(struct mirror *mirror, uint64_t deadline_ns);
void mirror_free(struct mirror *mirror);

/* --- looking before anything is written: `cvv copy` --- */
/* As mirror_open(), but nothing is written to any target before mirror_begin() (a directory that is absent is made, and removed again where that
 * never comes). Then mirror_start_survey() starts what looks at source and targets, and mirror_is_busy() says how long it does; mirror_begin()
 * takes the place of mirror_start(): `notice` as above, everything that is lacking is queued. mirror_stop() may come at any time. */
int mirror_open_untouched(const struct options *options, void (*notice)(const char *line), struct error *error,
                          struct mirror **ret_mirror);
int mirror_start_survey(struct mirror *mirror, struct error *error);
int mirror_begin(struct mirror *mirror, void (*notice)(const char *line), struct error *error);

/* After the survey: nothing is to be done, on no target, and nothing of an earlier run is left to be cleared away. mirror_begin() can be left out. */
bool mirror_is_finished(struct mirror *mirror);

/* What is to be written to one target, and what is free there. Targets on one filesystem share its space. */
struct mirror_need {
        uint32_t n;
        const char *path;              /* owned by the mirror */
        uint64_t bytes;                /* for this target alone */
        uint64_t shared_bytes;         /* for it and those that share its filesystem */
        uint64_t shared_files;         /* so for names: files, directories and the like */
        bool space_known;              /* without it the two below are 0 */
        uint64_t free_bytes;
        uint64_t free_files;           /* UINT64_MAX: as many as there is space for */
};
/* After the survey, before mirror_begin(): fills `needs` (room for all targets), in the order given, and calls `refused` for each file that a
 * target's filesystem will not hold, which needs nothing there. What is there already needs nothing; holes, where they can be kept, neither.
 * 0 or -errno. May take as long as looking at everything that is on the targets. */
int mirror_survey(struct mirror *mirror,
                  void (*refused)(void *context, const struct mirror_need *target, const char *path, const char *reason),
                  void *context, struct mirror_need *needs);

/* --- names and attributes; st_ino is the id --- */
int mirror_lookup(struct mirror *mirror, uint64_t parent, const char *name, struct stat *ret_stat);
int mirror_getattr(struct mirror *mirror, uint64_t id, struct stat *ret_stat);
int mirror_readlink(struct mirror *mirror, uint64_t id, char **ret_text);
/* As getxattr(2) and listxattr(2): size 0 asks for the size; the result is a size or -errno. `user.cvv.*` are answered here. */
int64_t mirror_getxattr(struct mirror *mirror, uint64_t id, const char *name, void *buffer, size_t size);
int64_t mirror_listxattr(struct mirror *mirror, uint64_t id, char *buffer, size_t size);
int mirror_statfs(struct mirror *mirror, struct statvfs *ret_statvfs);
/* The id of a path relative to the root ("" is the root). */
int mirror_resolve(struct mirror *mirror, const char *path, uint64_t *ret_id);
/* The path of an id, relative to the root; the caller frees it. */
int mirror_path(struct mirror *mirror, uint64_t id, char **ret_path);

/* --- directories --- */
int mirror_opendir(struct mirror *mirror, uint64_t id, struct mirror_dir **ret_dir);
/* Calls `fill` for the entries from `offset` (0 first, else a `next_offset` that was given) until it returns false (then that
 * entry comes again). "." and ".." come first. `stat` is complete when `with_attributes`, else st_ino and the type bits only. */
int mirror_readdir(struct mirror_dir *dir, uint64_t offset, bool with_attributes,
                   bool (*fill)(void *context, const char *name, const struct stat *stat, uint64_t next_offset),
                   void *context);
void mirror_closedir(struct mirror_dir *dir);

/* --- data --- */
struct mirror_open_request {
        pid_t pid;               /* of the caller, 0 unknown: known indexers and thumbnailers start no fill */
        bool noncaching;         /* O_DIRECT */
};
/* Opens a regular file for reading. *ret_finished: all of it is on a target, so that the kernel may cache it. */
int mirror_open_file(struct mirror *mirror, uint64_t id, const struct mirror_open_request *request, bool *ret_finished,
                     struct mirror_handle **ret_handle);
void mirror_release(struct mirror_handle *handle);
/* Asks for `size` bytes at `offset`; `done` is called exactly once, on any thread, perhaps before mirror_read returns, with the
 * data (valid during the call; a sum shorter than `size` only at the end of the file) or with a negative errno. *ret_read is set before
 * that, to NULL where memory was short. */
typedef void (*mirror_read_done)(void *context, int result, const struct iovec *data, int data_count);
void mirror_read(struct mirror_handle *handle, uint64_t offset, size_t size, mirror_read_done done, void *context,
                 struct mirror_read **ret_read);
/* The kernel interrupted the request: `done` is called with -EINTR soon unless it was already called. The token from mirror_read
 * stays valid until mirror_read_forget(), which the owner calls once after `done`. */
void mirror_read_cancel(struct mirror_read *read);
void mirror_read_forget(struct mirror_read *read);
/* SEEK_DATA and SEEK_HOLE; the result is an offset or -errno. */
int64_t mirror_lseek(struct mirror_handle *handle, uint64_t offset, int whence);

/* --- control and reports --- */
int mirror_control(struct mirror *mirror, const struct command *commands, size_t count, struct error *error);
int mirror_status(struct mirror *mirror, struct status *ret_status);
int mirror_file_status(struct mirror *mirror, uint64_t id, struct status_file *ret_file);
/* One file of the source, by one of its names. */
struct mirror_entry {
        const char *path;       /* raw bytes, relative to the root */
        uint32_t mode;
        uint64_t size;
        enum category category;
        bool verified;          /* read back on every target */
        bool doubted;           /* on the targets, and the source did not give the same bytes again, or none */
        uint8_t verify_method;  /* enum readback_method: the weakest in which a copy of it was read back */
        const char *reason;     /* one clause for what is not simply copied, or NULL */
        const struct digest_values *digests;
};
/* Calls `visit` for each file of the source (all but directories; each name of a hard link; what is excluded, and a directory that cannot
 * be read, as one entry), in the order of the bytes of the paths, until it returns false. The entry is valid during the call; no lock is held. Memory does
 * not depend on the number of files; each entry is as it is when it is visited. May take as long as reading all records. 0 or -errno. */
int mirror_each_file(struct mirror *mirror, bool (*visit)(void *context, const struct mirror_entry *entry), void *context);
/* Calls `visit` for each copy that did not read back as it was written, was copied again, and is good now: its path, the target's number and
 * directory, how often it was copied again. The last few thousand of this mount; no order. */
void mirror_each_repair(struct mirror *mirror, void (*visit)(void *context, const char *path, uint32_t n, const char *root, unsigned times),
                        void *context);
/* The texts of `.cvv/errors`, `.cvv/skipped` and `.cvv/manifest`, spooled to an unlinked file; the caller closes the descriptor. */
int mirror_errors(struct mirror *mirror, int *ret_fd);
int mirror_skipped(struct mirror *mirror, int *ret_fd);
int mirror_manifest(struct mirror *mirror, int *ret_fd);
/* The text of `.cvv/safe-to-erase` for who asked at `asked_ns` (clock_now_ns time); the caller frees it. -EAGAIN: the source is looked through
 * first, which has begun; the function of mirror_on_idle() or an event tells when to try again. */
int mirror_safe_to_erase(struct mirror *mirror, uint64_t asked_ns, char **ret_text);
/* The text of `.cvv/config`: the settings in force, as changed by commands since. The caller frees it. */
int mirror_config(struct mirror *mirror, char **ret_text);
struct events *mirror_events(struct mirror *mirror);
const struct options *mirror_options(struct mirror *mirror);
uid_t mirror_owner(struct mirror *mirror);
/* Whether something queued can still progress (what `.cvv/wait` waits for). `notify` is called, without locks held, whenever the
 * answer may have become false; one subscriber. */
bool mirror_is_busy(struct mirror *mirror);
void mirror_on_idle(struct mirror *mirror, void (*notify)(void *context), void *context);
void mirror_count_passthrough(struct mirror *mirror);
/* Waits (at most until deadline_ns) for a checkpoint of all that is written now. */
int mirror_checkpoint(struct mirror *mirror, uint64_t deadline_ns);
/* One line that says what is still owed, for the last words of the daemon; the caller frees it. */
char *mirror_owed_text(struct mirror *mirror);

#endif
