"""A network between a daemon and its database that can be cut, with or without a word."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from contextlib import suppress

from keepwarm.clock import steady_seconds

_TICK_SECONDS = 0.05
_RESET = struct.pack("ii", 1, 0)  # lingering for no time: the end is told as a reset


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
        self._swallowing = self._refusing = self._breaking = False
        self._drip_seconds = 0.0
        self._far: set[socket.socket] = set()
        self._drops: dict[socket.socket, _Drops] = {}
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

    def break_off(self) -> None:
        """Pass on an answer's headers and half of its body, and reset the connection then."""
        self._breaking = True

    def drip(self, seconds: float) -> None:
        """Let each answer take so long, piece by piece; what has begun to drip goes on when the network is healed."""
        self._drip_seconds = seconds

    def heal(self) -> None:
        """Forward again; what was swallowed stays lost, so the connections it belonged to end."""
        if self._swallowing:
            self.close_all()
        self._swallowing = self._refusing = self._breaking = False
        self._drip_seconds = 0.0

    def close_all(self) -> None:
        """End every connection."""
        with self._lock:
            for one in list(self._pairs):
                self._close(one)

    def _run(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(timeout=_TICK_SECONDS):
                with self._lock, suppress(OSError, KeyError, ValueError):
                    if key.fileobj is self._listening:
                        self._accept()
                    else:
                        self._forward(key.fileobj)
            with self._lock:
                self._let_drip()

    def _accept(self) -> None:
        near, _ = self._listening.accept()
        if self._refusing:
            near.close()
            return
        far = socket.create_connection(("127.0.0.1", self._to_port))
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)
        self._far.add(far)

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
                self._pass_on(one, other, data)
            except OSError:
                self._close(one)

    def _pass_on(self, one: socket.socket, other: socket.socket, data: bytes) -> None:
        if one in self._far and self._breaking:
            body_at = data.find(b"\r\n\r\n") + 4
            other.sendall(data[: (body_at + len(data)) // 2])
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._close(one)
        elif other in self._drops:
            self._drops[other].data += data
        elif one in self._far and self._drip_seconds:
            self._drops[other] = _Drops(data, len(data) / self._drip_seconds)
        else:
            other.sendall(data)

    def _let_drip(self) -> None:
        now = steady_seconds()
        for end, drops in list(self._drops.items()):
            piece = drops.fallen(now)
            try:
                end.sendall(piece)
            except OSError:
                self._close(end)
            if not drops.data:
                self._drops.pop(end, None)

    def _close(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        if other is None:
            return
        self._pairs.pop(other, None)
        for end in (one, other):
            self._far.discard(end)
            self._drops.pop(end, None)
            with suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()


class _Drops:
    """What is still to fall of one answer."""

    def __init__(self, data: bytes, per_second: float) -> None:
        self.data, self._per_second, self._since = data, per_second, steady_seconds()

    def fallen(self, now: float) -> bytes:
        """What falls until now."""
        count = int((now - self._since) * self._per_second)
        self._since += count / self._per_second
        piece, self.data = self.data[:count], self.data[count:]
        return piece
