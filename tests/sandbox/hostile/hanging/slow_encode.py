"""A result whose items take for ever to come."""

class Slow(list):
    def __iter__(self):
        while True:
            yield 0

    def __len__(self):
        while True:
            pass


def solve(x):
    return {'a': (n for n in iter(int, 1))}
