"""Output without end."""

import sys


def solve(x):
    while True:
        sys.stdout.write('x' * 65536)
        sys.stderr.write('y' * 65536)
