"""Tells to which registered prefix an organic request belongs, and what differs when it is only almost like one.

It hears of requests as sketches, without text (see `fingerprint`), and stores and plans nothing.

A request belongs to a prefix when model (by id or ARN), region and API are the same and one of the request's cache
points has the keyed digest of the prefix's last one. A touch does not tell whose credentials it used: where prefixes
differ only in those, it belongs to all of them. It also belongs to several when it bears the cache points of several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import Any, TypeGuard, TypeVar

from keepwarm import fingerprint
from keepwarm.fingerprint import BlockDigest, Sketch
from keepwarm.model import Api, Prefix, Section, Source, Touch, Ttl, Usage

MAX_AGE = timedelta(hours=25)  # longer than any entry lives, and than a log or a queue is usually late
MAX_AHEAD = timedelta(seconds=60)
MAX_TOKENS = 10**8

_MAX_MODEL_ID = 2048
_MAX_NAME = 255
_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")

Word = TypeVar("Word", bound=StrEnum)


class Refusal(StrEnum):
    """Why a reported touch is not taken; closed."""

    MALFORMED = "malformed"  # not of the documented shape
    TOO_OLD = "too_old"
    FUTURE_DATED = "future_dated"
    ABSURD_USAGE = "absurd_usage"  # a count below 0 or above 100 million
    OURS = "ours"  # marked as one of our pings
    NO_CACHE_POINT = "no_cache_point"  # it reads and writes no entry


@dataclass(frozen=True, slots=True)
class Refused:
    """A reported touch that is not taken.

    Attributes:
        message: what is wrong; quotes nothing of what was sent.
        request_id: as far as it could be read, else empty.
    """

    reason: Refusal
    message: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ReportedTouch:
    """An organic request as a source tells of it, before anybody knows to which prefix it belongs.

    Attributes:
        started_at: aware UTC; never later than the moment at which it was heard of.
        sketch: up to the last cache point; None when the source has none, such as for a request with too many blocks.
    """

    request_id: str
    started_at: datetime
    api: Api
    model_id: str
    region: str
    source: Source
    sketch: Sketch | None = field(repr=False)
    usage: Usage | None = None
    latency_ms: int | None = None


class _RefusedError(Exception):
    """Leaves the reading of one touch."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


# -- reading ------------------------------------------------------------------------------------------------------


def parse(raw: object, now: datetime, default_source: Source) -> ReportedTouch | Refused:
    """Read one touch of `POST /v1/touches`, version 1, from parsed JSON that anybody may have sent.

    Beside the documented keys, `request_metadata` may carry what the request carried, by which a ping is known. Unknown
    keys are passed over. A start up to a minute ahead is taken for now: clocks differ, and no request starts later.

    Args:
        now: aware; when it was heard of.
        default_source: of a touch that names none.
    """
    request_id = raw.get("request_id") if isinstance(raw, Mapping) else None
    try:
        return _parse(raw, now, default_source)
    except _RefusedError as error:
        return Refused(error.reason, str(error), request_id if _is_name(request_id) else "")


def parse_closing(raw: object, now: datetime) -> tuple[datetime, str] | Refused:
    """Read the body of `POST /v1/prefixes/NAME/closed`: when, by default now, and why, by default nothing.

    Args:
        raw: parsed JSON that anybody may have sent.
        now: aware; when it was heard of.
    """
    try:
        if not isinstance(raw, Mapping):
            raise _malformed("a closing must be a JSON object")
        at = now.astimezone(UTC) if raw.get("at") is None else _moment(raw, "at", now)
        return at, _text(raw, "reason", _MAX_NAME) if raw.get("reason") else ""
    except _RefusedError as error:
        return Refused(error.reason, str(error))


def _parse(raw: object, now: datetime, default_source: Source) -> ReportedTouch:
    if not isinstance(raw, Mapping):
        raise _malformed("a touch must be a JSON object")
    metadata = raw.get("request_metadata")
    if isinstance(metadata, Mapping) and metadata.get("keepwarm") == "ping":
        raise _RefusedError(Refusal.OURS, "it is one of keepwarm's own pings")
    return ReportedTouch(
        request_id=_text(raw, "request_id", _MAX_NAME),
        api=_word(Api, raw, "api"),
        model_id=_text(raw, "model_id", _MAX_MODEL_ID),
        region=_text(raw, "region", 64),
        source=_word(Source, raw, "source") if raw.get("source") is not None else default_source,
        started_at=_moment(raw, "started_at", now),
        latency_ms=_latency_ms(raw),
        usage=_usage(raw.get("usage")),
        sketch=_sketch(raw.get("sketch")),
    )


def _text(raw: Mapping[str, Any], name: str, longest: int) -> str:
    found = raw.get(name)
    if not _is_name(found, longest):
        raise _malformed(f"{name} must be a text of 1 to {longest} printable characters")
    return found


def _is_name(found: object, longest: int = _MAX_NAME) -> TypeGuard[str]:
    return isinstance(found, str) and 0 < len(found) <= longest and found.isprintable()


def _word(kind: type[Word], raw: Mapping[str, Any], name: str) -> Word:
    try:
        return kind(raw[name])
    except (KeyError, ValueError):
        raise _malformed(f"{name} must be one of {', '.join(kind)}") from None


def _moment(raw: Mapping[str, Any], name: str, now: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(raw[name])
        zone = moment.tzinfo
        moment = moment.astimezone(UTC)
    except (KeyError, ValueError, TypeError, OverflowError):
        zone = None
    if zone is None:
        raise _malformed(f"{name} must be an ISO 8601 moment with its zone, such as 2026-11-22T20:00:00Z")
    if moment > now + MAX_AHEAD:
        ahead = f"more than {MAX_AHEAD.total_seconds():.0f} s ahead; set the clock of that machine"
        raise _RefusedError(Refusal.FUTURE_DATED, f"{name} is {ahead}")
    if moment < now - MAX_AGE:
        raise _RefusedError(Refusal.TOO_OLD, f"{name} is more than {MAX_AGE / timedelta(hours=1):.0f} h ago")
    return min(moment, now.astimezone(UTC))


def _latency_ms(raw: Mapping[str, Any]) -> int | None:
    found = raw.get("latency_ms")
    if found is not None and (type(found) is not int or not 0 <= found <= MAX_TOKENS):
        raise _malformed("latency_ms must be a whole number of milliseconds")
    return found


def _usage(raw: object) -> Usage | None:
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise _malformed("usage must be an object of token counts")
    counts = {name: _count(raw, name) for name in _COUNTS}
    if counts["cache_read_tokens"] is None or counts["cache_write_tokens"] is None:
        # Read as zero, what was left out would be a claim of its own.
        raise _malformed("usage must have cache_read_tokens and cache_write_tokens")
    found = Usage(
        input_tokens=counts["input_tokens"] or 0,
        output_tokens=counts["output_tokens"] or 0,
        cache_read_tokens=counts["cache_read_tokens"],
        cache_write_tokens=counts["cache_write_tokens"],
        cache_write_1h_tokens=counts["cache_write_1h_tokens"],
    )
    if (found.cache_write_1h_tokens or 0) > found.cache_write_tokens:
        raise _RefusedError(Refusal.ABSURD_USAGE, "cache_write_1h_tokens is a part of cache_write_tokens")
    return found


def _count(raw: Mapping[str, Any], name: str) -> int | None:
    found = raw.get(name)
    if found is None:
        return None
    if type(found) is not int:
        raise _malformed(f"{name} must be a whole number")
    if not 0 <= found <= MAX_TOKENS:
        raise _RefusedError(Refusal.ABSURD_USAGE, f"{name} is below 0 or above {MAX_TOKENS:,}")
    return found


def _sketch(raw: object) -> Sketch | None:
    if raw is None:
        return None
    try:
        drawn = fingerprint.cut(fingerprint.sketch_from_json(raw))
    except ValueError as error:
        raise _malformed(f"sketch: {error}") from None
    if not drawn.blocks:
        raise _RefusedError(Refusal.NO_CACHE_POINT, "no block of its sketch bears a cache point")
    return drawn


def _malformed(message: str) -> _RefusedError:
    return _RefusedError(Refusal.MALFORMED, message)


# -- matching -----------------------------------------------------------------------------------------------------

# Model, region and API: what an entry's name has besides the prompt.
_Place = tuple[str, str, Api]
_Sections = Mapping[Section, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Registered:
    """A registered prefix, ready to be compared.

    Attributes:
        digest: keyed, of its last cache point.
        sections: the digests of its blocks by section, in order.
    """

    prefix: Prefix
    sketch: Sketch
    digest: str
    sections: _Sections


class Matcher:
    """Knows the prefixes of one registry by their digests; holds no state besides, and may be shared by threads.

    Args:
        prefixes: those without a sketch are never matched.
        key: secret of the installation, the one that the registry was read with.
        before: one with the same key, whose digests are used for the prompts that it knows already.
    """

    def __init__(self, prefixes: Iterable[Prefix], key: bytes, before: Matcher | None = None) -> None:
        self._key = key
        self._by_digest: dict[str, list[_Registered]] = {}
        self._by_place: dict[_Place, list[_Registered]] = {}
        known = before.digests if before else {}
        for prefix in prefixes:
            if isinstance(prefix.sketch, Sketch):
                digests = known.get(prefix.sketch)
                if digests is None:
                    digest = fingerprint.chain(prefix.sketch, key)[-1].digest
                    digests = known[prefix.sketch] = digest, _sections(prefix.sketch.blocks)
                registered = _Registered(prefix, prefix.sketch, *digests)
                self._by_digest.setdefault(registered.digest, []).append(registered)
                self._by_place.setdefault(_place(prefix), []).append(registered)

    @property
    def digests(self) -> dict[Sketch, tuple[str, _Sections]]:
        """The digest of the last cache point of each registered prompt, and those of its blocks by section."""
        alike = (registered for found in self._by_digest.values() for registered in found)
        return {registered.sketch: (registered.digest, registered.sections) for registered in alike}

    def match(self, reported: ReportedTouch) -> tuple[Touch, ...]:
        """The touch of every prefix that the request belongs to, in the order of its cache points.

        Never empty: a request that belongs to none gives one touch without fingerprint, with `prefix` and `drift` when
        it is almost like one. All have the same request id.
        """
        if reported.sketch is None or not reported.sketch.blocks:
            return (_touch(reported, ""),)
        asked = {place.digest: place.marker for place in fingerprint.chain(reported.sketch, self._key) if place.marker}
        points = list(asked)
        place = (_model(reported.model_id), reported.region, reported.api)
        group = fingerprint.combine(self._key, reported.region, place[0], reported.api.value, points[-1])
        alike = [registered for point in points for registered in self._by_digest.get(point, ())]
        belongs = [registered for registered in alike if _place(registered.prefix) == place]
        if belongs:
            return tuple(_belonging(reported, group, one.prefix, asked[one.digest]) for one in belongs)
        return (self._drifted(reported, reported.sketch, group, alike),)

    def _drifted(self, reported: ReportedTouch, drawn: Sketch, group: str, alike: list[_Registered]) -> Touch:
        """The touch of a request that belongs to no prefix, with the one that it is most like."""
        for registered in alike:
            if registered.prefix.route.region == reported.region and registered.prefix.api is reported.api:
                return _touch(reported, group, registered.prefix.name, drift="model_id")
        near = _Near(-1, "", "")
        sections = _sections(drawn.blocks)
        place = (_model(reported.model_id), reported.region, reported.api)
        for registered in self._by_place.get(place, ()):
            found = _compare(registered, drawn, sections)
            near = found if found and found.equal_blocks > near.equal_blocks else near
        return _touch(reported, group, near.name, drift=near.drift)


@dataclass(frozen=True, slots=True)
class _Near:
    """A registered prefix that a request is almost like.

    Attributes:
        equal_blocks: how many of its first blocks are the same.
    """

    equal_blocks: int
    name: str
    drift: str


def _compare(registered: _Registered, drawn: Sketch, sections: _Sections) -> _Near | None:
    """What differs between a prefix and a request that is almost like it; None when it is not."""
    ours, theirs = registered.sketch.blocks, drawn.blocks
    pairs = zip(ours, theirs, strict=False)
    equal = sum(1 for _ in takewhile(lambda pair: pair[0].digest == pair[1].digest and _together(*pair), pairs))
    if registered.sketch.dialect is not drawn.dialect or not _is_near(registered, sections, equal, len(theirs)):
        return None
    drift = ", ".join(_other_settings(registered.sketch, drawn))
    if not drift and equal in {len(ours), len(theirs)}:
        drift = "cache_points"  # the same blocks, with the marks elsewhere
    return _Near(equal, registered.prefix.name, drift or _first_difference(ours, theirs, equal))


def _together(ours: BlockDigest, theirs: BlockDigest) -> bool:
    return ours.section is theirs.section


def _is_near(registered: _Registered, sections: _Sections, equal: int, count: int) -> bool:
    """Whether the same tools go with another system, the same system with other tools, or all but the end is equal."""
    ours = registered.sections
    same = [section for section in (Section.TOOLS, Section.SYSTEM) if ours[section] == sections[section] != ()]
    return bool(same) or (
        equal > 0 and equal in {count, len(registered.sketch.blocks), len(registered.sketch.blocks) - 1}
    )


def _other_settings(ours: Sketch, theirs: Sketch) -> list[str]:
    """Names of the settings that differ and count for the sections of our blocks."""
    last = list(Section).index(ours.blocks[-1].section)
    known, found = (
        {setting.name: setting.digest for setting in drawn.settings if list(Section).index(setting.since) <= last}
        for drawn in (ours, theirs)
    )
    return sorted(name for name in known | found if known.get(name) != found.get(name))


def _first_difference(ours: tuple[BlockDigest, ...], theirs: tuple[BlockDigest, ...], equal: int) -> str:
    """Where the first other block stands, counted in blocks from 0 in its section of the registered prefix."""
    section = min((ours[equal].section, theirs[equal].section), key=list(Section).index)
    place = sum(1 for block in ours[:equal] if block.section is section)
    return f"{section.value}[{place}] after {equal} equal block{'' if equal == 1 else 's'}"


def _sections(blocks: tuple[BlockDigest, ...]) -> _Sections:
    return {section: tuple(block.digest for block in blocks if block.section is section) for section in Section}


def _place(prefix: Prefix) -> _Place:
    return _model(prefix.model_id), prefix.route.region, prefix.api


def _model(model_id: str) -> str:
    """A model id without what an ARN has in front of it: invocation logs name profiles by ARN, applications by id."""
    return model_id.rsplit("/", 1)[-1]


def _belonging(reported: ReportedTouch, group: str, prefix: Prefix, ttl: Ttl) -> Touch:
    """The touch of a prefix whose cache point asked for this ttl."""
    return replace(_touch(reported, group, prefix.name, fingerprint=prefix.fingerprint), ttl=ttl)


def _touch(reported: ReportedTouch, group: str, prefix: str = "", *, fingerprint: str = "", drift: str = "") -> Touch:
    return Touch(
        request_id=reported.request_id,
        prefix=prefix,
        fingerprint=fingerprint,
        group=group,
        model_id=reported.model_id,
        region=reported.region,
        api=reported.api,
        started_at=reported.started_at,
        usage=reported.usage,
        latency_ms=reported.latency_ms,
        source=reported.source,
        drift=drift,
    )
