"""Runs the rows of scripts/bench: places, programs with their time, the comparison, and the end of everything that was begun."""
import contextlib
import ctypes
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

from rows import GIB, KIB, MIB, N_TARGETS, Table, Workload, size_text

LINE_LIMIT_S = 3600  # ends what hangs
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class BenchError(Exception):
    """Ends the bench with these lines and exit code 1."""


class Stopped(BaseException):
    """A signal."""

    def __init__(self, number, _frame):
        super().__init__(number)
        self.number = number


def tell(line):
    print(line, file=sys.stderr, flush=True)


# ---- Processes


def raise_stopped(number, frame):
    raise Stopped(number, frame)


def begin():
    """Signals become exceptions; and what a program leaves running becomes a child of the bench, whose CPU counts and which
    can be ended (cvv works in a second process, and a mount in a daemon)."""
    for number in SIGNALS:
        signal.signal(number, raise_stopped)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise BenchError(f'cannot adopt processes: {os.strerror(ctypes.get_errno())}')


@contextlib.contextmanager
def undisturbed():
    """Cleaning up: no signal ends it."""
    handlers = [signal.signal(number, signal.SIG_IGN) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, handlers):
            signal.signal(number, handler)


def children():
    with open('/proc/thread-self/children', encoding='ascii') as stream:
        return [int(pid) for pid in stream.read().split()]


def reap(is_patient):
    """Takes in children that ended; if patient, waits until there are none left."""
    try:
        while os.waitpid(-1, 0 if is_patient else os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


def end_children():
    """SIGTERM, SIGKILL after a while, for everything that the bench started; returns when all of it is gone."""
    for number, patience_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 30)):
        deadline = time.monotonic() + patience_s
        asked = set()
        while (left := children()) and time.monotonic() < deadline:
            for pid in set(left) - asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            asked |= set(left)
            reap(is_patient=False)
            time.sleep(0.01)  # nothing is measured here, and there is no call that waits with a limit
    if children():
        tell(f'bench: processes that do not end: {children()}')


def end_group(process):
    """Ends a program that was begun with its own session, and what it runs in the foreground."""
    for number, patience_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 30)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience_s)
            return
        except subprocess.TimeoutExpired:
            continue


def run_shell(line, variables, waits_for_all=False):
    """Runs a line in sh; returns (seconds, seconds of CPU). The clock stops when the shell has ended; CPU counts what has ended
    by then, with waits_for_all also what ends a little later. Output is told where the line fails."""
    process = None
    with tempfile.TemporaryFile() as output:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        try:
            process = subprocess.Popen(['sh', '-c', line], env={**os.environ, **variables}, stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
            code = process.wait(LINE_LIMIT_S)
            seconds = time.perf_counter() - began
        except BaseException as error:
            with undisturbed():
                if process and process.returncode is None:
                    end_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BenchError(f'no end after {LINE_LIMIT_S} s: {line}') from None
            raise
        if code != 0:
            output.seek(0)
            raise BenchError(f'exit code {code}: {line}\n' + output.read().decode(errors='replace').strip())
        reap(waits_for_all)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        return seconds, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


# ---- Comparison


def listing(root):
    """All that lies below a directory: path -> lstat."""
    found = {}
    for directory, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, os.fsencode(root))] = os.lstat(path)
    return found


def has_same_bytes(one, other):
    with open(one, 'rb', buffering=0) as left, open(other, 'rb', buffering=0) as right:
        while block := left.read(MIB):
            if block != right.read(len(block)):
                return False
        return not right.read(1)


def difference(source, target, keeps_metadata):
    """What is wrong with a copy, or None."""
    left, right = listing(source), listing(target)
    if left.keys() != right.keys():
        return f'missing or too many: {sorted(left.keys() ^ right.keys())[:3]}'
    for path, status in left.items():
        copy = right[path]
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(copy.st_mode):
            return f'another type: {path}'
        # rsync does not set the time of a directory again that is right to the second.
        unit = 10 ** 9 if stat.S_ISDIR(status.st_mode) else 1
        if keeps_metadata and (status.st_mode, status.st_mtime_ns // unit) != (copy.st_mode, copy.st_mtime_ns // unit):
            return f'other permissions or time: {path}'
        paths = [os.path.join(os.fsencode(root), path) for root in (source, target)]
        if stat.S_ISREG(status.st_mode) and not has_same_bytes(*paths):
            return f'other bytes: {path}'
    return None


# ---- One table


@dataclass
class Run:
    """One table in one directory, and what each of its rows took."""
    table: Table
    workload: Workload
    rows: tuple
    variables: dict
    seconds: dict = field(default_factory=dict)
    cpu_seconds: dict = field(default_factory=dict)

    def measure_all(self, n_runs):
        os.mkdir(self.variables['SOURCE'])
        self.workload.make(self.variables['SOURCE'])
        run_shell('sync -f "$SOURCE"', self.variables)
        for turn in range(n_runs):
            # Each round begins one row further, so that no row always runs behind the same one.
            first = turn % len(self.rows)
            for row in self.rows[first:] + self.rows[:first]:
                seconds = self.measure(row, is_first=turn == 0)
                tell(f'{self.table.name}  run {turn + 1} of {n_runs}  {seconds:9.3f} s  {row.name}')

    def measure(self, row, is_first):
        run_shell(self.table.preparation, self.variables)
        try:
            if row.before:
                run_shell(row.before, self.variables)
            seconds, cpu_seconds = run_shell(row.command, self.variables, waits_for_all=not row.before)
            if is_first:
                self.compare(row)
        except BaseException:
            with undisturbed():
                self.after_failure(row)
            raise
        if row.after:
            run_shell(row.after, self.variables)
        self.seconds.setdefault(row.name, []).append(seconds)
        self.cpu_seconds.setdefault(row.name, []).append(cpu_seconds)
        return seconds

    def after_failure(self, row):
        try:
            if row.after:
                run_shell(row.after, self.variables)
        except BenchError as error:
            tell(f'bench: {error}')

    def compare(self, row):
        for number in range(1, N_TARGETS + 1):
            wrong = difference(self.variables['SOURCE'], self.variables[f'T{number}'], row.keeps_metadata)
            if wrong:
                raise BenchError(f'{self.table.name}, {row.name}: target {number} is a wrong copy: {wrong}')


# ---- Places


def filesystem_of(path):
    for command in (['findmnt', '-n', '-o', 'FSTYPE', '-T', path], ['stat', '-f', '-c', '%T', path]):
        if shutil.which(command[0]):
            return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    return ''


def has_room(path, need):
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize >= need


def own_cgroup():
    try:
        with open('/proc/self/cgroup', encoding='ascii') as stream:
            found = re.search(r'^0::(/.*)$', stream.read(), re.M)
    except OSError:
        return ''
    return found[1] if found else ''


def memory_left():
    """Bytes that a tmpfs can still take: what the kernel calls available, less where a cgroup allows less."""
    with open('/proc/meminfo', encoding='ascii') as stream:
        left = int(re.search(r'^MemAvailable:\s+(\d+) kB', stream.read(), re.M)[1]) * KIB
    for folder in ('/sys/fs/cgroup', '/sys/fs/cgroup' + own_cgroup()):
        try:
            with open(f'{folder}/memory.max', encoding='ascii') as limit, \
                    open(f'{folder}/memory.current', encoding='ascii') as current:
                left = min(left, int(limit.read()) - int(current.read()))
        except (OSError, ValueError):
            continue  # no limit here: `max`, or no such file
    return max(left, 0)


class Place:
    """A directory of the bench's own, which takes everything with it when it goes."""

    def __init__(self, kind, given, need):
        self.kind, self.given, self.need = kind, given, need
        self.directory = None
        self.is_mounted = False

    def check(self):
        """Says no before anything is made."""
        if self.kind == 'memory' and memory_left() < self.need + GIB:
            raise BenchError(f'in memory this needs {size_text(self.need + GIB)} that are free, here are '
                             f'{size_text(memory_left())}: give smaller numbers with --size and --files, or --tables "*/disk*"')
        if self.needs_mount():
            return
        if not os.path.isdir(self.given):
            raise BenchError(f'{self.given} is no directory: give another one with --{self.kind}')
        if self.kind == 'memory' and filesystem_of(self.given) not in ('tmpfs', 'ramfs'):
            raise BenchError(f'{self.given} does not lie in memory: give a directory on a tmpfs with --memory')
        if not has_room(self.given, self.need):
            raise BenchError(f'{self.given} has no room for {size_text(self.need)}: give another directory with '
                             f'--{self.kind}, or smaller numbers with --size and --files')

    def needs_mount(self):
        """Memory where the usual directory does not serve, and root can make another."""
        serves = os.path.isdir(self.given) and filesystem_of(self.given) == 'tmpfs' and has_room(self.given, self.need)
        return self.kind == 'memory' and self.given == '/dev/shm' and not serves and os.geteuid() == 0

    def __enter__(self):
        with undisturbed():
            self.is_mounted = self.needs_mount()
            self.directory = tempfile.mkdtemp(prefix='cvv-bench.',
                                              dir=tempfile.gettempdir() if self.is_mounted else self.given)
            if self.is_mounted:
                try:
                    run_shell(f'mount -t tmpfs -o size={self.need} cvv-bench "$DIR"', {'DIR': self.directory})
                except BenchError:
                    os.rmdir(self.directory)
                    raise
        return self

    def __exit__(self, *_):
        with undisturbed():
            end_children()
            if self.is_mounted:
                subprocess.run(['umount', self.directory], check=False)
            shutil.rmtree(self.directory, ignore_errors=True)
            if os.path.exists(self.directory):
                tell(f'bench: cannot remove {self.directory}')
