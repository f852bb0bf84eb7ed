"""Runs untrusted programs against tests. See docs/sandbox.md."""

from .job import PROFILES, Job, Limits
from .library import Library
from .pool import Sandbox
from .settings import SandboxError

__all__ = ["PROFILES", "Job", "Library", "Limits", "Sandbox", "SandboxError"]
