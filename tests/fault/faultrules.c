#include "faultrules.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const operation_names[] = {
    "lookup",  "getattr", "readlink", "readdir",  "open",      "create", "read", "write",   "flush",
    "fsync",   "rename",  "unlink",   "rmdir",    "mkdir",     "mknod",  "link", "symlink", "truncate",
    "setattr", "statfs",  "setxattr", "getxattr", "fallocate", "lseek",  "any"};

struct rule {
        enum operation operation;
        int error;
        uint64_t after;
        uint64_t count;
        uint64_t delay_ms;
        uint64_t rate_bytes_per_s;
        bool is_short;
        bool flip;
        bool hang;
        char *path_glob;
        char *line;
        uint64_t matched;
        uint64_t busy_until_ns;
};

struct rules {
        struct rule *list;
        size_t length;
        bool any_path;
};

static const char *rules_path;
static char root_path[PATH_MAX];
static pthread_mutex_t rules_lock =
    PTHREAD_MUTEX_INITIALIZER; /* rules and the counters in them, rules_stamp, ended, hanging */
static pthread_cond_t rules_changed = PTHREAD_COND_INITIALIZER;
static struct rules rules;
static struct stat rules_stamp;
static bool ended;
static unsigned int hanging; /* calls */
static atomic_uint_fast64_t counts[OP_ANY];

/* ---- rules: parsing ---- */

static const struct {
        const char *name;
        int value;
} error_names[] = {
    {"EIO", EIO},
    {"ENOSPC", ENOSPC},
    {"EDQUOT", EDQUOT},
    {"EROFS", EROFS},
    {"EPERM", EPERM},
    {"EACCES", EACCES},
    {"ENOENT", ENOENT},
    {"ESTALE", ESTALE},
    {"ENOTCONN", ENOTCONN},
    {"ECONNABORTED", ECONNABORTED},
    {"EFBIG", EFBIG},
    {"ENXIO", ENXIO},
    {"ENODEV", ENODEV},
    {"ETIMEDOUT", ETIMEDOUT},
    {"EINTR", EINTR},
    {"EAGAIN", EAGAIN},
    {"ENOMEM", ENOMEM},
    {"EBUSY", EBUSY},
    {"EEXIST", EEXIST},
    {"EINVAL", EINVAL},
    {"EOPNOTSUPP", EOPNOTSUPP},
    {"ENOSYS", ENOSYS},
    {"ENAMETOOLONG", ENAMETOOLONG},
    {"EMLINK", EMLINK},
    {"EXDEV", EXDEV},
    {"EILSEQ", EILSEQ},
    {"EHOSTDOWN", EHOSTDOWN},
    {"EREMOTEIO", EREMOTEIO},
    {"EMFILE", EMFILE},
    {"ENFILE", ENFILE},
};

static int parse_error(const char *name)
{
        for (size_t i = 0; i < sizeof error_names / sizeof *error_names; i++)
                if (strcmp(name, error_names[i].name) == 0)
                        return error_names[i].value;
        return 0;
}

static bool parse_number(const char *text, uint64_t *ret_value)
{
        char *end;

        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        if (errno != 0 || end == text || *end != '\0' || *text == '-')
                return false;
        *ret_value = value;
        return true;
}

static bool parse_word(struct rule *rule, char *word)
{
        if (strcmp(word, "short") == 0)
                return rule->is_short = true;
        if (strcmp(word, "flip") == 0)
                return rule->flip = true;
        if (strcmp(word, "hang") == 0)
                return rule->hang = true;
        if (strncmp(word, "fail=", 5) == 0)
                return (rule->error = parse_error(word + 5)) != 0;
        if (strncmp(word, "after=", 6) == 0)
                return parse_number(word + 6, &rule->after);
        if (strncmp(word, "count=", 6) == 0)
                return parse_number(word + 6, &rule->count);
        if (strncmp(word, "delay_ms=", 9) == 0)
                return parse_number(word + 9, &rule->delay_ms);
        if (strncmp(word, "rate=", 5) == 0)
                return parse_number(word + 5, &rule->rate_bytes_per_s) && rule->rate_bytes_per_s > 0;
        return false;
}

static void rules_free(struct rules *old)
{
        for (size_t i = 0; i < old->length; i++) {
                free(old->list[i].path_glob);
                free(old->list[i].line);
        }
        free(old->list);
        *old = (struct rules){0};
}

/* Parses one line that is neither empty nor a comment; changes the line. */
static bool parse_rule(char *line, struct rule *rule)
{
        char *save, *glob = strstr(line, " path=");

        if (glob != NULL) {
                *glob = '\0';
                rule->path_glob = strdup(glob + 6);
        }
        char *word = strtok_r(line, " \t", &save);
        for (size_t i = 0; word != NULL && i <= OP_ANY; i++) {
                if (strcmp(word, operation_names[i]) != 0)
                        continue;
                rule->operation = (enum operation)i;
                while ((word = strtok_r(NULL, " \t", &save)) != NULL)
                        if (!parse_word(rule, word))
                                return false;
                return rule->error != 0 || rule->delay_ms > 0 || rule->rate_bytes_per_s > 0 || rule->is_short ||
                       rule->flip || rule->hang;
        }
        return false;
}

/* An absent file holds no rules. On failure says on stderr which line is wrong and leaves the output untouched. */
static bool rules_read(struct rules *ret_rules)
{
        struct rules fresh = {0};
        char *line = NULL;
        size_t capacity = 0;
        bool good = true;
        FILE *file = fopen(rules_path, "re");

        while (file != NULL && good && getline(&line, &capacity, file) > 0) {
                line[strcspn(line, "\n")] = '\0';
                if (line[strspn(line, " \t")] == '\0' || line[0] == '#')
                        continue;
                struct rule rule = {.count = UINT64_MAX, .line = strdup(line)};
                good = parse_rule(line, &rule);
                if (!good)
                        fprintf(stderr, "faultfs: not a rule: %s\n", rule.line);
                struct rule *grown = realloc(fresh.list, (fresh.length + 1) * sizeof *grown);
                if (grown == NULL)
                        abort();
                fresh.list = grown;
                fresh.list[fresh.length++] = rule;
                fresh.any_path = fresh.any_path || rule.path_glob != NULL;
        }
        free(line);
        if (file != NULL)
                fclose(file);
        if (!good) {
                rules_free(&fresh);
                return false;
        }
        *ret_rules = fresh;
        return true;
}

static void rules_reload_locked(bool force)
{
        struct stat now = {0};
        struct rules fresh;

        if (stat(rules_path, &now) < 0)
                now = (struct stat){0};
        if (ended)
                return;
        if (!force && now.st_ino == rules_stamp.st_ino && now.st_mtim.tv_sec == rules_stamp.st_mtim.tv_sec &&
            now.st_mtim.tv_nsec == rules_stamp.st_mtim.tv_nsec && now.st_size == rules_stamp.st_size)
                return;
        rules_stamp = now;
        if (!rules_read(&fresh))
                return;
        rules_free(&rules);
        rules = fresh;
        pthread_cond_broadcast(&rules_changed);
}

/* ---- rules: acting ---- */

static uint64_t now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void sleep_until(uint64_t deadline_ns)
{
        struct timespec when = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                                .tv_nsec = (long)(deadline_ns % 1000000000u)};

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
                ;
}

/* The path below BACKING of the object behind fd, or of name in it. Only for globs: by the time it is read it may be old.
 */
static void path_of(int fd, const char *name, char *ret_path)
{
        char link[64], full[PATH_MAX];
        size_t skip = strlen(root_path);

        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, full, sizeof full - 1);
        full[length < 0 ? 0 : length] = '\0';
        const char *below = strncmp(full, root_path, skip) == 0 ? full + skip : full;
        below += *below == '/';
        snprintf(ret_path, PATH_MAX + NAME_MAX + 2, "%s%s%s", below, name != NULL && *below != '\0' ? "/" : "",
                 name != NULL ? name : "");
}

static bool hang_remains_locked(const char *line)
{
        for (size_t i = 0; i < rules.length; i++)
                if (rules.list[i].hang && strcmp(rules.list[i].line, line) == 0)
                        return true;
        return false;
}

static bool matches(struct rule *rule, enum operation operation, const char *path)
{
        if (rule->operation != operation && rule->operation != OP_ANY)
                return false;
        if (rule->path_glob != NULL && fnmatch(rule->path_glob, path, 0) != 0)
                return false;
        uint64_t number = rule->matched++;
        return number >= rule->after && number - rule->after < rule->count;
}

static uint64_t later(uint64_t a, uint64_t b)
{
        return a > b ? a : b;
}

struct verdict fault(enum operation operation, int fd, const char *name, size_t size_bytes)
{
        struct verdict verdict = {0};
        uint64_t now = now_ns(), deadline = 0;
        char path[PATH_MAX + NAME_MAX + 2] = "", *hung = NULL;

        atomic_fetch_add(&counts[operation], 1);
        pthread_mutex_lock(&rules_lock);
        rules_reload_locked(false);
        if (rules.any_path)
                path_of(fd, name, path);
        for (size_t i = 0; i < rules.length; i++) {
                struct rule *rule = &rules.list[i];
                if (!matches(rule, operation, path))
                        continue;
                verdict.error = rule->error != 0 ? rule->error : verdict.error;
                verdict.is_short = verdict.is_short || rule->is_short;
                verdict.flip = verdict.flip || rule->flip;
                if (rule->delay_ms > 0)
                        deadline = later(deadline, now + rule->delay_ms * 1000000u);
                if (rule->rate_bytes_per_s > 0) {
                        rule->busy_until_ns = later(rule->busy_until_ns, now) +
                                              (uint64_t)((double)size_bytes * 1e9 / (double)rule->rate_bytes_per_s);
                        deadline = later(deadline, rule->busy_until_ns);
                }
                if (rule->hang && hung == NULL)
                        hung = strdup(rule->line);
        }
        hanging += hung != NULL;
        while (hung != NULL && hang_remains_locked(hung))
                pthread_cond_wait(&rules_changed, &rules_lock);
        hanging -= hung != NULL;
        pthread_mutex_unlock(&rules_lock);
        free(hung);
        if (deadline > 0)
                sleep_until(deadline);
        return verdict;
}

/* ---- the outside ---- */

bool rules_start(const char *path, int root_fd)
{
        char link[64];

        rules_path = path;
        snprintf(link, sizeof link, "/proc/self/fd/%d", root_fd);
        ssize_t length = readlink(link, root_path, sizeof root_path - 1);
        root_path[length < 0 ? 0 : length] = '\0';
        if (stat(rules_path, &rules_stamp) < 0)
                rules_stamp = (struct stat){0};
        return rules_read(&rules);
}

void rules_reload(bool force)
{
        pthread_mutex_lock(&rules_lock);
        rules_reload_locked(force);
        pthread_mutex_unlock(&rules_lock);
}

void rules_end(void)
{
        pthread_mutex_lock(&rules_lock);
        ended = true;
        rules_free(&rules);
        pthread_cond_broadcast(&rules_changed);
        pthread_mutex_unlock(&rules_lock);
}

void rules_write_counts(void)
{
        char path[PATH_MAX], temporary[PATH_MAX + 8];

        if ((size_t)snprintf(path, sizeof path, "%s.counts", rules_path) >= sizeof path)
                return;
        snprintf(temporary, sizeof temporary, "%s.new", path);
        FILE *file = fopen(temporary, "we");
        if (file == NULL)
                return;
        for (size_t i = 0; i < OP_ANY; i++)
                fprintf(file, "%s %ju\n", operation_names[i], (uintmax_t)atomic_load(&counts[i]));
        pthread_mutex_lock(&rules_lock);
        fprintf(file, "hanging %u\n", hanging);
        pthread_mutex_unlock(&rules_lock);
        if (fclose(file) != 0 || rename(temporary, path) < 0)
                perror("faultfs: counts");
}
