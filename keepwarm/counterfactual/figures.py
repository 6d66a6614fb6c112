"""What the counterfactual must know of a prefix, and what it tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

from keepwarm.model import Prices, Ttl

# Far more digits than any sum of prices needs; should one ever need more, it fails rather than round.
EXACT = Context(prec=10_000, traps=[Inexact, InvalidOperation, Overflow, DivisionByZero])

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Terms:
    """What must be known of a prefix besides its pings and touches.

    Attributes:
        prices: None on provisioned throughput, where no amounts are told.
        ttl: what its request asks for.
        lifetime: how long an entry lives that was billed at this ttl; of None, at the one asked for.
        billed_ttl: what the last write before the stretch was billed as; None when that was not told.
        measured_tokens: size of the cached part as a ping's usage told it, 0 when none ever did.
        estimated_tokens: stands in for it.
    """

    prices: Prices | None
    ttl: Ttl
    lifetime: Callable[[Ttl | None], timedelta]
    billed_ttl: Ttl | None = None
    measured_tokens: int = 0
    estimated_tokens: int = 0

    @property
    def longest_lifetime(self) -> timedelta:
        """Of whatever it was billed at."""
        return max(map(self.lifetime, (None, *Ttl)))


@dataclass(slots=True)
class Traffic:
    """The organic requests of one prefix, or of all, in a stretch of time.

    Low bounds rest on requests whose usage proves the read; high ones take those without usage at their best.

    Attributes:
        warm: requests whose usage proves that they read all of the prefix.
        cold: requests whose usage proves that they wrote of it.
        uncached: requests whose usage neither read nor wrote; they touch nothing.
        unknown: requests without usage that tells.
        would_have_been_cold: without our pings.
        misses: cold ones that our pings should have kept warm.
        avoided_low: avoided writes; a request is credited with one at most, and only after a ping within a lifetime.
        avoided_low_tokens: that they did not have to write.
        wasted_pings: pings that an organic request would have made needless in time, or after which nobody came before
            the entry died or the stretch ended.
        waiting_saved_seconds: low and high; None while either warm or cold latencies are not measured.
        regret_usd: what pings and requests cost for this prefix beyond the cheapest that anybody could have done who
            knew all requests beforehand, with the same ttl; below 0 when entries outlived their lifetime.
    """

    requests: int = 0
    warm: int = 0
    cold: int = 0
    uncached: int = 0
    unknown: int = 0
    would_have_been_cold: int = 0
    misses: int = 0
    avoided_low: int = 0
    avoided_high: int = 0
    avoided_low_tokens: int = 0
    avoided_high_tokens: int = 0
    avoided_low_usd: Decimal = _ZERO
    avoided_high_usd: Decimal = _ZERO
    wasted_pings: int = 0
    wasted_usd: Decimal = _ZERO
    waiting_saved_seconds: tuple[float, float] | None = None
    regret_usd: Decimal = _ZERO


def total(parts: Iterable[Traffic]) -> Traffic:
    """The sum of several; waiting saved where it is measured."""
    summed = Traffic()
    for part in parts:
        add_to(summed, part)
        if part.waiting_saved_seconds:
            low, high = summed.waiting_saved_seconds or (0.0, 0.0)
            more_low, more_high = part.waiting_saved_seconds
            summed.waiting_saved_seconds = (low + more_low, high + more_high)
    return summed


def add_to(summed: Traffic, part: Traffic) -> None:
    """Add counts and amounts exactly; not the waiting saved."""
    for name in COUNTS:
        setattr(summed, name, getattr(summed, name) + getattr(part, name))
    for name in AMOUNTS:
        setattr(summed, name, EXACT.add(getattr(summed, name), getattr(part, name)))


COUNTS = (
    "requests", "warm", "cold", "uncached", "unknown", "would_have_been_cold", "misses", "avoided_low", "avoided_high",
    "avoided_low_tokens", "avoided_high_tokens", "wasted_pings",
)  # fmt: skip
AMOUNTS = ("avoided_low_usd", "avoided_high_usd", "wasted_usd", "regret_usd")


def to_json(traffic: Traffic | None, money: Callable[[Decimal], str | None]) -> dict[str, object]:
    """The figures as plain data, every key always there: null without touches.

    Args:
        money: writes an amount.
    """
    known = traffic is not None
    found = traffic or Traffic()
    seconds = found.waiting_saved_seconds or (None, None)
    counts: dict[str, object] = {
        "organic_requests": found.requests,
        "warm": found.warm,
        "cold": found.cold,
        "uncached": found.uncached,
        "unknown": found.unknown,
        "would_have_been_cold": found.would_have_been_cold,
        "misses": found.misses,
        "wasted_pings": found.wasted_pings,
        "wasted_usd": money(found.wasted_usd),
        "regret_usd": money(found.regret_usd),
    }
    return {
        **{name: value if known else None for name, value in counts.items()},
        "avoided_writes": {"low": found.avoided_low, "high": found.avoided_high} if known else _NO_BOUNDS,
        "waiting_saved_seconds": dict(zip(("low", "high"), seconds, strict=True)),
    }


_NO_BOUNDS = {"low": None, "high": None}
