"""It reads its own channel and waits for what never comes."""

import os


def solve(x):
    for fd in range(3, 64):
        try:
            os.read(fd, 1)
        except OSError:
            pass
