"""Signals to everyone."""

import os

os.kill(-1, 9)
