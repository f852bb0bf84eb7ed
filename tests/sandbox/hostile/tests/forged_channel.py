"""Bytes on every descriptor, the link to the program and the verdict channel among them."""

import os

for fd in range(3, 64):
    try:
        os.write(fd, b'\xff' * 100)
    except OSError:
        pass
while True:
    pass
