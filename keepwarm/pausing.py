"""The pauses of a ledger as one process knows them: what is said here is written there, and what others said is learnt.

It sends and decides nothing: the keeper asks it about each prefix.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from keepwarm import pauses
from keepwarm.model import Event, PauseOrder, Prefix, Scope


class Book(Protocol):
    """What keeps the orders: `ledger.Ledger`."""

    def add_pause_order(self, order: PauseOrder) -> int:
        """Write one; returns its number."""

    def pause_orders(self) -> list[PauseOrder]:
        """All of them, in the order in which they were written."""

    def pause_orders_seen(self) -> tuple[int, int]:
        """How many there are, and the highest number."""


class Pausing:
    """What is paused; safe to use from many threads.

    Args:
        observers: called with `prefix_paused` and `prefix_resumed`, once for each order after the first look.
    """

    def __init__(self, book: Book, observers: Sequence[Callable[[Event], None]] = ()) -> None:
        self._book = book
        self._observers = observers
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._known: set[int] = set()
        self._orders: list[PauseOrder] = []
        self._standing = pauses.NONE

    @property
    def orders(self) -> list[PauseOrder]:
        """All that was ever said, oldest first."""
        return list(self._orders)

    def holding(self, prefix: Prefix, now: datetime) -> PauseOrder | None:
        """The pause that keeps a prefix; from memory."""
        return self._standing.holding(prefix, now)

    def stands(self, scope: Scope, target: str) -> bool:
        """Whether somebody paused exactly this and nobody has ended it; it may have run out."""
        return (scope, target) in self._standing.orders

    def look(self) -> bool:
        """Learn what was said since the last look; tells whether anything was.

        Raises:
            LedgerError: it cannot be read; what was known before holds.
        """
        with self._lock:
            seen = self._book.pause_orders_seen()
            if seen == self._seen:
                return False
            orders = self._book.pause_orders()
            fresh = [order for order in orders if order.number not in self._known] if self._seen is not None else []
            self._seen = seen
            self._known = {order.number for order in orders}
            self._orders = orders
            self._standing = pauses.standing(orders)
        for event in map(_event, fresh):
            for observe in self._observers:
                observe(event)
        return True

    def say(self, order: PauseOrder) -> PauseOrder:
        """Write an order and heed it; returns it with its number.

        Raises:
            LedgerError: it cannot be written, so nothing is changed.
        """
        number = self._book.add_pause_order(order)
        self.look()
        return next((known for known in self._orders if known.number == number), order)


def _event(order: PauseOrder) -> Event:
    fields: dict[str, object] = {"scope": order.scope.value}
    if order.target:
        fields[order.scope.value] = order.target
    fields |= {"until": order.until} if order.until else {}
    fields |= {"why": order.why, "by": order.by}
    return Event("prefix_resumed" if order.resumes else "prefix_paused", order.at, "info", fields)
