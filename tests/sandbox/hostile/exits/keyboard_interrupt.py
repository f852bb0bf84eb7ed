"""KeyboardInterrupt out of the call."""

def solve(x):
    raise KeyboardInterrupt
