#include "core/bufpool.h"

#include "core/cleanup.h"
#include "core/sync.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 65536 };

static struct bufpool *pool_of(uint64_t blocks)
{
        struct bufpool *pool;

        assert_int_equal(bufpool_new(blocks * BLOCK, BLOCK, &pool), 0);
        return pool;
}

static void get_all(struct bufpool *pool, struct block **blocks, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                blocks[i] = bufpool_get(pool, BUFPOOL_DEMAND, 0);
                assert_non_null(blocks[i]);
        }
}

static void unref_all(struct block **blocks, size_t count)
{
        for (size_t i = 0; i < count; i++)
                block_unref(blocks[i]);
}

static void block_is_page_aligned_and_writable_to_its_size(void **state)
{
        struct bufpool *pool;
        struct block *block;

        assert_int_equal(bufpool_new(0, 0, &pool), 0);
        block = bufpool_get(pool, BUFPOOL_DEMAND, 0);
        assert_non_null(block);
        assert_int_equal(block->size, BUFPOOL_BLOCK_BYTES);
        assert_int_equal(block->length, 0);
        assert_int_equal((uintptr_t)block->data % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
        memset(block->data, 0xaa, block->size);
        assert_int_equal(bufpool_used_bytes(pool), BUFPOOL_BLOCK_BYTES);
        block_unref(block);
        assert_int_equal(bufpool_used_bytes(pool), 0);
        bufpool_unref(pool);
}

static void odd_block_size_is_rounded_up_and_absurd_one_refused(void **state)
{
        struct bufpool *pool = NULL;
        struct block *block;

        assert_int_equal(bufpool_new(1 << 20, SIZE_MAX, &pool), -EINVAL);
        assert_null(pool);
        assert_int_equal(bufpool_new(1 << 20, 1, &pool), 0);
        block = bufpool_get(pool, BUFPOOL_DEMAND, 0);
        assert_non_null(block);
        assert_int_equal(block->size, sysconf(_SC_PAGESIZE));
        block_unref(block);
        bufpool_unref(pool);
}

static void ceiling_holds_but_never_below_four_blocks(void **state)
{
        static const uint64_t wanted[] = {0, 1, 4, 9};

        for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
                size_t count = wanted[i] < 4 ? 4 : wanted[i];
                struct bufpool *pool = pool_of(wanted[i]);
                struct block *blocks[9];

                assert_int_equal(bufpool_ceiling_bytes(pool), count * BLOCK);
                get_all(pool, blocks, count);
                assert_null(bufpool_get(pool, BUFPOOL_DEMAND, 0));
                assert_int_equal(bufpool_used_bytes(pool), count * BLOCK);
                unref_all(blocks, count);
                bufpool_unref(pool);
        }
}

static void background_gets_three_quarters_and_demand_the_rest(void **state)
{
        struct bufpool *pool = pool_of(8);
        struct block *background[6], *demand[2];

        for (size_t i = 0; i < 6; i++) {
                background[i] = bufpool_get(pool, BUFPOOL_BACKGROUND, 0);
                assert_non_null(background[i]);
        }
        assert_null(bufpool_get(pool, BUFPOOL_BACKGROUND, 0));
        get_all(pool, demand, 2);
        assert_null(bufpool_get(pool, BUFPOOL_DEMAND, 0));
        block_unref(demand[0]);
        assert_null(bufpool_get(pool, BUFPOOL_BACKGROUND, 0)); /* room, but not for this class */
        block_unref(background[5]);
        background[5] = bufpool_get(pool, BUFPOOL_BACKGROUND, 0);
        assert_non_null(background[5]);
        block_unref(demand[1]);
        unref_all(background, 6);
        bufpool_unref(pool);
}

static void leave_to_keep_is_for_an_eighth(void **state)
{
        struct bufpool *pool = pool_of(35);

        (void)state;
        assert_false(bufpool_keep(pool, 5));
        assert_true(bufpool_keep(pool, 3));
        assert_false(bufpool_keep(pool, 2));
        assert_true(bufpool_keep(pool, 1));
        bufpool_keep_end(pool, 3);
        assert_false(bufpool_keep(pool, UINT64_MAX));
        assert_true(bufpool_keep(pool, 3));
        bufpool_keep_end(pool, 4);
        bufpool_unref(pool);
}

static void block_goes_back_with_its_last_reference(void **state)
{
        struct bufpool *pool = pool_of(4);
        struct block *block = bufpool_get(pool, BUFPOOL_DEMAND, 0);

        assert_non_null(block);
        assert_ptr_equal(block_ref(block), block);
        block_unref(block);
        assert_int_equal(bufpool_used_bytes(pool), BLOCK);
        block_unref(block);
        assert_int_equal(bufpool_used_bytes(pool), 0);
        block_unref(NULL);
        bufpool_unref(NULL);
        bufpool_unref(pool);
}

static void warmest_block_is_used_again_first_and_starts_empty(void **state)
{
        struct bufpool *pool = pool_of(4);
        struct block *blocks[3];
        uint8_t *first, *last;

        get_all(pool, blocks, 3);
        first = blocks[0]->data;
        last = blocks[2]->data;
        blocks[2]->length = 123;
        unref_all(blocks, 3);
        get_all(pool, blocks, 3);
        assert_ptr_equal(blocks[0]->data, last);
        assert_ptr_equal(blocks[2]->data, first);
        assert_int_equal(blocks[0]->length, 0);
        unref_all(blocks, 3);
        bufpool_unref(pool);
}

static void surplus_memory_goes_back_after_a_peak(void **state)
{
        struct bufpool *pool = pool_of(40);
        struct block *blocks[40];

        get_all(pool, blocks, 40);
        assert_int_equal(bufpool_idle_bytes(pool), 0);
        unref_all(blocks, 40);
        assert_int_equal(bufpool_idle_bytes(pool), 16 * BLOCK);
        get_all(pool, blocks, 40); /* and it is mapped again when needed */
        memset(blocks[39]->data, 1, BLOCK);
        unref_all(blocks, 40);
        bufpool_unref(pool);
}

static void blocks_outlive_the_pools_owner(void **state)
{
        struct bufpool *pool = pool_of(4);
        struct block *block = bufpool_get(pool, BUFPOOL_DEMAND, 0);

        assert_non_null(block);
        bufpool_close(pool);
        bufpool_unref(pool);
        memset(block->data, 1, block->size);
        block_unref(block); /* frees the pool; the leak checker would tell */
}

static void deadline_ends_the_wait(void **state)
{
        struct bufpool *pool = pool_of(4);
        uint64_t deadline_ns = clock_now_ns() + 20000000;
        struct block *blocks[4];

        get_all(pool, blocks, 4);
        assert_null(bufpool_get(pool, BUFPOOL_DEMAND, deadline_ns));
        assert_true(clock_now_ns() >= deadline_ns);
        assert_null(bufpool_get(pool, BUFPOOL_BACKGROUND, 1)); /* long past */
        unref_all(blocks, 4);
        bufpool_unref(pool);
}

/* ---- with threads ---- */

struct getter {
        struct bufpool *pool;
        enum bufpool_class class;
        uint64_t deadline_ns;
        atomic_int tid;
        struct block *block;
        pthread_t thread;
};

static void *getter_main(void *argument)
{
        struct getter *getter = argument;

        atomic_store(&getter->tid, gettid());
        getter->block = bufpool_get(getter->pool, getter->class, getter->deadline_ns);
        return NULL;
}

/* Starts a thread that asks for a block, and returns when it sleeps in there. */
static void getter_start(struct getter *getter)
{
        char path[64], mode = 'R';

        assert_int_equal(thread_start(&getter->thread, "getter", getter_main, getter), 0);
        while (mode != 'S') {
                FILE *stat;

                assert_int_equal(sched_yield(), 0);
                if (atomic_load(&getter->tid) == 0)
                        continue;
                (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&getter->tid)); /* fits */
                stat = fopen(path, "re");
                assert_non_null(stat);
                assert_int_equal(fscanf(stat, "%*d (%*[^)]) %c", &mode), 1);
                (void)fclose(stat); /* only read */
        }
}

static struct block *getter_join(struct getter *getter)
{
        assert_int_equal(pthread_join(getter->thread, NULL), 0);
        return getter->block;
}

static void waiting_demand_goes_before_waiting_background(void **state)
{
        struct bufpool *pool = pool_of(4);
        struct getter background = {.pool = pool, .class = BUFPOOL_BACKGROUND, .deadline_ns = BUFPOOL_WAIT};
        struct getter demand = {.pool = pool, .class = BUFPOOL_DEMAND, .deadline_ns = BUFPOOL_WAIT};
        struct block *blocks[4];

        get_all(pool, blocks, 4);
        getter_start(&background);
        getter_start(&demand);
        block_unref(blocks[0]);
        assert_non_null(getter_join(&demand)); /* or it waits for ever, as background did not give it back */
        block_unref(blocks[1]);
        assert_non_null(getter_join(&background));
        block_unref(demand.block);
        block_unref(background.block);
        unref_all(blocks + 2, 2);
        bufpool_unref(pool);
}

static void background_goes_on_when_the_demand_before_it_gives_up(void **state)
{
        struct bufpool *pool = pool_of(4);
        struct getter demand = {.pool = pool, .class = BUFPOOL_DEMAND, .deadline_ns = clock_now_ns() + 50000000};
        struct getter background = {.pool = pool, .class = BUFPOOL_BACKGROUND, .deadline_ns = BUFPOOL_WAIT};
        struct block *blocks[4];

        get_all(pool, blocks, 4);
        getter_start(&demand);
        getter_start(&background);
        assert_null(getter_join(&demand));
        block_unref(blocks[0]);
        assert_non_null(getter_join(&background));
        block_unref(background.block);
        unref_all(blocks + 1, 3);
        bufpool_unref(pool);
}

static void close_wakes_all_waiters_with_nothing(void **state)
{
        struct bufpool *pool = pool_of(4);
        struct getter getters[4];
        struct block *blocks[4];

        get_all(pool, blocks, 4);
        for (size_t i = 0; i < 4; i++) {
                getters[i] = (struct getter){.pool = pool, .class = i % 2 ? BUFPOOL_BACKGROUND : BUFPOOL_DEMAND};
                getters[i].deadline_ns = i < 2 ? BUFPOOL_WAIT : clock_now_ns() + UINT64_C(3600000000000);
                getter_start(&getters[i]);
        }
        bufpool_close(pool);
        bufpool_close(pool);
        for (size_t i = 0; i < 4; i++)
                assert_null(getter_join(&getters[i]));
        unref_all(blocks, 4);
        assert_null(bufpool_get(pool, BUFPOOL_DEMAND, BUFPOOL_WAIT)); /* room, but closed */
        assert_int_equal(bufpool_idle_bytes(pool), 0);
        bufpool_unref(pool);
}

enum { WORKERS = 6, ROUNDS = 3000 };

struct worker {
        struct bufpool *pool;
        unsigned int number;
        unsigned int torn; /* blocks that somebody else wrote to */
        pthread_t thread;
};

static void *worker_main(void *argument)
{
        struct worker *worker = argument;
        enum bufpool_class class = worker->number % 2 ? BUFPOOL_BACKGROUND : BUFPOOL_DEMAND;

        for (unsigned int i = 0; i < ROUNDS; i++) {
                struct block *block = bufpool_get(worker->pool, class, BUFPOOL_WAIT);
                unsigned int mark = worker->number << 16 | i;

                if (!block) {
                        worker->torn++;
                        break;
                }
                memcpy(block->data, &mark, sizeof(mark));
                (void)block_ref(block); /* the same pointer */
                block_unref(block);
                worker->torn += memcmp(block->data, &mark, sizeof(mark)) != 0;
                block_unref(block);
        }
        return NULL;
}

static void more_workers_than_blocks_all_get_theirs_alone(void **state)
{
        struct bufpool *pool = pool_of(4);
        struct worker workers[WORKERS];

        for (unsigned int i = 0; i < WORKERS; i++) {
                workers[i] = (struct worker){.pool = pool, .number = i};
                assert_int_equal(thread_start(&workers[i].thread, "worker", worker_main, &workers[i]), 0);
        }
        for (unsigned int i = 0; i < WORKERS; i++) {
                assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
                assert_int_equal(workers[i].torn, 0);
        }
        assert_int_equal(bufpool_used_bytes(pool), 0);
        assert_true(bufpool_idle_bytes(pool) <= 4 * BLOCK);
        bufpool_unref(pool);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(block_is_page_aligned_and_writable_to_its_size),
            cmocka_unit_test(odd_block_size_is_rounded_up_and_absurd_one_refused),
            cmocka_unit_test(ceiling_holds_but_never_below_four_blocks),
            cmocka_unit_test(background_gets_three_quarters_and_demand_the_rest),
            cmocka_unit_test(leave_to_keep_is_for_an_eighth),
            cmocka_unit_test(block_goes_back_with_its_last_reference),
            cmocka_unit_test(warmest_block_is_used_again_first_and_starts_empty),
            cmocka_unit_test(surplus_memory_goes_back_after_a_peak),
            cmocka_unit_test(blocks_outlive_the_pools_owner),
            cmocka_unit_test(deadline_ends_the_wait),
            cmocka_unit_test(waiting_demand_goes_before_waiting_background),
            cmocka_unit_test(background_goes_on_when_the_demand_before_it_gives_up),
            cmocka_unit_test(close_wakes_all_waiters_with_nothing),
            cmocka_unit_test(more_workers_than_blocks_all_get_theirs_alone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
