"""Frames on a stream socket: a length, a kind, a payload. The reader trusts none of the three."""

import _socket
import os
import struct

from . import codec

HEADER = struct.Struct("<IB")
MAX_FRAME = 2 * codec.MAX_BYTES + (1 << 16)
_FD = struct.Struct("<i")
_ANCILLARY = _socket.CMSG_SPACE(_FD.size)

# From the supervisor to a player or a judge.
PROGRAM, CALLS, LINK, INSIDE, STDIN, TEST = b"P"[0], b"C"[0], b"J"[0], b"I"[0], b"S"[0], b"T"[0]
# From a player or a judge to the supervisor.
HELLO, LOADED, NOT_LOADED, VERDICT, OUTPUT = b"h"[0], b"o"[0], b"n"[0], b"t"[0], b"u"[0]
STEP = b"p"[0]  # of a judge alone: its test goes on to another step
# Between a judge and a player, and in answer to CALLS.
CALL, MORE = b"c"[0], b"m"[0]
VALUE, CHANGED, RAISED, REFUSED = b"v"[0], b"w"[0], b"e"[0], b"x"[0]


class Malformed(Exception):  # noqa: N818 - it reads as what happened
    """The other side broke the protocol."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame, ready to be sent."""
    return HEADER.pack(len(payload), kind) + payload


def write(fd: int, data: bytes) -> None:
    """Write all of `data` to a blocking descriptor."""
    while data:
        data = data[os.write(fd, data) :]


class Parser:
    """Turns bytes, in whatever pieces they come, into (kind, payload)."""

    def __init__(self, max_frame: int = MAX_FRAME):
        self.max_frame = max_frame
        self.buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that `data` completes. Raises Malformed when one claims to be larger than the cap."""
        self.buffer += data
        frames = []
        start, size = 0, len(self.buffer)
        while size - start >= HEADER.size:
            length, kind = HEADER.unpack_from(self.buffer, start)
            if length > self.max_frame:
                raise Malformed(f"a frame of {length} bytes")
            end = start + HEADER.size + length
            if end > size:
                break
            frames.append((kind, bytes(self.buffer[start + HEADER.size : end])))
            start = end
        del self.buffer[:start]
        return frames


class Stream:
    """A blocking stream socket that carries frames, and file descriptors beside them once `accept` was called."""

    def __init__(self, fd: int):
        self.fd = fd
        self.descriptors: list[int] = []
        self._accepts = False
        self._socket: _socket.socket | None = None  # made late: it costs a child page faults
        self._parser = Parser()
        self._frames: list[tuple[int, bytes]] = []

    def accept(self) -> None:
        """From now on receive file descriptors too."""
        self._accepts = True

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Send one frame."""
        write(self.fd, frame(kind, payload))

    def receive(self) -> tuple[int, bytes] | None:
        """The next frame, or None at the end of the stream."""
        while not self._frames:
            data = self._read_with_descriptors() if self._accepts else os.read(self.fd, 1 << 16)
            if not data:
                return None
            self._frames = self._parser.feed(data)
        return self._frames.pop(0)

    def _read_with_descriptors(self) -> bytes:
        if self._socket is None:
            self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fileno=self.fd)
        data, ancillary, _, _ = self._socket.recvmsg(1 << 16, _ANCILLARY)
        for level, kind, content in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self.descriptors.append(_FD.unpack(content[: _FD.size])[0])
        return data

    def close(self) -> None:
        """Close the descriptor."""
        if self._socket is None:
            os.close(self.fd)
        else:
            self._socket.close()
