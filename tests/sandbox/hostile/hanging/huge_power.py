"""One long call inside the interpreter's C code."""

def solve(x):
    return 7 ** (10**9)
