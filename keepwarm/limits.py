"""A rate limit that hands out moments instead of queueing: each caller is told at once when its turn is.

It neither waits nor reads a clock, and knows nothing of pings.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Hashable
from datetime import datetime, timedelta

_MINUTE = timedelta(minutes=1)

# Threads read the clock before they take the lock; what is further behind than this is a clock that was set back.
_CLOCK_TOLERANCE = timedelta(seconds=10)


class RateLimit:
    """At most `per_minute` turns in any minute for each key, as a burst or spread; safe to use from many threads.

    A turn comes a minute after the one that stands `per_minute` places before it. Turns ahead are reserved, so that a
    crowd spreads over the coming minutes instead of meeting again in the next one.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._given: defaultdict[Hashable, deque[datetime]] = defaultdict(lambda: deque(maxlen=per_minute))
        self._reserved: dict[tuple[Hashable, str], datetime] = {}
        self._latest: datetime | None = None
        self._lock = threading.Lock()

    def remember(self, key: Hashable, at: datetime) -> None:
        """Count a turn that was taken before this object was made; told in the order of time, before any `turn`."""
        with self._lock:
            self._given[key].append(at)

    def turn(self, key: Hashable, caller: str, now: datetime, deadline: datetime | None) -> datetime:
        """When this caller may go; at or before `now` means at once.

        Args:
            key: what is limited together.
            caller: who asks; its reservation is kept under this name until it comes for it, at most a minute late.
            deadline: a turn at or after this moment is of no use and is not reserved; None takes any.
        """
        with self._lock:
            self._forget_the_future(now)
            reserved = self._reserved.get((key, caller))
            if reserved and reserved > now:
                return reserved
            if reserved:
                del self._reserved[key, caller]
                if now - reserved < _MINUTE:
                    return reserved
            given = self._given[key]
            turn = max(now, given[0] + _MINUTE) if len(given) == self._per_minute else now
            if turn > now and deadline and turn >= deadline:
                return turn
            given.append(turn)
            if turn > now:
                self._reserved[key, caller] = turn
            return turn

    def _forget_the_future(self, now: datetime) -> None:
        """After the clock was set back, turns given before would block their keys until it has caught up."""
        if self._latest and now < self._latest - _CLOCK_TOLERANCE:
            self._given.clear()
            self._reserved.clear()
            self._latest = None
        self._latest = max(self._latest or now, now)
