"""Child processes with an end: calls with a time limit, jobs in the background, waiting for conditions and deaths."""
import os
import pickle
import select
import signal
import sys
import time
import traceback

MiB = 1 << 20
SCALE = float(os.environ.get('CVV_TIMEOUT_SCALE', '1'))


class TimedOut(AssertionError):
    pass


def bounded(seconds, function, *arguments):
    """function(*arguments) in a child process: its result, its exception, or TimedOut after so many seconds.

    A child stuck in a system call is killed and not waited for."""
    seconds *= SCALE
    end, other = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(end)
            _answer(other, function, arguments)
        finally:
            os._exit(0)
    os.close(other)
    answer, deadline = b'', time.monotonic() + seconds
    try:
        while True:
            ready, _, _ = select.select([end], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimedOut('%s did not return within %.1f s' % (getattr(function, '__name__', function), seconds))
            part = os.read(end, MiB)
            if not part:
                break
            answer += part
    finally:
        os.close(end)
        os.kill(pid, signal.SIGKILL)
        reap(pid)
    if not answer:
        raise AssertionError('the child process died')
    good, value = pickle.loads(answer)
    if good:
        return value
    raise value


def _answer(descriptor, function, arguments):
    try:
        answer = pickle.dumps((True, function(*arguments)))
    except BaseException as error:      # whatever it was, the parent raises it
        try:
            answer = pickle.dumps((False, error))
            pickle.loads(answer)
        except Exception:
            answer = pickle.dumps((False, AssertionError(traceback.format_exc())))
    with os.fdopen(descriptor, 'wb') as pipe:
        pipe.write(answer)


def reap(pid, seconds=2):
    """Collects a child that was killed; false when it does not die within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return True
        except ChildProcessError:
            return True
        time.sleep(0.002)
    return False


def alive(pid):
    """Whether the process runs; a zombie does not, unless threads of it are still on their way out and hold its locks."""
    try:
        os.waitpid(pid, os.WNOHANG)     # a daemon whose parent died may have become our child
    except ChildProcessError:
        pass
    try:
        with open('/proc/%d/stat' % pid) as file:
            return file.read().rsplit(')', 1)[1].split()[0] not in 'ZX' or len(os.listdir('/proc/%d/task' % pid)) > 1
    except OSError:
        return False


def wait_dead(pid, seconds=10):
    return eventually(lambda: not alive(pid), seconds, 'process %d to end' % pid)


def eventually(condition, seconds=20, what='the condition'):
    """Waits until condition() is true and returns its value; fails after so many seconds."""
    deadline = time.monotonic() + seconds * SCALE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimedOut('waited %.1f s for %s' % (seconds * SCALE, what))
        time.sleep(0.02)


class Background:
    """function(*arguments) in a child process that runs on; its exit status tells whether it raised."""

    def __init__(self, function, *arguments):
        self.start = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                function(*arguments)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        self.code = None

    def running(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        return self.code is None

    def join(self, seconds=20):
        eventually(lambda: not self.running(), seconds, 'a background job')
        if self.code != 0:
            raise AssertionError('a background job ended with %s' % self.code)

    def kill(self):
        if self.running():
            os.kill(self.pid, signal.SIGKILL)
            reap(self.pid)
            self.code = -signal.SIGKILL


def free_threads(pid):
    """The number of threads of a process."""
    return len(os.listdir('/proc/%d/task' % pid))
