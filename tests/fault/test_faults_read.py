"""Hung, slow, failing and dying devices under the read side: they cost their own share and nobody else's."""
import os
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'mount'))

from devices import FaultFs                                                                  # noqa: E402
from harness import SCALE, Background, Case, MiB, alive, bounded, eventually, free_threads   # noqa: E402
from harness import mounted, read_file, timeout                                              # noqa: E402


class Faulty(Case):
    def faulty_targets(self, *numbers):
        """Puts a faultfs under these targets (from 0) and returns them."""
        faults = []
        for number in numbers:
            faults.append(FaultFs(self.work, self.targets[number]))
            self.targets[number] = faults[-1].path
        return faults

    def faulty_source(self):
        fault = FaultFs(self.work, self.source)
        self.source = fault.path
        return fault

    def copies(self, name, numbers):
        """The bytes on these targets; does not touch the others, which may hang."""
        paths = [os.path.join(self.targets[number], name) for number in numbers]
        return [read_file(path) if os.path.lexists(path) else None for path in paths]

    def states(self, mount):
        return [target['state'] for target in mount.status()['targets']]


class HungTargets(Faulty):
    def test_with_all_targets_hung_an_unseen_file_reads_right(self):
        content = self.put('clip', 4 * MiB)
        faults = self.faulty_targets(0, 1, 2)
        mount = self.simple('--chunk-size', '1M')
        mount.scanned()
        for fault in faults:
            fault.stop()
        self.assertEqual(bounded(20, read_file, mount.path('clip')), content)
        self.assertEqual(bounded(5, os.listdir, mount.point), ['clip'])
        bounded(5, os.statvfs, mount.point)
        for fault in faults:
            fault.cont()
        mount.do('fill')
        mount.until(lambda status: status['state'] == 'complete', 60, 'the targets to complete')
        self.assertEqual(bounded(20, self.on_targets, 'clip'), [content] * 3)

    def test_hung_in_the_middle_of_writes(self):
        content = self.put('clip', 16 * MiB)
        faults = self.faulty_targets(0, 1, 2)
        for fault in faults:
            fault.rules('write hang after=3')
        mount = self.simple('--chunk-size', '1M')
        self.assertEqual(bounded(30, read_file, mount.path('clip')), content)
        for fault in faults:
            fault.rules('')
        mount.do('fill')
        mount.until(lambda status: status['state'] == 'complete', 60, 'the targets to complete')

    def test_one_hung_target_does_not_stop_the_others(self):
        contents = {'clip%d' % number: self.put('clip%d' % number, 3 * MiB) for number in range(5)}
        fault, = self.faulty_targets(1)
        mount = self.simple('--chunk-size', '1M')
        mount.scanned()
        fault.stop()
        mount.do('fill')
        eventually(lambda: [target['owed_bytes'] for target in mount.status()['targets']][::2] == [0, 0], 60,
                   'the healthy targets')
        for name, content in contents.items():
            self.assertEqual(self.copies(name, [0, 2]), [content] * 2)
        self.assertNotEqual(mount.status()['state'], 'complete')
        mount.until(lambda status: status['targets'][1]['state'] in ('behind', 'failed', 'offline'), 20, 'the hung target to be told')
        fault.cont()
        mount.until(lambda status: status['state'] == 'complete', 60, 'the target that came back')
        self.assertEqual(mount.status()['source_copy_bytes'], 15 * MiB)

    def test_wait_ends_when_only_a_hung_target_is_owed(self):
        self.put('clip', MiB)
        fault, = self.faulty_targets(0)
        mount = self.simple()
        mount.scanned()
        fault.stop()
        mount.do('fill')
        self.assertIn(mount.wait(90), ('degraded', 'failed'))

    def test_the_number_of_threads_does_not_grow_with_work_for_a_hung_target(self):
        for number in range(200):
            self.put('clip%d' % number, 20000)
        fault, = self.faulty_targets(2)
        mount = self.simple()
        mount.scanned()
        bounded(10, read_file, mount.path('clip0'))
        before = free_threads(mount.pid)
        fault.stop()
        for number in range(1, 200):
            bounded(20, read_file, mount.path('clip%d' % number))
        self.assertLessEqual(free_threads(mount.pid), before + 4)

    def test_sigterm_ends_within_five_seconds(self):
        self.put('clip', 8 * MiB)
        fault, = self.faulty_targets(0)
        mount = self.simple('--chunk-size', '1M')
        mount.scanned()
        fault.rules('write hang')
        mount.do('fill')
        eventually(lambda: fault.counts()['hanging'] > 0, 20, 'a write that hangs')
        os.kill(mount.pid, signal.SIGTERM)
        eventually(lambda: mounted(mount.point) is None, 5, 'the end of the mount')

    def test_umount_now_returns_and_says_what_is_owed(self):
        self.put('clip', 8 * MiB)
        fault, = self.faulty_targets(0)
        mount = self.simple('--chunk-size', '1M')
        mount.scanned()
        fault.stop()
        mount.do('fill')
        result = mount.umount('--now', seconds=30, expect=1)
        self.assertIn('t1', result.out + result.err)

    def test_a_hung_target_at_mount_time_does_not_hang_the_mount_for_ever(self):
        content = self.put('clip', MiB)
        fault, = self.faulty_targets(0)
        fault.stop()
        result = self.work.cvv('mount', '-m', 'transfer', '--state', self.work.join('state'), '-t', self.targets[1], '-t',
                               self.targets[0], self.source, self.work.dir('mnt'), seconds=60)
        if result.code == 0:
            self.assertEqual(bounded(20, read_file, self.work.join('mnt', 'clip')), content)
        else:
            self.assertEqual((result.code, len(result.lines())), (1, 1), result)
            self.assertIn(self.targets[0], result.err)


class HungSource(Faulty):
    READS = 1000

    def pending_reads(self, mount, count):
        """A process with so many threads that read different offsets; it fails when a byte is wrong."""
        def read_all():
            threading.stack_size(256 << 10)
            wrong = []

            def read(offset):
                try:
                    if read_file(mount.path('owed'), 100, offset) != self.owed[offset:offset + 100]:
                        wrong.append(offset)
                except OSError as error:
                    wrong.append(error)
            threads = [threading.Thread(target=read, args=(number * (len(self.owed) // count),)) for number in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not wrong, wrong[:5]
        return self.work.start(read_all)

    def hung(self, rules):
        """A mount with one finished file, then a source that hangs, then 1,000 reads; returns all of it."""
        self.done, self.owed = self.put('done', MiB), self.put('owed', 32 * MiB)
        fault = self.faulty_source()
        mount = self.simple('--chunk-size', '1M')
        mount.scanned()
        bounded(10, os.listdir, mount.point)
        self.assertEqual(bounded(20, read_file, mount.path('done')), self.done)
        mount.wait()
        if rules is None:
            fault.stop()
        else:
            fault.rules(rules)
        few = self.pending_reads(mount, 20)
        time.sleep(1)
        threads = free_threads(mount.pid)
        many = self.pending_reads(mount, self.READS)
        time.sleep(2)
        self.assertTrue(many.running())
        return fault, mount, (few, many), threads

    @timeout(240)
    def test_reads_that_hang_leave_everything_else_answering(self):
        fault, mount, jobs, threads = self.hung('read hang')
        self.assertEqual(sorted(bounded(10, os.listdir, mount.point)), ['done', 'owed'])
        self.assertEqual(bounded(10, read_file, mount.path('done')), self.done)
        self.assertEqual(mount.status()['files']['copied'], 1)
        bounded(10, os.statvfs, mount.point)
        self.assertLessEqual(free_threads(mount.pid), threads)
        fault.rules('')
        for job in jobs:
            job.join(60)

    @timeout(240)
    def test_a_source_that_answers_nothing_leaves_everything_else_answering(self):
        fault, mount, jobs, threads = self.hung(None)
        self.assertEqual(bounded(20, os.listdir, mount.point) and bounded(20, read_file, mount.path('done')), self.done)
        self.assertEqual(mount.status()['files']['copied'], 1)
        bounded(10, os.statvfs, mount.point)
        self.assertLessEqual(free_threads(mount.pid), threads + 2)
        fault.cont()
        for job in jobs:
            job.kill()

    def test_a_pending_reader_can_be_killed(self):
        self.put('owed', MiB)
        fault = self.faulty_source()
        mount = self.simple()
        mount.scanned()
        fault.rules('read hang')
        job = Background(read_file, mount.path('owed'))
        time.sleep(0.5)
        os.kill(job.pid, signal.SIGKILL)
        eventually(lambda: not job.running(), 3, 'the reader to die')
        self.assertTrue(alive(mount.pid))


class SlowTarget(Faulty):
    @timeout(200)
    def test_the_fast_targets_are_complete_while_it_is_behind(self):
        size = 24 * MiB
        content = self.put('clip', size)
        fault, = self.faulty_targets(1)
        fault.rules('write rate=1048576')
        mount = self.simple('--chunk-size', '1M')
        start = time.monotonic()
        self.assertEqual(bounded(10, read_file, mount.path('clip')), content)
        mount.do('fill')
        eventually(lambda: [target['owed_bytes'] for target in mount.status()['targets']][::2] == [0, 0], 12 * SCALE,
                   'the fast targets')
        self.assertLess(time.monotonic() - start, 15 * SCALE)
        self.assertEqual(self.copies('clip', [0, 2]), [content] * 2)
        slow = mount.status()['targets'][1]
        self.assertGreater(slow['owed_bytes'], 0)
        self.assertEqual(mount.wait(120), 'complete')
        self.assertEqual(mount.status()['source_copy_bytes'], size)
        self.assertEqual(self.copies('clip', [1]), [content])


class FailingTargets(Faulty):
    def recovers(self, rules, chunk='1M'):
        """A target that fails so, beside healthy ones; after the fault is gone and `retry` it is complete."""
        content = self.put('clip', 6 * MiB)
        self.put('small', 100)
        fault, = self.faulty_targets(1)
        mount = self.simple('--chunk-size', chunk)
        mount.scanned()
        fault.rules(rules)
        self.assertEqual(bounded(20, read_file, mount.path('clip')), content)
        mount.do('fill')
        mount.wait(60)
        self.assertEqual(self.copies('clip', [0, 2]), [content] * 2)
        self.assertNotEqual(mount.status()['state'], 'complete')
        self.assertIn(self.targets[1], mount.read_control('errors'))
        self.assertGreater(mount.status()['targets'][1]['errors'], 0)
        shown = mount.file('clip')['targets'][1]['map']
        fault.rules('')
        mount.do('retry')
        mount.until(lambda status: status['state'] == 'complete', 60, 'the target to recover')
        self.assertEqual(self.on_targets('clip'), [content] * 3)
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)
        return shown

    def test_writes_that_fail(self):
        self.assertEqual(self.recovers('write fail=EIO'), [])

    def test_a_full_target(self):
        self.recovers('write fail=ENOSPC after=2')

    def test_space_that_runs_out_at_fsync_marks_nothing(self):
        shown = self.recovers('fsync fail=ENOSPC')
        self.assertNotIn('present', str(shown))

    def test_a_failed_sync_followed_by_good_ones(self):
        """The data of the failed sync is lacking, whatever later syncs say."""
        content = self.put('clip', 6 * MiB)
        fault, = self.faulty_targets(1)
        mount = self.simple('--chunk-size', '1M')
        mount.scanned()
        fault.rules('fsync fail=EIO count=1')
        mount.do('fill')
        mount.wait(60)
        mount.do('retry')
        mount.until(lambda status: status['state'] == 'complete', 60, 'the target to recover')
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    def test_renames_that_fail(self):
        self.recovers('rename fail=EIO')

    def test_creation_that_fails(self):
        self.recovers('create fail=EACCES')

    def test_short_writes_change_nothing(self):
        content = self.put('clip', 3 * MiB + 1)
        fault, = self.faulty_targets(1)
        fault.rules('write short')
        mount = self.simple('--chunk-size', '1M')
        mount.fill()
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    def test_a_dead_target_does_not_stop_the_others(self):
        content = self.put('clip', 4 * MiB)
        fault, = self.faulty_targets(1)
        mount = self.simple('--chunk-size', '1M')
        mount.scanned()
        fault.kill()
        self.assertEqual(bounded(20, read_file, mount.path('clip')), content)
        mount.do('fill')
        self.assertIn(mount.wait(60), ('degraded', 'failed'))
        self.assertEqual(self.copies('clip', [0, 2]), [content] * 2)
        self.assertIn(self.states(mount)[1], ('offline', 'failed'))

    def test_a_finished_file_is_served_from_another_target(self):
        content = self.put('clip', 2 * MiB)
        fault, = self.faulty_targets(0)
        mount = self.simple()
        mount.fill()
        fault.kill()
        self.assertEqual(bounded(20, read_file, mount.path('clip')), content)


class FailingSource(Faulty):
    def test_a_file_that_cannot_be_read_fails_and_the_rest_goes_on(self):
        bad, good = self.put('bad', 2 * MiB), self.put('good', 2 * MiB)
        fault = self.faulty_source()
        fault.rules('read fail=EIO path=bad')
        mount = self.simple('--chunk-size', '1M')
        mount.do('fill')
        mount.wait(60)
        self.assertEqual(self.on_targets('good'), [good] * 3)
        self.assertEqual(self.on_targets('bad'), [None] * 3)
        self.assertFails(5, read_file, mount.path('bad'))
        self.assertEqual(mount.xattr('bad', 'state'), 'failed')
        self.assertIn('bad', mount.read_control('errors'))
        fault.rules('')
        mount.do('retry')
        mount.do('fill')
        mount.until(lambda status: status['state'] == 'complete', 30, 'the file that can be read again')
        self.assertEqual(self.on_targets('bad'), [bad] * 3)

    def test_short_reads_are_completed_or_reported_never_padded(self):
        content = self.put('clip', 3 * MiB + 1)
        fault = self.faulty_source()
        fault.rules('read short')
        mount = self.simple('--chunk-size', '1M')
        mount.do('fill')
        mount.wait(60)
        for found in self.on_targets('clip'):
            self.assertIn(found, (None, content))

    def test_a_source_that_dies_and_its_copies(self):
        done = self.put('done', MiB)
        self.put('owed', MiB)
        fault = self.faulty_source()
        mount = self.simple()
        mount.scanned()
        bounded(20, read_file, mount.path('done'))
        mount.wait()
        fault.kill()
        self.assertEqual(bounded(20, read_file, mount.path('done')), done)
        self.assertFails(5, read_file, mount.path('owed'))


if __name__ == '__main__':
    unittest.main()
