"""Power cuts in the middle of fills: what was marked present is there, final names are whole, and the fill goes on to its end."""
import fcntl
import glob
import json
import os
import random
import stat
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'mount'))

from devices import LoopFs                                                                   # noqa: E402
from harness import LONG, Case, MiB, bounded, eventually, need, need_root, note, read_file, seed, timeout  # noqa: E402
from processes import SCALE                                                                  # noqa: E402
from test_kill9_random import Steps                                                          # noqa: E402
from trees import compare_trees, mixed_tree, walk, write_random                              # noqa: E402

CUTS = 50 if LONG else 6
CHUNK = MiB
LARGE = (200, 60) if LONG else (48,)
EXT4_IOC_SHUTDOWN, WITHOUT_LOG = 0x8004587d, 2


def read_files(mount, paths):
    """{path: (id, [chunks marked present, for each target])} as .cvv/files says now."""
    found = {}
    for path in paths:
        targets = json.loads(read_file(mount.path('.cvv/files', path)))['targets']
        present = [{chunk for first, end, state in target['map'] if state in ('present', 'verified')
                    for chunk in range(first, end)} for target in targets]
        found[path] = os.lstat(mount.path(path)).st_ino, present
    return found


def has_chunks(path, source, chunks):
    """Whether the file has the source's bytes in these chunks."""
    try:
        with open(path, 'rb', buffering=0) as one, open(source, 'rb', buffering=0) as two:
            return all(os.pread(one.fileno(), CHUNK, chunk * CHUNK) == os.pread(two.fileno(), CHUNK, chunk * CHUNK)
                       for chunk in sorted(chunks))
    except FileNotFoundError:
        return False


class Cut(Case):
    def setUp(self):
        super().setUp()
        need_root()
        need('xfs_io')
        self.assertEqual(self.work.run('mount', '-t', 'tmpfs', 'tmpfs', self.source).code, 0)

    def know_names(self):
        self.names = {}         # of each inode
        for path in self.files:
            self.names.setdefault(self.source_inode(path), []).append(path)

    def source_inode(self, path):
        return os.lstat(os.path.join(self.source, path)).st_ino

    def lacking(self, files):
        """What of the chunks that were marked present is neither in a partial file nor under a final name."""
        lacking = []
        for path, (number, present) in files.items():
            source, names = os.path.join(self.source, path), self.names[self.source_inode(path)]
            for target, chunks in zip(self.targets, present):
                def anywhere():
                    partial = glob.glob('%s/.cvv/partial/%x.*' % (glob.escape(target), number))
                    final = [os.path.join(target, name) for name in names]
                    return any(has_chunks(candidate, source, chunks) for candidate in partial + final)
                if chunks and not anywhere() and not anywhere():    # the second time it may just have got its final name
                    lacking.append('%r: chunks %s on %s' % (path, sorted(chunks), target))
        return lacking


class PowerCuts(Cut):
    def make_source(self, rng):
        self.files = mixed_tree(self.source, rng, files=120, largest=4 * MiB)
        for number, size in enumerate(LARGE):
            write_random(os.path.join(self.source, 'large%d' % number), size * MiB, rng)
            self.files.append('large%d' % number)
        self.know_names()

    def begin_round(self):
        """Empty targets, and no state."""
        for disk in self.disks:
            self.assertEqual(self.work.run('rm', '-rf', disk.data, seconds=120).code, 0)
            os.mkdir(disk.data)
            self.assertEqual(self.work.run('sync', '-f', disk.path, seconds=60).code, 0)
        self.targets = [disk.data for disk in self.disks[:3]]

    def begin(self, *options):
        return self.mount(self.source, self.targets, None, '--chunk-size', '1M', *options,
                          state=os.path.join(self.disks[3].data, 'state'))

    def half_names(self):
        """Final names that are not whole."""
        found = []
        for target in self.targets:
            for path, attributes in walk(target, ignore=('.cvv',)).items():
                source, name = os.path.join(self.source, path), os.path.join(target, path)
                want = os.lstat(source)
                if stat.S_IFMT(attributes.st_mode) != stat.S_IFMT(want.st_mode):
                    found.append('%r: type %o' % (name, attributes.st_mode))
                elif stat.S_ISLNK(want.st_mode) and os.readlink(name) != os.readlink(source):
                    found.append('%r: leads to %r' % (name, os.readlink(name)))
                elif stat.S_ISREG(want.st_mode) and (attributes.st_size != want.st_size or read_file(name) != read_file(source)):
                    found.append('%r: %d bytes' % (name, attributes.st_size))
        return found

    def cut(self, mount, rng):
        """The power of some of the filesystems, and the process, at this moment; then power again."""
        chosen = rng.choice([[rng.randrange(4)], rng.sample(range(4), 2), rng.sample(range(4), 3), [0, 1, 2, 3], [3]])
        if rng.random() < 0.6:      # much that is marked and named, and in half of the cases more on its way at the cut
            mount.do('checkpoint', seconds=60)
        before = bounded(60, read_files, mount, self.files)
        if rng.random() < 0.5:
            self.work.start(mount.ctl, 'checkpoint')
        for number in chosen:
            self.disks[number].shutdown(flush_log=rng.random() < 0.2)
        mount.kill9()
        for number in chosen:
            self.disks[number].remount()
        self.assertEqual(bounded(120, self.half_names), [], 'after a cut of %s' % chosen)
        self.assertEqual(bounded(120, self.lacking, before), [], 'marked before a cut of %s' % chosen)
        return chosen

    def check_state(self, mount, chosen):
        """What the state says after a cut is true, too."""
        after = bounded(60, read_files, mount, self.files)
        self.assertEqual(bounded(120, self.lacking, after), [], 'marked after a cut of %s' % chosen)

    def go_on(self, mount, rng):
        """Waits for a random share of what is still to be read; whether all is complete."""
        start = mount.status()
        wanted = start['source_copy_bytes'] + rng.random() * max(1, max(target['owed_bytes'] for target in start['targets']))
        end = time.monotonic() + rng.uniform(0, 3) * SCALE

        def reached():
            status = mount.status()
            return status['state'] == 'complete' or status['source_copy_bytes'] >= wanted or time.monotonic() > end
        eventually(reached, 60, 'the fill to go on')
        return mount.status()['state'] == 'complete'

    def finish(self, mount):
        mount.do('fill')
        self.assertEqual(mount.wait(300), 'complete', mount.read_control('errors'))
        self.assertSameTree(self.source, mount.point)
        mount.umount()
        for target in self.targets:
            self.assertFalse(os.path.lexists(os.path.join(target, '.cvv')), target)
            self.assertEqual(bounded(300, compare_trees, self.source, target), [])

    def cuts(self, kind):
        rng = seed()
        self.make_source(rng)
        self.disks = [LoopFs(self.work, kind, 2 << 30, name) for name in ('d1', 'd2', 'd3', 'd4')]
        cuts, rounds, mount = 0, 0, None
        while cuts < CUTS:
            if mount is None:
                self.begin_round()
                rounds += 1
            mount, chosen = self.begin('--limit', '%dM' % rng.choice((20, 60, 200))), None
            mount.do('fill')
            while cuts < CUTS:
                if chosen is not None:
                    self.check_state(mount, chosen)
                complete = self.go_on(mount, rng)
                chosen = self.cut(mount, rng)
                cuts += 1
                mount.start()
                mount.do('fill')
                if complete:
                    break
            self.check_state(mount, chosen)
            self.finish(mount)
            mount = None
        note('%d cuts in %d rounds' % (cuts, rounds))

    @timeout(400)
    def test_power_cuts_on_ext4(self):
        self.cuts('ext4')

    @timeout(400)
    def test_power_cuts_on_xfs(self):
        self.cuts('xfs')


class OvertakenSyncs(Cut):
    """One disk goes in the middle of a sync while all else goes on: whatever that sync says, what is marked is there."""

    SIZE = 160 * MiB

    def empty(self):
        for path in (self.disk.data, self.work.join('state')):
            self.assertEqual(self.work.run('rm', '-rf', path, seconds=60).code, 0)
        os.mkdir(self.disk.data)
        os.sync()

    def cut_in_a_sync(self, number, syncs, delay_s):
        """A fill until the disk goes in the sync that comes after so many."""
        self.empty()
        steps = Steps(self.work.join('steps%d' % number))
        self.work.env['CVV_STEPS'] = self.work.join('steps%d' % number)
        mount = self.mount(self.source, self.targets, None, '--chunk-size', '1M', '--limit', '100M')
        descriptor = os.open(self.disk.path, os.O_RDONLY)
        job = self.work.start(self.ask_for_checkpoints, mount)
        mount.do('fill')
        end = time.monotonic() + 20 * SCALE
        while not ('sync' in steps.under_way() and steps.begun('sync') > syncs) and time.monotonic() < end:
            pass
        time.sleep(delay_s)     # into the sync
        fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack('I', WITHOUT_LOG))
        os.close(descriptor)
        mount.until(lambda status: status['targets'][0]['state'] != 'online', 30, 'the loss of the disk to be noticed')
        job.kill()
        files = bounded(30, read_files, mount, self.files)
        mount.kill9()
        self.disk.remount()
        self.assertEqual(bounded(60, self.lacking, files), [], 'marked in round %d' % number)
        return bool(files['large'][1][0])

    @staticmethod
    def ask_for_checkpoints(mount):
        while mount.ctl('checkpoint').code == 0:
            pass

    @timeout(300)
    def test_what_a_sync_of_a_disk_that_goes_meanwhile_says_is_not_believed(self):
        rng, rounds = seed(), 60 if LONG else 16
        self.files = ['large']
        write_random(os.path.join(self.source, 'large'), self.SIZE, rng)
        self.know_names()
        self.disk = LoopFs(self.work, 'ext4', 1 << 30)
        self.targets = [self.disk.data]
        marked = sum(self.cut_in_a_sync(number, rng.randrange(1, 5), rng.uniform(0, 0.015)) for number in range(rounds))
        note('the disk went in %d syncs; something was marked before in %d' % (rounds, marked))
        self.assertGreater(marked, 0)


if __name__ == '__main__':
    unittest.main()
