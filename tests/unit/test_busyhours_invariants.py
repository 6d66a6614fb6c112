"""Busy hours against slow definitions of themselves, for any windows, zones and moments."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keepwarm.busyhours import HORIZON, next_span, parse_window, span_at, spans
from keepwarm.model import BusyHours, Span, Window

STEP = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

# A year with its clock changes for each kind of zone.
YEARS = [
    ("UTC", 2026),
    ("Europe/Berlin", 2026),
    ("America/New_York", 2026),
    ("Australia/Lord_Howe", 2026),  # half an hour
    ("Antarctica/Troll", 2026),  # two hours
    ("America/Havana", 2026),  # at midnight, and back over the start of the day
    ("Asia/Beirut", 2026),  # at midnight, and back into the day before
    ("Africa/Cairo", 2026),
    ("Africa/Casablanca", 2026),  # winter time in Ramadan
    ("Asia/Kathmandu", 2026),  # a quarter of an hour off, no changes
    ("Pacific/Apia", 2011),  # a day skipped
    ("Europe/Berlin", 2060),  # beyond the listed changes, by the rule alone
]


def windows(minutes: st.SearchStrategy[int]) -> st.SearchStrategy[Window]:
    return st.builds(
        lambda days, start, length: Window(days, start, start + length),
        st.frozensets(st.integers(0, 6), min_size=1),
        minutes.filter(lambda minute: minute < 1440),
        minutes.filter(lambda minute: minute > 0),
    )


def any_hours(minutes: st.SearchStrategy[int]) -> st.SearchStrategy[BusyHours]:
    first_days = st.dates(date(2026, 1, 1), date(2026, 12, 31))
    return st.builds(
        BusyHours,
        name=st.just("any"),
        timezone=st.sampled_from(sorted({zone for zone, _ in YEARS})),
        windows=st.lists(windows(minutes), max_size=4).map(tuple),
        holidays=st.sampled_from([None, "DE-BE", "US"]),
        closed=st.lists(st.builds(lambda day, length: (day, day + length * DAY), first_days, st.integers(0, 20))).map(
            tuple
        ),
    )


ANY_HOURS = any_hours(st.integers(0, 1440))
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


# -- the definition, all through the clock changes ----------------------------------------------------------------


class Walls:
    """What the wall clock of a zone shows at every step of a year.

    A wall time's first occurrence, or the jump that skips it, is the first step that shows it or a later one; its last
    occurrence is the step from which on no earlier one is shown.
    """

    def __init__(self, zone: str, year: int) -> None:
        since = datetime(year, 1, 1, tzinfo=UTC) - 4 * DAY
        self.moments = [since + number * STEP for number in range(374 * DAY // STEP)]
        shown = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) for moment in self.moments]
        self._latest_so_far = list(accumulate(shown, max))
        self._earliest_from_here = list(accumulate(reversed(shown), min))[::-1]

    def first(self, wall: datetime) -> datetime:
        return self.moments[bisect_left(self._latest_so_far, wall)]

    def last(self, wall: datetime) -> datetime:
        return self.moments[bisect_left(self._earliest_from_here, wall)]


def defined(hours: BusyHours, walls: Walls, year: int) -> set[datetime]:
    """Every busy step of the windows that start in a year."""
    busy: set[datetime] = set()
    for number in range(365):
        day = date(year, 1, 1) + number * DAY
        midnight = datetime.combine(day, time.min)
        for window in hours.windows:
            if day.weekday() in window.weekdays:
                start = walls.first(midnight + window.start_minute * MINUTE)
                end = walls.last(midnight + window.end_minute * MINUTE)
                busy |= {start + step * STEP for step in range((end - start) // STEP)}
    return busy


@pytest.mark.parametrize(
    "texts",
    [
        ["Mon-Fri 08:00-18:00", "Sat 10:00-14:00"],
        ["22:00-06:00"],
        ["00:00-24:00"],
        ["Sun 02:15-02:45", "Sat 23:30-00:30", "Fri 23:00-24:00"],
        ["Fri-Sun 00:00-00:30", "Fri-Sun 01:30-02:00", "Thu-Sat 02:30-02:15"],
    ],
    ids=" + ".join,
)
@pytest.mark.parametrize(("zone", "year"), YEARS)
def test_a_whole_year_is_busy_exactly_as_defined(zone, year, texts):
    hours = BusyHours("year", zone, tuple(parse_window(text) for text in texts))
    since, until = datetime(year, 1, 3, tzinfo=UTC), datetime(year, 12, 29, tzinfo=UTC)
    expected = {moment for moment in defined(hours, Walls(zone, year), year) if since <= moment < until}
    found = list(spans(hours, since, until))
    assert {span.start + step * STEP for span in found for step in range(span.duration // STEP)} == expected
    assert sum((span.duration for span in found), timedelta()) == len(expected) * STEP


# -- the definition by wall clock, away from the clock changes ----------------------------------------------------


def is_busy_by_the_wall(hours: BusyHours, now: datetime) -> bool:
    wall = now.astimezone(ZoneInfo(hours.timezone)).replace(tzinfo=None)
    for day in (wall.date(), wall.date() - DAY):
        off = any(first <= day <= last for first, last in hours.closed)
        minute = (wall - datetime.combine(day, time.min)) / MINUTE
        for window in hours.windows:
            if not off and day.weekday() in window.weekdays and window.start_minute <= minute < window.end_minute:
                return True
    return False


@given(hours=ANY_HOURS.filter(lambda hours: hours.holidays is None), now=MOMENTS)
def test_away_from_clock_changes_every_minute_is_busy_as_the_wall_clock_says(hours, now):
    zone = ZoneInfo(hours.timezone)
    assume(len({(now + days * DAY).astimezone(zone).utcoffset() for days in range(-3, 4)}) == 1)
    since = now.replace(second=0, microsecond=0)
    found = list(spans(hours, since, since + DAY))
    for number in range(24 * 60):
        moment = since + number * MINUTE
        expected = is_busy_by_the_wall(hours, moment)
        assert any(span.start <= moment < span.end for span in found) == expected
    assert (span_at(hours, now) is not None) == is_busy_by_the_wall(hours, now)


# -- invariants ---------------------------------------------------------------------------------------------------


@given(hours=ANY_HOURS, since=MOMENTS, length=st.timedeltas(timedelta(), timedelta(days=40)))
def test_spans_are_sorted_disjoint_apart_not_empty_and_inside_what_was_asked(hours, since, length):
    found = list(spans(hours, since, since + length))
    assert all(span.start < span.end for span in found)
    assert all(earlier.end < later.start for earlier, later in pairwise(found))
    assert all(since <= span.start and span.end <= since + length for span in found)


@given(hours=ANY_HOURS, now=MOMENTS)
def test_span_at_is_the_span_of_spans_that_contains_now(hours, now):
    around = Span(now - HORIZON, now + HORIZON)
    listed = [span for span in spans(hours, around.start, around.end) if span.start <= now < span.end]
    found = span_at(hours, now)
    assert [cut(found, around)] == (listed or [None])


@given(hours=ANY_HOURS, now=MOMENTS)
def test_next_span_is_the_first_span_of_spans_that_starts_later(hours, now):
    found = next_span(hours, now)
    ahead = Span(now, now + timedelta(days=60))
    listed = [span for span in spans(hours, ahead.start, ahead.end) if span.start > now]
    if found is None:
        assert listed == []
        return
    assert found.start > now
    assert found.start < found.end
    current = span_at(hours, now)
    assert current is None or found.start > current.end
    assert span_at(hours, found.start - timedelta(microseconds=1)) is None
    assert cut(span_at(hours, found.start), Span(found.start, now + HORIZON)) == cut(
        found, Span(found.start, now + HORIZON)
    )
    assert [span.start for span in listed[:1]] == ([found.start] if found.start < ahead.end else [])


@given(hours=ANY_HOURS, since=MOMENTS)
def test_hopping_from_span_to_span_visits_them_all(hours, since):
    until = since + timedelta(days=20)
    visited, now = [], since
    while (span := next_span(hours, now)) and span.start < until:
        visited.append(span.start)
        now = span.start
    assert visited == [span.start for span in spans(hours, since, until) if span.start > since]


def cut(span: Span | None, limits: Span) -> Span | None:
    found = span and Span(max(span.start, limits.start), min(span.end, limits.end))
    return found if found and found.start < found.end else None
