"""A result that holds itself."""

def solve(x):
    value = []
    value.append(value)
    return value
