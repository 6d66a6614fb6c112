"""A network between a daemon and its database that can be cut, with or without a word."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress


class Proxy:
    """Forwards TCP from a port of its own to another one of this machine; a context manager.

    Attributes:
        port: where it listens, on 127.0.0.1.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._swallowing = self._refusing = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.close_all()
        self._listening.close()
        self._selector.close()

    def swallow(self) -> None:
        """From now on take everything and pass on nothing: no end is told of it, as when a cable is pulled."""
        self._swallowing = True

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._refusing = True
        self.close_all()

    def heal(self) -> None:
        """Forward again; what was swallowed stays lost, so the connections it belonged to end."""
        if self._swallowing:
            self.close_all()
        self._swallowing = self._refusing = False

    def close_all(self) -> None:
        """End every connection."""
        with self._lock:
            for one in list(self._pairs):
                self._close(one)

    def _run(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(timeout=0.05):
                with self._lock, suppress(OSError, KeyError, ValueError):
                    if key.fileobj is self._listening:
                        self._accept()
                    else:
                        self._forward(key.fileobj)

    def _accept(self) -> None:
        near, _ = self._listening.accept()
        if self._refusing:
            near.close()
            return
        far = socket.create_connection(("127.0.0.1", self._to_port))
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, one: socket.socket) -> None:
        other = self._pairs[one]
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        if not data and not self._swallowing:
            self._close(one)
        elif not data:
            self._selector.unregister(one)
        elif not self._swallowing:
            try:
                other.sendall(data)
            except OSError:
                self._close(one)

    def _close(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for end in (one, other):
            with suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()
