"""What a prefix should be registered with, as its own past weeks tell.

It replays through the planner as `simulate` does, and applies nothing. Savings are of the weeks that were seen, against
never pinging at the ttl that production marks now; the choice among few candidates was made on the same weeks, so what
comes may save a little less. A request that finds it cold costs what the prefix says that is worth (`cold_start_usd`)
besides its tokens. Opening writes (`prewarm`) are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from keepwarm.busyhours import parse_window
from keepwarm.model import (
    ALWAYS,
    AdaptivePolicy,
    BusyHours,
    BusyHoursPolicy,
    Entry,
    IdleLimitPolicy,
    Policy,
    Prefix,
    Reason,
    Ttl,
    Verdict,
)
from keepwarm.simulate.comparison import Candidate, Setting, candidates, name_of, run
from keepwarm.simulate.figures import Measure
from keepwarm.simulate.traces import Trace

LEAST_REQUESTS = 30
LEAST_TIME = timedelta(days=7)

# Not worth a change: so small a share of what never pinging costs.
_SLIGHT = 0.02
# From so many requests on that find it cold however it is kept, they want to be bundled.
_MOSTLY = 0.5
_LEAST_PINGS = 20
_WEEK = timedelta(days=7)
_HIT_DUE = frozenset({Reason.KEEP_WARM, Reason.BRIDGE_PAUSE, Reason.RETRY})


class Advised(StrEnum):
    """What the past weeks tell; closed."""

    TOO_LITTLE_KNOWN = "too_little_known"
    NO_PRICE = "no_price"  # provisioned throughput
    KEEP = "keep"  # nothing saves much more than what is registered
    CHANGE = "change"
    NO_PINGS_NEEDED = "no_pings_needed"  # the traffic keeps it warm by itself
    LEAVE_COLD = "leave_cold"  # too sparse for any ping to pay


@dataclass(frozen=True, slots=True)
class Option:
    """One way to register a prefix, and what the weeks seen would have cost with it.

    Attributes:
        ttl: None for `ttl: auto`.
        usd: of requests and pings, and of cold starts at `cold_start_usd` each.
        cold: requests that found it cold.
        saved_usd_per_week: against never pinging at the present ttl.
    """

    policy: Policy
    ttl: Ttl | None
    hours: BusyHours
    usd: float
    cold: int
    pings: int
    saved_usd_per_week: float = 0.0

    @property
    def name(self) -> str:
        """The policy as `simulate --policy` reads it."""
        return name_of(self.policy)


@dataclass(frozen=True, slots=True)
class Advice:
    """What is advised for one prefix.

    Attributes:
        requests: that it rests on.
        weeks: from the first to the last of them.
        now: what is registered; None unless money can be told. So are all further ones.
        best: within the ttl that production marks.
        other: the best with another ttl, where that saves more; the application must mark it.
        bundled_usd_per_week: what the requests would cost if those of each day came together, one write a day, for
            `leave_cold`.
        never_usd_per_week: what they cost without pings.
        cold_start_usd: what each request that finds it cold counts besides, as registered.
    """

    prefix: str
    advised: Advised
    requests: int
    weeks: float
    now: Option | None = None
    best: Option | None = None
    other: Option | None = None
    bundled_usd_per_week: float | None = None
    never_usd_per_week: float | None = None
    cold_start_usd: Decimal = Decimal(0)


def advise(prefix: Prefix, trace: Trace | None, setting: Setting) -> Advice:
    """What the arrivals of a prefix tell.

    Args:
        prefix: as registered.
        trace: its arrivals only; None where there are none.
        setting: the learner and the rewrite rate; model and busy hours are those of the prefix.
    """
    arrivals = trace.arrivals if trace else ()
    seen = arrivals[-1].at - arrivals[0].at if arrivals else timedelta(0)
    weeks = seen / _WEEK
    if trace is None or len(arrivals) < LEAST_REQUESTS or seen < LEAST_TIME:
        return Advice(prefix.name, Advised.TOO_LITTLE_KNOWN, len(arrivals), weeks)
    if prefix.provisioned:
        return Advice(prefix.name, Advised.NO_PRICE, len(arrivals), weeks)
    desk = _Desk(prefix, trace, replace(setting, facts=prefix.facts, cold_start_usd=prefix.cold_start_usd), weeks)
    return desk.advice()


def rewrite_rate_of(entries: Iterable[Entry]) -> float:
    """The share of pings that found a living entry gone; 0 while there are few to tell."""
    verdicts = Counter(entry.verdict for entry in entries if entry.intent.reason in _HIT_DUE)
    told = verdicts[Verdict.HIT] + verdicts[Verdict.REWRITE]
    return verdicts[Verdict.REWRITE] / told if told >= _LEAST_PINGS else 0.0


def busy_hours_seen(moments: Sequence[datetime], timezone: str, share: float = 0.9, longest: int = 16) -> BusyHours:
    """The hours that somebody would register who has seen these requests; named as their window is written.

    The fewest clock hours in a row that hold such a share of them, and at most so many hours; from Monday to Friday
    only if these days hold as large a share.
    """
    zone = ZoneInfo(timezone)
    local = [moment.astimezone(zone) for moment in moments]
    by_hour = Counter(moment.hour for moment in local)
    enough = share * len(local)

    def held(start: int, length: int) -> int:
        return sum(by_hour[(start + step) % 24] for step in range(length))

    most = {length: max(held(start, length) for start in range(24)) for length in range(1, longest)}
    length = next((length for length, count in most.items() if count >= enough), longest)
    start = max(range(24), key=lambda each: held(each, length))
    days = "Mon-Fri" if sum(moment.weekday() < 5 for moment in local) >= enough else "Mon-Sun"
    window = f"{days} {start:02d}:00-{(start + length - 1) % 24 + 1:02d}:00"
    return BusyHours(window, timezone, (parse_window(window),))


@dataclass(frozen=True, slots=True)
class _Desk:
    """One prefix while it is advised on."""

    prefix: Prefix
    trace: Trace
    setting: Setting
    weeks: float

    def advice(self) -> Advice:
        prefix, measure = self.prefix, Measure(self.trace, self.setting.facts, 0.0)
        never = self._try(measure, Candidate("never", IdleLimitPolicy(0), prefix.ttl), ALWAYS, None)
        tried = [self._try(measure, candidate, hours, never) for candidate, hours in self._candidates()]
        mine = [each for each in tried if self._may_be(each.ttl)]
        ttl = None if prefix.auto_ttl else prefix.ttl
        now = next((each for each in mine if (each.policy, each.ttl, each.hours)
                    == (self._policy, ttl, prefix.busy_hours)), never)  # fmt: skip
        slight = _SLIGHT * never.usd / self.weeks
        best = self._best(mine, slight)
        if now.saved_usd_per_week >= best.saved_usd_per_week - slight:
            best = now
        others = [each for each in tried if not self._may_be(each.ttl)]
        other = self._best(others, slight) if others else None
        return Advice(
            prefix=prefix.name,
            advised=self._advised(now, best, slight),
            requests=len(self.trace.arrivals),
            weeks=self.weeks,
            now=now,
            best=best,
            other=other if other and other.saved_usd_per_week > best.saved_usd_per_week + slight else None,
            bundled_usd_per_week=self._bundled(measure) / self.weeks,
            never_usd_per_week=never.usd / self.weeks,
            cold_start_usd=self.prefix.cold_start_usd,
        )

    @property
    def _policy(self) -> Policy:
        """What is registered, as far as it can be replayed: without a learner, adaptive pings all busy hours."""
        policy = self.prefix.policy
        return BusyHoursPolicy() if isinstance(policy, AdaptivePolicy) and not self.setting.learner else policy

    def _may_be(self, ttl: Ttl | None) -> bool:
        return self.prefix.auto_ttl or ttl is self.prefix.ttl

    def _candidates(self) -> Iterator[tuple[Candidate, BusyHours]]:
        """Policies, ttls and hours worth trying, what is registered among them."""
        registered = self.prefix.busy_hours
        at_any_hour = [registered] if registered.windows == ALWAYS.windows else [registered, ALWAYS]
        seen = busy_hours_seen([arrival.at for arrival in self.trace.arrivals], registered.timezone)
        known = list(candidates(self.setting.facts))
        ttls = {candidate.ttl for candidate in known if candidate.policy is not None}
        own = Candidate(name_of(self._policy), self._policy, None if self.prefix.auto_ttl else self.prefix.ttl)
        if own.ttl in ttls and own not in known:
            yield own, registered
        for candidate in known:
            if candidate.policy is None or (isinstance(candidate.policy, AdaptivePolicy) and not self.setting.learner):
                continue
            if candidate.ttl is None and not self.prefix.auto_ttl:
                continue
            for hours in [registered, seen] if isinstance(candidate.policy, BusyHoursPolicy) else at_any_hour:
                yield candidate, hours

    def _try(self, measure: Measure, candidate: Candidate, hours: BusyHours, never: Option | None) -> Option:
        total = run(self.trace, measure, candidate, replace(self.setting, busy_hours=hours)).total
        assert candidate.policy is not None  # noqa: S101 - only the clairvoyant has none
        cost = total.spent.cost
        usd = cost.usd + cost.cold * float(self.prefix.cold_start_usd)
        saved = (never.usd - usd) / self.weeks if never else 0.0
        return Option(candidate.policy, candidate.ttl, hours, usd, cost.cold, total.spent.pings, saved)

    def _best(self, tried: Sequence[Option], slight: float) -> Option:
        """The cheapest; of those that are hardly dearer, the adaptive one, which goes on learning, or the plainest."""
        most = max(each.saved_usd_per_week for each in tried)
        near = [each for each in tried if each.saved_usd_per_week >= most - slight]

        def plain(each: Option) -> tuple[bool, bool, int]:
            adaptive = isinstance(each.policy, AdaptivePolicy)
            return not adaptive, each.hours != self.prefix.busy_hours, each.pings

        return min(near, key=plain)

    def _advised(self, now: Option, best: Option, slight: float) -> Advised:
        if best.saved_usd_per_week < slight:
            sparse = best.cold > _MOSTLY * len(self.trace.arrivals)
            return Advised.LEAVE_COLD if sparse else Advised.NO_PINGS_NEEDED
        return Advised.KEEP if best == now else Advised.CHANGE

    def _bundled(self, measure: Measure) -> float:
        """What the requests of each local day would cost together: one write, and reads."""
        zone = ZoneInfo(self.prefix.busy_hours.timezone)
        cost, days = 0.0, set()
        for arrival in self.trace.arrivals:
            toll, day = measure.usd(arrival.prefix_tokens), arrival.at.astimezone(zone).date()
            cost += toll.read if day in days else toll.writes[self.prefix.ttl] + float(self.prefix.cold_start_usd)
            days.add(day)
        return cost
