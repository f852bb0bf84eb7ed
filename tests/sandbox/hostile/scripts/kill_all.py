"""Signals to everyone."""

import os

os.kill(-1, 9)
os.kill(os.getppid(), 9)
