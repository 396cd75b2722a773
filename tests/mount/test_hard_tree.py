"""A tree made to be hard arrives whole: names of any bytes, depth, links, holes, owners, modes, ACLs, capabilities, attributes, times
and special files, on ext4, XFS and tmpfs; on a weak filesystem what it cannot hold is summed up, and found finished at the next mount."""
import os
import shutil
import unittest

from devices import FaultFs, LoopFs, run
from hard_trees import GiB, MiB, TIMES_NS, TiB, acl, compare_by_descriptors, deep, hard_tree, same_sparse, set_times, write
from harness import LONG, Case, cvv, detach, eventually, mounted, need, need_root, read_file, seed, timeout

USER = 65534       # nobody: fusermount3 asks for the name

# XFS shows the ACLs a second time, as attributes of its own.
RSYNC = ['rsync', '-aHAXn', '--delete', '--itemize-changes', '--numeric-ids', '--filter=-x trusted.SGI_*']


class HardTree(Case):
    def setUp(self):
        super().setUp()
        need_root()
        need('rsync')

    def tmpfs(self, name, size='2g'):
        path = self.work.dir(name)
        run('mount', '-t', 'tmpfs', '-o', 'size=%s,mode=755' % size, 'tmpfs', path)
        self.work.closers.append(lambda: run('umount', '-l', path, check=False))
        return path

    def three_targets(self):
        """ext4, XFS and tmpfs."""
        size = (16 if LONG else 1) * GiB
        return [LoopFs(self.work, 'ext4', size, 'ext4', mkfs=('-b', '4096', '-I', '256')).data,
                LoopFs(self.work, 'xfs', size, 'xfs').data, self.tmpfs('memory')]

    def fill(self, source, targets, *options, expect='complete', seconds=300, umount=0):
        """Mounts, fills and unmounts; returns the last status and .cvv/errors."""
        mount = self.mount(source, targets, None, '--fill', 'all', *options)
        self.assertEqual(mount.wait(seconds), expect, mount.read_control('errors'))
        status, errors = mount.status(), mount.read_control('errors')
        mount.umount(seconds=120, expect=umount)
        return status, errors

    def assertRsyncClean(self, source, target, *options):
        result = self.work.run(*RSYNC, *options, source + '/', target + '/', seconds=300)
        self.assertEqual((result.code, result.out, result.err), (0, '', ''), target)

    @timeout(600)
    def test_nothing_of_a_hard_tree_is_lost_on_three_filesystems(self):
        source = LoopFs(self.work, 'ext4', 2 * GiB, 'card', mkfs=('-b', '4096', '-N', '300000')).data
        undo = hard_tree(source, seed(), 100_000 if LONG else 2_000, TiB if LONG else 20 * GiB)
        self.work.closers.append(undo)
        targets = self.three_targets()
        status, errors = self.fill(source, targets, seconds=3000 if LONG else 300)
        self.assertEqual(errors, '')
        self.assertEqual(status['files']['total'], status['files']['copied'])
        for target in targets:
            self.assertRsyncClean(source, target)
            self.assertOnlyPlain(target, source, sparse=True, content=False)
            self.assertEqual(os.stat(target).st_mtime_ns, os.stat(source).st_mtime_ns)
            self.assertHolesKept(source, target)
        self.assertEqual(self.fill(source, targets)[0]['files'], status['files'])
        shutil.rmtree(self.work.join('state'))      # what is there is compared, byte by byte
        status, _ = self.fill(source, targets, '--existing', 'verify', seconds=3000 if LONG else 300)
        self.assertEqual(status['files']['skipped'], status['files']['total'])
        for target in targets:
            self.assertRsyncClean(source, target)

    def assertHolesKept(self, source, target):
        for directory, _, names in os.walk(source):
            for name in names:
                path = os.path.join(directory, name)
                other = os.path.join(target, os.path.relpath(path, source))
                if os.path.isfile(path) and not os.path.islink(path):
                    self.assertTrue(same_sparse(path, other), other)
                    self.assertLessEqual(os.stat(other).st_blocks, os.stat(path).st_blocks + 256, other)

    @timeout(240)
    def test_paths_that_no_system_call_takes_arrive(self):
        source, targets = self.source, self.targets
        deep(os.path.join(source, 'deep'), 60, 'ä' * 127, 'x' * 255, 4000)
        set_times(os.path.join(source, 'deep'), 10**18)
        self.work.closers.append(lambda: run('rm', '-rf', source, *targets))
        _, errors = self.fill(source, targets)
        self.assertEqual(errors, '')
        for target in targets:
            self.assertEqual(compare_by_descriptors(os.open(source, os.O_RDONLY), os.open(target, os.O_RDONLY)), [])

    def exfat(self, size=256 * MiB):
        """exFAT through FUSE: no owners, modes, attributes, links or special files; times from 1980, in local memory any; `A` is `a`."""
        need('mkfs.exfat', 'mount.exfat-fuse', 'losetup')
        image, path = self.work.join('exfat.img'), self.work.dir('exfat')
        with open(image, 'wb') as file:
            file.truncate(size)
        run('mkfs.exfat', image)
        loop = run('losetup', '--find', '--show', image).strip()
        self.work.closers.append(lambda: run('losetup', '--detach', loop, check=False))
        self.work.closers.append(lambda: run('umount', path, check=False))

        def mount():
            run('mount.exfat-fuse', loop, path)
            if not mounted(path):
                raise unittest.SkipTest('cannot mount exFAT')

        def remount():
            run('umount', path)
            eventually(lambda: run('losetup', '--list', '--noheadings', loop) != '' and not busy(loop), 20, 'the end of exfat-fuse')
            mount()
        mount()
        os.mkdir(os.path.join(path, 'data'))
        return os.path.join(path, 'data'), remount

    @timeout(240)
    def test_what_a_weak_filesystem_cannot_hold_is_summed_up_and_finished_at_the_next_mount(self):
        source, (weak, remount) = self.source, self.exfat()
        targets = [self.targets[0], weak, self.targets[1]]
        for number, when in enumerate(TIMES_NS):
            write(os.path.join(source, 'time %d' % number), b'%d' % number * 1000)
            set_times(os.path.join(source, 'time %d' % number), when)
        for name, bits in (('mode', 0o640), ('set', 0o6755), ('owner', 0o644), ('attributes', 0o644), ('acl', 0o644)):
            write(os.path.join(source, name), name.encode())
            os.chmod(os.path.join(source, name), bits)
        os.chown(os.path.join(source, 'owner'), 1234, 5678)
        os.setxattr(os.path.join(source, 'attributes'), 'user.test', b'1')
        os.setxattr(os.path.join(source, 'acl'), 'system.posix_acl_access', acl(6, 4, 6, 4, users=[(1000, 6)]))
        os.mkdir(os.path.join(source, 'old directory'))
        write(os.path.join(source, 'old directory', 'inside'), b'inside')
        set_times(os.path.join(source, 'old directory'), -10**18)
        _, errors = self.fill(source, targets)
        for word in ('owner', 'permissions', 'extended attributes', 'ACL'):
            self.assertIn(word, errors)
        self.assertIn('target 2', errors)
        self.assertNotIn('target 1', errors)
        for _ in range(2):
            remount()
            status, _ = self.fill(source, targets)
            self.assertEqual((status['files']['conflict'], status['files']['pending'], status['files']['copied']),
                             (0, 0, status['files']['total']))
        for target in targets[::2]:
            self.assertRsyncClean(source, target)
        for name in os.listdir(source):
            if os.path.isfile(os.path.join(source, name)):
                self.assertSameBytes(os.path.join(source, name), os.path.join(weak, name))

    @timeout(240)
    def test_what_is_illegal_on_a_weak_filesystem_fails_there_only(self):
        source, (weak, remount) = self.source, self.exfat()
        targets = [self.targets[0], weak, self.targets[1]]
        bad = ['a:b', 'question?', 'new\nline', os.fsdecode(b'\xff\xfe'), 'link', 'fifo', 'symlink', 'device', 'Clash']
        for name in bad[:4] + ['good', 'clash', 'sub/dir/good']:
            self.put(name, name.encode('utf-8', 'surrogateescape'))
        self.fill(source, targets, expect='failed', umount=1)
        self.put('Clash', b'another')
        os.link(os.path.join(source, 'good'), os.path.join(source, 'link'))
        os.mkfifo(os.path.join(source, 'fifo'))
        os.mknod(os.path.join(source, 'device'), 0o020600, os.makedev(1, 3))
        os.symlink('good', os.path.join(source, 'symlink'))
        for _ in range(2):
            remount()
            status, errors = self.fill(source, targets, expect='failed', umount=1)
            counts = status['files']
            self.assertEqual(counts['failed'] + counts['conflict'] + counts['missing'], len(bad), errors)
            self.assertEqual(counts['copied'], counts['total'] - len(bad))
            self.assertEqual([target['state'] for target in status['targets']], ['online'] * 3)
            for word in ('symbolic link', 'special file', 'hard link'):
                self.assertIn(word, errors)
        for target in targets[::2]:
            self.assertRsyncClean(source, target, '--exclude=/.cvv')      # kept while something is owed anywhere
        present = {os.path.join(os.path.relpath(where, weak), name) for where, _, names in os.walk(weak) for name in names
                   if '.cvv' not in where}
        self.assertEqual(present, {'./good', './clash', 'sub/dir/good'})

    def test_what_was_queued_and_is_excluded_at_the_next_mount_is_not_brought(self):
        for name in ('sub/one', 'sub/kept', 'gone/one', 'gone/deep/two', 'skip', 'stays'):
            self.put(name, 3000)
        for name in ('sub/aaa', 'sub/zzz', 'link'):
            os.link(os.path.join(self.source, 'sub/one'), os.path.join(self.source, name))
        mount = self.simple()
        mount.do('pause')
        mount.do('fill')
        mount.umount('--now', expect=1)
        mount = self.simple('--exclude', 'one', '--exclude', '/gone/', '--exclude', 'skip')
        self.assertEqual(mount.wait(), 'complete', mount.read_control('errors'))
        mount.umount()
        for target in self.targets:
            found = {os.path.relpath(os.path.join(where, name), target) for where, _, names in os.walk(target) for name in names}
            self.assertEqual(found, {'sub/kept', 'sub/aaa', 'sub/zzz', 'link', 'stays'})
            self.assertEqual(len({os.stat(os.path.join(target, name)).st_ino for name in ('sub/aaa', 'sub/zzz', 'link')}), 1)
        self.fill(self.source, self.targets)        # excluded no more
        for target in self.targets:
            self.assertRsyncClean(self.source, target)

    def test_file_is_not_recorded_while_a_directory_above_it_is_not_durable(self):
        self.put('above/between/directory/file', 5000)
        fault = FaultFs(self.work, self.targets[0])
        for path in ('above', 'above/between', 'above/between/directory'):
            state = self.work.join('state of ' + path.replace('/', ' '))
            fault.rules('fsync fail=EIO path=' + path)
            mount = self.mount(self.source, [fault.path], None, '--fill', 'all', state=state)
            mount.wait()
            self.assertEqual((mount.status()['files']['copied'], mount.status()['targets'][0]['state']), (0, 'failed'), path)
            fault.rules('')
            mount.do('retry')
            self.assertEqual(mount.wait(), 'complete', path)
            mount.umount()
            shutil.rmtree(os.path.join(self.targets[0], 'above'))

    @timeout(240)
    def test_what_a_user_may_not_read_is_listed_and_all_else_arrives(self):
        need('fusermount3')
        self.addCleanup(os.chmod, '/dev/fuse', os.stat('/dev/fuse').st_mode & 0o777)
        os.chmod('/dev/fuse', 0o666)
        for name in ('mine', 'group', 'sub/deep/mine', 'secret', 'sub/secret', 'closed/inside', 'listed/inside'):
            self.put(name, name.encode() * 100)
        for name, bits in (('mine', 0o644), ('group', 0o640), ('secret', 0), ('sub/secret', 0o600), ('closed', 0), ('listed', 0o744)):
            os.chmod(os.path.join(self.source, name), bits)
        os.setxattr(os.path.join(self.source, 'mine'), 'trusted.test', b'only root sees it')
        os.chown(os.path.join(self.source, 'group'), 0, USER)
        for path in self.targets + [self.work.dir('mnt')]:
            os.chown(path, USER, USER)
        xdg = self.work.dir('of the user')
        os.chown(xdg, USER, USER)
        words = [word for target in self.targets for word in ('-t', target)]

        def cvv_of_user(*arguments, seconds=60):
            return self.work.run('setpriv', '--reuid', str(USER), '--regid', str(USER), '--clear-groups', cvv(), *arguments,
                                 seconds=seconds, env=dict(self.work.env, XDG_STATE_HOME=xdg, HOME=xdg))
        result = cvv_of_user('mount', '--mode', 'transfer', '--fill', 'all', *words, self.source, self.work.join('mnt'))
        self.assertEqual(result.code, 0, result)
        self.addCleanup(detach, self.work.join('mnt'), True)
        point = self.work.join('mnt')

        def as_user(path):
            return self.work.run('setpriv', '--reuid', str(USER), '--regid', str(USER), '--clear-groups', 'cat',
                                 os.path.join(point, '.cvv', path), seconds=60).out
        self.assertEqual(as_user('wait'), 'failed\n', as_user('errors'))
        errors, skipped = as_user('errors'), as_user('skipped')
        for name in ('secret', 'sub/secret', 'closed', 'listed'):
            self.assertIn('\n%s: ' % name, '\n' + errors + skipped)
        self.assertIn('owner', errors)
        for target in self.targets:
            for name in ('mine', 'group', 'sub/deep/mine'):
                self.assertEqual(read_file(os.path.join(target, name)), name.encode() * 100)
            for name in ('secret', 'sub/secret', 'closed/inside', 'listed/inside'):
                self.assertFalse(os.path.exists(os.path.join(target, name)), name)
        result = cvv_of_user('umount', point)
        self.assertEqual(result.code, 1, result)
        self.assertRegex(result.out, 'failed|missing|owed')


def busy(loop):
    """Whether the device is open: exfat-fuse writes its last when umount has returned."""
    try:
        os.close(os.open(loop, os.O_RDONLY | os.O_EXCL))
        return False
    except OSError:
        return True


if __name__ == '__main__':
    unittest.main()
