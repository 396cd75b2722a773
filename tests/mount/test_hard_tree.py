"""A tree made to be hard arrives whole: names of any bytes, depth, links, holes, owners, modes, ACLs, capabilities, attributes, times
and special files, on ext4, XFS and tmpfs; on a weak filesystem what it cannot hold is summed up, and found finished at the next mount."""
import os
import shutil
import unittest

from devices import LoopFs, run
from hard_trees import (GiB, MiB, TiB, acl, compare_by_descriptors, deep, extents, hard_tree, same_sparse, set_times, sparse, write)
from harness import LONG, Case, need, need_root, seed, timeout

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


if __name__ == '__main__':
    unittest.main()
