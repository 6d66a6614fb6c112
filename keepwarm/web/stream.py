"""Tells open pages that something changed, as server-sent events: which prefixes, and nothing of what.

It carries no figures: a page that is told fetches what it shows. It keeps nothing for pages that are away.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

from keepwarm.model import Event

MAX_CLIENTS = 32
HEARTBEAT = timedelta(seconds=5)

# Events of one burst are told together, this long after its first.
_GATHER = timedelta(milliseconds=100)
# A page that is told of more prefixes than this looks at all of them.
_MOST_NAMES = 40


class TooManyClients(Exception):
    """As many pages as may be are open already."""


class _Client:
    """One open page: what it must still be told, and how its event loop is woken.

    Attributes:
        names: of prefixes that changed; the empty one stands for all of them.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.awake = asyncio.Event()
        self.names: set[str] = set()

    def wake(self) -> None:
        if not self.loop.is_closed():  # a server that ended without a word to its clients
            self.loop.call_soon_threadsafe(self.awake.set)


class Stream:
    """All open pages; every method but `follow` may be called from any thread.

    Args:
        most: how many pages may be open at once.
        heartbeat: the longest silence; a page that hears nothing for much longer says that its data is old.
    """

    def __init__(self, most: int = MAX_CLIENTS, heartbeat: timedelta = HEARTBEAT) -> None:
        self._most = most
        self._heartbeat = heartbeat
        self._clients: set[_Client] = set()
        self._lock = threading.Lock()
        self._closed = False

    def observe(self, event: Event) -> None:
        """Note that something happened; never waits and never fails."""
        name = event.fields.get("prefix")
        self.change([name if isinstance(name, str) else ""])

    def change(self, names: Iterable[str]) -> None:
        """Note that these prefixes changed; never waits and never fails."""
        found = set(names)
        with self._lock:
            for client in self._clients if found else ():
                if not client.names:
                    client.wake()
                client.names |= found

    def close(self) -> None:
        """End every open stream, so that a server that stops need not wait for them; pages come again by themselves."""
        with self._lock:
            self._closed = True
            for client in self._clients:
                client.wake()

    def follow(self) -> AsyncIterator[bytes]:
        """The events of one page, from its first on; call it in the event loop.

        Raises:
            TooManyClients: no more may be open.
        """
        with self._lock:
            if self._closed or len(self._clients) >= self._most:
                raise TooManyClients
        return self._events()

    async def _events(self) -> AsyncIterator[bytes]:
        client = _Client()
        with self._lock:  # only here: a page that went away before its first event leaves nothing behind
            self._clients.add(client)
        try:
            yield _event("opened", {"heartbeat_seconds": self._heartbeat.total_seconds()})
            while not self._closed:
                try:
                    await asyncio.wait_for(client.awake.wait(), self._heartbeat.total_seconds())
                except TimeoutError:
                    yield _event("alive", {})
                    continue
                if not self._closed:
                    await asyncio.sleep(_GATHER.total_seconds())
                if names := self._take(client):
                    whole = "" in names or len(names) > _MOST_NAMES
                    yield _event("changed", {"prefixes": None if whole else sorted(names)})
        finally:
            with self._lock:
                self._clients.discard(client)

    def _take(self, client: _Client) -> set[str]:
        with self._lock:
            client.awake.clear()
            names, client.names = client.names, set()
            return names


def _event(name: str, data: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
