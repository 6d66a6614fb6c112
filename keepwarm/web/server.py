"""Serves an application on one socket, in a thread of its own, beside the daemon.

It binds before it starts, so that a taken port is an error in words and not a dead thread.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from dataclasses import dataclass
from typing import Any

import uvicorn

from keepwarm.errors import ConfigError, Problem

_STOP_SECONDS = 5
_IDLE_SECONDS = 10


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
