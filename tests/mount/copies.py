"""What the tests of `cvv copy` share: running it to its end, and starting it to be watched, interrupted or killed."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from harness import SCALE, Case, cvv, detach, eventually


class Copying:
    """A `cvv copy` that runs, its standard error a pipe or the terminal `pty` (columns wide)."""

    def __init__(self, work, words, columns=None, cwd=None):
        self.text = b''
        if columns is None:
            self.reader, writer = os.pipe()
            env = work.env
        else:
            self.reader, writer = pty.openpty()
            fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
            env = dict(work.env, TERM='xterm')
        self.out = open(work.join('copy.out'), 'w+b')
        self.child = subprocess.Popen([cvv()] + words, stdin=subprocess.DEVNULL, stdout=self.out, stderr=writer, env=env, cwd=cwd,
                                      start_new_session=True)
        os.close(writer)
        self.pid = self.child.pid

    def read_some(self, seconds):
        """Takes what stands on standard error within this time; False at its end."""
        if not select.select([self.reader], [], [], seconds)[0]:
            return True
        try:
            more = os.read(self.reader, 65536)
        except OSError:     # a terminal whose other side was closed
            more = b''
        self.text += more
        return bool(more)

    def until(self, condition, seconds=30):
        """Reads on until condition(all of standard error)."""
        end = time.monotonic() + seconds * SCALE
        while not condition(self.text):
            if not self.read_some(0.1) and not condition(self.text):
                raise AssertionError('cvv copy ended: %r' % self.text)
            if time.monotonic() > end:
                raise AssertionError('waited in vain: %r' % self.text)

    def end(self, seconds=60):
        """The exit code, when it has ended."""
        end = time.monotonic() + seconds * SCALE
        while self.child.poll() is None or self.read_some(0):
            if time.monotonic() > end:
                raise AssertionError('cvv copy does not end: %r' % self.text)
            if self.child.poll() is None:
                self.read_some(0.1)
            elif not self.read_some(0):
                break
            elif not select.select([self.reader], [], [], 0)[0]:
                break
        return self.child.wait()

    def output(self):
        self.out.seek(0)
        return os.fsdecode(self.out.read())

    def kill9(self):
        os.kill(self.pid, signal.SIGKILL)
        self.child.wait()

    def is_left(self):
        """Whether a process of its session may still have files open: of one that is dying little more than the session is known."""
        for entry in os.listdir('/proc'):
            try:
                with open('/proc/%s/stat' % entry) as file:
                    fields = file.read().rsplit(')', 1)[1].split()
                if int(fields[3]) == self.pid and (fields[0] not in 'ZX' or len(os.listdir('/proc/%s/task' % entry)) > 1):
                    return True
            except (OSError, IndexError):
                continue
        return False

    def wait_all_dead(self):
        """After a kill -9: until its locks are free."""
        eventually(lambda: not self.is_left(), 10, 'the end of the worker')

    def close(self):
        if self.child.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.child.wait()
        os.close(self.reader)
        self.out.close()


class CopyCase(Case):
    mode = 'transfer'

    def words(self, *options, source=None, targets=None):
        return ['copy', '--state', self.work.join('state'), '--mode', self.mode, *options, source or self.source,
                *(self.targets if targets is None else targets)]

    def copy(self, *options, code=0, source=None, targets=None, **keywords):
        """Copies to the end, and expects this exit code."""
        result = self.work.cvv(*self.words(*options, source=source, targets=targets), **keywords)
        self.assertEqual(result.code, code, result)
        return result

    def own_default_state(self):
        """Without --state, root's states lie in /var/lib/cvv: gives this test one of its own."""
        if os.geteuid() != 0:
            return
        if not os.path.isdir('/var/lib/cvv'):
            os.mkdir('/var/lib/cvv')
            self.addCleanup(os.rmdir, '/var/lib/cvv')
        self.assertEqual(self.work.run('mount', '--bind', self.work.dir('var-lib-cvv'), '/var/lib/cvv').code, 0)
        self.addCleanup(detach, '/var/lib/cvv')

    def start(self, *options, source=None, targets=None, **keywords):
        copying = Copying(self.work, self.words(*options, source=source, targets=targets), **keywords)
        self.addCleanup(copying.close)
        return copying

    def assertCopied(self, targets=None):
        """Each target is what the source is, and nothing of cvv's own is left on it."""
        for target in self.targets if targets is None else targets:
            self.assertFalse(os.path.lexists(os.path.join(target, '.cvv')), target)
            self.assertSameTree(self.source, target)
