#include "core/codec.h"
#include "core/record.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static uint8_t buffer[RECORD_VALUE_BYTES];

static struct node_record plain_node(void)
{
        struct node_record node = {
                .parent = 4711,
                .name = "A001C003_240101_R1AB.mov",
                .name_size = 24,
                .mode = S_IFREG | 0644,
                .uid = 1000,
                .gid = 1000,
                .nlink = 1,
                .size = 123456789012,
                .source_ino = 99999999,
                .blocks = 241126542,
                .mtime_ns = 1700000000123456789,
                .ctime_ns = 1700000001123456789,
                .atime_ns = 1700000002123456789,
                .btime_ns = 1700000003123456789,
                .generation = 3,
                .source_limit = UINT64_MAX,
                .flags = 5,
                .category = 2,
                .epoch = 12,
                .complete = 7,
                .verified = 7,
                .methods = { 5, 2, 4 },
        };
        return node;
}

static struct node_record full_node(void)
{
        struct node_record node = plain_node();

        memset(node.name, 0xff, RECORD_NAME_BYTES);
        node.name_size = RECORD_NAME_BYTES;
        node.source_parent = UINT64_MAX;
        memset(node.source_name, 'x', RECORD_NAME_BYTES);
        node.source_name_size = RECORD_NAME_BYTES;
        node.mtime_ns = INT64_MIN;
        node.ctime_ns = INT64_MAX;
        node.atime_ns = -1;
        node.complete = node.verified = node.skipped = node.conflict = node.failed = node.partial = UINT64_MAX;
        node.former = node.altered = UINT64_MAX;
        for (unsigned slot = 0; slot < RECORD_SLOTS; slot++)
                node.kept[slot] = (struct node_version){ .size = UINT64_MAX, .mtime_ns = INT64_MIN };
        node.rdev = UINT64_MAX;
        node.last_error = INT_MIN;
        node.category = UINT8_MAX;
        node.mode = node.uid = node.gid = node.nlink = node.flags = UINT32_MAX;
        node.has_hash = true;
        memset(node.hash, 0xab, sizeof(node.hash));
        node.digests.mask = (1u << HASH_COUNT) - 1;
        memset(node.digests.bytes, 0xcd, sizeof(node.digests.bytes));
        return node;
}

static size_t encode_node(const struct node_record *node)
{
        size_t size = 0;

        assert_int_equal(record_encode_node(node, buffer, sizeof(buffer), &size), 0);
        return size;
}

static void assert_node_survives(const struct node_record *node)
{
        struct node_record back;
        size_t size = encode_node(node);

        memset(&back, 0x55, sizeof(back));
        assert_int_equal(record_decode_node(buffer, size, &back), 0);
        assert_string_equal(back.name, node->name);
        assert_int_equal(back.mtime_ns, node->mtime_ns);
        assert_int_equal(back.ctime_ns, node->ctime_ns);
        assert_int_equal(back.last_error, node->last_error);
        assert_int_equal(back.has_hash, node->has_hash);
        assert_memory_equal(&back.digests, &node->digests, sizeof(back.digests));
        uint8_t first[RECORD_VALUE_BYTES];
        memcpy(first, buffer, size);
        assert_int_equal(encode_node(&back), size);
        assert_memory_equal(first, buffer, size);
}

static void node_survives_encoding(void **state)
{
        struct node_record node = plain_node(), full = full_node(), empty = { 0 };

        assert_node_survives(&node);
        assert_node_survives(&full);
        assert_node_survives(&empty);
}

static void plain_node_is_small(void **state)
{
        struct node_record node = plain_node();

        assert_true(encode_node(&node) < 150);
        node.has_hash = true;
        node.digests.mask = 1u << HASH_XXH64;
        assert_true(encode_node(&node) < 180);
}

static void every_changed_byte_is_noticed(void **state)
{
        struct node_record node = full_node(), back;
        size_t size = encode_node(&node);

        for (size_t i = 0; i < size; i++) {
                buffer[i] ^= 0x10;
                memset(&back, 0x55, sizeof(back));
                assert_int_equal(record_decode_node(buffer, size, &back), -EBADMSG);
                assert_int_equal(back.name[0], 0x55); /* untouched */
                buffer[i] ^= 0x10;
        }
        for (size_t i = 0; i < size; i++)
                assert_int_equal(record_decode_node(buffer, i, &back), -EBADMSG);
}

static size_t seal(enum record_table table, size_t size)
{
        uint32_t checksum = record_checksum(table, buffer, size);

        for (unsigned i = 0; i < 4; i++)
                buffer[size + i] = (uint8_t)(checksum >> (8 * i));
        return size + 4;
}

static void what_is_not_the_one_encoding_is_refused_despite_its_checksum(void **state)
{
        struct queue_record queue = { .sequence = 5 };
        struct name_record name;
        size_t size;

        assert_int_equal(record_encode_queue(&queue, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(size, 1 + 1 + 1 + 4);
        buffer[3] = 0; /* a field behind the last */
        assert_int_equal(record_decode_queue(buffer, seal(TABLE_QUEUE, 4), &queue), -EBADMSG);
        buffer[1] = 3; /* an unknown field */
        assert_int_equal(record_decode_queue(buffer, seal(TABLE_QUEUE, 4), &queue), -EBADMSG);
        buffer[1] = 1;
        buffer[2] = 0; /* a field that is there, but zero */
        assert_int_equal(record_decode_queue(buffer, seal(TABLE_QUEUE, 3), &queue), -EBADMSG);
        buffer[2] = 0x85; /* a number in a longer form */
        buffer[3] = 0;
        assert_int_equal(record_decode_queue(buffer, seal(TABLE_QUEUE, 4), &queue), -EBADMSG);
        memset(buffer + 2, 0xff, 10); /* a number of more than 64 bits */
        buffer[11] = 2;
        assert_int_equal(record_decode_queue(buffer, seal(TABLE_QUEUE, 12), &queue), -EBADMSG);
        buffer[11] = 1;
        assert_int_equal(record_decode_queue(buffer, seal(TABLE_QUEUE, 12), &queue), 0);
        assert_true(queue.sequence == UINT64_MAX);
        buffer[0] = CODEC_VERSION + 1; /* another version */
        assert_int_equal(record_decode_queue(buffer, seal(TABLE_QUEUE, 12), &queue), -EBADMSG);

        buffer[0] = CODEC_VERSION;
        buffer[1] = 1 << 3; /* flags, of 32 bits */
        memcpy(buffer + 2, "\xff\xff\xff\xff\x1f", 5);
        assert_int_equal(record_decode_name(buffer, seal(TABLE_NAME, 7), &name), -EBADMSG);
        buffer[6] = 0x0f;
        assert_int_equal(record_decode_name(buffer, seal(TABLE_NAME, 7), &name), 0);
}

static void record_of_another_table_is_refused(void **state)
{
        struct inode_record inode = { .id = 1, .epoch = 2 };
        struct intent_record intent;
        size_t size;

        assert_int_equal(record_encode_inode(&inode, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(record_decode_intent(buffer, size, &intent), -EBADMSG);
}

static void names_that_lead_out_are_refused(void **state)
{
        static const char *const names[] = { "a/b", "/", "..", "a\0b" };
        static const size_t sizes[] = { 3, 1, 2, 3 };
        struct node_record node, back;
        size_t size = sizeof(buffer);

        for (unsigned i = 0; i < 4; i++) {
                node = (struct node_record){ .name_size = (uint16_t)sizes[i] };
                memcpy(node.name, names[i], sizes[i]);
                assert_int_equal(record_encode_node(&node, buffer, sizeof(buffer), &size), -EINVAL);
                memcpy(buffer, "\x01\x02", 2);
                buffer[2] = (uint8_t)sizes[i];
                memcpy(buffer + 3, names[i], sizes[i]);
                assert_int_equal(record_decode_node(buffer, seal(TABLE_NODE, 3 + sizes[i]), &back), -EBADMSG);
        }
        assert_int_equal(size, sizeof(buffer));
        node = (struct node_record){ .name_size = RECORD_NAME_BYTES + 1 };
        memset(node.name, 'x', sizeof(node.name));
        assert_int_equal(record_encode_node(&node, buffer, sizeof(buffer), &size), -EINVAL);
        node = (struct node_record){ .digests.mask = 1u << HASH_COUNT };
        assert_int_equal(record_encode_node(&node, buffer, sizeof(buffer), &size), -EINVAL);
}

static void too_small_buffer_is_ERANGE_at_each_size(void **state)
{
        struct node_record node = full_node();
        size_t size = encode_node(&node), unused;

        for (size_t capacity = 0; capacity < size; capacity++) {
                uint8_t *exact = malloc(capacity + 1);

                assert_non_null(exact);
                exact[capacity] = 0x77;
                assert_int_equal(record_encode_node(&node, exact, capacity, &unused), -ERANGE);
                assert_int_equal(exact[capacity], 0x77);
                free(exact);
        }
}

static void target_and_meta_survive_encoding(void **state)
{
        static struct target_record target = { .n = 3, .slot = 63, .event_count = 9, .flags = TARGET_REMOVED }, target_back;
        static struct meta_record meta = { .version = 1, .chunk_bytes = 1 << 20, .next_id = 7, .created_ns = -5 }, meta_back;
        size_t size;

        strcpy(target.identity, "uuid:1234");
        memset(target.path, 'p', sizeof(target.path) - 1);
        assert_int_equal(record_encode_target(&target, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(record_decode_target(buffer, size, &target_back), 0);
        assert_memory_equal(&target, &target_back, sizeof(target));
        target.path[sizeof(target.path) - 1] = 'p'; /* no end */
        assert_int_equal(record_encode_target(&target, buffer, sizeof(buffer), &size), -EINVAL);

        strcpy(meta.source_identity, "uuid:99");
        memset(meta.source_path, '/', sizeof(meta.source_path) - 1);
        assert_int_equal(record_encode_meta(&meta, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(record_decode_meta(buffer, size, &meta_back), 0);
        assert_string_equal(meta.source_path, meta_back.source_path);
        assert_int_equal(meta_back.created_ns, -5);
        assert_int_equal(meta_back.next_id, 7);
}

static void group_survives_encoding(void **state)
{
        static struct group_record group, back;
        size_t size;

        for (unsigned count = 0; count <= RECORD_GROUP_CHUNKS; count++) {
                memset(&group, 0, sizeof(group));
                group.chunk_count = (uint16_t)count;
                for (unsigned i = 0; i < count; i += 1 + count % 3) {
                        group.hashed[i / 64] |= UINT64_C(1) << (i % 64);
                        memset(group.hash[i], (int)i + 1, RECORD_HASH_BYTES);
                }
                for (unsigned i = 0; i < 3 && count > 0; i++) {
                        group.slots[group.slot_count].slot = (uint8_t)(i * 31);
                        group.slots[group.slot_count].present[0] = group.hashed[0];
                        group.slots[group.slot_count].verified[(count - 1) / 64] = UINT64_C(1) << ((count - 1) % 64);
                        group.slot_count++;
                }
                assert_int_equal(record_encode_group(&group, buffer, sizeof(buffer), &size), 0);
                memset(&back, 0x55, sizeof(back));
                assert_int_equal(record_decode_group(buffer, size, &back), 0);
                assert_int_equal(back.slot_count, group.slot_count);
                assert_memory_equal(back.hash, group.hash, sizeof(group.hash));
                assert_memory_equal(back.hashed, group.hashed, sizeof(group.hashed));
                for (unsigned i = 0; i < group.slot_count; i++)
                        assert_memory_equal(&back.slots[i], &group.slots[i], sizeof(group.slots[i]));
        }
}

static void full_group_costs_little_more_than_its_hashes(void **state)
{
        static struct group_record group = { .chunk_count = RECORD_GROUP_CHUNKS, .slot_count = 3 };
        size_t size;

        group.hashed[0] = UINT64_MAX;
        group.hashed[1] = (UINT64_C(1) << 48) - 1;
        for (unsigned i = 0; i < 3; i++) {
                group.slots[i].slot = (uint8_t)i;
                memcpy(group.slots[i].present, group.hashed, sizeof(group.hashed));
        }
        assert_int_equal(record_encode_group(&group, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(size, 1 + 2 + RECORD_GROUP_CHUNKS * RECORD_HASH_BYTES + 3 * 2 + 4);
        group.slot_count = 0;
        memset(group.slots, 0, sizeof(group.slots));
        for (unsigned i = 0; i < RECORD_SLOTS; i++) {
                group.slots[i] = (struct group_slot){ .slot = (uint8_t)i, .present = { i + 1 }, .verified = { i + 1 } };
                group.slot_count++;
        }
        assert_int_equal(record_encode_group(&group, buffer, sizeof(buffer), &size), 0);
        assert_true(size <= RECORD_VALUE_BYTES);
}

static void group_that_makes_no_sense_is_EINVAL(void **state)
{
        static struct group_record group;
        size_t size;

        group.chunk_count = RECORD_GROUP_CHUNKS + 1;
        assert_int_equal(record_encode_group(&group, buffer, sizeof(buffer), &size), -EINVAL);
        group.chunk_count = 70;
        group.hashed[1] = 1 << 6; /* chunk 70 */
        assert_int_equal(record_encode_group(&group, buffer, sizeof(buffer), &size), -EINVAL);
        group.hashed[1] = 0;
        group.slot_count = 2; /* the same slot twice */
        assert_int_equal(record_encode_group(&group, buffer, sizeof(buffer), &size), -EINVAL);
        group.slots[1].slot = RECORD_SLOTS;
        assert_int_equal(record_encode_group(&group, buffer, sizeof(buffer), &size), -EINVAL);
        group.slots[1].slot = 1; /* slots without bits are left out */
        assert_int_equal(record_encode_group(&group, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(size, 1 + 2 + 4);
}

static void blob_keeps_any_bytes_up_to_its_limit(void **state)
{
        static uint8_t blob[RECORD_BLOB_BYTES + 1], value[RECORD_BLOB_BYTES + RECORD_BLOB_EXTRA_BYTES];
        const void *back;
        size_t size, back_size;

        for (size_t i = 0; i < sizeof(blob); i++)
                blob[i] = (uint8_t)(i * 7);
        assert_int_equal(record_encode_blob(TABLE_DIGEST, blob, RECORD_BLOB_BYTES, value, sizeof(value), &size), 0);
        assert_int_equal(record_decode_blob(TABLE_DIGEST, value, size, &back, &back_size), 0);
        assert_int_equal(back_size, RECORD_BLOB_BYTES);
        assert_memory_equal(back, blob, back_size);
        assert_int_equal(record_decode_blob(TABLE_ERROR, value, size, &back, &back_size), -EBADMSG);
        assert_int_equal(record_encode_blob(TABLE_DIGEST, blob, sizeof(blob), value, sizeof(value), &size), -EINVAL);
        assert_int_equal(record_encode_blob(TABLE_NODE, blob, 1, value, sizeof(value), &size), -EINVAL);
        assert_int_equal(record_encode_blob(TABLE_LINK, blob, 1, value, sizeof(value), &size), -EINVAL);
        assert_int_equal(record_encode_blob(TABLE_LINK, NULL, 0, value, sizeof(value), &size), 0);
        assert_int_equal(record_decode_blob(TABLE_LINK, value, size, &back, &back_size), 0);
        assert_int_equal(back_size, 0);
}

static void format_is_read_whatever_its_number(void **state)
{
        struct format_record format = { .version = UINT32_MAX }, back;
        size_t size;

        assert_int_equal(record_encode_format(&format, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(record_decode_format(buffer, size, &back), 0);
        assert_true(back.version == UINT32_MAX);
        assert_int_equal(record_decode_format(buffer, size - 1, &back), -EBADMSG);
        assert_int_equal(record_decode_format(buffer, size + 1, &back), -EBADMSG);
        buffer[0] ^= 1;
        assert_int_equal(record_decode_format(buffer, size, &back), -EBADMSG);
}

static void keys_are_ordered_as_their_numbers_and_parse_back(void **state)
{
        struct record_key low = record_key_group(1, 255, 256), high = record_key_group(1, 256, 1);
        struct record_key name = record_key_name(77, "abc", 3), link = record_key_link(5, 6, "n", 1);
        struct record_key prefix = record_prefix_id(TABLE_NAME, 77);
        struct record_key_parts parts;

        assert_true(low.size == high.size && memcmp(low.bytes, high.bytes, low.size) < 0);
        assert_int_equal(record_key_parse(low.bytes, low.size, &parts), 0);
        assert_true(parts.table == TABLE_GROUP && parts.id == 1 && parts.generation == 255 && parts.group == 256);
        assert_memory_equal(name.bytes, prefix.bytes, prefix.size);
        assert_int_equal(record_key_parse(name.bytes, name.size, &parts), 0);
        assert_true(parts.parent == 77 && parts.name_size == 3 && memcmp(parts.name, "abc", 3) == 0);
        assert_int_equal(record_key_parse(link.bytes, link.size, &parts), 0);
        assert_true(parts.id == 5 && parts.parent == 6 && parts.name_size == 1);
        struct record_key queue = record_key_queue(9, UINT64_MAX);
        assert_int_equal(record_key_parse(queue.bytes, queue.size, &parts), 0);
        assert_true(parts.priority == 9 && parts.id == UINT64_MAX);
        assert_int_equal(record_key_parse(queue.bytes, queue.size - 1, &parts), -EBADMSG);
        assert_int_equal(record_key_parse(prefix.bytes, prefix.size, &parts), -EBADMSG);
        assert_int_equal(record_key_parse("?xxxxxxxx", 9, &parts), -EBADMSG);
        assert_int_equal(record_key_parse("", 0, &parts), -EBADMSG);
}

static void overlong_name_makes_no_key(void **state)
{
        char name[RECORD_NAME_BYTES + 1];

        memset(name, 'x', sizeof(name));
        assert_int_equal(record_key_link(1, 2, name, RECORD_NAME_BYTES).size, RECORD_KEY_BYTES);
        assert_int_equal(record_key_link(1, 2, name, sizeof(name)).size, 0);
        assert_int_equal(record_key_name(1, name, 0).size, 0);
}

static void validation_knows_each_table(void **state)
{
        struct record_key node_key = record_key_node(5), inode_key = record_key_inode(5);
        struct record_key format_key = record_key_meta(RECORD_FORMAT_NAME);
        struct node_record node = plain_node();
        struct format_record format = { .version = 1 };
        size_t size = encode_node(&node);

        assert_int_equal(record_validate(node_key.bytes, node_key.size, buffer, size), 0);
        assert_int_equal(record_validate(inode_key.bytes, inode_key.size, buffer, size), -EBADMSG);
        assert_int_equal(record_validate(node_key.bytes, node_key.size - 1, buffer, size), -EBADMSG);
        assert_int_equal(record_validate("x", 1, buffer, size), -EBADMSG);
        assert_int_equal(record_encode_format(&format, buffer, sizeof(buffer), &size), 0);
        assert_int_equal(record_validate(format_key.bytes, format_key.size, buffer, size), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(node_survives_encoding),
                cmocka_unit_test(plain_node_is_small),
                cmocka_unit_test(every_changed_byte_is_noticed),
                cmocka_unit_test(what_is_not_the_one_encoding_is_refused_despite_its_checksum),
                cmocka_unit_test(record_of_another_table_is_refused),
                cmocka_unit_test(names_that_lead_out_are_refused),
                cmocka_unit_test(too_small_buffer_is_ERANGE_at_each_size),
                cmocka_unit_test(target_and_meta_survive_encoding),
                cmocka_unit_test(group_survives_encoding),
                cmocka_unit_test(full_group_costs_little_more_than_its_hashes),
                cmocka_unit_test(group_that_makes_no_sense_is_EINVAL),
                cmocka_unit_test(blob_keeps_any_bytes_up_to_its_limit),
                cmocka_unit_test(format_is_read_whatever_its_number),
                cmocka_unit_test(keys_are_ordered_as_their_numbers_and_parse_back),
                cmocka_unit_test(overlong_name_makes_no_key),
                cmocka_unit_test(validation_knows_each_table),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
