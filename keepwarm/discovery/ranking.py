"""Says of counted prefixes what keeping them warm would have cost and saved, and puts the best first.

It counts no requests (see `tally`) and decides nothing. All money is a week of the history, at the catalog's prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from keepwarm import pricing
from keepwarm.discovery.tally import Group, Tally
from keepwarm.model import ModelFacts, Ttl, Usage, Verdict

BASIS = (
    "a week of this history; busy is every clock hour (UTC) in which the prefix had traffic; at the opening keepwarm "
    "writes, then pings one ping period after the last touch, organic ones counted; saved is what the requests that "
    "were cold by their gaps, at the ttl that production marks today, paid more for a write than for a read; a cost at "
    "the other ttl supposes that production marks that instead"
)
_WEEK = timedelta(weeks=1)
_LEAST_SPAN = timedelta(days=1)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Outlook:
    """What keepwarm would have done for a prefix in an average week.

    Attributes:
        pings: that read; so are writes those at openings. Not whole numbers.
        cost_usd: of both.
        saved_usd: writes avoided, of those that production pays with the ttl that it marks today.
    """

    ttl: Ttl
    pings: float
    writes: float
    cost_usd: Decimal
    saved_usd: Decimal

    @property
    def net_usd(self) -> Decimal:
        """What is left of the savings."""
        return self.saved_usd - self.cost_usd


@dataclass(frozen=True, slots=True)
class Found:
    """A prefix that production marks.

    Attributes:
        group: its counts.
        facts: of its model; None when the catalog does not know it, and then there is no money.
        outlooks: one for each ttl that the model sells.
    """

    group: Group
    facts: ModelFacts | None
    outlooks: tuple[Outlook, ...]

    @property
    def best(self) -> Outlook | None:
        """The ttl that leaves most."""
        return max(self.outlooks, key=lambda outlook: outlook.net_usd, default=None)

    @property
    def as_marked(self) -> Outlook | None:
        """With the ttl that production asks for today."""
        return next((outlook for outlook in self.outlooks if outlook.ttl == self.group.ttl), None)


@dataclass(frozen=True, slots=True)
class Unmarked:
    """A prefix that repeats and bears no cache point.

    Attributes:
        ttl: of the cache point that would have saved most.
        saved_usd: a week, by that cache point alone, without any ping.
    """

    group: Group
    ttl: Ttl
    saved_usd: Decimal


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a history tells.

    Attributes:
        found: best first; those without known prices last.
        unmarked: those that a cache point would have paid for, best first.
        others: prefixes that are in neither list because of its length or because nothing would be saved.
    """

    span: timedelta
    found: tuple[Found, ...]
    unmarked: tuple[Unmarked, ...]
    others: int


def rank(tally: Tally, top: int) -> Discovery:
    """The prefixes most worth keeping warm, at most `top` in each list."""
    span = max(tally.span, _LEAST_SPAN)
    per_week = Decimal(_WEEK // timedelta(microseconds=1)) / Decimal(span // timedelta(microseconds=1))
    marked = [_found(group, tally.facts(group), per_week) for group in tally.groups.values() if group.marked]
    bare = [_unmarked(group, tally.facts(group), per_week) for group in tally.groups.values() if not group.marked]
    best = sorted(marked, key=_worth, reverse=True)[:top]
    hints = sorted((hint for hint in bare if hint), key=lambda hint: hint.saved_usd, reverse=True)[:top]
    return Discovery(span, tuple(best), tuple(hints), len(tally.groups) - len(best) - len(hints))


def _worth(found: Found) -> tuple[bool, Decimal, int]:
    """What is left of the savings; where nothing is, the more requests the more it matters."""
    best = found.best
    return best is not None, max(best.net_usd, Decimal(0)) if best else Decimal(0), found.group.requests


def _found(group: Group, facts: ModelFacts | None, per_week: Decimal) -> Found:
    ttls = sorted(facts.ttls, key=lambda ttl: ttl.duration) if facts else []
    return Found(group, facts, tuple(_outlook(group, facts, ttl, per_week) for ttl in ttls if facts))


def _outlook(group: Group, facts: ModelFacts, ttl: Ttl, per_week: Decimal) -> Outlook:
    kept, tokens, prices, today = group.finished(ttl), group.tokens, facts.prices, Ttl(group.ttl or ttl)
    ping = pricing.cost_usd(prices, Usage(1, facts.min_max_tokens, tokens, 0), ttl)
    write = pricing.cost_usd(prices, Usage(1, facts.min_max_tokens, 0, tokens), ttl)
    return Outlook(
        ttl=ttl,
        pings=float(kept.pings * per_week),
        writes=float(kept.writes * per_week),
        cost_usd=(kept.pings * ping + kept.writes * write) * per_week,
        saved_usd=group.kept[today.value].cold * pricing.avoided_write_usd(prices, tokens, today) * per_week,
    )


def _unmarked(group: Group, facts: ModelFacts | None, per_week: Decimal) -> Unmarked | None:
    if facts is None or group.tokens < facts.min_tokens or (group.section == "tools" and not facts.tools_cacheable):
        return None
    best = max((_hint(group, facts, ttl, per_week) for ttl in facts.ttls), key=lambda hint: hint.saved_usd)
    return best if best.saved_usd > 0 else None


def _hint(group: Group, facts: ModelFacts, ttl: Ttl, per_week: Decimal) -> Unmarked:
    """What a cache point alone would have saved: reads in place of input, and dearer writes where it was cold."""
    cold, tokens = group.kept[ttl.value].cold, group.tokens
    plain = pricing.cost_usd(facts.prices, Usage(tokens, 0, 0, 0), ttl)
    warm_saving = plain - pricing.read_cost_usd(facts.prices, tokens)
    cold_loss = pricing.write_cost_usd(facts.prices, tokens, ttl) - plain
    return Unmarked(group, ttl, ((group.requests - cold) * warm_saving - cold * cold_loss) * per_week)


def windows_of(hours: int) -> tuple[str, ...]:
    """Hours of the week (one bit each, from Monday 00:00 UTC) as the registry writes windows."""
    days = [tuple(hour for hour in range(24) if hours >> (day * 24 + hour) & 1) for day in range(7)]
    windows = []
    for key, run in groupby(range(7), key=lambda day: days[day]):
        run_of_days = list(run)
        first, last = _DAYS[run_of_days[0]], _DAYS[run_of_days[-1]]
        names = first if first == last else f"{first}-{last}"
        windows += [f"{names} {start:02}:00-{end:02}:00" for start, end in _stretches(key)]
    return tuple(windows)


def _stretches(hours: tuple[int, ...]) -> list[tuple[int, int]]:
    """Hours that follow one another as (start, end)."""
    found: list[tuple[int, int]] = []
    for hour in hours:
        if found and found[-1][1] == hour:
            found[-1] = (found[-1][0], hour + 1)
        else:
            found.append((hour, hour + 1))
    return found


def to_json(discovery: Discovery, tally: Tally) -> dict[str, Any]:
    """Everything as plain data for `json.dumps`: money as decimal strings, a week each."""
    return {
        "records": tally.records,
        "skipped": dict(tally.skipped.most_common()),
        "dropped_requests": tally.dropped,
        "other_prefixes": discovery.others,
        "history_us": tally.span // timedelta(microseconds=1),
        "history_days": round(tally.span / timedelta(days=1), 3),
        "basis": BASIS,
        "prefixes": [_found_json(found) for found in discovery.found],
        "unmarked": [
            _group_json(hint.group) | {"ttl": hint.ttl.value, "saved_usd": _plain(hint.saved_usd)}
            for hint in discovery.unmarked
        ],
    }


def _found_json(found: Found) -> dict[str, Any]:
    group, best = found.group, found.best
    return _group_json(group) | {
        "ttl": group.ttl,
        "cold_writes": group.verdicts.get(Verdict.REWRITE.value, 0),
        "cold_writes_usd": f"{group.write_usd:f}" if found.facts else None,
        "verdicts": group.verdicts,
        "best_ttl": best.ttl.value if best else None,
        "weekly": [
            {
                "ttl": outlook.ttl.value,
                "pings": round(outlook.pings, 1),
                "writes": round(outlook.writes, 1),
                "cost_usd": _plain(outlook.cost_usd),
                "saved_usd": _plain(outlook.saved_usd),
                "net_usd": _plain(outlook.net_usd),
            }
            for outlook in found.outlooks
        ],
        "windows": list(windows_of(group.hours)),
    }


def _group_json(group: Group) -> dict[str, Any]:
    return {
        "prefix": group.key,
        "model_id": group.model_id,
        "region": group.region,
        "api": group.api,
        "section": group.section,
        "tokens": group.tokens,
        "tokens_estimated": not group.cached_tokens,
        "requests": group.requests,
        "late_requests": group.late,
        "gap_seconds": {"p50": group.gap_seconds(0.5), "p90": group.gap_seconds(0.9)},
        "example_request_id": group.example,
    }


def _plain(amount: Decimal) -> str:
    return f"{amount.quantize(Decimal('0.000001')):f}"
