"""An argument that holds itself."""

value = []
value.append(value)
assert solve(value) == 1
