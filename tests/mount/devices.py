"""Devices that tests can break: loop filesystems that lose power or rot, and faultfs, which fails as its rules tell."""
import fcntl
import os
import signal
import struct
import subprocess
import unittest

from harness import detach, eventually, find_program, mounted, need, need_root

PATH = os.environ.get('PATH', '') + ':/usr/sbin:/sbin'
FS_IOC_FIEMAP, FIEMAP_FLAG_SYNC = 0xC020660B, 1


def run(*command, seconds=60, check=True):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            timeout=seconds, env=dict(os.environ, PATH=PATH))
    if check and result.returncode != 0:
        raise AssertionError('%r: exit %d: %s' % (command, result.returncode, os.fsdecode(result.stdout)))
    return os.fsdecode(result.stdout)


class LoopFs:
    """An ext4, xfs or btrfs filesystem of its own in an image, mounted at .path."""

    least = {'ext4': 8 << 20, 'xfs': 300 << 20, 'btrfs': 128 << 20}

    def __init__(self, work, kind='ext4', size=512 << 20, name='disk', options='', mkfs=()):
        need_root()
        need('mkfs.' + kind, 'losetup')
        self.work, self.kind, self.options = work, kind, options
        self.image = work.join(name + '.img')
        self.path = work.dir(name)
        with open(self.image, 'wb') as file:
            file.truncate(max(size, self.least[kind]))
        run('mkfs.' + kind, '-q', *(('-F',) if kind == 'ext4' else ('-f',)), *mkfs, self.image)
        work.closers.append(self.close)
        self.mount()

    def mount(self):
        try:
            run('mount', '-t', self.kind, '-o', ','.join(filter(None, ['loop', self.options])), self.image, self.path)
        except AssertionError as error:
            raise unittest.SkipTest('cannot mount %s on a loop device: %s' % (self.kind, error))
        if not os.path.isdir(os.path.join(self.path, 'data')):
            os.mkdir(os.path.join(self.path, 'data'))
            run('sync', '-f', self.path)

    @property
    def data(self):
        """A directory in it without lost+found."""
        return os.path.join(self.path, 'data')

    def shutdown(self, flush_log=False):
        """The instant of a power cut: from now on nothing reaches the disk."""
        need('xfs_io')
        run('xfs_io', '-x', '-c', 'shutdown -f' if flush_log else 'shutdown', self.path)

    def address(self, path, offset):
        """Where in the image the byte at this offset of a file lies."""
        with open(path, 'rb') as file:
            request = bytearray(struct.pack('=QQIIII', offset, 1, FIEMAP_FLAG_SYNC, 0, 1, 0) + bytes(56))
            fcntl.ioctl(file.fileno(), FS_IOC_FIEMAP, request)
        if struct.unpack_from('=I', request, 20)[0] == 0:
            raise AssertionError('%s has no block at %d' % (path, offset))
        logical, physical = struct.unpack_from('=QQ', request, 32)
        return physical + offset - logical

    def rot(self, path, offset, size=1):
        """Flips the bits of these bytes of a file in the image. What the page cache has of the file stays as it is."""
        address = self.address(path, offset)
        with open(self.image, 'r+b', buffering=0) as image:
            now = os.pread(image.fileno(), size, address)
            os.pwrite(image.fileno(), bytes(byte ^ 0xff for byte in now), address)
            os.fsync(image.fileno())

    def umount(self):
        """Unmounts, retrying while it is busy for a moment."""
        eventually(lambda: mounted(self.path) is None or run('umount', '-n', self.path, check=False) == '', 20,
                   'umount of ' + self.path)

    def remount(self):
        """Power comes back: what was not durable is gone."""
        self.umount()
        self.mount()

    def close(self):
        if mounted(self.path):
            detach(self.path)


class FaultFs:
    """faultfs over a directory, shown at .path; tests/fault/faultfs.c describes the rules."""

    def __init__(self, work, backing, name=None):
        program = find_program('faultfs', 'FAULTFS', 'tests/fault')
        if program is None:
            raise unittest.SkipTest('needs faultfs (built by meson)')
        if not os.access('/dev/fuse', os.R_OK | os.W_OK):
            raise unittest.SkipTest('needs /dev/fuse')
        self.program, self.backing = program, backing
        name = name or 'fault-' + os.path.basename(backing)
        self.path = work.dir(name)
        self.rules_path = work.join(name + '.rules')
        self.rules('')
        self.process = subprocess.Popen([program, backing, self.path, self.rules_path], stdin=subprocess.DEVNULL)
        work.closers.append(self.close)
        eventually(lambda: mounted(self.path) or self.process.poll() is not None, 10, 'faultfs to mount')
        if not mounted(self.path):
            raise AssertionError('faultfs ended with %s' % self.process.returncode)

    def rules(self, text):
        """Calls that start after this obey the new rules; calls that hang for a rule that is gone go on."""
        temporary = self.rules_path + '.new'
        with open(temporary, 'w') as file:
            file.write(text + '\n')
        subprocess.run([self.program, '--check', temporary], check=True, timeout=10)
        os.rename(temporary, self.rules_path)

    def counts(self):
        """{operation: how often it was called}."""
        path = self.rules_path + '.counts'
        if os.path.exists(path):
            os.unlink(path)
        os.kill(self.process.pid, signal.SIGUSR1)
        eventually(lambda: os.path.exists(path), 10, 'the counts of faultfs')
        with open(path) as file:
            return {name: int(number) for name, number in (line.split() for line in file)}

    def stop(self):
        """Hangs as a device does: calls arrive and nobody answers."""
        os.kill(self.process.pid, signal.SIGSTOP)
        eventually(self.stopped, 5, 'faultfs to stop')

    def stopped(self):
        with open('/proc/%d/stat' % self.process.pid) as file:
            return file.read().rsplit(')', 1)[1].split()[0] in 'Tt'

    def cont(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self):
        """Dies: from now on every call fails with ENOTCONN."""
        self.process.kill()
        self.process.wait(10)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()     # works on a stopped process too, and lets go of all that wait for it
            self.process.wait(10)
        while mounted(self.path):
            if not detach(self.path, force=True):
                break
