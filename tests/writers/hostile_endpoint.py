"""An OpenAI-compatible server on loopback that does what a test tells it to, and notes what it is asked.

    with Server(lambda request: says("hello")) as server: ...

`request` has the number of the request (from 1), its body, its headers, and how often this very body has come (times).
"""

import dataclasses
import http.server
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self


@dataclasses.dataclass
class Asked:
    number: int
    path: str
    body: Any
    headers: dict[str, str]
    times: int = 1


@dataclasses.dataclass
class Answer:
    """body: a dict is sent as JSON, bytes as they are. pieces: of a stream, each after pause_s. wait_s: before all.

    cut: close the connection where the body or the stream would end; mute: without any answer.
    """

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    pieces: Sequence[Any] | None = None
    pause_s: float = 0.0
    wait_s: float = 0.0
    cut: bool = False
    mute: bool = False


def says(text: str, finish: str = "stop", usage: tuple[int, int] | None = (10, 5), **kw: Any) -> Answer:
    """A chat completion in one piece."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return Answer(body | _usage(usage), **kw)


def streams(
    text: str, finish: str = "stop", usage: tuple[int, int] | None = (10, 5), parts: int = 3, **kw: Any
) -> Answer:
    """The same as a stream of so many parts."""
    size = max(1, -(-len(text) // parts))
    pieces: list[Any] = [chunk({"content": text[at : at + size]}) for at in range(0, len(text), size)]
    pieces.append(chunk({}, finish))
    if usage:
        pieces.append(chunk(None) | _usage(usage))
    return Answer(pieces=[*pieces, "[DONE]"], **kw)


def chunk(delta: Any, finish: str | None = None) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": choices}


def error(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    return Answer({"error": {"message": message, "type": "e", **more}}, status, headers or {})


def _usage(usage: tuple[int, int] | None) -> dict[str, Any]:
    if usage is None:
        return {}
    prompt, completion = usage
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}}


class Server:
    """url: for base_url. asked: all requests. most: under way at the same time."""

    def __init__(self, answer: Callable[[Asked], Answer]):
        self.answer = answer
        self.asked: list[Asked] = []
        self.most = self._now = 0
        self._lock = threading.Lock()
        self._gone = threading.Event()

    def __enter__(self) -> Self:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody listens any more; answers under way are given up."""
        self._gone.set()
        self._server.shutdown()
        self._server.server_close()

    def pause(self, seconds: float) -> None:
        """Waits, but not beyond the end of the server."""
        self._gone.wait(seconds)

    def _note(self, handler: http.server.BaseHTTPRequestHandler, body: Any) -> Asked:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            times = 1 + sum(one.body == body and one.path == handler.path for one in self.asked)
            asked = Asked(
                len(self.asked) + 1,
                handler.path,
                body,
                {name.lower(): value for name, value in handler.headers.items()},
                times,
            )
            self.asked.append(asked)
            return asked

    def _done(self) -> None:
        with self._lock:
            self._now -= 1

    def _handler(server: "Server") -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                is_json = self.headers.get("Content-Type", "").startswith("application/json")
                self.serve(json.loads(data) if is_json else data)

            def do_GET(self) -> None:
                self.serve(None)

            def serve(self, body: Any) -> None:
                asked = server._note(self, body)
                try:
                    self.say(server.answer(asked))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    server._done()

            def say(self, answer: Answer) -> None:
                server.pause(answer.wait_s)
                if answer.mute or server._gone.is_set():
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.pieces is not None:
                    self.send_header("Content-Type", "text/event-stream")
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.stream(answer)
                    return
                is_bytes = isinstance(answer.body, bytes)
                data = answer.body if is_bytes else json.dumps(answer.body).encode()
                if "Content-Type" not in answer.headers:
                    self.send_header("Content-Type", "text/plain" if is_bytes else "application/json")
                self.send_header("Content-Length", str(len(data) + answer.cut))
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = self.close_connection or answer.cut

            def stream(self, answer: Answer) -> None:
                for piece in answer.pieces or ():
                    server.pause(answer.pause_s)
                    if server._gone.is_set():
                        self.close_connection = True
                        return
                    data = f"data: {piece if isinstance(piece, str) else json.dumps(piece)}\n\n".encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.flush()
                if answer.cut:
                    self.close_connection = True
                else:
                    self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


class Batches:
    """The part of a server that takes files and batches. answer: from the body of one request to (status, body).

    looks: how many of them find a batch unfinished.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], tuple[int, Any]], looks: int = 1):
        self.answer, self.looks = answer, looks
        self.files: dict[str, tuple[str, bytes]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.seen: dict[str, int] = {}

    def __call__(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/v1").partition("?")[0]
        if path == "/files" and asked.body is not None:
            return Answer(self._upload(asked.body))
        if path == "/files":
            return Answer({"object": "list", "data": [self._file(name) for name in self.files], "has_more": False})
        if match := re.fullmatch(r"/files/(.+)/content", path):
            return Answer(self.files[match[1]][1])
        if path == "/batches" and asked.body is not None:
            return Answer(self._create(asked.body))
        if path == "/batches":
            return Answer({"object": "list", "data": list(self.batches.values()), "has_more": False})
        return Answer(self._look(path.removeprefix("/batches/")))

    def _upload(self, data: bytes) -> dict[str, Any]:
        name = re.search(rb'filename="([^"]+)"', data)
        body = re.search(rb'name="file".*?\r\n\r\n(.*?)\r\n--', data, re.DOTALL)
        assert name and body
        identity = f"file-{len(self.files)}"
        self.files[identity] = (name[1].decode(), body[1])
        return self._file(identity)

    def _file(self, identity: str) -> dict[str, Any]:
        name, data = self.files[identity]
        about = {"bytes": len(data), "created_at": int(time.time()), "purpose": "batch", "status": "processed"}
        return {"id": identity, "object": "file", "filename": name} | about

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        identity = f"batch-{len(self.batches)}"
        self.batches[identity] = {"id": identity, "object": "batch", "created_at": 0, "status": "validating"} | body
        return self.batches[identity]

    def _look(self, identity: str) -> dict[str, Any]:
        batch = self.batches[identity]
        self.seen[identity] = self.seen.get(identity, 0) + 1
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if self.seen[identity] > self.looks:
                self._finish(batch)
        return batch

    def _finish(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]][1].splitlines()]
        good, bad = [], []
        for line in lines:
            status, body = self.answer(line["body"])
            row = {"id": "r", "custom_id": line["custom_id"], "response": {"status_code": status, "body": body}}
            (good if status == 200 else bad).append(row | {"error": None})
        for name, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                identity = f"file-{len(self.files)}"
                self.files[identity] = ("out", "".join(json.dumps(row) + "\n" for row in rows).encode())
                batch[name] = identity
        batch["status"] = "completed"
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}
