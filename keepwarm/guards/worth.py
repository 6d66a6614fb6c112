"""Caps that make a prefix useless: what a day would cost beside what may be spent.

It refuses nothing: a cap below the plan is allowed, and told. Costs are those of pinging all through the busy hours, at
the estimated size; the pings of a policy that stops earlier cost less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from keepwarm import busyhours, pricing
from keepwarm.guards.spending import day_of, say_usd
from keepwarm.model import IdleLimitPolicy, Limits, Prefix, Span

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
_LONGEST_MONTH = Decimal(31)
_TICK, _SHORTEST = timedelta(microseconds=1), timedelta(seconds=1)


def daily_costs(prefix: Prefix, period: timedelta, now: datetime) -> dict[datetime, Decimal]:
    """What each day in UTC of the coming week costs if the prefix is kept warm through its busy hours.

    Args:
        period: the time between two pings on average.
    """
    tokens, prices = prefix.estimated_tokens, prefix.facts.prices
    read, write = pricing.read_cost_usd(prices, tokens), pricing.write_cost_usd(prices, tokens, prefix.ttl)
    costs: dict[datetime, Decimal] = {}
    pings_a_tick = Decimal(1) / Decimal(
        max(period, _SHORTEST) // _TICK
    )  # a margin of all the lifetime is told elsewhere
    since = day_of(now)
    for span in busyhours.spans(prefix.busy_hours, since, since + _WEEK):
        costs[day_of(span.start)] = costs.get(day_of(span.start), Decimal(0)) + write
        for part in _by_day(span):
            day = day_of(part.start)
            costs[day] = costs.get(day, Decimal(0)) + read * Decimal(part.duration // _TICK) * pings_a_tick
    return costs


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
