"""A result that compares oddly: nan."""

def solve(x):
    return float('nan')
