"""The .cvv directory and the user.cvv attributes: every file and field exactly as the contract has them."""
import base64
import errno
import hashlib
import json
import os
import re
import select
import signal
import time
import unittest
from datetime import datetime

from harness import Case, MiB, alive, bounded, eventually, mounted, read_file, seed
from trees import mixed_tree, walk

FILES = ['README', 'state', 'progress', 'status', 'status.json', 'errors', 'skipped', 'manifest', 'wait', 'safe-to-erase', 'events', 'log', 'config',
         'control']
STATES = {'paused', 'filling', 'verifying', 'failed', 'degraded', 'complete', 'idle'}
TOTALS = {'total', 'pending', 'copied', 'skipped', 'excluded', 'missing', 'failed', 'conflict', 'verified'}
INTEGERS = ['pid', 'rate_bytes_per_s', 'owed_bytes', 'queued_bytes', 'source_copy_bytes', 'source_verify_bytes',
            'passthrough_opens', 'log_dropped']
TARGET = {'n': int, 'path': str, 'identity': str, 'state': str, 'since': str, 'present_bytes': int, 'verified_bytes': int,
          'owed_bytes': int, 'free_bytes': (int, type(None)), 'rate_bytes_per_s': int, 'verify_method': (str, type(None)),
          'errors': int, 'last_error': (str, type(None))}


def parse_time(text):
    """RFC 3339; fromisoformat of Python 3.9 knows neither Z nor other than 3 or 6 digits."""
    return datetime.fromisoformat(re.sub(r'\.\d+', '', text).replace('Z', '+00:00'))


class Directory(Case):
    def setUp(self):
        super().setUp()
        self.put('clip', 3 * MiB + 5)
        self.put('dir/two words', 1000)

    def test_it_is_not_listed_and_always_there_by_name(self):
        mount = self.simple()
        self.assertEqual(sorted(bounded(5, os.listdir, mount.point)), ['clip', 'dir'])
        for name in FILES + ['files', 'targets']:
            bounded(5, os.stat, mount.path('.cvv', name))
        self.assertEqual(self.work.run('diff', '-r', self.source, mount.point).code, 0)

    def test_list_control_lists_it(self):
        mount = self.simple('--list-control')
        self.assertEqual(sorted(bounded(5, os.listdir, mount.point)), ['.cvv', 'clip', 'dir'])

    def test_it_lists_its_files(self):
        mount = self.simple()
        listed = bounded(5, os.listdir, mount.path('.cvv'))
        for name in FILES + ['files', 'targets']:
            self.assertIn(name, listed)
        self.assertEqual(sorted(bounded(5, os.listdir, mount.path('.cvv/targets'))), ['1.json', '2.json', '3.json'])

    def test_files_mirrors_the_view(self):
        mixed_tree(os.path.join(self.source, 'tree'), seed(), files=20, largest=1000)
        mount = self.simple()
        mirrored = bounded(30, walk, mount.path('.cvv/files'))
        self.assertEqual(set(mirrored), set(walk(self.source)))

    def test_readme_says_what_each_of_these_is(self):
        text = self.simple().read_control('README')
        for name in FILES[1:] + ['files', 'targets']:
            self.assertIn(name, text)

    def test_it_cannot_be_changed(self):
        mount = self.simple()
        for call in (lambda: os.unlink(mount.path('.cvv/state')), lambda: os.mkdir(mount.path('.cvv/new')),
                     lambda: os.rename(mount.path('.cvv'), mount.path('other')), lambda: os.rmdir(mount.path('.cvv'))):
            with self.assertRaises(OSError):
                bounded(5, call)
        self.assertEqual(mount.state_word(), 'idle')

    def test_owner_and_modes(self):
        mount = self.simple()
        control = bounded(5, os.stat, mount.path('.cvv/control'))
        self.assertEqual((control.st_uid, control.st_mode & 0o077), (os.geteuid(), 0))
        self.assertEqual(bounded(5, os.stat, mount.path('.cvv/state')).st_mode & 0o222, 0)

    def test_with_allow_other_it_is_for_the_mounting_user_alone(self):
        if os.geteuid() != 0:
            self.skipTest('needs root')
        mount = self.simple('-o', 'allow_other')
        result = self.work.run('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'sh', '-c',
                               'cat "$1/clip" >/dev/null && ! ls "$1/.cvv" && ! cat "$1/.cvv/state"', 'sh', mount.point)
        self.assertEqual((result.code, result.out), (0, ''), result)

    def test_each_open_is_one_snapshot(self):
        mount = self.simple()

        def read_slowly():
            with open(mount.path('.cvv/status.json'), 'rb', buffering=0) as file:
                first = os.pread(file.fileno(), 20, 0)
                mount.fill()
                rest = os.pread(file.fileno(), MiB, 20)
                again = os.pread(file.fileno(), MiB, 0)
            return first + rest, again
        text, again = bounded(60, read_slowly)
        self.assertEqual(text, again)
        self.assertEqual(json.loads(text)['bytes']['copied'], 0)


class StatusJson(Case):
    def check_status(self, status):
        self.assertEqual(status['version'], 1)
        for key in INTEGERS:
            self.assertIs(type(status[key]), int, key)
        self.assertIn(status['state'], STATES)
        self.assertEqual((status['mode'], status['fill']), ('transfer', 'file'))
        self.assertIs(type(status['scan_complete']), bool)
        self.assertIsInstance(status['progress'], (int, float))
        self.assertIsInstance(status['eta_s'], (int, type(None)))
        for kind in ('files', 'bytes'):
            self.assertLessEqual(TOTALS, set(status[kind]))
            counts = status[kind]
            self.assertTrue(all(type(counts[key]) is int and counts[key] >= 0 for key in TOTALS), counts)
            parts = sum(counts[key] for key in ('pending', 'copied', 'skipped', 'missing', 'failed', 'conflict'))
            self.assertIn(counts['total'] - parts, (0, counts['verified']), counts)
        for number, target in enumerate(status['targets']):
            self.check_target(target, number + 1)

    def check_target(self, target, number):
        for key, kind in TARGET.items():
            self.assertIsInstance(target[key], kind, key)
        self.assertEqual((target['n'], target['path']), (number, self.targets[number - 1]))
        self.assertIn(target['state'], {'online', 'behind', 'full', 'failed', 'offline'})
        self.assertTrue(parse_time(target['since']).tzinfo)

    def test_every_field_before_while_and_after_filling(self):
        self.put('clip', 3 * MiB)
        self.put('small', 10)
        mount = self.simple()
        status = mount.scanned()
        self.check_status(status)
        self.assertEqual((status['mountpoint'], status['source']), (mount.point, self.source))
        self.assertEqual((status['files']['total'], status['bytes']['total']), (2, 3 * MiB + 10))
        self.assertEqual((status['files']['pending'], status['state'], status['queued_bytes']), (2, 'idle', 0))
        self.assertEqual(status['owed_bytes'], 3 * (3 * MiB + 10))
        mount.do('fill')
        self.check_status(mount.status())
        self.assertEqual(mount.wait(), 'complete')
        status = mount.status()
        self.check_status(status)
        self.assertEqual((status['files']['copied'], status['bytes']['copied']), (2, 3 * MiB + 10))
        self.assertEqual((status['owed_bytes'], status['queued_bytes'], status['progress']), (0, 0, 100))
        self.assertEqual([target['present_bytes'] for target in status['targets']], [3 * MiB + 10] * 3)

    def test_ctl_fill_is_counted_when_it_returns(self):
        self.put('clip', 32 * MiB)
        mount = self.simple('--limit', '1M')
        mount.scanned()
        mount.write_control('fill\n')
        self.assertEqual(mount.state_word(), 'filling')
        self.assertGreater(mount.status()['queued_bytes'], 0)

    def test_excluded_is_listed_and_outside_of_the_total(self):
        self.put('clip', 1000)
        self.put('clip.tmp', 5000)
        mount = self.simple('--exclude', '*.tmp')
        status = mount.scanned()
        self.assertEqual((status['files']['total'], status['files']['excluded']), (1, 1))
        self.assertIn('clip.tmp', mount.read_control('skipped'))
        self.assertEqual(bounded(5, os.listdir, mount.point), ['clip'])

    def test_target_files_equal_the_list(self):
        mount = self.simple()
        mount.fill()
        status = mount.status()
        for number in (1, 2, 3):
            target = json.loads(mount.read_control('targets/%d.json' % number))
            self.check_target(target, number)
            self.assertEqual({**target, 'free_bytes': 0, 'rate_bytes_per_s': 0},
                             {**status['targets'][number - 1], 'free_bytes': 0, 'rate_bytes_per_s': 0})


class FileJson(Case):
    def test_every_field_of_a_pending_a_partial_and_a_copied_file(self):
        content = self.put('dir/clip', 3 * MiB + 5)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M', '--hash', 'md5,sha1')
        found = mount.file('dir/clip')
        self.assertEqual((found['version'], found['path'], found['state']), (1, 'dir/clip', 'pending'))
        self.assertEqual((found['size'], found['chunk_size']), (3 * MiB + 5, MiB))
        self.assertEqual(found['mtime_ns'], os.stat(self.source + '/dir/clip').st_mtime_ns)
        self.assertEqual([target['n'] for target in found['targets']], [1, 2, 3])
        self.assertEqual([target['map'] for target in found['targets']], [[]] * 3)
        self.assertNotIn('path_b64', found)
        self.assertIsInstance(found['type'], str)
        self.assertIsNone(found['last_error'])
        bounded(10, read_file, mount.path('dir/clip'), 10, MiB + 5)
        mount.wait()
        mount.do('checkpoint')
        found = mount.file('dir/clip')
        self.assertEqual(found['state'], 'partial')
        self.assertEqual([target['map'] for target in found['targets']], [[[1, 2, 'present']]] * 3)
        mount.fill()
        found = mount.file('dir/clip')
        self.assertEqual(found['state'], 'copied')
        self.assertEqual([target['map'] for target in found['targets']], [[[0, 4, 'present']]] * 3)
        for name, digest in found['digests'].items():
            self.assertEqual(digest, hashlib.new(name, content).hexdigest())

    def test_digests_of_a_file_that_was_copied_in_order(self):
        content = self.put('clip', 3 * MiB + 5)
        mount = self.simple('--hash', 'md5,sha1,sha256')
        bounded(20, read_file, mount.path('clip'))
        mount.wait()
        self.assertEqual(mount.file('clip')['digests'],
                         {name: hashlib.new(name, content).hexdigest() for name in ('md5', 'sha1', 'sha256')})

    def test_a_name_that_is_not_utf8_has_its_bytes(self):
        name = b'caf\xe9 \x01'
        self.put(os.fsdecode(name), 10)
        mount = self.simple()
        found = mount.file(os.fsdecode(name))
        self.assertEqual(base64.b64decode(found['path_b64']), name)

    def test_odd_names_are_valid_json(self):
        names = ['new\nline', 'quote"', 'back\\slash', '\x01\x1b[31m', 'ünïcode']
        for name in names:
            self.put(name, 10)
        mount = self.simple()
        for name in names:
            self.assertEqual(mount.file(name)['path'], name)

    def test_an_absent_path_is_enoent(self):
        mount = self.simple()
        self.assertFails(errno.ENOENT, read_file, mount.path('.cvv/files/absent'))
        self.assertFails(errno.ENOENT, read_file, mount.path('.cvv/targets/4.json'))
        self.assertFails(errno.ENOENT, read_file, mount.path('.cvv/absent'))


class Attributes(Case):
    def test_state_progress_and_digest_by_name(self):
        content = self.put('clip', 3 * MiB)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M', '--hash', 'md5')
        self.assertEqual((mount.xattr('clip', 'state'), float(mount.xattr('clip', 'progress'))), ('pending', 0))
        bounded(10, read_file, mount.path('clip'), 10)
        mount.wait()
        self.assertEqual(mount.xattr('clip', 'state'), 'partial')
        mount.fill()
        self.assertEqual((mount.xattr('clip', 'state'), float(mount.xattr('clip', 'progress'))), ('copied', 100))
        if mount.file('clip')['digests']:
            self.assertIn(hashlib.md5(content).hexdigest(), mount.xattr('clip', 'digest'))

    def test_they_are_not_listed(self):
        self.put('clip', 10)
        mount = self.simple()
        mount.fill()
        self.assertEqual(bounded(5, os.listxattr, mount.path('clip')), [])
        self.assertFails(errno.ENODATA, os.getxattr, mount.path('clip'), 'user.cvv.unknown')

    def test_they_do_not_arrive_on_targets(self):
        self.put('clip', 10)
        self.simple().fill()
        self.assertEqual(os.listxattr(self.targets[0] + '/clip'), [])


class Texts(Case):
    def test_state_and_progress(self):
        self.put('clip', 8 * MiB)
        mount = self.simple()
        mount.scanned()
        self.assertEqual(mount.read_control('state'), 'idle\n')
        self.assertEqual(mount.read_control('progress'), '0.0\n')
        mount.fill()
        self.assertEqual(mount.read_control('state'), 'complete\n')
        self.assertEqual(mount.read_control('progress'), '100.0\n')

    def test_progress_is_floored_and_never_goes_back(self):
        self.put('clip', 24 * MiB)
        mount = self.simple('--limit', '8M', '--chunk-size', '1M')
        mount.scanned()
        mount.do('fill')
        last, deadline = 0.0, time.monotonic() + 60
        while mount.state_word() != 'complete' and time.monotonic() < deadline:
            text = mount.read_control('progress').strip()
            self.assertRegex(text, r'^\d{1,3}\.\d$')
            self.assertGreaterEqual(float(text), last)
            last = float(text)
        self.assertEqual(mount.read_control('progress').strip(), '100.0')

    def test_status_is_for_people(self):
        self.put('clip', 10)
        mount = self.simple()
        mount.fill()
        text = mount.read_control('status')
        for target in self.targets:
            self.assertIn(target, text)

    def test_config_has_the_effective_settings(self):
        mount = self.simple('--chunk-size', '2M', '--jobs', '3')
        lines = mount.read_control('config').splitlines()
        for line in lines:
            self.assertRegex(line, r'^[^=]+ = .*$')
        settings = dict(line.split(' = ', 1) for line in lines)
        self.assertIn(settings['chunk-size'], ('2M', str(2 * MiB)))
        self.assertEqual((settings['jobs'], settings['mode'], settings['fill']), ('3', 'transfer', 'file'))

    def test_control_lists_the_commands_when_read(self):
        text = self.simple().read_control('control')
        for word in ('fill', 'pause', 'resume', 'verify', 'resync', 'retry', 'limit', 'checkpoint', 'add', 'remove'):
            self.assertIn(word, text)

    def test_several_lines_and_escapes_in_one_write(self):
        content = self.put('new\nline\\x', 1000)
        mount = self.simple()
        mount.write_control('pause\nresume\nfill new\\nline\\\\x\n')
        self.assertEqual(mount.wait(), 'complete')
        self.assertEqual(self.on_targets('new\nline\\x'), [content] * 3)

    def test_a_line_needs_no_newline_at_its_end(self):
        mount = self.simple()
        mount.write_control('pause')
        self.assertEqual(mount.state_word(), 'paused')

    def test_errors_and_skipped_are_empty_when_all_is_well(self):
        self.put('clip', 10)
        mount = self.simple()
        mount.fill()
        self.assertEqual((mount.read_control('errors'), mount.read_control('skipped')), ('', ''))

    def test_log_says_something_without_raw_escapes(self):
        self.put('\x1b[31mred', 10)
        mount = self.simple()
        mount.fill()
        text = mount.read_control('log')
        self.assertNotEqual(text, '')
        self.assertNotIn('\x1b', text + mount.read_control('status') + mount.read_control('skipped'))


class Blocking(Case):
    """wait and events: poll, O_NONBLOCK, signals, and the end of the mount."""

    def busy(self):
        self.put('clip', 64 * MiB)
        mount = self.simple('--limit', '2M', '--fill', 'all', '--chunk-size', '1M')
        eventually(lambda: mount.state_word() == 'filling', 10)
        return mount

    def test_wait_blocks_until_nothing_queued_can_progress(self):
        mount = self.busy()
        job = self.work.start(lambda: self.assertEqual(read_file(mount.path('.cvv/wait')), b'complete\n'))
        time.sleep(0.3)
        self.assertTrue(job.running())
        mount.do('limit', '1G')
        job.join(60)

    def test_wait_returns_at_once_when_nothing_is_queued(self):
        self.put('clip', 10)
        mount = self.simple()
        mount.scanned()
        self.assertEqual(mount.wait(5), 'idle')

    def test_wait_does_not_block_with_o_nonblock(self):
        mount = self.busy()

        def read_nonblocking():
            return os.read(os.open(mount.path('.cvv/wait'), os.O_RDONLY | os.O_NONBLOCK), 100)
        self.assertFails(errno.EAGAIN, read_nonblocking)

    def test_wait_can_be_polled(self):
        mount = self.busy()

        def poll():
            poller = select.poll()
            descriptor = os.open(mount.path('.cvv/wait'), os.O_RDONLY | os.O_NONBLOCK)
            poller.register(descriptor, select.POLLIN)
            before = poller.poll(300)
            mount.do('limit', '1G')
            after = poller.poll(60000)
            return before, bool(after), os.read(descriptor, 100)
        self.assertEqual(bounded(90, poll), ([], True, b'complete\n'))

    def test_a_killed_reader_of_wait_dies_at_once(self):
        mount = self.busy()
        job = self.work.start(read_file, mount.path('.cvv/wait'))
        time.sleep(0.3)
        start = time.monotonic()
        job.kill()
        self.assertLess(time.monotonic() - start, 1)

    def test_pause_ends_wait(self):
        mount = self.busy()
        mount.do('pause')
        self.assertEqual(mount.wait(10), 'paused')

    def read_events(self, mount):
        """All events so far."""
        def read():
            descriptor, text = os.open(mount.path('.cvv/events'), os.O_RDONLY | os.O_NONBLOCK), b''
            while True:
                try:
                    part = os.read(descriptor, MiB)
                except BlockingIOError:
                    return text
                if not part:
                    return text
                text += part
        return [json.loads(line) for line in bounded(10, read).splitlines()]

    def test_events_are_json_lines_in_order(self):
        self.put('clip', 10)
        mount = self.simple()
        mount.fill()
        events = self.read_events(mount)
        self.assertTrue(events)
        for event in events:
            self.assertIs(type(event['seq']), int)
            self.assertIs(type(event['event']), str)
            self.assertTrue(parse_time(event['time']).tzinfo)
            self.assertIsInstance(event.get('target'), (int, type(None)))
        sequence = [event['seq'] for event in events]
        self.assertEqual(sequence, sorted(set(sequence)))
        self.assertIn('clip', [event.get('path') for event in events])

    def test_a_reader_of_events_gets_the_next_one(self):
        mount = self.simple()
        self.read_events(mount)

        def follow():
            descriptor = os.open(mount.path('.cvv/events'), os.O_RDONLY | os.O_NONBLOCK)
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            while True:
                try:
                    os.read(descriptor, MiB)
                except BlockingIOError:
                    break
            mount.do('pause')
            return bool(poller.poll(10000)), os.read(descriptor, MiB)
        ready, text = bounded(30, follow)
        self.assertTrue(ready)
        self.assertTrue(json.loads(text.splitlines()[0])['event'])

    def test_blocked_readers_end_at_unmount(self):
        mount = self.busy()
        jobs = [self.work.start(self.end_quietly, mount.path('.cvv', name)) for name in ('wait', 'events')]
        time.sleep(0.3)
        self.work.cvv('umount', '--now', mount.point)
        for job in jobs:
            job.join(20)

    def test_tail_f_of_events_ends_at_unmount(self):
        mount = self.busy()
        jobs = [self.work.start(self.work.run, 'tail', *words, mount.path('.cvv/events')) for words in
                (['-n', '+1', '-f'], ['-f'])]
        time.sleep(0.5)
        self.assertEqual([job.running() for job in jobs], [True, True])
        result = self.work.cvv('umount', '--now', mount.point)
        self.assertEqual(result.err, '')
        self.assertIsNone(mounted(mount.point))
        for job in jobs:
            job.join(20)

    def test_another_holder_keeps_the_mount_and_its_readers(self):
        mount = self.busy()
        job = self.work.start(self.end_quietly, mount.path('.cvv/events'))
        time.sleep(0.3)
        with open(mount.path('clip'), 'rb'):
            result = self.work.cvv('umount', '--now', mount.point)
            self.assertEqual(result.code, 1, result)
            self.assertIn('is busy and stays mounted', result.err)
            self.assertIn('%d python' % os.getpid(), result.err)
            self.assertIsNotNone(mounted(mount.point))
            self.assertTrue(job.running())
        mount.umount('--now', expect=1)
        job.join(20)

    def test_readers_that_come_after_those_that_were_ended_block(self):
        mount = self.busy()
        for _ in range(2):
            jobs = [self.work.start(self.assert_ends_empty, mount.path('.cvv', name)) for name in ('wait', 'events')]
            time.sleep(0.3)
            self.assertEqual([job.running() for job in jobs], [True, True])
            os.kill(mount.pid, signal.SIGUSR1)
            for job in jobs:
                job.join(5)
        self.assertTrue(alive(mount.pid))
        mount.do('pause')
        self.assertEqual(mount.wait(10), 'paused')

    @staticmethod
    def assert_ends_empty(path):
        text = read_file(path)
        assert path.endswith('events') or text == b'', text

    @staticmethod
    def end_quietly(path):
        try:
            read_file(path)
        except OSError:
            pass


if __name__ == '__main__':
    unittest.main()
