"""What scripts/bench measures: sources, rows and tables. A row is a line here, and a table names its rows.

A row's shell lines see $SOURCE, the targets $T1 $T2 $T3, $STATE, $DIR (the directory that all of these lie in, free for mount
points), and the programs $CVV and $NATIVE. They run as they stand here, and are printed as they stand here.
"""
import os
import random
from dataclasses import dataclass, field, replace

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
N_TARGETS = 3


@dataclass(frozen=True)
class Row:
    """One way to do the job."""
    name: str
    command: str
    before: str = ''  # untimed, before each run
    after: str = ''  # untimed, after each run, also when the run failed
    needs: str = ''  # a program; without it the row is left out, and that is said
    keeps_metadata: bool = True  # compared are then permissions and times too

    @property
    def lines(self):
        return [line for line in (self.before, self.command, self.after) if line]


@dataclass(frozen=True)
class Table:
    """Rows that do the same job on the same source in one place, in turns."""
    workload: str
    place: str
    rows: tuple
    bases: tuple  # names of rows that all others are held against
    figures: dict = field(default_factory=dict)  # name of a row -> ((name of a base, limit of the ratio), ...)
    is_cold: bool = False  # the source is dropped from the page cache before each run

    @property
    def name(self):
        return f'{self.workload}/{self.place}' + ('-cold' if self.is_cold else '')

    @property
    def preparation(self):
        return f'{FRESH} && {COLD if self.is_cold else WARM}'


# The lines before each run, here and by hand.
FRESH = 'rm -rf "$T1" "$T2" "$T3" "$STATE" && mkdir "$T1" "$T2" "$T3" && sync -f "$DIR"'
WARM = 'find "$SOURCE" -type f -exec cat {} + >/dev/null'
COLD = 'find "$SOURCE" -type f -exec dd if={} iflag=nocache count=0 status=none \\;'


def copy_row(mode):
    return Row(f'cvv copy -m {mode}',
               f'"$CVV" copy -m {mode} --hash xxh64 --state "$STATE" "$SOURCE" "$T1" "$T2" "$T3"')


NATIVE = Row('native', '"$NATIVE" "$SOURCE" "$T1" "$T2" "$T3"', keeps_metadata=False)
NATIVE_SYNCED = Row('native --sync', '"$NATIVE" --sync "$SOURCE" "$T1" "$T2" "$T3"', keeps_metadata=False)
CP = Row('cp -a x 3', 'for t in "$T1" "$T2" "$T3"; do cp -a "$SOURCE/." "$t/" || exit; done')
RSYNC = Row('rsync -a x 3', 'for t in "$T1" "$T2" "$T3"; do rsync -a "$SOURCE/" "$t/" || exit; done', needs='rsync')
TRANSFER, SOURCE, FULL = copy_row('transfer'), copy_row('source'), copy_row('full')
COPIES = (NATIVE, CP, RSYNC, TRANSFER, SOURCE, FULL)
BASES = (NATIVE.name, CP.name)

TABLES = (
    Table('one-file', 'memory', COPIES, BASES,
          {TRANSFER.name: ((NATIVE.name, 0.80), (CP.name, 0.65)), FULL.name: ((NATIVE.name, 1.5),)}),
    Table('one-file', 'disk', COPIES, BASES),
    Table('small-files', 'memory', COPIES, BASES,
          {TRANSFER.name: ((CP.name, 0.6),), FULL.name: ((CP.name, 1.2),)}),
    Table('small-files', 'disk', COPIES, BASES,
          {TRANSFER.name: ((CP.name, 1.0),), FULL.name: ((CP.name, 2.0),)}),
    Table('one-file', 'disk', (NATIVE_SYNCED, TRANSFER), (NATIVE_SYNCED.name,),
          {TRANSFER.name: ((NATIVE_SYNCED.name, 0.65),)}, is_cold=True),
)


def with_second_program(rows):
    """The rows, and each that runs cvv once more with the program $ALSO."""
    def other(line):
        return line.replace('"$CVV"', '"$ALSO"')
    return (*rows, *(replace(row, name=f'{row.name} (also)', command=other(row.command), before=other(row.before),
                             after=other(row.after))
                     for row in rows if any('"$CVV"' in line for line in row.lines)))


@dataclass(frozen=True)
class Workload:
    """A source: the same bytes each time, no two blocks alike."""
    name: str
    n_files: int
    file_bytes: int

    @property
    def title(self):
        count = 'one file' if self.n_files == 1 else f'{self.n_files:,} files'
        return f'{count} of {size_text(self.file_bytes)}'

    @property
    def tree_bytes(self):
        """What one copy takes up, with blocks and inodes."""
        blocks = -(-self.file_bytes // (4 * KIB)) * 4 * KIB
        return self.n_files * (blocks + 4 * KIB)

    @property
    def need_bytes(self):
        """Source, targets and state."""
        return self.tree_bytes * (N_TARGETS + 1) + 256 * MIB

    def make(self, directory):
        bytes_of = random.Random(f'{self.name} {self.n_files} {self.file_bytes}').randbytes
        for number in range(self.n_files):
            folder = os.path.join(directory, f'{number // 500:04}') if self.n_files > 1 else directory
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, f'clip-{number:06}.mov'), 'xb') as stream:
                for offset in range(0, self.file_bytes, MIB):
                    stream.write(bytes_of(min(MIB, self.file_bytes - offset)))


def size_text(size):
    for unit, name in ((GIB, 'GiB'), (MIB, 'MiB'), (KIB, 'KiB')):
        if size >= unit:
            return f'{size / unit:.4g} {name}'
    return f'{size} bytes'
