"""How targets on different filesystems are read back: what is recorded is what was done, and what could only be read from a cache is not verified."""
import json
import mmap
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'mount'))

from copies import CopyCase                                                         # noqa: E402
from devices import FaultFs, LoopFs, run                                            # noqa: E402
from harness import Case, MiB, detach, need, need_root, read_file                   # noqa: E402


class Filesystems:
    def tmpfs(self):
        need_root()
        path = self.work.dir('tmpfs')
        run('mount', '-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', path)
        self.work.closers.append(lambda: detach(path))
        return path

    def ext4(self):
        return LoopFs(self.work, 'ext4', 64 * MiB).data

    def ext4_without_direct_io(self):
        """With its data in the journal ext4 reads through its cache, whatever is asked for."""
        self.journalled = LoopFs(self.work, 'ext4', 64 * MiB, name='journal', options='data=journal')
        return self.journalled.data

    def fuse(self):
        return FaultFs(self.work, self.work.dir('backing')).path

    def exfat(self):
        need_root()
        need('mkfs.exfat', 'mount.exfat-fuse', 'losetup')
        image, path = self.work.join('exfat.img'), self.work.dir('exfat')
        with open(image, 'wb') as file:
            file.truncate(64 * MiB)
        run('mkfs.exfat', image)
        loop = run('losetup', '--find', '--show', image).strip()
        self.work.closers.append(lambda: run('losetup', '-d', loop, check=False))
        run('mount.exfat-fuse', loop, path)
        self.work.closers.append(lambda: detach(path))
        return path

    def fill(self):
        self.put('clip', 3 * MiB + 5)
        self.put('d/small', 100)
        self.put('empty', b'')

    def expected(self):
        """{directory: method}"""
        found = {self.tmpfs(): 'memory', self.ext4(): 'direct', self.ext4_without_direct_io(): 'dropped-cache', self.fuse(): 'remote'}
        try:
            found[self.exfat()] = 'dropped-cache'
        except unittest.SkipTest:
            pass
        return found


class Copied(Filesystems, CopyCase):
    mode = 'full'

    def methods(self, targets, *options, code=0):
        status = json.loads(self.copy('--json', *options, targets=targets, code=code).out)
        return status, {target['path']: target['verify_method'] for target in status['targets']}

    def test_each_target_records_how_it_was_read_back_and_keeps_that(self):
        self.fill()
        expected = self.expected()
        for _ in range(2):
            status, methods = self.methods(list(expected))
            self.assertEqual(methods, expected)
            self.assertEqual((status['files']['verified'], status['files']['total']), (3, 3))

    def test_nothing_is_recorded_in_mode_transfer(self):
        self.fill()
        path = self.ext4()
        self.assertEqual(self.methods([path, self.targets[0]], '--mode', 'transfer')[1], {path: None, self.targets[0]: None})

    def test_the_same_tree_is_verified_alike_on_each(self):
        self.fill()
        expected = self.expected()
        digests = set()
        for number, (path, method) in enumerate(expected.items()):
            result = self.copy('-v', '--hash', 'xxh64,md5', '--state', self.work.join('state%d' % number), targets=[path])
            self.assertIn('; verified 3 on 1 target (%s)\n' % method, result.out)
            digests.add('\n'.join(line for line in result.out.splitlines() if line.startswith('copied ') and ':md5' not in line and ' md5:' in line))
        self.assertEqual(len(digests), 1, digests)
        self.assertEqual(digests.pop().count('md5:'), 3)

    def map_pages(self, path):
        """Pages that are mapped stay in the cache. Returns what lets go of them."""
        with open(path, 'rb') as file:
            pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.assertEqual(len(pages[::4096]), (len(pages) + 4095) // 4096)
        return pages.close

    def test_what_stays_in_the_cache_is_not_verified(self):
        self.fill()
        path = self.ext4_without_direct_io()
        self.copy('--mode', 'transfer', targets=[path, self.targets[0]])
        release = self.map_pages(os.path.join(path, 'clip'))
        result = self.copy(targets=[path, self.targets[0]], code=1)
        self.assertRegex(result.out, r'(?m)^(unverified|failed) clip: .')
        self.assertIn('; verified 2 on 2 targets (dropped-cache, memory)\n', result.out)
        release()
        self.assertIn('; verified 3 on 2 targets', self.copy(targets=[path, self.targets[0]]).out)

    def test_rot_is_found_where_nothing_can_be_read_directly(self):
        self.fill()
        targets = [self.ext4_without_direct_io(), self.targets[0]]
        content = read_file(os.path.join(self.source, 'clip'))
        self.copy('--mode', 'transfer', targets=targets)
        clip = os.path.join(targets[0], 'clip')
        subprocess.run(['sync', '-f', targets[0]], check=True)
        self.journalled.remount()       # what is in the journal goes to its place
        self.assertEqual(read_file(clip), content)
        self.journalled.rot(clip, MiB + 4096)
        self.assertEqual(read_file(clip), content)
        result = self.copy(targets=targets)
        self.assertIn('repaired clip: target 1 ', result.out)
        self.assertIn('; verified 3 on 2 targets', result.out)
        self.journalled.remount()
        self.assertEqual(read_file(clip), content)


class Mounted(Filesystems, Case):
    def test_a_mount_records_the_same(self):
        self.fill()
        expected = self.expected()
        self.targets = list(expected)
        mount = self.simple('--fill', 'all', mode='full')
        self.assertEqual(mount.wait(), 'complete', mount.read_control('errors'))
        self.assertEqual({target['path']: target['verify_method'] for target in mount.status()['targets']}, expected)
        mount.umount()


if __name__ == '__main__':
    unittest.main()
