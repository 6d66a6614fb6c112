"""Reads arrivals from files and from the ledger, for the replay.

It judges no traffic and knows no prices; a file that is wrong anywhere is refused as a whole, with the lines that are.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from keepwarm.errors import ConfigError, Problem
from keepwarm.model import Touch

COLUMNS = ("t_seconds", "prefix_id", "prefix_tokens")

# A Monday: traces count from one, so that hours and weekdays mean something. UTC knows no change of clocks.
MONDAY = datetime(2001, 1, 1, tzinfo=UTC)

_GZIP = b"\x1f\x8b"
_MOST_BYTES = 1_000_000_000  # unpacked
_MOST_PROBLEMS = 20
# Three centuries: beyond it are milliseconds that were taken for seconds.
_LAST_SECOND = 1e10
_MOST_TOKENS = 1e9
_SHAPE = f"a trace is CSV, plain or gzip, with the header {','.join(COLUMNS)}; t_seconds count from a Monday 00:00"
_TELL = "tell the daemon of the traffic (see keepwarm.reporter in the README), or give a file of arrivals"


class Arrival(NamedTuple):
    """One organic request.

    Attributes:
        at: aware; traces without a date begin at MONDAY.
    """

    at: datetime
    prefix_id: str
    prefix_tokens: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals in order of time.

    Attributes:
        name: for people.
        arrivals: ascending; those of one moment in the order of the file.
    """

    name: str
    arrivals: tuple[Arrival, ...]


def read_trace(path: Path) -> Trace:
    """Read a file of arrivals; rows out of order are put in order.

    Raises:
        ConfigError: it cannot be read, holds no arrivals, or a row of it is wrong.
    """
    lines = csv.reader(io.StringIO(_text_of(path)), strict=True)
    problems: list[Problem] = []
    found: list[Arrival] = []
    try:
        places = _places(path, next(lines, []))
        for row in lines:
            if not row:
                continue
            try:
                found.append(_arrival(row, places))
            except ValueError as error:
                problems.append(Problem(str(path), lines.line_num, "", str(error)))
                if len(problems) == _MOST_PROBLEMS:
                    break
    except csv.Error as error:
        problems.append(Problem(str(path), lines.line_num, "", f"is not CSV: {error}"))
    if not found and not problems:
        problems.append(Problem(str(path), 0, "", "holds no arrivals, only a header"))
    if problems:
        raise ConfigError(problems, hint=_SHAPE)
    return Trace(path.name.removesuffix(".gz").removesuffix(".csv"), tuple(sorted(found, key=lambda each: each.at)))


def trace_of(name: str, touches: Iterable[Touch], estimated_tokens: Mapping[str, int]) -> Trace:
    """The arrivals that the ledger was told of, of prefixes that they belong to.

    Args:
        name: for people.
        touches: as the ledger holds them.
        estimated_tokens: by fingerprint, for those whose touches never told it; of others nothing is known, and 0.

    Raises:
        ConfigError: there are none.
    """
    kept = sorted((touch for touch in touches if touch.matched), key=lambda touch: touch.started_at)
    sizes = dict(estimated_tokens)
    for touch in kept:
        if touch.usage and (told := touch.usage.cache_read_tokens + touch.usage.cache_write_tokens):
            sizes[touch.fingerprint] = told
    if not kept:
        raise ConfigError([Problem(name, 0, "", "holds no organic requests of a registered prefix yet")], hint=_TELL)
    return Trace(
        name,
        tuple(Arrival(touch.started_at, touch.prefix, sizes.get(touch.fingerprint, 0)) for touch in kept),
    )


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise _refusal(path, 0, f"holds more than {_MOST_BYTES:,} bytes; take a part of it")
        return data.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _refusal(path, 0, "is damaged: its gzip data ends early or is broken; fetch or write it again") from None
    except UnicodeDecodeError:
        raise _refusal(path, 0, "is not text in UTF-8") from None
    except OSError as error:
        raise _refusal(path, 0, f"cannot be read: {error.strerror or error}") from None


def _places(path: Path, header: list[str]) -> tuple[int, ...]:
    """Where the three columns stand; others are left alone."""
    if not header:
        raise _refusal(path, 0, "is empty")
    names = [name.strip() for name in header]
    if missing := [name for name in COLUMNS if name not in names]:
        raise _refusal(path, 1, f"the header lacks {', '.join(missing)}")
    return tuple(names.index(name) for name in COLUMNS)


def _arrival(row: list[str], places: tuple[int, ...]) -> Arrival:
    if len(row) <= max(places):
        raise ValueError(f"has {len(row)} of at least {max(places) + 1} columns")
    at, prefix_id, tokens = (row[place] for place in places)
    if not prefix_id.strip():
        raise ValueError("prefix_id is empty")
    seconds = _number(at, "t_seconds", _LAST_SECOND)
    return Arrival(
        MONDAY + timedelta(seconds=seconds), prefix_id.strip(), round(_number(tokens, "prefix_tokens", _MOST_TOKENS))
    )


def _number(text: str, column: str, most: float) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if math.isnan(found):
        raise ValueError(f"{column} {text!r:.40} is not a number")
    if not 0 <= found <= most:
        raise ValueError(f"{column} {text!r:.40} must be from 0 to {most:,.0f}")
    return found


def _refusal(path: Path, line: int, message: str) -> ConfigError:
    return ConfigError([Problem(str(path), line, "", message)], hint=_SHAPE)


def seconds_of(moment: datetime) -> float:
    """Seconds since the MONDAY at which traces begin, to the microsecond."""
    return (moment - MONDAY) / timedelta(seconds=1)


def by_prefix(arrivals: Iterable[Arrival]) -> Iterator[tuple[str, list[Arrival]]]:
    """The arrivals of each prefix, in the order of their first ones."""
    found: dict[str, list[Arrival]] = {}
    for arrival in arrivals:
        found.setdefault(arrival.prefix_id, []).append(arrival)
    yield from found.items()
