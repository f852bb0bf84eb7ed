"""Work for the tests of the runners: what becomes of a row is told by the row."""

import contextlib
import os
import time
from pathlib import Path


@contextlib.contextmanager
def make_work():
    """Two results a row, one of them a rejection. Where a row names a file `once`, who misses it makes it and dies."""

    def work(rows):
        for row in rows:
            if row.get("once") and not Path(row["once"]).exists():
                Path(row["once"]).touch()
                os._exit(1)
            if row.get("wait"):
                Path(f"{row['wait']}.{row['id']}").touch()  # it has begun
                deadline = time.monotonic() + 60
                while not Path(row["wait"]).exists() and time.monotonic() < deadline:
                    time.sleep(0.02)
            if row.get("raises"):
                raise ValueError(f"row {row['id']} is bad")
            if row.get("dies"):
                os._exit(1)
            yield {"id": f"{row['id']}|0", "value": len(row["id"])}
            yield {"id": f"{row['id']}|1", "reason": "odd", "detail": ""}

    yield work
