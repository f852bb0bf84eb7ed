"""The reply channel closed, and life goes on."""

import os


def solve(x):
    os.closerange(0, 64)
    while True:
        pass
