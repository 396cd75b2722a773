"""cvv copy that is interrupted, killed, hung or watched: what it shows, how it ends, and that it goes on where it stood."""
import json
import os
import re
import shlex
import signal
import time
import unittest

from copies import CopyCase
from devices import FaultFs
from harness import SCALE, MiB, cvv, eventually, read_file, timeout

SLOW = ('--chunk-size', '1M', '--limit', '4M')


class Interrupted(CopyCase):
    def setUp(self):
        super().setUp()
        self.put('a', 24 * MiB)
        self.put('b', 4 * MiB)

    def start_and_wait(self, *options, **keywords):
        """A slow copy of which something is durable on a target."""
        copying = self.start(*SLOW, *options, **keywords)

        def partial():
            directory = os.path.join(self.targets[0], '.cvv', 'partial')
            return os.path.isdir(directory) and any(os.stat(os.path.join(directory, name)).st_blocks for name in os.listdir(directory))
        eventually(partial, 30, 'a partial file')
        return copying

    def interrupt(self, number, code):
        copying = self.start_and_wait()
        begun = time.monotonic()
        os.kill(copying.pid, number)
        self.assertEqual(copying.end(), code, copying.text)
        self.assertLess(time.monotonic() - begun, 5 * SCALE)
        self.assertEqual(copying.output(), '')
        return os.fsdecode(copying.text)

    def test_sigint_ends_with_130_and_the_line_that_resumes(self):
        text = self.interrupt(signal.SIGINT, 130)
        line = re.search(r'^cvv: resume with: (.*)$', text, re.M).group(1)
        self.assertEqual(shlex.split(line), [cvv()] + self.words(*SLOW))
        self.assertRegex(text, r'(?m)^cvv: .* still owed')
        words = shlex.split(line)
        result = self.work.run(*[word if word != '4M' else 'none' for word in words])
        self.assertEqual(result.code, 0, result)
        self.assertCopied()

    def test_sigterm_ends_with_143(self):
        self.assertIn('resume with: ', self.interrupt(signal.SIGTERM, 143))
        self.copy()
        self.assertCopied()

    def test_ctrl_c_reaches_the_whole_group_and_counts_once(self):
        copying = self.start_and_wait()
        os.killpg(copying.pid, signal.SIGINT)
        self.assertEqual(copying.end(), 130)
        self.assertIn(b'still owed', copying.text)
        self.assertNotIn(b'interrupted again', copying.text)

    def test_when_its_parent_is_killed_the_worker_is_gone(self):
        copying = self.start_and_wait()
        copying.kill9()
        eventually(lambda: not self.work.own_daemons(), 10, 'the end of the worker')

    def test_the_line_that_resumes_is_quoted(self):
        odd = self.work.dir("o'dd $(target)\x1b")
        copying = self.start_and_wait(targets=[self.targets[0], odd])
        os.kill(copying.pid, signal.SIGINT)
        self.assertEqual(copying.end(), 130)
        self.assertNotIn(b'\x1b', copying.text)
        line = re.search(r'^cvv: resume with: (.*)$', os.fsdecode(copying.text), re.M).group(1)
        words = self.work.run('bash', '-c', 'printf "%s\\0" ' + line).out
        self.assertEqual(words.split('\0')[:-1], [cvv()] + self.words(*SLOW, targets=[self.targets[0], odd]))

    def test_after_kill_9_it_goes_on(self):
        copying = self.start_and_wait()
        copying.kill9()
        self.copy('-v')
        self.assertCopied()

    def test_what_was_durable_is_not_copied_again(self):
        copying = self.start(*SLOW)
        eventually(lambda: self.blocks() >= 12 * MiB, 60, 'half of the first file')
        os.kill(copying.pid, signal.SIGINT)
        self.assertEqual(copying.end(), 130)
        status = json.loads(self.copy('--json').out)
        self.assertLess(status['source_copy_bytes'], 24 * MiB)
        self.assertCopied()

    def blocks(self):
        directory = os.path.join(self.targets[0], '.cvv', 'partial')
        if not os.path.isdir(directory):
            return 0
        return sum(os.stat(os.path.join(directory, name)).st_blocks * 512 for name in os.listdir(directory))

    def test_a_second_signal_ends_it_at_once(self):
        fault = FaultFs(self.work, self.targets[1])
        self.targets[1] = fault.path
        copying = self.start(*SLOW)
        eventually(lambda: self.blocks() > 0, 30, 'a partial file')
        fault.stop()
        os.kill(copying.pid, signal.SIGINT)
        copying.until(lambda text: b'resume with' in text)
        begun = time.monotonic()
        os.kill(copying.pid, signal.SIGTERM)
        self.assertEqual(copying.end(), 130)
        self.assertLess(time.monotonic() - begun, 2 * SCALE)

    def test_with_a_hung_target_it_ends_within_5_seconds(self):
        fault = FaultFs(self.work, self.targets[1])
        self.targets[1] = fault.path
        copying = self.start(*SLOW)
        eventually(lambda: self.blocks() > 0, 30, 'a partial file')
        fault.stop()
        begun = time.monotonic()
        os.kill(copying.pid, signal.SIGTERM)
        self.assertEqual(copying.end(), 143)
        self.assertLess(time.monotonic() - begun, 5 * SCALE)
        self.assertIn(b'resume with: ', copying.text)
        fault.cont()
        self.copy()
        self.assertEqual([self.on_targets(name)[0] == read_file(os.path.join(self.source, name)) for name in 'ab'], [True] * 2)
        self.assertEqual([self.on_targets(name)[1] == read_file(os.path.join(self.source, name)) for name in 'ab'], [True] * 2)

    @timeout(200)
    def test_a_target_that_hangs_does_not_keep_the_others_from_finishing(self):
        fault = FaultFs(self.work, self.targets[1])
        self.targets[1] = fault.path
        copying = self.start(*SLOW)
        eventually(lambda: self.blocks() > 0, 30, 'a partial file')
        fault.stop()
        self.assertEqual(copying.end(150), 1, copying.text)
        self.assertRegex(copying.output(), r'(?m)^target 2 .*: offline, ')
        for n in 0, 2:
            for name in 'ab':
                self.assertEqual(read_file(os.path.join(self.targets[n], name)), read_file(os.path.join(self.source, name)))
        fault.cont()

    def test_a_target_that_dies_does_not_keep_the_others_from_finishing(self):
        fault = FaultFs(self.work, self.targets[1])
        self.targets[1] = fault.path
        copying = self.start(*SLOW)
        eventually(lambda: self.blocks() > 0, 30, 'a partial file')
        fault.kill()
        self.assertEqual(copying.end(100), 1, copying.text)
        self.assertRegex(copying.output(), r'(?m)^target 2 .*: (offline|failed), ')
        for n in 0, 2:
            for name in 'ab':
                self.assertEqual(read_file(os.path.join(self.targets[n], name)), read_file(os.path.join(self.source, name)))


class Progress(CopyCase):
    def test_a_terminal_shows_a_bar_rate_and_time_left_for_each_target(self):
        self.put('a', 24 * MiB)
        copying = self.start(*SLOW, columns=100)
        for n in b'1', b'2', b'3':
            copying.until(lambda text: re.search(rb'\r?\n' + n + rb'  \[(\x1b\[\d*m)?#+(\x1b\[\d*m)?-+(\x1b\[\d*m)?\]  +\d+\.\d%  .*online.*  \d\S* [KM]iB/s  +\d+ s left',
                                                 text))
        os.kill(copying.pid, signal.SIGINT)
        self.assertEqual(copying.end(), 130)
        shown = copying.text[:copying.text.index(b'cvv: resume with')]
        self.assertIn(b'\x1b[J', shown)
        self.assertTrue(shown.endswith(b'\n') or shown.endswith(b'\x1b[J'), shown[-50:])
        self.assertNotIn(b'\x1b[', copying.text[len(shown):])   # nothing is drawn behind that line
        self.assertNotIn(b'\x1b[?', copying.text)               # no mode of the terminal is changed

    def test_at_the_end_the_display_is_gone(self):
        self.put('a', 3 * MiB)
        copying = self.start(columns=100)
        self.assertEqual(copying.end(), 0)
        self.assertTrue(copying.text.endswith(b'\x1b[J'), copying.text[-200:])
        self.assertIn('copied 1 files', copying.output())

    def test_no_line_is_wider_than_the_terminal(self):
        self.put('a' * 200, 24 * MiB)
        copying = self.start(*SLOW, columns=60)
        copying.until(lambda text: text.count(b'copying:') > 2)
        for line in re.sub(rb'\x1b\[[0-9;]*[A-Za-z]', b'', copying.text).splitlines():
            self.assertLess(len(line), 60)

    def test_elsewhere_there_are_plain_lines(self):
        self.put('a', 60 * MiB)
        copying = self.start('--chunk-size', '1M', '--limit', '2M')
        copying.until(lambda text: text.count(b'\n') >= 2, 40)
        self.assertRegex(copying.text, rb'(?m)^cvv: \d+\.\d%  \S+ MiB of 60.0 MiB  0 of 1 file  \S+ [KM]iB/s')
        self.assertNotIn(b'\x1b', copying.text)

    def test_a_short_copy_says_nothing_on_stderr(self):
        self.put('a', 1000)
        self.assertEqual(self.copy().err, '')


if __name__ == '__main__':
    unittest.main()
