"""The same, of a program that could not be loaded."""

import os
import struct


def number(n):
    return b"i" + struct.pack("<q", n)


names = b"r" + struct.pack("<I", 3) + number(0) + number(10**18) + number(1)
told = b"t" + struct.pack("<I", 3) + names + b"s" + struct.pack("<I", 0) + b"N"
for fd in range(3, 12):
    try:
        os.write(fd, struct.pack("<IB", len(told), ord("n")) + told)
    except OSError:
        pass
os._exit(0)
