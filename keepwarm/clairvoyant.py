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
_NO_WAY = (math.inf, 0)


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


def optimum(
    requests: Sequence[Request], ttls: Collection[Ttl], before: tuple[Request, Ttl] | None = None
) -> tuple[float, int]:
    """The least that these requests can cost, pings included, and how many are cold then; exact, in O(requests).

    After each request the entry lives with one of the ttls, and all that matters of the past is which: the cheapest way
    into each is the cheaper of bridging the gap with its pings, and of letting the entry die and writing it anew.

    Args:
        requests: of one prefix, ascending.
        ttls: what a write may ask for.
        before: a request that was paid for already, and the ttl of the entry that it left.
    """
    if not requests:
        return 0.0, 0
    ways: dict[Ttl, tuple[float, int]]
    if before:
        (last, left), rest = before, requests
        ways = dict.fromkeys(ttls, _NO_WAY) | {left: (0.0, 0)}
    else:
        last, rest = requests[0], requests[1:]
        ways = {ttl: (last.toll.writes[ttl], 1) for ttl in ttls}
    for request in rest:
        gap, toll, ping = request.at - last.at, request.toll, last.toll.read
        dead, cold = min([way for ttl, way in ways.items() if gap > _LIFETIMES[ttl]], default=_NO_WAY)
        ways = {
            ttl: min(
                (way[0] + pings_for(gap, ttl) * ping + toll.read, way[1]),
                (dead + toll.writes[ttl], cold + 1) if ttl in ttls else _NO_WAY,
            )
            for ttl, way in ways.items()
        }
        last = request
    return min(ways.values())


def unpinged(requests: Sequence[Request], ttl: Ttl, before: Request | None = None) -> tuple[float, int]:
    """What these requests cost when nobody pings, and how many of them are cold then.

    Args:
        requests: of one prefix, ascending.
        ttl: what every write asks for.
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
