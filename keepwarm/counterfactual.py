"""What organic requests would have found without our pings, and what the pings were therefore worth.

It reads no ledger and no registry and knows no clock. Without our pings an entry lives from organic request to organic
request alone: one that comes later than a lifetime after the one before would have been cold. Everything is counted
from the starts of requests, and only of prefixes that touches were told of.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from enum import Enum, auto
from operator import itemgetter
from statistics import median
from typing import NamedTuple

from keepwarm import pricing
from keepwarm.model import Entry, Prices, Touch, Ttl, Usage, Verdict

# Far more digits than any sum of prices needs; should one ever need more, it fails rather than round.
EXACT = Context(prec=10_000, traps=[Inexact, InvalidOperation, Overflow, DivisionByZero])

_ZERO = Decimal(0)
_TOUCHING = frozenset({Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE})


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
        for name in _COUNTS:
            setattr(summed, name, getattr(summed, name) + getattr(part, name))
        for name in _AMOUNTS:
            setattr(summed, name, EXACT.add(getattr(summed, name), getattr(part, name)))
        if part.waiting_saved_seconds:
            low, high = summed.waiting_saved_seconds or (0.0, 0.0)
            more_low, more_high = part.waiting_saved_seconds
            summed.waiting_saved_seconds = (low + more_low, high + more_high)
    return summed


_COUNTS = (
    "requests", "warm", "cold", "uncached", "unknown", "would_have_been_cold", "misses", "avoided_low", "avoided_high",
    "avoided_low_tokens", "avoided_high_tokens", "wasted_pings",
)  # fmt: skip
_AMOUNTS = ("avoided_low_usd", "avoided_high_usd", "wasted_usd", "regret_usd")


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


# -- gathering ----------------------------------------------------------------------------------------------------


class Request(NamedTuple):
    """What counts of a touch."""

    at: datetime
    usage: Usage | None
    latency_ms: int | None


class Ping(NamedTuple):
    """What counts of a ledger entry.

    Attributes:
        ready_at: from when on others can read what it wrote.
        tokens: read and written; 0 when not told.
    """

    at: datetime
    ready_at: datetime
    verdict: Verdict
    tokens: int
    billed_ttl: Ttl | None
    cost_usd: Decimal
    latency_ms: int


@dataclass(slots=True)
class _Gathered:
    """Requests and pings of one cache entry; the name is that of its latest touch."""

    name: str = ""
    requests: dict[str, Request] = field(default_factory=dict)
    pings: list[Ping] = field(default_factory=list)


class Gathering:
    """Gathers touches, then the pings of the same cache entries, and tells what they mean.

    Args:
        touches: in any order, also from a lifetime before the stretch on; those told twice count once, and those that
            belong to no prefix not at all.
    """

    def __init__(self, touches: Iterable[Touch]) -> None:
        self._gathered: dict[str, _Gathered] = {}
        for touch in touches:
            if touch.matched:
                gathered = self._gathered.setdefault(touch.fingerprint, _Gathered())
                request = Request(touch.started_at, touch.usage, touch.latency_ms)
                gathered.requests.setdefault(touch.request_id, request)
                gathered.name = touch.prefix

    def add(self, entry: Entry) -> None:
        """Take a ping, in any order; of a prefix without touches it is passed over."""
        gathered = self._gathered.get(entry.intent.fingerprint)
        if gathered:
            gathered.pings.append(_ping(entry))

    def figures(self, terms: Mapping[str, Terms], since: datetime, until: datetime) -> dict[str, Traffic]:
        """What happened in [since, until), by name of prefix; names without terms are left out."""
        found: dict[str, list[Traffic]] = {}
        for gathered in self._gathered.values():
            if gathered.name in terms:
                requests = gathered.requests.values()
                traffic = weigh(terms[gathered.name], requests, gathered.pings, since, until)
                found.setdefault(gathered.name, []).append(traffic)
        return {name: total(parts) for name, parts in found.items()}


def _ping(entry: Entry) -> Ping:
    outcome = entry.outcome
    wrote = entry.verdict in {Verdict.PARTIAL, Verdict.REWRITE}
    return Ping(
        at=entry.intent.started_at,
        ready_at=outcome.completed_at if outcome and wrote else entry.intent.started_at,
        verdict=entry.verdict,
        tokens=outcome.usage.cache_read_tokens + outcome.usage.cache_write_tokens if outcome and outcome.usage else 0,
        billed_ttl=outcome.billed_ttl if outcome else None,
        cost_usd=_ZERO if entry.intent.provisioned else entry.cost_usd,
        latency_ms=outcome.latency_ms if outcome else 0,
    )


# -- weighing -----------------------------------------------------------------------------------------------------


class _Told(Enum):
    """What the usage of a request proves of the prefix."""

    WARM = auto()
    COLD = auto()
    UNCACHED = auto()
    UNKNOWN = auto()


def weigh(
    terms: Terms, requests: Iterable[Request], pings: Iterable[Ping], since: datetime, until: datetime
) -> Traffic:
    """What one cache entry's requests and pings mean, in any order.

    A ping of the very moment of a request comes after it. What started after the stretch is not looked at.
    """
    pings = sorted(pings, key=itemgetter(0))
    walk = _Walk(terms, since, until, next((ping.tokens for ping in reversed(pings) if ping.tokens), 0))
    events: list[Request | Ping] = sorted([*requests, *pings], key=itemgetter(0))
    for event in events:
        if event.at >= until:
            break
        if isinstance(event, Request):
            walk.meet_request(event)
        else:
            walk.meet_ping(event)
    return walk.finish()


@dataclass(slots=True)
class _Walk:
    """One cache entry on its way through time.

    Attributes:
        told_tokens: size of the prefix as a ping's usage told it, 0 without.
        opening: since when the optimum's entry lives: from the last request, or what there was before the stretch.
        pending: pings since the last request that found the entry alive, each with the touch before it if the entry
            still lived then.
    """

    terms: Terms
    since: datetime
    until: datetime
    told_tokens: int
    found: Traffic = field(default_factory=Traffic)
    billed_ttl: Ttl | None = None
    last_request: datetime | None = None
    last_ping: Ping | None = None
    opening: datetime | None = None
    pending: list[tuple[Ping, datetime | None]] = field(default_factory=list)
    organic_warm_ms: array[int] = field(default_factory=lambda: array("q"))
    organic_cold_ms: array[int] = field(default_factory=lambda: array("q"))
    ping_warm_ms: array[int] = field(default_factory=lambda: array("q"))
    ping_cold_ms: array[int] = field(default_factory=lambda: array("q"))

    def __post_init__(self) -> None:
        self.billed_ttl = self.terms.billed_ttl
        self.told_tokens = self.told_tokens or self.terms.measured_tokens

    # -- what the entry is like -----------------------------------------------------------------------------------

    @property
    def ttl(self) -> Ttl:
        """As billed, as far as is known."""
        return self.billed_ttl or self.terms.ttl

    @property
    def tokens(self) -> int:
        """Size of the prefix."""
        return self.told_tokens or self.terms.estimated_tokens

    def lives(self, touched_at: datetime | None, at: datetime) -> bool:
        """Whether an entry that was last touched then is alive now."""
        return touched_at is not None and at - touched_at < self.terms.lifetime(self.billed_ttl)

    def covered(self, at: datetime) -> bool:
        """Whether one of our pings should have kept the entry alive until now."""
        return self.last_ping is not None and self.last_ping.ready_at <= at and self.lives(self.last_ping.at, at)

    def in_stretch(self, at: datetime) -> bool:
        """Whether this moment is in the stretch of the report."""
        return self.since <= at < self.until

    def told(self, usage: Usage | None) -> _Told:
        """What usage proves. A request may have cache points behind ours: it then reads ours and writes its own."""
        if usage is None:
            return _Told.UNKNOWN
        match usage.verdict:
            case Verdict.HIT:
                return _Told.WARM
            case Verdict.REWRITE:
                return _Told.COLD
            case Verdict.UNCACHED:
                return _Told.UNCACHED
        if not self.told_tokens:
            return _Told.UNKNOWN
        return _Told.WARM if usage.cache_read_tokens >= self.told_tokens else _Told.COLD

    # -- requests -------------------------------------------------------------------------------------------------

    def meet_request(self, request: Request) -> None:
        """An organic request."""
        told, at = self.told(request.usage), request.at
        alive = self.covered(at) or self.lives(self.last_request, at)
        warm = told is _Told.WARM or (told is _Told.UNKNOWN and alive)
        if self.in_stretch(at):
            self.count(request, told)
        if told is _Told.UNCACHED:
            return
        if self.in_stretch(at):
            self.credit(told, at)
            self.regret(at, warm=warm)
        self.settle(at, warm=warm)
        self.last_request = self.opening = at
        self.billed_ttl = (request.usage and pricing.whole_write_ttl(request.usage)) or self.billed_ttl

    def count(self, request: Request, told: _Told) -> None:
        """Count a request by what it proves."""
        found = self.found
        found.requests += 1
        found.warm += told is _Told.WARM
        found.cold += told is _Told.COLD
        found.uncached += told is _Told.UNCACHED
        found.unknown += told is _Told.UNKNOWN
        if request.latency_ms is not None and told is _Told.WARM:
            self.organic_warm_ms.append(request.latency_ms)
        if request.latency_ms is not None and told is _Told.COLD:
            self.organic_cold_ms.append(request.latency_ms)

    def credit(self, told: _Told, at: datetime) -> None:
        """Credit an avoided write, or charge a miss."""
        found, covered = self.found, self.covered(at)
        would_have_been_cold = not self.lives(self.last_request, at)
        found.would_have_been_cold += would_have_been_cold
        found.misses += covered and told is _Told.COLD
        if not (covered and would_have_been_cold) or told is _Told.COLD:
            return
        saved = pricing.avoided_write_usd(self.terms.prices, self.tokens, self.ttl) if self.terms.prices else _ZERO
        found.avoided_high += 1
        found.avoided_high_tokens += self.tokens
        found.avoided_high_usd = EXACT.add(found.avoided_high_usd, saved)
        if told is _Told.WARM:
            found.avoided_low += 1
            found.avoided_low_tokens += self.tokens
            found.avoided_low_usd = EXACT.add(found.avoided_low_usd, saved)

    def regret(self, at: datetime, *, warm: bool) -> None:
        """Add what this request cost, less what it costs at best: bridging the gap with pings, or writing anew."""
        if self.terms.prices is None:
            return
        read = pricing.read_cost_usd(self.terms.prices, self.tokens)
        write = pricing.write_cost_usd(self.terms.prices, self.tokens, self.ttl)
        best = write
        if self.opening is not None:
            # n pings split a gap into n + 1 parts, each of which must be shorter than the lifetime.
            bridging = (at - self.opening) // self.terms.lifetime(self.billed_ttl)
            best = min(write, EXACT.multiply(read, bridging + 1))
        self.pay(EXACT.subtract(read if warm else write, best))

    def pay(self, amount: Decimal) -> None:
        """Add to the regret."""
        self.found.regret_usd = EXACT.add(self.found.regret_usd, amount)

    # -- pings ----------------------------------------------------------------------------------------------------

    def meet_ping(self, ping: Ping) -> None:
        """One of our pings."""
        if self.in_stretch(ping.at):
            self.pay(ping.cost_usd)
            if ping.verdict is Verdict.HIT:
                self.ping_warm_ms.append(ping.latency_ms)
            elif ping.verdict is Verdict.REWRITE:
                self.ping_cold_ms.append(ping.latency_ms)
        if ping.verdict not in _TOUCHING:
            return
        before = max(filter(None, (self.last_request, self.last_ping and self.last_ping.at)), default=None)
        if ping.verdict is Verdict.REWRITE or not self.lives(before, ping.at):
            self.settle(ping.at, warm=False)
            before = None
        self.pending.append((ping, before))
        self.last_ping = ping
        if ping.at < self.since:
            self.opening = ping.at
        self.billed_ttl = ping.billed_ttl or self.billed_ttl

    def settle(self, at: datetime, *, warm: bool) -> None:
        """Tell which of the pending pings were wasted, now that the entry was found alive or dead."""
        for ping, before in self.pending:
            if self.in_stretch(ping.at) and (not warm or self.lives(before, at)):
                self.found.wasted_pings += 1
                self.found.wasted_usd = EXACT.add(self.found.wasted_usd, ping.cost_usd)
        self.pending.clear()

    def finish(self) -> Traffic:
        """The figures, when all has gone by."""
        self.settle(self.until, warm=False)
        organic, pinged = (self.organic_warm_ms, self.organic_cold_ms), (self.ping_warm_ms, self.ping_cold_ms)
        # An application that is always warm tells no cold latency; our own pings then tell both.
        warm_ms, cold_ms = organic if all(organic) else pinged
        if warm_ms and cold_ms:
            saved = (median(cold_ms) - median(warm_ms)) / 1000
            self.found.waiting_saved_seconds = (self.found.avoided_low * saved, self.found.avoided_high * saved)
        return self.found
