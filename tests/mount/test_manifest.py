"""The manifest, as the programs that people check it with take it, on each target; and safe-to-erase beside it."""
import os
import stat
import subprocess
import unittest

from harness import Case, need, seed, timeout
from trees import mixed_tree, walk

PROGRAMS = {'xxh64': 'xxhsum', 'xxh3': 'xxhsum', 'xxh128': 'xxhsum', 'md5': 'md5sum', 'sha1': 'sha1sum', 'sha256': 'sha256sum'}


class Manifest(Case):
    def setUp(self):
        super().setUp()
        need('xxhsum')
        mixed_tree(self.source, seed(), files=30, largest=300000, special=True)
        self.put('-', 10)
        self.put('stdin', 20)
        self.put('empty', b'')
        self.files = {path for path, status in walk(self.source).items() if stat.S_ISREG(status.st_mode)}

    def checked(self, program, target):
        """The program over the saved manifest in the target: whether it takes all of it, and how many files it says are right."""
        result = subprocess.run([program, '--strict', '-c', self.work.join('manifest')], cwd=target, capture_output=True,
                                stdin=subprocess.DEVNULL, timeout=60)
        lines = result.stdout.replace(b'\r', b'\n').split(b'\n')
        return result.returncode, sum(line.endswith(b': OK') for line in lines), result

    def check(self, algorithm):
        mount = self.simple('--hash', algorithm + ',md5', '--fill', 'all', mode='full')
        self.assertEqual(mount.wait(120), 'complete', mount.read_control('errors'))
        self.assertEqual(mount.read_control('safe-to-erase', 30), 'yes\n')
        refused = set() if PROGRAMS[algorithm] != 'xxhsum' else {name for name in self.files if '\n' in name}
        errors = mount.read_control('errors').splitlines()
        self.assertEqual(len(errors), len(refused), errors)
        self.assertTrue(all('not in the manifest' in line for line in errors), errors)
        manifest = mount.read_control('manifest')
        self.work.file(os.fsencode(manifest), 'manifest')
        for target in self.targets:
            code, right, result = self.checked(PROGRAMS[algorithm], target)
            self.assertEqual(code, 0, result)
            self.assertEqual(right, len(self.files - refused), result)
        with open(os.path.join(self.targets[1], 'empty'), 'w') as file:
            file.write('x')
        self.assertEqual(self.checked(PROGRAMS[algorithm], self.targets[1])[0], 1)

    @timeout(240)
    def test_xxhsum_takes_that_of_xxh64(self):
        self.check('xxh64')

    @timeout(240)
    def test_xxhsum_takes_that_of_xxh3(self):
        self.check('xxh3')

    @timeout(240)
    def test_xxhsum_takes_that_of_xxh128(self):
        self.check('xxh128')

    @timeout(240)
    def test_md5sum_takes_that_of_md5(self):
        self.check('md5')

    @timeout(240)
    def test_sha1sum_takes_that_of_sha1(self):
        self.check('sha1')

    @timeout(240)
    def test_sha256sum_takes_that_of_sha256(self):
        self.check('sha256')

    @timeout(240)
    def test_it_is_what_the_program_prints_for_the_sorted_names(self):
        mount = self.simple('--fill', 'all', mode='full')
        self.assertEqual(mount.wait(120), 'complete', mount.read_control('errors'))
        names = sorted(os.fsencode(name) for name in self.files if '\n' not in name)
        arguments = [b'./' + name if name in (b'-', b'stdin') else name for name in names]     # else its standard input
        made = subprocess.run([b'xxhsum', b'--'] + arguments, cwd=self.source, capture_output=True, timeout=60)
        self.assertEqual(os.fsencode(mount.read_control('manifest')), made.stdout)

    @timeout(240)
    def test_that_of_a_finished_copy_is_taken_in_each_form_and_needs_no_further_reading(self):
        algorithms = ['xxh64', 'md5', 'sha256', 'sha1', 'xxh128']
        state = ['--state', self.work.join('state')]
        result = self.work.cvv('copy', *state, '-m', 'full', '--hash', ','.join(algorithms), self.source, *self.targets, seconds=120)
        self.assertEqual(result.code, 0, result)
        for algorithm in algorithms:
            mount = self.simple('--hash', algorithm, mode='full')
            mount.scanned()
            self.assertEqual(mount.wait(60), 'complete', mount.read_control('errors'))
            status = mount.status()
            self.assertEqual((status['source_copy_bytes'], status['source_verify_bytes']), (0, 0))
            self.work.file(os.fsencode(mount.read_control('manifest')), 'manifest')
            mount.umount()
            names = self.files if PROGRAMS[algorithm] != 'xxhsum' else {name for name in self.files if '\n' not in name}
            for target in self.targets:
                code, right, result = self.checked(PROGRAMS[algorithm], target)
                self.assertEqual((code, right), (0, len(names)), result)

    @timeout(240)
    def test_nothing_is_in_it_that_was_not_read_back(self):
        mount = self.simple('--fill', 'all')
        self.assertEqual(mount.wait(120), 'complete')
        self.assertEqual(mount.read_control('manifest'), '')
        self.assertEqual(mount.read_control('safe-to-erase', 30).splitlines()[0],
                         'no: the mode is transfer: only in mode full all copies are read back')


if __name__ == '__main__':
    unittest.main()
