"""A tree made to be hard: what a filesystem can hold besides plain files with plain names, and comparing it by descriptors.

hard_tree() makes one as root; the parts that a test can also make alone are functions of their own."""
import array
import errno
import fcntl
import os
import random
import socket
import stat
import struct

MiB, GiB, TiB = 1 << 20, 1 << 30, 1 << 40

HARD_NAMES = [b'new\nline', b'\n', b'\r', b'\x01\x02\x7f\x1b', b'\x1b[31mred\x1b[0m', b'\x1b]0;title\x07', b'tab\t', b'\x9b31m',
              b'latin-\xe9\xff', b'\xff\xfe\xfd', b'\xc3', b'\xed\xa0\x80', 'é'.encode(), 'e\u0301'.encode(), 'E\u0301'.encode(),
              '\u202egnp.exe'.encode(), ' ', '  trailing  ', '-rf', '--', '~', '$(reboot)', '`id`', '*', '?', '[a-z]', '{a,b}',
              'a:b', 'a\\b', 'a"b', "a'b", '|', '<', '>', '&', ';', '#', '%', '%n%s', '...', '. .', 'CON', 'nul.txt', 'aux', 'A', 'a',
              'trailing.', 'back\\n', '\\', b'x' * 255, b'\xff' * 255, b'\n' * 255, ('ä' * 127).encode(), ('😀' * 63).encode(),
              '.cvv-not', 'cvv', '.CVV']

TIMES_NS = [13_569_465_600 * 10**9 + 1, 0, 1, -1, -10**9, -1_500_000_001, -2_000_000_000 * 10**9 + 5, 2**31 * 10**9, 2**32 * 10**9 + 999_999_999,
            4_102_444_800 * 10**9 + 123_456_789, 999_999_999, 1_600_000_000_123_456_789]

ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER = 1, 2, 4, 8, 16, 32
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 0x80086601, 0x40086602, 0x10


def text(name):
    return name if isinstance(name, str) else os.fsdecode(name)


def write(path, content):
    with open(path, 'wb') as file:
        file.write(content)


def set_times(path, mtime_ns, atime_ns=10**18 + 1):
    os.utime(path, ns=(atime_ns, mtime_ns), follow_symlinks=False)


def acl(user, group, mask, other, users=(), groups=()):
    """A value of system.posix_acl_*; users and groups: (id, permissions)."""
    entries = [(ACL_USER_OBJ, user, 0xffffffff), *((ACL_USER, bits, who) for who, bits in sorted(users)),
               (ACL_GROUP_OBJ, group, 0xffffffff), *((ACL_GROUP, bits, who) for who, bits in sorted(groups)),
               (ACL_MASK, mask, 0xffffffff), (ACL_OTHER, other, 0xffffffff)]
    return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in entries)


def capability(permitted, effective=True):
    """A value of security.capability, version 2."""
    return struct.pack('<5I', 0x02000000 | effective, permitted & 0xffffffff, 0, permitted >> 32, 0)


def set_immutable(path, on):
    """chattr +i or -i."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        flags = array.array('i', [0])
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, flags)
        flags[0] = flags[0] | FS_IMMUTABLE_FL if on else flags[0] & ~FS_IMMUTABLE_FL
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, flags)
    finally:
        os.close(fd)


def make_socket(path):
    here = os.open('.', os.O_RDONLY)
    unix = socket.socket(socket.AF_UNIX)
    try:
        os.chdir(os.path.dirname(path))         # a socket's path is limited to 107 bytes
        unix.bind(os.path.basename(path))
    finally:
        unix.close()
        os.fchdir(here)
        os.close(here)


# ---- parts ----

def hard_names(root):
    os.mkdir(root)
    for number, name in enumerate(HARD_NAMES):
        write(os.path.join(root, text(name)), b'content %d' % number)
    directories = os.path.join(root, 'directories')
    os.mkdir(directories)
    for name in HARD_NAMES:
        os.mkdir(os.path.join(directories, text(name)))
        write(os.path.join(directories, text(name), text(name)), text(name).encode('utf-8', 'surrogateescape'))


def deep(root, levels=60, name='d' * 50, leaf='leaf', link_bytes=1000):
    """Levels of directories, made by descriptors: the path may be longer than any system call takes."""
    os.mkdir(root)
    fd = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    out = os.open(leaf, os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=fd)
    os.write(out, b'deep')
    os.close(out)
    os.symlink('x' * link_bytes, 'link', dir_fd=fd)
    os.utime(leaf, ns=(5, 10**18 + 7), dir_fd=fd)
    os.utime('.', ns=(5, 10**18 + 9), dir_fd=fd)
    os.close(fd)


def links(root, names):
    """So many names of 51 files in 40 directories: half of them of one file; and links to everything that is no file."""
    os.mkdir(root)
    directories = [os.path.join(root, 'links %d' % number) for number in range(40)]
    for directory in directories:
        os.mkdir(directory)
    firsts = []
    for number in range(51):
        firsts.append(os.path.join(directories[number % 40], 'first %d' % number))
        write(firsts[-1], b'%d' % number * (number * 1000))
    for number in range(names - len(firsts)):
        first = firsts[0] if number % 2 else firsts[1 + number // 2 % 50]
        os.link(first, os.path.join(directories[number % 40], 'link %d' % number))
    special(directories[0])
    for name in ('symlink', 'fifo', 'socket', 'zero', 'empty', 'block'):
        path = os.path.join(directories[0], name)
        for directory in (directories[0], directories[7], root):
            os.link(path, os.path.join(directory, 'another ' + name), follow_symlinks=False)


def special(root):
    os.symlink('nowhere/at all', os.path.join(root, 'symlink'))
    os.mkfifo(os.path.join(root, 'fifo'), 0o620)
    os.mknod(os.path.join(root, 'zero'), stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.mknod(os.path.join(root, 'block'), stat.S_IFBLK | 0o600, os.makedev(259, 70000))
    os.mknod(os.path.join(root, 'character'), stat.S_IFCHR | 0o7, os.makedev(511, 262143))
    make_socket(os.path.join(root, 'socket'))
    write(os.path.join(root, 'empty'), b'')
    for number, name in enumerate(('symlink', 'fifo', 'zero', 'block', 'character', 'socket')):
        path = os.path.join(root, name)
        os.chown(path, 1000 + number, 2000 + number, follow_symlinks=False)
        set_times(path, TIMES_NS[number])
        os.setxattr(path, 'trusted.special', b'of ' + name.encode(), follow_symlinks=False)


def metadata(root):
    os.mkdir(root)
    for bits in (0o0, 0o1, 0o7000, 0o4755, 0o2755, 0o1777, 0o6711, 0o444, 0o200, 0o777):
        write(os.path.join(root, 'mode %o' % bits), b'mode')
        os.chmod(os.path.join(root, 'mode %o' % bits), bits)
        os.mkdir(os.path.join(root, 'directory of mode %o' % bits))
        write(os.path.join(root, 'directory of mode %o' % bits, 'inside'), b'%o' % bits)
        os.chmod(os.path.join(root, 'directory of mode %o' % bits), bits)
    for owner in ((1, 2), (1000, 65534), (65536, 4294967294), (4294967294, 7)):
        for bits in (0o644, 0o6755):
            path = os.path.join(root, 'owner %d.%d %o' % (*owner, bits))
            write(path, b'owner')
            os.chown(path, *owner)
            os.chmod(path, bits)
    xattrs(root)
    acls(root)
    for number, when in enumerate(TIMES_NS):
        path = os.path.join(root, 'time %d' % when)
        write(path, b'')
        set_times(path, when, -when)
        os.symlink('target', path + ' link')
        set_times(path + ' link', when)
        os.mkdir(path + ' directory')
        write(os.path.join(path + ' directory', 'inside'), b'%d' % number)
        set_times(path + ' directory', when)


def xattrs(root):
    for kind in ('file', 'directory'):
        path = os.path.join(root, 'attributes of a ' + kind)
        os.mkdir(path) if kind == 'directory' else write(path, b'attributes')
        os.setxattr(path, 'user.empty', b'')
        os.setxattr(path, 'user.binary', bytes(range(256)))
        os.setxattr(path, 'user.' + 'n' * 240, b'long name')
        os.setxattr(path, 'user.\u00e9 space\n', b'odd name')
        os.setxattr(path, 'trusted.test', b'trusted')
        os.setxattr(path, 'security.test', b'security')
        os.chmod(path, 0o444)
    path = os.path.join(root, 'large attribute')
    write(path, b'large')
    os.setxattr(path, 'user.large', random.Random(1).getrandbits(8 * 3500).to_bytes(3500, 'little'))
    for name, value in (('one', capability(1 << 10)), ('all', capability((1 << 40) - 1, False))):
        path = os.path.join(root, 'capability ' + name)
        write(path, b'capability')
        os.chown(path, 1000, 1000)
        os.chmod(path, 0o755)
        os.setxattr(path, 'security.capability', value)


def acls(root):
    some = acl(7, 5, 5, 4, users=[(1000, 7), (1001, 0)], groups=[(2000, 6)])
    path = os.path.join(root, 'access acl')
    write(path, b'acl')
    os.setxattr(path, 'system.posix_acl_access', some)
    path = os.path.join(root, 'default acl')
    os.mkdir(path)
    os.setxattr(path, 'system.posix_acl_default', acl(7, 7, 7, 7, users=[(1000, 7)]))
    write(os.path.join(path, 'inherited'), b'acl')
    os.mkdir(os.path.join(path, 'inherited directory'))
    write(os.path.join(path, 'not inherited'), b'acl')
    os.removexattr(os.path.join(path, 'not inherited'), 'system.posix_acl_access')
    os.chmod(os.path.join(path, 'not inherited'), 0o600)
    os.mkdir(os.path.join(path, 'plain directory'))
    for name in ('access', 'default'):
        os.removexattr(os.path.join(path, 'plain directory'), 'system.posix_acl_' + name)
    os.chmod(os.path.join(path, 'plain directory'), 0o700)
    path = os.path.join(root, 'both acls')
    os.mkdir(path)
    os.setxattr(path, 'system.posix_acl_default', some)
    os.setxattr(path, 'system.posix_acl_access', acl(7, 0, 7, 0, users=[(1001, 1)]))


def sparse(path, size, rng):
    """A huge file of holes with a few extents, one at the very beginning, one that ends with the file."""
    with open(path, 'wb') as file:
        file.truncate(size)
        for offset in (0, size // 3 // 4096 * 4096, size // 2 + 8 * MiB - 4096, size - 5000):
            file.seek(offset)
            file.write(rng.getrandbits(5000 * 8).to_bytes(5000, 'little'))


def holes(root, rng):
    os.mkdir(root)
    with open(os.path.join(root, 'only a hole'), 'wb') as file:
        file.truncate(300 * MiB + 1)
    with open(os.path.join(root, 'comb'), 'wb') as file:
        for number in range(500):
            file.seek(number * 65536)
            file.write(b'%d' % number * 100)
    with open(os.path.join(root, 'hole at the end'), 'wb') as file:
        file.write(rng.getrandbits(MiB * 8).to_bytes(MiB, 'little'))
        file.truncate(9 * MiB)


def hard_tree(root, rng, names, sparse_bytes, immutable=True):
    """Everything, below an existing directory. Directories get their times last. Returns what undoes the flags."""
    hard_names(os.path.join(root, 'names'))
    deep(os.path.join(root, 'deep'))
    links(os.path.join(root, 'hard links'), names)
    os.mkdir(os.path.join(root, 'special'))
    special(os.path.join(root, 'special'))
    metadata(os.path.join(root, 'metadata'))
    holes(os.path.join(root, 'holes'), rng)
    sparse(os.path.join(root, 'holes', 'huge'), sparse_bytes, rng)
    os.mkdir(os.path.join(root, 'empty directory'))
    os.mkdir(os.path.join(root, 'immutable'))
    write(os.path.join(root, 'immutable', 'file'), b'immutable')
    for number, name in enumerate(sorted(os.listdir(root))):
        set_times(os.path.join(root, name), 10**18 + number * 1_000_000_007)
    fixed = [os.path.join(root, 'immutable', 'file'), os.path.join(root, 'immutable')] if immutable else []
    for path in fixed:
        set_immutable(path, True)
    set_times(root, 1_234_567_890_123_456_789)
    return lambda: [set_immutable(path, False) for path in reversed(fixed)]


# ---- comparing ----

def extents(path):
    """[(start, end)] of the data of a file."""
    fd, found, at = os.open(path, os.O_RDONLY), [], 0
    try:
        while True:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return found
            at = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, at))
    finally:
        os.close(fd)


def same_sparse(a, b):
    """Whether two files of one size have the same bytes, reading only where one of them has data."""
    with open(a, 'rb', buffering=0) as one, open(b, 'rb', buffering=0) as two:
        for start, end in extents(a) + extents(b):
            for offset in range(start, end, MiB):
                size = min(MiB, end - offset)
                if os.pread(one.fileno(), size, offset) != os.pread(two.fileno(), size, offset):
                    return False
    return True


def compare_by_descriptors(one, two, path='.'):
    """Differences of two directories (descriptors, taken over) in names, types, modes, mtimes and contents, however long paths get."""
    try:
        names, other = sorted(os.listdir(one)), sorted(os.listdir(two))
        if names != other:
            return ['%s: %r and %r' % (path, names, other)]
        different = []
        for name in names:
            a, b = (os.stat(name, dir_fd=fd, follow_symlinks=False) for fd in (one, two))
            if (a.st_mode, a.st_mtime_ns) != (b.st_mode, b.st_mtime_ns):
                different.append('%s/%s: %o %d and %o %d' % (path, name, a.st_mode, a.st_mtime_ns, b.st_mode, b.st_mtime_ns))
            flags = os.O_RDONLY | os.O_NOFOLLOW
            if stat.S_ISLNK(a.st_mode) and len({os.readlink(name, dir_fd=fd) for fd in (one, two)}) != 1:
                different.append('%s/%s: links differ' % (path, name))
            if stat.S_ISREG(a.st_mode):
                descriptors = [os.open(name, flags, dir_fd=fd) for fd in (one, two)]
                if len({os.read(fd, MiB) for fd in descriptors}) != 1:
                    different.append('%s/%s: bytes differ' % (path, name))
                for fd in descriptors:
                    os.close(fd)
            if stat.S_ISDIR(a.st_mode):
                different += compare_by_descriptors(*(os.open(name, flags, dir_fd=fd) for fd in (one, two)), path + '/' + name[:3])
        return different
    finally:
        os.close(one)
        os.close(two)
