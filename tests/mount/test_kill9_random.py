"""kill -9 at random moments of a fill, mounted again each time: no wrong byte, no half final name, little copied twice."""
import os
import platform
import random
import signal
import stat
import time
import unittest

from devices import FaultFs, LoopFs
from harness import LONG, Case, MiB, bounded, detach, read_file, seed, timeout, wait_dead
from trees import compare_trees, mixed_tree, walk, write_random


KILLS = 100 if LONG else 8
INTERVALS_S = 4.5       # two checkpoint intervals of 2 s, and the time to notice
IN_FLIGHT = 256 * MiB   # buffers: the default of --memory
STEPS = ('write', 'sync', 'commit', 'rename', 'directory sync')
CALLS = {
    'x86_64': {1: 'write', 18: 'write', 296: 'write', 328: 'write', 74: 'sync', 75: 'sync', 306: 'sync', 26: 'sync',
               82: 'rename', 264: 'rename', 316: 'rename'},
    'aarch64': {64: 'write', 68: 'write', 70: 'write', 287: 'write', 82: 'sync', 83: 'sync', 267: 'sync', 227: 'sync',
                38: 'rename', 276: 'rename'},
}.get(platform.machine(), {})


def step_of(pid, task, state):
    """The step in which a thread of the daemon waits in the kernel now, or None."""
    try:
        with open('/proc/%d/task/%s/syscall' % (pid, task)) as file:
            words = file.read().split()
        step = CALLS.get(int(words[0])) if words and words[0].lstrip('-').isdigit() else None
        if step is None or step == 'rename':
            return step
        path = os.readlink('/proc/%d/fd/%d' % (pid, int(words[1], 16)))
    except (OSError, ValueError):
        return None
    if path.startswith(state):
        return 'commit'
    if step == 'sync' and os.path.isdir(path):
        return 'directory sync'
    return step if path.startswith('/') and not path.startswith('/dev/') else None


def watch(pid, wanted, state, seconds):
    """Looks at the daemon's threads until one is in the wanted step (or the time is over), and returns that step."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for task in os.listdir('/proc/%d/task' % pid):
            if step_of(pid, task, state) == wanted:
                return wanted
    return None


class RandomKills(Case):
    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest('needs root')
        if not CALLS:
            self.skipTest('system call numbers of this machine are unknown')

    def begin_round(self, number):
        """Fresh targets and a fresh state; the first target answers slowly, so that its steps can be hit."""
        self.fault = FaultFs(self.work, self.work.dir('back%d' % number))
        self.fault.rules('write delay_ms=1\nfsync delay_ms=3\nrename delay_ms=3')
        self.targets = [self.fault.path, self.work.dir('a%d' % number), os.path.join(self.disk.data, 'b%d' % number)]
        os.makedirs(self.targets[2])
        self.state = os.path.join(self.disk.data, 'state%d' % number)
        self.sessions = []

    def session(self, rng, kill_in):
        """One mount: readers and a fill; killed in the step, or after a random time where that is None. True: complete."""
        options = ['--chunk-size', '1M', '--limit', '%dM' % rng.choice((20, 60, 200))]
        mount = self.mount(self.source, self.targets, None, *options, state=self.state)
        mount.do('fill')
        reader = self.work.start(self.read_some, mount, rng.random())
        start, late = time.monotonic(), rng.random() < 0.2
        samples = [(start, 0)]
        if kill_in is not None and watch(mount.pid, kill_in, self.state, 4) == kill_in:
            self.hits[kill_in] += 1
        else:
            while time.monotonic() - start < (rng.uniform(5, 8) if late else rng.uniform(0, 1.5)):
                samples.append((time.monotonic(), mount.status()['source_copy_bytes']))
                time.sleep(0.05)
        try:
            status = bounded(1, mount.status)
            samples.append((time.monotonic(), status['source_copy_bytes']))
        except (AssertionError, OSError):
            status = {'state': 'unknown'}
        self.sessions.append(samples)
        complete = status['state'] == 'complete'
        if not complete:
            os.kill(mount.pid, signal.SIGKILL)
            wait_dead(mount.pid)
            detach(mount.point)
            reader.kill()
        else:
            reader.join(60)
            mount.umount()
        return complete

    def read_some(self, mount, number):
        """Random reads through the mount; wrong bytes are noted in a file, an error (the mount was killed) ends it."""
        rng = random.Random(number)
        try:
            for _ in range(40):
                path = rng.choice(self.files)
                size = os.stat(os.path.join(self.source, path)).st_size
                offset, length = rng.randrange(size + 1), rng.randrange(1, 300000)
                got = read_file(mount.path(path), length, offset)
                if got != read_file(os.path.join(self.source, path), length, offset):
                    with open(self.work.join('wrong'), 'a') as file:
                        file.write('%r at %d, %d bytes\n' % (path, offset, length))
        except OSError:
            pass

    def check_targets(self):
        """Whatever has a final name is whole, at any instant; with files from the source that is: equal to it."""
        for target in self.targets:
            for path, attributes in walk(target, ignore=('.cvv',)).items():
                want = os.lstat(os.path.join(self.source, path))
                self.assertEqual(stat.S_IFMT(attributes.st_mode), stat.S_IFMT(want.st_mode), path)
                if stat.S_ISREG(attributes.st_mode):
                    self.assertEqual(attributes.st_size, want.st_size, path)
                    self.assertSameBytes(os.path.join(self.source, path), os.path.join(target, path))
        self.assertFalse(os.path.exists(self.work.join('wrong')), 'a read differed from the source')

    def check_cost(self):
        """All sessions together read no more than the source, and for each kill what could not be marked yet."""
        total = sum(samples[-1][1] for samples in self.sessions)
        lost = 0
        for samples in self.sessions[:-1]:
            end, last = samples[-1]
            lost += last - max(count for when, count in samples if when <= max(end - INTERVALS_S, samples[0][0]))
            lost += min(IN_FLIGHT, last)
        self.assertLessEqual(total, self.unique_bytes + lost)

    @timeout(900)
    def test_kills_at_random_moments(self):
        rng = seed()
        self.disk = LoopFs(self.work, 'ext4', 4 << 30)
        self.files = mixed_tree(self.source, rng, files=120, largest=8 * MiB)
        for number, size in enumerate((200, 120) if LONG else (40,)):
            write_random(os.path.join(self.source, 'large%d' % number), size * MiB, rng)
            self.files.append('large%d' % number)
        found = walk(self.source).values()
        self.unique_bytes = sum({s.st_ino: s.st_size for s in found if stat.S_ISREG(s.st_mode)}.values())
        self.hits = dict.fromkeys(STEPS, 0)
        kills, rounds, complete = 0, 0, True
        while kills < KILLS or not complete:
            if complete:
                rounds += 1
                self.assertLess(rounds, 5 * KILLS, 'fills end before they can be killed')
                self.begin_round(rounds)
            rarest = min(STEPS, key=lambda step: (self.hits[step], rng.random()))
            kill_in = None if kills >= KILLS or rng.random() < 0.4 and min(self.hits.values()) > 0 else rarest
            complete = self.session(rng, kill_in) if kills < KILLS else self.finish()
            kills += not complete
            self.check_targets()
            if complete:
                self.end_round()
        print('%d kills in %d rounds; hit: %s' % (kills, rounds, self.hits))
        for step in STEPS:
            self.assertGreater(self.hits[step], 0, 'no kill hit: %s' % step)

    def finish(self):
        mount = self.mount(self.source, self.targets, None, '--chunk-size', '1M', state=self.state)
        mount.fill(300)
        self.sessions.append([(time.monotonic(), mount.status()['source_copy_bytes'])])
        mount.umount()
        return True

    def end_round(self):
        for target in self.targets:
            self.assertFalse(os.path.lexists(os.path.join(target, '.cvv')), target)
            self.assertEqual(compare_trees(self.source, target), [])
        self.check_cost()
        self.fault.close()
        for target in self.targets[1:]:
            self.assertEqual(self.work.run('rm', '-rf', target, seconds=120).code, 0)


if __name__ == '__main__':
    unittest.main()
