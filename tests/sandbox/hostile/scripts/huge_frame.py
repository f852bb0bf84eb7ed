"""A frame that claims to be larger than any."""

import os

os.write(3, b"\xff" * 100)
os._exit(0)
