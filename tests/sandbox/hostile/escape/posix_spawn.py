"""posix_spawn, which uses vfork."""

import os
import sys


def solve(x):
    return os.posix_spawn(sys.executable, [sys.executable, '-c', 'import time; time.sleep(1000)'], {})
