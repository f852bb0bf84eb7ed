"""Programs of the library profile that try what it does not open, and that leave something behind."""

HELPERS = """
import array, ctypes, fcntl, mmap, os, resource, shutil, signal, socket, stat, subprocess, sys, tempfile, threading

libc = ctypes.CDLL(None, use_errno=True)

def raw(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), 'refused')
"""
REFUSED = {  # each has to raise OSError
    "a shell": "subprocess.run(['/bin/sh', '-c', 'true'])",
    "exec": "os.execv(sys.executable, [sys.executable, '-c', '0'])",
    "exec of a file of its own": "open('x', 'w').write('#!/bin/sh'), os.chmod('x', 0o777), os.execv('x', ['x'])",
    "code in a file of its own": "open('y', 'w').write(' ' * 4096), mmap.mmap(os.open('y', os.O_RDWR), 4096, prot=5)",
    "spawn": "os.posix_spawn(sys.executable, [sys.executable], {})",
    "fork": "os._exit(0) if os.fork() == 0 else None",
    "vfork": "raw(58)",
    "clone3": "raw(435, None, 0)",
    "clone with a signal and VM": "raw(56, 0x100 | 17, 0, 0, 0, 0)",
    "clone of a parent's child": "raw(56, 0x8000 | 17, 0, 0, 0, 0)",
    "clone into a user namespace": "raw(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "a thread that shares less": "raw(56, 0x3D0F00 & ~0x40000, 0, 0, 0, 0)",
    "unshare": "raw(272, 0x10000000)",
    "setns": "raw(308, 0, 0)",
    "mount": "raw(165, b'none', b'.', b'tmpfs', 0, None)",
    "umount": "raw(166, tempfile.gettempdir().encode(), 2)",
    "chroot": "os.chroot('.')",
    "a signal": "os.kill(os.getppid(), 0)",
    "a signal to all": "os.kill(-1, signal.SIGKILL)",
    "ptrace": "raw(101, 16, os.getppid(), 0, 0)",
    "another's memory": "raw(310, os.getppid(), None, 0, None, 0, 0)",
    "memfd": "os.memfd_create('x')",
    "io_uring": "raw(425, 8, ctypes.create_string_buffer(120))",
    "bpf": "raw(321, 0, None, 0)",
    "perf": "raw(298, None, 0, -1, -1, 0)",
    "userfaultfd": "raw(323, 0)",
    "keys": "raw(250, 0, -3, 0)",
    "limits of others": "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))",
    "limits raised": "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))",
    "priorities": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "an owner for signals": "fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
    "signals by descriptor": "fcntl.fcntl(0, fcntl.F_SETFL, 0o20000)",
    "a lock on Python's own file": "fcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX)",
    "sent descriptors": "socket.socketpair()[0].sendmsg([b'x'], [(1, 1, array.array('i', [0]))])",
    "a unix socket": "socket.socket(socket.AF_UNIX)",
    "netlink": "socket.socket(16, socket.SOCK_RAW)",
    "packets": "socket.socket(17, socket.SOCK_RAW)",
    "a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "ping": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)",
    "MPTCP": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
    "IPv6": "socket.socket(socket.AF_INET6)",
    "vsock": "socket.socket(40, socket.SOCK_STREAM)",
    "AF_ALG": "socket.socket(38, 5)",
    "a device": "os.mknod('x', stat.S_IFCHR | 0o666, os.makedev(1, 8))",
    "a pipe with a name": "os.mkfifo('x')",
    "root's own name": "os.chown('.', 0, 0) if os.getuid() else os.setuid(1)",
    "the root": "open('/x', 'w')",
    "Python's library": "open(os.path.join(os.path.dirname(os.__file__), 'x.py'), 'w')",
    "Python's own file": "open(os.__file__, 'a')",
    "its mode": "os.chmod(os.__file__, 0o777)",
    "its times": "os.utime(os.__file__)",
    "its name": "os.rename(os.__file__, os.__file__ + 'x')",
    "another name of it": "os.link(os.__file__, 'x')",
    "without it": "os.unlink(os.__file__)",
    "its length": "os.truncate(os.__file__, 0)",
    "a package": "open(os.path.join(os.path.dirname(__import__('numpy').__file__), 'x.py'), 'w')",
    "its own files in /etc": "open('/etc/hosts', 'a')",
    "through a link": "os.symlink('/etc', 'etc'), open('etc/x', 'w')",
    "users": "open('/etc/shadow')",
    "groups": "open('/etc/group')",
    "home": "os.listdir('/root')",
    "processes": "os.listdir('/proc')",
    "the executable": "open(sys.executable, 'rb')",
    "disks": "os.listdir('/sys')",
    "terminals": "os.open('/dev/tty', os.O_RDWR)",
    "shared memory": "open('/dev/shm/x', 'w')",
}

LEFT = {
    "files everywhere": """
for folder in ('.', '..', tempfile.mkdtemp()):
    open(folder + '/a', 'w').close()
""",
    "a deep tree": """
for n in range(2000):
    os.mkdir('d')
    os.chdir('d')
open('a', 'w').close()
""",
    "a tree that nobody may enter": """
os.makedirs('a/b/c')
open('a/b/c/d', 'w').close()
for folder in ('a/b/c', 'a/b', 'a'):
    os.chmod(folder, 0)
""",
    "links out of it": """
os.symlink('/', 'a')
os.symlink(os.path.dirname(os.__file__), 'b')
os.symlink('a', 'c')
""",
    "odd names": """
for name in (b'\\n', b' ', b'-rf', b'\\xff', b'x' * 255):
    open(name, 'w').close()
""",
    "the working directory gone": """
here = os.getcwd()
os.chdir('..')
os.rmdir(here)
open(here, 'w').close()
""",
    "many files": """
for n in range(10 ** 6):
    open(str(n), 'w').close()
""",
    "all its room": """
for n in range(100):
    open(str(n), 'wb').write(bytes(1 << 20))
""",
    "files that are open": """
held = [open(str(n), 'wb') for n in range(40)]
for file in held:
    file.write(bytes(10000))
os._exit(3)
""",
    "a mapped file": """
import mmap
file = open('a', 'wb+')
file.truncate(1 << 20)
mapped = mmap.mmap(file.fileno(), 0)
mapped[:4] = b'abcd'
os._exit(3)
""",
    "its directory closed": """
try:
    os.chmod(tempfile.gettempdir(), 0)
except OSError:
    pass
""",
    "threads that go on": """
def go():
    while True:
        open('../t', 'w').close()
for _ in range(9):
    threading.Thread(target=go).start()
""",
    "ports that are open": """
server = socket.create_server(('127.0.0.1', 4567))
client = socket.create_connection(('127.0.0.1', 4567))
""",
    "a hang": """
open('a', 'w').write('x')
while True:
    pass
""",
}
# What a program finds at its start, whatever was there before; in the end it leaves something itself.
FRESH = """
assert os.listdir('.') == [] and os.listdir(tempfile.gettempdir()) == [os.path.basename(os.getcwd())]
open('a', 'wb').write(bytes(1 << 20))
os.chdir(tempfile.gettempdir())
open('b', 'wb').write(bytes(1 << 20))
assert threading.active_count() == 1
try:
    socket.socket().connect(('127.0.0.1', 4567))
except OSError:
    pass
else:
    assert False, 'another program answers'
"""
