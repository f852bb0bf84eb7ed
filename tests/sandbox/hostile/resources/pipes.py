"""Memory in pipe buffers."""

import os


def solve(x):
    while True:
        _, writer = os.pipe()
        os.write(writer, bytes(1 << 16))
