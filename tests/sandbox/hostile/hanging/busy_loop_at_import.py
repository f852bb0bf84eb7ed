"""A busy loop before anything is defined."""

while True:
    pass
