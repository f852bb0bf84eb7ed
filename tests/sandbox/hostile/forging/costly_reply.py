"""A plain value that takes seconds to read and to show."""

import fractions


def solve(x):
    return {fractions.Fraction(n, 2 * n + 1) for n in range(100_000)}
