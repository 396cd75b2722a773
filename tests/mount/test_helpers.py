"""mount(8), umount(8) and /etc/fstab through mount.cvv, mount.fuse.cvv and umount.fuse.cvv."""
import errno
import os
import shutil
import unittest

from harness import Case, MiB, Mount, alive, bounded, cvv, detach, find_program, mounted, need, need_root, read_file


class Helpers(Case):
    def setUp(self):
        super().setUp()
        need_root()
        need('mount', 'umount')
        if os.getpid() != 1 and os.environ.get('CVV_INSTALLED') != '1':
            self.skipTest('needs the namespaces of run.py, or CVV_INSTALLED=1')
        self.install()
        self.content = self.put('clip', 2 * MiB)
        self.point = self.work.dir('mnt')

    def install(self):
        """Puts the helpers where mount(8) looks for them, in this mount namespace only."""
        if os.environ.get('CVV_INSTALLED') == '1':
            return
        base = self.work.dir('sbin')
        for folder in {os.path.realpath('/sbin')}:
            lower = shutil.copytree(folder, os.path.join(base, 'copy'), symlinks=True)
            for name in ('mount.cvv', 'mount.fuse.cvv', 'umount.fuse.cvv', 'umount.cvv'):
                path = os.path.join(lower, name)
                if os.path.lexists(path):
                    os.unlink(path)
                os.symlink(find_program(name, 'CVV_HELPER', 'mount-helper') or cvv(), path)
            self.assertEqual(self.work.run('mount', '--bind', lower, folder).code, 0)
            self.addCleanup(detach, folder)

    def system(self, *command, expect=0):
        result = self.work.run(*command, seconds=60)
        self.assertEqual(result.code, expect, result)
        return result

    def options(self, *more, targets=None):
        words = ['target=' + target for target in (targets or self.targets)]
        return ','.join([*words, 'mode=transfer', 'state=' + self.work.join('state'), *more])

    def live(self):
        """The running mount as a Mount."""
        mount = Mount(self.work, self.source, self.targets, self.point, start=False)
        self.addCleanup(mount.close)
        mount.pid = mount.status()['pid']
        return mount

    def test_mount_t_cvv_returns_when_the_mount_is_usable(self):
        for kind in ('cvv', 'fuse.cvv'):
            with self.subTest(kind):
                self.system('mount', '-t', kind, self.source, self.point, '-o', self.options())
                self.assertEqual(bounded(10, read_file, self.point + '/clip'), self.content)
                self.assertEqual(mounted(self.point)[1:3], ('fuse.cvv', self.source))
                mount = self.live()
                mount.fill()
                self.system('umount', self.point)
                self.assertFalse(alive(mount.pid))
                for target in self.targets:
                    self.assertOnlyPlain(target, self.source)

    def test_every_long_option_is_an_o_option(self):
        self.system('mount', '-t', 'cvv', self.source, self.point, '-o', self.options(
            'hash=md5', 'fill=chunk', 'chunk-size=2M', 'jobs=2', 'limit=100M', 'memory=64M', 'existing=skip',
            'exclude=*.tmp', 'list-control', 'allow_other'))
        text = self.live().read_control('config')
        self.assertRegex(text, r'(?m)^chunk-size = (2M|2097152)$')
        self.assertRegex(text, r'(?m)^fill = chunk$')
        self.assertIn('.cvv', bounded(5, os.listdir, self.point))

    def test_an_unknown_option_is_refused_with_one_line(self):
        result = self.work.run('mount', '-t', 'cvv', self.source, self.point, '-o', self.options('frobnicate'))
        self.assertNotEqual(result.code, 0)
        self.assertIn('frobnicate', result.err)
        self.assertIsNone(mounted(self.point))

    def test_standard_options_of_mount_are_taken(self):
        self.system('mount', '-t', 'cvv', self.source, self.point, '-o',
                    self.options('ro', 'nosuid', 'nodev', 'noatime', 'noexec', '_netdev', 'nofail', 'x-systemd.automount'))
        options = mounted(self.point)[3]
        for word in ('ro', 'nosuid', 'nodev', 'noexec'):
            self.assertIn(word, options)

    def test_fsname_and_suid_dev_are_obeyed(self):
        self.system('mount', '-t', 'cvv', self.source, self.point, '-o', self.options('fsname=card', 'suid', 'dev'))
        point, kind, source, options = mounted(self.point)
        self.assertEqual((kind, source), ('fuse.cvv', 'card'))
        self.assertFalse({'nosuid', 'nodev'} & set(options))

    def test_a_comma_in_a_target_is_escaped(self):
        target = self.work.dir('a,b')
        self.system('mount', '-t', 'cvv', self.source, self.point, '-o',
                    self.options(targets=[target.replace(',', '\\,')]))
        self.live().fill()
        self.assertEqual(read_file(target + '/clip'), self.content)
        self.system('umount', self.point)
        self.assertOnlyPlain(target, self.source)

    def fstab(self, line):
        path = self.work.file(os.fsencode(line + '\n'), 'fstab')
        self.system('mount', '-T', path, self.point)

    def test_an_fstab_line_mounts(self):
        self.fstab('%s %s cvv %s 0 0' % (self.source, self.point, self.options('nofail')))
        self.assertEqual(bounded(10, read_file, self.point + '/clip'), self.content)

    def test_spaces_in_an_fstab_line(self):
        self.source, target = self.work.dir('my source'), self.work.dir('my target')
        self.work.file(b'x', self.source, 'clip')
        self.point = self.work.dir('my mount')
        line = ' '.join(word.replace(' ', '\\040') for word in
                        (self.source, self.point, 'cvv', self.options(targets=[target]), '0', '0'))
        self.fstab(line)
        self.live().fill()
        self.assertEqual(read_file(target + '/clip'), b'x')

    def test_remount_read_only_and_back(self):
        self.system('mount', '-t', 'cvv', self.source, self.point, '-o', self.options())
        pid = self.live().pid
        self.system('mount', '-o', 'remount,ro', self.point)
        self.assertIn('ro', mounted(self.point)[3])
        self.assertEqual(bounded(10, read_file, self.point + '/clip'), self.content)
        self.system('mount', '-o', 'remount,rw', self.point)
        self.assertEqual(self.live().pid, pid)
        self.assertFails(errno.EROFS, os.mkdir, self.point + '/new')

    def test_remount_changes_limit_and_fill_all_and_says_what_stays(self):
        self.system('mount', '-t', 'cvv', self.source, self.point, '-o', self.options('limit=1M'))
        mount = self.live()
        mount.scanned()
        result = self.system('mount', '-o', 'remount,limit=300M,fill=all', self.point)
        self.assertEqual(result.err, '')
        self.assertEqual(mount.wait(), 'complete')
        result = self.system('mount', '-o', 'remount,fill=chunk', self.point)
        self.assertIn('fill=chunk cannot change while mounted', result.err)
        self.assertEqual(self.live().pid, mount.pid)

    def test_umount_waits_for_the_daemon(self):
        self.put('large', 16 * MiB)
        self.system('mount', '-t', 'cvv', self.source, self.point, '-o',
                    self.options('limit=1M', 'fill=all', 'chunk-size=1M'))
        mount = self.live()
        result = self.work.run('umount', self.point, seconds=30)
        self.assertIn(result.code, (0, 1), result)
        self.assertIsNone(mounted(self.point))
        self.assertFalse(alive(mount.pid))

    def test_a_mount_made_by_cvv_can_be_ended_by_umount(self):
        mount = self.simple()
        mount.fill()
        self.system('umount', mount.point)
        self.assertFalse(alive(mount.pid))


if __name__ == '__main__':
    unittest.main()
