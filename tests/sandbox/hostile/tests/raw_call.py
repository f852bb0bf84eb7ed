"""A call that the program never ends, asked for on the link, and then the end of the test."""

import os
import struct


def text(data):
    return b"s" + struct.pack("<I", len(data)) + data


arguments = b"t\2\0\0\0" + b"t\1\0\0\0" + text(b"endless") + b"d\0\0\0\0"
call = b"t\2\0\0\0" + text(b"solve") + b"b" + struct.pack("<I", len(arguments)) + arguments
for fd in range(3, 64):
    try:
        os.write(fd, struct.pack("<IB", len(call), ord("c")) + call)
    except OSError:
        pass
assert False
