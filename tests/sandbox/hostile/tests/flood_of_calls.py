"""Calls without end."""

while True:
    solve(1)
