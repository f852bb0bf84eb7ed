"""Half a frame, then silence."""

import os
import time


def solve(x):
    for fd in range(3, 64):
        try:
            os.write(fd, b'\x10\0\0\0vabc')
        except OSError:
            pass
    time.sleep(100)
