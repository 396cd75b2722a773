"""Two cards with the same file names, copied to the same targets one after the other: nobody's footage is overwritten."""
import os
import re
import unittest

from copies import CopyCase
from devices import LoopFs
from harness import MiB, random_bytes, read_file, seed, timeout
from trees import walk


class SameNames(CopyCase):
    """Card A is copied first; of card B some names are A's with other bytes, some with the same ones, some are new."""

    modes = 'transfer', 'source', 'full'

    def setUp(self):
        super().setUp()
        self.own_default_state()
        self.rng = seed()
        self.a, self.b = self.work.dir('cards', 'a'), self.work.dir('cards', 'b')

    def make_cards(self, a, b):
        """Returns {name: (bytes on A, bytes on B)}; None where a card has no such file."""
        files = {}
        for number in range(12):
            one = random_bytes(self.rng, self.rng.choice((1000, 70000, 2 * MiB + 3)))
            other = random_bytes(self.rng, len(one) if number % 2 else len(one) + 1)
            files['DCIM/C%04d.MOV' % number] = one, other
        same = random_bytes(self.rng, 50000)
        files['DCIM/same'] = same, same
        files['only-a'], files['DCIM/only-b'] = (same, None), (None, same)
        for name, contents in files.items():
            for card, content in zip((a, b), contents):
                if content is not None:
                    path = self.work.file(content, card, name)
                    os.utime(path, ns=(10**18, 10**18 + (5 * 10**9 if card == b and 'same' not in name else 0)))
        return files

    def card(self, source, mode, code=0):
        result = self.work.cvv('copy', '-m', mode, source, *self.targets)
        self.assertEqual(result.code, code, result)
        return result

    def listed(self, result, word):
        return re.findall(r'(?m)^%s (.*?): ' % word, result.out)

    def check(self, mode, a, b, files, mount_b=lambda: None, mount_a=lambda: None):
        self.card(a, mode)
        mount_b()
        conflicts = sorted(name for name, (one, other) in files.items() if one is not None and other is not None and one != other)
        before = [{path: found.st_ino for path, found in walk(target).items()} for target in self.targets]
        for _ in range(2):      # once more: it stays so
            result = self.card(b, mode, 1)
            self.assertEqual(self.listed(result, 'conflict'), conflicts)
            self.assertIn('%d files in conflict' % len(conflicts), result.err)
            for name, (one, other) in files.items():
                self.assertEqual(self.on_targets(name), [one if one is not None else other] * 3, name)
            for target, inodes in zip(self.targets, before):
                found = walk(target)
                self.assertEqual({path: found[path].st_ino for path in inodes}, inodes)
        if mode == 'full':      # the same one and the new one
            self.assertIn('; verified 2 on 3 targets', result.out)
        mount_a()
        self.assertIn('nothing to copy: all %d files' % sum(one is not None for one, _ in files.values()), self.card(a, mode).out)

    @timeout(240)
    def test_nothing_of_the_first_is_lost_and_each_conflict_is_listed(self):
        for mode in self.modes:
            with self.subTest(mode=mode):
                a, b = os.path.join(self.a, mode), os.path.join(self.b, mode)
                self.targets = [self.work.dir(mode, name) for name in ('t1', 't2', 't3')]
                self.check(mode, a, b, self.make_cards(a, b))

    @timeout(240)
    def test_both_cards_come_by_the_same_path(self):
        """The second card is put into the reader when the first one is done: another filesystem at the same path."""
        one = LoopFs(self.work, 'ext4', 64 * MiB, name='card1')
        two = LoopFs(self.work, 'ext4', 64 * MiB, name='card2')
        files = self.make_cards(one.data, two.data)
        reader = self.work.dir('reader')

        def insert(card):
            self.work.run('umount', reader)
            self.assertEqual(self.work.run('mount', '--bind', card.data, reader).code, 0)
        insert(one)
        self.check('full', reader, reader, files, mount_b=lambda: insert(two), mount_a=lambda: insert(one))
        self.work.run('umount', reader)

    def test_sizes_and_times_are_the_same_too_and_full_sees_it(self):
        names = ['clip%d' % number for number in range(5)]
        for name in names:
            for card in self.a, self.b:
                path = self.work.file(random_bytes(self.rng, 100000), card, name)
                os.utime(path, ns=(10**18, 10**18))
        self.card(self.a, 'full')
        result = self.card(self.b, 'full', 1)
        self.assertEqual(self.listed(result, 'conflict'), names)
        self.assertIn('; verified 0 on 3 targets', result.out)
        for name in names:
            self.assertEqual(self.on_targets(name), [read_file(os.path.join(self.a, name))] * 3)

    def test_one_target_has_the_first_and_the_others_get_the_second(self):
        first = self.work.file(random_bytes(self.rng, 5000), self.a, 'clip')
        second = self.work.file(random_bytes(self.rng, 6000), self.b, 'clip')
        self.work.cvv('copy', '-m', 'full', self.a, self.targets[0])
        result = self.card(self.b, 'full', 1)
        self.assertEqual(self.listed(result, 'conflict'), ['clip'])
        self.assertEqual(self.on_targets('clip'), [read_file(first)] + [read_file(second)] * 2)


if __name__ == '__main__':
    unittest.main()
