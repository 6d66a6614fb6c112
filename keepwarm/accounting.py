"""What the pings of a stretch of time cost and what they saved, from ledger entries to a report.

It reads no ledger and no registry, knows no clock and rounds no money. Where touches were told, `counterfactual` says
what was saved. Without a traffic signal nobody can say how many organic requests found the entry that a ping kept
alive, so savings are bounds: at least none, at most one avoided write per hit ping. The shape of the JSON is a promise
to the programs that read `keepwarm report --format json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from keepwarm import counterfactual
from keepwarm.counterfactual import EXACT, Gathering, Terms, Traffic
from keepwarm.model import Entry, Span, Touch, Verdict
from keepwarm.rollups import Rolled
from keepwarm.sums import TOUCHING, Percentiles, Sums, Tokens, percentiles, put

NO_TRAFFIC_SIGNAL = "no traffic signal: low 0, high one avoided write per hit ping"
TRAFFIC = (
    "traffic: low requests whose usage proves an avoided write, high also those without usage after a ping in time"
)
PARTLY_TRAFFIC = f"for some prefixes {TRAFFIC}; for the others {NO_TRAFFIC_SIGNAL}"

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which two amounts of USD the truth lies."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Account:
    """The pings of one prefix, or of all, in the stretch of time of the report.

    Attributes:
        name: of the prefix; empty in the total.
        pings: how many by verdict; every verdict is there.
        refresh_cost_usd: what the pings cost; None when there is no price because all ran on provisioned throughput.
        avoided_write_usd: what organic requests saved; None as above.
        basis: what the bounds of avoided_write_usd rest on.
        net_usd: avoided write less refresh cost; None as above.
        warm_share_of_busy_time: 0 to 1, the part of the busy hours in which a ping had touched the entry less than a
            lifetime ago; None when the busy hours are not known or there were none.
        break_even_requests_per_day: well-spaced organic requests in a busy day from which keeping it warm pays; None
            when it is not known, and in the total.
        capacity_freed_tokens: for provisioned throughput, input tokens that organic requests did not have to process;
            None for prefixes that are paid by the token.
        traffic: what organic requests told; None when none was told of.
    """

    name: str
    pings: Mapping[Verdict, int]
    refresh_cost_usd: Decimal | None
    avoided_write_usd: Bounds | None
    basis: str
    net_usd: Bounds | None
    warm_share_of_busy_time: float | None
    latency_warm_ms: Percentiles
    latency_cold_ms: Percentiles
    tokens: Tokens
    break_even_requests_per_day: int | None
    capacity_freed_tokens: tuple[int, int] | None
    traffic: Traffic | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What `keepwarm report` says; since and until are aware UTC, a half-open stretch."""

    since: datetime
    until: datetime
    prefixes: tuple[Account, ...]
    total: Account


def ttl_of(entry: Entry) -> timedelta:
    """How long an entry lives by its ttl: the billed one where it was told, else the one asked for."""
    billed = entry.outcome.billed_ttl if entry.outcome else None
    return (billed or entry.intent.ttl).duration


@dataclass(frozen=True, slots=True)
class Background:
    """What the registry knows of a prefix and the ledger does not.

    Attributes:
        busy: busy hours inside the stretch of the report, ascending and apart; None when they are not known.
        lifetime: how long the cache entry is taken to live after this ping.
        provisioned: whether the model runs on provisioned throughput.
        daily_refresh_cost_usd: what the pings of one busy day are expected to cost.
        avoided_write_usd: what one organic request saves that finds the entry warm.
        terms: what touches are weighed with; None leaves them out.
    """

    busy: Sequence[Span] | None = None
    lifetime: Callable[[Entry], timedelta] = ttl_of
    provisioned: bool = False
    daily_refresh_cost_usd: Decimal | None = None
    avoided_write_usd: Decimal | None = None
    terms: Terms | None = None


def make_report(
    entries: Iterable[Entry],
    since: datetime,
    until: datetime,
    backgrounds: Mapping[str, Background] | None = None,
    touches: Iterable[Touch] = (),
    rolled: Rolled | None = None,
) -> Report:
    """Sum up ledger entries in one pass.

    Args:
        entries: in any order. Those that started outside [since, until) are not counted, but what they kept warm inside
            it is: give it the entries from a lifetime before `since` on.
        since: start of the stretch, aware.
        until: its end, exclusive.
        backgrounds: by name of prefix. Prefixes without one are reported from the ledger alone, and those without
            entries with zeros.
        touches: in any order; give those from a lifetime before `since` on, too.
        rolled: days that were summed up before; entries and touches are then those before and behind them, the former
            from the beginning of the day of `since` on.
    """
    known = backgrounds or {}
    gathering = Gathering(touches, rolled.walked if rolled else None)
    prefixes = {name: _Prefix(background) for name, background in known.items()}
    for part in rolled.parts if rolled else ():
        own = prefixes.setdefault(part.prefix, _Prefix(known.get(part.prefix)))
        own.sums.merge(part.sums)
        own.touched += part.warm
    for entry in entries:
        prefix = prefixes.get(entry.intent.prefix)
        if prefix is None:
            prefix = prefixes[entry.intent.prefix] = _Prefix(None)
        prefix.warm(entry)
        gathering.add(entry)
        if since <= entry.intent.started_at < until:
            prefix.sums.add(entry)
    terms = {name: background.terms for name, background in known.items() if background.terms}
    for name, traffic in gathering.figures(terms, since, until).items():
        prefixes[name].traffic = traffic
    seen = {name: prefix for name, prefix in sorted(prefixes.items()) if name in known or prefix.sums.entries}
    return Report(
        since=since,
        until=until,
        prefixes=tuple(_account(name, prefix) for name, prefix in seen.items()),
        total=_total(list(seen.values())),
    )


def break_even_requests_per_day(refresh_cost_usd: Decimal | None, avoided_write_usd: Decimal | None) -> int | None:
    """How many well-spaced requests a day pay for the pings of a busy day; None when unknown or when none ever do."""
    if refresh_cost_usd is None or not avoided_write_usd or avoided_write_usd < 0:
        return None
    return ceil(Fraction(refresh_cost_usd) / Fraction(avoided_write_usd))


def to_json(report: Report) -> dict[str, object]:
    """The report as plain data for `json.dumps`: money as decimal strings without exponent, moments as ISO 8601 Z."""
    return {
        "since": _moment(report.since),
        "until": _moment(report.until),
        "prefixes": [{"name": account.name} | _account_json(account) for account in report.prefixes],
        "total": _account_json(report.total),
    }


# -- summing up ---------------------------------------------------------------------------------------------------


class _Saved(NamedTuple):
    """Bounds of what organic requests saved, in money and in tokens of provisioned capacity."""

    low_usd: Decimal
    high_usd: Decimal
    low_tokens: int
    high_tokens: int


@dataclass(slots=True)
class _Prefix:
    """One prefix while the entries go by."""

    background: Background | None
    sums: Sums = field(default_factory=Sums)
    touched: list[Span] = field(default_factory=list)
    traffic: Traffic | None = None

    @property
    def saved(self) -> _Saved:
        """What organic requests saved: as touches tell, or else as the pings allow."""
        sums, traffic = self.sums, self.traffic
        if traffic is None:
            return _Saved(_ZERO, sums.avoidable_usd, 0, sums.freed_tokens)
        if self.provisioned:
            return _Saved(_ZERO, _ZERO, traffic.avoided_low_tokens, traffic.avoided_high_tokens)
        return _Saved(traffic.avoided_low_usd, traffic.avoided_high_usd, 0, sums.freed_tokens)

    @property
    def provisioned(self) -> bool:
        """As the registry says, or for a prefix that is no longer there, as its pings say."""
        return self.background.provisioned if self.background else self.sums.provisioned

    @property
    def busy(self) -> Sequence[Span]:
        """The busy hours, none when they are not known."""
        return (self.background and self.background.busy) or ()

    def warm(self, entry: Entry) -> None:
        """Note how long the entry lives from this ping on."""
        if not self.background or not self.busy or entry.verdict not in TOUCHING:
            return
        start = entry.intent.started_at
        put(self.touched, Span(start, start + self.background.lifetime(entry)))

    def busy_and_warm(self) -> tuple[timedelta, timedelta]:
        """How much busy time there was, and in how much of it the entry was warm."""
        return _length(self.busy), _overlap(_union(self.touched), self.busy)


def _account(name: str, prefix: _Prefix) -> Account:
    background = prefix.background or Background()
    account = _make_account(
        name,
        prefix.sums,
        prefix.saved,
        basis=TRAFFIC if prefix.traffic else NO_TRAFFIC_SIGNAL,
        traffic=prefix.traffic,
        # A prefix that moved to provisioned throughput keeps what its earlier pings cost.
        priced=not prefix.provisioned or prefix.sums.paid_entries > 0,
        provisioned=prefix.provisioned or prefix.sums.provisioned,
        busy_and_warm=prefix.busy_and_warm(),
    )
    if prefix.provisioned:
        return account
    pays = break_even_requests_per_day(background.daily_refresh_cost_usd, background.avoided_write_usd)
    return replace(account, break_even_requests_per_day=pays)


def _total(prefixes: Sequence[_Prefix]) -> Account:
    sums, saved = Sums(), _Saved(_ZERO, _ZERO, 0, 0)
    busy, warm = timedelta(0), timedelta(0)
    for prefix in prefixes:
        sums.merge(prefix.sums)
        saved = _add_saved(saved, prefix.saved)
        more_busy, more_warm = prefix.busy_and_warm()
        busy, warm = busy + more_busy, warm + more_warm
    provisioned = sums.provisioned or any(prefix.provisioned for prefix in prefixes)
    told = [prefix.traffic for prefix in prefixes if prefix.traffic]
    partly = TRAFFIC if len(told) == len(prefixes) else PARTLY_TRAFFIC
    return _make_account(
        "",
        sums,
        saved,
        basis=partly if told else NO_TRAFFIC_SIGNAL,
        traffic=counterfactual.total(told) if told else None,
        priced=True,
        provisioned=provisioned,
        busy_and_warm=(busy, warm),
    )


def _make_account(
    name: str,
    sums: Sums,
    saved: _Saved,
    *,
    basis: str,
    traffic: Traffic | None,
    priced: bool,
    provisioned: bool,
    busy_and_warm: tuple[timedelta, timedelta],
) -> Account:
    busy, warm = busy_and_warm
    net = Bounds(EXACT.subtract(saved.low_usd, sums.cost_usd), EXACT.subtract(saved.high_usd, sums.cost_usd))
    return Account(
        name=name,
        pings=sums.pings,
        refresh_cost_usd=sums.cost_usd if priced else None,
        avoided_write_usd=Bounds(saved.low_usd, saved.high_usd) if priced else None,
        basis=basis,
        net_usd=net if priced else None,
        warm_share_of_busy_time=warm / busy if busy else None,
        latency_warm_ms=percentiles(sums.warm_ms),
        latency_cold_ms=percentiles(sums.cold_ms),
        tokens=sums.tokens,
        break_even_requests_per_day=None,
        capacity_freed_tokens=(saved.low_tokens, saved.high_tokens) if provisioned else None,
        traffic=traffic,
    )


def _add_saved(one: _Saved, other: _Saved) -> _Saved:
    return _Saved(
        low_usd=EXACT.add(one.low_usd, other.low_usd),
        high_usd=EXACT.add(one.high_usd, other.high_usd),
        low_tokens=one.low_tokens + other.low_tokens,
        high_tokens=one.high_tokens + other.high_tokens,
    )


# -- stretches of time --------------------------------------------------------------------------------------------


def _length(spans: Iterable[Span]) -> timedelta:
    return sum((span.duration for span in spans), timedelta(0))


def _union(spans: Iterable[Span]) -> list[Span]:
    """Spans in order that neither touch nor overlap, covering the same time."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def _overlap(left: Sequence[Span], right: Sequence[Span]) -> timedelta:
    """The time that two lists of spans share; each ascending and apart."""
    shared, here, there = timedelta(0), 0, 0
    while here < len(left) and there < len(right):
        one, other = left[here], right[there]
        shared += max(timedelta(0), min(one.end, other.end) - max(one.start, other.start))
        if one.end <= other.end:
            here += 1
        else:
            there += 1
    return shared


# -- JSON ---------------------------------------------------------------------------------------------------------


def _account_json(account: Account) -> dict[str, object]:
    freed, share = account.capacity_freed_tokens, account.warm_share_of_busy_time
    priced = account.refresh_cost_usd is not None
    return {
        "pings": {verdict.value: account.pings[verdict] for verdict in Verdict},
        "refresh_cost_usd": _money(account.refresh_cost_usd),
        "avoided_write_usd": _bounds(account.avoided_write_usd, {"basis": account.basis}),
        "net_usd": _bounds(account.net_usd, {}),
        "warm_share_of_busy_time": None if share is None else round(share, 4),
        "latency_ms": {
            "warm": {"p50": account.latency_warm_ms.p50, "p95": account.latency_warm_ms.p95},
            "cold": {"p50": account.latency_cold_ms.p50, "p95": account.latency_cold_ms.p95},
        },
        "tokens": {
            "read": account.tokens.read,
            "written": account.tokens.written,
            "input": account.tokens.input,
            "output": account.tokens.output,
        },
        "break_even_requests_per_day": account.break_even_requests_per_day,
        "capacity_freed_tokens": None if freed is None else {"low": freed[0], "high": freed[1]},
        "traffic": counterfactual.to_json(account.traffic, lambda amount: _money(amount if priced else None)),
    }


def _bounds(bounds: Bounds | None, more: dict[str, str]) -> dict[str, object] | None:
    return None if bounds is None else {"low": _money(bounds.low), "high": _money(bounds.high), **more}


def _money(amount: Decimal | None) -> str | None:
    if amount is None:
        return None
    return format(EXACT.normalize(amount), "f") if amount else "0"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
