"""Days that are over, summed up once: what a report needs of each prefix and day, also as text for the ledger.

It reads no ledger. A day of UTC is walked behind the one before it, so pings that wait at midnight for the request that
tells their worth are not lost: they are left in the sums, and whoever puts days together settles them. Money is exact;
latencies are less than one percent off.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from keepwarm import counterfactual
from keepwarm.counterfactual import (
    AMOUNTS,
    COUNTS,
    Measured,
    Owed,
    Pending,
    Ping,
    Request,
    Settling,
    Stage,
    Stages,
    Standing,
    Terms,
    Traffic,
)
from keepwarm.model import Entry, Span, Touch, Ttl, Verdict
from keepwarm.sums import TOUCHING, Sums, Tokens, coarse, put

DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Ground(NamedTuple):
    """What the registry knows of a prefix while its days are summed up.

    Attributes:
        terms: what touches are weighed with.
        lifetime: how long the cache entry is taken to live after a ping.
    """

    terms: Terms
    lifetime: Callable[[Entry], timedelta]


class Part(NamedTuple):
    """A day of one cache entry under one name of a prefix.

    Attributes:
        warm: from when until when its pings kept it warm, also beyond the day.
        stage: None where the registry did not know the name.
    """

    prefix: str
    fingerprint: str
    sums: Sums
    warm: tuple[Span, ...] = ()
    stage: Stage | None = None


class Before(NamedTuple):
    """How things stand with a cache entry at midnight.

    Attributes:
        warm_until: as its pings have it; None without any.
    """

    standing: Standing
    warm_until: datetime | None = None


@dataclass(slots=True)
class Rolled:
    """Whole days for a report.

    Attributes:
        walked: what happened in them, by fingerprint.
    """

    parts: list[Part] = field(default_factory=list)
    walked: dict[str, Stages] = field(default_factory=dict)


def midnight(at: datetime) -> datetime:
    """When its day began, in UTC."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def whole_days(since: datetime, until: datetime) -> Span | None:
    """The whole days inside a stretch; None when there is none."""
    first, last = midnight(since), midnight(until)
    first += DAY if first < since else timedelta(0)
    return Span(first, last) if first < last else None


def put_together(
    span: Span, head: datetime, parts: Iterable[Part], before: Mapping[str, Before], after: Mapping[str, Before]
) -> Rolled:
    """Whole days for a report.

    Args:
        span: the days.
        head: from when on the entries of the report are given.
        parts: of these days, in their order.
        before: how things stood when the entries of the report begin, by fingerprint.
        after: how things stood when the days ended.
    """
    rolled = Rolled()
    for fingerprint in {*before, *after}:
        known, later = before.get(fingerprint), after.get(fingerprint)
        standings = known and known.standing, later and later.standing
        rolled.walked[fingerprint] = Stages(span.start, span.end, *standings)
    # What was warm before stays so for a while.
    for fingerprint, known in before.items():
        if known.warm_until and known.warm_until > head:
            warm = (Span(head, known.warm_until),)
            rolled.parts.append(Part(known.standing.name, fingerprint, Sums(), warm))
    for part in parts:
        rolled.parts.append(part)
        if part.stage and part.fingerprint in rolled.walked:
            rolled.walked[part.fingerprint].stages.append(part.stage)
    return rolled


def first_of_month(day: datetime) -> datetime:
    """The midnight at which the month of a day began."""
    return midnight(day).replace(day=1)


def next_month(first: datetime) -> datetime:
    """The midnight at which the month after this one begins."""
    return first_of_month(first + 31 * DAY)


def folded(parts: Iterable[Part], since: datetime, until: datetime) -> list[Part]:
    """The parts of many days, in their order, as one for each cache entry and name."""
    found: dict[tuple[str, str], _Folding] = {}
    for part in parts:
        own = found.setdefault((part.prefix, part.fingerprint), _Folding())
        own.sums.merge(part.sums)
        for span in part.warm:
            put(own.warm, span)
        own.stages += [part.stage] if part.stage else []
    return [
        Part(*names, own.sums, tuple(own.warm), _folded_stage(own.stages, since, until)) for names, own in found.items()
    ]


@dataclass(slots=True)
class _Folding:
    """Many days of one cache entry under one name."""

    sums: Sums = field(default_factory=Sums)
    warm: list[Span] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)


def _folded_stage(stages: list[Stage], since: datetime, until: datetime) -> Stage | None:
    return counterfactual.folded(stages, since, until) if stages else None


def drawn_out(since: datetime, until: datetime, details_since: datetime | None) -> tuple[datetime, datetime]:
    """The same stretch, but whole days where only their sums are left.

    Args:
        details_since: entries and touches of before are gone; None when all are there.
    """
    if details_since and since < details_since:
        since = midnight(since)
    if details_since and until < details_since and until != midnight(until):
        until = midnight(until) + DAY
    return since, until


# -- summing up a day ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Own:
    """A day of one cache entry."""

    name: str = ""
    sums: dict[str, Sums] = field(default_factory=dict)
    warm: dict[str, list[Span]] = field(default_factory=dict)
    pings: list[Ping] = field(default_factory=list)
    requests: dict[str, Request] = field(default_factory=dict)


def roll(
    day: datetime,
    entries: Iterable[Entry],
    touches: Iterable[Touch],
    grounds: Mapping[str, Ground],
    before: Mapping[str, Before],
) -> tuple[list[Part], dict[str, Before]]:
    """Sum up a day.

    Args:
        day: the midnight at which it begins.
        entries: those of the day, by number.
        touches: those of the day, by start.
        grounds: by name of prefix; of others only the pings are summed up.
        before: how things stood when it began, by fingerprint.

    Returns:
        The parts, and how things stand at its end for each fingerprint that had a ping or a touch.
    """
    owns: dict[str, _Own] = {}
    for entry in entries:
        name = entry.intent.prefix
        own = owns.setdefault(entry.intent.fingerprint, _Own())
        own.name = name
        own.sums.setdefault(name, Sums()).add(entry)
        own.pings.append(counterfactual.ping_of(entry))
        if name in grounds and entry.verdict in TOUCHING:
            start = entry.intent.started_at
            put(own.warm.setdefault(name, []), Span(start, start + grounds[name].lifetime(entry)))
    for touch in touches:
        if touch.matched:
            own = owns.setdefault(touch.fingerprint, _Own())
            own.name = touch.prefix
            own.requests.setdefault(touch.request_id, counterfactual.request_of(touch))
    parts: list[Part] = []
    after: dict[str, Before] = {}
    for fingerprint, own in owns.items():
        found, after[fingerprint] = _rolled(day, fingerprint, own, grounds.get(own.name), before.get(fingerprint))
        parts += found
    return parts, after


def _rolled(
    day: datetime, fingerprint: str, own: _Own, ground: Ground | None, before: Before | None
) -> tuple[list[Part], Before]:
    stage, standing = None, before.standing if before else Standing("")
    if ground:
        standing_before = before.standing if before else None
        stage, standing = counterfactual.stage(
            ground.terms, own.requests.values(), own.pings, day, day + DAY, standing_before
        )
    names = {*own.sums, own.name}
    parts = [
        Part(
            name,
            fingerprint,
            _coarsely(own.sums.get(name) or Sums()),
            tuple(own.warm.get(name, ())),
            stage if name == own.name else None,
        )
        for name in sorted(names)
    ]
    ends = [span.end for spans in own.warm.values() for span in spans]
    warm_until = max([*ends, *([before.warm_until] if before and before.warm_until else [])], default=None)
    return parts, Before(standing._replace(name=own.name), warm_until)


def _coarsely(sums: Sums) -> Sums:
    return replace(sums, warm_ms=coarse(sums.warm_ms), cold_ms=coarse(sums.cold_ms))


# -- as text ------------------------------------------------------------------------------------------------------


def part_text(part: Part) -> str:
    """The part without its names, as short as is readable."""
    sums, stage = part.sums, part.stage
    found: dict[str, Any] = {}
    if sums.entries:
        found["pings"] = {verdict.value: count for verdict, count in sums.pings.items() if count}
        found["paid"] = sums.paid_entries
        found["usd"] = [f"{sums.cost_usd:f}", f"{sums.avoidable_usd:f}"]
        found["tokens"] = [*sums.tokens, sums.freed_tokens]
        found["ms"] = [sums.warm_ms, sums.cold_ms]
    if part.warm:
        found["warm"] = [[_number(span.start), _number(span.end)] for span in part.warm]
    if stage:
        found["stage"] = _stage_json(stage, sums)
    return json.dumps(found, separators=(",", ":"))


def part_from(prefix: str, fingerprint: str, text: str) -> Part:
    """What `part_text` wrote.

    Raises:
        ValueError: a word in it is not known to this version.
    """
    found = json.loads(text)
    sums = Sums()
    if "pings" in found:
        for verdict, count in found["pings"].items():
            sums.pings[Verdict(verdict)] = count
            sums.entries += count
        sums.paid_entries = found["paid"]
        sums.cost_usd, sums.avoidable_usd = map(Decimal, found["usd"])
        *tokens, sums.freed_tokens = found["tokens"]
        sums.tokens = Tokens(*tokens)
        sums.warm_ms, sums.cold_ms = map(_counts, found["ms"])
    warm = tuple(Span(_moment(start), _moment(end)) for start, end in found.get("warm", ()))
    return Part(prefix, fingerprint, sums, warm, _stage_from(found["stage"], sums) if "stage" in found else None)


def before_text(before: Before) -> str:
    """How things stand, without the name."""
    standing = before.standing
    return json.dumps(
        [
            _optional(standing.last_request),
            [_number(moment) for moment in standing.last_ping] if standing.last_ping else None,
            standing.billed_ttl and standing.billed_ttl.value,
            standing.told_tokens,
            _optional(standing.heard_at),
            _optional(before.warm_until),
        ],
        separators=(",", ":"),
    )


def before_from(prefix: str, text: str) -> Before:
    """What `before_text` wrote.

    Raises:
        ValueError: a word in it is not known to this version.
    """
    request, ping, billed, tokens, heard_at, warm_until = json.loads(text)
    standing = Standing(
        name=prefix,
        last_request=_maybe(request),
        last_ping=(_moment(ping[0]), _moment(ping[1])) if ping else None,
        billed_ttl=Ttl(billed) if billed else None,
        told_tokens=tokens,
        heard_at=_maybe(heard_at),
    )
    return Before(standing, _maybe(warm_until))


def _stage_json(stage: Stage, sums: Sums) -> dict[str, Any]:
    """Without what is nothing, and without latencies that are those of the sums."""
    found, told, owed, settling = stage.found, stage.measured, stage.first_owed, stage.first_settling
    organic = [coarse(told.organic_warm), coarse(told.organic_cold)]
    warm, cold = coarse(told.ping_warm), coarse(told.ping_cold)
    values = {
        "counts": [getattr(found, name) for name in COUNTS],
        "usd": [f"{getattr(found, name):f}" for name in AMOUNTS],
        "ms": [*organic, None if warm == sums.warm_ms else warm, None if cold == sums.cold_ms else cold],
        "settling": settling and [_number(settling.at), settling.lifetime // _MICROSECOND, settling.warm],
        "owed": owed
        and [
            _number(owed.at),
            owed.lifetime // _MICROSECOND,
            f"{owed.read_usd:f}",
            f"{owed.write_usd:f}",
            owed.warm,
        ],
        "request": _optional(stage.last_request),
        "left": [[_number(each.at), each.pings, f"{each.cost_usd:f}", _optional(each.before)] for each in stage.left],
    }
    return {name: value for name, value in values.items() if value}


def _stage_from(found: Mapping[str, Any], sums: Sums) -> Stage:
    organic_warm, organic_cold, warm, cold = found["ms"]
    measured = Measured(
        _counts(organic_warm),
        _counts(organic_cold),
        sums.warm_ms if warm is None else _counts(warm),
        sums.cold_ms if cold is None else _counts(cold),
    )
    traffic = Traffic(**dict(zip(COUNTS, found["counts"], strict=True)))
    for name, amount in zip(AMOUNTS, found["usd"], strict=True):
        setattr(traffic, name, Decimal(amount))
    settling, owed = found.get("settling"), found.get("owed")
    return Stage(
        found=traffic,
        measured=measured,
        first_settling=Settling(_moment(settling[0]), settling[1] * _MICROSECOND, settling[2]) if settling else None,
        first_owed=Owed(_moment(owed[0]), owed[1] * _MICROSECOND, Decimal(owed[2]), Decimal(owed[3]), owed[4])
        if owed
        else None,
        last_request=_maybe(found.get("request")),
        left=tuple(
            Pending(_moment(at), pings, Decimal(usd), _maybe(before))
            for at, pings, usd, before in found.get("left", ())
        ),
    )


def _counts(found: Mapping[str, int]) -> Counter[int]:
    return Counter({int(value): count for value, count in found.items()})


def _number(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(number: int) -> datetime:
    return _EPOCH + number * _MICROSECOND


def _optional(moment: datetime | None) -> int | None:
    return None if moment is None else _number(moment)


def _maybe(number: int | None) -> datetime | None:
    return None if number is None else _moment(number)
