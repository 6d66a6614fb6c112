"""Counts the requests of a history by prefix, in memory that does not grow with their number.

It reads no file and ranks nothing. A prefix is a digest with counters and a histogram of gaps; nothing is kept of a
single request. What keepwarm would have done is counted on the way, for both ttls, as the policy `busy_hours` with
`prewarm` would: every clock hour (UTC) in which the prefix had traffic is busy. At the opening of a busy stretch a dead
entry is written; within it a ping goes out one ping period (`planner.ping_period`, without the spread that only ever
pings earlier) after the last touch; no request within it is cold.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from keepwarm import fingerprint, planner, pricing
from keepwarm.fingerprint import Sketch
from keepwarm.model import ModelFacts, Prices, Section, Ttl, Usage, Verdict
from keepwarm.pricing import Catalog
from keepwarm.touches import ReportedTouch

MAX_GROUPS = 20_000
_REORDERED = 10_000  # requests held back to be put in order: log objects overlap by minutes
_REMEMBERED_IDS = 50_000
_CHARACTERS_PER_TOKEN = 4

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1) // _MICROSECOND
_STALE = 2 * _HOUR
_HOURS_OF_A_WEEK = 168
_EPOCH_WEEKDAY = 3  # the first of January 1970 was a Thursday

_LIFETIMES = {ttl: ttl.duration // _MICROSECOND for ttl in Ttl}
_PERIODS = {ttl: (ttl.duration - planner.default_margin(ttl, ttl.duration)) // _MICROSECOND for ttl in Ttl}

_CELLS_PER_DECADE = 24
_CELLS = 8 * _CELLS_PER_DECADE  # up to three years, in steps of a tenth


def cell_of(gap_us: int) -> int:
    """The cell of a histogram that counts a gap; everything below a second is in the first."""
    return min(_CELLS - 1, int(math.log10(max(1.0, gap_us / 1e6)) * _CELLS_PER_DECADE))


def seconds_of(cell: int) -> float:
    """The gap that stands for all of a cell, to three digits."""
    return float(f"{10 ** ((cell + 0.5) / _CELLS_PER_DECADE):.3g}")


@dataclass(slots=True)
class Kept:
    """What keepwarm would have done for one prefix at one ttl.

    Attributes:
        pings: that would have read the entry.
        writes: at the opening of a busy stretch.
        cold: requests that were cold by their gap, had nobody pinged.
    """

    pings: int = 0
    writes: int = 0
    cold: int = 0


@dataclass(slots=True)
class Group:
    """The requests of one prefix.

    Attributes:
        key: keyed digest of prefix, region, model and api; as `model.Touch.group` for marked ones.
        marked: False for requests without a cache point; the prefix is their system text then, or their tools.
        section: where the prefix ends.
        ttl: of its last cache point.
        cached_tokens: the most that a request read and wrote together; 0 when none told or nothing was cached.
        estimated_tokens: of the prefix, by its characters.
        verdicts: requests by what they told of the cache; `unknown` for those without usage.
        write_usd: paid for the writes of requests that found the entry cold; 0 for a model without known prices.
        hours: one bit for each hour of the week (UTC, from Monday 00:00) with traffic.
        late: requests that came too late to be put in order; they count everywhere but in gaps.
        example: request id of the last one.
    """

    key: str
    model_id: str
    region: str
    api: str
    marked: bool
    section: str
    ttl: str | None
    cached_tokens: int = 0
    estimated_tokens: int = 0
    requests: int = 0
    first_us: int = 0
    last_us: int = 0
    late: int = 0
    hours: int = 0
    example: str = ""
    verdicts: dict[str, int] = field(default_factory=dict)
    write_usd: Decimal = Decimal(0)
    gaps: array[int] = field(default_factory=lambda: array("L", bytes(_CELLS * array("L").itemsize)))
    kept: dict[str, Kept] = field(default_factory=lambda: {ttl.value: Kept() for ttl in Ttl})

    @property
    def tokens(self) -> int:
        """Size of the prefix: as billed, else estimated."""
        return self.cached_tokens or self.estimated_tokens

    def gap_seconds(self, share: float) -> float | None:
        """The gap that this share of all gaps does not exceed; None without gaps."""
        total = sum(self.gaps)
        if not total:
            return None
        wanted, seen = math.ceil(share * total), 0
        for cell, count in enumerate(self.gaps):
            seen += count
            if seen >= wanted:
                return seconds_of(cell)
        return None

    def finished(self, ttl: Ttl) -> Kept:
        """What keepwarm would have done, with the pings after the last request until its hour ended."""
        kept, end = self.kept[ttl.value], _hour_end(self.last_us)
        return replace(kept, pings=kept.pings + _pings(self.last_us, end, _PERIODS[ttl]))


@dataclass(frozen=True, slots=True, order=True)
class _Seen:
    """One request on its way through the reordering."""

    at_us: int
    number: int
    key: str = field(compare=False)
    model_id: str = field(compare=False)
    region: str = field(compare=False)
    api: str = field(compare=False)
    marked: bool = field(compare=False)
    section: str = field(compare=False)
    ttl: str | None = field(compare=False)
    cached_tokens: int = field(compare=False)
    estimated_tokens: int = field(compare=False)
    counts: tuple[int, int, int, int, int | None] | None = field(compare=False)
    request_id: str = field(compare=False)


class Tally:
    """Everything counted so far.

    Args:
        key: the installation's fingerprint key.

    Attributes:
        records: read, of any kind.
        skipped: records that are no organic request, by reason, and `duplicate`.
        dropped: requests of prefixes that were let go to bound the memory, most of them seen once.
    """

    def __init__(self, key: bytes, catalog: Catalog, *, max_groups: int = MAX_GROUPS) -> None:
        self._key = key
        self._catalog = catalog
        self._facts: dict[tuple[str, str], ModelFacts | None] = {}
        self._max_groups = max_groups
        self._waiting: list[_Seen] = []
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._numbered = 0
        self.groups: dict[str, Group] = {}
        self.records = 0
        self.skipped: Counter[str] = Counter()
        self.dropped = 0
        self.first_us = 0
        self.last_us = 0

    @property
    def span(self) -> timedelta:
        """From the first request to the last."""
        return (self.last_us - self.first_us) * _MICROSECOND

    def skip(self, reason: str) -> None:
        """Count a record that is no organic request."""
        self.records += 1
        self.skipped[reason] += 1

    def add(self, touch: ReportedTouch, *, marked: bool) -> None:
        """Count a request, with a sketch up to its last cache point, or of the whole prompt when it has none."""
        if touch.request_id in self._ids:
            self.skip("duplicate")
            return
        self._remember(touch.request_id)
        seen = self._see(touch, touch.sketch, marked=marked) if touch.sketch else None
        if seen is None:
            self.skip("nothing_to_cache")
            return
        self.records += 1
        heapq.heappush(self._waiting, seen)
        if len(self._waiting) > _REORDERED:
            self._count(heapq.heappop(self._waiting))

    def finish(self) -> None:
        """Count what was held back; more may follow all the same."""
        while self._waiting:
            self._count(heapq.heappop(self._waiting))

    # -- one request ----------------------------------------------------------------------------------------------

    def _see(self, touch: ReportedTouch, drawn: Sketch, *, marked: bool) -> _Seen | None:
        if not marked:
            prefix = _stable(drawn)
            if prefix is None:
                return None
            drawn = prefix
        last, usage = fingerprint.chain(drawn, self._key)[-1], touch.usage
        estimate = sum(block.size for block in drawn.blocks) // _CHARACTERS_PER_TOKEN
        cached = usage.cache_read_tokens + usage.cache_write_tokens if usage and marked else 0
        self._numbered += 1
        return _Seen(
            at_us=(touch.started_at - _EPOCH) // _MICROSECOND,
            number=self._numbered,
            key=fingerprint.combine(self._key, touch.region, touch.model_id, touch.api.value, last.digest),
            model_id=touch.model_id,
            region=touch.region,
            api=touch.api.value,
            marked=marked,
            section=last.section.value,
            ttl=last.marker.value if last.marker else None,
            cached_tokens=cached,
            estimated_tokens=estimate,
            counts=_counts(usage),
            request_id=touch.request_id,
        )

    def _count(self, seen: _Seen) -> None:
        group = self.groups.get(seen.key)
        if group is None:
            if len(self.groups) >= self._max_groups:
                self._make_room(seen.at_us)
            if len(self.groups) >= self._max_groups:
                self.dropped += 1
                return
            group = self._open(seen)
        self.first_us = min(self.first_us or seen.at_us, seen.at_us)
        self.last_us = max(self.last_us, seen.at_us)
        _count_gap(group, seen.at_us)
        group.requests += 1
        group.hours |= 1 << _hour_of_week(seen.at_us)
        group.example = seen.request_id
        group.cached_tokens = max(group.cached_tokens, seen.cached_tokens)
        group.estimated_tokens = max(group.estimated_tokens, seen.estimated_tokens)
        self._count_usage(group, seen.counts)

    def _count_usage(self, group: Group, counts: tuple[int, int, int, int, int | None] | None) -> None:
        usage = Usage(*counts) if counts else None
        verdict = usage.verdict if usage else Verdict.UNKNOWN
        group.verdicts[verdict.value] = group.verdicts.get(verdict.value, 0) + 1
        if usage and verdict is Verdict.REWRITE:
            facts = self.facts(group)
            group.write_usd += _write_usd(facts, usage, Ttl(group.ttl or Ttl.FIVE_MINUTES)) if facts else 0

    def facts(self, group: Group) -> ModelFacts | None:
        """What the catalog says of a prefix's model; None when it is not in there."""
        place = (group.model_id, group.region)
        if place not in self._facts:
            self._facts[place] = self._catalog.find(*place)
        return self._facts[place]

    def _open(self, seen: _Seen) -> Group:
        group = Group(seen.key, seen.model_id, seen.region, seen.api, seen.marked, seen.section, seen.ttl)
        self.groups[seen.key] = group
        return group

    def _make_room(self, now_us: int) -> None:
        """Let prefixes go that were seen least, first those whose entry has been dead for long."""
        for most, stale in ((1, _STALE), (2, _STALE), (1, 0)):
            gone = [
                group for group in self.groups.values() if group.requests <= most and now_us - group.last_us >= stale
            ]
            for group in gone:
                self.dropped += group.requests
                del self.groups[group.key]
            if len(self.groups) < 0.9 * self._max_groups:
                return

    def _remember(self, request_id: str) -> None:
        self._ids[request_id] = None
        if len(self._ids) > _REMEMBERED_IDS:
            self._ids.popitem(last=False)

    # -- state ----------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "records": self.records,
            "skipped": dict(self.skipped),
            "dropped": self.dropped,
            "first_us": self.first_us,
            "last_us": self.last_us,
            "numbered": self._numbered,
            "groups": [_dump_group(group) for group in self.groups.values()],
            "waiting": [[getattr(seen, name) for name in _Seen.__slots__] for seen in self._waiting],
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take up what `dump` gave."""
        self.records = data["records"]
        self.skipped = Counter(data["skipped"])
        self.dropped = data["dropped"]
        self.first_us = data["first_us"]
        self.last_us = data["last_us"]
        self._numbered = data["numbered"]
        self.groups = {row["key"]: _load_group(row) for row in data["groups"]}
        self._waiting = [_load_seen(row) for row in data["waiting"]]


# -- gaps ---------------------------------------------------------------------------------------------------------


def _count_gap(group: Group, at_us: int) -> None:
    """Count the gap before a request, and what keepwarm would have done in it."""
    if not group.requests:
        group.first_us = group.last_us = at_us
        for ttl in Ttl:
            kept = group.kept[ttl.value]
            kept.cold += 1
            kept.writes += 1
            kept.pings += _pings(at_us - at_us % _HOUR, at_us, _PERIODS[ttl])
        return
    gap = at_us - group.last_us
    if gap < 0:
        group.late += 1
        return
    group.gaps[cell_of(gap)] += 1
    opens = at_us - at_us % _HOUR
    paused = opens - (group.last_us - group.last_us % _HOUR) > _HOUR  # an hour without traffic lies between
    for ttl in Ttl:
        kept, period = group.kept[ttl.value], _PERIODS[ttl]
        kept.cold += gap > _LIFETIMES[ttl]
        if paused:  # no entry outlives an hour without a ping
            kept.writes += 1
            kept.pings += _pings(group.last_us, _hour_end(group.last_us), period) + _pings(opens, at_us, period)
        else:
            kept.pings += _pings(group.last_us, at_us, period)
    group.last_us = at_us


def _pings(touched_us: int, until_us: int, period_us: int) -> int:
    """How many pings go out after a touch and before a moment."""
    return max(0, (until_us - touched_us - 1) // period_us)


def _hour_end(at_us: int) -> int:
    return at_us - at_us % _HOUR + _HOUR


def _hour_of_week(at_us: int) -> int:
    return (at_us // _HOUR + _EPOCH_WEEKDAY * 24) % _HOURS_OF_A_WEEK


# -- prefixes and usage -------------------------------------------------------------------------------------------


def _stable(drawn: Sketch) -> Sketch | None:
    """What a request without a cache point begins with: its tools and system text; None without either."""
    count = sum(block.section is not Section.MESSAGES for block in drawn.blocks)
    return replace(drawn, blocks=drawn.blocks[:count]) if count else None


def _counts(usage: Usage | None) -> tuple[int, int, int, int, int | None] | None:
    if usage is None:
        return None
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
    )


def _write_usd(facts: ModelFacts, usage: Usage, ttl: Ttl) -> Decimal:
    """What the written part of a request cost; a step price goes by the whole of its prompt."""
    rest = Usage(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, 0)
    rates = pricing.rates_for(facts.prices, usage.prompt_tokens)
    return pricing.cost_usd(Prices(rates), usage, ttl) - pricing.cost_usd(Prices(rates), rest, ttl)


# -- plain data ---------------------------------------------------------------------------------------------------

_PLAIN = tuple(name for name in Group.__slots__ if name not in {"gaps", "kept", "write_usd"})


def _dump_group(group: Group) -> dict[str, Any]:
    row = {name: getattr(group, name) for name in _PLAIN}
    row["gaps"] = {str(cell): count for cell, count in enumerate(group.gaps) if count}
    row["write_usd"] = str(group.write_usd)
    row["kept"] = {ttl: [kept.pings, kept.writes, kept.cold] for ttl, kept in group.kept.items()}
    return row


def _load_group(row: dict[str, Any]) -> Group:
    group = Group(**{name: row[name] for name in _PLAIN})
    group.write_usd = Decimal(row["write_usd"])
    for cell, count in row["gaps"].items():
        group.gaps[int(cell)] = count
    group.kept = {ttl: Kept(*counts) for ttl, counts in row["kept"].items()}
    return group


def _load_seen(row: list[Any]) -> _Seen:
    values = dict(zip(_Seen.__slots__, row, strict=True))
    return _Seen(**values | {"counts": tuple(values["counts"]) if values["counts"] else None})
