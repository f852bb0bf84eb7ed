"""The news that it has been loaded, twice, then a good exit."""

import os
import struct

for _ in range(2):
    os.write(3, struct.pack("<IB", 0, ord("o")))
os._exit(0)
