"""Frames without end on the channel."""

import os
import struct

block = struct.pack("<IB", 1 << 20, ord("u")) + bytes(1 << 20)
while True:
    os.write(3, block)
