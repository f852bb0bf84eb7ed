"""A constant that would take for ever to compute."""

assert solve(2) == 9 ** 9 ** 9 ** 9
