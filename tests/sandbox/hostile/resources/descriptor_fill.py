"""As many descriptors as can be."""

import os


def solve(x):
    held = []
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        return len(held)
