"""What somebody who knows every coming request would pay, and what never pinging costs; pure.

It decides nothing and knows no margin: the clairvoyant pings at the very end of the full lifetime, so no planner can
pay less for the same requests. Rewrites of living entries, which Bedrock does now and then, it never meets.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from keepwarm.model import Ttl

_LIFETIMES = {ttl: ttl.duration.total_seconds() for ttl in Ttl}


@dataclass(frozen=True, slots=True)
class Toll:
    """What one request, or one ping after it, costs; in any unit, the same for all.

    Attributes:
        read: when it finds the entry alive.
        writes: when it finds it dead, by the ttl that it asks for.
    """

    read: float
    writes: Mapping[Ttl, float]


@dataclass(frozen=True, slots=True)
class Request:
    """One organic request of one prefix.

    Attributes:
        at: seconds, from any moment.
    """

    at: float
    toll: Toll


def pings_for(gap_seconds: float, ttl: Ttl) -> int:
    """How many pings carry an entry over a gap, each at the end of the full lifetime; a request at its end finds it."""
    return max(0, math.ceil(gap_seconds / _LIFETIMES[ttl]) - 1)


def optimum(requests: Sequence[Request], ttls: Collection[Ttl], before: tuple[Request, Ttl] | None = None) -> float:
    """The least that all these requests can cost, with pings where they pay; exact, in O(requests).

    After each request the entry lives with one of the ttls, and all that matters of the past is which: the cheapest way
    into each is the cheaper of bridging the gap with its pings, and of letting the entry die and writing it anew.

    Args:
        requests: of one prefix, ascending.
        ttls: what a write may ask for.
        before: a request that was paid for already, and the ttl of the entry that it left.
    """
    if not requests:
        return 0.0
    ttls = [*ttls, *([before[1]] if before and before[1] not in ttls else [])]
    if before:
        last, ways = before[0], {ttl: 0.0 if ttl is before[1] else math.inf for ttl in ttls}
        rest = requests
    else:
        last, rest = requests[0], requests[1:]
        ways = {ttl: last.toll.writes[ttl] for ttl in ttls}
    for request in rest:
        gap, toll = request.at - last.at, request.toll
        dead = min((cost for ttl, cost in ways.items() if gap > _LIFETIMES[ttl]), default=math.inf)
        ways = {
            ttl: min(cost + pings_for(gap, ttl) * last.toll.read + toll.read, dead + toll.writes[ttl])
            for ttl, cost in ways.items()
        }
        last = request
    return min(ways.values())


def unpinged(requests: Sequence[Request], ttl: Ttl, before: Request | None = None) -> tuple[float, int]:
    """What these requests cost when nobody pings, and how many of them find the entry dead.

    Args:
        requests: of one prefix, ascending.
        before: a request that was paid for already.
    """
    cost, cold = 0.0, 0
    expiry = before.at + _LIFETIMES[ttl] if before else -math.inf
    for request in requests:
        alive = request.at <= expiry
        cost += request.toll.read if alive else request.toll.writes[ttl]
        cold += not alive
        expiry = request.at + _LIFETIMES[ttl]
    return cost, cold
