"""cvv copy: what comes out of it, what it says, and what it refuses."""
import hashlib
import json
import os
import random
import re
import subprocess
import unittest

from copies import CopyCase
from harness import MiB, need, need_root, read_file
from trees import mixed_tree, walk


class WholeTrees(CopyCase):
    def test_three_targets_are_what_the_source_is(self):
        mixed_tree(self.source, random.Random(7), files=30, largest=MiB)
        result = self.copy()
        self.assertCopied()
        self.assertRegex(result.out, r'(?m)^copied \d+ files, \d+ bytes, \d+\.\d MB/s; verified 0 on 3 targets \(mode transfer\)$')
        for n, target in enumerate(self.targets, 1):
            self.assertRegex(result.out, r'(?m)^target %d %s: online, .* present, nothing owed' % (n, re.escape(target)))

    def test_the_short_form_copies_as_well(self):
        self.own_default_state()
        content = self.put('clip', 3 * MiB)
        result = self.work.cvv('-m', 'transfer', self.source, *self.targets)
        self.assertEqual(result.code, 0, result)
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    def test_a_second_run_finds_all_done(self):
        self.put('clip', 3 * MiB)
        self.copy()
        before = [os.stat(target).st_mtime_ns for target in self.targets]
        result = self.copy()
        self.assertIn('nothing to copy: all 1 files, %d bytes, are there; ' % (3 * MiB), result.out)
        self.assertEqual([os.stat(target).st_mtime_ns for target in self.targets], before)

    def test_other_targets_get_what_they_lack(self):
        content = self.put('clip', 3 * MiB)
        self.copy(targets=self.targets[:1])
        result = self.copy()
        self.assertEqual(self.on_targets('clip'), [content] * 3)
        self.assertIn('copied 1 files', result.out)

    def test_an_absent_target_is_created_and_that_is_said(self):
        self.put('clip', 1000)
        new = self.work.join('new')
        result = self.copy(targets=[new])
        self.assertIn('created target directory ' + new, result.err)
        self.assertSameTree(self.source, new)

    def test_an_empty_source_is_done_at_once(self):
        result = self.copy(targets=[self.work.join('new')])
        self.assertTrue(os.path.isdir(self.work.join('new')))
        self.assertIn('all 0 files', result.out)

    def test_names_never_reach_the_terminal_raw(self):
        self.put('a\x1b[31mb\n', 10)
        result = self.copy('-v')
        self.assertIn('copied a\\x1b[31mb\\x0a: xxh64:', result.out)
        self.assertNotIn('\x1b', result.out + result.err)


class Verified(CopyCase):
    mode = 'full'

    def test_mode_full_reads_every_target_back_and_says_how(self):
        mixed_tree(self.source, random.Random(8), files=20, largest=MiB)
        out = self.copy().out
        copied, verified = re.search(r'(?m)^copied (\d+) files, .*; verified (\d+) on 3 targets \((direct|memory|dropped-cache)\)$', out).group(1, 2)
        self.assertEqual(verified, copied)
        self.assertCopied()
        self.assertIn('nothing to copy: all %s files' % copied, self.copy().out)

    def test_what_was_copied_in_mode_transfer_is_verified_in_mode_full(self):
        self.put('clip', 3 * MiB)
        self.copy('--mode', 'transfer')
        self.assertIn('; verified 1 on 3 targets', self.copy().out)

    def test_one_file_under_another_name_is_verified(self):
        self.put('clip', 3 * MiB)
        out = self.copy(source=os.path.join(self.source, 'clip'), targets=[self.work.join('t1', 'new'), self.targets[1]]).out
        self.assertIn('; verified 1 on 2 targets', out)


class Reports(CopyCase):
    def test_verbose_names_each_file_with_its_digests(self):
        a, b = self.put('a', 3 * MiB), self.put('d/b', 10)
        result = self.copy('-v', '--hash', 'md5,sha256')
        for name, content in ('a', a), ('d/b', b):
            self.assertIn('copied %s: md5:%s sha256:%s\n' % (name, hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()),
                          result.out)

    def test_verbose_gives_what_xxhsum_gives(self):
        need('xxhsum')
        self.put('a', 3 * MiB)
        result = self.copy('-v')
        said = re.search(r'^copied a: xxh64:([0-9a-f]{16})$', result.out, re.M).group(1)
        expected = subprocess.run(['xxhsum', '-H1', os.path.join(self.source, 'a')], stdout=subprocess.PIPE, check=True).stdout
        self.assertEqual(said, expected.split()[0].decode())

    def test_json_is_the_final_status(self):
        self.put('clip', 3 * MiB)
        status = json.loads(self.copy('--json').out)
        self.assertEqual((status['version'], status['state'], status['progress'], status['scan_complete']), (1, 'complete', 100.0, True))
        self.assertEqual((status['files']['copied'], status['bytes']['total'], status['owed_bytes']), (1, 3 * MiB, 0))
        self.assertIsNone(status['mountpoint'])
        self.assertEqual([target['path'] for target in status['targets']], self.targets)

    def test_a_log_file_is_written(self):
        self.put('clip', 10)
        log = self.work.join('copy.log')
        self.copy('--log', log)
        text = os.fsdecode(read_file(log))
        self.assertRegex(text, r'(?m)^\S+Z info: copying %s to 3 targets$' % re.escape(self.source))
        self.assertRegex(text, r'(?m)^\S+Z info: all done$')

    def test_what_was_there_is_skipped_and_named(self):
        content = self.put('clip', 1000)
        for name in 't1', 't2', 't3':
            path = self.work.file(content, name, 'clip')
            os.utime(path, ns=(os.stat(os.path.join(self.source, 'clip')).st_mtime_ns,) * 2)
        result = self.copy()
        self.assertIn('skipped clip: the targets have it already\n', result.out)

    def test_a_conflict_is_named_and_the_exit_code_is_1(self):
        content, other = self.put('clip', 1000), self.put('fine', 10)
        self.work.file(b'theirs', 't2', 'clip')
        result = self.copy(code=1)
        self.assertRegex(result.out, r'(?m)^conflict clip: .')
        self.assertIn('1 file: a target has a different one of that name', result.err)
        self.assertEqual(self.on_targets('clip'), [content, b'theirs', content])
        self.assertEqual(self.on_targets('fine'), [other] * 3)
        self.assertEqual(self.copy(code=1).out.count('conflict clip: '), 1)

    def test_replace_replaces_what_differs(self):
        content = self.put('clip', 1000)
        self.work.file(b'theirs', 't2', 'clip')
        self.copy('--existing', 'replace')
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    def test_excluded_files_are_named_and_the_exit_code_is_0(self):
        self.put('clip', 10)
        self.put('clip.tmp', 10)
        result = self.copy('--exclude', '*.tmp')
        self.assertIn('excluded clip.tmp: ', result.out)
        self.assertEqual(self.on_targets('clip.tmp'), [None] * 3)

    def test_what_cannot_be_read_is_named_and_the_exit_code_is_1(self):
        need_root()
        content = self.put('fine', 10)
        self.put('closed/clip', 10)
        self.put('secret', 10)
        os.chmod(os.path.join(self.source, 'closed'), 0)
        os.chmod(os.path.join(self.source, 'secret'), 0)
        for path in self.work.path, *self.targets:
            os.chmod(path, 0o777)
        theirs = self.work.dir('theirs')
        os.chmod(theirs, 0o777)
        result = self.work.cvv('copy', '--state', theirs + '/state', '-m', 'transfer', self.source, self.targets[0], user=65534)
        self.assertEqual(result.code, 1, result)
        self.assertRegex(result.out, r'(?m)^failed closed: Permission denied$')
        self.assertRegex(result.out, r'(?m)^missing secret: Permission denied$')
        self.assertEqual(self.on_targets('fine')[0], content)


class Space(CopyCase):
    def small(self, size, name='small'):
        """A tmpfs of this size as a target."""
        need_root()
        path = self.work.dir(name)
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=' + size, 'tmpfs', path], check=True)
        self.work.closers.append(lambda: subprocess.run(['umount', '-l', path]))
        return path

    def test_a_target_too_small_stops_it_before_anything_is_written(self):
        self.put('clip', 5 * MiB)
        small = self.small('4m')
        new = self.work.join('new')
        result = self.copy(targets=[self.targets[0], small, new], code=1)
        self.assertRegex(result.err, r'target 2 %s is too small: 5\.0 MiB \(\d+ bytes\) needed, 4\.0 MiB \(\d+ bytes\) free' % re.escape(small))
        self.assertIn('nothing was written; --no-space-check goes on', result.err)
        self.assertEqual(result.out, '')
        self.assertEqual((os.listdir(self.targets[0]), os.listdir(small)), ([], []))
        self.assertFalse(os.path.lexists(new))
        self.assertNotIn('target 1 ', result.err)

    def test_it_begins_when_there_is_room_again(self):
        content = self.put('clip', 5 * MiB)
        small = self.small('4m')
        self.copy(targets=[self.targets[0], small], code=1)
        subprocess.run(['mount', '-o', 'remount,size=16m', small], check=True)
        self.copy(targets=[self.targets[0], small])
        self.assertEqual(read_file(os.path.join(small, 'clip')), content)

    def test_no_space_check_goes_on_and_the_others_finish(self):
        content = self.put('clip', 5 * MiB)
        small = self.small('4m')
        self.targets[1] = small
        result = self.copy('--no-space-check', '--chunk-size', '1M', code=1)
        self.assertIn('is too small', result.err)
        self.assertRegex(result.out, r'(?m)^target 2 %s: full, ' % re.escape(small))
        self.assertEqual([read_file(os.path.join(self.targets[n], 'clip')) for n in (0, 2)], [content] * 2)
        self.assertFalse(os.path.lexists(os.path.join(small, 'clip')))

    def test_what_is_there_already_needs_no_space(self):
        self.put('a', 2 * MiB)
        small = self.small('4m')
        self.copy(targets=[small])
        self.put('b', MiB)
        self.copy(targets=[small])
        self.assertSameTree(self.source, small)

    def test_what_is_compared_needs_no_space_when_the_state_is_lost(self):
        self.put('a', 3 * MiB)
        small = self.small('4m')
        self.copy(targets=[small])
        self.copy('--state', self.work.join('other'), '--existing', 'verify', targets=[small])

    def test_targets_on_one_filesystem_share_its_space(self):
        self.put('clip', 3 * MiB)
        small = self.small('5m')
        targets = [os.path.join(small, name) for name in 'ab']
        for target in targets:
            os.mkdir(target)
        result = self.copy(targets=targets, code=1)
        self.assertEqual(result.err.count('is too small with the other targets on its filesystem'), 2, result)
        self.copy(targets=targets[:1])

    def test_holes_need_no_space(self):
        with open(os.path.join(self.source, 'hole'), 'wb') as file:
            file.truncate(1 << 30)
        small = self.small('4m')
        self.copy(targets=[small])
        self.assertEqual(os.stat(os.path.join(small, 'hole')).st_size, 1 << 30)


class OneFile(CopyCase):
    def setUp(self):
        super().setUp()
        self.content = self.put('card/clip.mov', 3 * MiB)
        self.put('card/other.mov', 1000)
        self.clip = os.path.join(self.source, 'card', 'clip.mov')

    def test_a_directory_receives_it_and_any_other_target_is_its_new_name(self):
        self.work.file(b'theirs', 't1', 'theirs')
        os.chmod(self.targets[0], 0o711)
        new = self.work.join('t2', 'new name.mov')
        self.copy(source=self.clip, targets=[self.targets[0], new, self.work.join('t3/')])
        self.assertEqual(sorted(os.listdir(self.targets[0])), ['clip.mov', 'theirs'])
        self.assertEqual((os.listdir(self.targets[1]), os.listdir(self.targets[2])), (['new name.mov'], ['clip.mov']))
        for path in self.work.join('t1', 'clip.mov'), new, self.work.join('t3', 'clip.mov'):
            self.assertEqual(read_file(path), self.content)
            self.assertEqual(os.stat(path).st_mtime_ns, os.stat(self.clip).st_mtime_ns)
        self.assertEqual(os.stat(self.targets[0]).st_mode & 0o777, 0o711)

    def test_a_second_run_finds_it(self):
        for _ in range(2):
            result = self.copy(source=self.clip, targets=[self.work.join('t1', 'x'), self.targets[1]])
        self.assertIn('nothing to copy: all 1 files', result.out)
        self.assertIn('target 1 %s: ' % self.work.join('t1', 'x'), result.out)

    def test_it_may_be_copied_beside_itself(self):
        new = os.path.join(self.source, 'card', 'copy.mov')
        self.copy(source=self.clip, targets=[new])
        self.assertEqual(read_file(new), self.content)
        self.assertEqual(sorted(os.listdir(os.path.dirname(new))), ['clip.mov', 'copy.mov', 'other.mov'])

    def test_into_a_directory_around_or_inside_its_own(self):
        inside = os.path.join(self.source, 'card', 'inside')
        os.mkdir(inside)
        self.copy(source=self.clip, targets=[self.source, inside])
        self.assertEqual((read_file(os.path.join(self.source, 'clip.mov')), read_file(os.path.join(inside, 'clip.mov'))), (self.content,) * 2)

    def test_another_file_of_its_name_is_a_conflict(self):
        self.work.file(b'theirs', 't1', 'x')
        result = self.copy(source=self.clip, targets=[self.work.join('t1', 'x'), self.targets[1]], code=1)
        self.assertIn('conflict clip.mov: ', result.out)
        self.assertEqual(read_file(self.work.join('t1', 'x')), b'theirs')
        self.assertEqual(read_file(self.work.join('t2', 'clip.mov')), self.content)

    def test_two_files_of_one_directory_have_states_of_their_own(self):
        self.own_default_state()
        other = os.path.join(self.source, 'card', 'other.mov')
        for source in self.clip, other, self.clip:
            result = self.work.cvv('copy', '-m', 'transfer', source, self.targets[0])
            self.assertEqual(result.code, 0, result)
        self.assertIn('nothing to copy', result.out)
        self.assertEqual(sorted(os.listdir(self.targets[0])), ['clip.mov', 'other.mov'])

    def test_it_gets_the_name_of_a_link_that_leads_to_it(self):
        link = self.work.join('link.mov')
        os.symlink(self.clip, link)
        self.copy(source=link, targets=[self.targets[0]])
        self.assertEqual(read_file(self.work.join('t1', 'link.mov')), self.content)
        self.assertFalse(os.path.islink(self.work.join('t1', 'link.mov')))

    def test_a_relative_name(self):
        self.copy(source='clip.mov', targets=['new.mov', self.targets[0]], cwd=os.path.dirname(self.clip))
        self.assertEqual(read_file(os.path.join(os.path.dirname(self.clip), 'new.mov')), self.content)


class Refusals(CopyCase):
    def snapshot(self):
        return {path: (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns) for path, s in walk(self.work.path).items()
                if not path.startswith('sanitizer')}

    def refuse(self, *words, code=2, containing=()):
        before = self.snapshot()
        self.refused(code, 'copy', '--state', self.work.join('state'), '-m', 'transfer', *words, containing=containing)
        self.assertEqual(self.snapshot(), before)

    def setUp(self):
        super().setUp()
        self.put('clip', 10)
        self.clip = os.path.join(self.source, 'clip')

    def test_no_target(self):
        self.refuse(self.source, containing=['TARGET is missing'])

    def test_no_source(self):
        self.refuse(self.work.join('nowhere'), self.targets[0], containing=['nowhere'])

    def test_none_as_source(self):
        self.refuse('none', self.targets[0])

    def test_the_parent_of_a_target_is_missing(self):
        self.refuse(self.source, self.work.join('no', 'target'), containing=['does not exist'])

    def test_target_inside_source(self):
        self.refuse(self.source, os.path.join(self.source, 'new'), containing=['inside'])

    def test_source_inside_target(self):
        self.refuse(self.source, self.work.path, containing=['inside'])

    def test_source_as_target(self):
        self.refuse(self.source, self.source, containing=['same'])

    def test_one_target_twice(self):
        self.refuse(self.source, self.targets[0], self.targets[0] + '/.', containing=['twice'])

    def test_options_of_a_mount(self):
        self.refuse('--fill', 'all', self.source, self.targets[0], containing=['cvv mount'])

    def test_a_directory_onto_a_file(self):
        self.work.file(b'', 'plain')
        self.refuse(self.source, self.work.join('plain'), containing=['not a directory'])

    def test_a_file_onto_itself(self):
        self.refuse(self.clip, self.source, containing=['same file'])
        self.refuse(self.clip, self.clip, containing=['same file'])

    def test_a_file_twice_into_one_directory(self):
        self.refuse(self.clip, self.targets[0], self.work.join('t1', 'b'), containing=['one of them'])

    def test_a_file_where_a_directory_is(self):
        self.work.dir('t1', 'clip')
        self.refuse(self.clip, self.targets[0], containing=['directory'])

    def test_a_log_inside_the_source(self):
        self.refuse('--log', os.path.join(self.source, 'log'), self.source, self.targets[0], containing=['never written'])
        self.refuse('--log', self.clip, self.clip, self.targets[0], containing=['never written'])

    def test_a_target_in_use_names_the_pid(self):
        mount = self.simple()
        result = self.refused(1, 'copy', '--state', self.work.join('other'), '-m', 'transfer', self.source, self.targets[0])
        self.assertIn('pid %d' % mount.pid, result.err)


if __name__ == '__main__':
    unittest.main()
