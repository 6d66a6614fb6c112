"""Silences of prefixes: how long each was in stages, and what may be said of it while it lasts.

It estimates and decides nothing (see `hazards`). Moments are seconds of any one clock, ttls are 0 for 5m and 1 for 1h.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from keepwarm.policies.hazards import STAGES, Stop, Tally, index_of, stretches

if TYPE_CHECKING:
    from keepwarm.policies.learner import Record

# A silence is counted in so many steps: after each of these stages, those that last and those that have ended since
# together. Counting ended ones at once and silent ones later would make young statistics too hopeful.
CHECKS = (1, 2, 3, 4, 6, 8, 12, 20, 28, STAGES)

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


class Silence:
    """The time since the last request of a prefix, and once it has ended, the gap that it was.

    Attributes:
        began: when the last request came.
        others: how many prefixes had begun until then.
        reach: seconds from `began` after which no ping is sent, since the busy hours end.
        circles: the tallies that it counts for, widest first.
        gap: seconds until the next request; None while it lasts.
        steps: how many checks it has passed, by ttl.
        stops: where pinging stops, by ttl and then (while quiet, once superseded); None until the first ping is due.
    """

    __slots__ = ("began", "circles", "gap", "others", "reach", "record", "steps", "stops")

    def __init__(self, record: Record, began: float, others: int, reach: float, circles: Sequence[Tally]) -> None:
        self.record = record
        self.began = began
        self.others = others
        self.reach = reach
        self.circles = circles
        self.gap: float | None = None
        self.steps = [0, 0]
        self.stops: list[tuple[Stop, Stop] | None] = [None, None]

    def due(self, stage: int, ttl: int) -> float:
        """When the ping of a stage is due, and the stage before it is over."""
        return self.began + (stage + 1) * self.record.terms.periods[ttl]

    def stages(self, gap: float, ttl: int) -> int:
        """How many stages begin in a gap: so many pings would be sent without a stop."""
        return int(gap / self.record.terms.periods[ttl])

    def superseded_from(self, beginnings: Sequence[float], ttl: int) -> int:
        """The first stage at whose ping a new prefix had begun since the last request."""
        if self.others >= len(beginnings):
            return _NEVER_SUPERSEDED
        return max(0, ceil((beginnings[self.others] - self.began) / self.record.terms.periods[ttl]) - 1)

    def count(self, beginnings: Sequence[float], ttl: int, first: int, end: int) -> None:
        """Count the stages from `first` up to `end`, as far as they began, in all its tallies.

        A request that comes after the ping of a stage, but before the entry would have died without it, does not end
        the stage: it counts as one more that the ping was not of use in.
        """
        switch = self.superseded_from(beginnings, ttl)
        last = None
        if self.gap is not None:
            begun = self.stages(self.gap, ttl)
            end = min(end, begun)
            if first < begun == end and self.gap > self.outlives(begun - 1, ttl):
                last = index_of(ttl, begun - 1, begun - 1 >= switch)
        entered = stretches(ttl, first, end, switch)
        for tally in self.circles:
            tally.add(entered, last)

    def outlives(self, pings: int, ttl: int) -> float:
        """The longest gap that an entry lives through with so many pings, in seconds."""
        terms = self.record.terms
        return terms.lifetimes[ttl] + pings * terms.periods[ttl]


def pings_sent(stops: tuple[Stop, Stop], superseded_from: int) -> int:
    """How many pings are sent in a silence that does not end before."""
    quiet, superseded = stops[0].pings, stops[1].pings
    return quiet if quiet <= superseded_from else max(superseded_from, superseded)
