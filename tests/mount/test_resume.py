"""Going on after an end: clean, killed, interrupted; with a lost state, other targets, another order."""
import json
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

from harness import (SCALE, Case, MiB, alive, bounded, cvv, detach, eventually, mounted, need_root, random_bytes,
                     read_file, seed, timeout)
from trees import mixed_tree, write_random


class AfterAnEnd(Case):
    def half(self, *options):
        """A mount that has the first half of an 8 MiB file."""
        self.content = self.put('clip', 8 * MiB)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M', *options)
        bounded(20, read_file, mount.path('clip'), 4 * MiB)
        mount.wait()
        return mount

    def finish(self, mount, at_most):
        """Fills the rest, which may cost so many bytes of source reads."""
        mount.fill()
        self.assertLessEqual(mount.status()['source_copy_bytes'], at_most)
        self.assertEqual(bounded(20, read_file, mount.path('clip')), self.content)
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)

    def test_after_umount_nothing_is_copied_again(self):
        mount = self.half()
        mount.umount(expect=1)
        mount.start()
        self.assertEqual(mount.xattr('clip', 'state'), 'partial')
        self.finish(mount, 4 * MiB)

    def test_after_a_kill_what_was_checkpointed_is_not_copied_again(self):
        mount = self.half()
        mount.do('checkpoint')
        mount.kill9()
        mount.start()
        self.finish(mount, 4 * MiB)

    def test_a_checkpoint_comes_by_itself_within_its_interval(self):
        mount = self.half()
        eventually(lambda: all(target['map'] == [[0, 4, 'present']] for target in mount.file('clip')['targets']), 10)
        mount.kill9()
        mount.start()
        self.finish(mount, 4 * MiB)

    def test_after_a_kill_without_checkpoint_all_is_right(self):
        mount = self.half()
        mount.kill9()
        mount.start()
        self.finish(mount, 8 * MiB)

    def test_what_was_queued_stays_queued(self):
        self.content = self.put('clip', 32 * MiB)
        for end in ('umount', 'kill9'):
            mount = self.simple('--limit', '1M', '--chunk-size', '1M')
            mount.scanned()
            mount.do('fill')
            if end == 'umount':
                mount.umount('--now', expect=1)
            else:
                mount.do('checkpoint')
                mount.kill9()
        mount = self.simple('--chunk-size', '1M')
        self.assertEqual(mount.wait(), 'complete')
        self.assertEqual(self.on_targets('clip'), [self.content] * 3)

    def test_another_chunk_size_at_the_next_mount_keeps_the_old_one(self):
        mount = self.half()
        mount.umount(expect=1)
        mount.options = ['--chunk-size', '4M']
        result = self.work.cvv(*mount.command())
        if result.code == 0:
            self.addCleanup(detach, mount.point, True)
            self.assertEqual(mount.file('clip')['chunk_size'], MiB)
        else:
            self.assertEqual(len(result.lines()), 1, result)

    def test_a_finished_job_mounts_again_and_costs_nothing(self):
        mixed_tree(self.source, seed(), files=30, largest=MiB)
        mount = self.simple()
        mount.fill()
        mount.umount()
        mount.start()
        mount.fill()
        self.assertEqual(mount.status()['source_copy_bytes'], 0)
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)

    def test_new_files_of_the_source_are_found_at_the_next_mount(self):
        self.put('old', MiB)
        mount = self.simple()
        mount.fill()
        mount.umount()
        content = self.put('new', 2 * MiB)
        mount.start()
        mount.fill()
        self.assertEqual(mount.status()['source_copy_bytes'], 2 * MiB)
        self.assertEqual(self.on_targets('new'), [content] * 3)

    def test_a_changed_source_file_that_was_half_here_is_not_mixed(self):
        mount = self.half()
        mount.umount(expect=1)
        new = random_bytes(random.Random(7), 8 * MiB)
        self.put('clip', new)
        mount.start()
        self.assertEqual(bounded(20, read_file, mount.path('clip')), new)
        mount.fill()
        self.assertEqual(self.on_targets('clip'), [new] * 3)

    def test_a_lost_state_costs_a_comparison(self):
        self.put('whole', 4 * MiB)
        mount = self.half()
        bounded(20, read_file, mount.path('whole'))
        mount.do('fill', 'whole')
        mount.wait()
        mount.umount(expect=1)
        shutil.rmtree(self.work.join('state'))
        mount.start()
        self.finish(mount, 8 * MiB)

    def test_a_lost_state_never_replaces_a_file_that_differs(self):
        self.put('clip', MiB)
        mount = self.simple()
        mount.fill()
        mount.umount()
        shutil.rmtree(self.work.join('state'))
        self.work.file(b'edited', 't1/clip')
        mount.start()
        mount.do('fill')
        mount.wait()
        self.assertEqual(self.on_targets('clip')[0], b'edited')
        self.assertEqual(mount.xattr('clip', 'state'), 'conflict')

    def test_a_published_file_changed_outside_is_a_conflict(self):
        self.put('clip', MiB)
        self.put('other', MiB)
        mount = self.simple()
        mount.do('fill', 'clip')
        mount.wait()
        mount.umount(expect=1)
        self.work.file(b'edited', 't1/clip')
        mount.start()
        mount.do('fill')
        mount.wait()
        self.assertEqual(self.on_targets('clip')[0], b'edited')
        self.assertEqual(mount.status()['files']['conflict'], 1)

    @timeout(200)
    def test_marks_of_a_removed_copy_are_not_inherited_by_the_next_one(self):
        self.content = self.put('clip', 160 * MiB)
        options = ('--fill', 'all', '--chunk-size', '1M')
        mount = self.simple(*options)
        self.assertEqual(mount.wait(60), 'complete')
        mount.umount()
        for target in self.targets:
            os.unlink(os.path.join(target, 'clip'))
        mount = self.mount(self.source, self.targets, None, *options, '--limit', '40M')
        eventually(lambda: mount.status()['source_copy_bytes'] > 20 * MiB, 30)
        mount.kill9()
        mount = self.mount(self.source, self.targets, None, *options)
        self.assertEqual(mount.wait(60), 'complete')
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)

    def test_a_state_that_was_cut_after_a_clean_end_is_set_aside(self):
        self.content = self.put('clip', MiB)
        for number in range(300):
            self.put('file %d' % number, 10)
        mount = self.simple('--fill', 'all')
        self.assertEqual(mount.wait(60), 'complete')
        mount.umount()
        os.truncate(self.work.join('state', 'data.mdb'), 8192)
        mount = self.simple('--fill', 'all')
        self.assertEqual(mount.wait(60), 'complete')
        self.assertEqual(mount.status()['source_copy_bytes'], 0)
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)

    def test_a_link_made_later_is_a_link_on_the_targets(self):
        self.put('m', MiB)
        mount = self.simple('--fill', 'all')
        self.assertEqual(mount.wait(60), 'complete')
        mount.umount()
        for name in ('a', 'z'):
            os.link(os.path.join(self.source, 'm'), os.path.join(self.source, name))
        mount = self.simple('--fill', 'all')
        self.assertEqual(mount.wait(60), 'complete')
        self.assertEqual(mount.status()['source_copy_bytes'], 0)
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)

    def test_a_changed_file_of_two_names_is_changed_under_both(self):
        self.put('clip', MiB)
        os.link(os.path.join(self.source, 'clip'), os.path.join(self.source, 'second'))
        mount = self.simple('--fill', 'all')
        self.assertEqual(mount.wait(60), 'complete')
        mount.umount()
        with open(os.path.join(self.source, 'clip'), 'r+b') as clip:
            clip.write(b'changed in place')
        mount = self.simple('--fill', 'all')
        self.assertEqual(mount.wait(60), 'complete')
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)

    def test_a_stale_mount_point_is_cleared_by_the_next_mount(self):
        mount = self.half()
        mount.kill9(leave_stale=True)
        with self.assertRaises(OSError):
            os.listdir(mount.point)
        mount.start()
        self.finish(mount, 8 * MiB)
        self.assertIsNone(mounted(mount.point))


class OtherTargets(Case):
    def begin(self, targets, state=False):
        self.content = self.put('clip', 4 * MiB)
        mount = self.mount(self.source, targets, state=state)
        mount.fill()
        mount.umount()
        return mount

    def again(self, targets, source=None):
        mount = self.mount(source or self.source, targets, state=False)
        mount.fill()
        return mount

    def setUp(self):
        super().setUp()
        if os.geteuid() == 0:       # root's states lie in /var/lib/cvv: give this test one of its own
            if not os.path.isdir('/var/lib/cvv'):
                os.mkdir('/var/lib/cvv')
                self.addCleanup(os.rmdir, '/var/lib/cvv')
            self.assertEqual(self.work.run('mount', '--bind', self.work.dir('var-lib-cvv'), '/var/lib/cvv').code, 0)
            self.addCleanup(detach, '/var/lib/cvv')

    def states(self):
        found = []
        for base in ('xdg', 'var-lib-cvv'):
            for path, _, names in os.walk(self.work.join(base)):
                found += [path for name in names if name == 'data.mdb']
        return found

    def test_the_state_is_found_in_another_order(self):
        self.begin(self.targets)
        mount = self.again(self.targets[::-1])
        self.assertEqual(mount.status()['source_copy_bytes'], 0)
        self.assertEqual(len(self.states()), 1)

    def test_a_new_target_is_filled_from_a_target_not_from_the_source(self):
        self.begin(self.targets[:2])
        mount = self.again(self.targets)
        self.assertEqual(mount.status()['source_copy_bytes'], 0)
        self.assertEqual(self.on_targets('clip'), [self.content] * 3)
        self.assertEqual(len(self.states()), 1)

    def test_with_fewer_targets(self):
        self.begin(self.targets)
        mount = self.again(self.targets[1:2])
        self.assertEqual(mount.status()['source_copy_bytes'], 0)
        self.assertEqual([target['path'] for target in mount.status()['targets']], self.targets[1:2])

    def test_half_copied_and_other_targets(self):
        self.content = self.put('clip', 8 * MiB)
        mount = self.mount(self.source, self.targets[:2], None, '--fill', 'chunk', '--chunk-size', '1M', state=False)
        bounded(20, read_file, mount.path('clip'), 4 * MiB)
        mount.wait()
        mount.umount(expect=1)
        mount = self.mount(self.source, [self.targets[2], self.targets[0]], None, '--chunk-size', '1M', state=False)
        mount.fill()
        self.assertLessEqual(mount.status()['source_copy_bytes'], 4 * MiB)
        self.assertEqual([self.on_targets('clip')[index] for index in (0, 2)], [self.content] * 2)

    def test_another_source_at_the_same_path_gets_a_state_of_its_own(self):
        need_root()
        for number in (1, 2):
            self.assertEqual(self.work.run('mount', '-t', 'tmpfs', 'tmpfs', self.source).code, 0)
            content = self.put('clip %d' % number, MiB)
            mount = self.again([self.targets[number]])
            self.assertEqual(self.on_targets('clip %d' % number)[number], content)
            mount.umount()
            detach(self.source)
        self.assertEqual(len(self.states()), 2)

    def test_a_target_that_moved_to_another_path_is_known_again(self):
        self.begin(self.targets)
        moved = self.work.join('moved')
        os.rename(self.targets[0], moved)
        mount = self.again([moved, *self.targets[1:]])
        self.assertEqual(mount.status()['source_copy_bytes'], 0)
        self.assertEqual(len(self.states()), 1)

    def test_a_target_whose_filesystem_is_not_mounted_is_offline_and_not_filled(self):
        need_root()
        self.assertEqual(self.work.run('mount', '-t', 'tmpfs', 'tmpfs', self.targets[0]).code, 0)
        self.content = self.put('clip', 8 * MiB)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M')
        bounded(20, read_file, mount.path('clip'), MiB)
        mount.wait()
        mount.umount(expect=1)
        detach(self.targets[0])
        result = self.work.cvv(*mount.command())
        if result.code == 0:
            self.addCleanup(detach, mount.point, True)
            mount.do('fill')
            mount.wait()
            self.assertEqual(mount.status()['targets'][0]['state'], 'offline')
        self.assertEqual(os.listdir(self.targets[0]), [])


class Signals(Case):
    def foreground(self, *options):
        point = self.work.dir('mnt')
        words = [cvv(), 'mount', '-f', '-m', 'transfer', '--state', self.work.join('state'), *options]
        for target in self.targets:
            words += ['-t', target]
        self.stderr = open(self.work.join('stderr'), 'wb')
        self.addCleanup(self.stderr.close)
        child = subprocess.Popen([*words, self.source, point], stdin=subprocess.DEVNULL, stdout=self.stderr,
                                 stderr=self.stderr, env=self.work.env)
        self.addCleanup(lambda: (child.kill(), child.wait(10)))
        eventually(lambda: mounted(point) or child.poll() is not None, 20, 'the mount')
        self.assertIsNone(child.poll())
        return child, point

    def ends(self, number, code):
        self.put('clip', 32 * MiB)
        child, point = self.foreground('--limit', '1M', '--fill', 'all', '--chunk-size', '1M')
        json.loads(bounded(10, read_file, os.path.join(point, '.cvv/status.json')))
        start = time.monotonic()
        child.send_signal(number)
        self.assertEqual(child.wait(20 * SCALE), code)
        self.assertLess(time.monotonic() - start, 5 * SCALE)
        self.assertIsNone(mounted(point))
        text = os.fsdecode(read_file(self.work.join('stderr')))
        self.assertIn('cvv', text)          # the line that resumes
        self.assertIn(self.source, text)
        mount = self.simple('--chunk-size', '1M')
        mount.fill()
        self.assertLess(mount.status()['source_copy_bytes'], 32 * MiB + MiB)

    def test_sigint_ends_with_130_and_the_line_that_resumes(self):
        self.ends(signal.SIGINT, 130)

    def test_sigterm_ends_with_143(self):
        self.ends(signal.SIGTERM, 143)

    def test_umount_of_a_foreground_mount_ends_it_with_0_when_complete(self):
        self.put('clip', MiB)
        child, point = self.foreground('--fill', 'all')
        self.assertEqual(bounded(20, read_file, os.path.join(point, '.cvv/wait')), b'complete\n')
        self.assertEqual(self.work.cvv('umount', point).code, 0)
        self.assertEqual(child.wait(10 * SCALE), 0)
        self.assertFalse(alive(child.pid))

    def test_sigterm_of_the_daemon_in_the_background(self):
        write_random(self.source + '/clip', 32 * MiB, random.Random(1))
        mount = self.simple('--limit', '1M', '--fill', 'all', '--chunk-size', '1M')
        os.kill(mount.pid, signal.SIGTERM)
        eventually(lambda: not alive(mount.pid), 8, 'the daemon to end')
        self.assertIsNone(mounted(mount.point))


if __name__ == '__main__':
    unittest.main()
