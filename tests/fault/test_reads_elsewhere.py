"""Reads that a target does not answer, or answers with too little: the bytes come from elsewhere, soon."""
import glob
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'mount'))

from harness import SCALE, MiB, bounded, eventually, read_file, timeout    # noqa: E402
from test_faults_read import Faulty                                         # noqa: E402

FAR = 600000    # in the first chunk, and behind what the kernel reads ahead


class HungReads(Faulty):
    def copied_chunk(self, *targets):
        """A mount whose targets all have the first chunk of `clip`, `clip1` and `clip2`; returns it, the bytes of `clip`, and the faults under `targets`."""
        content = self.put('clip', 4 * MiB)
        self.put('clip1', 2 * MiB)
        self.put('clip2', 2 * MiB)
        faults = self.faulty_targets(*targets)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M')
        mount.scanned()
        for name in ('clip', 'clip1', 'clip2'):
            bounded(20, read_file, mount.path(name), 10, 0)
        mount.wait(30)
        return mount, content, faults

    def test_a_read_that_hangs_in_a_target_goes_on_in_another_within_seconds(self):
        mount, content, (fault,) = self.copied_chunk(0)
        fault.rules('read hang')
        before = mount.status()['source_copy_bytes']
        self.assertEqual(bounded(10 * SCALE, read_file, mount.path('clip'), 100, FAR), content[FAR:FAR + 100])
        self.assertGreater(fault.counts()['hanging'], 0)
        self.assertEqual(mount.status()['source_copy_bytes'], before)

    @timeout(200)
    def test_a_read_that_hangs_in_all_targets_comes_from_the_source(self):
        mount, content, faults = self.copied_chunk(0, 1, 2)
        for fault in faults:
            fault.rules('read hang')
        self.assertEqual(bounded(20 * SCALE, read_file, mount.path('clip'), 100, FAR), content[FAR:FAR + 100])
        self.assertTrue(all(fault.counts()['hanging'] > 0 for fault in faults))
        for fault in faults:
            fault.rules('')
        mount.do('fill')
        mount.until(lambda status: status['state'] == 'complete', 60, 'the targets to complete')
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    @timeout(200)
    def test_a_target_that_hangs_in_reads_is_behind_then_offline_and_comes_back(self):
        mount, content, (fault,) = self.copied_chunk(0)
        fault.rules('read hang')
        for name in ('clip', 'clip1', 'clip2'):     # more than its device has threads
            bounded(10 * SCALE, read_file, mount.path(name), 100, FAR)
        eventually(lambda: self.states(mount)[0] == 'behind', 20, 'the target to be behind')
        eventually(lambda: self.states(mount)[0] == 'offline', 40, 'the target to be offline')
        fault.rules('')
        eventually(lambda: self.states(mount)[0] in ('behind', 'online'), 20, 'the target to be back')
        mount.do('fill')
        mount.until(lambda status: status['state'] == 'complete', 60, 'the targets to complete')
        self.assertEqual(self.on_targets('clip'), [content] * 3)


class CutFiles(Faulty):
    def test_a_partial_file_that_was_cut_is_repaired_and_its_target_stays_in_service(self):
        content = self.put('clip', 4 * MiB)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M')
        mount.scanned()
        bounded(20, read_file, mount.path('clip'), 10, 0)
        mount.wait(30)
        for target in self.targets:
            partial, = glob.glob(os.path.join(target, '.cvv', 'partial', '*'))
            os.truncate(partial, 1000)
        self.assertEqual(bounded(20, read_file, mount.path('clip'), 100, FAR), content[FAR:FAR + 100])
        self.assertNotIn('failed', self.states(mount))
        mount.do('fill')
        mount.until(lambda status: status['state'] == 'complete', 60, 'the targets to complete')
        self.assertEqual(self.on_targets('clip'), [content] * 3)


class ShortReads(Faulty):
    def test_a_source_that_gives_half_of_some_reads_is_copied_whole(self):
        content = self.put('clip', 3 * MiB + 1)
        fault = self.faulty_source()
        fault.rules('read short count=20')
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M')
        self.assertEqual(bounded(30, read_file, mount.path('clip')), content)
        mount.do('fill')
        self.assertEqual(mount.wait(60), 'complete')
        self.assertEqual(self.on_targets('clip'), [content] * 3)


class SlowTargets(Faulty):
    def test_a_reader_does_not_follow_a_target_that_is_slow_and_never_stops(self):
        size = 48 * MiB
        content = self.put('clip', size)
        faults = self.faulty_targets(0, 1, 2)
        for fault in faults:
            fault.rules('write rate=2500000')    # a block in a fifth of a second
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M', '--memory', '16M')
        start = time.monotonic()
        self.assertTrue(bounded(60, lambda: read_file(mount.path('clip')) == content))
        self.assertLess(time.monotonic() - start, 3 * SCALE)


if __name__ == '__main__':
    unittest.main()
