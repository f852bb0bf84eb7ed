"""A busy loop."""

def solve(x):
    while True:
        pass
