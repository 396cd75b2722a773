/* Owners with cleanup attributes: `cleanup(fd_close) int fd = -1;`. Hand an owner over with the steal helpers. */
#ifndef CVV_CORE_CLEANUP_H
#define CVV_CORE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define cleanup(function) __attribute__((__cleanup__(function)))

/* Closes *fd where it is open; keeps errno. A close error of a descriptor that was only read is of no use to anyone;
 * writers sync, and look at that result, before they let go. */
static inline void fd_close(const int *fd)
{
        if (*fd >= 0) {
                int saved = errno;
                (void)close(*fd); /* see above */
                errno = saved;
        }
}

static inline int fd_steal(int *fd)
{
        int stolen = *fd;
        *fd = -1;
        return stolen;
}

static inline void pointer_free(void *pointer)
{
        free(*(void **)pointer);
}

static inline void dir_close(DIR **dir)
{
        if (*dir)
                (void)closedir(*dir); /* only read */
}

#define pointer_steal(pointer)                                   \
        __extension__({                                          \
                __auto_type stolen_from = (pointer);             \
                __auto_type stolen_pointer = *stolen_from;       \
                *stolen_from = NULL;                             \
                stolen_pointer;                                  \
        })

#endif
