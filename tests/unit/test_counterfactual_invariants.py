"""What holds of every weighing, and the same figures a second time: slowly, by their definitions, from raw entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from statistics import median
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keepwarm.accounting import Background, make_report, to_json
from keepwarm.counterfactual import Gathering, Terms, Traffic
from keepwarm.model import Entry, Prices, Rates, Touch, Ttl, Usage, Verdict
from tests.builders import MONDAY, make_entry, make_prefix, make_touch

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
SINCE, UNTIL = MONDAY + 10 * MINUTE, MONDAY + 60 * MINUTE
PREFIX = make_prefix()
TOUCHING = {Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE}
RATES = Rates(
    Decimal("1.6"), Decimal(8), cache_read=Decimal("0.2"), cache_write_5m=Decimal(2), cache_write_1h=Decimal(4)
)
LIVES = {None: 5 * MINUTE, Ttl.FIVE_MINUTES: 5 * MINUTE, Ttl.ONE_HOUR: 15 * MINUTE}
TERMS = Terms(Prices(RATES), Ttl.FIVE_MINUTES, LIVES.__getitem__, estimated_tokens=4_000)

usages = st.sampled_from(
    [
        None,
        Usage(3, 9, 5_000, 0),
        Usage(3, 9, 0, 5_000),
        Usage(3, 9, 0, 5_000, 0),
        Usage(3, 9, 0, 5_000, 5_000),
        Usage(3, 9, 5_000, 700),
        Usage(3, 9, 900, 4_100),
        Usage(5_003, 9, 0, 0),
    ]
)
# Coarse, so that gaps of exactly a lifetime and requests while a ping is away come up.
starts = st.integers(0, 210).map(lambda number: MONDAY + 20 * number * SECOND)
latencies = st.none() | st.integers(1, 9_999)
Story = tuple[list[Entry], list[Touch]]


@st.composite
def stories(draw: st.DrawFn, *, pings: int = 14) -> Story:
    entries = []
    for number, at in enumerate(sorted(draw(st.lists(starts, max_size=pings, unique=True)))):
        verdict = draw(st.sampled_from([*Verdict, Verdict.HIT, Verdict.HIT, None]))
        entry = make_entry(PREFIX, verdict, started_at=at)
        if entry.outcome:
            outcome = replace(
                entry.outcome,
                completed_at=at + draw(st.sampled_from([0, 5, 20, 30, 45])) * SECOND,
                cost_usd=Decimal(draw(st.integers(0, 10**6))) / 10**8,
                latency_ms=draw(st.integers(1, 9_999)),
                billed_ttl=draw(st.sampled_from([None, *Ttl])) if verdict is Verdict.REWRITE else None,
            )
            entry = replace(entry, outcome=draw(st.sampled_from([outcome, replace(outcome, usage=None)])))
        entries.append(replace(entry, number=number))
    moments = draw(st.lists(starts, min_size=1, max_size=14, unique=True))
    touches = [
        make_touch(PREFIX, number, started_at=at, usage=draw(usages), latency_ms=draw(latencies))
        for number, at in enumerate(moments)
    ]
    return entries, touches


def weigh(entries: list[Entry], touches: list[Touch]) -> Traffic:
    gathering = Gathering(touches)
    for entry in entries:
        gathering.add(entry)
    return gathering.figures({PREFIX.name: TERMS}, SINCE, UNTIL)[PREFIX.name]


# -- the same, slowly ---------------------------------------------------------------------------------------------

Event = Touch | Entry


def start(event: Event) -> datetime:
    return event.started_at if isinstance(event, Touch) else event.intent.started_at


def counted(event: Event) -> bool:
    return SINCE <= start(event) < UNTIL


class Slow:
    """Every question is answered anew from all entries and touches."""

    def __init__(self, entries: list[Entry], touches: list[Touch]) -> None:
        once = {touch.request_id: touch for touch in reversed(touches)}.values()
        events = sorted([*once, *entries], key=lambda event: (start(event), isinstance(event, Entry)))
        self.events: list[Event] = [event for event in events if start(event) < UNTIL]
        told = [entry.outcome.usage for entry in entries if entry.outcome and entry.outcome.usage]
        sizes = [usage.cache_read_tokens + usage.cache_write_tokens for usage in told]
        self.told_size = next((size for size in reversed(sizes) if size), 0)
        self.size = self.told_size or 4_000
        self.requests = [event for event in self.events if isinstance(event, Touch)]
        self.pings = [event for event in self.events if isinstance(event, Entry)]

    def before(self, event: Event) -> list[Event]:
        return self.events[: self.events.index(event)]

    def touches(self, event: Event) -> bool:
        if isinstance(event, Entry):
            return event.verdict in TOUCHING
        return self.proves(event) != "uncached"

    def proves(self, request: Touch) -> str:
        usage = request.usage
        if usage is None:
            return "unknown"
        if not usage.cache_read_tokens:
            return "cold" if usage.cache_write_tokens else "uncached"
        if not usage.cache_write_tokens:
            return "warm"
        if not self.told_size:
            return "unknown"
        return "warm" if usage.cache_read_tokens >= self.told_size else "cold"

    def billed(self, event: Event) -> Ttl | None:
        """What the last write before an event was billed as."""
        found = None
        for earlier in self.before(event):
            if isinstance(earlier, Entry):
                found = (earlier.outcome and earlier.outcome.billed_ttl) or found
            elif earlier.usage and self.proves(earlier) == "cold" and not earlier.usage.cache_read_tokens:
                split = {0: Ttl.FIVE_MINUTES, 5_000: Ttl.ONE_HOUR}
                found = split.get(earlier.usage.cache_write_1h_tokens, found)
        return found

    def alive(self, touched: Event | None, event: Event) -> bool:
        return touched is not None and start(event) - start(touched) < LIVES[self.billed(event)]

    def last(self, event: Event, wanted: Callable[[Event], bool]) -> Event | None:
        return next((earlier for earlier in reversed(self.before(event)) if wanted(earlier)), None)

    def would_have_been_cold(self, request: Touch) -> bool:
        organic = self.last(request, lambda earlier: isinstance(earlier, Touch) and self.touches(earlier))
        return not self.alive(organic, request)

    def covered(self, request: Touch) -> bool:
        ping = self.last(request, lambda earlier: isinstance(earlier, Entry) and self.touches(earlier))
        wrote = ping and ping.verdict in {Verdict.PARTIAL, Verdict.REWRITE}
        return self.alive(ping, request) and not (wrote and ping.outcome.completed_at > request.started_at)

    def warm(self, request: Touch) -> bool:
        believed = self.covered(request) or not self.would_have_been_cold(request)
        return self.proves(request) == "warm" or (self.proves(request) == "unknown" and believed)

    def wasted(self, ping: Entry) -> bool:
        previous = self.last(ping, self.touches)
        renewed = ping.verdict is not Verdict.REWRITE and self.alive(previous, ping)
        touched: Event = ping
        for event in self.events[self.events.index(ping) + 1 :]:
            if not self.touches(event):
                continue
            if isinstance(event, Touch):
                return not self.warm(event) or (renewed and self.alive(previous, event))
            if event.verdict is Verdict.REWRITE or not self.alive(touched, event):
                return True
            touched = event
        return True

    def price(self, event: Event) -> tuple[Fraction, Fraction]:
        """What reading and writing the prefix costs."""
        write = 4 if self.billed(event) is Ttl.ONE_HOUR else 2
        return self.size * Fraction("0.2") / 10**6, self.size * Fraction(write) / 10**6

    def saved(self, request: Touch) -> Fraction:
        read, write = self.price(request)
        return write - read

    def cheapest(self, request: Touch) -> Fraction:
        """A write, or as many pings as bridge the gap since whatever kept the entry alive, and a read."""
        read, write = self.price(request)
        anchor = self.last(
            request, lambda event: self.touches(event) and (isinstance(event, Touch) or start(event) < SINCE)
        )
        if anchor is None:
            return write
        gap, lives = request.started_at - start(anchor), LIVES[self.billed(request)]
        bridges = [read * (pings + 1) for pings in range(30) if gap / (pings + 1) < lives]
        return min([write, *bridges])

    def figures(self) -> dict[str, Any]:
        requests = [request for request in self.requests if counted(request)]
        proven = [self.proves(request) for request in requests]
        touching = [request for request in requests if self.touches(request)]
        credited = [
            request for request in touching
            if self.covered(request) and self.would_have_been_cold(request) and self.proves(request) != "cold"
        ]  # fmt: skip
        certain = [request for request in credited if self.proves(request) == "warm"]
        pings = [ping for ping in self.pings if counted(ping)]
        wasted = [ping for ping in pings if self.touches(ping) and self.wasted(ping)]
        paid = sum(self.price(request)[0 if self.warm(request) else 1] for request in touching)
        paid += sum(Fraction(ping.cost_usd) for ping in pings)
        return {
            "requests": len(requests),
            "warm": proven.count("warm"),
            "cold": proven.count("cold"),
            "uncached": proven.count("uncached"),
            "unknown": proven.count("unknown"),
            "would_have_been_cold": sum(map(self.would_have_been_cold, touching)),
            "misses": sum(self.covered(request) and self.proves(request) == "cold" for request in touching),
            "avoided_low": len(certain),
            "avoided_high": len(credited),
            "avoided_low_tokens": len(certain) * self.size,
            "avoided_high_tokens": len(credited) * self.size,
            "avoided_low_usd": sum(map(self.saved, certain)),
            "avoided_high_usd": sum(map(self.saved, credited)),
            "wasted_pings": len(wasted),
            "wasted_usd": sum(Fraction(ping.cost_usd) for ping in wasted),
            "waiting_saved_seconds": self.waiting(len(certain), len(credited)),
            "regret_usd": paid - sum(map(self.cheapest, touching)),
        }

    def waiting(self, low: int, high: int) -> tuple[float, float] | None:
        def told(proof: str) -> list[int]:
            return [
                request.latency_ms for request in self.requests
                if counted(request) and self.proves(request) == proof and request.latency_ms is not None
            ]  # fmt: skip

        def of_pings(verdict: Verdict) -> list[int]:
            return [ping.outcome.latency_ms for ping in self.pings if counted(ping) and ping.verdict is verdict]

        warm, cold = told("warm"), told("cold")
        if not (warm and cold):
            warm, cold = of_pings(Verdict.HIT), of_pings(Verdict.REWRITE)
        if not (warm and cold):
            return None
        saved = (median(cold) - median(warm)) / 1000
        return low * saved, high * saved


@given(stories())
def test_every_figure_is_what_its_definition_gives(story: Story):
    found, slow = weigh(*story), Slow(*story).figures()
    assert {name: getattr(found, name) for name in slow} == slow


# -- what always holds --------------------------------------------------------------------------------------------


@given(stories())
def test_low_is_never_above_high_and_nobody_is_credited_twice(story: Story):
    found = weigh(*story)
    assert 0 <= found.avoided_low <= found.avoided_high <= found.would_have_been_cold <= found.requests
    assert 0 <= found.avoided_low_usd <= found.avoided_high_usd
    assert found.avoided_low_tokens <= found.avoided_high_tokens
    assert found.avoided_low <= found.warm
    assert found.misses <= found.cold
    assert found.warm + found.cold + found.uncached + found.unknown == found.requests


@given(stories())
def test_nothing_is_saved_or_wasted_without_pings(story: Story):
    _, touches = story
    found = weigh([], touches)
    assert (found.avoided_high, found.avoided_high_usd, found.wasted_pings, found.misses) == (0, 0, 0, 0)


@given(stories())
def test_no_more_writes_are_avoided_than_pings_were_sent(story: Story):
    """A ping covers one lifetime, and within it one request at most would have been cold: its successors live on it."""
    entries, touches = story
    assert weigh(entries, touches).avoided_high <= len(entries)


@given(stories(), st.randoms(use_true_random=False))
def test_touches_told_late_or_twice_and_entries_in_disorder_change_nothing(story: Story, random: Any):
    entries, touches = story
    once = weigh(entries, touches)
    told = touches + touches
    random.shuffle(told)
    random.shuffle(entries)
    assert weigh(entries, told) == once


@given(stories())
def test_all_pings_and_what_they_cost_bound_the_wasted_ones(story: Story):
    entries, touches = story
    found = weigh(entries, touches)
    sent = [entry for entry in entries if counted(entry) and entry.verdict in TOUCHING]
    assert found.wasted_pings <= len(sent)
    assert found.wasted_usd <= sum((entry.cost_usd for entry in sent), Decimal(0))


@given(stories())
def test_the_best_plan_is_never_regretted(story: Story):
    """Requests that all found what their gaps promise, and no pings: only a lazy plan can be regretted."""
    _, touches = story
    silent = [replace(touch, usage=None) for touch in touches]
    assert weigh([], silent).regret_usd >= 0


@given(stories())
def test_a_report_says_what_was_weighed_and_its_total_adds_up(story: Story):
    entries, touches = story
    other = make_prefix(name="other", fingerprint="feed")
    theirs = {"prefix": "other", "fingerprint": "feed"}
    more = [replace(touch, request_id=f"{touch.request_id}-too", **theirs) for touch in touches[:3]]
    backgrounds = {name: Background(terms=TERMS) for name in (PREFIX.name, other.name)}
    data = to_json(make_report(entries, SINCE, UNTIL, backgrounds, [*touches, *more]))
    accounts = data["prefixes"]
    found = weigh(entries, touches)
    mine = next(account for account in accounts if account["name"] == PREFIX.name)
    assert Decimal(mine["avoided_write_usd"]["low"]) == found.avoided_low_usd
    assert Decimal(mine["avoided_write_usd"]["high"]) == found.avoided_high_usd
    assert mine["traffic"]["avoided_writes"] == {"low": found.avoided_low, "high": found.avoided_high}
    for bound in ("low", "high"):
        net = Fraction(mine["avoided_write_usd"][bound]) - Fraction(mine["refresh_cost_usd"])
        assert Fraction(mine["net_usd"][bound]) == net
        for name in ("avoided_write_usd", "net_usd"):
            summed = sum(Fraction(account[name][bound]) for account in accounts)
            assert Fraction(data["total"][name][bound]) == summed
    for name in ("organic_requests", "warm", "cold", "wasted_pings", "would_have_been_cold"):
        assert data["total"]["traffic"][name] == sum(account["traffic"][name] for account in accounts)
