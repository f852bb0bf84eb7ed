"""A long call in C that never looks at signals."""

import itertools


def solve(x):
    return sum(itertools.repeat(1, 10**12))
