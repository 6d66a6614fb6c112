"""A rate limit that hands out moments instead of queueing: each caller is told at once when its turn is.

It neither waits nor reads a clock, and knows nothing of pings.
"""

from __future__ import annotations

import heapq
import threading
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_MINUTE = timedelta(minutes=1)

# Threads read the clock before they take the lock; what is further behind than this is a clock that was set back.
_CLOCK_TOLERANCE = timedelta(seconds=10)


@dataclass(slots=True)
class _Lane:
    """What is limited together."""

    given: list[datetime] = field(default_factory=list)  # a heap of the latest turns, as many as go in a minute
    last: datetime | None = None
    reserved: dict[str, datetime] = field(default_factory=dict)
    # Those of them that were asked for without a deadline, in the order of their turns.
    patient: dict[str, datetime] = field(default_factory=dict)


class RateLimit:
    """At most `per_minute` turns in any minute for each key, as a burst or spread; safe to use from many threads.

    Where a minute has seen as many as it may, turns ahead are reserved, evenly spread, so that a crowd does not meet
    again in the next minute. Who has a deadline that no free turn meets takes over the next one that is reserved
    without: else those whose entry is dead would book all turns ahead, and every living one would die behind them.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._apart = _MINUTE / per_minute
        self._lanes: defaultdict[Hashable, _Lane] = defaultdict(_Lane)
        self._latest: datetime | None = None
        self._lock = threading.Lock()

    def remember(self, key: Hashable, at: datetime) -> None:
        """Count a turn that was taken before this object was made."""
        with self._lock:
            self._give(self._lanes[key], at)

    def turn(self, key: Hashable, caller: str, now: datetime, deadline: datetime | None) -> datetime:
        """When this caller may go; at or before `now` means at once.

        Args:
            key: what is limited together.
            caller: who asks; its reservation is kept under this name until it comes for it, at most a minute late, or
                until another takes it over.
            deadline: a turn at or after this moment is of no use and is not reserved; None takes any.
        """
        with self._lock:
            self._forget_the_future(now)
            lane = self._lanes[key]
            reserved = lane.reserved.get(caller)
            if reserved and reserved > now:
                return reserved
            if reserved:
                _let_go(lane, caller)
                if now - reserved < _MINUTE:
                    return reserved
            turn = self._free_turn(lane, now)
            if turn > now and deadline and turn >= deadline:
                return _take_over(lane, caller, now, deadline) or turn
            self._give(lane, turn)
            if turn > now:
                lane.reserved[caller] = turn
                if deadline is None:
                    lane.patient[caller] = turn
            return turn

    def _free_turn(self, lane: _Lane, now: datetime) -> datetime:
        if lane.last is None or len(lane.given) < self._per_minute:
            return now
        free = lane.given[0] + _MINUTE
        return now if free <= now else max(free, lane.last + self._apart)

    def _give(self, lane: _Lane, turn: datetime) -> None:
        lane.last = max(lane.last or turn, turn)
        heapq.heappush(lane.given, turn)
        if len(lane.given) > self._per_minute:
            heapq.heappop(lane.given)

    def _forget_the_future(self, now: datetime) -> None:
        """After the clock was set back, turns given before would block their keys until it has caught up."""
        if self._latest and now < self._latest - _CLOCK_TOLERANCE:
            self._lanes.clear()
            self._latest = None
        self._latest = max(self._latest or now, now)


def _take_over(lane: _Lane, caller: str, now: datetime, deadline: datetime) -> datetime | None:
    """The first turn before the deadline that is reserved for somebody without one; None when there is none."""
    gone, found = [], None
    for patient, turn in lane.patient.items():
        if turn > now:
            found = (patient, turn) if turn < deadline else None
            break
        if now - turn > _MINUTE:
            gone.append(patient)
    for patient in gone:
        _let_go(lane, patient)
    if found is None:
        return None
    _let_go(lane, found[0])
    lane.reserved[caller] = found[1]
    return found[1]


def _let_go(lane: _Lane, caller: str) -> None:
    del lane.reserved[caller]
    lane.patient.pop(caller, None)
