#!/usr/bin/env python3
"""scripts/bench gives each row its numbers, ends where a copy is wrong, and leaves nothing behind. The cvv in it is a stand-in
made for each case; $NATIVE is the program that the build made."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
SCRIPT = os.path.join(ROOT, 'scripts', 'bench')
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, 'tests', 'bench'))

import report  # noqa: E402
import rows  # noqa: E402

# cvv copy -m MODE --hash xxh64 --state STATE SOURCE T1 T2 T3
GOOD = 'mkdir "$7"; for t in "$9" "${10}" "${11}"; do cp -a "$8/." "$t/"; done\n'


class Bench(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.top = temporary.name
        self.disk = os.path.join(self.top, 'disk')
        os.mkdir(self.disk)

    def command(self, body, *arguments):
        cvv = os.path.join(self.top, 'cvv')
        with open(cvv, 'w', encoding='utf-8') as stream:
            stream.write('#!/bin/bash\nset -e\n[ "$1" != --version ] || { echo stand-in; exit; }\n' + body)
        os.chmod(cvv, 0o755)
        return [SCRIPT, '--disk', self.disk, '--cvv', cvv, '--native', os.environ['NATIVE'], '--size', '1M', '--files', '3',
                '--tables', '*/disk*', *arguments]

    def run_bench(self, body, *arguments):
        return subprocess.run(self.command(body, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False)

    def assert_ends(self, body, *expected):
        """The bench ends with exit code 1, says what is expected, prints no table and leaves nothing."""
        result = self.run_bench(body, '--quick')
        self.assertEqual((result.returncode, result.stdout), (1, ''), result.stderr)
        for words in expected:
            self.assertIn(words, result.stderr)
        self.assertEqual(os.listdir(self.disk), [])

    def test_each_row_of_each_table_has_its_runs_and_ratios(self):
        result = self.run_bench(GOOD, '--runs', '2', '--json')
        self.assertEqual(result.returncode, 0, result.stderr)
        got = json.loads(result.stdout)
        tables = [table for table in rows.TABLES if table.place == 'disk']
        self.assertEqual([table['table'] for table in got['tables']], [table.name for table in tables])
        for table, found in zip(tables, got['tables']):
            left_out = [line for line in got['left_out'] if line.startswith(table.name + ',')]
            self.assertEqual(len(found['rows']) + len(left_out), len(table.rows))
            for row in found['rows']:
                self.assertEqual(len(row['seconds']['runs']), 2)
                self.assertGreater(row['seconds']['low'], 0)
                self.assertEqual(set(row['ratios']), set(table.bases) - {row['row']})
        self.assertEqual(os.listdir(self.disk), [])

    def test_tables_show_rows_with_commands_that_repeat_them(self):
        result = self.run_bench(GOOD, '--quick', '--json', os.path.join(self.top, 'json'))
        self.assertEqual(result.returncode, 0, result.stderr)
        for table in rows.TABLES:
            self.assertEqual(f'## {table.name}:' in result.stdout, table.place == 'disk')
        for row in (rows.NATIVE, rows.CP, rows.TRANSFER, rows.SOURCE, rows.FULL, rows.NATIVE_SYNCED):
            self.assertIn(f'| {row.name} ', result.stdout)
            self.assertIn(f'\n    {row.command}\n', result.stdout)
        with open(os.path.join(self.top, 'json'), encoding='utf-8') as stream:
            self.assertEqual(json.load(stream)['runs'], 1)

    def test_second_program_has_rows_of_its_own(self):
        other = os.path.join(self.top, 'other')
        os.symlink('cvv', other)
        result = self.run_bench(GOOD, '--quick', '--tables', 'one-file/disk', '--rows', 'full', '--also', other, '--json')
        self.assertEqual(result.returncode, 0, result.stderr)
        names = [row['row'] for row in json.loads(result.stdout)['tables'][0]['rows']]
        self.assertEqual(names, ['native', 'cp -a x 3', 'cvv copy -m full', 'cvv copy -m full (also)'])

    def test_source_made_by_hand_is_the_same_each_time(self):
        made = []
        for name in ('one', 'two'):
            directory = os.path.join(self.top, name)
            subprocess.run([SCRIPT, '--make-source', 'small-files', '--files', '3', '--in', directory], check=True)
            made.append(subprocess.run('find . -type f | sort | xargs sha256sum', shell=True, cwd=directory, check=True,
                                       stdout=subprocess.PIPE).stdout.splitlines())
        self.assertEqual(made[0], made[1])
        self.assertEqual(len({line.split()[0] for line in made[0]}), 3)

    def test_ends_on_a_wrong_byte(self):
        self.assert_ends(GOOD + 'f=$(find "${10}" -type f); t=$(mktemp -d "${11}/../x.XXXXXX"); touch -r "$f" "$t"; '
                         'printf x | dd of="$f" bs=1 seek=700000 conv=notrunc status=none; touch -r "$t" "$f"\n',
                         'target 2 is a wrong copy: other bytes')

    def test_ends_on_a_short_copy(self):
        self.assert_ends(GOOD + 'f=$(find "${11}" -type f); t=$(stat -c %y "$f"); truncate -s -1 "$f"; touch -d "$t" "$f"\n',
                         'target 3 is a wrong copy: other bytes')

    def test_ends_on_a_missing_file(self):
        self.assert_ends(GOOD + 'rm "$9"/*.mov\n', 'target 1 is a wrong copy: missing')

    def test_ends_on_a_file_too_many(self):
        self.assert_ends(GOOD + 'mkdir "${11}/.cvv"\n', 'target 3 is a wrong copy: missing or too many')

    def test_ends_on_another_time(self):
        self.assert_ends(GOOD + 'touch "$9"/*\n', 'target 1 is a wrong copy: other permissions or time')

    def test_ends_when_a_row_fails_and_tells_its_words(self):
        self.assert_ends('echo it would not; exit 3\n', 'exit code 3', 'it would not')

    def test_refuses_where_there_is_no_room(self):
        result = self.run_bench(GOOD, '--size', '900T')
        self.assertEqual((result.returncode, result.stdout), (1, ''))
        self.assertIn('has no room for', result.stderr)
        self.assertEqual(os.listdir(self.disk), [])

    def test_refuses_where_there_is_not_enough_memory(self):
        result = self.run_bench(GOOD, '--size', '900T', '--tables', '*/memory')
        self.assertEqual((result.returncode, result.stdout), (1, ''))
        self.assertIn('in memory this needs', result.stderr)

    def test_refuses_what_it_does_not_know(self):
        for arguments in (['--runs', '0'], ['--size', '1X'], ['--files', '1'], ['--in', self.disk], ['--frobnicate']):
            self.assertEqual(self.run_bench(GOOD, *arguments).returncode, 2, arguments)
        only_unknown = subprocess.run([SCRIPT, '--tables', 'none'], stderr=subprocess.PIPE, check=False)
        self.assertEqual(only_unknown.returncode, 2)

    def test_leaves_neither_files_nor_processes_when_stopped(self):
        fifo = os.path.join(self.top, 'fifo')
        os.mkfifo(fifo)
        # A process in the foreground, and one that has left the process group, as a daemon does.
        body = f'setsid sleep 1000 & echo "$! $$" >"{fifo}"; exec sleep 1000\n'
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with subprocess.Popen(self.command(body, '--quick'), stderr=subprocess.DEVNULL) as bench:
                with open(fifo, encoding='ascii') as stream:
                    pids = [int(pid) for pid in stream.read().split()]
                bench.send_signal(number)
                self.assertEqual(bench.wait(), 128 + number)
            self.assertEqual(os.listdir(self.disk), [])
            for pid in pids:
                self.assertFalse(os.path.exists(f'/proc/{pid}'), pid)


class Numbers(unittest.TestCase):
    def test_interval_is_that_of_the_order_statistics(self):
        self.assertEqual(report.interval([3]), (3, 3))
        self.assertEqual(report.interval([5, 1, 4, 2, 3]), (1, 5))
        self.assertEqual(report.interval(list(range(1, 7))), (1, 6))
        self.assertEqual(report.interval(list(range(15, 0, -1))), (4, 12))
        self.assertEqual(report.interval(list(range(1, 26))), (8, 18))

    def test_names_of_tables_are_unique_and_bases_are_rows(self):
        self.assertEqual(len({table.name for table in rows.TABLES}), len(rows.TABLES))
        for table in rows.TABLES:
            names = {row.name for row in table.rows}
            self.assertLessEqual({*table.bases, *table.figures}, names)
            self.assertLessEqual({base for figures in table.figures.values() for base, _ in figures}, set(table.bases))


if __name__ == '__main__':
    unittest.main()
