"""Threads without end."""

import threading
import time


def solve(x):
    while True:
        threading.Thread(target=time.sleep, args=(1000,)).start()
