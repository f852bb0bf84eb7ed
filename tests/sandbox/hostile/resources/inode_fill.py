"""Many empty files and directories."""

import os


def solve(x):
    for place in ('/tmp', '/var/tmp', '/dev/shm', '.'):
        for number in range(1000):
            try:
                os.mkdir(os.path.join(place, f'acecoder_hostile_{number}'))
            except OSError:
                break
    return 0
