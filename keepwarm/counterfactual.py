"""What organic requests would have found without our pings, and what the pings were therefore worth.

It reads no ledger and no registry and knows no clock. Without our pings an entry lives from organic request to organic
request alone: one that comes later than a lifetime after the one before would have been cold. Everything is counted
from the starts of requests, and only of prefixes that touches were told of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from enum import Enum, auto
from itertools import accumulate
from operator import itemgetter
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
        _add(summed, part)
        if part.waiting_saved_seconds:
            low, high = summed.waiting_saved_seconds or (0.0, 0.0)
            more_low, more_high = part.waiting_saved_seconds
            summed.waiting_saved_seconds = (low + more_low, high + more_high)
    return summed


def _add(summed: Traffic, part: Traffic) -> None:
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


class Pending(NamedTuple):
    """Pings since the last request that found the entry alive.

    Attributes:
        at: when the first of them started.
        before: the touch before it if the entry still lived then; None when no answer depends on it.
    """

    at: datetime
    pings: int
    cost_usd: Decimal
    before: datetime | None


class Settling(NamedTuple):
    """A moment that tells which pending pings were wasted: the entry, then of this lifetime, was found warm or not."""

    at: datetime
    lifetime: timedelta
    warm: bool


class Owed(NamedTuple):
    """What a request that found the entry warm, or not, costs at the prices of reading and of writing."""

    at: datetime
    lifetime: timedelta
    read_usd: Decimal
    write_usd: Decimal
    warm: bool


@dataclass(slots=True)
class Measured:
    """How often each latency in milliseconds was met: of organic requests and of pings, warm and cold."""

    organic_warm: Counter[int] = field(default_factory=Counter)
    organic_cold: Counter[int] = field(default_factory=Counter)
    ping_warm: Counter[int] = field(default_factory=Counter)
    ping_cold: Counter[int] = field(default_factory=Counter)

    def merge(self, other: Measured) -> None:
        """Add the counts of another."""
        self.organic_warm.update(other.organic_warm)
        self.organic_cold.update(other.organic_cold)
        self.ping_warm.update(other.ping_warm)
        self.ping_cold.update(other.ping_cold)


class Standing(NamedTuple):
    """How things stand with a cache entry at a moment, for those who go on from there.

    Attributes:
        last_ping: its start, and from when on others could read what it wrote.
        told_tokens: size of the prefix as a ping's usage told it, 0 without.
        heard_at: when the last request of any kind started that was told.
    """

    name: str
    last_request: datetime | None = None
    last_ping: tuple[datetime, datetime] | None = None
    billed_ttl: Ttl | None = None
    told_tokens: int = 0
    heard_at: datetime | None = None


@dataclass(slots=True)
class Stage:
    """A stretch of the way of one cache entry, walked once and for all; it can be put behind any other.

    Attributes:
        found: all that does not depend on what was before; waiting saved is not told.
        first_settling: what tells of the pings that were pending before it.
        first_owed: of its first request, whose best price depends on the touch before it.
        last_request: that touched the entry.
        left: its pings that are pending at its end.
    """

    found: Traffic
    measured: Measured
    first_settling: Settling | None = None
    first_owed: Owed | None = None
    last_request: datetime | None = None
    left: tuple[Pending, ...] = ()


@dataclass(slots=True)
class Stages:
    """What was walked before of one cache entry: whole stretches, one behind the other.

    Attributes:
        since: where they begin; given requests and pings of before it are walked first.
        until: where they end; given ones from then on are walked last.
        before: how things stood when the given ones begin; None when nothing was known.
        after: how things stood at the end.
    """

    since: datetime
    until: datetime
    before: Standing | None = None
    after: Standing | None = None
    stages: list[Stage] = field(default_factory=list)

    def heard(self, since: datetime) -> bool:
        """Whether a request was told of in them, or at a moment or later before them."""
        told = any(stage.found.requests for stage in self.stages)
        return told or bool(self.before and self.before.heard_at and self.before.heard_at >= since)


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
        walked: what was walked before, by fingerprint; touches and pings of its time must not be given again.
    """

    def __init__(self, touches: Iterable[Touch], walked: Mapping[str, Stages] | None = None) -> None:
        self._walked = walked or {}
        self._gathered: dict[str, _Gathered] = {
            fingerprint: _Gathered(known.name)
            for fingerprint, stages in self._walked.items()
            if (known := stages.after or stages.before)
        }
        for touch in touches:
            if touch.matched:
                gathered = self._gathered.setdefault(touch.fingerprint, _Gathered())
                gathered.requests.setdefault(touch.request_id, request_of(touch))
                gathered.name = touch.prefix

    def add(self, entry: Entry) -> None:
        """Take a ping, in any order; of a prefix without touches it is passed over."""
        gathered = self._gathered.get(entry.intent.fingerprint)
        if gathered:
            gathered.pings.append(ping_of(entry))

    def figures(self, terms: Mapping[str, Terms], since: datetime, until: datetime) -> dict[str, Traffic]:
        """What happened in [since, until), by name of prefix; names without terms are left out."""
        found: dict[str, list[Traffic]] = {}
        for fingerprint, gathered in self._gathered.items():
            own, walked = terms.get(gathered.name), self._walked.get(fingerprint)
            if own and (gathered.requests or (walked and walked.heard(since - own.longest_lifetime))):
                traffic = weigh(own, gathered.requests.values(), gathered.pings, since, until, walked)
                found.setdefault(gathered.name, []).append(traffic)
        return {name: total(parts) for name, parts in found.items()}


def request_of(touch: Touch) -> Request:
    """What counts of a touch."""
    return Request(touch.started_at, touch.usage, touch.latency_ms)


def ping_of(entry: Entry) -> Ping:
    """What counts of a ledger entry."""
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
    terms: Terms,
    requests: Iterable[Request],
    pings: Iterable[Ping],
    since: datetime,
    until: datetime,
    walked: Stages | None = None,
) -> Traffic:
    """What one cache entry's requests and pings mean, in any order.

    A ping of the very moment of a request comes after it. What started after the stretch is not looked at.

    Args:
        walked: what was walked before; requests and pings are then those before and behind it.
    """
    walk = Walk(terms, since, until)
    events = walk.prepared(requests, pings, walked.before if walked else None)
    if walked:
        head = [event for event in events if event.at < walked.since]
        walk.meet(head)
        walk.leap(walked)
        events = events[len(head) :]
    walk.meet(events)
    return walk.finish()


def stage(
    terms: Terms,
    requests: Iterable[Request],
    pings: Iterable[Ping],
    since: datetime,
    until: datetime,
    before: Standing | None = None,
) -> tuple[Stage, Standing]:
    """Walk a stretch once and for all; requests and pings are those of the stretch.

    Returns:
        What can be put behind any other stretch, and how things stand at its end (without a name).
    """
    walk = Walk(terms, since, until, leaves_first=True)
    walk.meet(walk.prepared(requests, pings, before))
    return walk.end_of_stage(), walk.standing(before.heard_at if before else None)


def folded(stages: Iterable[Stage], since: datetime, until: datetime) -> Stage:
    """Stages one behind the other as one; they are all there is in the stretch."""
    walk = Walk(_NO_TERMS, since, until, leaves_first=True)
    walk.leap(Stages(since, until, stages=list(stages)))
    return walk.end_of_stage()


# What was walked before needs none.
_NO_TERMS = Terms(None, Ttl.FIVE_MINUTES, lambda _: timedelta.max)


@dataclass(slots=True)
class Walk:
    """One cache entry on its way through time.

    Attributes:
        leaves_first: whether what the first request costs at best is left to whoever knows what was before it.
        told_tokens: size of the prefix as a ping's usage told it, 0 without.
        opening: since when the optimum's entry lives: from the last request, or what there was before the stretch.
        pending: pings since the last request that found the entry alive.
        heard_at: when the last request started.
    """

    terms: Terms
    since: datetime
    until: datetime
    leaves_first: bool = False
    told_tokens: int = 0
    found: Traffic = field(default_factory=Traffic)
    measured: Measured = field(default_factory=Measured)
    billed_ttl: Ttl | None = None
    last_request: datetime | None = None
    last_ping: tuple[datetime, datetime] | None = None
    opening: datetime | None = None
    heard_at: datetime | None = None
    first_settling: Settling | None = None
    first_owed: Owed | None = None
    pending: list[Pending] = field(default_factory=list)

    # -- going ----------------------------------------------------------------------------------------------------

    def prepared(
        self, requests: Iterable[Request], pings: Iterable[Ping], before: Standing | None
    ) -> Sequence[Request | Ping]:
        """Stand at the beginning; what is to be met, in order."""
        pings = sorted(pings, key=itemgetter(0))
        told = next((ping.tokens for ping in reversed(pings) if ping.tokens), 0)
        self.billed_ttl = self.terms.billed_ttl
        if before:
            self.stand(before)
            touched = (before.last_request, before.last_ping and before.last_ping[0])
            self.opening = max(filter(None, touched), default=None)
        self.told_tokens = told or self.told_tokens or self.terms.measured_tokens
        return sorted([*requests, *pings], key=itemgetter(0))

    def stand(self, standing: Standing) -> None:
        """Go on from where another walk ended."""
        self.last_request, self.last_ping = standing.last_request, standing.last_ping
        self.billed_ttl = standing.billed_ttl or self.billed_ttl
        self.told_tokens = self.told_tokens or standing.told_tokens

    def meet(self, events: Iterable[Request | Ping]) -> None:
        """Meet requests and pings in their order, until the stretch ends."""
        for event in events:
            if event.at >= self.until:
                break
            if isinstance(event, Request):
                self.meet_request(event)
            else:
                self.meet_ping(event)

    def leap(self, walked: Stages) -> None:
        """Go over what was walked before."""
        for each in walked.stages:
            if each.first_settling:
                self.first_settling = self.first_settling or each.first_settling
                self.clear(each.first_settling)
            if each.first_owed:
                self.owe(each.first_owed)
            _add(self.found, each.found)
            self.measured.merge(each.measured)
            self.opening = each.last_request or self.opening
            self.pending += each.left
        if walked.after:
            self.stand(walked.after)

    def standing(self, heard_at: datetime | None) -> Standing:
        """How things stand now."""
        heard_at = self.heard_at or heard_at
        return Standing("", self.last_request, self.last_ping, self.billed_ttl, self.told_tokens, heard_at)

    def end_of_stage(self) -> Stage:
        """What was met, to be put behind other stretches."""
        longest = self.terms.longest_lifetime
        # What comes now comes too late for the touches before these: one sum tells as much.
        old = [ping for ping in self.pending if ping.before is None or self.until - ping.before >= longest]
        left = [ping for ping in self.pending if ping.before is not None and self.until - ping.before < longest]
        if old:
            cost_usd = _ZERO
            for ping in old:
                cost_usd = EXACT.add(cost_usd, ping.cost_usd)
            left.insert(0, Pending(old[0].at, len(old), cost_usd, None))
        touched = self.opening if self.opening and self.opening >= self.since else None
        return Stage(self.found, self.measured, self.first_settling, self.first_owed, touched, tuple(left))

    # -- what the entry is like -----------------------------------------------------------------------------------

    @property
    def ttl(self) -> Ttl:
        """As billed, as far as is known."""
        return self.billed_ttl or self.terms.ttl

    @property
    def tokens(self) -> int:
        """Size of the prefix."""
        return self.told_tokens or self.terms.estimated_tokens

    @property
    def lifetime(self) -> timedelta:
        """How long the entry lives, as billed."""
        return self.terms.lifetime(self.billed_ttl)

    def lives(self, touched_at: datetime | None, at: datetime) -> bool:
        """Whether an entry that was last touched then is alive now."""
        return touched_at is not None and at - touched_at < self.lifetime

    def covered(self, at: datetime) -> bool:
        """Whether one of our pings should have kept the entry alive until now."""
        return self.last_ping is not None and self.last_ping[1] <= at and self.lives(self.last_ping[0], at)

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
        self.heard_at = at
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
            self.measured.organic_warm[request.latency_ms] += 1
        if request.latency_ms is not None and told is _Told.COLD:
            self.measured.organic_cold[request.latency_ms] += 1

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
        self.owe(Owed(at, self.lifetime, read, write, warm))

    def owe(self, owed: Owed) -> None:
        """Add what a request cost beyond its best, as the entry lives since the touch before it."""
        if self.leaves_first and self.first_owed is None:
            self.first_owed = owed
            return
        best = owed.write_usd
        if self.opening is not None:
            # n pings split a gap into n + 1 parts, each of which must be shorter than the lifetime.
            bridging = (owed.at - self.opening) // owed.lifetime
            best = min(best, EXACT.multiply(owed.read_usd, bridging + 1))
        self.pay(EXACT.subtract(owed.read_usd if owed.warm else owed.write_usd, best))

    def pay(self, amount: Decimal) -> None:
        """Add to the regret."""
        self.found.regret_usd = EXACT.add(self.found.regret_usd, amount)

    # -- pings ----------------------------------------------------------------------------------------------------

    def meet_ping(self, ping: Ping) -> None:
        """One of our pings."""
        if self.in_stretch(ping.at):
            self.pay(ping.cost_usd)
            if ping.verdict is Verdict.HIT:
                self.measured.ping_warm[ping.latency_ms] += 1
            elif ping.verdict is Verdict.REWRITE:
                self.measured.ping_cold[ping.latency_ms] += 1
        if ping.verdict not in _TOUCHING:
            return
        before = max(filter(None, (self.last_request, self.last_ping and self.last_ping[0])), default=None)
        if ping.verdict is Verdict.REWRITE or not self.lives(before, ping.at):
            self.settle(ping.at, warm=False)
            before = None
        self.pending.append(Pending(ping.at, 1, ping.cost_usd, before))
        self.last_ping = (ping.at, ping.ready_at)
        if ping.at < self.since:
            self.opening = ping.at
        self.billed_ttl = ping.billed_ttl or self.billed_ttl

    def settle(self, at: datetime, *, warm: bool) -> None:
        """Tell which of the pending pings were wasted, now that the entry was found alive or dead."""
        settling = Settling(at, self.lifetime, warm)
        self.first_settling = self.first_settling or settling
        self.clear(settling)

    def clear(self, settling: Settling) -> None:
        """Count the pending pings that were wasted; none is pending then."""
        at, lifetime, warm = settling
        for ping in self.pending:
            needless = ping.before is not None and at - ping.before < lifetime
            if self.in_stretch(ping.at) and (not warm or needless):
                self.found.wasted_pings += ping.pings
                self.found.wasted_usd = EXACT.add(self.found.wasted_usd, ping.cost_usd)
        self.pending.clear()

    def finish(self) -> Traffic:
        """The figures, when all has gone by."""
        self.settle(self.until, warm=False)
        told = self.measured
        organic, pinged = (told.organic_warm, told.organic_cold), (told.ping_warm, told.ping_cold)
        # An application that is always warm tells no cold latency; our own pings then tell both.
        warm_ms, cold_ms = organic if all(organic) else pinged
        if warm_ms and cold_ms:
            saved = (_median(cold_ms) - _median(warm_ms)) / 1000
            self.found.waiting_saved_seconds = (self.found.avoided_low * saved, self.found.avoided_high * saved)
        return self.found


def _median(counts: Counter[int]) -> float:
    """The middle of all, or between the two in the middle."""
    last = counts.total() - 1
    return (ranked(counts, last // 2) + ranked(counts, (last + 1) // 2)) / 2


def ranked(counts: Counter[int], rank: int) -> int:
    """The value at a rank, the first of which is 0; there must be so many."""
    values = sorted(counts)
    passed = accumulate(counts[value] for value in values)
    return next(value for value, until in zip(values, passed, strict=True) if until > rank)
