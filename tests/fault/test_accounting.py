"""Every file of the source is in exactly one category, and they add up, whatever the source does in the middle of a run."""
import os
import random
import stat
import unittest

from test_faults_read import Faulty
from harness import MiB, bounded, eventually, random_bytes, timeout
from trees import walk

CATEGORIES = ['pending', 'copied', 'skipped', 'missing', 'failed', 'conflict']


def is_file(status):
    return not stat.S_ISDIR(status.st_mode)


class Accounting(Faulty):
    def assertAddsUp(self, status):
        for unit in ('files', 'bytes'):
            counts = status[unit]
            self.assertEqual(counts['total'], sum(counts[category] for category in CATEGORIES), counts)
            self.assertLessEqual(counts['verified'], counts['copied'] + counts['skipped'], counts)

    def names(self):
        """What is no directory in the source (past the faults), by path."""
        return {path: status for path, status in walk(self.real).items() if is_file(status)}

    def is_copied(self, name):
        return all(os.path.lexists(os.path.join(target, name)) and not os.path.isdir(os.path.join(target, name)) for target in self.targets)

    def listed(self, mount, category):
        lines = mount.read_control('skipped').splitlines()
        return [line[len(category) + 1:].rsplit(': ', 1)[0] for line in lines if line.startswith(category + ' ')]

    def prepare(self, *options, **keywords):
        """A slow fill of 60 files; the source is read through faultfs."""
        self.real = self.source
        for number in range(60):
            self.put('d%d/f%02d' % (number % 6, number), 100 * 1024 + number)
        for number in range(3):
            self.put('l%d/a' % number, MiB + number)
            os.link(os.path.join(self.real, 'l%d/a' % number), os.path.join(self.real, 'l%d/b' % number))
        os.symlink('f00', os.path.join(self.real, 'd0/link'))
        self.fault = self.faulty_source()
        mount = self.simple('--fill', 'all', '--limit', '1M', *options, **keywords)
        mount.scanned()
        mount.until(lambda status: status['files']['copied'] > 3, 60, 'the first files')
        return mount

    def remove(self, *names):
        for name in names:
            os.unlink(os.path.join(self.real, name))

    def change(self):
        """What may happen to a card in use. Returns the names that vanish, and those that cannot be read any more."""
        gone = ['d0/f00', 'd0/f06', 'd1/f55', 'd5/f59', 'l0/a', 'l1/b', 'l2/a', 'l2/b', 'd0/link']
        self.remove(*gone)
        for name in ('d2/f02', 'd2/f56'):
            with open(os.path.join(self.real, name), 'ab') as file:
                file.write(random_bytes(random.Random(name), 70000))
        os.rename(os.path.join(self.real, 'd3/f57'), os.path.join(self.real, 'd3/renamed'))
        os.mkdir(os.path.join(self.real, 'new'))
        for number in range(4):
            self.put('new/n%d' % number, 5000 + number)
        for name in [name for name in os.listdir(os.path.join(self.real, 'd4'))]:
            self.remove('d4/' + name)
            gone.append('d4/' + name)
        os.rmdir(os.path.join(self.real, 'd4'))
        self.put('sealed/s', 100)
        self.fault.rules('read fail=EIO path=d1/f49\nread fail=EIO path=d5/f53\nreaddir fail=EIO path=sealed')
        return gone + ['d3/f57'], ['d1/f49', 'd5/f53', 'sealed']

    def finish(self, mount):
        """Looks at the source again, and waits for the end; every status on the way adds up."""
        mount.do('limit', '0')
        mount.do('retry')

        def ended():
            status = mount.status()
            self.assertAddsUp(status)
            return status if status['state'] not in ('filling', 'verifying') else None
        return eventually(ended, 120, 'the end')

    def check(self, mode):
        mount = self.prepare(mode=mode)
        for _ in range(20):
            self.assertAddsUp(mount.status())
        gone, unreadable = self.change()
        status = self.finish(mount)
        self.assertEqual(status['state'], 'failed', status)
        names = self.names()
        read = set(names) - set(unreadable) - {'sealed/s'}
        counts = status['files']
        already = [name for name in unreadable if self.is_copied(name)]
        self.assertEqual(counts['copied'], len(read) + len(already), counts)
        self.assertEqual(counts['missing'], len(gone) + len(unreadable) - len(already), counts)
        self.assertEqual((counts['pending'], counts['failed'], counts['conflict'], counts['excluded']), (0, 0, 0, 0), counts)
        missing = self.listed(mount, 'missing')
        self.assertEqual(missing, sorted(set(gone + unreadable) - set(already)))
        for name in read - {'d0/link'}:
            with open(os.path.join(self.real, name), 'rb') as file:
                self.assertEqual(self.on_targets(name), [file.read()] * 3, name)
        self.assertEqual(mount.read_control('safe-to-erase', 30).splitlines()[0],
                         'no: %d files vanished from the source or cannot be read' % len(missing))
        return mount, status, read, unreadable

    @timeout(300)
    def test_a_source_that_changes_in_the_middle_of_a_run(self):
        mount, status, read, unreadable = self.check('transfer')
        inodes = {status.st_ino: status.st_size for path, status in self.names().items() if path in read and stat.S_ISREG(status.st_mode)}
        self.assertGreaterEqual(status['bytes']['copied'] + status['bytes']['missing'], sum(inodes.values()))
        self.fault.rules('')
        mount.do('retry')
        mount.wait(120)
        status = mount.status()
        self.assertAddsUp(status)
        self.assertEqual(status['files']['copied'], len(self.names()), status)
        self.assertTrue(status['scan_complete'])
        mount.umount(expect=1)

    @timeout(300)
    def test_a_source_that_changes_in_the_middle_of_a_run_in_full(self):
        mount, status, read, _ = self.check('full')
        self.assertEqual(status['files']['verified'], status['files']['copied'], status)
        mount.umount(expect=1)

    @timeout(300)
    def test_the_next_mount_counts_what_the_source_has_by_then(self):
        mount = self.prepare(mode='full')
        gone, _ = self.change()
        self.fault.rules('')
        self.finish(mount)
        copied = [name for name in gone if self.is_copied(name)]
        mount.umount(expect=1)
        mount.start()
        mount.wait(120)
        status = mount.status()
        self.assertAddsUp(status)
        missing = self.listed(mount, 'missing')     # what was begun and cannot be ended
        self.assertEqual(missing, sorted(set(missing) - set(copied)))
        self.assertLessEqual(set(missing), set(gone))
        self.assertEqual(status['files']['total'], len(self.names()) + len(missing), status)
        self.assertEqual(status['files']['verified'], len(self.names()), status)
        self.assertEqual(mount.read_control('safe-to-erase', 30).startswith('yes'), not missing)
        mount.umount(expect=1 if missing else 0)


if __name__ == '__main__':
    unittest.main()
