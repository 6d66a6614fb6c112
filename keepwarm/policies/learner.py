"""The adaptive policy: learns from organic requests when one more ping pays, and which ttl a write should ask for.

It reads no clock and sends nothing; told of requests and pings in the order of time, it answers with a `Course`. Its
work for a request does not grow with what it has seen. The rules, and what else was tried, are in
`docs/decisions/0012-adaptive-policy.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from keepwarm.model import Course, Ttl
from keepwarm.policies.choosing import FIVE_MINUTES, ONE_HOUR, Context, Duel, Duels, League
from keepwarm.policies.hazards import BIN_OF_STAGE, STAGES, Stop, Tally, chances, kind_of, prior, stop
from keepwarm.policies.records import ACTIVITIES, RETURNS, Record
from keepwarm.policies.silences import CHECKS, COUNTED, Beginnings, Silence, Terms, pings_sent
from keepwarm.policies.solvency import Account, affordable

# The name under which is kept what belongs to no prefix.
ALL = ""

_TTLS = (Ttl.FIVE_MINUTES, Ttl.ONE_HOUR)

# What 1h is expected to be better by at the next write, before any duel has ended.
_START = 0.02

# Before it is known how often a ping finds its entry gone; real accounts tell little of it.
_PINGS_ASSUMED, _REWRITES_ASSUMED = 50.0, 0.0

# A request that comes so much later than an entry dies might have come in time: moments are floats.
_EXACT_SECONDS = 1e-5


class Learner:
    """Everything learnt, of all prefixes; not safe to use from several threads at once.

    Args:
        learnt: what `learnt` gave, by name of prefix and under `ALL` for what belongs to none.

    Raises:
        LookupError, ValueError, TypeError, AttributeError: it is not what `learnt` gave, or not all of it.
    """

    def __init__(self, learnt: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._records: dict[str, Record] = {}
        self._widest = Tally()
        self._by_return = [Tally() for _ in range(RETURNS)]
        self._by_activity = [Tally() for _ in range(ACTIVITIES)]
        self._beginnings = Beginnings()
        # Silences by when they are looked at next: (due, check, ttl, number, silence).
        self._checks: list[tuple[float, int, int, int, Silence]] = []
        self._requests = 0
        self._duels = Duels()
        self._league = League()
        self._account = Account()
        self._pings = _PINGS_ASSUMED
        self._rewrites = _REWRITES_ASSUMED
        self._changed: set[str] = set()
        if learnt:
            self._restore(learnt)

    # -- being told -----------------------------------------------------------------------------------------------

    def arrive(
        self, name: str, at: float, terms: Terms, slot: int, *, written: int | None, fixed: int | None, reach: float
    ) -> None:
        """An organic request of a prefix came.

        Args:
            name: of the prefix.
            at: seconds; a request told late, from before the last one, teaches nothing.
            terms: of the prefix, as of now.
            slot: which of eight parts of the week it is on the prefix's wall clock: quarters of workdays and weekends.
            written: the ttl with which it wrote the entry; None when it found it alive.
            fixed: the ttl that the application always asks for; None when it asks keepwarm.
            reach: seconds until the busy hours end.
        """
        self.advance(at)
        record = self._records.get(name)
        gap = None
        if record is None:
            record = self._records[name] = Record(name, terms, (len(self._beginnings), at))
            self._beginnings.add(at)
        else:
            gap = at - record.silence.began
            if gap < 0.0:
                return
        self._changed.add(name)
        record.terms, record.fixed = terms, fixed
        self._account_for(record, gap, written)
        if fixed is None or record.duel:
            self._choose_on(record, gap, at, written)
        if gap is not None:
            record.end(gap)
        record.count(gap)
        self._requests += 1
        self._begin(Silence(record, self._requests, at, len(self._beginnings), reach, record.silence_context(slot)))

    def pinged(self, name: str, *, hit: bool, ttl: int, due: bool = True) -> None:
        """One of our pings found the entry alive, or wrote it anew.

        Args:
            name: of the prefix.
            hit: whether it found it alive.
            ttl: of the entry.
            due: whether it should have been alive; if not, a write says nothing of how often entries die early.
        """
        record = self._records.get(name)
        if record is None:
            return
        self._changed.add(name)
        cost = record.terms.read if hit else record.terms.writes[ttl]
        record.account.pay(cost)
        self._account.pay(cost)
        if due:
            self._pings += 1
            self._rewrites += not hit

    def advance(self, now: float) -> None:
        """Let time pass: silences that last count too."""
        self._changed.update(self._duels.advance(now))
        checks = self._checks
        while checks and checks[0][0] <= now:
            due, check, ttl, _, silence = heappop(checks)
            if check:
                self._check(silence, check, ttl, due)
            else:
                self._first_check(silence.record, ttl, due)

    # -- being asked ----------------------------------------------------------------------------------------------

    def choose(self, name: str, at: float, terms: Terms) -> int:
        """The ttl that a write of this prefix should ask for now."""
        record = self._records.get(name)
        gap = at - record.silence.began if record else None
        record = record or Record(name, terms, (0, at))
        ttl = self._league.choose(self._by_duels(record, record.write_context(gap)))
        if ttl == ONE_HOUR and not affordable(record.account, self._account, terms.writes[1], terms.writes[0]):
            return FIVE_MINUTES
        return ttl

    def course(self, name: str, at: float, ttl: int, terms: Terms) -> Course:
        """What is wanted of a prefix whose entry has this ttl.

        A prefix that nobody has asked for yet is not pinged.
        """
        self.advance(at)
        record = self._records.get(name)
        fixed = record.fixed if record else None
        chosen = _TTLS[self.choose(name, at, terms) if fixed is None else fixed]
        if record is None:
            return Course(0, chosen)
        silence = record.silence
        stops = silence.stops[ttl] or self._stops(silence, ttl)
        stop_now = stops[self._beginnings.after(silence.others) is not None]
        price = self._price(record, ttl)
        if not affordable(record.account, self._account, record.terms.read):
            return Course(0, chosen, stop_now.saving, price, held=True)
        return Course(stop_now.pings, chosen, stop_now.saving, price)

    def affords(self, name: str, ttl: int) -> bool:
        """Whether a write ahead of any request may be risked."""
        record = self._records.get(name)
        return record is not None and affordable(record.account, self._account, record.terms.writes[ttl])

    def curve(self, name: str, ttl: int) -> list[tuple[float, float]]:
        """For each coming ping of a silence, the chance that it is of use, and the chance from which one pays.

        Empty for a prefix that nobody has asked for yet. The second figure is that of a ping taken alone: before a
        stage that is likelier to end, an earlier ping may pay below it.
        """
        record = self._records.get(name)
        if record is None:
            return []
        silence = record.silence
        superseded = self._beginnings.after(silence.others) is not None
        found = chances(prior(self._widest, ttl), silence.circles, kind_of(ttl, superseded))
        pays = self._price(record, ttl) / self._avoided(record, ttl)
        return [(found[BIN_OF_STAGE[stage]], pays) for stage in range(STAGES)]

    @property
    def knows_any(self) -> bool:
        """Whether any request was ever told."""
        return bool(self._records)

    # -- keeping --------------------------------------------------------------------------------------------------

    def changed(self) -> set[str]:
        """The prefixes of which something was learnt since this was asked last."""
        names, self._changed = self._changed, set()
        return names

    def learnt(self, name: str) -> dict[str, Any]:
        """What was learnt of a prefix, or with `ALL` of all together, as plain data; empty when nothing was.

        It shares lists with what is learnt on; only what was kept of all at one moment can be restored.
        """
        if name == ALL:
            return {
                "prefixes": len(self._records),
                "requests": self._requests,
                "widest": self._widest.to_data(),
                "by_return": [tally.to_data() for tally in self._by_return],
                "by_activity": [tally.to_data() for tally in self._by_activity],
                "duels": self._duels.to_data(),
                "league": self._league.to_data(),
                "account": self._account.to_data(),
                "pings": [self._pings, self._rewrites],
            }
        record = self._records.get(name)
        if record is None:
            return {}
        return record.to_data() | {"duels": self._duels.own_data(name)}

    def _restore(self, learnt: Mapping[str, Mapping[str, Any]]) -> None:
        common = learnt[ALL]
        rows = {name: data for name, data in learnt.items() if name != ALL}
        if len(rows) < common["prefixes"]:
            raise ValueError("what was learnt of some prefixes is missing")
        self._requests = common["requests"]
        self._widest = Tally.from_data(common["widest"])
        self._by_return = [Tally.from_data(data) for data in common["by_return"]]
        self._by_activity = [Tally.from_data(data) for data in common["by_activity"]]
        self._duels.restore(common["duels"])
        self._duels.restore_own({name: data["duels"] for name, data in rows.items()})
        self._league.restore(common["league"])
        self._account = Account(*common["account"])
        self._pings, self._rewrites = common["pings"]
        for name, data in rows.items():
            self._restore_record(Record.from_data(name, data))
        self._beginnings = Beginnings([at for _, at in sorted(each.beginning for each in self._records.values())])
        heapify(self._checks)

    def _restore_record(self, record: Record) -> None:
        self._records[record.name] = record
        for silence in (record.silence, *record.counting):
            silence.circles = self._circles(silence)
            for ttl, step in enumerate(silence.steps):
                record.armed[ttl] |= step == 0
                if step < COUNTED:
                    due = silence.due(CHECKS[step - 1] if step else 0, ttl)
                    self._checks.append((due, step, ttl, silence.number, silence))

    # -- learning -------------------------------------------------------------------------------------------------

    def _account_for(self, record: Record, gap: float | None, written: int | None) -> None:
        terms, ttl = record.terms, record.fixed or FIVE_MINUTES
        own = terms.read if written is None else terms.writes[written] + terms.cold_start
        alone = gap is not None and gap <= terms.lifetimes[ttl] + _EXACT_SECONDS
        shadow = terms.read if alone else terms.writes[ttl] + terms.cold_start
        record.account.pay(own, shadow)
        self._account.pay(own, shadow)

    def _choose_on(self, record: Record, gap: float | None, at: float, written: int | None) -> None:
        """A request where the ttl is chosen: what the imagined entries paid."""
        context = record.write_context(gap)
        choice = self._by_duels(record, context)
        passed = None
        if gap is not None:
            passed = self._passed(record.silence, gap, FIVE_MINUTES), self._passed(record.silence, gap, ONE_HOUR)
            if record.duel and record.duel.step(passed, record.terms, choice):
                self._duels.end(record.duel, record.name, at)
                record.duel = None
        if record.fixed is None:
            self._league.step(record.league, passed, record.terms, choice, at)
            if written is not None and record.duel is None:
                record.duel = Duel(at, context, record.terms)

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

    def _begin(self, silence: Silence) -> None:
        record = silence.record
        record.silence = silence
        silence.circles = self._circles(silence)
        for ttl, armed in enumerate(record.armed):
            if not armed:
                record.armed[ttl] = True
                self._look_again(silence, 0, ttl, 0)

    def _look_again(self, silence: Silence, check: int, ttl: int, stage: int) -> None:
        heappush(self._checks, (silence.due(stage, ttl), check, ttl, silence.number, silence))

    def _first_check(self, record: Record, ttl: int, due: float) -> None:
        """The first ping of a silence is due, unless it ended before: then it is the turn of the present one."""
        silence = record.silence
        if silence.due(0, ttl) > due:
            self._look_again(silence, 0, ttl, 0)
            return
        record.armed[ttl] = False
        self._changed.add(record.name)
        if record.fixed in {None, ttl}:
            silence.stops[ttl] = self._stops(silence, ttl)
        silence.steps[ttl] = 1
        self._look_again(silence, 1, ttl, CHECKS[0])

    def _check(self, silence: Silence, check: int, ttl: int, due: float) -> None:
        """So many stages are over: count them."""
        record, last = silence.record, check == len(CHECKS)
        self._changed.add(record.name)
        silence.count(self._beginnings, ttl, CHECKS[check - 2] if check > 1 else 0, CHECKS[check - 1])
        if last or silence.gap is not None:
            record.counted(silence, ttl)
            if last and ttl == ONE_HOUR and silence.gap is None:
                self._give_up(silence, due)
            return
        silence.steps[ttl] = check + 1
        self._look_again(silence, check + 1, ttl, CHECKS[check])

    def _give_up(self, silence: Silence, now: float) -> None:
        """Nobody will come: both entries of a duel have died."""
        duel = silence.record.duel
        if duel is None:
            return
        for ttl, sign in zip(duel.modes, (1.0, -1.0), strict=True):
            duel.difference += sign * self._sent(silence, ttl) * self._price(silence.record, ttl)
        self._duels.end(duel, silence.record.name, now)
        silence.record.duel = None

    # -- deciding -------------------------------------------------------------------------------------------------

    def _stops(self, silence: Silence, ttl: int) -> tuple[Stop, Stop]:
        avoided, price = self._avoided(silence.record, ttl), self._price(silence.record, ttl)
        start = prior(self._widest, ttl)
        return (
            stop(chances(start, silence.circles, kind_of(ttl, False)), avoided, price),
            stop(chances(start, silence.circles, kind_of(ttl, True)), avoided, price),
        )

    def _avoided(self, record: Record, ttl: int) -> float:
        """What a request saves that finds an entry of this ttl alive.

        Where the next write may have the other ttl, being alive is worth less by what that would be better.
        """
        avoided = record.terms.writes[ttl] + record.terms.cold_start - record.terms.read
        if record.fixed is not None:
            return avoided
        better = self._duels.mean(_START, record.present_context(), record.name)
        return avoided + (min(better, 0.0) if ttl == ONE_HOUR else -max(better, 0.0))

    def _price(self, record: Record, ttl: int) -> float:
        rate = self._rewrites / self._pings
        return record.terms.read + (record.terms.writes[ttl] - record.terms.read) * rate

    def _by_duels(self, record: Record, context: Context) -> int:
        return FIVE_MINUTES if self._duels.mean(_START, context, record.name) <= 0.0 else ONE_HOUR

    def _circles(self, silence: Silence) -> Sequence[Tally]:
        by_return, by_activity, _ = silence.context
        return (
            self._widest,
            self._by_return[by_return],
            self._by_activity[by_activity],
            *silence.record.own(silence.context),
        )
