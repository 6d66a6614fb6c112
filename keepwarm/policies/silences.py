"""Silences of prefixes: how long each was in stages, and what may be said of it while it lasts.

It estimates and decides nothing (see `hazards`). Moments are seconds of any one clock, ttls are 0 for 5m and 1 for 1h.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from keepwarm.policies.hazards import BIN_OF_STAGE, BINS, STAGES, Stop, Tally, kind_of, stretches

if TYPE_CHECKING:
    from keepwarm.policies.records import Record

# A silence is counted in so many steps: after each of these stages, those that last and those that have ended since
# together. Counting ended ones at once and silent ones later would make young statistics too hopeful.
CHECKS = (1, 2, 3, 4, 6, 8, 12, 20, 28, STAGES)
COUNTED = len(CHECKS) + 1

_NEVER_SUPERSEDED = 1 << 30


class Terms(NamedTuple):
    """What touching one prefix costs and how long that lasts; pairs are by ttl, (5m, 1h).

    Attributes:
        read: price of a read as a share of the input price.
        writes: prices of a write, likewise.
        cold_start: what it is worth that a request does not find the entry cold, likewise.
        lifetimes: of an entry, in seconds.
        periods: between two pings of a living entry, in seconds; shorter than the lifetime by the margin.
    """

    read: float
    writes: tuple[float, float]
    cold_start: float
    lifetimes: tuple[float, float]
    periods: tuple[float, float]


class Beginnings:
    """When each prefix was asked for for the very first time, in the order in which that was told."""

    def __init__(self, moments: Sequence[float] = ()) -> None:
        self._moments = list(moments)

    def __len__(self) -> int:
        return len(self._moments)

    def add(self, moment: float) -> None:
        """One more prefix has begun."""
        self._moments.append(moment)

    def after(self, count: int) -> float | None:
        """When the first prefix began after so many; None while none has."""
        return self._moments[count] if count < len(self._moments) else None


class Silence:
    """The time since the last request of a prefix, and once it has ended, the gap that it was.

    Attributes:
        number: of the request that it began with, among all of all prefixes.
        began: when the last request came.
        others: how many prefixes had begun until then.
        reach: seconds from `began` after which no ping is sent, since the busy hours end.
        context: what it counts for: by return, by activity and by part of the week.
        circles: the tallies of these, widest first.
        gap: seconds until the next request; None while it lasts.
        steps: how many checks it has passed, by ttl; `COUNTED` when there is nothing more to count.
        stops: where pinging stops, by ttl and then (while quiet, once superseded); None until the first ping is due.
    """

    __slots__ = ("began", "circles", "context", "gap", "number", "others", "reach", "record", "steps", "stops")

    def __init__(
        self, record: Record, number: int, began: float, others: int, reach: float, context: tuple[int, int, int]
    ) -> None:
        self.record = record
        self.number = number
        self.began = began
        self.others = others
        self.reach = reach
        self.context = context
        self.circles: Sequence[Tally] = ()
        self.gap: float | None = None
        self.steps = [0, 0]
        self.stops: list[tuple[Stop, Stop] | None] = [None, None]

    def to_data(self) -> list[Any]:
        """Plain data."""
        stops = [pair and [list(stop) for stop in pair] for pair in self.stops]
        return [self.number, self.began, self.others, self.reach, self.context, self.gap, self.steps, stops]

    @classmethod
    def from_data(cls, record: Record, data: Sequence[Any]) -> Silence:
        """As `to_data` gave it, but for its circles.

        Args:
            record: whose it is.
            data: that was kept.
        """
        number, began, others, reach, context, gap, steps, stops = data
        by_return, by_activity, slot = context
        silence = cls(record, number, began, others, reach, (by_return, by_activity, slot))
        silence.gap, silence.steps = gap, list(steps)
        silence.stops = [pair and (Stop(*pair[0]), Stop(*pair[1])) for pair in stops]
        return silence

    def due(self, stage: int, ttl: int) -> float:
        """When the ping of a stage is due, and the stage before it is over."""
        return self.began + (stage + 1) * self.record.terms.periods[ttl]

    def stages(self, gap: float, ttl: int) -> int:
        """How many stages begin in a gap: so many pings would be sent without a stop."""
        return int(gap / self.record.terms.periods[ttl])

    def superseded_from(self, beginnings: Beginnings, ttl: int) -> int:
        """The first stage at whose ping a new prefix had begun since the last request."""
        superseded_at = beginnings.after(self.others)
        if superseded_at is None:
            return _NEVER_SUPERSEDED
        return max(0, ceil((superseded_at - self.began) / self.record.terms.periods[ttl]) - 1)

    def count(self, beginnings: Beginnings, ttl: int, first: int, end: int) -> None:
        """Count the stages from `first` up to `end`, as far as they began, in all its tallies.

        A request that comes after the ping of a stage, but before the entry would have died without it, does not end
        the stage: it counts as one more that the ping was not of use in.
        """
        last, gap = -1, self.gap
        if gap is not None:
            begun = self.stages(gap, ttl)
            end = min(end, begun)
            last = begun - 1 if gap > self.outlives(begun - 1, ttl) else -1
        switch = self.superseded_from(beginnings, ttl)
        if switch <= first:
            self._add(kind_of(ttl, True), first, end, last)
        elif switch >= end:
            self._add(kind_of(ttl, False), first, end, last)
        else:
            self._add(kind_of(ttl, False), first, switch, last)
            self._add(kind_of(ttl, True), switch, end, last)

    def outlives(self, pings: int, ttl: int) -> float:
        """The longest gap that an entry lives through with so many pings, in seconds."""
        terms = self.record.terms
        return terms.lifetimes[ttl] + pings * terms.periods[ttl]

    def _add(self, kind: int, first: int, end: int, last: int) -> None:
        entered = stretches(first, end)
        ended = BINS + BIN_OF_STAGE[last] if first <= last < end else None
        for tally in self.circles:
            counts = tally.kinds[kind] or tally.open(kind)
            for i, stages in entered:
                counts[i] += stages
            if ended is not None:
                counts[ended] += 1


def pings_sent(stops: tuple[Stop, Stop], superseded_from: int) -> int:
    """How many pings are sent in a silence that does not end before."""
    quiet, superseded = stops[0].pings, stops[1].pings
    return quiet if quiet <= superseded_from else max(superseded_from, superseded)
