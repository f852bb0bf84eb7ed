"""Replies on the disk, by the hash of what was asked: a request that was paid for is not paid for twice.

FOLDER/ab/abcdef....json holds one reply. It is written whole or not at all, and a hash always has a valid reply, so
several runs may share a folder.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acecoder_jax import store
from acecoder_jax.writers import Reply, Request

_log = logging.getLogger(__name__)
_KEPT = ("text", "finish", "prompt_tokens", "completion_tokens")


def digest(request: Request, **endpoint: Any) -> str:
    """The hash of a request, its key included (two samples of one prompt are two texts), and of whom it is asked."""
    asked = {
        "key": request.key,
        "messages": [dict(message) for message in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "schema": request.schema,
        "prefix": request.prefix,
    } | ({"stop": request.stop} if request.stop else {})
    return hashlib.sha256(json.dumps(asked | endpoint, sort_keys=True, default=dict).encode()).hexdigest()


class Cache:
    """The replies in a folder; none where the folder is ""."""

    def __init__(self, folder: str):
        self.folder = Path(folder).expanduser() if folder else None

    def get(self, digest: str, key: str) -> Reply | None:
        """The reply as one that costs nothing; None where there is none. A damaged file counts as none."""
        if self.folder is None:
            return None
        try:
            found = store.read_json(self._path(self.folder, digest))
            return Reply(key, **{name: found[name] for name in _KEPT}, cached=True, attempts=0)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("a damaged reply in the cache is asked for again: %s", error)
            return None

    def put(self, digest: str, reply: Reply, about: Mapping[str, Any]) -> None:
        """Keeps a reply, unless it is an error or was cut by a lost connection."""
        if self.folder is not None and reply.error is None and reply.finish != "cut":
            kept = {name: getattr(reply, name) for name in _KEPT}
            store.write_json(self._path(self.folder, digest), kept | {"key": reply.key} | dict(about))

    @staticmethod
    def _path(folder: Path, digest: str) -> Path:
        return folder / digest[:2] / f"{digest}.json"
