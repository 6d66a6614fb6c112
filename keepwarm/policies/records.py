"""What the adaptive policy knows of one prefix, and its form as plain data.

It learns and decides nothing itself (see `learner`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from keepwarm.policies.choosing import COLD, Context, Duel, League
from keepwarm.policies.hazards import Tally
from keepwarm.policies.silences import COUNTED, Silence, Terms
from keepwarm.policies.solvency import Account

# Recent activity is a sum of requests that fades within four hours; these are its levels.
_ACTIVITY_SECONDS = 4 * 3600.0
_ACTIVITY_LEVELS = (1.5, 3.0, 8.0, 30.0)
_GAP_LEVELS = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 86400.0)
_COUNT_LEVELS = (1, 2, 4, 10, 40)

RETURNS = 5
ACTIVITIES = len(_ACTIVITY_LEVELS) + 1

_EVERYTHING, _FIRST_ACTIVITY, _FIRST_SLOT = 0, 1, 1 + ACTIVITIES


class Record:
    """What is known of one prefix.

    Attributes:
        activity: its requests, each fading within four hours.
        beginning: how many prefixes had begun before it, and when it was asked for for the very first time.
        armed: by ttl, whether its present silence, or an earlier one, waits for its first ping to be due.
        counting: silences that have ended, but are not counted to their end.
        duel: of its last real write, while it lasts.
        ended: gaps that outlived a 5m entry.
        ended_soon: those of them that ended within an hour.
        fixed: the ttl that the application always asks for; None when it asks keepwarm.
        gap_level: of its last gap.
        league: its imagined entries, by chooser.
        silence: the present one; there is one from its first request on.
        tallies: its own silences: all, by activity, by part of the week.
    """

    silence: Silence

    __slots__ = (
        "account", "activity", "armed", "beginning", "counting", "duel", "ended", "ended_soon", "fixed", "gap_level",
        "league", "name", "requests", "silence", "tallies", "terms",
    )  # fmt: skip

    def __init__(self, name: str, terms: Terms, beginning: tuple[int, float]) -> None:
        self.name = name
        self.beginning = beginning
        self.terms = terms
        self.armed = [False, False]
        self.counting: list[Silence] = []
        self.requests = 0
        self.fixed: int | None = None
        self.activity = 0.0
        self.ended = 0
        self.ended_soon = 0
        self.gap_level = len(_GAP_LEVELS) + 1
        self.tallies: dict[int, Tally] = {}
        self.duel: Duel | None = None
        self.league = [COLD] * League.CHOOSERS
        self.account = Account()

    def count(self, gap: float | None) -> None:
        """One more request, so many seconds after the one before."""
        self.requests += 1
        if gap is None:
            self.activity = 1.0
            return
        self.activity = self.activity * exp(-gap / _ACTIVITY_SECONDS) + 1.0
        self.gap_level = _level(gap, _GAP_LEVELS)
        if gap > self.terms.lifetimes[0]:
            self.ended += 1
            self.ended_soon += gap <= 3600.0

    def end(self, gap: float) -> None:
        """The present silence has ended. It is over for a ttl of which no ping was due yet."""
        silence = self.silence
        silence.gap = gap
        silence.steps = [step or COUNTED for step in silence.steps]
        if min(silence.steps) < COUNTED:
            self.counting.append(silence)

    def counted(self, silence: Silence, ttl: int) -> None:
        """There is nothing more to count of a silence for a ttl."""
        silence.steps[ttl] = COUNTED
        if silence.gap is not None and min(silence.steps) == COUNTED:
            self.counting.remove(silence)

    def silence_context(self, slot: int) -> tuple[int, int, int]:
        """What the coming silence counts for: by return, by activity, by part of the week."""
        share = 0
        if self.ended:
            share = 1 + min(RETURNS - 2, int(4 * (self.ended_soon + 0.5) / (self.ended + 1)))
        return share, _level(self.activity, _ACTIVITY_LEVELS), slot

    def write_context(self, gap: float | None) -> Context:
        """What a write is counted for that comes so many seconds after the last request."""
        level = self.gap_level if gap is None else _level(gap, _GAP_LEVELS)
        return level, _level(self.requests + 1, _COUNT_LEVELS)

    def present_context(self) -> Context:
        """What the last request is counted for, whether it wrote or not."""
        return self.gap_level, _level(self.requests, _COUNT_LEVELS)

    def own(self, context: tuple[int, int, int]) -> list[Tally]:
        """Its own tallies of a silence, widest first."""
        _, activity, slot = context
        keys = (_EVERYTHING, _FIRST_ACTIVITY + activity, _FIRST_SLOT + slot)
        return [self.tallies.get(key) or self.tallies.setdefault(key, Tally()) for key in keys]

    def to_data(self) -> dict[str, Any]:
        """Plain data."""
        tallies = ((key, tally.to_data()) for key, tally in self.tallies.items() if key != _EVERYTHING)
        return {
            "beginning": self.beginning,
            "terms": self.terms,
            "counts": [self.requests, self.ended, self.ended_soon, self.gap_level, self.fixed, self.activity],
            "silences": [each.to_data() for each in (self.silence, *self.counting)],
            "tallies": {str(key): data for key, data in tallies if data},
            "duel": self.duel and self.duel.to_data(),
            "league": self.league,
            "account": self.account.to_data(),
        }

    @classmethod
    def from_data(cls, name: str, data: Mapping[str, Any]) -> Record:
        """As `to_data` gave it, but for the circles of its silences."""
        read, (write_5m, write_1h), cold_start, (lifetime_5m, lifetime_1h), (period_5m, period_1h) = data["terms"]
        terms = Terms(read, (write_5m, write_1h), cold_start, (lifetime_5m, lifetime_1h), (period_5m, period_1h))
        before, began = data["beginning"]
        record = cls(name, terms, (before, began))
        counts = data["counts"]
        record.requests, record.ended, record.ended_soon, record.gap_level, record.fixed, record.activity = counts
        record.silence, *record.counting = (Silence.from_data(record, each) for each in data["silences"])
        record.tallies = {int(key): Tally.from_data(tally) for key, tally in data["tallies"].items()}
        active = [tally for key, tally in record.tallies.items() if key < _FIRST_SLOT]
        record.tallies[_EVERYTHING] = Tally.sum_of(active)  # which is why it need not be kept
        record.duel = Duel.from_data(data["duel"], terms) if data["duel"] else None
        record.league = list(data["league"])
        record.account = Account(*data["account"])
        return record


def _level(value: float, levels: Sequence[float]) -> int:
    """How many levels a value is above."""
    return bisect_left(levels, value)
