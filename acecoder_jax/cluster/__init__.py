"""Where the rows of a stage are worked on: in this process, or on the nodes of a cluster. One module a way, by name.

A way's file has make(**knobs) -> Runner. Whatever the way, one process hands the rows out and writes what comes back
(stages/_work.py), so the files of a run do not depend on it.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from acecoder_jax import plugins
from acecoder_jax.store import Row

# From rows to result rows, as they are finished and in any order; one row in may give many rows out.
Work = Callable[[Sequence[Row]], Iterator[Row]]
# Builds what the work needs (sandbox, engine, client) and takes it down again. To be pickled, so that other nodes can.
MakeWork = Callable[[], AbstractContextManager[Work]]
# Yields all results of all rows. A row in may be worked on twice, where a node was lost: the first result counts.
Runner = Callable[[MakeWork, Sequence[Row]], Iterator[Row]]


def make(name: str, **knobs: Any) -> Runner:
    """The runner of a name. ValueError for an unknown name or knob; it lists those that exist."""
    if name not in (names := plugins.names(__path__)):
        raise ValueError(f"unknown cluster {name!r}: acecoder_jax/cluster has {', '.join(names)}")
    module = importlib.import_module(f"{__name__}.{name}")
    return plugins.call(f"the cluster {name!r}", module.make, knobs)
