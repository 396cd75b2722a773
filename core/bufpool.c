#include "core/bufpool.h"

#include "core/cleanup.h"
#include "core/sync.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
        BLOCKS_MIN = 4,
        IDLE_MAX = 16,
        KEPT_SHARE = 8, /* one in so many */
        BLOCK_BYTES_MAX = 1 << 30,
};

struct pool_block {
        struct block block; /* first: block_ref and block_unref get its address */
        struct bufpool *pool;
        struct pool_block *next_idle;
        enum bufpool_class class;
        atomic_uint references;
};

struct bufpool {
        atomic_uint references; /* one for each owner, one for each block in use */
        size_t block_bytes;
        uint64_t blocks_max;
        uint64_t background_max;

        /* Guards everything below. */
        struct mutex mutex;
        struct condition demand_wake;
        struct condition background_wake;
        struct pool_block *idle; /* a stack: the top is the warmest */
        uint64_t idle_count;
        uint64_t used;            /* blocks handed out or just being mapped, of both classes */
        uint64_t background_used; /* of these, by BUFPOOL_BACKGROUND */
        uint64_t demand_waiting;  /* threads in bufpool_get */
        uint64_t kept;            /* blocks that may be kept by those who wait for others */
        bool closed;
};

static struct pool_block *memory_map(size_t bytes)
{
        struct pool_block *block = calloc(1, sizeof(*block));
        void *data;

        if (!block)
                return NULL;
        data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED) {
                free(block);
                return NULL;
        }
        block->block.data = data;
        block->block.size = bytes;
        return block;
}

static void memory_unmap(struct pool_block *block)
{
        (void)munmap(block->block.data, block->block.size); /* the range is ours and whole: it cannot fail */
        free(block);
}

int bufpool_new(uint64_t ceiling_bytes, size_t block_bytes, struct bufpool **ret)
{
        size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
        struct bufpool *pool;

        if (block_bytes == 0)
                block_bytes = BUFPOOL_BLOCK_BYTES;
        if (block_bytes > BLOCK_BYTES_MAX)
                return -EINVAL;
        pool = calloc(1, sizeof(*pool));
        if (!pool)
                return -ENOMEM;
        atomic_init(&pool->references, 1);
        pool->block_bytes = (block_bytes + page_bytes - 1) / page_bytes * page_bytes;
        pool->blocks_max = ceiling_bytes / pool->block_bytes;
        if (pool->blocks_max < BLOCKS_MIN)
                pool->blocks_max = BLOCKS_MIN;
        pool->background_max = pool->blocks_max - (pool->blocks_max + 3) / 4;
        mutex_init(&pool->mutex);
        condition_init(&pool->demand_wake);
        condition_init(&pool->background_wake);
        *ret = pool;
        return 0;
}

struct bufpool *bufpool_ref(struct bufpool *pool)
{
        atomic_fetch_add(&pool->references, 1);
        return pool;
}

void bufpool_unref(struct bufpool *pool)
{
        if (!pool || atomic_fetch_sub(&pool->references, 1) != 1)
                return;
        while (pool->idle) {
                struct pool_block *block = pool->idle;

                pool->idle = block->next_idle;
                memory_unmap(block);
        }
        condition_deinit(&pool->background_wake);
        condition_deinit(&pool->demand_wake);
        mutex_deinit(&pool->mutex);
        free(pool);
}

static bool may_take_locked(const struct bufpool *pool, enum bufpool_class class)
{
        uint64_t unused = pool->blocks_max - pool->used;

        if (class == BUFPOOL_DEMAND)
                return unused > 0;
        return unused > pool->demand_waiting && pool->background_used < pool->background_max;
}

/* After anything that can let a waiter go on. One is woken; as each that leaves calls this too, none is forgotten. */
static void wake_locked(struct bufpool *pool)
{
        if (pool->demand_waiting > 0 && may_take_locked(pool, BUFPOOL_DEMAND))
                condition_signal(&pool->demand_wake);
        if (may_take_locked(pool, BUFPOOL_BACKGROUND))
                condition_signal(&pool->background_wake);
}

/* Waits until the class may take a block, which the caller then does before it unlocks. False: closed, or too late. */
static bool wait_locked(struct bufpool *pool, enum bufpool_class class, uint64_t deadline_ns)
{
        struct condition *wake = class == BUFPOOL_DEMAND ? &pool->demand_wake : &pool->background_wake;
        bool in_time = deadline_ns != 0;

        pool->demand_waiting += class == BUFPOOL_DEMAND;
        while (in_time && !pool->closed && !may_take_locked(pool, class)) {
                if (deadline_ns == BUFPOOL_WAIT)
                        condition_wait(wake, &pool->mutex);
                else
                        in_time = condition_wait_until(wake, &pool->mutex, deadline_ns);
        }
        pool->demand_waiting -= class == BUFPOOL_DEMAND;
        return !pool->closed && may_take_locked(pool, class);
}

static void use_locked(struct bufpool *pool, enum bufpool_class class)
{
        pool->used++;
        pool->background_used += class == BUFPOOL_BACKGROUND;
}

static void unuse_locked(struct bufpool *pool, enum bufpool_class class)
{
        pool->used--;
        pool->background_used -= class == BUFPOOL_BACKGROUND;
        wake_locked(pool);
}

/* Claims a block. False: there is none. True with *ret_block NULL: there is room, and the caller maps the memory. */
static bool claim(struct bufpool *pool, enum bufpool_class class, uint64_t deadline_ns, struct pool_block **ret_block)
{
        struct pool_block *block;

        MUTEX_SCOPE(&pool->mutex);
        if (!pool->closed && !may_take_locked(pool, class)) {
                if (!wait_locked(pool, class, deadline_ns)) {
                        wake_locked(pool); /* background may have held back for this one */
                        return false;
                }
        }
        if (pool->closed)
                return false;
        use_locked(pool, class);
        wake_locked(pool);
        block = pool->idle;
        if (block) {
                pool->idle = block->next_idle;
                pool->idle_count--;
        }
        *ret_block = block;
        return true;
}

struct block *bufpool_get(struct bufpool *pool, enum bufpool_class class, uint64_t deadline_ns)
{
        struct pool_block *block = NULL;

        if (!claim(pool, class, deadline_ns, &block))
                return NULL;
        if (!block)
                block = memory_map(pool->block_bytes);
        if (!block) {
                MUTEX_SCOPE(&pool->mutex);
                unuse_locked(pool, class);
                return NULL;
        }
        block->pool = bufpool_ref(pool);
        block->class = class;
        block->next_idle = NULL;
        block->block.length = 0;
        atomic_store(&block->references, 1);
        return &block->block;
}

bool bufpool_keep(struct bufpool *pool, uint64_t count)
{
        MUTEX_SCOPE(&pool->mutex);
        if (count > pool->blocks_max / KEPT_SHARE - pool->kept)
                return false;
        pool->kept += count;
        return true;
}

void bufpool_keep_end(struct bufpool *pool, uint64_t count)
{
        MUTEX_SCOPE(&pool->mutex);
        pool->kept -= count;
}

void bufpool_close(struct bufpool *pool)
{
        MUTEX_SCOPE(&pool->mutex);
        pool->closed = true;
        condition_broadcast(&pool->demand_wake);
        condition_broadcast(&pool->background_wake);
}

uint64_t bufpool_used_bytes(struct bufpool *pool)
{
        MUTEX_SCOPE(&pool->mutex);
        return pool->used * pool->block_bytes;
}

uint64_t bufpool_ceiling_bytes(const struct bufpool *pool)
{
        return pool->blocks_max * pool->block_bytes;
}

uint64_t bufpool_idle_bytes(struct bufpool *pool)
{
        MUTEX_SCOPE(&pool->mutex);
        return pool->idle_count * pool->block_bytes;
}

struct block *block_ref(struct block *block)
{
        atomic_fetch_add(&((struct pool_block *)block)->references, 1);
        return block;
}

/* Gives the block back. Returns whether the pool keeps it; else the caller unmaps it. */
static bool keep(struct bufpool *pool, struct pool_block *block)
{
        bool kept;

        MUTEX_SCOPE(&pool->mutex);
        kept = !pool->closed && pool->idle_count < IDLE_MAX;
        if (kept) {
                block->next_idle = pool->idle;
                pool->idle = block;
                pool->idle_count++;
        }
        unuse_locked(pool, block->class);
        return kept;
}

void block_unref(struct block *public)
{
        struct pool_block *block = (struct pool_block *)public;
        struct bufpool *pool;

        if (!block || atomic_fetch_sub(&block->references, 1) != 1)
                return;
        pool = block->pool;
        if (!keep(pool, block))
                memory_unmap(block);
        bufpool_unref(pool);
}

void block_release(struct block *const *block)
{
        block_unref(*block);
}
