"""Serves an application on one socket, in a thread of its own, beside the daemon.

It binds before it starts, so that a taken port is an error in words and not a dead thread.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from keepwarm.errors import ConfigError, Problem

_STOP_SECONDS = 5
_IDLE_SECONDS = 10
# From the first byte of a connection, or the last of an answer, to the end of the next request's headers.
_HEADERS_SECONDS = 15
_HEADERS_BYTES = 32_768
# Connections beyond these are answered 503 and closed.
_MOST_CONNECTIONS = 500


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only programs of this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, key: str) -> Address:
    """Read `host:port`, `[::1]:port` or a bare port, which means loopback.

    Args:
        key: the setting it is from, for the error.

    Raises:
        ConfigError: it is none of these.
    """
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(
            [Problem("environment", 0, key, f"{text!r} is not an address; write for example 127.0.0.1:8378")]
        )
    return Address(host.strip("[]") or "127.0.0.1", int(port))


class _Impatient(H11Protocol):
    """Closes a connection whose headers do not come: uvicorn itself waits for them for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Stop waiting when a request has begun; bytes that are none do not start the wait anew."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._stop_waiting()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(_HEADERS_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


class Server:
    """One listening application; a context manager.

    Attributes:
        address: where it listens, with the real port when 0 was asked for.
    """

    def __init__(self, app: Any, address: Address) -> None:
        """Bind at once.

        Raises:
            OSError: the address cannot be bound.
        """
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address.host, address.port))
            self._socket.listen(128)  # from here on a client waits instead of being refused
        except OSError:
            self._socket.close()
            raise
        self.address = Address(address.host, self._socket.getsockname()[1])
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
            http=_Impatient,
            h11_max_incomplete_event_size=_HEADERS_BYTES,
            limit_concurrency=_MOST_CONNECTIONS,
            ws="none",
            proxy_headers=False,  # a client could choose its address in the eyes of the rate limit
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="web", daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS + 1)
        self._socket.close()
