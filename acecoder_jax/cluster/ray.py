"""The nodes of a Ray cluster do the rows: an actor a node builds the work once and is handed shards of rows.

An actor holds a whole node: its sandbox runs a worker a core there, its engine decodes on the node's accelerators; an
endpoint is shared by all. What a shard yields comes back in handfuls while it is worked on. A node or an actor that is
lost costs nothing but time: its shard is done again by another one, and a node that joins gets an actor too.

Needs the extra `cluster`: pip install -e '.[cluster]'.
"""

import collections
import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from acecoder_jax.cluster import MakeWork, Runner
from acecoder_jax.store import Row

HANDFUL, HANDFUL_S = 64, 0.5  # results, and seconds, until what an actor has found is sent
LOOK_S = 1.0  # between looks at which nodes there are
PATIENCE_S = 600.0  # in which no node works, before the run gives up
FETCH_S = 120.0  # for a handful to come over the network
CLOSE_S = 60.0  # for the actors to take their work down


def make(address: str = "", shard_rows: int = 64, attempts: int = 5) -> Runner:
    """The runner.

    address: of the cluster ("auto", "HOST:6379", "ray://HOST:10001"); "": that of RAY_ADDRESS, or one that runs on this
        machine, or else a new one of this machine alone, which ends with the run.
    shard_rows: rows that an actor has at a time. attempts: losses of its actor that a shard survives, plus one.
    ModuleNotFoundError without Ray; ValueError for a number below 1.
    """
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError("the cluster 'ray' needs Ray: pip install 'acecoder_jax[cluster]'") from error
    for name, value in (("shard_rows", shard_rows), ("attempts", attempts)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")

    def run(make_work: MakeWork, rows: Sequence[Row]) -> Iterator[Row]:
        shards = [_Shard(rows[start : start + shard_rows]) for start in range(0, len(rows), shard_rows)]
        with _connected(address), contextlib.closing(_Crew(make_work, shards, attempts)) as crew:
            yield from crew.results()

    return run


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """A connection to the cluster, unless this process has one."""
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address or None, include_dashboard=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise ConnectionError(f"no Ray cluster at {address or 'the address in RAY_ADDRESS'}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


class Worker:
    """What an actor does."""

    def __init__(self, make_work: MakeWork):
        self._make_work, self._stack = make_work, contextlib.ExitStack()

    def build(self) -> None:
        """Builds what the work needs. Not in __init__: what that raises Ray would tell as the loss of an actor."""
        self._work = self._stack.enter_context(self._make_work())

    def do(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """The results of a shard, in handfuls. Where the work raises, what it found before comes first."""
        found: list[Row] = []
        sent = time.monotonic()
        try:
            for row in self._work(rows):
                found.append(row)
                if len(found) >= HANDFUL or time.monotonic() - sent > HANDFUL_S:
                    yield found
                    found, sent = [], time.monotonic()
        except Exception:
            yield found
            raise
        yield found

    def close(self) -> None:
        """Takes down what the work was built of."""
        self._stack.close()


@dataclasses.dataclass
class _Shard:
    rows: Sequence[Row]
    losses: int = 0


@dataclasses.dataclass
class _Hired:
    """An actor. news: what is waited for: that it has built its work, or the results of the shard; None: it is idle."""

    actor: Any
    news: Any
    shard: _Shard | None = None


class _Crew:
    """The actors of a run, by node, and the shards that are left."""

    def __init__(self, make_work: MakeWork, shards: Sequence[_Shard], attempts: int):
        import ray

        self._left = collections.deque(shards)
        self._attempts = attempts
        self._hired: dict[str, _Hired] = {}
        self._worker, self._make_work = ray.remote(Worker), make_work
        self._looked = -LOOK_S

    def results(self) -> Iterator[Row]:
        """The results of all shards, as they come.

        Raises what the work raised; RuntimeError for a shard that no actor survives, and where no node can work.
        """
        import ray

        worked = time.monotonic()
        while self._left or any(one.shard for one in self._hired.values()):
            self._hire()
            self._hand_out()
            waiting = {one.news: node for node, one in self._hired.items() if one.news is not None}
            if not waiting:
                time.sleep(LOOK_S)
            ready = ray.wait(list(waiting), num_returns=1, timeout=LOOK_S)[0] if waiting else []
            for news in ready:
                yield from self._take(waiting[news])
            if any(one.shard for one in self._hired.values()):
                worked = time.monotonic()
            elif time.monotonic() - worked > PATIENCE_S:
                raise RuntimeError(
                    f"no node has worked for {PATIENCE_S:.0f} s: {len(self._nodes())} are alive and have "
                    f"CPUs, {len(self._hired)} have been asked and do not start (are their CPUs taken?)"
                )

    def _hire(self) -> None:
        """An actor for each node that has none, while there are shards for them."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        idle = sum(one.shard is None for one in self._hired.values())
        fresh = [node for node in self._nodes() if node["NodeID"] not in self._hired]
        for node in fresh[: max(0, len(self._left) - idle)]:
            has = node["Resources"]
            others = {"TPU": has["TPU"]} if has.get("TPU") else {}
            actor: Any = self._worker.options(
                num_cpus=has["CPU"], num_gpus=has.get("GPU", 0), resources=others, max_restarts=0, max_task_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote(self._make_work)  # fmt: skip
            self._hired[node["NodeID"]] = _Hired(actor, actor.build.remote())

    def _nodes(self) -> list[dict[str, Any]]:
        """Those that are alive and have CPUs to give (a head node often has none)."""
        import ray

        return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]

    def _hand_out(self) -> None:
        for one in self._hired.values():
            if one.news is None and self._left:
                one.shard = self._left.popleft()
                one.news = one.actor.do.options(num_returns="streaming").remote(one.shard.rows)

    def _take(self, node: str) -> Iterator[Row]:
        """What has come from the actor of a node, which may be that it is lost."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        one = self._hired[node]
        try:
            if one.shard is None:
                one.news = ray.get(one.news)  # it has built its work: None
                return
            rows = ray.get(next(one.news), timeout=FETCH_S)
        except StopIteration:
            one.shard = one.news = None
        except RayTaskError as error:
            yield from self._last_results(node)
            if isinstance(error.cause, Exception):
                raise error.cause from error  # as it would have been raised in this process
            raise
        except RayError as error:
            self._lose(node, error)
        else:
            yield from rows

    def _last_results(self, but: str) -> Iterator[Row]:
        """What the others have sent so far: the run is about to end, and it may have been paid for."""
        import ray
        from ray.exceptions import RayError

        for node, one in self._hired.items():
            with contextlib.suppress(RayError, StopIteration):
                while node != but and one.shard and ray.wait([one.news], timeout=0)[0]:
                    yield from ray.get(next(one.news), timeout=FETCH_S)

    def _lose(self, node: str, error: Exception) -> None:
        """Gives up an actor. Its shard goes back: what it has yielded is yielded again, and the driver drops it."""
        import ray

        one = self._hired.pop(node)
        with contextlib.suppress(Exception):  # it is lost already, as a rule
            ray.kill(one.actor)
        print(
            f"ray: the actor on node {node[:8]} is lost ({type(error).__name__}); its rows are done again", flush=True
        )
        if (shard := one.shard) is None:
            return
        shard.losses += 1
        if shard.losses >= self._attempts:
            ids = ", ".join(str(row.get("id")) for row in shard.rows[:3])
            raise RuntimeError(
                f"a shard of {len(shard.rows)} rows ({ids}, ...) has been lost with its actor {shard.losses} times: "
                f"does its work end the process, or use more memory than the node has? {error}"
            ) from error
        self._left.appendleft(shard)

    def close(self) -> None:
        """Idle actors take their work down; then all are ended."""
        import ray

        closing = [one.actor.close.remote() for one in self._hired.values() if one.news is None]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
        for one in self._hired.values():
            with contextlib.suppress(Exception):  # lost meanwhile
                ray.kill(one.actor)
