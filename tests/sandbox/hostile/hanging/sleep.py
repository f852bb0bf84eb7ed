"""Sleep."""

import time


def solve(x):
    time.sleep(1000)
