#include "core/steps.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/cleanup.h"

static atomic_uint_least64_t unmapped[2 * STEP_COUNT];
static atomic_uint_least64_t *counts = unmapped;

void steps_init(void)
{
        const char *path = secure_getenv("CVV_STEPS");
        cleanup(fd_close) int fd = -1;
        void *map;

        if (!path)
                return;
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, sizeof(unmapped)) < 0)
                return; /* a test that asks for the counts sees that they are missing */
        map = mmap(NULL, sizeof(unmapped), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED)
                counts = map;
}

void steps_begin(enum step step)
{
        atomic_fetch_add_explicit(&counts[2 * step], 1, memory_order_relaxed); /* a count orders nothing */
}

void steps_end(enum step step)
{
        atomic_fetch_add_explicit(&counts[2 * step + 1], 1, memory_order_relaxed); /* as above */
}
