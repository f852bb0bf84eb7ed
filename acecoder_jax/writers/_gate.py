"""When the requests of a writer may go out: they all wait while the endpoint asks for patience, unless the run ends."""

import asyncio
import contextlib
import random
import time

SPREAD_S = 0.1  # those who waited together do not come back in one instant


class Gate:
    """Open, or closed until a time. Its coroutines run in one loop; close_for may be called from it alone."""

    def __init__(self) -> None:
        self._opens = 0.0
        self._ended = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the run ends: there is nothing to wait for any more."""
        return self._ended.is_set()

    def end(self) -> None:
        """Wakes all who wait here, now and later."""
        self._ended.set()

    def close_for(self, seconds: float) -> None:
        """Lets no request through for so long, or for longer where it is closed for longer."""
        self._opens = max(self._opens, time.monotonic() + seconds)

    async def rest(self, seconds: float) -> None:
        """Returns after so long, or once the run ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    async def passed(self) -> None:
        """Returns once the gate is open, or the run ends."""
        while (wait_s := self._opens - time.monotonic()) > 0 and not self.ended:
            await self.rest(wait_s + random.uniform(0, min(SPREAD_S, wait_s)))
