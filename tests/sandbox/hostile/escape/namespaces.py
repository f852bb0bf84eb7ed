"""unshare, mount, chroot, pivot."""

import ctypes


def solve(x):
    libc = ctypes.CDLL(None)
    libc.unshare(0x10000000)
    libc.unshare(0x20000)
    libc.mount(b'none', b'/tmp', b'tmpfs', 0, 0)
    libc.chroot(b'/tmp')
    return 0
