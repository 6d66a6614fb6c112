"""The embedded Bedrock on a loopback port: HTTP/1.1 with kept connections, one buffered write for each answer.

It decides no answer: `service` does for Bedrock's paths, `steering` for its own.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from keepwarm import clock
from keepwarm.emulator.faults import Faults
from keepwarm.emulator.service import Request, Service
from keepwarm.emulator.steering import PATHS, steer
from keepwarm.emulator.wire import MAX_BODY_BYTES, Refusal, Reply, parse_call, refusal_reply
from keepwarm.pricing import Catalog

_NO_REQUEST_ID = "00000000-0000-0000-0000-000000000000"


class Emulator:
    """A Bedrock on this machine; a context manager that serves while it is entered.

    Attributes:
        url: for `endpoint_url` or `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`; known once it is started.
    """

    def __init__(  # noqa: PLR0913 - every setting has a default but one, and all are named
        self,
        *,
        catalog: Catalog,
        port: int = 0,
        host: str = "127.0.0.1",
        time_scale: float = 1.0,
        latency_scale: float | None = None,
        seed: int = 0,
        faults: Mapping[str, Faults] | None = None,
        now: Callable[[], datetime] = clock.utc_now,
        log_limit: int = 100_000,
    ) -> None:
        """Prepare it; nothing is opened before `start`.

        Args:
            catalog: the models that exist.
            port: 0 for any free one.
            host: address to listen on.
            time_scale: factor on the lifetimes of cache entries; 0.02 lets 5m pass in six seconds.
            latency_scale: factor on latencies, None for `time_scale`; 0 answers at once.
            seed: the same seed gives the same latencies, faults and homes to the same requests.
            faults: what goes wrong, by pattern (fnmatch) of the model id; `*` for all others.
            now: aware UTC; entries live and die by it.
            log_limit: how many requests the log keeps.
        """
        self._service = Service(
            catalog=catalog, seed=seed, time_scale=time_scale, latency_scale=latency_scale, log_limit=log_limit
        )
        self._service.replace_faults(faults or {})
        self._address = (host, port)
        self._now = now
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens.

        Raises:
            RuntimeError: it has not been started.
        """
        if self._server is None:
            raise RuntimeError("the emulator is not started")
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def log(self) -> list[Request]:
        """The requests so far, oldest first; a copy."""
        return self._service.history()

    def set_faults(self, pattern: str, faults: Faults) -> None:
        """Let models whose id fits the pattern misbehave from the next request on; the last pattern that fits wins."""
        self._service.set_faults(pattern, faults)

    def evict(self, pattern: str = "*") -> int:
        """Drop the cache entries of the models whose id fits the pattern, and tell how many there were."""
        return self._service.evict(pattern)

    def start(self) -> Self:
        """Listen and serve on threads of its own.

        Raises:
            OSError: the port is taken.
        """
        self._server = _Server(self._address, self._service, self._now)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="emulator", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and cut what is still open; an answer that is being held back is lost."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.hang_up()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], service: Service, now: Callable[[], datetime]) -> None:
        self.service = service
        self.now = now
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer would ask the name service for the host's full name, which nobody reads.
        socket_address = self.server_address
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(socket_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End every open connection, so that the threads that wait on one end too."""
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients hang up when they have waited enough; anything else is a fault of ours and is told.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        started_at, ticked_at = self.server.now(), clock.monotonic_seconds()
        body = self._read_body()
        if self.path.startswith(PATHS):
            self._send(steer(self.server.service, self.command, self.path, body or b""))
            return
        reply = self._serve(body, started_at)
        if reply.wait:
            clock.sleep(reply.wait - timedelta(seconds=clock.monotonic_seconds() - ticked_at))
        if reply.cut:
            self.close_connection = True
        else:
            self._send(reply)

    do_GET = do_PUT = do_POST  # noqa: N815 - the base class wants these names

    def log_message(self, *_: object) -> None:
        """Write nothing; the service keeps the log."""

    def _serve(self, body: bytes | None, started_at: datetime) -> Reply:
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            call = parse_call(self.command, self.path, headers, body)
        except Refusal as refusal:
            return refusal_reply(refusal, _NO_REQUEST_ID)
        return self.server.service.serve(call, started_at)

    def _read_body(self) -> bytes | None:
        """The body; None when it is longer than Bedrock takes, in which case the connection ends with the answer."""
        length = int(self.headers.get("Content-Length") or 0)
        if length <= MAX_BODY_BYTES:
            return self.rfile.read(length)
        self.close_connection = True
        while length > 0 and (read := len(self.rfile.read(min(length, 1 << 20)))):
            length -= read
        return None

    def _send(self, reply: Reply) -> None:
        head = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
        head += [f"{name}: {value}" for name, value in reply.headers]
        head += [
            f"Date: {format_datetime(self.server.now(), usegmt=True)}",
            f"Content-Length: {len(reply.body)}",
            "",
            "",
        ]
        self.wfile.write("\r\n".join(head).encode("latin-1") + reply.body)
