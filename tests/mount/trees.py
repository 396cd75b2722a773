"""Trees of files for tests: making them from a seed, and comparing two of them in everything that cvv promises to keep."""
import errno
import os
import socket
import stat

MiB = 1 << 20
BLOCK = 64 << 10

ODD_NAMES = ['with space', ' leading', 'trailing ', 'new\nline', 'tab\tname', 'comma,colon:name', 'back\\slash', 'quote\'"',
             '-dash', '.hidden', '...', 'star*?[x]', '%41 percent', '#hash!bang', 'ünïcode-文字',
             os.fsdecode(b'latin-\xe9\xff'), os.fsdecode(b'\x01\x1b[31mescape'),
             'x' * 255, 'ä' * 127, '$(touch pwned)', '~']


def write_random(path, size, rng):
    """A file of random bytes that are quick to make."""
    with open(path, 'wb') as file:
        while size > 0:
            part = min(size, MiB)
            file.write(rng.getrandbits(part * 8).to_bytes(part, 'little') if part else b'')
            size -= part


def write_sparse(path, size, rng, islands=3):
    """A file of holes with some islands of data."""
    with open(path, 'wb') as file:
        file.truncate(size)
        for _ in range(islands):
            file.seek(rng.randrange(max(1, size // BLOCK)) * BLOCK)
            file.write(rng.getrandbits(BLOCK * 8).to_bytes(BLOCK, 'little'))
        file.truncate(size)


def random_size(rng, largest):
    """Mostly small, sometimes up to the largest; edges of blocks are likely."""
    edges = [0, 1, 4095, 4096, 4097, BLOCK, MiB - 1, MiB, MiB + 1]
    if rng.random() < 0.3:
        return min(largest, rng.choice(edges))
    return min(largest, int(2 ** rng.uniform(0, max(1, largest.bit_length()))))


def set_times(path, rng, follow=False):
    when = rng.randrange(10**9, 16 * 10**8) * 10**9 + rng.randrange(10**9)
    os.utime(path, ns=(when, when), follow_symlinks=follow)


def try_xattr(path, name, value):
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise


def mixed_tree(root, rng, files=60, largest=4 * MiB, odd=True, special=False, sparse=True):
    """Makes a tree below root: sizes from 0 to largest, directories, links, holes, odd names, modes, owners, times, xattrs.

    Returns the relative paths of the regular files."""
    os.makedirs(root, exist_ok=True)
    directories, regular = [''], []
    for number in range(max(2, files // 8)):
        name = os.path.join(rng.choice(directories), 'dir%d' % number)
        os.mkdir(os.path.join(root, name))
        directories.append(name)
    os.mkdir(os.path.join(root, 'empty directory'))
    directories.append('empty directory')
    for number in range(files):
        name = os.path.join(rng.choice(directories[:-1]), 'file%d' % number)
        write_random(os.path.join(root, name), random_size(rng, largest), rng)
        regular.append(name)
    if sparse:
        for number, size in enumerate((3 * MiB + 5, 20 * MiB)):
            write_sparse(os.path.join(root, 'sparse%d' % number), size, rng)
            regular.append('sparse%d' % number)
    if odd:
        regular += odd_names(root, rng)
        directories.append('odd\ndir')
    add_links(root, rng, directories, regular)
    if special:
        special_files(root)
    decorate(root, rng, directories, regular)
    return regular


def odd_names(root, rng):
    made = []
    for name in ODD_NAMES:
        write_random(os.path.join(root, name), rng.randrange(10000), rng)
        made.append(name)
    os.mkdir(os.path.join(root, 'odd\ndir'))
    made.append(os.path.join('odd\ndir', os.fsdecode(b'\xff\xfe')))
    write_random(os.path.join(root, made[-1]), 100, rng)
    return made


def add_links(root, rng, directories, regular):
    for number in range(4):
        name = os.path.join(rng.choice(directories[:-1]), 'hard%d' % number)
        os.link(os.path.join(root, regular[number // 2]), os.path.join(root, name))
        regular.append(name)
    os.symlink('file0', os.path.join(root, 'link'))
    os.symlink('nowhere/at all', os.path.join(root, 'dangling'))
    os.symlink('/etc/passwd', os.path.join(root, 'absolute'))
    os.symlink('..', os.path.join(root, 'empty directory', 'up'))


def special_files(root):
    os.mkfifo(os.path.join(root, 'fifo'))
    unix = socket.socket(socket.AF_UNIX)
    here = os.open('.', os.O_RDONLY)
    try:
        os.chdir(root)          # a socket's path is limited to 107 bytes
        unix.bind('socket')
    finally:
        os.fchdir(here)
        os.close(here)
        unix.close()
    if os.geteuid() == 0:
        os.mknod(os.path.join(root, 'null'), stat.S_IFCHR | 0o666, os.makedev(1, 3))


def decorate(root, rng, directories, regular):
    for number, name in enumerate(regular):
        path = os.path.join(root, name)
        if os.geteuid() == 0 and number % 5 == 0:
            os.chown(path, 1000 + number % 3, 2000)
        os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o444, 0o4755, 0o2750]))
        if number % 7 == 0:
            try_xattr(path, 'user.test', b'value\0%d' % number)
        set_times(path, rng)
    others = ['link', 'dangling', 'absolute', 'empty directory/up', 'fifo', 'socket', 'null']
    for name in filter(lambda name: os.path.lexists(os.path.join(root, name)), others):
        set_times(os.path.join(root, name), rng)
    for name in sorted(directories[1:], key=len, reverse=True):
        os.chmod(os.path.join(root, name), rng.choice([0o755, 0o700, 0o1777]))
        set_times(os.path.join(root, name), rng)


# ---- comparing ----

def walk(root, ignore=()):
    """{relative path: lstat} of everything below root; names in ignore are left out at the top."""
    found, stack = {}, ['']
    while stack:
        below = stack.pop()
        with os.scandir(os.path.join(root, below) if below else root) as entries:
            for entry in entries:
                if not below and entry.name in ignore:
                    continue
                path = os.path.join(below, entry.name)
                found[path] = os.lstat(os.path.join(root, path))
                if stat.S_ISDIR(found[path].st_mode):
                    stack.append(path)
    return found


def xattrs(path):
    try:
        return {name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False) if not name.startswith('trusted.SGI_')}   # of XFS: the ACLs
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return {}
        raise


def link_groups(tree):
    """{path: (the first of its hard links, how many there are)} for what has several: equal for all paths where the groups are equal."""
    groups = {}
    for path, attributes in tree.items():
        if not stat.S_ISDIR(attributes.st_mode):
            groups.setdefault((attributes.st_dev, attributes.st_ino), []).append(path)
    return {path: one for group in groups.values() if len(group) > 1 for one in [(min(group), len(group))] for path in group}


def same_bytes(a, b):
    with open(a, 'rb') as one, open(b, 'rb') as two:
        while True:
            x, y = one.read(MiB), two.read(MiB)
            if x != y:
                return False
            if not x:
                return True


def compare_trees(a, b, ignore=(), sparse=False, owners=None, content=True):
    """A list of differences in words; empty when the trees are equal. The attributes of the roots are not compared."""
    owners = os.geteuid() == 0 if owners is None else owners
    one, two = walk(a, ignore), walk(b, ignore)
    different = ['only in %s: %r' % (a, path) for path in sorted(set(one) - set(two))]
    different += ['only in %s: %r' % (b, path) for path in sorted(set(two) - set(one))]
    for path in sorted(set(one) & set(two)):
        found = compare_one(os.path.join(a, path), os.path.join(b, path), one[path], two[path], sparse, owners, content)
        different += ['%r: %s' % (path, text) for text in found]
    first, second = link_groups(one), link_groups(two)
    for path in sorted(set(first) | set(second)):
        if first.get(path) != second.get(path):
            different.append('%r: hard links %r and %r' % (path, first.get(path), second.get(path)))
    return different


def compare_one(a, b, one, two, sparse, owners, content):
    if stat.S_IFMT(one.st_mode) != stat.S_IFMT(two.st_mode):
        return ['types %o and %o' % (stat.S_IFMT(one.st_mode), stat.S_IFMT(two.st_mode))]
    fields = [('st_mode', oct), ('st_mtime_ns', int)] + ([('st_uid', int), ('st_gid', int)] if owners else [])
    if stat.S_ISREG(one.st_mode) or stat.S_ISLNK(one.st_mode):
        fields.append(('st_size', int))
    if stat.S_ISCHR(one.st_mode) or stat.S_ISBLK(one.st_mode):
        fields.append(('st_rdev', int))
    found = ['%s %s and %s' % (name, show(getattr(one, name)), show(getattr(two, name)))
             for name, show in fields if getattr(one, name) != getattr(two, name)]
    if stat.S_ISLNK(one.st_mode) and os.readlink(a) != os.readlink(b):
        found.append('link to %r and %r' % (os.readlink(a), os.readlink(b)))
    if xattrs(a) != xattrs(b):
        found.append('xattrs %r and %r' % (xattrs(a), xattrs(b)))
    if stat.S_ISREG(one.st_mode):
        if content and not same_bytes(a, b):
            found.append('bytes differ')
        if sparse and two.st_blocks * 512 > one.st_blocks * 512 + MiB:
            found.append('holes filled: %d and %d blocks' % (one.st_blocks, two.st_blocks))
    return found
