"""cvv copy interrupted at random moments, by SIGINT, SIGTERM and kill -9 in turn, and begun again: no wrong byte and no half of a file under a final
name at any moment, and at the end what an uninterrupted copy gives."""
import os
import re
import shlex
import signal
import stat
import time
import unittest

from copies import CopyCase, Copying
from devices import LoopFs
from harness import LONG, SCALE, MiB, cvv, note, seed, timeout
from test_kill9_random import STEPS, Steps
from trees import mixed_tree, walk, write_random

INTERRUPTIONS = 50 if LONG else 8
OPTIONS = ('--chunk-size', '1M', '--hash', 'xxh64,sha256', '-v')
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: None}


class RandomEnds(CopyCase):
    mode = 'full'

    def setUp(self):
        super().setUp()
        self.rng = seed()
        if os.geteuid() == 0:
            self.targets[1] = LoopFs(self.work, 'ext4', 1 << 30).data
        mixed_tree(self.source, self.rng, files=60, largest=2 * MiB, special=True)
        write_random(os.path.join(self.source, 'large'), 24 * MiB, self.rng)
        self.tree = walk(self.source)
        self.begun = dict.fromkeys(STEPS, 0)

    # ---- what an uninterrupted run gives ----

    def manifest(self, state, targets):
        """That of a mount of what was copied."""
        mount = self.mount(self.source, targets, None, '--hash', 'xxh64,sha256', '--chunk-size', '1M', state=state, mode='full')
        mount.scanned()
        self.assertEqual(mount.wait(), 'complete', mount.read_control('errors'))
        text = mount.read_control('manifest')
        read = mount.status()['source_copy_bytes'] + mount.status()['source_verify_bytes']
        mount.umount()
        self.assertEqual(read, 0, 'what was finished was read again')
        return text

    def steps(self):
        self.number = getattr(self, 'number', 0) + 1
        self.work.env['CVV_STEPS'] = self.work.join('steps%d' % self.number)
        return Steps(self.work.env['CVV_STEPS'])

    def reference(self):
        """The lines of an uninterrupted copy to other targets, its manifest, and how many steps it took."""
        targets, state, steps = self.work.dirs('r1', 'r2', 'r3'), self.work.join('reference'), self.steps()
        result = self.copy(*OPTIONS, '--state', state, targets=targets)
        return self.copied_lines(result.out), self.manifest(state, targets), sum(steps.begun(step) for step in STEPS)

    def copied_lines(self, text):
        return [line for line in text.splitlines() if re.match('(copied|skipped|failed|missing|conflict|unverified) (?!\\d+ files, )', line)]

    # ---- one session ----

    def wait_for_moment(self, copying, steps, moment, seconds):
        """Until the copy has begun so many steps (or, before its first ones, so much time has passed). False: it ended before."""
        end = time.monotonic() + 60 * SCALE
        while copying.child.poll() is None:
            if moment == 0 and time.monotonic() >= self.started + seconds:
                return True
            if moment > 0 and sum(steps.begun(step) for step in STEPS) >= moment:
                return True
            self.assertLess(time.monotonic(), end, 'the moment never comes')
            time.sleep(0.0005)
        return False

    def session(self, words, number, total):
        """Runs the command and interrupts it. The command that goes on, or None where it had ended before."""
        steps = self.steps()
        copying = self.start_words(words)
        self.started = time.monotonic()
        early = self.rng.random() < 0.15
        moment = 0 if early else self.rng.randrange(1, max(2, total // 2))
        if not self.wait_for_moment(copying, steps, moment, self.rng.uniform(0, 0.15)):
            self.assertEqual(copying.end(), 0, copying.text)
            self.ended = copying.output()
            return None
        begun = time.monotonic()
        if number == signal.SIGKILL:
            (os.killpg if self.rng.random() < 0.5 else os.kill)(copying.pid, number)
            copying.child.wait()
            copying.wait_all_dead()
            return words
        os.kill(copying.pid, number)
        code = copying.end()
        self.assertLess(time.monotonic() - begun, 5 * SCALE)
        if code == 0:       # it was ending already
            self.ended = copying.output()
            return None
        if code == -number and early:       # it had not begun: nobody had taken the signal in hand
            return words
        self.assertEqual(code, CODES[number], copying.text)
        line = re.search(r'^cvv: resume with: (.*)$', os.fsdecode(copying.text), re.M).group(1)
        self.assertEqual(shlex.split(line), words)
        return shlex.split(line)

    def start_words(self, words):
        copying = Copying(self.work, words[1:])
        self.addCleanup(copying.close)
        return copying

    def check_targets(self):
        """What has a final name is whole, and what the source has."""
        for target in self.targets:
            for path, found in walk(target, ignore=('.cvv',)).items():
                want = self.tree[path]
                self.assertEqual(stat.S_IFMT(found.st_mode), stat.S_IFMT(want.st_mode), path)
                if stat.S_ISREG(found.st_mode):
                    self.assertEqual((found.st_size, found.st_mtime_ns), (want.st_size, want.st_mtime_ns), path)
                    self.assertSameBytes(os.path.join(self.source, path), os.path.join(target, path))
                if stat.S_ISLNK(found.st_mode):
                    self.assertEqual(os.readlink(os.path.join(target, path)), os.readlink(os.path.join(self.source, path)))

    def clear(self):
        for target in self.targets:
            self.work.run('find', target, '-mindepth', '1', '-delete')
        self.work.run('rm', '-rf', self.work.join('state'))

    @timeout(600)
    def test_what_was_interrupted_at_random_moments_and_finished_is_what_an_uninterrupted_run_gives(self):
        lines, manifest, total = self.reference()
        self.assertGreater(len(manifest.splitlines()), 60)
        done, rounds, words = 0, 0, None
        while done < INTERRUPTIONS or words is not None:
            if words is None:
                rounds += 1
                self.assertLess(rounds, 5 * INTERRUPTIONS, 'copies end before they can be interrupted')
                self.clear()
                words = [cvv()] + self.words(*OPTIONS, '--limit', '%dM' % self.rng.choice((30, 100, 1000)))
            if done < INTERRUPTIONS:
                number = list(CODES)[done % 3]
                words = self.session(words, number, total)
                done += words is not None
            else:
                result = self.work.run(*words)
                self.assertEqual(result.code, 0, result)
                self.ended, words = result.out, None
            self.check_targets()
            if words is None:
                self.assertEqual(self.copied_lines(self.ended), lines)
                self.assertCopied()
                self.assertEqual(self.manifest(self.work.join('state'), self.targets), manifest)
                self.assertCopied()
        note('%d interruptions in %d rounds' % (done, rounds))


if __name__ == '__main__':
    unittest.main()
