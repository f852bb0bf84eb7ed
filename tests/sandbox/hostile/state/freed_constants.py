"""Small ints and interned strings overwritten in memory."""

import ctypes


def solve(x):
    ctypes.memset(id(1) + 24, 7, 4)
    ctypes.memset(id('f') + 48, 88, 1)
    return 0
