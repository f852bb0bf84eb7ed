"""StopIteration and GeneratorExit out of the call."""

def solve(x):
    raise (GeneratorExit if x % 2 else StopIteration)
