"""What tests that mount cvv share: finding the program, a work directory that cleans up after itself, mounts, waiting.

A test derives from Case and gets self.work, a Work: a fresh directory that owns every mount, process and loop device that
the test starts, and takes all of them down again however the test ends. Names are str with surrogateescape, as os.listdir
gives them. Nothing here blocks for ever: what may hang runs in a child process with a time limit (bounded).

Environment: CVV (the program), CVV_BUILD (the build directory), TMPDIR, CVV_SEED, CVV_LONG, CVV_TIMEOUT_SCALE (for
sanitizer builds). Standard library only, Python 3.9 and later.
"""
import ctypes
import errno
import glob
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import traceback
import unittest

from processes import SCALE, Background, TimedOut, alive, bounded, eventually, free_threads, reap, wait_dead

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LONG = os.environ.get('CVV_LONG') == '1'
LOGS = []       # what the daemons logged, for the runner to print when a test failed
MiB = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)
MNT_FORCE, MNT_DETACH = 1, 2


# ---- programs ----

def build_directories():
    if 'CVV_BUILD' in os.environ:
        return [os.environ['CVV_BUILD']]
    found = [os.path.dirname(path) for path in glob.glob(os.path.join(REPOSITORY, 'build*', 'build.ninja'))]
    return sorted(found, key=lambda path: os.path.basename(path) != 'build')


def find_program(name, variable, folder):
    """The path of a built program, or None."""
    if variable in os.environ:
        return os.environ[variable]
    for build in build_directories():
        path = os.path.join(build, folder, name)
        if os.access(path, os.X_OK):
            return path
    return shutil.which(name)


def cvv():
    path = find_program('cvv', 'CVV', 'mount-helper')
    if path is None:
        raise AssertionError('no program cvv: build it, or set CVV or CVV_BUILD')
    return path


def need(*programs):
    """Skips the test where the machine lacks one of these programs."""
    for program in programs:
        if shutil.which(program, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin') is None:
            raise unittest.SkipTest('needs ' + program)


def need_root():
    if os.geteuid() != 0:
        raise unittest.SkipTest('needs root')


def seed():
    """A random.Random; its seed is printed, and comes from CVV_SEED where that is set."""
    number = int(os.environ.get('CVV_SEED') or random.SystemRandom().randrange(1 << 32))
    print('seed %d' % number, flush=True)
    return random.Random(number)


def note(text):
    """A measurement of this test, in one line, which the runner shows also when the test passes."""
    print('note ' + text, flush=True)


def timeout(seconds):
    """Decorator: the runner gives this test so many seconds instead of its default."""
    def mark(test):
        test.timeout_seconds = seconds
        return test
    return mark


def random_bytes(rng, size):
    return rng.getrandbits(size * 8).to_bytes(size, 'little') if size else b''


def read_file(path, size=-1, offset=0):
    with open(path, 'rb', buffering=0) as file:
        if size >= 0:
            return os.pread(file.fileno(), size, offset)
        return b''.join(iter(lambda: file.read(MiB), b''))


# ---- the mount table ----

def unescape(text):
    """A field of /proc/mounts as the bytes it stands for, in str."""
    return os.fsdecode(os.fsencode(text).decode('unicode_escape').encode('latin-1'))


def mounts():
    """(mountpoint, type, source, options) of each mount, oldest first."""
    with open('/proc/self/mounts', errors='surrogateescape') as file:
        for line in file:
            source, point, kind, options = line.split(' ')[:4]
            yield unescape(point), kind, unescape(source), options.split(',')


def mounted(point):
    """The topmost mount at exactly this path, or None; does not touch the mount."""
    return next((entry for entry in reversed(list(mounts())) if entry[0] == point), None)


def detach(point, force=False):
    """umount -l without the programs of umount(8); force also aborts a FUSE connection. Where nothing is mounted: False."""
    if force:
        _libc.umount2(os.fsencode(point), MNT_FORCE)
    return _libc.umount2(os.fsencode(point), MNT_DETACH) == 0


# ---- a test's belongings ----

class Result:
    def __init__(self, arguments, code, out, err):
        self.arguments, self.code, self.out, self.err = arguments, code, out, err

    def __str__(self):
        return '%r: exit %s\nstdout: %s\nstderr: %s' % (self.arguments, self.code, self.out, self.err)

    def lines(self):
        return self.err.splitlines()


def base_directory():
    if 'TMPDIR' in os.environ:
        return os.environ['TMPDIR']
    try:
        free = os.statvfs('/dev/shm')
        if free.f_bavail * free.f_frsize > 2 << 30:
            return '/dev/shm'
    except OSError:
        pass
    return '/tmp'


class Work:
    """A directory, and everything that a test starts in it."""

    def __init__(self):
        self.path = os.path.realpath(tempfile.mkdtemp(prefix='cvv-test-', dir=base_directory()))
        os.chmod(self.path, 0o755)
        self.closers = []       # functions called at the end, last first, after all daemons are dead
        self.background = []
        sanitizer = os.path.join(self.path, 'sanitizer')
        self.env = dict(os.environ, XDG_STATE_HOME=self.join('xdg'), LC_ALL='C.UTF-8')
        for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS', 'LSAN_OPTIONS'):
            self.env[name] = os.environ.get(name, '') + ':log_path=' + sanitizer

    def join(self, *names):
        return os.path.join(self.path, *names)

    def dir(self, *names):
        path = self.join(*names)
        os.makedirs(path, exist_ok=True)
        return path

    def file(self, content, *names):
        """Writes a file below the work directory and returns its path."""
        path = self.join(*names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(content)
        return path

    def dirs(self, *names):
        return [self.dir(name) for name in names]

    def run(self, *command, seconds=30, env=None, cwd=None, user=None):
        """Runs a program to its end. Output goes through files: a daemon that keeps them open does not hold us."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd,
                                     env=self.env if env is None else env, start_new_session=True, user=user)
            try:
                child.wait(seconds * SCALE)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                reap(child.pid)
                child.returncode = 'none: killed after %.0f s' % (seconds * SCALE)
            out.seek(0)
            err.seek(0)
            return Result(command, child.returncode, os.fsdecode(out.read()), os.fsdecode(err.read()))

    def cvv(self, *arguments, **keywords):
        return self.run(cvv(), *arguments, **keywords)

    def start(self, function, *arguments):
        job = Background(function, *arguments)
        self.background.append(job)
        return job

    def own_daemons(self):
        """Processes of cvv that were started with a path below this directory."""
        needle, found = os.fsencode(self.path), []
        for entry in os.listdir('/proc'):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                with open('/proc/%s/cmdline' % entry, 'rb') as file:
                    words = file.read().split(b'\0')
            except OSError:
                continue
            program = os.path.basename(words[0])
            if program in (b'cvv', b'mount.cvv', b'mount.fuse.cvv') and any(needle in word for word in words[1:]):
                found.append(int(entry))
        return found

    def kill_daemons(self):
        for pid in self.own_daemons():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def own_mounts(self):
        return [entry[0] for entry in mounts() if entry[0].startswith(self.path + '/')]

    def close(self):
        """Takes everything down. Raises AssertionError for what a sanitizer reported or what could not be removed."""
        for job in self.background:
            job.kill()
        self.kill_daemons()
        for closer in reversed(self.closers):
            try:
                closer()
            except Exception:
                traceback.print_exc()
        for point in reversed(self.own_mounts()):
            detach(point, force=True)
        self.kill_daemons()
        for pid in self.own_daemons():
            wait_dead(pid, 5)
        reports = ''.join(os.fsdecode(read_file(path)) for path in glob.glob(self.join('sanitizer*')))
        if self.own_mounts():
            raise AssertionError('still mounted: %s' % self.own_mounts())
        shutil.rmtree(self.path, ignore_errors=True)
        if reports:
            raise AssertionError('sanitizer:\n' + reports)


class Mount:
    """cvv mounted: Mount(work, source, targets, mountpoint, *options); a context manager, and usable again after an end.

    state: the state directory, one below the work directory by default; False leaves it to cvv. mode: of verification;
    False leaves that to cvv, too."""

    def __init__(self, work, source, targets, mountpoint=None, *options, state=None, mode='transfer', start=True):
        self.work, self.source, self.targets = work, source, list(targets)
        self.point = work.dir('mnt') if mountpoint is None else mountpoint
        self.options = [str(option) for option in options]
        self.state = work.join('state') if state is None else state
        self.mode = mode
        self.pid = None
        if start:
            self.start()

    def command(self):
        words = ['mount']
        for target in self.targets:
            words += ['-t', target]
        if self.state:
            words += ['--state', self.state]
        if self.mode:
            words += ['--mode', self.mode]
        return words + self.options + [self.source, self.point]

    def start(self, seconds=30):
        result = self.work.cvv(*self.command(), seconds=seconds)
        if result.code != 0:
            raise AssertionError('cvv mount failed: %s' % result)
        entry = mounted(self.point)
        if entry is None or entry[1] != 'fuse.cvv':
            raise AssertionError('cvv mount returned 0, and %s is %s' % (self.point, entry))
        self.pid = self.status()['pid']
        return result

    def path(self, *names):
        return os.path.join(self.point, *names)

    def read_control(self, name, seconds=10):
        """The text of a file in .cvv."""
        return os.fsdecode(bounded(seconds, read_file, self.path('.cvv', name)))

    def state_word(self):
        return self.read_control('state').strip()

    def status(self, seconds=10):
        return json.loads(self.read_control('status.json', seconds))

    def file(self, path):
        return json.loads(self.read_control(os.path.join('files', path)))

    def ctl(self, *words, seconds=20):
        return self.work.cvv('ctl', self.point, *words, seconds=seconds)

    def do(self, *words, seconds=20):
        """ctl that must succeed."""
        result = self.ctl(*words, seconds=seconds)
        if result.code != 0:
            raise AssertionError('ctl failed: %s' % result)
        return result

    def write_control(self, text):
        def write():
            descriptor = os.open(self.path('.cvv/control'), os.O_WRONLY)
            try:
                return os.write(descriptor, os.fsencode(text))
            finally:
                os.close(descriptor)
        return bounded(10, write)

    def wait(self, seconds=60):
        """Reads .cvv/wait: the state when nothing queued can progress any more."""
        return self.read_control('wait', seconds).strip()

    def fill(self, seconds=60, expect='complete'):
        """Fills everything and expects the state afterwards."""
        self.do('fill')
        state = self.wait(seconds)
        if state != expect:
            raise AssertionError('state %s instead of %s; errors:\n%s' % (state, expect, self.read_control('errors')))

    def until(self, condition, seconds=30, what='a status'):
        """The first status for which condition(status) holds."""
        def check():
            status = self.status()
            return status if condition(status) else None
        return eventually(check, seconds, what)

    def scanned(self, seconds=30):
        return self.until(lambda status: status['scan_complete'], seconds, 'the end of the scan')

    def xattr(self, path, name):
        return os.fsdecode(bounded(10, os.getxattr, self.path(path), 'user.cvv.' + name))

    def keep_log(self):
        try:
            LOGS.append('log of %s:\n%s' % (self.point, self.read_control('log', 3)))
        except Exception as error:
            LOGS.append('log of %s: %s' % (self.point, error))

    def umount(self, *options, seconds=60, expect=0):
        self.keep_log()
        result = self.work.cvv('umount', *options, self.point, seconds=seconds)
        if result.code != expect:
            raise AssertionError('cvv umount: exit %s expected: %s' % (expect, result))
        return result

    def kill9(self, leave_stale=False):
        """Kills the daemon, waits for its death and lets go of the dead mount."""
        if self.pid is None:
            self.pid = self.status()['pid']
        os.kill(self.pid, signal.SIGKILL)
        wait_dead(self.pid)
        if not leave_stale:
            detach(self.point)

    def close(self):
        entry = mounted(self.point)
        if entry is None or entry[1] != 'fuse.cvv':
            return
        self.keep_log()
        if self.pid is not None and alive(self.pid):
            os.kill(self.pid, signal.SIGKILL)
        detach(self.point, force=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def brief(value):
    """What a message says about a value: files are told by length and digest."""
    if isinstance(value, bytes) and len(value) > 200:
        return '<%d bytes, sha256 %s, begins %r>' % (len(value), hashlib.sha256(value).hexdigest()[:12], value[:16])
    if isinstance(value, (list, tuple)):
        return '[%s]' % ', '.join(brief(item) for item in value)
    return repr(value)


class Case(unittest.TestCase):
    """A test with a work directory, a source and three targets; its mounts are made by self.mount."""

    maxDiff = None

    def setUp(self):
        cvv()
        self.work = Work()
        self.addCleanup(self.work.close)
        self.source = self.work.dir('source')
        self.targets = self.work.dirs('t1', 't2', 't3')

    def simple(self, *options, **keywords):
        """The source over the three targets at the usual mount point."""
        return self.mount(self.source, self.targets, None, *options, **keywords)

    def put(self, name, content):
        """A file of the source; returns its content. A number as content: so many random bytes."""
        if isinstance(content, int):
            content = random_bytes(random.Random(content), content)
        self.work.file(content, 'source', name)
        return content

    def on_targets(self, name):
        """For each target what it has under the name: the bytes, or None."""
        paths = [os.path.join(target, name) for target in self.targets]
        return [read_file(path) if os.path.lexists(path) else None for path in paths]

    def mount(self, *arguments, **keywords):
        mount = Mount(self.work, *arguments, start=False, **keywords)
        self.addCleanup(mount.close)
        mount.start()
        return mount

    def refused(self, code, *arguments, containing=(), **keywords):
        """cvv with these arguments must end with the code, saying exactly one line on stderr, and nothing on stdout."""
        result = self.work.cvv(*arguments, **keywords)
        self.assertEqual(result.code, code, result)
        self.assertEqual(len(result.lines()), 1, result)
        self.assertEqual(result.out, '', result)
        for text in containing:
            self.assertIn(text, result.err)
        return result

    def assertEqual(self, first, second, msg=None):
        if first != second and ('bytes, sha256' in brief(first) or 'bytes, sha256' in brief(second)):
            self.fail('%s != %s%s' % (brief(first), brief(second), '' if msg is None else ': %s' % msg))
        super().assertEqual(first, second, msg)

    def assertIn(self, member, container, msg=None):
        if isinstance(member, bytes) and member not in container:
            self.fail('%s is not in %s' % (brief(member), brief(container)))
        super().assertIn(member, container, msg)

    def assertFails(self, number, function, *arguments):
        """The call must fail with this errno within 10 s."""
        try:
            value = bounded(10, function, *arguments)
        except OSError as error:
            self.assertEqual(errno.errorcode.get(error.errno), errno.errorcode[number])
        else:
            self.fail('%s instead of %s' % (repr(value)[:100], errno.errorcode[number]))

    def assertSameTree(self, a, b, **keywords):
        from trees import compare_trees
        differences = bounded(300, lambda: compare_trees(a, b, **keywords))
        if differences:
            self.fail('%d differences between %s and %s:\n%s' % (len(differences), a, b, '\n'.join(differences[:20])))

    def assertSameBytes(self, a, b, seconds=120):
        def compare():
            with open(a, 'rb') as one, open(b, 'rb') as two:
                offset = 0
                while True:
                    x, y = one.read(MiB), two.read(MiB)
                    if x != y:
                        return offset
                    if not x:
                        return None
                    offset += len(x)
        offset = bounded(seconds, compare)
        self.assertIsNone(offset, '%s and %s differ in the MiB at %s' % (a, b, offset))

    def assertOnlyPlain(self, target, source, **keywords):
        """The target holds the source's tree and nothing else."""
        self.assertFalse(os.path.lexists(os.path.join(target, '.cvv')), os.listdir(target))
        self.assertSameTree(source, target, **keywords)
