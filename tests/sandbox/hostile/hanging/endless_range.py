"""A range that takes for ever to look through."""


def solve(x):
    return range(10**18)
