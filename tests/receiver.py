"""A keepwarm daemon's ear for tests: stores what is posted, and answers as it is told to."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TAKEN = 200
CUT = 0  # the connection is closed instead of answering


class Receiver:
    """An HTTP server on a loopback port; a context manager.

    Attributes:
        bodies: of the requests it took, as bytes.
        errands: method, path and body of those of them that brought no touches.
        heads: their paths and headers.
        attempts: how many requests came.
        always: status of every answer; None for those of the script.
        script: statuses of the next answers; 200 when it is empty.
        refuse: what its answers say was refused.
        content: what its answers hold instead.
        gate: answers wait until it is set.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.errands: list[tuple[str, str, bytes]] = []
        self.heads: list[tuple[str, dict[str, str]]] = []
        self.attempts = 0
        self.script: deque[int] = deque()
        self.always: int | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.refuse: list[dict[str, Any]] = []
        self.content: bytes | None = None
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.answer(self)

            def do_GET(self) -> None:
                receiver.answer(self)

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def touches(self) -> list[dict[str, Any]]:
        with self._arrived:
            return [touch for body in self.bodies for touch in json.loads(body)["touches"]]

    def wait(self, count: int, timeout_seconds: float = 10) -> list[dict[str, Any]]:
        """The touches, as soon as there are so many."""
        self._wait(lambda: len(self._unlocked()) >= count, timeout_seconds)
        return self.touches

    def wait_attempts(self, count: int, timeout_seconds: float = 10) -> None:
        self._wait(lambda: self.attempts >= count, timeout_seconds)

    def _wait(self, arrived: Callable[[], bool], timeout_seconds: float) -> None:
        with self._arrived:
            assert self._arrived.wait_for(arrived, timeout_seconds), f"only {self.attempts} requests came"

    def _unlocked(self) -> list[Any]:
        return [touch for body in self.bodies for touch in json.loads(body)["touches"]]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self._arrived:
            status = self.always if self.always is not None else self.script.popleft() if self.script else TAKEN
            self.attempts += 1
            self._arrived.notify_all()
        self.gate.wait(30)
        if status == CUT:
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        if status == TAKEN:
            with self._arrived:
                if handler.path == "/v1/touches":
                    self.bodies.append(body)
                else:
                    self.errands.append((handler.command, handler.path, body))
                self.heads.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}))
                self._arrived.notify_all()
        refused = self.refuse if status == TAKEN else []
        told = {"accepted": 1, "duplicate": 0, "unknown": 0, "refused": refused}
        content = self.content if self.content is not None else json.dumps(told).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
