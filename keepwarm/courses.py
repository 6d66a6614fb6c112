"""The learner's view of prefixes and touches: turns them into its units, and its answers into courses.

It learns nothing itself (see `policies.learner`), sends nothing and reads no clock. The keeper and the replay of traces
use the same class, so that both decide alike. Not safe to use from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from keepwarm import busyhours, planner, pricing
from keepwarm.model import (
    ALWAYS,
    Course,
    Entry,
    Prefix,
    PrefixState,
    Touch,
    Ttl,
    Usage,
    Verdict,
)
from keepwarm.policies.learner import ALL, Learner
from keepwarm.policies.silences import Terms

__all__ = ["ALL", "Courses", "terms_of"]

_TTLS = (Ttl.FIVE_MINUTES, Ttl.ONE_HOUR)
_HIT = frozenset({Verdict.HIT, Verdict.PARTIAL})
_FOREVER_SECONDS = 1e12


class Courses:
    """What the adaptive policy wants of each prefix, learnt from all of them together."""

    def __init__(self, learnt: Mapping[str, Any] | None = None) -> None:
        self._learner = Learner(learnt)
        self._terms: dict[str, tuple[Prefix, int, Terms]] = {}

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
            self._learner.pinged(prefix.fingerprint, hit=hit, ttl=_TTLS.index(entry.intent.ttl))

    def course(self, prefix: Prefix, state: PrefixState, now: datetime) -> Course | None:
        """What is wanted of a prefix now; None while nothing is known of any traffic."""
        if self.blind:
            return None
        ttl = _TTLS.index(state.billed_ttl or prefix.ttl)
        return self._learner.course(prefix.fingerprint, now.timestamp(), ttl, self._terms_of(prefix, state))

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
        return self._learner.learnt(fingerprint)

    def _terms_of(self, prefix: Prefix, state: PrefixState) -> Terms:
        tokens = planner.tokens_of(prefix, state)
        known = self._terms.get(prefix.fingerprint)
        if known and known[0] is prefix and known[1] == tokens:
            return known[2]
        terms = terms_of(prefix, tokens)
        self._terms[prefix.fingerprint] = (prefix, tokens, terms)
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
