#!/usr/bin/env python3
"""Runs the tests that mount cvv: tests/mount/test_*.py and tests/fault/test_*.py.

Each test runs in a process of its own with a time limit and, as root, in its own mount and process namespaces, so that
neither a mount nor a daemon outlives it. For each it prints `ok|FAIL|skip NAME (reason)`; what a failing test and the
daemons in it said follows, or `note NAME: TEXT` for each measurement that a passing one told (harness.note). The last line is `N passed, N failed, N skipped`. Exit 0 only when something ran and nothing
failed. `--list` names the tests; words select the tests whose names contain one of them.
"""
import argparse
import concurrent.futures
import contextlib
import glob
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
FAULT = os.path.join(os.path.dirname(HERE), 'fault')
SKIPPED, DEFAULT_SECONDS = 77, 120
children, directories = set(), set()        # process groups and work directories of tests that run now
sys.path[:0] = [HERE, FAULT]
sys.dont_write_bytecode = True


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def collect():
    """[(name, seconds)] of all tests; a module that does not load is a test that fails."""
    found = []
    for path in sorted(glob.glob(os.path.join(HERE, 'test_*.py'))) + sorted(glob.glob(os.path.join(FAULT, 'test_*.py'))):
        module = os.path.basename(path)[:-3]
        try:
            suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(module))
        except Exception as error:
            print('cannot load %s: %s' % (module, error))
            found.append((module, DEFAULT_SECONDS))
            continue
        for test in tests_of(suite):
            method = getattr(test, test._testMethodName)
            found.append((test.id(), getattr(method, 'timeout_seconds', DEFAULT_SECONDS)))
    return found


# ---- the process of one test ----

class Collector(unittest.TestResult):
    """Keeps the reason of what went wrong last."""

    reason = ''

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.reason = reason

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, self.failures[-1][1], error)

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, self.errors[-1][1], error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.note(subtest, '%s\n%s' % (subtest, self._exc_info_to_string(error, test)), error)

    def note(self, test, text, error):
        print(text)
        lines = (str(error[1]) or repr(error[1])).splitlines()
        self.reason = self.reason or '%s: %s' % (error[0].__name__, lines[0] if lines else '')


def run_one(name):
    import harness
    result = Collector()
    unittest.defaultTestLoader.loadTestsFromName(name).run(result)
    if result.failures or result.errors or result.testsRun == 0:
        for log in harness.LOGS:
            print(log)
        print('RESULT ' + (result.reason or 'did not run'))
        return 1
    if result.skipped:
        print('RESULT ' + result.reason)
        return SKIPPED
    return 0


# ---- the runner ----

def isolation():
    """The command that gives a test its own mounts and processes, or nothing where that is not possible."""
    command = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private', '--']
    if os.geteuid() != 0 or shutil.which('unshare') is None:
        return []
    return command if subprocess.run(command + ['true'], stderr=subprocess.DEVNULL).returncode == 0 else []


@contextlib.contextmanager
def scratch(prefix):
    """The environment of a test. An isolated one gets a directory that goes away even if the test was killed."""
    import harness
    if not prefix:      # its mounts may still be there: nothing is removed through them
        yield None
        return
    path = tempfile.mkdtemp(prefix='cvv-run-', dir=harness.base_directory())
    os.chmod(path, 0o755)
    directories.add(path)
    try:
        yield dict(os.environ, TMPDIR=path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        directories.discard(path)


def run_isolated(prefix, name, seconds):
    """(outcome, reason, output, elapsed) of one test."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as output, scratch(prefix) as environment:
        child = subprocess.Popen([*prefix, sys.executable, os.path.abspath(__file__), '--one', name],
                                 stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                                 env=environment)
        children.add(child.pid)
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                pass        # stuck in a system call; its namespace goes when the call returns
            code = None
        children.discard(child.pid)
        output.seek(0)
        text = output.read().decode('utf-8', 'replace')
    reason = next((line[7:] for line in reversed(text.splitlines()) if line.startswith('RESULT ')), '')
    outcome = {0: 'ok', SKIPPED: 'skip'}.get(code, 'FAIL')
    if code is None:
        reason = 'no end within %d s' % seconds
    elif outcome == 'FAIL' and not reason:
        reason = 'exit %s' % code
    if outcome == 'ok':
        reason = ', '.join(line for line in text.splitlines() if line.startswith('seed '))
    return outcome, reason, text, time.monotonic() - start


def interrupted(number, frame):
    """Takes the running tests along."""
    for group in list(children):
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
    time.sleep(0.5 if directories else 0)       # the namespaces end with their processes
    for path in list(directories):
        shutil.rmtree(path, ignore_errors=True)
    os._exit(128 + number)


def show(name, outcome, reason, text, elapsed):
    reason = ''.join(character if character.isprintable() else '?' for character in reason)[:300]
    print('%s %s%s %.1fs' % (outcome, name, ' (%s)' % reason if reason else '', elapsed))
    if outcome == 'FAIL':
        print(''.join('    %s\n' % line for line in text.splitlines()), end='')
    if outcome == 'ok':
        print(''.join('note %s: %s\n' % (name, line[5:]) for line in text.splitlines() if line.startswith('note ')), end='')
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--jobs', type=int, default=2, help='tests at a time (2)')
    parser.add_argument('--long', action='store_true', help='full counts and sizes')
    parser.add_argument('--list', action='store_true', help='print the names and end')
    parser.add_argument('--no-isolation', action='store_true', help='stay in the namespaces of the caller')
    parser.add_argument('--one', help=argparse.SUPPRESS)
    parser.add_argument('select', nargs='*', help='run tests whose names contain one of these')
    options = parser.parse_args()
    sys.stdout.reconfigure(errors='backslashreplace')
    if options.one:
        return run_one(options.one)
    if options.long:
        os.environ['CVV_LONG'] = '1'
    tests = [test for test in collect() if not options.select or any(word in test[0] for word in options.select)]
    if options.list:
        print('\n'.join(name for name, _ in tests))
        return 0
    scale = float(os.environ.get('CVV_TIMEOUT_SCALE', '1')) * (10 if options.long else 1)
    prefix = [] if options.no_isolation else isolation()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    totals = {'ok': 0, 'FAIL': 0, 'skip': 0}
    with concurrent.futures.ThreadPoolExecutor(max(1, options.jobs)) as pool:
        running = {pool.submit(run_isolated, prefix, name, seconds * scale): name for name, seconds in tests}
        for future in concurrent.futures.as_completed(running):
            show(running[future], *future.result())
            totals[future.result()[0]] += 1
    print('%d passed, %d failed, %d skipped' % (totals['ok'], totals['FAIL'], totals['skip']))
    return 0 if totals['FAIL'] == 0 and totals['ok'] + totals['skip'] > 0 else 1


if __name__ == '__main__':
    sys.exit(main())
