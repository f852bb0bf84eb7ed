"""Its own limits raised, then memory taken."""

import resource


def solve(x):
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        for limit in ((-1, -1), (1 << 40, 1 << 40)):
            try:
                resource.setrlimit(kind, limit)
            except (OSError, ValueError):
                pass
    held = []
    while True:
        held.append(bytearray(1 << 24))
