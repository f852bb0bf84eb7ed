"""The folder of batches: what was sent, as what, and what came back. Each file is written whole or not at all."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from acecoder_jax import store

OPEN, COLLECTED, FAILED = "open", "collected", "failed"


@dataclasses.dataclass
class Record:
    """A batch. names: of its requests. batch_id: at the endpoint, "" before it is known to be there.

    seen_before: read from the folder, so perhaps sent already. told: its state, as it was last printed.
    """

    name: str
    names: list[str]
    state: str = OPEN
    batch_id: str = ""
    seen_before: bool = False
    told: str = ""


class Records:
    """The batches of a folder."""

    def __init__(self, folder: Path):
        self.folder = folder.expanduser()

    def all(self) -> list[Record]:
        """Every batch, by name."""
        rows = [store.read_json(path) for path in sorted(self.folder.glob("*.json"))]
        return [Record(row["name"], row["names"], row["state"], row["batch_id"], True) for row in rows]

    def open(self, wanted: Mapping[str, Any]) -> list[Record]:
        """Those that have no replies yet and hold requests that are wanted."""
        return [record for record in self.all() if record.state == OPEN and not wanted.keys().isdisjoint(record.names)]

    def collected(self, wanted: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """The lines that have come back for what is wanted, each name once, the latest."""
        found: dict[str, Any] = {}
        for record in self.all():
            if record.state == COLLECTED:
                found.update((name, line) for name, line in self.lines(record) if name in wanted)
        yield from found.items()

    def new(self, bodies: Mapping[str, Mapping[str, Any]]) -> Record:
        """A batch of these requests, on the disk. One of the same requests, that has failed or expired, is another."""
        name = hashlib.sha256("\n".join([*sorted(bodies), str(len(self.all()))]).encode()).hexdigest()[:24]
        record = Record(name, list(bodies))
        store.write_jsonl(self.requests_path(record), (
            {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": dict(body)}
            for key, body in bodies.items()
        ))  # fmt: skip
        self.save(record)
        return record

    def save(self, record: Record) -> None:
        """Notes how far a batch is."""
        row = {"name": record.name, "state": record.state, "batch_id": record.batch_id, "names": record.names}
        store.write_json(self.folder / f"{record.name}.json", row)

    def fail(self, record: Record) -> None:
        """Notes that the endpoint would not take a batch."""
        record.state = FAILED
        self.save(record)

    def collect(self, record: Record, lines: Iterable[bytes]) -> None:
        """Keeps what came back of a batch."""
        store.write_bytes(self._out_path(record), b"".join(line + b"\n" for line in lines))
        record.state = COLLECTED
        self.save(record)

    def lines(self, record: Record) -> Iterator[tuple[str, Any]]:
        """What came back of a collected batch, by the names of its requests."""
        for row in store.stream_jsonl(self._out_path(record)):
            if row.get("custom_id"):
                yield row["custom_id"], row

    def requests_path(self, record: Record) -> Path:
        """The file that the endpoint is sent."""
        return self.folder / f"{record.name}.jsonl"

    def _out_path(self, record: Record) -> Path:
        return self.folder / f"{record.name}.out.jsonl"
