"""What the sandbox is asked: jobs and limits."""

import dataclasses
from typing import Any

PROFILES = ("grading", "stdin", "calls", "library")
MAX_LIMIT = 1 << 60  # what the kernel's own limits can hold, with room


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one program may use.

    test_s: CPU seconds of one test, whoever uses them.
    program_s: CPU seconds of the program over all its tests. What a judge uses is not the program's, nor is the wall
        time while one runs, so that tests that hang leave the others their time.
    step_s: CPU seconds of one step of a test that tells its steps (docs/sandbox.md); None: no limit but the test's own.
    wall_factor: wall time may be this many times as long, since a busy machine shares its cores.
    memory_bytes: address space of one process beyond what the warmed interpreter has.
    file_bytes: the largest file, where there is one to write to. output_bytes: standard output (stdin profile).
    """

    test_s: float = 1.0
    program_s: float = 8.0
    step_s: float | None = None
    wall_factor: float = 2.0
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20
    output_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "step_s":
                continue
            if not 0 < value < MAX_LIMIT:
                raise ValueError(f"Limits.{field.name} must be above 0 and below {MAX_LIMIT}, not {value!r}")
            if field.name.endswith("_bytes") and not isinstance(value, int):
                raise ValueError(f"Limits.{field.name} must be a whole number, not {value!r}")
        if self.wall_factor < 1:
            raise ValueError(f"Limits.wall_factor must be at least 1, not {self.wall_factor!r}")


@dataclasses.dataclass(frozen=True)
class Job:
    """A program and the tests that judge it.

    tests: statements of Python; for the profiles stdin and calls JSON objects {"input": ..., "output": ...}.
    entry_point: the function under test. None: each test's own, found from the names that it calls.
    setup: code that runs before each test, in the process that judges it.
    profile: one of PROFILES. "grading": the tests are code that calls functions. "stdin": the program reads stdin and
        prints. "calls": the entry point is called with the arguments of the list `input`. "library": the tests run
        beside the program, in a sandbox that was made with a Library.
    limits: what this program may use; None: the sandbox's own limits.
    """

    id: str
    program: str
    tests: tuple[str, ...]
    entry_point: str | None = None
    setup: str = ""
    profile: str = "grading"
    limits: Limits | None = None

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"job {self.id!r}: unknown profile {self.profile!r}: one of {', '.join(PROFILES)}")
        if self.profile == "calls" and not (self.entry_point or "").isidentifier():
            raise ValueError(f"job {self.id!r}: the profile calls wants an entry_point, not {self.entry_point!r}")

    def to_row(self) -> list[Any]:
        """The fields in their order, as JSON values."""
        limits = None if self.limits is None else dataclasses.asdict(self.limits)
        return [self.id, self.program, self.tests, self.entry_point, self.setup, self.profile, limits]

    @classmethod
    def from_row(cls, row: list[Any]) -> "Job":
        """The job of a row."""
        identity, program, tests, entry_point, setup, profile, limits = row
        limits = None if limits is None else Limits(**limits)
        return cls(identity, program, tuple(tests), entry_point, setup, profile, limits)
