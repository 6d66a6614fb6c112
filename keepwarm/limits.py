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
    """What is limited together.

    Attributes:
        went: a heap of the latest moments at which somebody really went, as many as go in a minute.
        given: a heap of the latest turns, taken or reserved, likewise.
        last: the latest of them.
        reserved: turns ahead, by caller.
        patient: a heap of those of them that were asked for without a deadline; some may be reserved no more.
        freed: a heap of turns ahead that were reserved and let go.
    """

    went: list[datetime] = field(default_factory=list)
    given: list[datetime] = field(default_factory=list)
    last: datetime | None = None
    reserved: dict[str, datetime] = field(default_factory=dict)
    patient: list[tuple[datetime, str]] = field(default_factory=list)
    freed: list[datetime] = field(default_factory=list)


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
            self._push(self._lanes[key].went, at)

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
            mine = lane.reserved.get(caller)
            if mine and now - mine >= _MINUTE:
                del lane.reserved[caller]
                mine = None
            if mine and mine <= now:
                return self._come_for(lane, caller, now)
            if mine and (deadline is None or mine < deadline):
                return mine
            turn = self._free_turn(lane, now)
            if turn > now and deadline and turn >= deadline:
                return _take_over(lane, caller, now, deadline) or mine or turn
            _let_go(lane, caller, now)
            if turn <= now:
                self._push(lane.went, now)
                self._give(lane, now)
                return now
            if lane.freed and lane.freed[0] == turn:
                heapq.heappop(lane.freed)
            else:
                self._give(lane, turn)
            lane.reserved[caller] = turn
            if deadline is None:
                heapq.heappush(lane.patient, (turn, caller))
            return turn

    def let_go(self, key: Hashable, caller: str, now: datetime) -> None:
        """Give back what is reserved for a caller that will not come, if anything is."""
        with self._lock:
            if key in self._lanes:
                _let_go(self._lanes[key], caller, now)

    def _come_for(self, lane: _Lane, caller: str, now: datetime) -> datetime:
        """Let somebody go whose turn has come; a moment later where those before it came late themselves."""
        room = self._room(lane, now)
        if room > now:
            lane.reserved[caller] = room
            return room
        del lane.reserved[caller]
        self._push(lane.went, now)
        return now

    def _free_turn(self, lane: _Lane, now: datetime) -> datetime:
        while lane.freed and lane.freed[0] <= now:
            heapq.heappop(lane.freed)
        turn = now
        if lane.last is not None and len(lane.given) == self._per_minute and lane.given[0] + _MINUTE > now:
            turn = max(lane.given[0] + _MINUTE, lane.last + self._apart)
        return max(min(turn, lane.freed[0]) if lane.freed else turn, self._room(lane, now))

    def _room(self, lane: _Lane, now: datetime) -> datetime:
        """From when on the last minute has seen fewer than it may."""
        return max(now, lane.went[0] + _MINUTE) if len(lane.went) == self._per_minute else now

    def _give(self, lane: _Lane, turn: datetime) -> None:
        lane.last = max(lane.last or turn, turn)
        self._push(lane.given, turn)

    def _push(self, latest: list[datetime], moment: datetime) -> None:
        heapq.heappush(latest, moment)
        if len(latest) > self._per_minute:
            heapq.heappop(latest)

    def _forget_the_future(self, now: datetime) -> None:
        """After the clock was set back, turns given before would block their keys until it has caught up."""
        if self._latest and now < self._latest - _CLOCK_TOLERANCE:
            self._lanes.clear()
            self._latest = None
        self._latest = max(self._latest or now, now)


def _take_over(lane: _Lane, caller: str, now: datetime, deadline: datetime) -> datetime | None:
    """The first turn before the deadline that is reserved for somebody without one; None when there is none.

    Who loses it gets what the other had, if anything.
    """
    while lane.patient:
        turn, patient = lane.patient[0]
        held = lane.reserved.get(patient) == turn
        if held and now < turn:
            break
        heapq.heappop(lane.patient)
        if held and now - turn >= _MINUTE:
            del lane.reserved[patient]
    if not lane.patient or lane.patient[0][0] >= deadline:
        return None
    turn, patient = heapq.heappop(lane.patient)
    del lane.reserved[patient]
    if caller in lane.reserved:
        lane.reserved[patient] = lane.reserved[caller]
        heapq.heappush(lane.patient, (lane.reserved[patient], patient))
    lane.reserved[caller] = turn
    return turn


def _let_go(lane: _Lane, caller: str, now: datetime) -> None:
    turn = lane.reserved.pop(caller, None)
    if turn and turn > now:
        heapq.heappush(lane.freed, turn)
