"""TFDS builders of the two datasets: ArrayRecord, versioned, from the hub or from files, without TensorFlow.

    builder = Acecode87k(path="runs/sample/dataset.jsonl", data_dir="datasets", file_format="array_record")
    builder.download_and_prepare()
    builder.as_data_source("train")[0]

Importing this module is enough for `tfds.builder("acecode_87k", ...)` too. Rows keep their order. What a row of an
example looks like: acecoder_jax/data/_tfds.py, which also leads back to the schema.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from acecoder_jax.data import _columns, _tfds
from acecoder_jax.publishing.rows import Source
from acecoder_jax.publishing.whole import remove, whole

ABOUT = {
    _columns.ACECODE.name: "Questions with imagined asserts, and sampled programs with their pass rates.",
    _columns.PAIRS.name: "Two programs for one question, one of them clearly better by its pass rate.",
}
HOMEPAGE = "https://arxiv.org/abs/2502.01718"


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What both builders share.

    path: a file or folder of rows, a TFDS folder; "" reads the hub. bad: told of bad rows; None: a ValueError.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "The schema of the published rows; further columns as JSON in `more`."}
    table: _columns.Table

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] = "",
        hub_id: str = "",
        split: str = "train",
        bad: Callable[[str], None] | None = None,
        **kw: Any,
    ):
        self._source = Source(path, self.table.name, hub_id, split)
        self._bad = bad or _refuse
        super().__init__(**kw)

    def _info(self) -> tfds.core.DatasetInfo:
        about, features = ABOUT[self.table.name], _tfds.features(self.table)
        return tfds.core.DatasetInfo(
            builder=self, description=about, features=features, homepage=HOMEPAGE, disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in enumerate(self._source.rows(self._bad)):
            yield number, _tfds.to_example(row, self.table)


class Acecode87k(_Builder):
    """AceCode-87K, or any rows of its schema."""

    table = _columns.ACECODE
    name = _columns.ACECODE.name


class AcecodePair300k(_Builder):
    """AceCodePair-300K, or any rows of its schema."""

    table = _columns.PAIRS
    name = _columns.PAIRS.name


BUILDERS = {builder.table.name: builder for builder in (Acecode87k, AcecodePair300k)}


def _refuse(told: str) -> None:
    raise ValueError(told)


def build(source: Source, data_dir: Path, bad: Callable[[str], None]) -> Path:
    """DATA_DIR/<name>/<version>, whole or not at all. FileExistsError where it is there already."""
    made = BUILDERS[source.table.name]
    final = data_dir / source.table.name / str(made.VERSION)
    work = data_dir / f".partial-{source.table.name}"
    remove(work)
    try:
        with whole(final) as temporary, _quiet():
            builder = made(
                path=source.path or "", hub_id=source.hub_id, split=source.split, bad=bad,
                data_dir=work, file_format="array_record",
            )  # fmt: skip
            builder.download_and_prepare()
            os.rename(builder.data_path, temporary)
    finally:
        remove(work)
    return final


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TFDS tells of its own steps on the standard output: the stage has said what matters."""
    tfds.disable_progress_bar()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
