"""The adaptive policy: learns from organic requests when one more ping pays, and which ttl a write should ask for.

It reads no clock and sends nothing; told of requests and pings in the order of time, it answers with a `Course`. Its
work for a request does not grow with what it has seen. The rules, and what else was tried, are in
`docs/decisions/0012-adaptive-policy.md`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from math import exp
from operator import itemgetter
from typing import Any

from keepwarm.model import Course, Ttl
from keepwarm.policies.choosing import COLD, FIVE_MINUTES, ONE_HOUR, Duel, Duels, League
from keepwarm.policies.hazards import BIN_OF_STAGE, STAGES, Stop, Tally, chances, stop
from keepwarm.policies.silences import CHECKS, Silence, Terms, pings_sent
from keepwarm.policies.solvency import Account, affordable

# The name under which is kept what belongs to no prefix.
ALL = ""

_TTLS = (Ttl.FIVE_MINUTES, Ttl.ONE_HOUR)

# Recent activity is a sum of requests that fades within four hours; these are its levels.
_ACTIVITY_SECONDS = 4 * 3600.0
_ACTIVITY_LEVELS = (1.5, 3.0, 8.0, 30.0)
_GAP_LEVELS = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 86400.0)
_COUNT_LEVELS = (1, 2, 4, 10, 40)

_RETURN_LEVELS = 5
_FIRST_SLOT = 2 + len(_ACTIVITY_LEVELS)

# What 1h is expected to be better by at the next write, before any duel has ended.
_START = 0.02

# Before it is known how often a ping finds its entry gone; real accounts tell little of it.
_PINGS_ASSUMED, _REWRITES_ASSUMED = 50.0, 0.0


class Record:
    """What is known of one prefix.

    Attributes:
        circles: what its present silence counts for, by return, by activity and by part of the week.
        activity: its requests, each fading within four hours.
        fixed: whether the application always asks for the same ttl.
        ended: gaps that outlived a 5m entry.
        ended_soon: those of them that ended within an hour.
        gap_level: of its last gap.
        league: its imagined entries, by chooser.
        tallies: its own silences: all, by activity, by part of the week.
    """

    __slots__ = (
        "account", "activity", "circles", "duel", "ended", "ended_soon", "fixed", "gap_level", "league", "name",
        "requests", "silence", "tallies", "terms",
    )  # fmt: skip

    def __init__(self, name: str, terms: Terms) -> None:
        self.name = name
        self.terms = terms
        self.silence: Silence | None = None
        self.requests = 0
        self.fixed = False
        self.activity = 0.0
        self.ended = 0
        self.ended_soon = 0
        self.gap_level = len(_GAP_LEVELS) + 1
        self.circles = (0, 0, 0)
        self.tallies: dict[int, Tally] = {}
        self.duel: Duel | None = None
        self.league = [COLD] * League.CHOOSERS
        self.account = Account()


class Learner:
    """Everything learnt, of all prefixes; not safe to use from several threads at once.

    Args:
        learnt: what `learnt` gave, by name of prefix and under `ALL` for what belongs to none.
    """

    def __init__(self, learnt: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._records: dict[str, Record] = {}
        self._widest = Tally()
        self._by_return = [Tally() for _ in range(_RETURN_LEVELS)]
        self._by_activity = [Tally() for _ in range(len(_ACTIVITY_LEVELS) + 1)]
        self._beginnings: list[float] = []
        # By ttl and check, silences in the order in which they are due.
        self._checks: list[list[deque[tuple[float, Silence]]]] = [
            [deque() for _ in range(len(CHECKS) + 1)] for _ in _TTLS
        ]
        self._duels = Duels()
        self._league = League()
        self._account = Account()
        self._pings = _PINGS_ASSUMED
        self._rewrites = _REWRITES_ASSUMED
        if learnt:
            self._restore(learnt)

    # -- being told -----------------------------------------------------------------------------------------------

    def arrive(
        self, name: str, at: float, terms: Terms, slot: int, *, written: int | None, fixed: int | None, reach: float
    ) -> None:
        """An organic request of a prefix came.

        Args:
            at: seconds; a request told late, from before the last one, teaches nothing.
            terms: of the prefix, as of now.
            slot: which of eight parts of the week it is on the prefix's wall clock: quarters of workdays and weekends.
            written: the ttl with which it wrote the entry; None when it found it alive.
            fixed: the ttl that the application always asks for; None when it asks keepwarm.
            reach: seconds until the busy hours end.
        """
        self.advance(at)
        record = self._records.get(name)
        if record is None:
            record = self._records[name] = Record(name, terms)
            self._beginnings.append(at)
        before = record.silence
        if before and at < before.began:
            return
        record.terms = terms
        record.fixed = fixed is not None
        gap = at - before.began if before else None
        self._account_for(record, gap, written, fixed or 0)
        circles = self._choice_circles(record, gap)
        passed = self._end(before, gap, at, circles) if before and gap is not None else None
        self._learn_features(record, gap)
        if fixed is None:
            self._league.step(record.league, passed, terms, self._by_duels(circles), at)
            if written is not None and record.duel is None:
                record.duel = Duel(at, circles, terms)
        record.circles = self._find_circles(record, slot)
        record.silence = Silence(record, at, len(self._beginnings), reach, self._tallies(record))
        for ttl, checks in enumerate(self._checks):
            checks[0].append((at + terms.periods[ttl], record.silence))

    def pinged(self, name: str, *, hit: bool, ttl: int) -> None:
        """One of our pings found the entry alive, or wrote it anew."""
        record = self._records.get(name)
        if record is None:
            return
        cost = record.terms.read if hit else record.terms.writes[ttl]
        record.account.pay(cost)
        self._account.pay(cost)
        self._pings += 1
        self._rewrites += not hit

    def advance(self, now: float) -> None:
        """Let time pass: silences that last count too."""
        self._duels.advance(now)
        for ttl, checks in enumerate(self._checks):
            for number, queue in enumerate(checks):
                while queue and queue[0][0] <= now:
                    self._check(queue.popleft()[1], ttl, number, now)

    # -- being asked ----------------------------------------------------------------------------------------------

    def choose(self, name: str, at: float, terms: Terms) -> int:
        """The ttl that a write of this prefix should ask for now."""
        record = self._records.get(name) or Record(name, terms)
        gap = at - record.silence.began if record.silence else None
        ttl = self._league.choose(self._by_duels(self._choice_circles(record, gap)))
        if ttl == ONE_HOUR and not affordable(record.account, self._account, terms.writes[1], terms.writes[0]):
            return FIVE_MINUTES
        return ttl

    def course(self, name: str, at: float, ttl: int, terms: Terms) -> Course:
        """What is wanted of a prefix whose entry has this ttl.

        A prefix that nobody has asked for yet is not pinged.
        """
        self.advance(at)
        record = self._records.get(name)
        chosen = _TTLS[self.choose(name, at, terms)]
        if record is None or record.silence is None:
            return Course(0, chosen)
        silence = record.silence
        stops = silence.stops[ttl] or self._stops(silence, ttl)
        stop_now = stops[silence.others < len(self._beginnings)]
        price = self._price(record, ttl)
        if not affordable(record.account, self._account, record.terms.read):
            return Course(0, chosen, stop_now.saving, price, held=True)
        return Course(stop_now.pings, chosen, stop_now.saving, price)

    def curve(self, name: str, ttl: int) -> list[tuple[float, float]]:
        """For each coming ping of a silence, the chance that it is of use, and the chance from which one pays.

        Empty for a prefix that nobody has asked for yet. The second figure is that of a ping taken alone: before a
        stage that is likelier to end, an earlier ping may pay below it.
        """
        record = self._records.get(name)
        if record is None or record.silence is None:
            return []
        found = chances(record.silence.circles, ttl, None)
        pays = self._price(record, ttl) / self._avoided(record, ttl)
        return [(found[BIN_OF_STAGE[stage]], pays) for stage in range(STAGES)]

    @property
    def knows_any(self) -> bool:
        """Whether any request was ever told."""
        return bool(self._records)

    # -- keeping --------------------------------------------------------------------------------------------------

    def learnt(self, name: str) -> dict[str, Any]:
        """What was learnt of a prefix, or with `ALL` of all together, as plain data; empty when nothing was."""
        if name == ALL:
            return {
                "widest": self._widest.to_data(),
                "by_return": [tally.to_data() for tally in self._by_return],
                "by_activity": [tally.to_data() for tally in self._by_activity],
                "duels": self._duels.to_data(),
                "league": self._league.to_data(),
                "account": [self._account.own, self._account.shadow],
                "pings": [self._pings, self._rewrites],
            }
        record = self._records.get(name)
        if record is None or record.silence is None:
            return {}
        silence = record.silence
        return {
            "terms": list(record.terms),
            "counts": [record.requests, record.ended, record.ended_soon, record.gap_level, record.fixed],
            "activity": record.activity,
            "silence": [silence.began, silence.reach, silence.steps],
            "circles": record.circles,
            "tallies": {str(key): tally.to_data() for key, tally in record.tallies.items()},
            "duel": record.duel.to_data() if record.duel else None,
            "duels": self._duels.own(name),
            "league": record.league,
            "account": [record.account.own, record.account.shadow],
        }

    def _restore(self, learnt: Mapping[str, Mapping[str, Any]]) -> None:
        common = learnt.get(ALL)
        if common is None:
            return
        self._widest = Tally.from_data(common["widest"])
        self._by_return = [Tally.from_data(data) for data in common["by_return"]]
        self._by_activity = [Tally.from_data(data) for data in common["by_activity"]]
        own = {name: data["duels"] for name, data in learnt.items() if name != ALL and data["duels"]}
        self._duels.restore(common["duels"], own)
        self._league.restore(common["league"])
        self._account = Account(*common["account"])
        self._pings, self._rewrites = common["pings"]
        for name, data in learnt.items():
            if name != ALL:
                self._restore_record(name, data)
        for checks in self._checks:
            for number, queue in enumerate(checks):
                checks[number] = deque(sorted(queue, key=itemgetter(0)))

    def _restore_record(self, name: str, data: Mapping[str, Any]) -> None:
        read, writes, cold_start, lifetimes, periods = data["terms"]
        terms = Terms(read, tuple(writes), cold_start, tuple(lifetimes), tuple(periods))
        record = self._records[name] = Record(name, terms)
        record.requests, record.ended, record.ended_soon, record.gap_level, record.fixed = data["counts"]
        record.activity = data["activity"]
        record.tallies = {int(key): Tally.from_data(tally) for key, tally in data["tallies"].items()}
        record.duel = Duel.from_data(data["duel"], terms) if data["duel"] else None
        record.league = list(data["league"])
        record.account = Account(*data["account"])
        record.circles = tuple(data["circles"])
        began, reach, steps = data["silence"]
        silence = record.silence = Silence(record, began, 0, reach, self._tallies(record))
        silence.steps = list(steps)
        for ttl, step in enumerate(silence.steps):
            due = silence.due(CHECKS[step - 1] if step else 0, ttl)
            self._checks[ttl][step].append((due, silence))

    # -- learning -------------------------------------------------------------------------------------------------

    def _account_for(self, record: Record, gap: float | None, written: int | None, shadow_ttl: int) -> None:
        terms = record.terms
        own = terms.read if written is None else terms.writes[written] + terms.cold_start
        alone = gap is not None and gap <= terms.lifetimes[shadow_ttl]
        shadow = terms.read if alone else terms.writes[shadow_ttl] + terms.cold_start
        record.account.pay(own, shadow)
        self._account.pay(own, shadow)

    def _end(
        self, silence: Silence, gap: float, at: float, circles: Sequence[Hashable]
    ) -> Sequence[tuple[float, bool]]:
        record = silence.record
        silence.gap = gap
        passed = (self._passed(silence, gap, 0), self._passed(silence, gap, 1))
        duel = record.duel
        if duel and duel.step(passed, record.terms, lambda: self._by_duels(circles)):
            self._duels.end(duel, at)
            record.duel = None
        return passed

    def _passed(self, silence: Silence, gap: float, ttl: int) -> tuple[float, bool]:
        """What an entry of this ttl cost in a gap until the request, and whether it lived through it."""
        begun = silence.stages(min(gap, silence.reach), ttl)
        if begun == 0:
            return 0.0, gap <= silence.outlives(0, ttl)
        sent = min(begun, self._sent(silence, ttl))
        return sent * self._price(silence.record, ttl), gap <= silence.outlives(sent, ttl)

    def _sent(self, silence: Silence, ttl: int) -> int:
        """How many pings the policy sends in a silence that does not end."""
        stops = silence.stops[ttl] = silence.stops[ttl] or self._stops(silence, ttl)
        return pings_sent(stops, silence.superseded_from(self._beginnings, ttl))

    def _check(self, silence: Silence, ttl: int, number: int, now: float) -> None:
        if silence.gap is not None and silence.stages(silence.gap, ttl) == 0:
            return
        if number == 0:
            silence.stops[ttl] = silence.stops[ttl] or self._stops(silence, ttl)
        else:
            over = CHECKS[number - 1]
            silence.count(self._beginnings, ttl, CHECKS[number - 2] if number > 1 else 0, over)
            if silence.gap is not None and silence.stages(silence.gap, ttl) <= over:
                return
        if number < len(CHECKS):
            silence.steps[ttl] = number + 1
            self._checks[ttl][number + 1].append((silence.due(CHECKS[number], ttl), silence))
        elif ttl == ONE_HOUR and silence.gap is None:
            self._give_up(silence, now)

    def _give_up(self, silence: Silence, now: float) -> None:
        """Nobody will come: both entries of a duel have died."""
        duel = silence.record.duel
        if duel is None:
            return
        for ttl, sign in zip(duel.modes, (1.0, -1.0), strict=True):
            duel.difference += sign * self._sent(silence, ttl) * self._price(silence.record, ttl)
        self._duels.end(duel, now)
        silence.record.duel = None

    def _learn_features(self, record: Record, gap: float | None) -> None:
        record.requests += 1
        if gap is None:
            record.activity = 1.0
            return
        record.activity = record.activity * exp(-gap / _ACTIVITY_SECONDS) + 1.0
        record.gap_level = _level(gap, _GAP_LEVELS)
        if gap > record.terms.lifetimes[0]:
            record.ended += 1
            record.ended_soon += gap <= 3600.0

    # -- deciding -------------------------------------------------------------------------------------------------

    def _stops(self, silence: Silence, ttl: int) -> tuple[Stop, Stop]:
        record = silence.record
        avoided = self._avoided(record, ttl)
        price = self._price(record, ttl)
        circles = silence.circles
        return (
            stop(chances(circles, ttl, False), avoided, price),
            stop(chances(circles, ttl, True), avoided, price),
        )

    def _avoided(self, record: Record, ttl: int) -> float:
        """What a request saves that finds an entry of this ttl alive.

        Where the next write may have the other ttl, being alive is worth less by what that would be better.
        """
        avoided = record.terms.writes[ttl] + record.terms.cold_start - record.terms.read
        if record.fixed:
            return avoided
        better = self._difference((("gap", record.gap_level, _level(record.requests, _COUNT_LEVELS)), record.name))
        return avoided + (min(better, 0.0) if ttl == ONE_HOUR else -max(better, 0.0))

    def _price(self, record: Record, ttl: int) -> float:
        rate = self._rewrites / self._pings
        return record.terms.read + (record.terms.writes[ttl] - record.terms.read) * rate

    def _difference(self, circles: Sequence[Hashable]) -> float:
        return self._duels.mean(_START, circles)

    def _by_duels(self, circles: Sequence[Hashable]) -> int:
        return FIVE_MINUTES if self._difference(circles) <= 0.0 else ONE_HOUR

    def _choice_circles(self, record: Record, gap: float | None) -> Sequence[Hashable]:
        level = record.gap_level if gap is None else _level(gap, _GAP_LEVELS)
        return (("gap", level, _level(record.requests + 1, _COUNT_LEVELS)), record.name)

    def _find_circles(self, record: Record, slot: int) -> tuple[int, int, int]:
        """Which circles the coming silence counts for: by return, by activity, by part of the week."""
        share = 0
        if record.ended:
            share = 1 + min(_RETURN_LEVELS - 2, int(4 * (record.ended_soon + 0.5) / (record.ended + 1)))
        return share, _level(record.activity, _ACTIVITY_LEVELS), slot

    def _tallies(self, record: Record) -> list[Tally]:
        share, activity, slot = record.circles
        own = (0, 1 + activity, _FIRST_SLOT + slot)
        return [
            self._widest,
            self._by_return[share],
            self._by_activity[activity],
            *(record.tallies.setdefault(key, Tally()) for key in own),
        ]


def _level(value: float, levels: Sequence[float]) -> int:
    """How many levels a value is above."""
    return sum(value > level for level in levels)
