"""Many readers of one file while it fills, devices that are slower than the readers, and very many files: what each costs."""
import os
import random
import shutil
import tempfile
import time
import unittest

from devices import FaultFs
from harness import LONG, SCALE, Background, Case, MiB, Mount, bounded, cvv, eventually, need, note, read_file, seed, timeout
from trees import write_random

READERS = 10


class LargeFile(Case):
    def large(self, size):
        """A file of the source that the readers need not hold in memory, and targets that can hold it."""
        write_random(os.path.join(self.source, 'clip'), size, random.Random(size))
        if size > 1 << 30:      # memory is not for several copies
            disk = tempfile.mkdtemp(prefix='cvv-test-', dir='/var/tmp')
            self.work.closers.append(lambda: shutil.rmtree(disk, ignore_errors=True))
            self.targets = [os.path.join(disk, name) for name in ('t1', 't2', 't3')]
            for target in self.targets:
                os.mkdir(target)

    def compare(self, mount, offset, length):
        got = read_file(mount.path('clip'), length, offset)
        want = read_file(os.path.join(self.source, 'clip'), length, offset)
        assert got == want, '%d bytes at %d are wrong (%d came)' % (length, offset, len(got))

    def read_randomly(self, mount, number, size, stop):
        """Random reads of the file until `stop` exists; each byte must be right."""
        rng = random.Random(number)
        while not os.path.exists(stop):
            self.compare(mount, rng.randrange(size), rng.choice((1, 4096, 100000, MiB)))

    @timeout(240)
    def test_ten_readers_at_random_offsets_while_it_fills(self):
        rng, size = seed(), (4096 if LONG else 256) * MiB
        self.large(size)
        mount = self.mount(self.source, self.targets)
        stop = self.work.join('stop')
        readers = [Background(self.read_randomly, mount, rng.random(), size, stop) for _ in range(READERS)]
        self.work.background += readers
        mount.do('fill')
        eventually(lambda: mount.status()['state'] == 'complete' or not all(reader.running() for reader in readers),
                   1500 if LONG else 150, 'the end of the fill')
        self.work.file(b'', 'stop')
        for reader in readers:
            reader.join(60)
        status = mount.status()
        self.assertEqual((status['state'], status['source_copy_bytes']), ('complete', size))
        mount.umount()
        for target in self.targets:
            self.assertSameBytes(os.path.join(self.source, 'clip'), os.path.join(target, 'clip'), 600)

    def test_with_fill_chunk_a_small_read_costs_at_most_one_chunk(self):
        rng, size = seed(), 64 * MiB - 12345
        self.large(size)
        mount = self.mount(self.source, self.targets, None, '--fill', 'chunk', '--chunk-size', '4M')
        seen = set()
        for _ in range(30 if LONG else 10):
            offset = rng.randrange(size // 4096) * 4096
            before = mount.status()['source_copy_bytes']
            bounded(20, self.compare, mount, offset, 4096)
            mount.wait()
            cost = mount.status()['source_copy_bytes'] - before
            self.assertLessEqual(cost, 0 if offset // (4 * MiB) in seen else 4 * MiB)
            seen.add(offset // (4 * MiB))

    @timeout(200)
    def test_with_all_targets_hung_a_file_larger_than_the_buffers_reads_right(self):
        size = (512 if LONG else 96) * MiB
        self.large(size)
        faults = [FaultFs(self.work, target) for target in self.targets]
        self.targets = [fault.path for fault in faults]
        mount = self.mount(self.source, self.targets, None, '--memory', '16M', '--chunk-size', '1M')
        mount.scanned()
        for fault in faults:
            fault.stop()
        self.assertIsNone(bounded(100, self.compare, mount, 0, size))
        for fault in faults:
            fault.cont()
        mount.do('fill')
        mount.until(lambda status: status['state'] == 'complete', 60, 'the targets to complete')
        for target in self.targets:
            self.assertSameBytes(os.path.join(self.source, 'clip'), os.path.join(target, 'clip'))

    @timeout(400)
    def test_what_a_slow_target_misses_comes_from_a_fast_one(self):
        size = (160 if LONG else 48) * MiB      # more than the buffers: it must miss something
        self.large(size)
        fault = FaultFs(self.work, self.targets[1])
        self.targets[1] = fault.path
        fault.rules('write rate=1048576')
        mount = self.mount(self.source, self.targets, None, '--memory', '16M', '--chunk-size', '1M')
        bounded(60, self.compare, mount, 0, size)
        mount.do('fill')
        eventually(lambda: [target['owed_bytes'] for target in mount.status()['targets']][::2] == [0, 0], 20,
                   'the fast targets')
        status = mount.status()
        self.assertGreater(status['targets'][1]['owed_bytes'], size // 2)
        for target in self.targets[::2]:
            self.assertSameBytes(os.path.join(self.source, 'clip'), os.path.join(target, 'clip'))
        if not LONG:
            fault.rules('write rate=8388608')   # slow enough to have missed it; the rest need not take a minute
        self.assertEqual(mount.wait(300), 'complete')
        self.assertEqual(mount.status()['source_copy_bytes'], size)
        self.assertSameBytes(os.path.join(self.source, 'clip'), os.path.join(fault.path, 'clip'))


def make_small_files(root, count):
    """So many files of a few bytes, 1,000 in each directory."""
    for number in range(count):
        if number % 1000 == 0:
            directory = os.path.join(root, 'd%04d' % (number // 1000))
            os.mkdir(directory)
        descriptor = os.open('%s/%d' % (directory, number), os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(descriptor, b'%d' % number)
        os.close(descriptor)


def anonymous_bytes(pid):
    with open('/proc/%d/smaps_rollup' % pid) as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith('Anonymous:'))


class ManyFiles(Case):
    COUNT = 1000000 if LONG else 100000

    def test_many_small_files_arrive_with_few_descriptors_on_targets_that_name_them_slowly(self):
        need('prlimit')
        bounded(60, make_small_files, self.source, 2000)
        fault = FaultFs(self.work, self.targets[1])
        self.targets[1] = fault.path
        fault.rules('rename delay_ms=2')
        mount = Mount(self.work, self.source, self.targets, None, '--fill', 'all', start=False)
        self.addCleanup(mount.close)
        result = self.work.run('prlimit', '--nofile=1200:1200', cvv(), *mount.command())
        self.assertEqual(result.code, 0, result)
        self.assertEqual(mount.wait(100), 'complete', mount.read_control('errors'))
        self.assertEqual([target['errors'] for target in mount.status()['targets']], [0, 0, 0])
        for target in self.targets:
            self.assertSameTree(self.source, target, ignore=('.cvv',))

    @timeout(240)
    def test_the_scan_of_very_many_files_needs_bounded_memory_and_delays_nothing(self):
        bounded(600 if LONG else 60, make_small_files, self.source, self.COUNT)
        directories = self.COUNT // 1000
        start = time.monotonic()
        mount = self.mount(self.source, self.targets, None, '--memory', '64M')
        self.assertEqual(len(bounded(5, os.listdir, mount.point)), directories)
        self.assertEqual(len(bounded(5, os.listdir, mount.path('d%04d' % (directories - 1)))), 1000)
        self.assertLess(time.monotonic() - start, 10 * SCALE)
        self.largest = 0

        def scan_complete():
            self.largest = max(self.largest, anonymous_bytes(mount.pid))
            status = mount.status()
            return status if status['scan_complete'] else None
        status = eventually(scan_complete, 1800 if LONG else 180, 'the end of the scan')
        note('%d files scanned after %.1f s; at most %.1f MiB of anonymous memory'
             % (self.COUNT, time.monotonic() - start, self.largest / MiB))
        self.assertLess(self.largest, (64 + 128) * MiB)
        self.assertEqual(status['files']['total'], self.COUNT)
        path = 'd%04d/%d' % (directories // 2, directories // 2 * 1000 + 7)
        self.assertEqual(bounded(10, read_file, mount.path(path)), read_file(os.path.join(self.source, path)))


if __name__ == '__main__':
    unittest.main()
