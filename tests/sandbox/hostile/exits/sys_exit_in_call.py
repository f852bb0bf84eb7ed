"""sys.exit(0) when called."""

import sys


def solve(x):
    sys.exit(0)
