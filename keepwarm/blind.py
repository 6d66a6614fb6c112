"""What a configuration is worth when nobody tells keepwarm of the traffic: from how many requests an hour it pays.

It hears of no traffic and guesses none, reads no ledger and changes no decision: figures and warnings only. All of it
comes from the price data of the very model and the ttl, lifetime, margin, busy hours and policy of the prefix.

What the figures mean. Requests are taken to come at random (a Poisson stream) at the same rate all through the busy
hours and not outside them. That has no memory, so each ping is worth the same and the first figure is that of any
number of pings: one pays from the rate on at which

    (w - r) x P(no request while the margin runs) x P(a request within the ping period after it) = price of the ping.

The second figure is that of the configuration as it stands: over a whole week, with the opening write of each window,
which replaces the write of the first request and so costs a read more than it saves, and with the idle limit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from math import ceil, exp, expm1, inf
from math import pow as to_the
from zoneinfo import ZoneInfo

from keepwarm import busyhours, planner, pricing
from keepwarm.model import IdleLimitPolicy, Prefix, PrefixState, Span, Ttl, Usage

_WEEK = timedelta(days=7)
_DAY_SECONDS = 86_400.0
_HOUR_SECONDS = 3_600.0

# Rates that are looked at, as requests in a lifetime: from one in ten thousand to so many that no gap outlives it.
_SPARSEST, _DENSEST, _STEPS = 1e-4, 20.0, 150
_HALVINGS = 50
# Of amounts of money against each other, when stakes are taken to be alike.
_DIGITS = 12

# The other ttl is worth a word when a silent day costs less than this share with it.
_CHEAPER_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Stretch:
    """Busy time without a pause that the entry cannot outlive, and how often a week has it.

    Attributes:
        opens: whether the entry is dead when it begins; `always` never begins.
    """

    seconds: float
    opens: bool
    times: int


@dataclass(frozen=True, slots=True)
class Stakes:
    """What is at stake for one prefix; its money is all in one unit.

    Attributes:
        ping: price of a ping that reads.
        opening: price of the write at the opening of a window.
        avoided: what a request saves that reads instead of writing, with what it is worth not to wait.
        lifetime_seconds: of the entry.
        period_seconds: between two pings, on average.
        limit: pings after the last touch that was not one; infinite without an idle limit.
        prewarm: whether windows are opened with a write.
        stretches: the busy time of a week.
        days: busy days in it.
    """

    ping: float
    opening: float
    avoided: float
    lifetime_seconds: float
    period_seconds: float
    limit: float
    prewarm: bool
    stretches: tuple[Stretch, ...]
    days: int


@dataclass(frozen=True, slots=True)
class BreakEven:
    """From which traffic on a prefix pays whose traffic nobody tells of.

    Attributes:
        ping_per_hour: requests an hour from which one more ping pays; None when none does at any rate.
        per_hour: the same for the configuration as it stands, with its opening writes; None when it never pays, 0 when
            it costs nothing.
        silent_day_usd: what a busy day costs on which no request comes; with `prewarm: false`, none after the opening.
        warning: why the configuration loses and what to do, in words; empty when nothing speaks against it.
    """

    ping_per_hour: float | None
    per_hour: float | None
    silent_day_usd: Decimal
    warning: str = ""


def break_even_of(prefix: Prefix, state: PrefixState, since: datetime) -> BreakEven | None:
    """What the configuration needs to pay, for the busy hours of the week after `since`.

    Returns:
        None where no money is at stake: provisioned throughput, or a week without busy hours.
    """
    stakes = None if prefix.provisioned else stakes_of(prefix, state, since)
    if stakes is None:
        return None
    found = BreakEven(
        ping_per_hour=per_hour(replace(stakes, limit=inf, stretches=(Stretch(_DAY_SECONDS, opens=False, times=1),))),
        per_hour=per_hour(stakes),
        silent_day_usd=Decimal(str(round(silent_day(stakes), 9))),
    )
    return replace(found, warning=_warning(prefix, state, since, stakes, found))


def is_blind(prefix: Prefix, state: PrefixState, *, followed: bool) -> bool:
    """Whether nobody tells of the traffic of a prefix.

    Args:
        followed: whether invocation logs are followed; their touches are on the way.
    """
    return not (followed or prefix.metrics or state.organic_at)


def say_rate(requests_per_hour: float | None) -> str:
    """A rate for people, in two digits."""
    if requests_per_hour is None:
        return "never"
    return f"{float(f'{requests_per_hour:.2g}'):g}/hour" if requests_per_hour else "any"


def stakes_of(prefix: Prefix, state: PrefixState, since: datetime) -> Stakes | None:
    """The stakes of a prefix in the week after `since`; None when it is never busy in it."""
    ttl = state.billed_ttl or prefix.ttl
    lifetime = planner.lifetime_of(prefix, state)
    period = planner.mean_ping_period(prefix, state)
    prices, tokens = prefix.facts.prices, planner.tokens_of(prefix, state)
    spans = _spans(prefix, since - _WEEK, since + 2 * _WEEK, planner.ping_period(prefix, state))
    opening = [span for span in spans if since < span.start <= since + _WEEK]
    if not opening and not any(span.start <= since and span.end >= since + _WEEK for span in spans):
        return None
    zone = ZoneInfo(prefix.busy_hours.timezone)
    lengths = Counter(span.duration.total_seconds() for span in opening)
    stretches = tuple(Stretch(seconds, opens=True, times=times) for seconds, times in sorted(lengths.items()))
    output = prefix.facts.min_max_tokens
    return Stakes(
        ping=float(pricing.cost_usd(prices, Usage(1, output, tokens, 0), ttl)),
        opening=float(pricing.cost_usd(prices, Usage(1, output, 0, tokens), ttl)),
        avoided=float(pricing.avoided_write_usd(prices, tokens, ttl) + prefix.cold_start_usd),
        lifetime_seconds=lifetime.total_seconds(),
        period_seconds=period.total_seconds(),
        limit=prefix.policy.pings if isinstance(prefix.policy, IdleLimitPolicy) else inf,
        prewarm=prefix.prewarm,
        stretches=stretches or (Stretch(_WEEK.total_seconds(), opens=False, times=1),),
        days=sum(_days(span, zone) for span in opening) or 7,
    )


def per_hour(stakes: Stakes) -> float | None:
    """The lowest rate of random requests, an hour, at which nothing is lost; None when there is none."""
    return _per_hour(_in_avoided_writes(stakes))


def _in_avoided_writes(stakes: Stakes) -> Stakes:
    """The same with an avoided write as the unit of money: prefixes that differ in their size only become alike."""
    if stakes.avoided <= 0:
        return stakes
    ping, opening = (float(f"{price / stakes.avoided:.{_DIGITS}g}") for price in (stakes.ping, stakes.opening))
    return replace(stakes, ping=ping, opening=opening, avoided=1.0)


@lru_cache(maxsize=1024)  # some milliseconds each, asked for every prefix of a registry at once
def _per_hour(stakes: Stakes) -> float | None:
    growth = (_DENSEST / _SPARSEST) ** (1 / _STEPS)
    below, rate = 0.0, _SPARSEST / stakes.lifetime_seconds
    for _ in range(_STEPS + 1):
        if net(stakes, rate) >= 0:
            return _bisect(stakes, below, rate) * _HOUR_SECONDS if below else 0.0
        below, rate = rate, rate * growth
    return None


def net(stakes: Stakes, rate: float) -> float:
    """What a week saves less what it costs, expected, at so many random requests a second."""
    return sum(
        stretch.times * (_saved(stakes, stretch, rate) - _spent(stakes, stretch, rate)) for stretch in stakes.stretches
    )


def silent_day(stakes: Stakes) -> float:
    """What a busy day costs in which no request comes after the opening."""
    opening = stakes.opening if stakes.prewarm else 0.0
    spent = sum(
        stretch.times * (_pings_through(stakes, stretch) * stakes.ping + (opening if stretch.opens else 0.0))
        for stretch in stakes.stretches
    )
    return spent / stakes.days


def best_case(stakes: Stakes) -> float:
    """The most that a week can save less its cost, whatever requests come.

    A request that would have been cold is a lifetime after the one before it, and no more than one of them is due to
    each further ping, or to the opening write.
    """
    return sum(stretch.times * _best_of(stakes, stretch) for stretch in stakes.stretches)


def _best_of(stakes: Stakes, stretch: Stretch) -> float:
    worth = max(0.0, stakes.avoided - stakes.ping) if stakes.limit else 0.0
    later = worth * (ceil(stretch.seconds / stakes.lifetime_seconds) - 1)
    return later + (stakes.avoided - stakes.opening if stakes.prewarm and stretch.opens else 0.0)


def _bisect(stakes: Stakes, losing: float, paying: float) -> float:
    for _ in range(_HALVINGS):
        middle = (losing + paying) / 2
        losing, paying = (losing, middle) if net(stakes, middle) >= 0 else (middle, paying)
    return paying


# -- random requests ----------------------------------------------------------------------------------------------


def _saved(stakes: Stakes, stretch: Stretch, rate: float) -> float:
    """Requests that would have been cold without pings, less those that are so with them, times their worth."""
    reach = stakes.lifetime_seconds + stakes.limit * stakes.period_seconds
    without = _cold(stretch, rate, stakes.lifetime_seconds)
    opened = stretch.opens and stakes.prewarm
    return stakes.avoided * (without - _cold(stretch, rate, reach, warm_at_first=opened))


def _cold(stretch: Stretch, rate: float, reach_seconds: float, *, warm_at_first: bool = False) -> float:
    """How many random requests come more than `reach_seconds` after the one before them.

    Args:
        reach_seconds: for how long an entry is there after a request; may be infinite.
        warm_at_first: whether the entry is there also for so long after the opening.
    """
    later = rate * max(0.0, stretch.seconds - reach_seconds) * exp(-rate * reach_seconds)
    if not stretch.opens:
        return rate * stretch.seconds * exp(-rate * reach_seconds)
    return later if warm_at_first else later - expm1(-rate * min(stretch.seconds, reach_seconds))


def _spent(stakes: Stakes, stretch: Stretch, rate: float) -> float:
    opened = stretch.opens and stakes.prewarm
    return stakes.ping * _pings(stakes, stretch, rate, opened=opened) + (stakes.opening if opened else 0.0)


def _pings(stakes: Stakes, stretch: Stretch, rate: float, *, opened: bool) -> float:
    """How many pings are sent among random requests.

    The k-th ping after a touch that was not one is sent when nobody came for k periods: after the opening write, and
    after each request that has so much of the stretch before it.
    """
    period = stakes.period_seconds
    silent = exp(-rate * period)
    if not stretch.opens:
        series = -silent / expm1(-rate * period) * (1 - to_the(silent, stakes.limit))
        return rate * stretch.seconds * series
    count = _pings_through(stakes, stretch)
    first = -expm1(-rate * period)
    last = to_the(silent, count)
    plain = silent * (1 - last) / first
    weighted = (plain - count * last * silent) / first
    after_requests = rate * (_open_seconds(stakes, stretch) * plain - period * weighted)
    return after_requests + (plain if opened else 0.0)


def _pings_through(stakes: Stakes, stretch: Stretch) -> float:
    """How many pings a stretch sends in which nobody comes after its beginning."""
    if not stretch.opens:
        return min(stretch.seconds / stakes.period_seconds, stakes.limit)
    return min(max(0, ceil(_open_seconds(stakes, stretch) / stakes.period_seconds) - 1), stakes.limit)


def _open_seconds(stakes: Stakes, stretch: Stretch) -> float:
    """The part of a stretch in which pings are sent: not when the entry outlives it anyway."""
    return max(0.0, stretch.seconds - (stakes.lifetime_seconds - stakes.period_seconds))


# -- busy hours ---------------------------------------------------------------------------------------------------


def _spans(prefix: Prefix, since: datetime, until: datetime, period: timedelta) -> list[Span]:
    """Busy hours, with those joined between which the entry is kept alive."""
    joined: list[Span] = []
    for span in busyhours.spans(prefix.busy_hours, since, until):
        if joined and span.start - joined[-1].end < period:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def _days(span: Span, zone: ZoneInfo) -> int:
    """Local days that a span has; a night counts as the day on which it began."""
    first, last = span.start.astimezone(zone), (span.end - timedelta(microseconds=1)).astimezone(zone)
    return max(1, (last.date() - first.date()).days + (last.time() >= first.time()))


# -- words --------------------------------------------------------------------------------------------------------


def _warning(prefix: Prefix, state: PrefixState, since: datetime, stakes: Stakes, found: BreakEven) -> str:
    if best_case(stakes) <= 0 < found.silent_day_usd:
        return f"can only lose, whatever the traffic: {_no_hope(stakes)}"
    if found.per_hour is None:
        return f"loses at any number of requests that come at random: {_no_hope(stakes)}"
    ttl, avoided = state.billed_ttl or prefix.ttl, _usd(Decimal(stakes.avoided))
    longest = max(_pings_through(stakes, stretch) for stretch in stakes.stretches)
    reads = int(min(longest, _DAY_SECONDS / stakes.period_seconds))
    if ttl is not Ttl.FIVE_MINUTES or stakes.limit < inf or reads * stakes.ping <= stakes.avoided:
        return ""
    return (
        f"pays only from {say_rate(found.per_hour)} on while nobody tells keepwarm of the traffic: a silent busy day "
        f"costs {_usd(found.silent_day_usd)}, {reads} pings for one avoided write worth {avoided}; "
        + _remedy(prefix, since, stakes, found)
    )


def _no_hope(stakes: Stakes) -> str:
    if stakes.prewarm and stakes.stretches[0].opens:
        return (
            f"the opening write costs {_usd(Decimal(stakes.opening))}, a request saves {_usd(Decimal(stakes.avoided))}"
            " by it; set prewarm: false, or busy hours much longer than the lifetime"
        )
    return (
        f"a ping costs {_usd(Decimal(stakes.ping))}, a request saves at most {_usd(Decimal(stakes.avoided))} by it; "
        "remove the prefix, or correct its prices"
    )


def _remedy(prefix: Prefix, since: datetime, stakes: Stakes, found: BreakEven) -> str:
    limit = max(1, int(stakes.avoided / stakes.ping))
    bounded = f"set policy: {{idle_limit: {limit}}}, which bounds the loss, or tell keepwarm of the traffic"
    longer = "ttl: 1h"
    if prefix.auto_ttl:  # under an idle limit, nothing would choose
        bounded = f"tell keepwarm of the traffic: until it has heard of some, ttl: auto stays at {prefix.ttl.value}"
        longer = "the registered request marked with 1h"
    if Ttl.ONE_HOUR not in prefix.facts.ttls or prefix.ttl is Ttl.ONE_HOUR:
        return bounded
    hour = Ttl.ONE_HOUR.duration
    at_1h = replace(prefix, ttl=Ttl.ONE_HOUR, lifetime=hour, margin=planner.default_margin(Ttl.ONE_HOUR, hour))
    others = stakes_of(at_1h, PrefixState(), since)
    if others is None or silent_day(others) >= _CHEAPER_SHARE * float(found.silent_day_usd):
        return bounded
    cost = _usd(Decimal(silent_day(others)))
    return f"{longer} would cost {cost} and pay from {say_rate(per_hour(others))} on; or {bounded}"


def _usd(amount: Decimal) -> str:
    return f"${amount:.6f}" if amount < Decimal("0.01") else f"${amount:.4f}" if amount < 1 else f"${amount:.2f}"
