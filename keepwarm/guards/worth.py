"""Caps and limits that make a prefix useless: what a day would cost and a minute need beside what is allowed.

It refuses nothing: a cap below the plan is allowed, and told. Costs are those of pinging all through the busy hours, at
the estimated size; the pings of a policy that stops earlier cost less.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from keepwarm import busyhours, pricing
from keepwarm.guards.spending import day_of, say_usd
from keepwarm.model import BusyHours, IdleLimitPolicy, Limits, Prefix, Span

_MINUTE, _DAY, _WEEK = timedelta(minutes=1), timedelta(days=1), timedelta(days=7)
_LONGEST_MONTH = Decimal(31)
_TICK, _SHORTEST = timedelta(microseconds=1), timedelta(seconds=1)


def daily_costs(prefix: Prefix, period: timedelta, now: datetime) -> dict[datetime, Decimal]:
    """What each day in UTC of the coming week costs if the prefix is kept warm through its busy hours.

    Args:
        period: the time between two pings on average.
    """
    tokens, prices = prefix.estimated_tokens, prefix.facts.prices
    read, write = pricing.read_cost_usd(prices, tokens), pricing.write_cost_usd(prices, tokens, prefix.ttl)
    # A margin of all the lifetime is told elsewhere.
    reads_a_tick = read / Decimal(max(period, _SHORTEST) // _TICK)
    return {
        day: write * openings + reads_a_tick * ticks
        for day, openings, ticks in _busy_days(prefix.busy_hours, day_of(now))
    }


@lru_cache(maxsize=256)  # asked for every prefix of a registry at once; their busy hours are a few
def _busy_days(hours: BusyHours, since: datetime) -> tuple[tuple[datetime, int, int], ...]:
    """The days of a week with busy time: how often it opens on each, and how many ticks of it are busy."""
    openings: Counter[datetime] = Counter()
    ticks: Counter[datetime] = Counter()
    for span in busyhours.spans(hours, since, since + _WEEK):
        openings[day_of(span.start)] += 1
        for part in _by_day(span):
            ticks[day_of(part.start)] += part.duration // _TICK
    return tuple((day, openings[day], ticks[day]) for day in ticks)


def doubts(prefix: Prefix, high_cost_usd: Decimal, costs: Mapping[datetime, Decimal]) -> list[tuple[str, str]]:
    """What speaks against the caps of a prefix: the key in the registry, and why.

    Args:
        high_cost_usd: what its first ping is counted at.
        costs: its `daily_costs`.
    """
    limits = prefix.limits
    caps = {"ping_cap_usd": limits.ping_cap_usd, "day_cap_usd": limits.day_cap_usd,
            "month_cap_usd": limits.month_cap_usd}  # fmt: skip
    useless = {
        key: "is 0: no ping is ever sent"
        if not cap
        else f"is {say_usd(cap)}, but the first ping may cost {say_usd(high_cost_usd)}: none is ever sent"
        for key, cap in caps.items()
        if not cap or (cap < high_cost_usd and not prefix.provisioned)
    }
    if useless or prefix.provisioned or isinstance(prefix.policy, IdleLimitPolicy):
        return list(useless.items())
    return [(f"{period}_cap_usd", said) for period, said in _short(limits, costs)]


def doubts_in_all(limits: Limits, costs: Iterable[Mapping[datetime, Decimal]]) -> list[tuple[str, str]]:
    """What speaks against the caps of all prefixes together: `day` or `month`, and why.

    Args:
        costs: the `daily_costs` of every prefix.
    """
    sums: dict[datetime, Decimal] = {}
    for one in costs:
        for day, cost in one.items():
            sums[day] = sums.get(day, Decimal(0)) + cost
    zero = [
        (name, "is 0: no ping is ever sent")
        for name, cap in (("day", limits.day_cap_usd), ("month", limits.month_cap_usd))
        if not cap
    ]
    return zero or _short(limits, sums)


def doubt_of_pace(per_minute: int, periods: Sequence[timedelta], where: str) -> str:
    """Why not all prefixes of a model can be warm at once under a rate limit; empty when they can.

    Args:
        periods: of each, the time between two pings on average.
        where: the model and its region.
    """
    count, needed = len(periods), sum(_MINUTE / max(period, _SHORTEST) for period in periods)
    if needed <= per_minute:
        return ""
    return (
        f"lets {per_minute:,} pings a minute go to {where}; without requests of their own its {count:,} prefixes "
        f"need {math.ceil(needed):,}, so about {int(count * per_minute / needed):,} of them can be warm at once; "
        "raise it as far as your Bedrock quota allows, or ask for `ttl: 1h`"
    )


def _short(limits: Limits, costs: Mapping[datetime, Decimal]) -> list[tuple[str, str]]:
    day = max(costs.values(), default=Decimal(0))
    month = sum(costs.values(), Decimal(0)) * _LONGEST_MONTH / 7
    return [
        (name, f"is {say_usd(cap)}, but a {name} in which all busy hours are kept warm costs about {_round(cost)}")
        for name, cap, cost in (("day", limits.day_cap_usd, day), ("month", limits.month_cap_usd, month))
        if cap < cost
    ]


def _round(cost: Decimal) -> str:
    return say_usd(cost.quantize(Decimal(1) if cost >= 100 else Decimal("0.01") if cost >= 1 else Decimal("0.0001")))


def _by_day(span: Span) -> Iterable[Span]:
    start = span.start
    while start < span.end:
        end = min(span.end, day_of(start) + _DAY)
        yield Span(start, end)
        start = end
