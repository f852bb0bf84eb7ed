"""An argument past every cap."""

assert solve(['x' * 1000] * 100000) == 1
