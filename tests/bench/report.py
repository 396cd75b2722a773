"""The numbers of scripts/bench, and how they are printed."""
import math
import shlex
import statistics

from rows import GIB, KIB, MIB, N_TARGETS, size_text

PAIRS_NEAR_1 = 15  # a ratio within 20 % of 1 wants so many runs
STANDARD = {('one-file', 1, 2 * GIB), ('small-files', 5000, 16 * KIB)}  # what the figures are meant for
RUNS_OF_INTERVAL = 6  # fewer do not give 95 %


def interval(values):
    """Between what the median lies at 95 %, by the order statistics; of fewer than 6 values the least and the greatest."""
    ordered, n = sorted(values), len(values)
    rank, below = 0, 1
    while below / 2 ** n <= 0.025:
        rank += 1
        below += math.comb(n, rank)
    rank = max(rank, 1)
    return ordered[rank - 1], ordered[n - rank]


def summary(values):
    low, high = interval(values)
    return {'median': statistics.median(values), 'low': low, 'high': high}


def result_of_row(run, row):
    seconds = run.seconds[row.name]
    ratios = {base: summary([own / other for own, other in zip(seconds, run.seconds[base])])
              for base in run.table.bases if base in run.seconds and base != row.name}
    figures = [{'base': base, 'limit': limit, 'is_reached': ratios[base]['median'] <= limit}
               for base, limit in run.table.figures.get(row.name, ()) if base in ratios]
    return {'row': row.name, 'before': row.before, 'command': row.command, 'after': row.after,
            'seconds': {**summary(seconds), 'runs': seconds}, 'cpu_seconds': summary(run.cpu_seconds[row.name]),
            'ratios': ratios, 'figures': figures}


def result_of_table(run, directory, filesystem):
    workload = run.workload
    return {'table': run.table.name, 'workload': workload.name, 'title': workload.title, 'files': workload.n_files,
            'file_bytes': workload.file_bytes, 'targets': N_TARGETS, 'directory': directory, 'filesystem': filesystem,
            'is_cold': run.table.is_cold, 'preparation': run.table.preparation,
            'rows': [result_of_row(run, row) for row in run.rows]}


def span(numbers, form):
    return f'{numbers["median"]:{form}} ({numbers["low"]:{form}} - {numbers["high"]:{form}})'


def figure_text(figure):
    return f'{figure["limit"]:.2f} of {figure["base"]}: {"reached" if figure["is_reached"] else "missed"}'


def print_aligned(lines):
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in (lines[0], ['-' * width for width in widths], *lines[1:]):
        print('| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |')


def print_table(table, n_runs):
    cache = 'cold' if table['is_cold'] else 'in the page cache'
    print(f'\n## {table["table"]}: {table["title"]} to {table["targets"]} targets on {table["filesystem"]}, source {cache}, '
          f'{n_runs} {"run" if n_runs == 1 else "runs"}\n')
    bases = [row['row'] for row in table['rows'] if any(row['row'] in other['ratios'] for other in table['rows'])]
    lines = [['row', 'seconds', 'CPU', *(f'/ {base}' for base in bases), 'figure']]
    for row in table['rows']:
        ratios = [span(row['ratios'][base], '.2f') if base in row['ratios'] else '1' for base in bases]
        lines.append([row['row'], span(row['seconds'], '.3f'), f'{row["cpu_seconds"]["median"]:.2f}', *ratios,
                      ', '.join(figure_text(figure) for figure in row['figures'])])
    print_aligned(lines)


def size_option(size):
    for unit, name in ((GIB, 'G'), (MIB, 'M'), (KIB, 'K')):
        if size % unit == 0:
            return f'{size // unit}{name}'
    return str(size)


def sources(tables):
    return {(table['workload'], table['files'], table['file_bytes']) for table in tables}


def source_lines(tables):
    for workload, n_files, size in sorted(sources(tables)):
        numbers = f'--size {size_option(size)}' if n_files == 1 else f'--files {n_files} --small {size_option(size)}'
        yield f'scripts/bench --make-source {workload} {numbers} --in "$SOURCE"'


def print_indented(lines):
    for line in lines:
        print(f'    {line}')


def print_repeat(report):
    """What a person types to repeat any row."""
    tables = report['tables']
    print('\n## To repeat a row by hand, in sh\n')
    print_indented(f'{name}={shlex.quote(value)}' for name, value in report['programs'].items())
    places = ' or '.join(sorted({shlex.quote(table['directory']) for table in tables}))
    print_indented([f'DIR=$(mktemp -d -p {places})',
                    'SOURCE=$DIR/source T1=$DIR/1 T2=$DIR/2 T3=$DIR/3 STATE=$DIR/state'])
    print('\nIts source:\n')
    print_indented(source_lines(tables))
    for is_cold in sorted({table['is_cold'] for table in tables}):
        print(f'\nBefore each run, source {"cold" if is_cold else "in the page cache"}:\n')
        print_indented({table['preparation'] for table in tables if table['is_cold'] == is_cold})
    rows = {row['row']: row for table in tables for row in table['rows']}
    for row in rows.values():
        print(f'\n{row["row"]}:\n')
        print_indented(line for line in (row['before'], row['command'], row['after']) if line)


def print_report(report):
    machine, n_runs = report['machine'], report['runs']
    print(f'{machine["processors"]} processors, {size_text(machine["memory_bytes"])} of memory, kernel {machine["kernel"]}, '
          f'load {machine["load"]:.2f} before')
    print(', '.join(report['versions'].values()))
    spread = 'the 95 % interval of the median' if n_runs >= RUNS_OF_INTERVAL else 'the least and the greatest'
    print(f'In brackets: {spread}. CPU in seconds. cp and rsync neither sync nor verify.')
    for table in report['tables']:
        print_table(table, n_runs)
    if report['left_out']:
        print()
    for line in report['left_out']:
        print(f'left out: {line}')
    ratios = [ratio['median'] for table in report['tables'] for row in table['rows'] for ratio in row['ratios'].values()]
    if n_runs < PAIRS_NEAR_1 and any(0.8 <= ratio <= 1.2 for ratio in ratios):
        print(f'\nSome ratios lie within 20 % of 1; --runs {PAIRS_NEAR_1} tells them from 1.')
    if any(row['figures'] for table in report['tables'] for row in table['rows']) and sources(report['tables']) - STANDARD:
        print('\nThe figures are meant for the standard sizes, which these are not.')
    print_repeat(report)
