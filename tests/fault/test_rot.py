"""Copies that rot on the medium while the page cache still shows the right bytes, and devices that read back something else: mode full finds
it, repairs it and says so; what cannot be verified is never called verified; mode transfer does not claim to have looked."""
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'mount'))

from copies import CopyCase                                                         # noqa: E402
from devices import FaultFs, LoopFs                                                 # noqa: E402
from harness import Case, MiB, read_file                                            # noqa: E402

SIZE = 3 * MiB + 5


class Rot:
    """Target 2 lies on an ext4 filesystem in an image, where bytes are flipped under a clean, cached page."""

    def setUp(self):
        super().setUp()
        self.disk = LoopFs(self.work, 'ext4', 64 * MiB)
        self.targets[1] = self.disk.data
        self.content = self.put('clip', SIZE)
        self.other = self.put('d/other', 70000)

    def rot(self, offset, name='clip'):
        path = os.path.join(self.disk.data, name)
        content = read_file(os.path.join(self.source, name))
        self.assertEqual(read_file(path), content)
        self.disk.rot(path, offset)
        self.assertEqual(read_file(path), content, 'the page is not in the cache')
        self.assertNotEqual(self.on_medium(name), content)

    def on_medium(self, name='clip'):
        """What the image has of the file, past the page cache of its filesystem."""
        path, found = os.path.join(self.disk.data, name), b''
        with open(self.disk.image, 'rb', buffering=0) as image:
            while len(found) < os.stat(path).st_size:
                found += os.pread(image.fileno(), 4096, self.disk.address(path, len(found)))
        return found[:os.stat(path).st_size]

    def assertMended(self):
        self.assertEqual((self.on_medium(), self.on_medium('d/other')), (self.content, self.other))
        self.disk.remount()
        self.assertEqual(self.on_targets('clip'), [self.content] * 3)


class RotOfACopy(Rot, CopyCase):
    def assertSaid(self, result, *names):
        for name in names:
            self.assertRegex(result.out, r'(?m)^repaired %s: target 2 \(%s\): ' % (name, re.escape(self.disk.data)))
        self.assertEqual(result.out.count('repaired '), len(names), result)
        self.assertRegex(result.out, r'(?m)^target 2 %s: online, .* nothing owed, \d+ errors?; last error: .*read back' % re.escape(self.disk.data))
        self.assertRegex(result.out, r'; verified 2 on 3 targets \((direct|memory|dropped-cache)(, (direct|memory|dropped-cache))*\)\n')

    def test_full_finds_it_repairs_it_and_says_so(self):
        for offset in 0, MiB + 4096, SIZE - 1:
            with self.subTest(offset=offset):
                self.copy()
                self.rot(offset)
                self.assertSaid(self.copy('--mode', 'full'), 'clip')
                self.assertMended()
                for name in 'clip', 'd/other':      # so that the next round verifies anew
                    os.utime(os.path.join(self.source, name), ns=(0, os.stat(os.path.join(self.source, name)).st_mtime_ns + 10**9))

    def test_two_files_of_one_target(self):
        self.copy()
        self.rot(5)
        self.rot(69999, 'd/other')
        self.assertSaid(self.copy('--mode', 'full'), 'clip', 'd/other')
        self.assertMended()

    def test_it_is_found_when_the_state_is_lost_and_the_file_is_kept_as_a_conflict(self):
        self.copy()
        self.rot(MiB)
        result = self.copy('--mode', 'full', '--state', self.work.join('another'), code=1)
        self.assertRegex(result.out, r'(?m)^conflict clip: ')
        self.assertIn('verified 1 on 3 targets', result.out)
        self.assertNotEqual(self.on_medium(), self.content)

    def test_transfer_does_not_claim_to_have_looked(self):
        self.copy()
        self.rot(MiB)
        result = self.copy()
        self.assertIn('; verified 0 on 3 targets (mode transfer)\n', result.out)
        self.assertNotIn('repaired', result.out)
        self.assertRegex(result.out, r'(?m)^target 2 .*, nothing owed$')
        self.assertNotEqual(self.on_medium(), self.content)

    def test_source_does_not_claim_to_have_looked(self):
        self.copy()
        self.rot(MiB)
        result = self.copy('--mode', 'source')
        self.assertIn('; verified 0 on 3 targets (mode source)\n', result.out)


class RotUnderAMount(Rot, Case):
    def assertSaid(self, mount):
        self.assertRegex(mount.read_control('errors'), r'(?m)^clip: target 2 \(%s\): it did not read back as it was written; it was copied again once, '
                         'and is good now$' % re.escape(self.disk.data))
        events = mount.work.start(follow, mount.path('.cvv/events'), self.work.join('events'))
        mount.until(lambda status: os.path.exists(self.work.join('events')) and b'"repaired"' in read_file(self.work.join('events')),
                    20, 'the event of the repair')
        events.kill()
        lines = read_file(self.work.join('events')).splitlines()
        self.assertTrue(any(b'"mismatch"' in line and b'"clip"' in line for line in lines), lines)
        target = mount.status()['targets'][1]
        self.assertGreater(target['errors'], 0)
        self.assertIn('read back', target['last_error'])

    def test_a_mount_in_mode_full_finds_it(self):
        mount = self.simple('--fill', 'all')
        mount.wait()
        mount.umount()
        self.rot(MiB)
        mount = self.simple('-o', 'mode=full', mode=False)
        mount.do('fill')
        self.assertEqual(mount.wait(), 'complete', mount.read_control('errors'))
        self.assertSaid(mount)
        self.assertEqual(mount.xattr('clip', 'state'), 'verified')
        mount.umount()
        self.assertMended()

    def test_verify_of_its_path_finds_it_in_mode_transfer(self):
        mount = self.simple('--fill', 'all')
        self.assertEqual(mount.wait(), 'complete')
        self.rot(MiB)
        self.assertEqual(mount.xattr('clip', 'state'), 'copied')
        mount.do('verify', 'clip')
        self.assertEqual(mount.wait(), 'complete', mount.read_control('errors'))
        self.assertSaid(mount)
        self.assertEqual((mount.xattr('clip', 'state'), mount.xattr('d/other', 'state')), ('verified', 'copied'))
        mount.umount()
        self.assertMended()

    def test_verify_finds_what_was_verified_before(self):
        mount = self.simple('--fill', 'all', mode='full')
        self.assertEqual(mount.wait(), 'complete')
        self.assertEqual(mount.xattr('clip', 'state'), 'verified')
        self.rot(SIZE - 1)
        mount.do('verify', 'clip')
        self.assertEqual(mount.wait(), 'complete', mount.read_control('errors'))
        self.assertSaid(mount)
        mount.umount()
        self.assertMended()


def follow(source, copy):
    with open(source, 'rb', buffering=0) as events, open(copy, 'wb', buffering=0) as out:
        for text in iter(lambda: events.read(65536), b''):
            out.write(text)


class Unverified(CopyCase):
    """What is copied and cannot be verified: exit 1, and a line for it."""

    def setUp(self):
        super().setUp()
        self.content = self.put('clip', 2 * MiB)
        self.other = self.put('other', 1000)

    def faulty(self, directory):
        return FaultFs(self.work, directory)

    def test_a_target_that_reads_back_other_bytes_for_ever_is_given_up(self):
        fault = self.faulty(self.targets[1])
        self.targets[1] = fault.path
        fault.rules('read flip path=.cvv/partial/*')
        result = self.copy('--mode', 'full', code=1)
        self.assertRegex(result.out, r'(?m)^failed clip: ')
        self.assertIn('; verified 0 on 3 targets', result.out)
        self.assertFalse(os.path.lexists(os.path.join(self.targets[1], 'clip')))
        self.assertEqual([self.on_targets('clip')[n] for n in (0, 2)], [self.content] * 2)
        fault.rules('')
        self.assertIn('; verified 2 on 3 targets', self.copy('--mode', 'full').out)
        self.assertEqual(self.on_targets('clip'), [self.content] * 3)

    def test_a_target_that_reads_back_other_bytes_once_is_repaired_before_the_name_is_given(self):
        fault = self.faulty(self.targets[1])
        self.targets[1] = fault.path
        fault.rules('read flip count=1 path=.cvv/partial/*')
        result = self.copy('--mode', 'full')
        self.assertRegex(result.out, r'(?m)^repaired (clip|other): target 2 \(%s\): ' % re.escape(fault.path))
        self.assertIn('; verified 2 on 3 targets', result.out)
        self.assertEqual(self.on_targets('clip'), [self.content] * 3)

    def test_a_copy_whose_source_gives_other_bytes_at_the_second_reading_is_not_done(self):
        fault = self.faulty(self.source)
        real, self.source = self.source, fault.path
        self.copy()
        fault.rules('read flip path=clip')
        result = self.copy('--mode', 'full', code=1)
        self.assertRegex(result.out, r'(?m)^(unverified|missing|failed) clip: .')
        self.assertIn('; verified 1 on 3 targets', result.out)
        for target in self.targets:     # never a mix: what has the name is what was copied first
            self.assertEqual(read_file(os.path.join(target, 'clip')), self.content)
        fault.rules('')
        self.copy('--mode', 'full')
        self.source = real
        self.assertCopied()

    def test_a_source_that_rotted_since_the_first_copy_gives_nothing_to_further_targets(self):
        """Nobody can say which is right; the copies that are there are kept, and it comes to an end."""
        fault = self.faulty(self.source)
        self.source = fault.path
        self.copy('--mode', 'full', targets=self.targets[:2])
        fault.rules('read flip path=clip')
        for mode in 'transfer', 'full':
            with self.subTest(mode=mode):
                result = self.copy('--mode', mode, targets=self.targets[2:], code=1)
                self.assertRegex(result.out, r'(?m)^missing clip: .')
                self.assertEqual(self.on_targets('clip'), [self.content] * 2 + [None])
                self.assertEqual(self.on_targets('other'), [self.other] * 3)
        fault.rules('')
        self.copy('--mode', 'full', targets=self.targets[2:])
        self.assertEqual(self.on_targets('clip'), [self.content] * 3)

    def test_a_copy_whose_source_cannot_be_read_again_is_not_done(self):
        fault = self.faulty(self.source)
        self.source = fault.path
        self.copy()
        fault.rules('read fail=EIO path=clip')
        for mode in 'source', 'full':
            with self.subTest(mode=mode):
                result = self.copy('--mode', mode, code=1)
                self.assertRegex(result.out, r'(?m)^unverified clip: .')
                self.assertIn('1 file is copied and not verified', result.err)
        self.copy()     # mode transfer asks for nothing more
        fault.rules('')
        self.assertIn('; verified 2 on 3 targets', self.copy('--mode', 'full').out)

    def copied_through_faults(self):
        fault = self.faulty(self.targets[1])
        self.targets[1] = fault.path
        self.copy()
        return fault

    def test_a_copy_that_cannot_be_read_back_is_copied_again(self):
        fault = self.copied_through_faults()
        fault.rules('read fail=EIO path=clip')
        result = self.copy('--mode', 'full')
        self.assertRegex(result.out, r'(?m)^repaired clip: target 2 ')
        self.assertIn('; verified 2 on 3 targets', result.out)

    def test_copies_that_can_never_be_read_back_are_not_done(self):
        fault = self.copied_through_faults()
        fault.rules('read fail=EIO')
        result = self.copy('--mode', 'full', code=1)
        self.assertIn('; verified 0 on 3 targets', result.out)
        fault.rules('')
        self.assertIn('; verified 2 on 3 targets', self.copy('--mode', 'full').out)
        self.assertEqual((self.on_targets('clip'), self.on_targets('other')), ([self.content] * 3, [self.other] * 3))

    def there_before(self):
        for target in self.targets:
            path = self.work.file(self.content, target, 'clip')
            os.utime(path, ns=(os.stat(os.path.join(self.source, 'clip')).st_mtime_ns,) * 2)

    def test_what_is_skipped_as_asked_is_done_and_not_called_verified(self):
        self.there_before()
        result = self.copy('--mode', 'full', '--existing', 'skip')
        self.assertRegex(result.out, r'(?m)^skipped clip: ')
        self.assertIn('; verified 1 on 3 targets', result.out)

    def test_what_was_taken_as_equal_in_mode_transfer_is_compared_in_mode_full(self):
        self.there_before()
        self.assertRegex(self.copy().out, r'(?m)^skipped clip: ')
        with open(os.path.join(self.targets[2], 'clip'), 'r+b') as file:
            stat = os.stat(file.fileno())
            file.seek(MiB)
            file.write(b'other')
            file.flush()
            os.utime(file.fileno(), ns=(stat.st_atime_ns, stat.st_mtime_ns))
        result = self.copy('--mode', 'full', code=1)
        self.assertRegex(result.out, r'(?m)^conflict clip: ')
        self.assertIn('; verified 1 on 3 targets', result.out)
        self.assertNotEqual(self.on_targets('clip')[2], self.content)


if __name__ == '__main__':
    unittest.main()
