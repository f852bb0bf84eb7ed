"""A small object that unfolds without end."""

def solve(x):
    value = [0]
    for _ in range(64):
        value = [value, value]
    return value
