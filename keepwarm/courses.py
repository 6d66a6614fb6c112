"""The learner's view of prefixes and touches: turns them into its units, and its answers into courses.

It learns nothing itself (see `policies.learner`), sends nothing and reads no clock. The keeper and the replay of traces
use the same class, so that both decide alike. Not safe to use from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from weakref import ref
from zoneinfo import ZoneInfo

from keepwarm import busyhours, planner, pricing
from keepwarm.model import (
    ALWAYS,
    Course,
    Entry,
    Opening,
    Prefix,
    PrefixState,
    Reason,
    Touch,
    Ttl,
    Usage,
    Verdict,
)
from keepwarm.policies.learner import ALL, Learner
from keepwarm.policies.openings import Openings, expected
from keepwarm.policies.silences import Terms

__all__ = ["ALL", "Courses", "terms_of"]

_TTLS = (Ttl.FIVE_MINUTES, Ttl.ONE_HOUR)
_HIT = frozenset({Verdict.HIT, Verdict.PARTIAL})
_FOREVER_SECONDS = 1e12
_TICK = timedelta(microseconds=1)


class Courses:
    """What the adaptive policy wants of each prefix, learnt from all of them together."""

    def __init__(self, learnt: Mapping[str, Any] | None = None) -> None:
        self._learner = Learner(learnt)
        # Weak: a prefix that a reload has replaced would keep the whole registry of its time on disk.
        self._terms: dict[str, tuple[ref[Prefix], int, Terms]] = {}
        self._openings = {
            name: Openings.from_data(data["openings"]) for name, data in (learnt or {}).items() if "openings" in data
        }

    @property
    def blind(self) -> bool:
        """Whether no organic request was ever told, of any prefix."""
        return not self._learner.knows_any

    def hear(self, prefix: Prefix, before: PrefixState, touch: Touch) -> None:
        """An organic request of a prefix came.

        Args:
            before: what was known before it. Where its usage does not tell, it is taken to have found a living entry
                alive, and to have written a dead one as it was told to.
        """
        if touch.usage and touch.usage.verdict is Verdict.UNCACHED:
            return
        if _buys_openings(prefix):
            self._hear_openings(prefix, touch.started_at)
        self._learner.arrive(
            prefix.fingerprint,
            touch.started_at.timestamp(),
            self._terms_of(prefix, before),
            _slot(prefix, touch.started_at),
            written=_written(prefix, before, touch),
            fixed=None if prefix.auto_ttl else _TTLS.index(prefix.ttl),
            reach=_reach(prefix, touch.started_at),
        )

    def pinged(self, prefix: Prefix, entry: Entry) -> None:
        """One of our pings ended; those that were not answered are counted as what they cost at most."""
        if entry.verdict is not Verdict.ERROR:
            hit = entry.verdict in _HIT
            due = entry.intent.reason is not Reason.COLD_IN_BUSY_HOURS
            self._learner.pinged(prefix.fingerprint, hit=hit, ttl=_TTLS.index(entry.intent.ttl), due=due)
            if not due and (openings := self._openings.get(prefix.fingerprint)):
                openings.write()

    def course(self, prefix: Prefix, state: PrefixState, now: datetime) -> Course | None:
        """What is wanted of a prefix now; None while nothing is known of any traffic."""
        if self.blind:
            return None
        ttl = _TTLS.index(state.billed_ttl or prefix.ttl)
        course = self._learner.course(prefix.fingerprint, now.timestamp(), ttl, self._terms_of(prefix, state))
        return self._with_opening(course, prefix, state, now) if _buys_openings(prefix) else course

    def choose_ttl(self, prefix: Prefix, state: PrefixState, now: datetime) -> Ttl:
        """What the next write of a prefix with `ttl: auto` should ask for; what is registered while all is blind."""
        if self.blind:
            return prefix.ttl
        chosen = self._learner.choose(prefix.fingerprint, now.timestamp(), self._terms_of(prefix, state))
        return _TTLS[chosen]

    def curve(self, prefix: Prefix, state: PrefixState) -> list[tuple[float, float]]:
        """For each coming ping of a silence, its chance to be of use and the chance from which it pays."""
        ttl = _TTLS.index(state.billed_ttl or prefix.ttl)
        return self._learner.curve(prefix.fingerprint, ttl)

    def changed(self) -> set[str]:
        """The fingerprints of which something was learnt since this was asked last."""
        return self._learner.changed()

    def learnt(self, fingerprint: str) -> dict[str, Any]:
        """What was learnt of a prefix, or with `ALL` of all together, as plain data for `Courses(...)`."""
        found, openings = self._learner.learnt(fingerprint), self._openings.get(fingerprint)
        return found | {"openings": openings.to_data()} if found and openings else found

    def _hear_openings(self, prefix: Prefix, at: datetime) -> None:
        known = self._openings.get(prefix.fingerprint)
        if known is None:
            self._openings[prefix.fingerprint] = Openings(at.timestamp())
        elif at.timestamp() >= known.heard_at:
            lifetimes = _by_ttl(lambda ttl: planner.lifetime_of(prefix, PrefixState(billed_ttl=ttl)).total_seconds())
            known.hear(at.timestamp(), _openings(prefix, known.heard_at, at), lifetimes)

    def _with_opening(self, course: Course, prefix: Prefix, state: PrefixState, now: datetime) -> Course:
        """The course, with what a write is worth if busy hours open now; and no ping after one that was of no use."""
        known, expiry = self._openings.get(prefix.fingerprint), planner.expiry_of(prefix, state)
        if known is None or expiry is None:
            return course
        if expiry > now:
            opened = not state.idle_pings and state.organic_at and state.organic_at != state.touched_at
            return replace(course, pings=0, held=True) if opened else course
        openings = _openings(prefix, known.heard_at, now)
        late = now - prefix.prewarm_lead - planner.margin_of(prefix, PrefixState())
        if not openings or openings[-1] < late.timestamp():
            return course
        asked = planner.choose_ttl(prefix, replace(state, course=course), now).ttl
        ttl, terms = _TTLS.index(asked), self._terms_of(prefix, state)
        chance = known.chance(ttl, len(openings) - 1)
        saving = expected(chance, terms.read, terms.writes[ttl], terms.cold_start)
        held = not (known.has_credit or self._learner.affords(prefix.fingerprint, ttl))
        return replace(course, opening=Opening(saving, terms.writes[ttl], held))

    def _terms_of(self, prefix: Prefix, state: PrefixState) -> Terms:
        tokens = planner.tokens_of(prefix, state)
        known = self._terms.get(prefix.fingerprint)
        if known and known[0]() is prefix and known[1] == tokens:
            return known[2]
        terms = terms_of(prefix, tokens)
        self._terms[prefix.fingerprint] = (ref(prefix), tokens, terms)
        return terms


def terms_of(prefix: Prefix, tokens: int) -> Terms:
    """Prices and times of a prefix in the units of the policies, where 1 is the input price of so many tokens."""
    rates = pricing.rates_for(prefix.facts.prices, tokens)
    return _terms(
        float(rates.cache_read / rates.input),
        _by_ttl(lambda ttl: float(rates.cache_write(ttl) / rates.input)),
        float(prefix.cold_start_usd * 1_000_000 / (rates.input * tokens)) if prefix.cold_start_usd else 0.0,
        _by_ttl(lambda ttl: planner.lifetime_of(prefix, PrefixState(billed_ttl=ttl)).total_seconds()),
        _by_ttl(lambda ttl: planner.mean_ping_period(prefix, PrefixState(billed_ttl=ttl)).total_seconds()),
    )


def _buys_openings(prefix: Prefix) -> bool:
    """Whether it may be worth anything to write before a request: a cold start has a price, and busy hours open."""
    return bool(prefix.cold_start_usd) and prefix.prewarm and prefix.busy_hours is not ALWAYS


def _openings(prefix: Prefix, since: float, until: datetime) -> list[float]:
    """When the entry would be written for the busy hours that open, in (since, until]."""
    lead = prefix.prewarm_lead
    began = datetime.fromtimestamp(since, UTC)
    spans = busyhours.spans(prefix.busy_hours, began, until + lead + _TICK)
    return [moment for span in spans if (moment := (span.start - lead).timestamp()) > since]


def _by_ttl(figure: Callable[[Ttl], float]) -> tuple[float, float]:
    return figure(Ttl.FIVE_MINUTES), figure(Ttl.ONE_HOUR)


@lru_cache(maxsize=1_000)
def _terms(
    read: float,
    writes: tuple[float, float],
    cold_start: float,
    lifetimes: tuple[float, float],
    periods: tuple[float, float],
) -> Terms:
    """The same object for the many prefixes that are alike."""
    return Terms(read, writes, cold_start, lifetimes, periods)


def _written(prefix: Prefix, before: PrefixState, touch: Touch) -> int | None:
    """The ttl that a request wrote, None when it read."""
    usage: Usage | None = touch.usage
    if usage is None:
        expiry = planner.expiry_of(prefix, before)
        cold = expiry is None or touch.started_at > expiry
    else:
        cold = usage.verdict is Verdict.REWRITE
    if not cold:
        return None
    told = (usage and pricing.whole_write_ttl(usage)) or touch.ttl
    return _TTLS.index(told or planner.choose_ttl(prefix, before, touch.started_at).ttl)


def _slot(prefix: Prefix, at: datetime) -> int:
    """Which of eight parts of the week it is where the prefix is used: quarters of workdays, and of weekends."""
    local = at if prefix.busy_hours is ALWAYS else at.astimezone(ZoneInfo(prefix.busy_hours.timezone))
    return local.hour // 6 + (4 if local.weekday() >= 5 else 0)


def _reach(prefix: Prefix, at: datetime) -> float:
    """Seconds until the busy hours end; 0 outside them."""
    if prefix.busy_hours is ALWAYS:
        return _FOREVER_SECONDS
    span = busyhours.span_at(prefix.busy_hours, at)
    return (span.end - at).total_seconds() if span else 0.0
