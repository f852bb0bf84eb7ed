"""A result far past the size cap."""

def solve(x):
    return ['x' * 1000] * 100000
