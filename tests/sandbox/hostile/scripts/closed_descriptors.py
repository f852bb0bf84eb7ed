"""Every descriptor closed, then a good exit."""

import os

os.closerange(0, 64)
os._exit(0)
