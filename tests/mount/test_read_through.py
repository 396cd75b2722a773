"""Reading through the mount brings files to every target: bytes, what a read starts, cost at the source, existing files."""
import json
import mmap
import os
import random
import shutil
import stat
import time
import unittest

from harness import LONG, Case, MiB, bounded, cvv, eventually, random_bytes, read_file, seed, timeout
from trees import mixed_tree, walk, write_random


class Reading(Case):
    def test_a_read_gives_the_bytes_and_every_target_a_copy(self):
        content = self.put('clip', 3 * MiB + 17)
        mount = self.simple()
        self.assertEqual(bounded(20, read_file, mount.path('clip')), content)
        self.assertEqual(mount.wait(), 'complete')
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    def test_one_read_of_the_source_serves_all_targets(self):
        self.put('clip', 5 * MiB)
        mount = self.simple()
        mount.fill()
        self.assertEqual(mount.status()['source_copy_bytes'], 5 * MiB)

    @timeout(300)
    def test_a_mixed_tree_read_through_arrives_whole_on_each_target(self):
        mixed_tree(self.source, seed(), files=100, special=True)
        mount = self.simple()
        self.assertSameTree(self.source, mount.point)
        mount.fill()
        self.assertSameTree(self.source, mount.point)
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source, sparse=True)

    def test_files_without_bytes_and_empty_directories_arrive(self):
        self.put('empty', b'')
        os.makedirs(os.path.join(self.source, 'a/b/c'))
        mount = self.simple()
        mount.fill()
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)

    def test_mapped_reads_of_an_unfinished_file(self):
        content = self.put('clip', 3 * MiB)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M')

        def read_mapped():
            with open(mount.path('clip'), 'rb') as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
                return mapping[MiB - 5000:MiB + 5000]
        self.assertEqual(bounded(20, read_mapped), content[MiB - 5000:MiB + 5000])

    def test_direct_reads_of_an_unfinished_and_a_finished_file(self):
        content = self.put('clip', 2 * MiB + 100)
        mount = self.simple()

        def read_direct():
            descriptor = os.open(mount.path('clip'), os.O_RDONLY | os.O_DIRECT)
            with mmap.mmap(-1, 4 * MiB) as buffer:
                length = os.preadv(descriptor, [buffer], 0)
                return buffer[:length]
        for _ in range(2):
            got = bounded(20, read_direct)
            self.assertEqual(got, content[:len(got)])
            self.assertGreater(len(got), 0)
            self.assertEqual(mount.wait(), 'complete')

    def test_reads_at_and_beyond_the_end_are_short_and_empty(self):
        content = self.put('clip', MiB + 10)
        mount = self.simple()
        self.assertEqual(bounded(20, read_file, mount.path('clip'), 100, MiB), content[MiB:])
        self.assertEqual(bounded(20, read_file, mount.path('clip'), 100, MiB + 10), b'')
        self.assertEqual(bounded(20, read_file, mount.path('clip'), 100, 1 << 40), b'')

    def test_a_descriptor_open_while_the_file_is_published_reads_on(self):
        content = self.put('clip', 3 * MiB)
        mount = self.simple()

        def read_around():
            with open(mount.path('clip'), 'rb', buffering=0) as file:
                first = os.pread(file.fileno(), 10, 0)
                mount.wait()
                return first, os.pread(file.fileno(), 10, 2 * MiB)
        self.assertEqual(bounded(60, read_around), (content[:10], content[2 * MiB:2 * MiB + 10]))

    @timeout(600)
    def test_ten_readers_at_random_offsets_get_right_bytes_and_one_read_of_the_source(self):
        rng, size = seed(), (4096 if LONG else 48) * MiB
        write_random(os.path.join(self.source, 'big'), size, rng)
        del self.targets[2:]
        mount = self.simple('--chunk-size', '1M')

        def reader(number):
            random_offsets = random.Random(number)
            with open(mount.path('big'), 'rb', buffering=0) as got, open(self.source + '/big', 'rb', buffering=0) as want:
                for _ in range(2000 if LONG else 300):
                    offset, length = random_offsets.randrange(size), random_offsets.randrange(1, 200000)
                    a = os.pread(got.fileno(), length, offset)
                    assert a == os.pread(want.fileno(), length, offset), (offset, length, len(a))
        jobs = [self.work.start(reader, rng.random()) for _ in range(10)]
        for job in jobs:
            job.join(300)
        self.assertEqual(mount.wait(300), 'complete')
        self.assertEqual(mount.status()['source_copy_bytes'], size)
        for target in self.targets:
            self.assertSameBytes(os.path.join(self.source, 'big'), os.path.join(target, 'big'))

    def test_memory_stays_bounded(self):
        write_random(os.path.join(self.source, 'big'), 256 * MiB, random.Random(1))
        mount = self.simple('--memory', '32M', '--fill', 'all')
        with open('/proc/%d/maps' % mount.pid) as file:
            if 'asan' in (text := file.read()) or 'tsan' in text:
                self.skipTest('a sanitizer has memory of its own')
        largest, deadline = 0, time.monotonic() + 60
        while mount.status()['queued_bytes'] > 0 and time.monotonic() < deadline:
            with open('/proc/%d/status' % mount.pid) as file:
                largest = max(largest, *(int(line.split()[1]) for line in file if line.startswith('RssAnon')))
        self.assertLess(largest, (32 + 96) * 1024)


class WhatAReadStarts(Case):
    def test_fill_chunk_costs_at_most_one_chunk_of_the_source(self):
        content = self.put('clip', 8 * MiB)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M')
        self.assertEqual(bounded(20, read_file, mount.path('clip'), 4096, 3 * MiB), content[3 * MiB:3 * MiB + 4096])
        self.assertEqual(mount.wait(), 'idle')
        status = mount.status()
        self.assertLessEqual(status['source_copy_bytes'], MiB)
        self.assertGreaterEqual(status['source_copy_bytes'], 4096)
        self.assertEqual(status['queued_bytes'], 0)
        self.assertEqual(mount.xattr('clip', 'state'), 'partial')

    def test_fill_file_brings_the_rest_of_that_file_only(self):
        content = self.put('clip', 4 * MiB)
        self.put('other', 2 * MiB)
        mount = self.simple('--chunk-size', '1M')
        mount.scanned()
        bounded(20, read_file, mount.path('clip'), 1, 2 * MiB)
        self.assertEqual(mount.wait(), 'idle')
        self.assertEqual(self.on_targets('clip'), [content] * 3)
        self.assertEqual(self.on_targets('other'), [None] * 3)
        self.assertEqual(mount.status()['source_copy_bytes'], 4 * MiB)

    def test_fill_all_brings_everything_unasked(self):
        mixed_tree(self.source, seed(), files=30, largest=MiB)
        mount = self.simple('--fill', 'all')
        self.assertEqual(mount.wait(), 'complete')
        for target in self.targets:
            self.assertSameTree(self.source, target, ignore=('.cvv',))

    def test_fill_path_brings_one_directory(self):
        content = self.put('day 1/clip', MiB)
        self.put('day 2/clip', MiB)
        mount = self.simple()
        mount.do('fill', 'day 1')
        self.assertEqual(mount.wait(), 'idle')
        self.assertEqual(self.on_targets('day 1/clip'), [content] * 3)
        self.assertEqual(self.on_targets('day 2/clip'), [None] * 3)

    def test_listing_and_stat_bring_nothing(self):
        mixed_tree(self.source, seed(), files=20, largest=MiB)
        mount = self.simple()
        bounded(30, walk, mount.point)
        mount.scanned()
        self.assertEqual(mount.status()['source_copy_bytes'], 0)

    def test_a_thumbnailer_brings_chunks_only(self):
        self.put('clip', 8 * MiB)
        mount = self.simple('--chunk-size', '1M')
        program = shutil.copy(shutil.which('head'), self.work.join('tumblerd'))
        self.assertEqual(self.work.run(program, '-c', '10', mount.path('clip')).code, 0)
        self.assertEqual(mount.wait(), 'idle')
        self.assertLessEqual(mount.status()['source_copy_bytes'], 2 * MiB)

    def test_no_final_name_before_the_file_is_whole(self):
        self.put('clip', 4 * MiB)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M')
        bounded(20, read_file, mount.path('clip'), MiB, 0)
        mount.wait()
        self.assertEqual(self.on_targets('clip'), [None] * 3)
        for target in self.targets:
            self.assertTrue(os.path.isdir(os.path.join(target, '.cvv')))
        self.assertEqual(bounded(5, os.stat, mount.path('clip')).st_size, 4 * MiB)

    def test_the_background_obeys_the_limit_and_a_reader_does_not(self):
        content = self.put('read', 12 * MiB)
        self.put('background', 40 * MiB)
        mount = self.simple('--limit', '1M', '--fill', 'all', '--chunk-size', '1M')
        start = time.monotonic()
        self.assertEqual(bounded(10, read_file, mount.path('read')), content)
        copied = mount.status()['source_copy_bytes'] - 12 * MiB
        self.assertLess(copied, (time.monotonic() - start + 4) * MiB + 4 * MiB)
        mount.do('limit', '1G')
        self.assertEqual(mount.wait(), 'complete')

    def test_pause_stops_the_background_and_resume_goes_on(self):
        self.put('clip', 32 * MiB)
        content = self.put('read', MiB)
        mount = self.simple('--limit', '4M', '--fill', 'all', '--chunk-size', '1M')
        mount.do('pause')
        self.assertEqual(mount.state_word(), 'paused')
        self.assertEqual(bounded(20, read_file, mount.path('read')), content)
        before = mount.status()['source_copy_bytes']
        time.sleep(1)
        self.assertLessEqual(mount.status()['source_copy_bytes'], before + 2 * MiB)
        mount.do('limit', '1G')
        mount.do('resume')
        self.assertEqual(mount.wait(), 'complete')


class ExistingFiles(Case):
    def put_on_target(self, index, name, content, like_source=False):
        path = self.work.file(content, os.path.basename(self.targets[index]), name)
        if like_source:
            times = os.stat(os.path.join(self.source, name))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def test_skip_takes_size_and_mtime_as_equality(self):
        content = self.put('clip', MiB)
        for index in range(3):
            self.put_on_target(index, 'clip', content, like_source=True)
        mount = self.simple()
        mount.fill()
        status = mount.status()
        self.assertEqual(status['source_copy_bytes'], 0)
        self.assertEqual((status['files']['skipped'], status['bytes']['skipped']), (1, MiB))
        self.assertIn('clip', mount.read_control('skipped'))

    def test_a_file_that_differs_is_a_conflict_and_stays(self):
        content = self.put('clip', MiB)
        self.put_on_target(1, 'clip', b'precious')
        mount = self.simple()
        mount.do('fill')
        mount.wait()
        self.assertEqual(self.on_targets('clip')[1], b'precious')
        self.assertEqual(bounded(20, read_file, mount.path('clip')), content)
        self.assertEqual(mount.status()['files']['conflict'], 1)
        self.assertEqual(mount.xattr('clip', 'state'), 'conflict')
        self.assertIn('clip', mount.read_control('skipped'))
        result = mount.umount(expect=1)
        self.assertEqual(self.on_targets('clip')[1], b'precious', result)

    def test_replace_replaces_what_differs(self):
        content = self.put('clip', MiB)
        self.put_on_target(0, 'clip', b'old')
        mount = self.simple('--existing', 'replace')
        mount.fill()
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    def test_verify_compares_and_finds_what_size_and_mtime_hide(self):
        content = self.put('clip', MiB)
        other = bytes([content[0] ^ 1]) + content[1:]
        self.put_on_target(0, 'clip', content, like_source=True)
        self.put_on_target(1, 'clip', other, like_source=True)
        mount = self.simple('--existing', 'verify')
        mount.do('fill')
        mount.wait()
        self.assertEqual(self.on_targets('clip'), [content, other, content])
        self.assertEqual(mount.xattr('clip', 'state'), 'conflict')

    def test_files_that_only_a_target_has_are_shown_and_not_owed(self):
        self.put('clip', 1000)
        self.put_on_target(2, 'notes', b'mine')
        mount = self.simple()
        self.assertEqual(bounded(5, read_file, mount.path('notes')), b'mine')
        mount.fill()
        self.assertEqual(self.on_targets('notes'), [None, None, b'mine'])


class SourceDrift(Case):
    def test_a_file_that_changes_while_it_is_copied_is_never_a_mix(self):
        self.put('clip', 4 * MiB)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M')
        bounded(20, read_file, mount.path('clip'), MiB, 0)
        mount.wait()
        new = random_bytes(random.Random(99), 4 * MiB)
        with open(os.path.join(self.source, 'clip'), 'r+b') as file:
            file.write(new)
        mount.do('fill')
        state = mount.wait()
        for found in self.on_targets('clip'):
            self.assertIn(found, (None, new))
        if state != 'complete':
            self.assertIn('clip', mount.read_control('errors') + mount.read_control('skipped'))

    def test_a_file_that_vanishes_before_it_is_copied_is_missing(self):
        self.put('clip', MiB)
        self.put('other', MiB)
        mount = self.simple()
        mount.scanned()
        os.unlink(os.path.join(self.source, 'clip'))
        mount.do('fill')
        mount.wait()
        status = mount.status()
        self.assertEqual(status['files']['missing'], 1, status)
        self.assertIn('clip', mount.read_control('skipped'))
        self.assertNotEqual(status['state'], 'complete')
        mount.umount(expect=1)

    def test_the_source_is_never_written(self):
        mixed_tree(self.source, seed(), files=20, largest=MiB)
        before = {path: (s.st_mtime_ns, s.st_ctime_ns, s.st_mode) for path, s in walk(self.source).items()}
        atimes = {path: s.st_atime_ns for path, s in walk(self.source).items() if stat.S_ISREG(s.st_mode)}
        mount = self.simple()
        mount.fill()
        mount.umount()
        after = walk(self.source)
        self.assertEqual(before, {path: (s.st_mtime_ns, s.st_ctime_ns, s.st_mode) for path, s in after.items()})
        self.assertEqual(atimes, {path: after[path].st_atime_ns for path in atimes})


class CommandLine(Case):
    def test_options_may_stand_after_the_operands_and_in_long_form(self):
        content = self.put('clip', 10000)
        point = self.work.dir('mnt')
        result = self.work.cvv('mount', '--target=' + self.targets[0], self.source, point, '--mode=transfer',
                               '--hash=md5,xxh64', '--jobs=2', '--memory=64M', '--state=' + self.work.join('state'))
        self.assertEqual(result.code, 0, result)
        self.assertEqual(bounded(10, read_file, os.path.join(point, 'clip')), content)

    def test_the_last_component_of_a_target_is_created_and_that_is_said(self):
        self.put('clip', 10)
        new = self.work.join('new target')
        self.targets = [new]
        mount = self.mount(self.source, [new])
        self.assertTrue(os.path.isdir(new))
        mount.fill()
        self.assertEqual(self.on_targets('clip'), [read_file(self.source + '/clip')])

    def test_mount_lets_go_of_its_output(self):
        """`x=$(cvv mount ...)` must return."""
        self.put('clip', 10)
        point = self.work.dir('mnt')
        words = ['mount', '-t', self.targets[0], '-m', 'transfer', '--state', self.work.join('s')]
        result = self.work.run('sh', '-c', 'x=$("$@") && echo returned', 'sh', cvv(), *words, self.source, point)
        self.assertEqual((result.code, result.out), (0, 'returned\n'), result)

    def test_umount_says_what_is_still_owed_and_finishes_what_is_queued(self):
        content = self.put('read', 2 * MiB)
        self.put('unread', MiB)
        mount = self.simple()
        mount.scanned()
        bounded(20, read_file, mount.path('read'), 1)
        result = mount.umount(expect=1)
        self.assertNotEqual(result.out + result.err, '')
        self.assertEqual(self.on_targets('read'), [content] * 3)
        self.assertEqual(self.on_targets('unread'), [None] * 3)

    def test_umount_of_a_busy_mount_names_the_holder_and_stays(self):
        self.put('clip', 10)
        mount = self.simple()
        mount.fill()
        holder = self.work.start(lambda: (os.chdir(mount.point), time.sleep(60)))
        eventually(lambda: os.readlink('/proc/%d/cwd' % holder.pid) == mount.point, 10)
        result = mount.umount(expect=1)
        self.assertIn(str(holder.pid), result.err)
        self.assertEqual(mount.state_word(), 'complete')
        holder.kill()
        mount.umount()

    def test_umount_now_stops_at_a_checkpoint(self):
        self.put('clip', 64 * MiB)
        mount = self.simple('--limit', '1M', '--fill', 'all', '--chunk-size', '1M')
        start = time.monotonic()
        mount.umount('--now', expect=1)
        self.assertLess(time.monotonic() - start, 15)
        self.assertEqual(self.on_targets('clip'), [None] * 3)

    def test_status_shows_state_and_targets(self):
        self.put('clip', 10)
        mount = self.simple()
        mount.fill()
        text = self.work.cvv('status', mount.point)
        self.assertEqual(text.code, 0, text)
        self.assertIn('complete', text.out)
        for target in self.targets:
            self.assertIn(target, text.out)
        self.assertEqual(json.loads(self.work.cvv('status', '--json', mount.point).out)['state'], 'complete')


if __name__ == '__main__':
    unittest.main()
