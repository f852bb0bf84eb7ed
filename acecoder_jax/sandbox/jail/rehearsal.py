"""A few programs and tests, played in the zygote itself before the jail closes.

Python rewrites its bytecode in the first runs and fills its free lists, and every page that a child writes to first is
a page to copy.
"""

import _socket
import sys

from . import judge, player, wire
from .codec import encode, encode_list
from .peer import Peer

TIMES = 20
_PROGRAM = "from typing import List\nimport math\n\ndef f(a: List[int], b=1):\n    return [x + b for x in a]\n"
_CALLS = [("f", False, ([1, 2], 3), {}), ("f", False, (["x"],), {"b": "y"})]
_TEST = "import math\nassert f([1], 2) == [3]\nassert f([0]) == [1]"

_PLAY = wire.frame(wire.PROGRAM, encode((_PROGRAM, "program"))) + wire.frame(
    wire.CALLS, encode_list([encode(True), *map(encode, _CALLS)])
)
_ASK = wire.frame(wire.CALL, encode(("f", encode((([1], 2), {})))))
_JUDGE = wire.frame(wire.TEST, encode(("", _TEST, ("f",), ())))
_ANSWERS = wire.frame(wire.VALUE, encode([3])) + wire.frame(wire.VALUE, encode([1]))


class _Filled:
    """A stream that holds what the other side has sent before it left."""

    def __init__(self, data: bytes):
        self.other, ours = _socket.socketpair()
        self.other.send(data)
        self.other.shutdown(_socket.SHUT_WR)
        self.stream = wire.Stream(ours.detach())

    def __enter__(self) -> wire.Stream:
        return self.stream

    def __exit__(self, *exception: object) -> None:
        self.stream.close()
        self.other.close()


def rehearse() -> None:
    """Play and judge, and forget what was loaded for it."""
    modules = dict(sys.modules)
    for _ in range(TIMES):
        with _Filled(_PLAY) as stream:
            player.serve(stream)
        with _Filled(_ASK) as link:
            link.accept()
            Peer(link, lambda name: lambda a, b: [x + b for x in a]).serve()
        with _Filled(_JUDGE) as stream, _Filled(_ANSWERS) as link:
            judge.serve(stream, link)
    sys.modules.clear()
    sys.modules.update(modules)
