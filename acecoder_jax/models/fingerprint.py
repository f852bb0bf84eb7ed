"""A short name for what a checkpoint directory holds, so that results of one model are not taken for another's."""

import hashlib
from pathlib import Path

PIECES, PIECE_BYTES = 64, 1 << 14


def fingerprint(directory: Path) -> str:
    """16 hex digits, a function of the config, the tokenizer, its chat template, and the weights' files: their names,
    sizes and contents.

    Of each file of weights 64 pieces of 16 KiB are read, evenly spread: a training run changes all of them, and the
    largest model takes no longer than a small one. FileNotFoundError where there are no weights.
    """
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise FileNotFoundError(f"{directory}: no file of weights (*.safetensors)")
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (path := directory / name).is_file():
            digest.update(name.encode() + path.read_bytes())
    for path in weights:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for piece in range(PIECES):
                file.seek(max(0, size - PIECE_BYTES) * piece // (PIECES - 1))
                digest.update(file.read(PIECE_BYTES))
    return digest.hexdigest()[:16]
