"""The state directory restored from an older copy, deleted, truncated, with flipped bits, or another card's, between two copies; and bytes that flip on
a target in the same round, size and mtime kept. Whatever the second copy calls verified has the bytes of the source on every target; what it cannot
mend it names, and nothing else differs."""
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'mount'))

from copies import CopyCase                                                         # noqa: E402
from harness import LONG, SCALE, MiB, note, random_bytes, read_file, seed, timeout  # noqa: E402
from test_kill9_random import STEPS, Steps                                          # noqa: E402
from trees import walk                                                              # noqa: E402

ROUNDS = 60 if LONG else 10      # of each kind of damage
OPTIONS = ('--chunk-size', '1M', '-v', '--hash', 'md5')


class StateDamage(CopyCase):
    def setUp(self):
        super().setUp()
        self.rng = seed()
        self.state = self.work.join('state')
        self.number = 0

    # ---- a round ----

    def make_source(self):
        self.names = ['d%d/f%02d' % (number % 3, number) for number in range(14)] + ['large', 'mid']
        for name in self.names:
            size = {'large': 6 * MiB + 77, 'mid': 2 * MiB}.get(name) or self.rng.choice((1, 4096, 30000, 200001))
            path = self.work.file(random_bytes(self.rng, size), 'source', name)
            when = 10**18 + self.rng.randrange(10**9)
            os.utime(path, ns=(when, when))
        self.content = {name: read_file(os.path.join(self.source, name)) for name in self.names}

    def clear(self):
        for path in [self.source, *self.targets, self.state, self.work.join('older'), self.work.join('other')]:
            shutil.rmtree(path, ignore_errors=True)
        for path in [self.source, *self.targets]:
            os.mkdir(path)

    def steps(self):
        self.number += 1
        self.work.env['CVV_STEPS'] = self.work.join('steps%d' % self.number)
        return Steps(self.work.env['CVV_STEPS'])

    def run_some(self, mode, interrupted):
        """A copy, to its end or interrupted after some of its steps."""
        if not interrupted:
            return self.copy(*OPTIONS, '--mode', mode)
        steps, copying = self.steps(), self.start(*OPTIONS, '--mode', mode, '--limit', '20M')
        moment, end = self.rng.randrange(1, 60), time.monotonic() + 60 * SCALE
        while copying.child.poll() is None and sum(steps.begun(step) for step in STEPS) < moment:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.001)
        if copying.child.poll() is None:
            os.kill(copying.pid, self.rng.choice((signal.SIGTERM, signal.SIGKILL)))
        copying.end()
        copying.wait_all_dead()
        return None

    def files_on(self, target):
        """Regular files, those of cvv's own partial ones too; relative paths."""
        return [path for path, found in walk(target).items() if stat.S_ISREG(found.st_mode) and found.st_size > 0
                and (not path.startswith('.cvv/') or path.startswith('.cvv/partial/'))]

    def rot(self, but):
        """Flips bits of some files of targets, size and mtime kept. Returns {(target, name)} of those under a final name."""
        flipped = set()
        for _ in range(self.rng.randrange(0, 4)):
            target = self.rng.randrange(3)
            files = [path for path in self.files_on(self.targets[target]) if path not in but and (target, path) not in flipped]
            if not files:
                continue
            name = self.rng.choice(sorted(files))
            path = os.path.join(self.targets[target], name)
            found = os.stat(path)
            with open(path, 'r+b', buffering=0) as file:
                at = self.rng.randrange(found.st_size)
                byte = os.pread(file.fileno(), 1, at)[0]
                os.pwrite(file.fileno(), bytes([byte ^ 1 << self.rng.randrange(8)]), at)
                os.fsync(file.fileno())
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
            if not name.startswith('.cvv/'):
                flipped.add((target, name))
        return flipped

    def published(self):
        return {path for target in self.targets for path in self.files_on(target) if not path.startswith('.cvv/')}

    def state_files(self):
        return [os.path.join(self.state, name) for name in sorted(os.listdir(self.state)) if os.path.isfile(os.path.join(self.state, name))]

    # ---- what is done to the state ----

    def delete(self):
        shutil.rmtree(self.state)

    def delete_a_file(self):
        os.unlink(self.rng.choice(self.state_files()))

    def truncate(self):
        path = self.rng.choice(self.state_files())
        size = os.stat(path).st_size
        os.truncate(path, self.rng.choice((0, min(size, 4096), size // 2, size // 8192 * 4096, self.rng.randrange(size + 1))))

    def flip(self):
        path = self.rng.choice([path for path in self.state_files() if os.stat(path).st_size > 0])
        with open(path, 'r+b', buffering=0) as file:
            data = bytearray(file.read())
            used = [at for at in range(0, len(data), 512) if any(data[at:at + 512])] or [0]
            for _ in range(self.rng.choice((1, 1, 3, 50))):     # where something stands
                at = min(self.rng.choice(used) + self.rng.randrange(512), len(data) - 1)
                data[at] ^= 1 << self.rng.randrange(8)
            os.pwrite(file.fileno(), bytes(data), 0)

    def of_another_card(self):
        """The state of a card with the same names, sizes and times, and other bytes."""
        other, targets = self.work.dir('other', 'source'), [self.work.dir('other', name) for name in ('t1', 't2', 't3')]
        for name in self.names:
            path = self.work.file(random_bytes(self.rng, len(self.content[name])), other, name)
            os.utime(path, ns=(os.stat(os.path.join(self.source, name)).st_mtime_ns,) * 2)
        state = self.work.join('other', 'state')
        self.copy(*OPTIONS, '--mode', 'full', '--state', state, source=other, targets=targets)
        replaced = self.rng.random() < 0.5
        if replaced:
            shutil.rmtree(self.state)
            shutil.copytree(state, self.state)
            return
        for name in os.listdir(state):      # all but whose state it says it is
            if name != 'identity':
                shutil.copy2(os.path.join(state, name), os.path.join(self.state, name))

    # ---- what must hold ----

    def check(self, result, flipped, said):
        """After the second copy. `flipped`: the files that had rotted."""
        listed = dict(re.findall(r'(?m)^(?:conflict|failed|missing|unverified|skipped|copied) (\S+): (.*)$', result.out))
        words = {name: word for word, name in re.findall(r'(?m)^(conflict|failed|missing|unverified|skipped|copied) (\S+): ', result.out)}
        wrong = {(n, name) for n, target in enumerate(self.targets) for name in self.files_on(target)
                 if not name.startswith('.cvv/') and read_file(os.path.join(target, name)) != self.content[name]}
        self.assertLessEqual(wrong, flipped, said)      # nothing differs that had not rotted
        bad = {name for _, name in wrong}
        for name in bad:
            self.assertIn(words.get(name), ('conflict', 'failed', 'unverified'), '%s: %r differs\n%s' % (said, name, result))
        verified = int(re.search(r'verified (\d+) on 3 targets', result.out).group(1))
        whole = [name for name in self.names if all(read_file(os.path.join(target, name)) == self.content[name] for target in self.targets
                                                    if os.path.lexists(os.path.join(target, name)))]
        self.assertLessEqual(verified, len(whole), '%s\n%s' % (said, result))
        for name in self.names:
            if words.get(name) in ('copied', 'skipped'):
                self.assertNotIn(name, bad)
                if 'md5:' in listed[name]:
                    self.assertIn('md5:' + hashlib.md5(self.content[name]).hexdigest(), listed[name], said)
        if result.code == 0:
            self.assertEqual((verified, bad), (len(self.names), set()), '%s\n%s' % (said, result))
            for name in self.names:
                self.assertEqual(self.on_targets(name), [self.content[name]] * 3, said)
        if not flipped:
            self.assertEqual(result.code, 0, '%s\n%s' % (said, result))

    def round(self, damage):
        self.clear()
        self.make_source()
        older = damage == 'older'
        mode = self.rng.choice(('transfer', 'full')) if older or damage in ('delete', 'of_another_card') else 'transfer'
        first, kept = self.rng.random() < 0.5, set()
        self.run_some(mode, first or older)
        if older:
            shutil.copytree(self.state, self.work.join('older'))
            kept = self.published()     # what the older state may rightly call verified
            if self.rng.random() < 0.5:
                self.run_some(mode, True)
            self.run_some(mode, self.rng.random() < 0.3)
            shutil.rmtree(self.state)
            shutil.copytree(self.work.join('older'), self.state)
        else:
            getattr(self, damage)()
        flipped = self.rot(kept if mode == 'full' else ())
        said = '%s after mode %s (%s), rotten: %s' % (damage, mode, 'interrupted' if first else 'finished', sorted(flipped))
        result = self.work.cvv(*self.words(*OPTIONS, '--mode', 'full'), seconds=60)
        if result.code in (1, 2) and 'verified' not in result.out:
            self.refused_state(result, said, damage)
            return 'refused'
        self.assertIn(result.code, (0, 1), '%s\n%s' % (said, result))
        self.check(result, flipped, said)
        return 'rotten' if flipped else 'sound'

    def refused_state(self, result, said, damage):
        """A state that is not used: nothing was done, and one line says why."""
        self.assertIn(damage, ('of_another_card', 'flip', 'truncate', 'delete_a_file'), '%s\n%s' % (said, result))
        self.assertIn('state', result.err, '%s\n%s' % (said, result))

    def rounds(self, damage):
        counts = {}
        for _ in range(ROUNDS):
            word = self.round(damage)
            counts[word] = counts.get(word, 0) + 1
        note('%s: %s' % (damage, json.dumps(counts, sort_keys=True)))

    @timeout(300)
    def test_restored_from_an_older_copy(self):
        self.rounds('older')

    @timeout(300)
    def test_deleted(self):
        self.rounds('delete')

    @timeout(300)
    def test_without_one_of_its_files(self):
        self.rounds('delete_a_file')

    @timeout(300)
    def test_truncated(self):
        self.rounds('truncate')

    @timeout(300)
    def test_with_flipped_bits(self):
        self.rounds('flip')

    def test_a_record_that_rotted_since_the_state_was_closed_costs_a_comparison(self):
        self.clear()
        self.make_source()
        self.copy(*OPTIONS, '--mode', 'transfer')
        path = os.path.join(self.state, 'data.mdb')
        data, found = bytearray(read_file(path)), os.stat(path)
        for match in re.finditer(b'large', bytes(data)):    # in its records, those that count and those that once did
            data[match.start() + 1] ^= 1
        with open(path, 'r+b') as file:
            file.write(data)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        self.assertIn('; verified 16 on 3 targets', self.copy(*OPTIONS, '--mode', 'full').out)
        self.assertTrue(any(name.startswith('damaged-') for name in os.listdir(self.state)), os.listdir(self.state))

    @timeout(300)
    def test_replaced_by_that_of_another_card(self):
        self.rounds('of_another_card')


if __name__ == '__main__':
    unittest.main()
