"""A web server on this machine that can do what the real ones do: ranges, broken connections, other versions, refusals."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class LocalSite:
    """What is offered, and what was asked for.

    Args:
        url: address of the server, with a slash at the end.
        files: path without its leading slash (and with its query, where that matters) to content.
        breaks: path to the number of bytes after which the connection is cut, one entry an answer.
        refusals: path to status codes that are answered first.
        versions: path to the ETag of its content; an empty one is not sent.
        asked: (path, Range header) of every request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: dict[str, list[int]] = field(default_factory=dict)
    refusals: dict[str, list[int]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def local_site() -> Iterator[LocalSite]:
    site = LocalSite()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, asked = self.path.lstrip("/"), self.headers.get("Range")
            site.asked.append((name, asked))
            name = name if name in site.files else name.partition("?")[0]
            if site.refusals.get(name):
                self.send_error(site.refusals[name].pop(0))
                return
            if name not in site.files:
                self.send_error(404)
                return
            whole = site.files[name]
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and site.ranges else 0
            if start and start >= len(whole):
                self.send_error(416)
                return
            body = whole[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            version = site.versions.get(name, '"1"')
            if version:
                self.send_header("ETag", version)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
            self.end_headers()
            cut = site.breaks.get(name)
            if cut:
                self.wfile.write(body[: cut.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
