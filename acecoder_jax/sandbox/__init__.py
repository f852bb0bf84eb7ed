"""Runs untrusted programs against tests. See docs/sandbox.md."""

from .job import PROFILES, Job, Limits
from .pool import Sandbox
from .settings import SandboxError

__all__ = ["PROFILES", "Job", "Limits", "Sandbox", "SandboxError"]
