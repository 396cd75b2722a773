"""Wrong options and bad surroundings: one clear line on stderr, the contract's exit code, and nothing changed."""
import errno
import os
import shutil
import stat
import unittest

from harness import Case, MiB, alive, bounded, cvv, detach, mounted, need, need_root, read_file
from trees import walk

WRONG_OPTIONS = {
    'unknown': ['--frobnicate'], 'unknown_short': ['-Z'], 'mode': ['--mode', 'fast'], 'mode_empty': ['--mode', ''],
    'hash': ['--hash', 'crc32'], 'hash_empty': ['--hash', ''], 'hash_second': ['--hash', 'md5,nonsense'],
    'fill': ['--fill', 'some'], 'existing': ['--existing', 'maybe'], 'chunk_not_power_of_two': ['--chunk-size', '3M'],
    'chunk_too_small': ['--chunk-size', '512K'], 'chunk_too_large': ['--chunk-size', '128M'],
    'chunk_zero': ['--chunk-size', '0'], 'chunk_negative': ['--chunk-size', '-1M'], 'chunk_unit': ['--chunk-size', '8Q'],
    'chunk_trailing': ['--chunk-size', '8Mx'], 'chunk_overflow': ['--chunk-size', '99999999999999999999G'],
    'jobs_zero': ['--jobs', '0'], 'jobs_negative': ['--jobs', '-2'], 'jobs_word': ['--jobs', 'many'],
    'limit': ['--limit', 'fast'], 'limit_overflow': ['--limit', '18446744073709551616'], 'memory': ['--memory', 'lots'],
    'memory_negative': ['--memory', '-1'], 'memory_empty': ['--memory', ''], 'argument_missing_at_end': None,
    'fuse_option': ['-o', 'no_such_fuse_option'], 'escape_in_value': ['--mode', 'a\x1b[31mb'],
}


class Unchanged(Case):
    def refused_unchanged(self, code, *arguments, **keywords):
        before = self.snapshot()
        result = self.refused(code, *arguments, **keywords)
        self.assertEqual(self.snapshot(), before)
        self.assertNotIn('\x1b', result.err)
        self.assertEqual(self.work.own_mounts(), [])
        return result

    def snapshot(self):
        return {path: (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_nlink)
                for path, s in walk(self.work.path).items() if not path.startswith('sanitizer')}

    def setUp(self):
        super().setUp()
        self.put('clip', 1000)
        self.point = self.work.dir('mnt')


class WrongOptions(Unchanged):
    """One test for each entry of WRONG_OPTIONS."""

    def check(self, words):
        if words is None:
            self.refused_unchanged(2, 'mount', self.source, self.point, '--target')
        else:
            self.refused_unchanged(2, 'mount', '-t', self.targets[0], *words, self.source, self.point)


def _add(name, words):
    def test(self):
        self.check(words)
    setattr(WrongOptions, 'test_wrong_option_' + name, test)


for _name, _words in WRONG_OPTIONS.items():
    _add(_name, _words)


class WrongOperands(Unchanged):
    def mount_refused(self, code, targets, source=None, point=None, **keywords):
        words = ['mount', '--state', self.work.join('state'), '-m', 'transfer']
        for target in targets:
            words += ['-t', target]
        return self.refused_unchanged(code, *words, source or self.source, point or self.point, **keywords)

    def test_no_target(self):
        self.mount_refused(2, [])

    def test_empty_target(self):
        self.mount_refused(2, [''])

    def test_no_mount_point(self):
        self.refused_unchanged(2, 'mount', '-t', self.targets[0], self.source)

    def test_one_operand_too_many(self):
        self.refused_unchanged(2, 'mount', '-t', self.targets[0], self.source, self.point, self.point)

    def test_unknown_command_word_with_options(self):
        result = self.work.cvv('frobnicate', '--mode')
        self.assertEqual(result.code, 2, result)

    def test_no_arguments_is_usage(self):
        result = self.work.cvv()
        self.assertEqual((result.code, result.out), (2, ''), result)
        self.assertNotEqual(result.err, '')

    def test_help_and_version_succeed_on_stdout(self):
        for word in ('--help', '--version'):
            result = self.work.cvv(word)
            self.assertEqual((result.code, result.err), (0, ''), result)
            self.assertIn('cvv', result.out)

    def test_source_missing(self):
        self.mount_refused(2, self.targets, source=self.work.join('absent'), containing=['absent'])

    def test_source_is_a_file(self):
        self.mount_refused(2, self.targets, source=os.path.join(self.source, 'clip'))

    def test_target_is_a_file(self):
        self.mount_refused(2, [self.work.file(b'x', 'plain')], containing=['plain'])

    def test_parent_of_target_missing(self):
        self.mount_refused(2, [self.targets[0], self.work.join('absent', 'new')], containing=['absent'])

    def test_no_target_is_created_when_another_is_refused(self):
        self.mount_refused(2, [self.work.join('new'), self.work.join('absent', 'new')])

    def test_target_inside_source(self):
        self.mount_refused(2, [self.work.dir('source', 'inside')])

    def test_new_target_inside_source(self):
        self.mount_refused(2, [self.work.join('source', 'new')])

    def test_source_inside_target(self):
        self.mount_refused(2, [self.work.path])

    def test_source_is_target(self):
        self.mount_refused(2, [self.source])

    def test_the_same_target_twice(self):
        self.mount_refused(2, [self.targets[0], self.targets[0]])

    def test_the_same_target_by_another_name(self):
        os.symlink(self.targets[0], self.work.join('alias'))
        self.mount_refused(2, [self.targets[0], self.work.join('alias')])
        self.mount_refused(2, [self.targets[0], os.path.join(self.source, '..', 't1', '.')])

    def test_target_inside_source_through_a_link(self):
        self.work.dir('source', 'inside')
        os.symlink(os.path.join(self.source, 'inside'), self.work.join('alias'))
        self.mount_refused(2, [self.work.join('alias')])

    def test_target_inside_another_target(self):
        self.mount_refused(2, [self.targets[0], self.work.dir('t1', 'inside')])

    def test_mount_point_inside_source(self):
        self.mount_refused(2, self.targets, point=self.work.dir('source', 'inside'))

    def test_mount_point_is_source(self):
        self.mount_refused(2, self.targets, point=self.source)

    def test_mount_point_inside_target(self):
        self.mount_refused(2, self.targets, point=self.work.dir('t2', 'inside'))

    def test_mount_point_missing(self):
        before = self.snapshot()
        result = self.work.cvv('mount', '-t', self.targets[0], self.source, self.work.join('absent'))
        self.assertIn(result.code, (1, 2), result)
        self.assertEqual(len(result.lines()), 1, result)
        self.assertEqual(self.snapshot(), before)

    def test_state_is_a_file(self):
        state = self.work.file(b'mine', 'plain')
        result = self.work.cvv('mount', '-t', self.targets[0], '--state', state, self.source, self.point)
        self.assertIn(result.code, (1, 2), result)
        self.assertEqual(len(result.lines()), 1, result)
        self.assertEqual(read_file(state), b'mine')

    def test_state_inside_source(self):
        self.refused_unchanged(2, 'mount', '-t', self.targets[0], '--state', os.path.join(self.source, 'state'),
                               self.source, self.point)


class InUse(Case):
    def setUp(self):
        super().setUp()
        self.put('clip', 1000)

    def second(self, targets, state, source=None):
        words = ['mount', '-m', 'transfer', '--state', state]
        for target in targets:
            words += ['-t', target]
        return [*words, source or self.source, self.work.dir('mnt2')]

    def test_two_mounts_with_other_targets_are_fine(self):
        self.mount(self.source, self.targets[:1]).fill()
        other = self.mount(self.source, self.targets[1:], self.work.dir('mnt2'), state=self.work.join('state2'))
        other.fill()
        self.assertEqual(self.on_targets('clip'), [read_file(self.source + '/clip')] * 3)

    def test_a_target_in_use_names_the_pid(self):
        mount = self.mount(self.source, self.targets[:2])
        self.refused(1, *self.second(self.targets[1:], self.work.join('state2')), containing=[str(mount.pid)])
        self.assertTrue(alive(mount.pid))
        self.assertEqual(self.on_targets('clip')[2], None)

    def test_a_state_in_use_names_the_pid(self):
        mount = self.mount(self.source, self.targets[:1])
        self.refused(1, *self.second(self.targets[1:], self.work.join('state')), containing=[str(mount.pid)])
        mount.fill()

    def test_a_mount_point_in_use_by_a_living_cvv(self):
        mount = self.mount(self.source, self.targets[:1])
        result = self.work.cvv('mount', '-t', self.targets[1], '--state', self.work.join('state2'), self.source,
                               mount.point)
        self.assertIn(result.code, (1, 2), result)
        self.assertEqual(len(result.lines()), 1, result)
        mount.fill()

    def test_a_target_is_free_again_after_umount_and_after_kill(self):
        for end in ('umount', 'kill9'):
            mount = self.mount(self.source, self.targets[:1])
            mount.fill()
            getattr(mount, end)()
        self.mount(self.source, self.targets[:1], state=self.work.join('state2'))


class ControlLines(Case):
    def setUp(self):
        super().setUp()
        self.put('dir/clip', 1000)
        self.live = self.simple()
        self.live.scanned()

    def assertRejected(self, text, number=errno.EINVAL):
        before = self.live.status()
        self.assertFails(number, self.live.write_control, text)
        after = self.live.status()
        for key in ('state', 'queued_bytes', 'owed_bytes', 'targets', 'bytes'):
            self.assertEqual(before[key], after[key], text)

    def test_malformed_lines_are_einval(self):
        for text in ('frobnicate\n', 'fillet\n', 'limit\n', 'limit fast\n', 'limit -1\n', 'resync x\n', 'resync 0\n',
                     'resync 9\n', 'remove\n', 'remove 9\n', 'add\n', 'pause now\n', 'PAUSE\n', '\0\n', 'fill dir\\x\n',
                     'fill ../etc\n', 'fill /\0\n'):
            with self.subTest(text):
                self.assertRejected(text)

    def test_one_bad_line_among_good_ones_changes_nothing(self):
        self.assertRejected('pause\nfrobnicate\n')
        self.assertRejected('fill\nlimit 1Q\n')

    def test_an_absent_path_is_enoent(self):
        self.assertRejected('fill absent\n', errno.ENOENT)
        self.assertRejected('verify dir/absent\n', errno.ENOENT)

    def test_ctl_says_one_line(self):
        self.refused(2, 'ctl', self.live.point, 'frobnicate', containing=['frobnicate'])
        self.refused(1, 'ctl', self.live.point, 'fill', 'absent', containing=['absent'])

    def test_commands_on_a_directory_that_is_no_mount(self):
        for words in (['ctl', self.source, 'fill'], ['status', self.source], ['umount', self.source],
                      ['status', self.work.join('absent')]):
            with self.subTest(words[0]):
                result = self.work.cvv(*words)
                self.assertIn(result.code, (1, 2), result)
                self.assertEqual((len(result.lines()), result.out), (1, ''), result)

    def test_a_huge_line_is_refused(self):
        self.assertRejected('fill ' + 'x' * 100000 + '\n')


class Surroundings(Case):
    def test_names_of_mount_source_and_targets_of_any_kind(self):
        names = ['with space', 'comma,colon:x', 'back\\slash', 'new\nline', os.fsdecode(b'latin-\xe9'), '-dash']
        for number, name in enumerate(names):
            with self.subTest(name):
                base = self.work.dir('base%d' % number)
                source, target, point = (os.path.join(base, kind, name) for kind in 'stm')
                for path in (source, target, point):
                    os.makedirs(path)
                self.work.file(b'content', source, 'clip')
                mount = self.mount(source, [target], point, state=os.path.join(base, 'state'))
                if name.isascii():
                    self.assertEqual(mount.status()['targets'][0]['path'], target)
                mount.fill()
                self.assertEqual(mounted(point)[2], source)
                mount.umount()
                self.assertEqual(os.listdir(target), ['clip'])

    def test_a_read_only_card(self):
        need_root()
        content = self.put('clip', MiB)
        for options in ('bind', 'remount,bind,ro'):
            self.assertEqual(self.work.run('mount', '-o', options, self.source, self.source).code, 0)
        self.addCleanup(detach, self.source)
        mount = self.simple()
        mount.fill()
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    def test_a_target_too_small_becomes_full_and_the_others_go_on(self):
        need_root()
        content = self.put('clip', 8 * MiB)
        self.assertEqual(self.work.run('mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', self.targets[1]).code, 0)
        self.addCleanup(detach, self.targets[1])
        mount = self.simple('--chunk-size', '1M')
        mount.do('fill')
        mount.wait()
        self.assertEqual([self.on_targets('clip')[index] for index in (0, 2)], [content] * 2)
        self.assertEqual([target['state'] for target in mount.status()['targets']], ['online', 'full', 'online'])
        self.assertIn(self.targets[1], mount.read_control('errors'))
        self.assertEqual(self.work.run('mount', '-o', 'remount,size=64m', self.targets[1]).code, 0)
        mount.until(lambda status: status['state'] == 'complete', 30, 'the full target to complete')
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    def namespace(self, setup, *words, **keywords):
        need_root()
        need('unshare')
        script = setup + ' && exec "$@"'
        return self.work.run('unshare', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh', *words, **keywords)

    def mount_words(self):
        return [cvv(), 'mount', '-m', 'transfer', '--state', self.work.join('state'), '-t', self.targets[0], self.source,
                self.work.dir('mnt')]

    def test_no_dev_fuse_names_the_remedy(self):
        setup = ('mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 '
                 '&& mknod -m 666 /dev/zero c 1 5 && mkdir -m 1777 /dev/shm')
        if self.work.path.startswith('/dev/'):
            setup = 'mount --bind /dev/shm /mnt && %s && mount --bind /mnt /dev/shm' % setup
        result = self.namespace(setup, *self.mount_words())
        self.assertEqual((result.code, len(result.lines())), (1, 1), result)
        self.assertIn('/dev/fuse', result.err)

    def as_nobody(self):
        for path in (self.work.path, self.source, *self.targets, self.work.dir('mnt')):
            os.chown(path, 65534, 65534)
        self.work.env['HOME'] = self.work.path
        mode = stat.S_IMODE(os.stat('/dev/fuse').st_mode)
        os.chmod('/dev/fuse', 0o666)
        self.addCleanup(os.chmod, '/dev/fuse', mode)
        nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']
        if self.work.run(*nobody, 'test', '-x', cvv()).code != 0:
            self.skipTest('others cannot run the program')
        return nobody

    def test_no_fusermount3_names_the_remedy(self):
        need_root()
        need('setpriv', 'fusermount3')
        nobody = self.as_nobody()
        program = os.path.realpath(shutil.which('fusermount3'))
        result = self.namespace('mount --bind /dev/null ' + program, *nobody, *self.mount_words())
        self.assertEqual((result.code, len(result.lines())), (1, 1), result)
        self.assertIn('fusermount3', result.err)

    def test_another_user_mounts_through_fusermount3(self):
        need_root()
        need('setpriv', 'fusermount3')
        nobody = self.as_nobody()
        content = self.put('clip', MiB)
        os.chown(self.source + '/clip', 1000, 1000)
        result = self.work.run(*nobody, *self.mount_words())
        self.assertEqual(result.code, 0, result)
        point = self.work.join('mnt')
        self.addCleanup(detach, point, True)
        self.assertEqual(mounted(point)[1], 'fuse.cvv')
        self.assertFails(errno.EACCES, os.listdir, point)       # without allow_other not even root
        shell = 'cmp "$1" "$2" && cat "$3"'
        result = self.work.run(*nobody, 'sh', '-c', shell, 'sh', point + '/clip', self.source + '/clip',
                               point + '/.cvv/wait')
        self.assertEqual((result.code, result.out.strip()), (0, 'complete'), result)
        self.assertEqual(self.on_targets('clip')[0], content)
        result = self.work.run(*nobody, cvv(), 'umount', point)
        self.assertIn(result.code, (0, 1), result)
        self.assertIsNone(mounted(point))

    def test_a_cvv_directory_in_the_source_is_excluded_and_said(self):
        self.put('.cvv/mine', b'x')
        self.put('clip', b'y')
        mount = self.simple()
        mount.fill()
        status = mount.status()
        self.assertEqual(bounded(5, os.listdir, mount.point), ['clip'])
        self.assertGreaterEqual(status['files']['excluded'], 1)
        self.assertIn('.cvv', mount.read_control('skipped'))
        mount.umount()
        for target in self.targets:
            self.assertEqual(os.listdir(target), ['clip'])

    def test_garbage_as_state_is_set_aside_and_costs_no_data(self):
        content = self.put('clip', MiB)
        self.work.file(b'\xa5' * 100000, 'state', 'data.mdb')
        mount = self.simple()
        mount.fill()
        self.assertEqual(self.on_targets('clip'), [content] * 3)


if __name__ == '__main__':
    unittest.main()
