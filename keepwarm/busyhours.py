"""Busy hours on the wall clock of any zone, turned into spans of UTC.

It does not read the clock, a file of the user or the registry, and it decides nothing about pings.

What a window means:

- A window belongs to the local day on which it starts. When that day is a holiday or closed, the whole window is
  dropped, also its part after midnight; a window that started the day before keeps its part in the holiday.
- It opens at the first occurrence of its opening wall time and closes at the last occurrence of its closing wall time,
  so the hour that clocks repeat in autumn is busy in full.
- A wall time that clocks skip stands for the moment at which they jump; a window that lies wholly in the gap (also in a
  skipped day, such as 2011-12-30 in Apia) is empty, and an empty window does not exist.
- Windows that overlap or touch make one span. Spans are half-open.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import lru_cache
from operator import attrgetter
from zoneinfo import ZoneInfo

import holidays

from keepwarm.model import BusyHours, Span, Window

HORIZON = timedelta(days=8)
LOOK_AHEAD = timedelta(days=400)

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_DAY = timedelta(days=1)
# A window reaches up to two days past the midnight of its local day, which is up to a day away from that of UTC.
_REACH = timedelta(days=4)
_WINDOW = re.compile(r"(?:(?P<days>[^\d:]*[^\d:\s])\s+)?(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


# -- reading what the operator wrote ------------------------------------------------------------------------------


def parse_window(text: str) -> Window:
    """Read a window such as `Mon-Fri 08:00-18:00`, `Sat,Sun 10:00-14:00` or, for every night, `22:00-06:00`.

    Raises:
        ValueError: a sentence that says what is wrong and shows what is allowed.
    """
    found = _WINDOW.fullmatch(text.strip().casefold().replace("\N{EN DASH}", "-"))
    if not found:
        raise ValueError(f'"{text}" is not a window; write weekdays and hours, such as "Mon-Fri 08:00-18:00"')
    start = _minute(found[2], found[3], text)
    end = _minute(found[4], found[5], text)
    if start == _DAY_MINUTES:
        raise ValueError(f'"{text}" starts at 24:00; write 00:00 of the next day, such as "Sat 00:00-06:00"')
    if start == end:
        raise ValueError(f'"{text}" starts and ends at the same time; for whole days write "Mon-Sun 00:00-24:00"')
    return Window(_weekdays(found["days"], text), start, end if end > start else end + _DAY_MINUTES)


def parse_closed(text: str) -> tuple[date, date]:
    """Read `2026-12-24..2026-12-31` (both days included) or one date.

    Raises:
        ValueError: a sentence that says what is wrong and shows what is allowed.
    """
    first, dots, last = text.partition("..")
    since = _date(first.strip(), text)
    until = _date(last.strip(), text) if dots else since
    if until < since:
        raise ValueError(f'"{text}" ends before it starts; write "{until}..{since}"')
    return since, until


def check_holidays(code: str) -> None:
    """Accept `DE` or `DE-BE`: a country and a subdivision as python-holidays names them.

    Raises:
        ValueError: a sentence that names the nearest codes that are allowed.
    """
    country, dash, subdivision = code.partition("-")
    countries = _countries()
    if country not in countries:
        near = _nearest(country, [name for name in countries if len(name) == 2])
        raise ValueError(f'"{code}": no holidays are known for country "{country}"; write a code such as {near}')
    subdivisions = countries[country]
    if dash and not subdivisions:
        raise ValueError(f'"{code}": {country} has no holidays by subdivision; write "{country}"')
    if dash and subdivision not in subdivisions:
        near = _nearest(subdivision, subdivisions, prefix=f"{country}-")
        raise ValueError(f'"{code}": {country} has no subdivision "{subdivision}"; allowed are {near}')


def _minute(hour: str, minute: str, text: str) -> int:
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > _DAY_MINUTES:
        raise ValueError(f'"{text}": {hour}:{minute} is not a time of day; write 00:00 to 24:00, such as "08:00-18:00"')
    return found


def _weekdays(days: str | None, text: str) -> frozenset[int]:
    if days is None:
        return frozenset(range(7))
    return frozenset(day for part in days.split(",") for day in _weekday_range(part, text))


def _weekday_range(part: str, text: str) -> Iterator[int]:
    names = [name.strip() for name in part.split("-", 1)]
    for name in names:
        if name not in _WEEKDAYS:
            allowed = ", ".join(day.title() for day in _WEEKDAYS)
            raise ValueError(
                f'"{text}": "{name}" is not a weekday; allowed are {allowed}, such as "Mon-Wed,Fri 9:00-12:30"'
            )
    first, last = _WEEKDAYS.index(names[0]), _WEEKDAYS.index(names[-1])
    return ((first + step) % 7 for step in range((last - first) % 7 + 1))


def _date(part: str, text: str) -> date:
    try:
        # The pattern holds back the week dates and packed dates that fromisoformat takes as well.
        if _DATE.fullmatch(part):
            return date.fromisoformat(part)
    except ValueError:
        pass
    raise ValueError(f'"{text}": "{part}" is not a date; write "2026-12-24" or "2026-12-24..2026-12-31"')


# -- spans --------------------------------------------------------------------------------------------------------


def span_at(hours: BusyHours, now: datetime) -> Span | None:
    """The span that contains `now` (aware, in any zone), None when it is not busy.

    A start or end that lies within HORIZON of `now` is exact; a longer span is cut off beyond it, so `always` is one
    span that starts before and ends after the horizon at whatever moment one looks.
    """
    now = now.astimezone(UTC)
    near = _near(hours, now.date())
    index = bisect_right(near, now, key=_start_of)
    return near[index - 1] if index and now < near[index - 1].end else None


def next_span(hours: BusyHours, now: datetime) -> Span | None:
    """The first span that starts after `now` (aware, in any zone), None when there is none within LOOK_AHEAD.

    Its start is exact; so is its end within HORIZON of `now`, while beyond it a span may be cut off.
    """
    now = now.astimezone(UTC)
    near = _near(hours, now.date())
    index = bisect_right(near, now, key=_start_of)
    return near[index] if index < len(near) else _far(hours, now.date())


def spans(hours: BusyHours, since: datetime, until: datetime) -> Iterator[Span]:
    """The spans between two moments, in order, cut to [since, until), as aware UTC."""
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    for span in _merged(_days(hours, since.date() - _REACH, until.date() + _REACH)):
        if span.start >= until:
            return
        cut = Span(max(span.start, since), min(span.end, until))
        if cut.start < cut.end:
            yield cut


_start_of = attrgetter("start")


@lru_cache(maxsize=4_096)
def _near(hours: BusyHours, utc_day: date) -> tuple[Span, ...]:
    """Spans that hold for every moment of a day of UTC, exact within HORIZON of it."""
    margin = HORIZON + _REACH
    return tuple(_merged(_days(hours, utc_day - margin, utc_day + margin)))


@lru_cache(maxsize=4_096)
def _far(hours: BusyHours, utc_day: date) -> Span | None:
    """The first span that starts after a day of UTC in which and soon after which none starts."""
    tomorrow = datetime.combine(utc_day + _DAY, time.min, UTC)
    for span in _merged(_days(hours, utc_day - _REACH, utc_day + LOOK_AHEAD)):
        if span.start >= tomorrow:
            return span
    return None


def _merged(found: Iterable[Span]) -> Iterator[Span]:
    """Join spans, ascending by start, that overlap or touch."""
    held: Span | None = None
    for span in found:
        if held is None:
            held = span
        elif span.start > held.end:
            yield held
            held = span
        elif span.end > held.end:
            held = Span(held.start, span.end)
    if held:
        yield held


def _days(hours: BusyHours, first: date, last: date) -> Iterator[Span]:
    for number in range((last - first).days + 1):
        yield from _day(hours, first + number * _DAY)


@lru_cache(maxsize=65_536)
def _day(hours: BusyHours, day: date) -> tuple[Span, ...]:
    """The spans of the windows that start on a local day, ascending by start; they may overlap."""
    windows = [window for window in hours.windows if day.weekday() in window.weekdays]
    if not windows or _is_off(hours, day):
        return ()
    zone = ZoneInfo(hours.timezone)
    found = (
        Span(_instant(day, window.start_minute, zone, fold=0), _instant(day, window.end_minute, zone, fold=1))
        for window in windows
    )
    return tuple(sorted((span for span in found if span.start < span.end), key=_start_of))


def _is_off(hours: BusyHours, day: date) -> bool:
    if any(first <= day <= last for first, last in hours.closed):
        return True
    return hours.holidays is not None and day in _calendar(hours.holidays, day.year)


def _instant(day: date, minute: int, zone: ZoneInfo, *, fold: int) -> datetime:
    """The moment of a wall time: its first (fold 0) or last (fold 1) occurrence, or the jump that skips it."""
    wall = datetime.combine(day, time.min) + timedelta(minutes=minute)
    found = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
        return found
    # In a gap, fold 0 reckons with the offset before the jump and so lands after it; fold 1 the other way round.
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return _jump(before, after, zone)


def _jump(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second at which the offset of `after` begins, by bisection."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


# -- holidays -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _countries() -> dict[str, list[str]]:
    return holidays.list_supported_countries(include_aliases=True)


@lru_cache(maxsize=1_024)
def _calendar(code: str, year: int) -> frozenset[date]:
    country, _, subdivision = code.partition("-")
    return frozenset(holidays.country_holidays(country, subdiv=subdivision or None, years=year, expand=False))


def _nearest(name: str, allowed: Iterable[str], *, prefix: str = "") -> str:
    """The five likeliest of the allowed names in words, or simply the first ones when none resembles it."""
    by_folded = {code.casefold(): prefix + code for code in sorted(allowed)}
    close = get_close_matches(name.casefold(), by_folded, n=5, cutoff=0.5)
    shown = [by_folded[folded] for folded in close] or list(by_folded.values())[:5]
    more = len(by_folded) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
