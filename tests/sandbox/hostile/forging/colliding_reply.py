"""A set whose keys all share one hash: the reader's time."""

def solve(x):
    return {n * (2**61 - 1) for n in range(1, 3000)}
