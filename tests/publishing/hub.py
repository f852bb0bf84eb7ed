"""A hub on the loopback that takes a dataset in: enough of its API for a push, and it notes what it was sent."""

import base64
import contextlib
import http.server
import json
import threading

TOKEN = "hf_right0000000000000000000000000000"


@contextlib.contextmanager
def hub(forbidden=False):
    """(address, requests seen, files committed)."""
    seen, files = [], {}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(self.path)
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(401, {"error": "Invalid username or password."})
            if forbidden:
                return self.answer(403, {"error": "You don't have the rights to create a dataset here."})
            if self.path.endswith("/repos/create"):
                asked = json.loads(body)
                return self.answer(200, {"url": f"{address}/datasets/{asked['organization']}/{asked['name']}"})
            if "/preupload/" in self.path:
                wanted = [one["path"] for one in json.loads(body)["files"]]
                kinds = [{"path": p, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for p in wanted]
                return self.answer(200, {"files": kinds})
            if "/commit/" in self.path:
                for line in body.splitlines():
                    one = json.loads(line)
                    if one["key"] == "file":
                        files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
                url = f"{address}/datasets/me/mine/commit/abc"
                return self.answer(200, {"commitUrl": url, "commitOid": "abc", "success": True})
            return self.answer(200, {"message": "fine"})

        def do_GET(self):
            seen.append(self.path)
            self.answer(404, {"error": "not found"})

        do_HEAD = do_GET  # noqa: N815

        def answer(self, status, value):
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address, seen, files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
