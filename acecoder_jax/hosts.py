"""What the processes of a run tell one another beside the collectives of their devices: JSON values, by name.

They go through the key-value service of jax.distributed, which the first process holds. It knows no order of calls and
touches no device, so threads may exchange while the trainer's collectives run. A name is used by one thread at a time.
"""

import collections
import itertools
import json
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

from acecoder_jax.stops import Stopped

T = TypeVar("T")
Json = Any
PIECE = 1 << 20  # bytes in a message: gRPC refuses those of more than 4 MiB
LOOK_MS = 1000  # between looks at whether to go on waiting

_rounds: collections.Counter[str] = collections.Counter()
_lock = threading.Lock()


def client() -> Any:
    """The connection to the key-value service; None where there is one process. RuntimeError for several without it."""
    from jax._src import distributed  # the one door that JAX has to it

    if jax.process_count() == 1:
        return None
    if (found := distributed.global_state.client) is None:
        raise RuntimeError(
            f"JAX has found {jax.process_count()} processes, but jax.distributed was not started, so they cannot talk: "
            "start them with --coordinator, --processes and --process (docs/hosts.md)"
        )
    return found


def is_first() -> bool:
    """Whether this is the process that writes the workdir."""
    return jax.process_index() == 0


def exchange(name: str, value: Json, check: Callable[[], None] = lambda: None) -> list[Json]:
    """The values of all processes in their order; each of them calls it with the same names, equally often.

    check: called while it waits; what it raises ends the waiting of this process, and no other's. Raises
    Stopped where another process withholds its value.
    """
    connection = client()
    if connection is None:
        return [value]
    place = _place(name)
    data = zlib.compress(json.dumps(value).encode(), 1)
    pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
    for number, piece in enumerate(pieces):
        connection.key_value_set_bytes(f"{place}/{jax.process_index()}/{number}", piece)
    connection.key_value_set_bytes(f"{place}/{jax.process_index()}/count", str(len(pieces)).encode())
    values = [_read(connection, f"{place}/{process}", check) for process in range(jax.process_count())]
    if connection.key_value_increment(f"{place}/read", 1) == jax.process_count():
        connection.key_value_delete(f"{place}/")  # by the last reader
    return values


def withhold(name: str) -> None:
    """In place of `exchange`, from a process that has been asked to stop: the others' raises Stopped."""
    if (connection := client()) is not None:
        connection.key_value_set_bytes(f"{_place(name)}/{jax.process_index()}/count", b"-1")


def from_first(name: str, make: Callable[[], Json], check: Callable[[], None] = lambda: None) -> Json:
    """What make() gives in the first process, in all of them: how they decide alike on what one of them sees."""
    return exchange(name, make() if is_first() else None, check)[0]


def barrier(name: str) -> None:
    """Returns once all processes have called it."""
    exchange(name, None)


def share(items: Sequence[T]) -> Sequence[T]:
    """The items that are this process's to do; `merge` puts the parts of all together again."""
    return items[jax.process_index() :: jax.process_count()]


def merge(parts: Sequence[Sequence[T]], group: int = 1) -> list[T]:
    """The results of all processes' shares in the order of the items, each of which has given `group` results.

    Items a, b, c in two processes, two results each: [[a1, a2, c1, c2], [b1, b2]] -> [a1, a2, b1, b2, c1, c2].
    """
    groups = [[part[at : at + group] for at in range(0, len(part), group)] for part in parts]
    turns = itertools.zip_longest(*groups, fillvalue=())
    return [one for turn in turns for results in turn for one in results]


def _place(name: str) -> str:
    """Where a name's values of this round are."""
    with _lock:
        _rounds[name] += 1
        return f"acecoder_jax/{name}/{_rounds[name]}"


def _read(connection: Any, place: str, check: Callable[[], None]) -> Json:
    count = int(_get(connection, f"{place}/count", check))
    if count < 0:
        raise Stopped(0)
    return json.loads(zlib.decompress(b"".join(_get(connection, f"{place}/{n}", check) for n in range(count))))


def _get(connection: Any, key: str, check: Callable[[], None]) -> bytes:
    while True:
        try:
            return connection.blocking_key_value_get_bytes(key, LOOK_MS)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
        check()
