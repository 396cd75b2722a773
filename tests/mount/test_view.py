"""The view: targets over source, attributes, links, inode numbers, df, and a read-only face to all changes."""
import errno
import os
import random
import shutil
import stat
import unittest

from harness import Case, MiB, bounded, detach, mounted, need, need_root, read_file, seed
from trees import mixed_tree, walk, write_sparse


class Merge(Case):
    def test_the_whole_tree_is_there_at_once(self):
        mixed_tree(self.source, seed(), files=60, largest=MiB, special=True)
        mount = self.simple()
        self.assertSameTree(self.source, mount.point, content=False)
        self.assertSameTree(self.source, mount.point, sparse=True)

    def test_targets_lie_over_the_source_and_directories_merge(self):
        self.put('dir/from source', b's')
        self.work.file(b'1', 't1/dir/from one')
        self.work.file(b'2', 't2/dir/from two')
        mount = self.simple()
        self.assertEqual(sorted(bounded(5, os.listdir, mount.path('dir'))), ['from one', 'from source', 'from two'])
        self.assertEqual(bounded(5, read_file, mount.path('dir/from two')), b'2')

    def test_a_directory_of_many_names_is_listed_whole(self):
        os.mkdir(os.path.join(self.source, 'many'))
        for number in range(10000):
            os.close(os.open(os.path.join(self.source, 'many', 'name %05d' % number), os.O_CREAT))
        mount = self.simple()
        listed = bounded(30, os.listdir, mount.path('many'))
        self.assertEqual((len(listed), len(set(listed))), (10000, 10000))

    def test_rewinding_and_seeking_in_a_directory(self):
        for number in range(300):
            self.put('many/%d' % number, b'')
        mount = self.simple()
        self.assertEqual(bounded(20, lambda: [len(os.listdir(mount.path('many'))) for _ in range(3)]), [300] * 3)
        script = 'opendir D, $ARGV[0]; readdir D for 1..50; $p = telldir D; @a = readdir D; seekdir D, $p; ' \
            '@b = readdir D; rewinddir D; @c = readdir D; print "@a" eq "@b" ? "same " : "other ", scalar @c'
        need('perl')
        self.assertEqual(self.work.run('perl', '-e', script, mount.path('many')).out, 'same 302')

    def test_new_files_of_the_source_appear(self):
        self.put('old', b'x')
        mount = self.simple()
        bounded(5, os.listdir, mount.point)
        self.put('new', b'y')
        self.assertEqual(bounded(5, read_file, mount.path('new')), b'y')

    def test_excluded_names_follow_gitignore(self):
        for name in ('keep', 'a.tmp', 'dir/b.tmp', 'cache/x', 'dir/cache/y', 'dir/keep.tmp', 'top/only', 'sub/top/only'):
            self.put(name, b'x')
        mount = self.simple('--exclude', '*.tmp', '--exclude', '!keep.tmp', '--exclude', 'cache/', '--exclude', '/top')
        found = bounded(5, walk, mount.point)
        self.assertEqual({path for path, s in found.items() if stat.S_ISREG(s.st_mode)},
                         {'keep', 'dir/keep.tmp', 'sub/top/only'})
        self.assertFails(errno.ENOENT, os.stat, mount.path('a.tmp'))
        mount.fill()
        self.assertEqual(self.on_targets('a.tmp'), [None] * 3)

    def test_absent_names_and_long_names(self):
        mount = self.simple()
        self.assertFails(errno.ENOENT, os.stat, mount.path('absent'))
        self.assertFails(errno.ENAMETOOLONG, os.stat, mount.path('x' * 256))

    def test_no_link_leads_out_of_the_targets(self):
        self.put('dir/clip', b'content')
        outside = self.work.dir('outside')
        os.symlink(outside, os.path.join(self.targets[0], 'dir'))
        mount = self.mount(self.source, self.targets[:1])
        mount.do('fill')
        mount.wait()
        self.assertEqual(os.listdir(outside), [])


class OverATarget(Case):
    def over(self, *options):
        return self.mount(self.source, self.targets, self.targets[1], *options)

    def test_the_view_lies_over_the_destination_itself(self):
        mixed_tree(self.source, seed(), files=40, largest=MiB)
        mount = self.over()
        self.assertEqual(mounted(self.targets[1])[1], 'fuse.cvv')
        self.assertSameTree(self.source, self.targets[1])
        mount.fill()
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)

    def test_it_goes_on_after_a_kill(self):
        content = self.put('clip', 4 * MiB)
        mount = self.over('--fill', 'chunk', '--chunk-size', '1M')
        bounded(10, read_file, mount.path('clip'), MiB)
        mount.kill9()
        mount.start()
        mount.fill()
        mount.umount()
        self.assertEqual(self.on_targets('clip'), [content] * 3)

    def test_the_partial_files_do_not_show(self):
        self.put('clip', 4 * MiB)
        mount = self.over('--fill', 'chunk', '--chunk-size', '1M')
        bounded(10, read_file, mount.path('clip'), 10)
        self.assertEqual(bounded(5, os.listdir, mount.point), ['clip'])
        self.assertFails(errno.ENOENT, os.stat, mount.path('.cvv/partial'))


class Attributes(Case):
    def test_hard_links_share_an_inode_and_are_copied_once(self):
        self.put('a', MiB)
        os.link(self.source + '/a', self.source + '/b')
        self.work.dir('source/dir')
        os.link(self.source + '/a', self.source + '/dir/c')
        mount = self.simple()
        found = bounded(5, lambda: [os.stat(mount.path(name)) for name in ('a', 'b', 'dir/c')])
        self.assertEqual(len({s.st_ino for s in found}), 1)
        self.assertEqual({s.st_nlink for s in found}, {3})
        mount.fill()
        self.assertEqual(mount.status()['source_copy_bytes'], MiB)
        for target in self.targets:
            self.assertSameTree(self.source, target, ignore=('.cvv',))

    def test_inode_numbers_do_not_change_when_the_copy_completes(self):
        mixed_tree(self.source, seed(), files=30, largest=MiB)
        mount = self.simple()

        def numbers():
            return {path: s.st_ino for path, s in walk(mount.point).items()}
        before = bounded(10, numbers)
        bounded(60, lambda: [read_file(mount.path(path)) for path in list(before) if os.path.isfile(mount.path(path))])
        mount.fill()
        self.assertEqual(bounded(10, numbers), before)

    def test_different_files_have_different_numbers(self):
        for number in range(200):
            self.put('%d' % number, b'')
            self.work.file(b'', 't1', 'target %d' % number)
        mount = self.simple()
        found = bounded(10, walk, mount.point)
        self.assertEqual(len({s.st_ino for s in found.values()}), 400)

    def test_readdir_and_stat_agree_on_the_number(self):
        self.put('dir/clip', 10)
        mount = self.simple()
        pairs = bounded(5, lambda: [(entry.inode(), entry.stat(follow_symlinks=False).st_ino)
                                    for entry in os.scandir(mount.point)])
        for listed, known in pairs:
            self.assertEqual(listed, known)

    def test_blocks_and_holes_of_a_sparse_file(self):
        write_sparse(self.source + '/sparse', 64 * MiB, random.Random(3))
        mount = self.simple()
        self.assertEqual(bounded(5, os.stat, mount.path('sparse')).st_size, 64 * MiB)
        mount.fill()
        mount.umount()
        for target in self.targets:
            self.assertLess(os.stat(target + '/sparse').st_blocks, 4 * MiB // 512)
            self.assertSameBytes(self.source + '/sparse', target + '/sparse')

    def test_acls_and_xattrs_are_shown_and_arrive(self):
        need('setfacl', 'getfacl')
        self.put('dir/clip', 10)
        for path, entry in (('dir/clip', 'u:1234:rw'), ('dir', 'd:u:1234:rwx')):
            if self.work.run('setfacl', '-m', entry, os.path.join(self.source, path)).code != 0:
                self.skipTest('no ACLs here')
        os.setxattr(self.source + '/dir/clip', 'user.note', b'a\0b')
        mount = self.simple()
        self.assertEqual(bounded(5, os.getxattr, mount.path('dir/clip'), 'user.note'), b'a\0b')
        want = self.work.run('getfacl', '-R', '-n', '.', cwd=self.source).out
        self.assertIn('1234', want)
        self.assertEqual(self.work.run('getfacl', '-R', '-n', '.', cwd=mount.point).out, want)
        mount.fill()
        mount.umount()
        for target in self.targets:
            self.assertEqual(self.work.run('getfacl', '-R', '-n', '.', cwd=target).out, want)
            self.assertEqual(os.getxattr(target + '/dir/clip', 'user.note'), b'a\0b')

    def test_special_files_are_shown_and_arrive(self):
        need_root()
        mixed_tree(self.source, seed(), files=5, largest=1000, odd=False, special=True)
        mount = self.simple()
        self.assertTrue(stat.S_ISFIFO(bounded(5, os.lstat, mount.path('fifo')).st_mode))
        mount.fill()
        mount.umount()
        for target in self.targets:
            self.assertEqual(os.stat(target + '/null').st_rdev, os.makedev(1, 3))
            self.assertTrue(stat.S_ISSOCK(os.stat(target + '/socket').st_mode))

    def test_the_kernel_checks_permissions(self):
        need_root()
        need('setpriv')
        self.put('secret', b'x')
        self.put('open', b'y')
        os.chmod(self.source + '/secret', 0o600)
        mount = self.simple('-o', 'allow_other')
        result = self.work.run('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'sh', '-c',
                               'cat "$1/open"; cat "$1/secret" || echo refused', 'sh', mount.point)
        self.assertEqual(result.out, 'yrefused\n', result)

    def test_directories_on_targets_are_never_wider_open_than_in_the_source(self):
        self.put('private/clip', 4 * MiB)
        os.chmod(self.source + '/private', 0o700)
        mount = self.simple('--fill', 'chunk', '--chunk-size', '1M')
        bounded(10, read_file, mount.path('private/clip'), 10)
        mount.wait()
        for target in self.targets:
            self.assertEqual(stat.S_IMODE(os.stat(target + '/.cvv').st_mode) & 0o022, 0)
            if os.path.isdir(target + '/private'):
                self.assertEqual(stat.S_IMODE(os.stat(target + '/private').st_mode) & 0o077, 0)


class Space(Case):
    def setUp(self):
        super().setUp()
        need_root()
        for target, size in zip(self.targets, (40, 64, 96)):
            self.assertEqual(self.work.run('mount', '-t', 'tmpfs', '-o', 'size=%dm' % size, 'tmpfs', target).code, 0)
            self.addCleanup(detach, target)

    def free(self, mount):
        result = bounded(5, os.statvfs, mount.point)
        return result.f_bavail * result.f_frsize

    def test_df_is_the_least_target_less_what_is_owed(self):
        self.put('clip', 10 * MiB)
        mount = self.simple()
        mount.scanned()
        self.assertAlmostEqual(self.free(mount), 30 * MiB, delta=2 * MiB)
        mount.fill()
        self.assertAlmostEqual(self.free(mount), 30 * MiB, delta=2 * MiB)

    def test_targets_on_one_filesystem_share_its_space(self):
        self.put('clip', 10 * MiB)
        self.targets = [self.work.dir('t1/a'), self.work.dir('t1/b')]
        mount = self.simple()
        mount.scanned()
        self.assertLessEqual(self.free(mount), 21 * MiB)


class ReadOnly(Case):
    def test_every_change_is_erofs(self):
        self.put('clip', 1000)
        self.put('dir/other', 10)
        mount = self.simple()
        path = mount.path
        calls = [
            lambda: os.open(path('clip'), os.O_WRONLY), lambda: os.open(path('clip'), os.O_RDWR),
            lambda: os.open(path('clip'), os.O_RDONLY | os.O_TRUNC), lambda: os.open(path('new'), os.O_CREAT | os.O_WRONLY),
            lambda: os.unlink(path('clip')), lambda: os.mkdir(path('new')), lambda: os.rmdir(path('dir')),
            lambda: os.rename(path('clip'), path('new')), lambda: os.link(path('clip'), path('new')),
            lambda: os.symlink('x', path('new')), lambda: os.mkfifo(path('new')), lambda: os.truncate(path('clip'), 0),
            lambda: os.chmod(path('clip'), 0o600), lambda: os.utime(path('clip')), lambda: os.chown(path('clip'), 1, 1),
            lambda: os.setxattr(path('clip'), 'user.x', b''), lambda: os.removexattr(path('clip'), 'user.x'),
        ]
        for number, call in enumerate(calls):
            with self.subTest(number):
                self.assertFails(errno.EROFS, call)
        mount.fill()
        mount.umount()
        for target in self.targets:
            self.assertOnlyPlain(target, self.source)

    def test_the_mount_says_what_it_is(self):
        self.put('clip', 10)
        mount = self.simple()
        point, kind, source, options = mounted(mount.point)
        self.assertEqual((kind, source), ('fuse.cvv', self.source))

    def test_fsname_and_subtype_override(self):
        point = self.work.dir('mnt')
        result = self.work.cvv('mount', '-m', 'transfer', '--state', self.work.join('state'), '-t', self.targets[0],
                               '-o', 'fsname=card,subtype=mine', self.source, point)
        self.assertEqual(result.code, 0, result)
        self.addCleanup(detach, point, True)
        self.assertEqual(mounted(point)[1:3], ('fuse.mine', 'card'))


class SourceGone(Case):
    def test_what_is_copied_stays_readable_and_the_rest_is_eio(self):
        need_root()
        backing = self.work.dir('card')
        self.assertEqual(self.work.run('mount', '-t', 'tmpfs', 'tmpfs', backing).code, 0)
        self.source = os.path.join(backing, 'DCIM')
        os.mkdir(self.source)
        contents = {}
        for name in ('done', 'owed'):
            contents[name] = os.urandom(MiB)
            self.work.file(contents[name], self.source, name)
        mount = self.simple('--chunk-size', '1M')
        mount.scanned()
        self.assertEqual(bounded(10, read_file, mount.path('done')), contents['done'])
        mount.wait()
        shutil.rmtree(self.source)
        self.assertEqual(bounded(10, read_file, mount.path('done')), contents['done'])
        self.assertFails(errno.EIO, read_file, mount.path('owed'))


if __name__ == '__main__':
    unittest.main()
