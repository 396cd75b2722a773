"""kill -9 at random moments of a fill, mounted again each time: no wrong byte, no half final name, little copied twice."""
import errno
import json
import mmap
import os
import random
import re
import signal
import stat
import struct
import time
import unittest

from devices import FaultFs, LoopFs
from harness import LONG, Case, MiB, bounded, detach, eventually, need_root, note, read_file, seed, timeout
from processes import SCALE, wait_dead
from trees import compare_trees, mixed_tree, walk, write_random

KILLS = 100 if LONG else 8
CHUNK = MiB
BLOCK = 512 << 10           # the source is read in blocks; those without data are not read
MEMORY = 16 * MiB           # what can be in flight
INTERVALS_S = 4.5           # two checkpoint intervals of 2 s, and the time to sync
LARGE = (200, 120) if LONG else (40,)
STEPS = ('write', 'sync', 'commit', 'rename', 'directory sync')


class Steps:
    """What the daemon counts in the file that CVV_STEPS names; it can be read after its death."""

    def __init__(self, path):
        with open(path, 'wb+') as file:
            file.write(bytes(16 * len(STEPS)))
            file.flush()
            self.map = mmap.mmap(file.fileno(), 0)

    def under_way(self):
        counts = struct.unpack('%dQ' % (2 * len(STEPS)), self.map[:])
        return [step for step, begun, ended in zip(STEPS, counts[::2], counts[1::2]) if begun > ended]

    def begun(self, step):
        return struct.unpack_from('Q', self.map, 16 * STEPS.index(step))[0]


def read_map(path):
    """[{chunks: state} for each target] of one file in .cvv/files."""
    targets = json.loads(read_file(path))['targets']
    return [{chunk: state for first, end, state in target['map'] for chunk in range(first, end)} for target in targets]


def follow_events(source, copy):
    """Copies .cvv/events as they come, until the mount is gone."""
    with open(copy, 'ab', buffering=0) as out:
        descriptor = os.open(source, os.O_RDONLY)
        try:
            for text in iter(lambda: os.read(descriptor, 65536), b''):
                out.write(text)
        except OSError:
            pass


class Session:
    """One mount of a round: what it read from the source when, and the checkpoints that it logged."""

    def __init__(self, events):
        self.events, self.first_event, self.base = events, 0, 0
        self.samples = []

    def sample(self, status):
        self.samples.append((time.monotonic(), status['source_copy_bytes']))

    def read_bytes(self):
        return self.samples[-1][1] if self.samples else 0

    def recent_bytes(self):
        """What it read in its last two checkpoint intervals."""
        if not self.samples:
            return 0
        until = self.samples[-1][0] - INTERVALS_S * SCALE
        return self.read_bytes() - max([count for when, count in self.samples if when <= until], default=self.base)

    def logged_bytes(self, target):
        """What checkpoints on the target (from 1) made present, by the events that were written before the kill."""
        total = 0
        for line in read_file(self.events).split(b'\n')[:-1] if os.path.exists(self.events) else ():
            event = json.loads(line)
            if event['event'] == 'checkpoint' and event['target'] == target and event['seq'] > self.first_event:
                total += int(re.search(r'(\d+) bytes', event['detail']).group(1))
        return total


class Have:
    """What the targets have of the source's files, in bytes: each target, and all together."""

    def __init__(self, maps, sizes):
        self.each, self.union = [0, 0, 0], 0
        for size, targets in zip(sizes, maps):
            def length(chunk):
                return min(CHUNK, size - chunk * CHUNK)
            for number, target in enumerate(targets):
                self.each[number] += sum(length(chunk) for chunk in target)
            self.union += sum(length(chunk) for chunk in set().union(*targets))


class RandomKills(Case):
    def setUp(self):
        super().setUp()
        need_root()

    # ---- a round: fills of the same targets until they are complete ----

    def begin_round(self, number):
        """Fresh targets and a fresh state; the first target answers slowly, so that its steps can be hit."""
        self.fault = FaultFs(self.work, self.work.dir('back%d' % number))
        self.fault.rules('write delay_ms=1\nfsync delay_ms=3\nrename delay_ms=3')
        self.targets = [self.fault.path, self.work.dir('a%d' % number), os.path.join(self.disk.data, 'b%d' % number)]
        os.makedirs(self.targets[2])
        self.state = os.path.join(self.disk.data, 'state%d' % number)
        self.had = Have([], [])
        self.sessions = []      # since self.had was measured
        self.round_bytes = self.round_allowed = 0

    def begin_session(self, *options):
        number = self.number = self.number + 1
        self.steps = Steps(self.work.join('steps%d' % number))
        self.work.env['CVV_STEPS'] = self.work.join('steps%d' % number)
        mount = self.mount(self.source, self.targets, None, '--chunk-size', '1M', '--memory', '16M', *options,
                           state=self.state)
        session = Session(self.work.join('events%d' % number))
        session.follower = self.work.start(follow_events, mount.path('.cvv/events'), session.events)
        self.sessions.append(session)
        return mount, session

    def end_round(self):
        for target in self.targets:
            self.assertFalse(os.path.lexists(os.path.join(target, '.cvv')), target)
            self.assertEqual(compare_trees(self.source, target), [])
        self.assertLessEqual(self.round_bytes, self.unique_bytes + self.round_allowed)
        self.fault.close()
        for target in self.targets[1:]:
            self.assertEqual(self.work.run('rm', '-rf', target, seconds=120).code, 0)

    # ---- what was copied twice ----

    def maps(self, mount):
        return bounded(60, lambda: [read_map(mount.path('.cvv/files', path)) for path in self.unique])

    def measure(self, mount, session):
        """With the fill paused and all checkpointed: nothing that a checkpoint logged is lost, and what was read in vain is
        no more than what was not logged."""
        mount.do('pause')

        def at_rest():
            mount.do('checkpoint', seconds=90)
            before, maps, after = mount.status(), self.maps(mount), mount.status()
            written = any('written' in target.values() for targets in maps for target in targets)
            if before['source_copy_bytes'] == after['source_copy_bytes'] and not written:
                return maps, after
            return None
        maps, status = eventually(at_rest, 60, 'a paused mount to be at rest')
        have = Have(maps, self.sizes)
        session.sample(status)
        last = bounded(10, self.last_event, mount)
        self.compare(have)
        self.had, self.sessions = have, [session]
        session.first_event, session.samples = last, []
        session.base = status['source_copy_bytes']
        mount.do('resume')

    def last_event(self, mount):
        descriptor, text = os.open(mount.path('.cvv/events'), os.O_RDONLY | os.O_NONBLOCK), b''
        try:
            for part in iter(lambda: os.read(descriptor, 65536), b''):
                text += part
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)
        return json.loads(text.split(b'\n')[-2])['seq']

    def compare(self, have):
        """Since the last measuring: sessions that were killed, and the first moments of the one that runs."""
        read = sum(session.read_bytes() - session.base for session in self.sessions)
        covered = 0
        for number in range(3):
            logged = sum(session.logged_bytes(number + 1) for session in self.sessions)
            self.assertGreaterEqual(have.each[number], self.had.each[number] + logged,
                                    'target %d lost what a checkpoint had logged' % (number + 1))
            covered = max(covered, self.had.each[number] + logged)
        again = read - (have.union - self.had.union)
        unlogged = read - max(0, covered - self.had.union)
        late = sum(session.recent_bytes() + MEMORY for session in self.sessions[:-1])
        self.worst = max(self.worst, again)
        self.round_bytes += read
        self.round_allowed += unlogged
        self.assertLessEqual(again, unlogged)
        self.assertLessEqual(again, late, 'more was lost than two checkpoint intervals held')

    # ---- a session ----

    def session(self, rng, step):
        """Fill and readers; killed in the step, or after a random time where that is None. True: it was complete before."""
        mount, session = self.begin_session('--limit', '%dM' % rng.choice((20, 60, 200)))
        if rng.random() < 0.8:      # else it is killed in its first moments, and measured the next time
            self.measure(mount, session)
        mount.do('fill')
        reader = self.work.start(self.read_some, mount, rng.random())
        end = time.monotonic() + SCALE * (4 if step else rng.uniform(5, 8) if rng.random() < 0.2 else rng.uniform(0, 1.5))
        while True:
            status = mount.status()
            session.sample(status)
            if status['state'] == 'complete':
                reader.join(60)
                self.finish(mount, session)
                return True
            if self.watch(step) or time.monotonic() >= end:
                break
        os.kill(mount.pid, signal.SIGKILL)
        wait_dead(mount.pid)
        for hit in self.steps.under_way():
            self.hits[hit] += 1
        detach(mount.point)
        reader.kill()
        return False

    def watch(self, step):
        """Looks at the counts for a moment; whether the step is under way."""
        end = time.monotonic() + 0.03
        while time.monotonic() < end:
            if step is not None and step in self.steps.under_way():
                return True
            if step is None:
                time.sleep(0.003)
        return False

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
                        file.write('wrong bytes at %d, length %d: %r\n' % (offset, length, path))
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
                with open(self.work.join('wrong'), 'a') as file:
                    file.write('%s: %r\n' % (error.strerror, path))

    def finish(self, mount, session):
        """The end of a round: all is complete, and the view is the source."""
        mount.do('checkpoint', seconds=90)
        session.sample(mount.status())
        self.compare(Have(self.maps(mount), self.sizes))
        self.assertSameTree(self.source, mount.point)
        session.follower.kill()
        mount.umount()

    def check_targets(self):
        """Whatever has a final name is whole, at any instant; with files from the source that is: equal to it."""
        for target in self.targets:
            for path, attributes in walk(target, ignore=('.cvv',)).items():
                want = os.lstat(os.path.join(self.source, path))
                self.assertEqual(stat.S_IFMT(attributes.st_mode), stat.S_IFMT(want.st_mode), path)
                if stat.S_ISREG(attributes.st_mode):
                    self.assertEqual(attributes.st_size, want.st_size, path)
                    self.assertSameBytes(os.path.join(self.source, path), os.path.join(target, path))
        if os.path.exists(self.work.join('wrong')):
            self.fail('reads through the mount: %s' % os.fsdecode(read_file(self.work.join('wrong'))))

    def make_source(self, rng):
        self.files = mixed_tree(self.source, rng, files=120, largest=8 * MiB)
        for number, size in enumerate(LARGE):
            write_random(os.path.join(self.source, 'large%d' % number), size * MiB, rng)
            self.files.append('large%d' % number)
        inodes = {}
        for path in self.files:
            inodes.setdefault(os.stat(os.path.join(self.source, path)).st_ino, path)
        self.unique = list(inodes.values())
        self.sizes = [os.stat(os.path.join(self.source, path)).st_size for path in self.unique]
        self.unique_bytes = sum(self.sizes)     # holes are not read: a little more than can be

    @timeout(900)
    def test_kills_at_random_moments(self):
        rng = seed()
        self.disk = LoopFs(self.work, 'ext4', 4 << 30)
        self.make_source(rng)
        self.hits = dict.fromkeys(STEPS, 0)
        self.number, self.worst = 0, 0
        kills, rounds, complete = 0, 0, True
        while kills < KILLS or not complete:
            if complete:
                rounds += 1
                self.assertLess(rounds, 5 * KILLS, 'fills end before they can be killed')
                self.begin_round(rounds)
            if kills < KILLS:
                rarest = min(STEPS, key=lambda step: (self.hits[step], rng.random()))
                complete = self.session(rng, rarest if self.hits[rarest] == 0 or rng.random() < 0.6 else None)
                kills += not complete
            else:
                mount, session = self.begin_session()
                mount.fill(300)
                self.finish(mount, session)
                complete = True
            self.check_targets()
            if complete:
                self.end_round()
        note('%d kills in %d rounds; under way at a kill: %s; at most %.1f MiB read again after a kill'
             % (kills, rounds, ', '.join('%s %d' % item for item in self.hits.items()), self.worst / MiB))
        never = [step for step in STEPS if self.hits[step] == 0]
        self.assertTrue(len(never) < len(STEPS) and not (LONG and never), 'no kill hit: %s' % ', '.join(never))


if __name__ == '__main__':
    unittest.main()
