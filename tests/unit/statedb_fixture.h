/* A state in a directory of its own, for the tests of statedb. */
#ifndef CVV_TESTS_STATEDB_FIXTURE_H
#define CVV_TESTS_STATEDB_FIXTURE_H

#include "core/statedb.h"

#include "core/sync.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

struct fixture {
        char path[64];
        char data_path[80];
        struct statedb *db;
};

static const uint64_t FIXTURE_WAIT_NS = UINT64_C(20000000000);

static inline int fixture_setup(void **state)
{
        struct fixture *fixture = calloc(1, sizeof(*fixture));

        if (!fixture)
                return -1;
        strcpy(fixture->path, "/tmp/cvv-statedb-XXXXXX");
        if (!mkdtemp(fixture->path))
                return -1;
        (void)snprintf(fixture->data_path, sizeof(fixture->data_path), "%s/data.mdb", fixture->path);
        *state = fixture;
        return 0;
}

static inline int fixture_remove(const char *path, const struct stat *attributes, int type, struct FTW *ftw)
{
        return remove(path);
}

static inline int fixture_teardown(void **state)
{
        struct fixture *fixture = *state;

        (void)statedb_close(fixture->db); /* only left open by a failed test */
        (void)nftw(fixture->path, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
        free(fixture);
        return 0;
}

static inline void fixture_open(struct fixture *fixture, const struct statedb_options *options)
{
        struct error error = { 0 };

        if (statedb_open(fixture->path, options, &error, &fixture->db) < 0)
                fail_msg("%s", error.message);
}

static inline int fixture_close(struct fixture *fixture)
{
        int result = statedb_close(fixture->db);

        fixture->db = NULL;
        return result;
}

static inline void fixture_put(struct fixture *fixture, const char *key, const char *value)
{
        assert_int_equal(statedb_put(fixture->db, key, strlen(key), value, strlen(value)), 0);
}

static inline void fixture_delete(struct fixture *fixture, const char *key)
{
        assert_int_equal(statedb_delete(fixture->db, key, strlen(key)), 0);
}

static inline void fixture_assert(struct fixture *fixture, const char *key, const char *value)
{
        char got[256];
        size_t size;

        assert_int_equal(statedb_get(fixture->db, key, strlen(key), got, sizeof(got), &size), 0);
        assert_int_equal(size, strlen(value));
        assert_memory_equal(got, value, size);
}

static inline void fixture_assert_absent(struct fixture *fixture, const char *key)
{
        char got[256];
        size_t size;

        assert_int_equal(statedb_get(fixture->db, key, strlen(key), got, sizeof(got), &size), -ENOENT);
}

static inline int fixture_wait(struct fixture *fixture)
{
        return statedb_wait(fixture->db, statedb_applied_seq(fixture->db), clock_now_ns() + FIXTURE_WAIT_NS);
}

#endif
