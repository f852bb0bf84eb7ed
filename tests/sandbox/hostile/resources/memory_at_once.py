"""A petabyte at once."""

def solve(x):
    return len(bytearray(1 << 50))
