"""A rate limit that hands out moments instead of queueing: each caller is told at once when its turn is.

It neither waits nor reads a clock, and knows nothing of pings.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from datetime import datetime, timedelta


class RateLimit:
    """At most `per_minute` turns a minute for each key, as a burst or spread; safe to use from many threads.

    This is the generic cell rate algorithm (ITU-T I.371) with reservations: a caller that is told to come later has
    its turn then, so that a crowd spreads over the coming slots instead of meeting again at the next one.
    """

    def __init__(self, per_minute: int) -> None:
        self._interval = timedelta(minutes=1) / per_minute
        self._burst = timedelta(minutes=1) - self._interval
        self._next: dict[Hashable, datetime] = {}
        self._turns: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def turn(self, key: Hashable, caller: str, now: datetime, deadline: datetime | None) -> datetime:
        """When this caller may go; at or before `now` means at once.

        Args:
            key: what is limited together.
            caller: who asks; its reservation is kept under this name until it comes for it.
            deadline: a turn at or after this moment is of no use and is not reserved; None takes any.
        """
        with self._lock:
            kept = self._turns.get(caller)
            if kept and kept <= now:
                del self._turns[caller]
                return kept
            if kept and (deadline is None or kept < deadline):
                return kept
            following = max(self._next.get(key, now), now)
            turn = following - self._burst
            if turn > now and deadline and turn >= deadline:
                return turn
            self._next[key] = following + self._interval
            if turn > now:
                self._turns[caller] = turn
            return turn
