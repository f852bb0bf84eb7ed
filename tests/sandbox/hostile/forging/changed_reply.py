"""Replies that tell of changed arguments, with sizes and kinds that do not fit."""

import os, struct


def solve(x):
    for inner, size, rest in ((119, 0, b""), (118, 1 << 31, b"N"), (118, 0, b"t\x02\0\0\0t\0\0\0\0N"), (0, 3, b"L")):
        payload = struct.pack("<BI", inner, size) + rest
        frame = struct.pack("<IB", len(payload), ord("w")) + payload
        for fd in range(3, 16):
            try:
                os.write(fd, frame)
            except OSError:
                pass
    return 0
