"""Runs untrusted programs against tests. See docs/sandbox.md."""

from .job import Job, Limits
from .pool import Sandbox
from .settings import SandboxError

__all__ = ["Job", "Limits", "Sandbox", "SandboxError"]
