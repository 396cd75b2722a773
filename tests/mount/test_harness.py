"""The helpers of these tests, tested without cvv: a comparison that sees nothing would make every other test pass."""
import contextlib
import io
import os
import random
import time
import unittest

import harness
import run
from devices import FaultFs, LoopFs
from harness import Background, TimedOut, Work, bounded, eventually, read_file
from trees import compare_trees, link_groups, mixed_tree, walk


class Runner(unittest.TestCase):
    def shown(self, outcome):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            harness.note('3 kills')
            run.show('a.test', outcome, '', 'noise\n' + out.getvalue() + 'note\n', 1)
        return out.getvalue().splitlines()[1:]

    def test_what_a_passing_test_notes_is_shown_and_its_other_output_is_not(self):
        self.assertEqual(self.shown('ok'), ['ok a.test 1.0s', 'note a.test: 3 kills'])

    def test_the_whole_output_of_a_failing_test_is_shown(self):
        self.assertEqual(self.shown('FAIL'), ['FAIL a.test 1.0s', '    noise', '    note 3 kills', '    note'])


class WithWork(unittest.TestCase):
    def setUp(self):
        self.work = Work()
        self.addCleanup(self.work.close)


class Comparison(WithWork):
    def setUp(self):
        super().setUp()
        self.a, self.b = self.work.join('a'), self.work.join('b')
        mixed_tree(self.a, random.Random(1), files=20, largest=100000, special=True)
        self.assertEqual(self.work.run('cp', '-a', self.a, self.b).code, 0)

    def differs(self, text):
        found = compare_trees(self.a, self.b)
        self.assertEqual(len(found), 1, found)
        self.assertIn(text, found[0])

    def test_equal_trees_do_not_differ(self):
        self.assertEqual(compare_trees(self.a, self.b, sparse=True), [])

    def test_the_same_seed_makes_the_same_tree(self):
        mixed_tree(self.work.join('c'), random.Random(1), files=20, largest=100000, special=True)
        self.assertEqual(compare_trees(self.a, self.work.join('c')), [])

    def test_one_byte_is_seen(self):
        path = os.path.join(self.b, 'sparse1')
        times = os.stat(path)
        with open(path, 'r+b') as file:
            file.seek(10 << 20)
            old = file.read(1)
            file.seek(10 << 20)
            file.write(bytes([old[0] ^ 1]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        self.differs('bytes differ')

    def test_a_nanosecond_is_seen(self):
        path = os.path.join(self.b, 'sparse1')
        os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))
        self.differs('st_mtime_ns')

    def test_a_missing_xattr_is_seen(self):
        path = os.path.join(self.b, 'sparse1')
        try:
            os.setxattr(path, 'user.more', b'')
        except OSError:
            self.skipTest('no user xattrs here')
        self.differs('xattrs')

    def test_filled_holes_are_seen_when_asked_for(self):
        path = os.path.join(self.b, 'sparse1')
        times, content = os.stat(path), read_file(path)
        with open(path, 'r+b') as file:
            file.write(content)
        os.utime(path, ns=(0, times.st_mtime_ns))
        self.assertEqual(compare_trees(self.a, self.b), [])
        self.assertEqual(len(compare_trees(self.a, self.b, sparse=True)), 1)

    def test_a_broken_hard_link_is_seen(self):
        path = sorted(link_groups(walk(self.b)))[0]
        temporary = self.work.join('temporary')
        self.work.run('cp', '-a', os.path.join(self.b, path), temporary)
        parent = os.stat(os.path.dirname(os.path.join(self.b, path)))
        os.rename(temporary, os.path.join(self.b, path))
        os.utime(os.path.dirname(os.path.join(self.b, path)), ns=(0, parent.st_mtime_ns))
        self.assertIn('hard links', '\n'.join(compare_trees(self.a, self.b)))


class Bounded(unittest.TestCase):
    def test_gives_results_and_exceptions(self):
        self.assertEqual(bounded(5, lambda: 3), 3)
        with self.assertRaises(FileNotFoundError):
            bounded(5, os.stat, '/nonexistent')

    def test_ends_what_does_not_return(self):
        start = time.monotonic()
        with self.assertRaises(TimedOut):
            bounded(0.2, time.sleep, 60)
        self.assertLess(time.monotonic() - start, 5 * harness.SCALE)

    def test_background_job_reports_failure(self):
        with self.assertRaises(AssertionError):
            Background(os.stat, '/nonexistent').join()


class Devices(WithWork):
    def test_power_cut_loses_what_was_not_synced(self):
        for kind in ('ext4', 'xfs'):
            disk = LoopFs(self.work, kind, name='disk-' + kind)
            with open(os.path.join(disk.data, 'kept'), 'wb', buffering=0) as file:
                file.write(b'1')
                os.fsync(file.fileno())
            with open(os.path.join(disk.data, 'lost'), 'wb') as file:
                file.write(b'2')
            disk.shutdown()
            disk.remount()
            self.assertEqual(read_file(os.path.join(disk.data, 'kept')), b'1')
            self.assertFalse(os.path.exists(os.path.join(disk.data, 'lost')))

    def fault(self):
        fault = FaultFs(self.work, self.work.dir('backing'))
        return fault, os.path.join(fault.path, 'file')

    def test_faultfs_passes_a_tree_through_unchanged(self):
        fault, _ = self.fault()
        tree = os.path.join(fault.path, 'tree')
        mixed_tree(tree, random.Random(2), files=20, largest=1 << 20, special=True)
        self.assertEqual(compare_trees(os.path.join(fault.backing, 'tree'), tree, sparse=True), [])
        self.assertGreater(fault.counts()['write'], 20)

    def test_faultfs_fails_the_second_write_of_one_path(self):
        fault, path = self.fault()
        fault.rules('write fail=ENOSPC after=1 count=1 path=f*')
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        self.assertEqual(os.write(descriptor, b'abc'), 3)
        with self.assertRaises(OSError):
            os.write(descriptor, b'abc')
        self.assertEqual(os.write(descriptor, b'abc'), 3)

    def test_faultfs_flips_and_shortens_reads(self):
        fault, path = self.fault()
        with open(path, 'wb') as file:
            file.write(b'abcdef')
        fault.rules('read flip')
        self.assertEqual(read_file(path), b'abceef')
        fault.rules('read short')
        self.assertEqual(read_file(path, 100), b'abc')

    def test_faultfs_hangs_until_the_rule_is_gone(self):
        fault, path = self.fault()
        with open(path, 'wb') as file:
            file.write(b'abc')
        fault.rules('any hang')
        job = Background(read_file, path)
        with self.assertRaises(TimedOut):
            eventually(lambda: not job.running(), 0.5)
        fault.rules('')
        job.join()

    def test_a_stopped_faultfs_hangs_and_a_dead_one_fails(self):
        fault, path = self.fault()
        fault.stop()
        with self.assertRaises(TimedOut):
            bounded(0.5, os.stat, path)
        fault.cont()
        with self.assertRaises(FileNotFoundError):
            bounded(5, os.stat, path)
        fault.kill()
        with self.assertRaises(OSError):
            bounded(5, os.stat, path)


if __name__ == '__main__':
    unittest.main()
