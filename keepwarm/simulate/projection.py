"""Looks ahead without traffic: the coming pings of a prefix, what they cost, and from which traffic on they pay.

It sends nothing and uses the planner that the daemon uses; every imagined ping succeeds, as a hit on a living entry and
a write on a dead one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from keepwarm import accounting, busyhours, pauses, planner, pricing
from keepwarm.counterfactual import Terms
from keepwarm.model import (
    Action,
    BusyHours,
    Decision,
    Entry,
    Intent,
    Outcome,
    PauseOrder,
    Policy,
    Prefix,
    PrefixState,
    Reason,
    Ttl,
    Usage,
    Verdict,
)
from keepwarm.rollups import Ground

# So many pings of a week are looked at one by one; a report over a thousand prefixes wants its answer in seconds.
_SAMPLE = 400
_TICK = timedelta(microseconds=1)

Paused = Callable[[Prefix, datetime], PauseOrder | None]


@dataclass(frozen=True, slots=True)
class PlannedPing:
    """One ping of a plan.

    Attributes:
        verdict: `hit`, or `rewrite` for a write of a dead entry.
    """

    prefix: str
    at: datetime
    reason: Reason
    verdict: Verdict
    cost_usd: Decimal


def _never_paused(_prefix: Prefix, _now: datetime) -> None:
    """Nobody has paused anything."""


def project(
    prefix: Prefix, state: PrefixState, since: datetime, until: datetime, paused: Paused = _never_paused
) -> Iterator[PlannedPing]:
    """The coming pings of a prefix in [since, until), in order; none while it is paused."""
    now = since
    while now < until:
        if pause := paused(prefix, now):
            if pause.until is None:
                return
            now = pause.until
            continue
        decision = planner.decide(prefix, state, now)
        if decision.at is None or decision.at >= until:
            return
        if decision.action is Action.PING and decision.at <= now:
            entry = imagine(prefix, state, decision, now)
            state = planner.absorb(prefix, state, entry, 0.5)
            yield PlannedPing(prefix.name, now, decision.reason, entry.verdict, entry.cost_usd)
            continue
        now = decision.at


def imagine(prefix: Prefix, state: PrefixState, decision: Decision, now: datetime) -> Entry:
    """The entry of a ping that succeeds: a hit where the entry lives, a write where it does not."""
    tokens = planner.tokens_of(prefix, state)
    alive = decision.warm_until is not None
    asked = planner.choose_ttl(prefix, state, now).ttl
    usage = _usage(prefix, tokens, alive=alive)
    intent = Intent(
        prefix=prefix.name,
        fingerprint=prefix.fingerprint,
        model_id=prefix.model_id,
        region=prefix.route.region,
        api=prefix.api,
        ttl=asked,
        reason=decision.reason,
        attempt=1,
        started_at=now,
        high_cost_usd=Decimal(0),
        provisioned=prefix.provisioned,
    )
    written = asked if prefix.auto_ttl else state.billed_ttl or prefix.ttl
    cost = pricing.cost_usd(prefix.facts.prices, usage, written)
    return Entry(0, intent, Outcome(now, usage.verdict, cost, usage=usage))


@dataclass(frozen=True, slots=True)
class Plan:
    """The coming pings of one prefix.

    Attributes:
        decision: what would be decided at `since`.
        pings: in order.
        cost_usd: of all of them.
        break_even_requests_per_day: well-spaced requests in a busy day from which they pay; None when they never do.
        estimated: True when the prefix was never measured, so that tokens and money are estimates.
    """

    prefix: str
    decision: Decision
    pings: tuple[PlannedPing, ...]
    cost_usd: Decimal
    break_even_requests_per_day: int | None
    estimated: bool


def plan(prefix: Prefix, state: PrefixState, since: datetime, until: datetime, paused: Paused = _never_paused) -> Plan:
    """The pings of a prefix in [since, until), with what they cost and from which traffic on they pay.

    Args:
        paused: the pause that keeps a prefix at a moment; such as are in force now are taken to last as they say.
    """
    pings = tuple(project(prefix, state, since, until, paused))
    background = background_of(prefix, state, since, until)
    return Plan(
        prefix=prefix.name,
        decision=_decided(prefix, state, since, paused),
        pings=pings,
        cost_usd=sum((ping.cost_usd for ping in pings), Decimal(0)),
        break_even_requests_per_day=accounting.break_even_requests_per_day(
            background.daily_refresh_cost_usd, background.avoided_write_usd
        ),
        estimated=not state.cached_tokens,
    )


def _decided(prefix: Prefix, state: PrefixState, now: datetime, paused: Paused) -> Decision:
    """As the keeper decides: a pause comes before what the planner says."""
    decision, pause = planner.decide(prefix, state, now), paused(prefix, now)
    if pause is None:
        return decision
    action = Action.WAIT if pause.until else Action.LEAVE
    return Decision(action, pause.until, Reason.PAUSED, decision.warm_until, pauses.say(pause))


def background_of(prefix: Prefix, state: PrefixState, since: datetime, until: datetime) -> accounting.Background:
    """What the registry adds to the entries of a prefix for a report about [since, until)."""
    tokens = planner.tokens_of(prefix, state)
    return accounting.Background(
        busy=tuple(busyhours.spans(prefix.busy_hours, since, until)),
        lifetime=_lifetime_of_entries(prefix),
        provisioned=prefix.provisioned,
        daily_refresh_cost_usd=_busy_day_cost(prefix, state, until),
        avoided_write_usd=pricing.avoided_write_usd(prefix.facts.prices, tokens, state.billed_ttl or prefix.ttl),
        terms=terms_of(prefix, state),
    )


def ground_of(prefix: Prefix, state: PrefixState) -> Ground:
    """What a day of a prefix is summed up with."""
    return Ground(terms_of(prefix, state), _lifetime_of_entries(prefix))


def _lifetime_of_entries(prefix: Prefix) -> Callable[[Entry], timedelta]:
    return lambda entry: planner.lifetime_of(prefix, PrefixState(billed_ttl=_known_ttl(prefix, entry)))


def _known_ttl(prefix: Prefix, entry: Entry) -> Ttl | None:
    """What a ping was billed at, or where keepwarm chooses what it asked for: the ttl of the entry that it read."""
    billed = entry.outcome.billed_ttl if entry.outcome else None
    return billed or (entry.intent.ttl if prefix.auto_ttl else None)


def terms_of(prefix: Prefix, state: PrefixState) -> Terms:
    """What the counterfactual must know of a prefix."""
    return Terms(
        prices=None if prefix.provisioned else prefix.facts.prices,
        ttl=prefix.ttl,
        lifetime=lambda billed: planner.lifetime_of(prefix, PrefixState(billed_ttl=billed)),
        billed_ttl=state.billed_ttl,
        measured_tokens=state.cached_tokens,
        estimated_tokens=prefix.estimated_tokens,
    )


def _busy_day_cost(prefix: Prefix, state: PrefixState, since: datetime) -> Decimal | None:
    """What a busy day of the coming week costs on average, from a cold start; None when it has none.

    The opening writes are counted also without prewarm, when the first request pays them.
    """
    other = (prefix.other.ttl, prefix.other.lifetime, prefix.other.margin) if prefix.other else None
    week = _busy_week(
        _Rhythm(
            busy_hours=prefix.busy_hours,
            policy=prefix.policy,
            asked=(prefix.ttl, prefix.lifetime, prefix.margin),
            other=other,
            lead=prefix.prewarm_lead,
            auto_ttl=prefix.auto_ttl,
            billed_ttl=state.billed_ttl,
            example=_without_request(prefix),
        ),
        since,
    )
    if week is None:
        return None
    written = prefix.ttl if prefix.auto_ttl else state.billed_ttl or prefix.ttl
    tokens = planner.tokens_of(prefix, state)
    cost = sum(
        (count * _cost_usd(prefix, tokens, written, alive=alive) for alive, count in week.sample.items()), Decimal(0)
    )
    return cost * week.times / week.days


def _without_request(prefix: Prefix) -> Prefix:
    """What may be remembered: requests of a registry that was replaced would stay on disk."""
    other = _without_request(prefix.other) if prefix.other else None
    return replace(prefix, ping_request={}, sketch=None, other=other)


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """What decides when a prefix is pinged that nobody else uses; many prefixes have it in common.

    Attributes:
        asked: ttl, lifetime and margin.
        other: those of the other ttl.
        example: one of those prefixes, without its requests.
    """

    busy_hours: BusyHours
    policy: Policy
    asked: tuple[Ttl, timedelta, timedelta]
    other: tuple[Ttl, timedelta, timedelta] | None
    lead: timedelta
    auto_ttl: bool
    billed_ttl: Ttl | None
    example: Prefix = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Week:
    """A week's pings.

    Attributes:
        sample: how many of the first pings find their entry alive, and how many do not.
        times: what the sample is multiplied by to stand for all of them.
        days: with busy hours.
    """

    sample: Mapping[bool, int]
    times: Decimal
    days: int


@lru_cache(maxsize=256)
def _busy_week(rhythm: _Rhythm, since: datetime) -> _Week | None:
    """The pings of the week from a moment on, from a cold start; None when there are none."""
    hours, week = rhythm.busy_hours, timedelta(days=7)
    zone = ZoneInfo(hours.timezone)
    days = {span.start.astimezone(zone).date() + timedelta(days=day)
            for span in busyhours.spans(hours, since, since + week)
            for day in range(max(1, -(-span.duration // timedelta(days=1))))}  # fmt: skip
    # Without a fingerprint, so that what is said of one prefix does not depend on which was asked about first.
    prefix = replace(rhythm.example, prewarm=True, fingerprint="")
    pings = project(prefix, PrefixState(billed_ttl=rhythm.billed_ttl), since, since + week)
    sample = Counter(ping.verdict is Verdict.HIT for ping in islice(pings, _SAMPLE))
    if not days or not sample:
        return None
    following = next(pings, None)
    if following is None:
        return _Week(sample, Decimal(1), len(days))
    # Thousands of pings a week, as at 5m around the clock: the sample stands for the rest of the busy time.
    sampled, whole = (
        sum((span.duration for span in busyhours.spans(hours, since, until)), timedelta(0))
        for until in (following.at, since + week)
    )
    return _Week(sample, Decimal(whole // _TICK) / Decimal(sampled // _TICK), len(days))


def _cost_usd(prefix: Prefix, tokens: int, written: Ttl, *, alive: bool) -> Decimal:
    return pricing.cost_usd(prefix.facts.prices, _usage(prefix, tokens, alive=alive), written)


def _usage(prefix: Prefix, tokens: int, *, alive: bool) -> Usage:
    return Usage(
        input_tokens=1,
        output_tokens=prefix.facts.min_max_tokens,
        cache_read_tokens=tokens if alive else 0,
        cache_write_tokens=0 if alive else tokens,
    )
