"""Walks through the requests and pings of one cache entry, in order, and weighs what the pings were worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from itertools import accumulate
from operator import itemgetter

from keepwarm import pricing
from keepwarm.counterfactual.figures import EXACT, Terms, Traffic, add_to
from keepwarm.counterfactual.stages import Measured, Owed, Pending, Ping, Request, Settling, Stage, Stages, Standing
from keepwarm.model import Ttl, Usage, Verdict

_ZERO = Decimal(0)
_TOUCHING = frozenset({Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE})


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
            add_to(self.found, each.found)
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
