"""The writer of a stage: its knobs out of the config, and what it has cost in all starts of the run."""

from collections.abc import Callable, Collection, Sequence, Set
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from acecoder_jax import ledger, store, writers
from acecoder_jax.cluster import MakeWork
from acecoder_jax.sampling.noise import stable_hash
from acecoder_jax.stages import _work
from acecoder_jax.store import Row
from acecoder_jax.writers import WriterError

MAY_CHANGE = (
    "budget_usd", "local.engine", "local.decode_mesh",
    *(f"{writer}.{knob}" for writer in ("endpoint", "batch") for knob in (
        "base_url", "key_env", "concurrency", "timeout_s", "stall_s", "stream", "attempts", "backoff_s",
        "backoff_cap_s", "patience_s", "failures_in_a_row", "price_in_usd", "price_out_usd", "cache", "poll_s",
        "batch_requests", "open_batches",
    )),
)  # fmt: skip


def writer_args(config: ConfigDict, workdir: Path, files: Sequence[Path]) -> dict[str, Any]:
    """The knobs of the chosen writer, with folders of the workdir where none is named. files: whose rows have cost."""
    if config.writer not in config or not isinstance(config[config.writer], ConfigDict):
        raise ValueError(f"config.writer is endpoint, batch or local, not {config.writer!r}")
    arguments = config[config.writer].to_dict()
    if config.writer == "local":
        if config.budget_usd:
            raise ValueError("config.budget_usd is for an endpoint: a local model costs nothing")
        return arguments
    folder = "batches" if config.writer == "batch" else "replies"
    key = "folder" if config.writer == "batch" else "cache"
    place = {key: arguments[key] or str(workdir / folder)}
    return arguments | place | {"budget_usd": config.budget_usd, "spent_usd": spent(files)}


def until_stopped(
    wanted: Collection[str],
    todo: Callable[[Set[str]], Sequence[Row]],
    make_work: MakeWork,
    *,
    output: Path,
    rejected: Path,
    measure: _work.Measure,
    **more: Any,
) -> tuple[WriterError | None, _work.Counts]:
    """`_work.work_off`, and why it had to stop before its end; the files are in order all the same."""
    more |= {"output": output, "rejected": rejected, "measure": measure}
    try:
        return None, _work.work_off(wanted, todo, make_work, **more)
    except WriterError as stopped:
        ledger.sort(output)
        ledger.sort(rejected)
        return stopped, _work.take_up(set(wanted), output, rejected, measure)[0]


def request_seed(seed: int, *names: str | int) -> int:
    """31 bits for a request's noise, a function of the run's seed and of what is asked."""
    return int.from_bytes(stable_hash(seed, *names), "big") >> 33


def spent(paths: Sequence[Path]) -> float:
    """USD of all rows of the files."""
    total = 0.0
    for path in paths:
        store.repair_jsonl(path)
        total += sum(row.get("cost_usd") or 0.0 for row in store.stream_jsonl(path)) if path.exists() else 0.0
    return total


def spent_on_failures(rejected: Path, reasons: Collection[str] = writers.FAILURES) -> dict[str, float]:
    """What the rows have cost that are about to be done again, for one of these reasons."""
    store.repair_jsonl(rejected)
    rows = store.stream_jsonl(rejected) if rejected.exists() else ()
    return {row["id"]: row.get("cost_usd") or 0.0 for row in rows if row.get("reason") in reasons}
