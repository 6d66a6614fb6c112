"""When it is busy: windows, midnights, clock changes, holidays and closed days, in examples."""

from __future__ import annotations

import timeit
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from keepwarm.busyhours import HORIZON, LOOK_AHEAD, next_span, parse_closed, parse_window, span_at, spans
from keepwarm.model import ALWAYS, BusyHours, Span

BERLIN = "Europe/Berlin"


def busy(*windows: str, zone: str = BERLIN, holidays: str | None = None, closed: tuple[str, ...] = ()) -> BusyHours:
    ranges = tuple(parse_closed(text) for text in closed)
    return BusyHours("test", zone, tuple(parse_window(text) for text in windows), holidays, ranges)


def local(text: str, zone: str = BERLIN, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def told(hours: BusyHours, since: str, until: str) -> list[str]:
    """The spans between two local times, in local words with their offsets."""
    zone = ZoneInfo(hours.timezone)
    found = spans(hours, local(since, hours.timezone), local(until, hours.timezone))
    return [f"{span.start.astimezone(zone):%a %H:%M%z} {span.end.astimezone(zone):%a %H:%M%z}" for span in found]


# -- an ordinary week ---------------------------------------------------------------------------------------------


def test_an_office_week_has_a_span_a_day_and_a_short_saturday():
    hours = busy("Mon-Fri 08:00-18:00", "Sat 10:00-14:00")
    assert told(hours, "2026-11-23", "2026-11-30") == [
        "Mon 08:00+0100 Mon 18:00+0100",
        "Tue 08:00+0100 Tue 18:00+0100",
        "Wed 08:00+0100 Wed 18:00+0100",
        "Thu 08:00+0100 Thu 18:00+0100",
        "Fri 08:00+0100 Fri 18:00+0100",
        "Sat 10:00+0100 Sat 14:00+0100",
    ]


def test_a_span_begins_with_its_start_and_ends_before_its_end():
    hours = busy("Mon-Fri 08:00-18:00")
    span = Span(utc("2026-11-23 07:00"), utc("2026-11-23 17:00"))
    second = timedelta(microseconds=1)
    assert span_at(hours, span.start - second) is None
    assert span_at(hours, span.start) == span
    assert span_at(hours, span.end - second) == span
    assert span_at(hours, span.end) is None


def test_the_next_span_starts_strictly_later():
    hours = busy("Mon-Fri 08:00-18:00")
    monday, tuesday = utc("2026-11-23 07:00"), utc("2026-11-24 07:00")
    assert next_span(hours, monday - timedelta(seconds=1)) == Span(monday, monday + timedelta(hours=10))
    assert next_span(hours, monday) == Span(tuesday, tuesday + timedelta(hours=10))
    assert next_span(hours, local("2026-11-27 12:00")) == span_at(hours, local("2026-11-30 12:00"))


def test_the_zone_of_now_does_not_matter_and_answers_are_utc():
    hours = busy("Mon-Fri 08:00-18:00")
    here, there = local("2026-11-23 09:00"), local("2026-11-23 21:00", "Pacific/Auckland")
    assert here == there
    span = span_at(hours, here)
    assert span is not None
    assert span == span_at(hours, there)
    assert next_span(hours, here) == next_span(hours, there)
    assert (span.start.tzinfo, span.end.tzinfo) == (UTC, UTC)
    cut = list(spans(hours, here, there + timedelta(hours=1)))
    assert cut == [Span(utc("2026-11-23 08:00"), utc("2026-11-23 09:00"))]
    assert (cut[0].start.tzinfo, cut[0].end.tzinfo) == (UTC, UTC)


def test_an_overnight_window_belongs_to_the_day_on_which_it_starts():
    hours = busy("Fri 22:00-06:00")
    assert told(hours, "2026-11-23", "2026-11-30") == ["Fri 22:00+0100 Sat 06:00+0100"]
    assert span_at(hours, local("2026-11-27 03:00")) is None
    assert span_at(hours, local("2026-11-28 03:00")) == span_at(hours, local("2026-11-27 23:00"))


def test_windows_that_overlap_or_touch_make_one_span():
    hours = busy("Mon 20:00-24:00", "Tue 00:00-02:00", "Mon 08:00-12:00", "Mon 09:00-10:00", "Mon 11:00-13:00")
    assert told(hours, "2026-11-23", "2026-11-30") == [
        "Mon 08:00+0100 Mon 13:00+0100",
        "Mon 20:00+0100 Tue 02:00+0100",
    ]
    assert span_at(hours, local("2026-11-24 01:00")) == span_at(hours, local("2026-11-23 21:00"))


def test_spans_are_cut_to_the_moments_asked_for():
    hours = busy("00:00-24:00")
    since, until = utc("2026-11-23 10:11:12"), utc("2026-12-31 13:14:15")
    assert list(spans(hours, since, until)) == [Span(since, until)]
    office = busy("08:00-18:00")
    assert list(spans(office, utc("2026-11-23 17:00"), utc("2026-11-24 07:00"))) == []
    assert list(spans(office, since, since)) == []
    assert list(spans(office, until, since)) == []


# -- busy without end, never busy ---------------------------------------------------------------------------------


def test_always_is_one_span_that_outlasts_the_horizon_on_both_sides():
    now = utc("2026-11-22 12:00")
    for moment in (now, now + timedelta(days=1000), utc("2026-11-22"), utc("2026-11-22 23:59:59.999999")):
        span = span_at(ALWAYS, moment)
        assert span is not None
        assert span.start <= moment - HORIZON
        assert span.end >= moment + HORIZON
        assert next_span(ALWAYS, moment) is None


def test_without_windows_it_is_never_busy():
    never = busy()
    now = utc("2026-11-22 12:00")
    assert span_at(never, now) is None
    assert next_span(never, now) is None
    assert list(spans(never, now, now + timedelta(days=30))) == []


def test_the_next_span_is_found_behind_a_long_rest():
    hours = busy("Mon-Fri 08:00-18:00", closed=("2026-07-01..2027-06-30",))
    assert span_at(hours, local("2026-07-01 12:00")) is None
    expected = Span(utc("2027-07-01 06:00"), utc("2027-07-01 16:00"))
    assert next_span(hours, local("2026-06-30 18:00")) == expected
    assert next_span(hours, local("2026-06-30 12:00")) == expected
    assert next_span(hours, local("2026-09-01 12:00")) == expected


def test_the_next_span_is_found_behind_a_long_span_that_is_busy_for_months():
    hours = busy("00:00-24:00", closed=("2027-03-01",))
    assert next_span(hours, local("2026-11-22 12:00")).start == local("2027-03-02 00:00")


def test_nobody_looks_further_ahead_than_four_hundred_days():
    hours = busy("Mon-Fri 08:00-18:00", closed=("2026-07-01..2029-06-30",))
    assert next_span(hours, local("2026-07-01 12:00")) is None
    opening = local("2029-07-02 08:00")
    assert next_span(hours, opening - LOOK_AHEAD + timedelta(days=1)).start == opening
    assert next_span(hours, opening - LOOK_AHEAD - timedelta(days=1)) is None


# -- clock changes ------------------------------------------------------------------------------------------------


def test_a_night_window_is_an_hour_shorter_in_spring_and_an_hour_longer_in_autumn():
    hours = busy("22:00-06:00")
    assert told(hours, "2026-03-28 12:00", "2026-03-29 12:00") == ["Sat 22:00+0100 Sun 06:00+0200"]
    assert told(hours, "2026-10-24 12:00", "2026-10-25 12:00") == ["Sat 22:00+0200 Sun 06:00+0100"]
    assert span_at(hours, local("2026-03-29 00:00")).duration == timedelta(hours=7)
    assert span_at(hours, local("2026-10-25 00:00")).duration == timedelta(hours=9)


def test_a_skipped_opening_or_closing_is_the_jump():
    day = ("2026-03-29", "2026-03-30")
    assert told(busy("02:30-05:00"), *day) == ["Sun 03:00+0200 Sun 05:00+0200"]
    assert told(busy("01:00-02:30"), *day) == ["Sun 01:00+0100 Sun 03:00+0200"]
    assert busy_time(busy("01:00-02:30"), *day) == timedelta(hours=1)
    assert told(busy("01:00-02:15", "02:45-04:00"), *day) == ["Sun 01:00+0100 Sun 04:00+0200"]


def test_a_window_that_is_skipped_in_full_does_not_exist():
    hours = busy("02:10-02:50")
    assert told(hours, "2026-03-28", "2026-03-31") == ["Sat 02:10+0100 Sat 02:50+0100", "Mon 02:10+0200 Mon 02:50+0200"]
    assert span_at(hours, utc("2026-03-29 01:00")) is None
    assert next_span(hours, local("2026-03-28 02:50")).start == local("2026-03-30 02:10")


def test_a_repeated_opening_is_its_first_and_a_repeated_closing_its_last_occurrence():
    day = ("2026-10-25", "2026-10-26")
    assert told(busy("02:30-05:00"), *day) == ["Sun 02:30+0200 Sun 05:00+0100"]
    assert told(busy("01:00-02:30"), *day) == ["Sun 01:00+0200 Sun 02:30+0100"]
    assert told(busy("02:00-03:00"), *day) == ["Sun 02:00+0200 Sun 03:00+0100"]
    assert busy_time(busy("02:10-02:20"), *day) == timedelta(hours=1, minutes=10)


def test_a_day_of_twenty_three_and_of_twenty_five_hours_is_busy_in_full():
    for zone in (BERLIN, "America/New_York", "America/Havana", "Australia/Lord_Howe", "Africa/Cairo"):
        year = busy("00:00-24:00", zone=zone)
        since, until = local("2026-01-01", zone), local("2027-01-01", zone)
        assert list(spans(year, since, until)) == [Span(since.astimezone(UTC), until.astimezone(UTC))]


def test_clocks_that_jump_at_midnight_open_the_day_at_the_jump():
    zone = "America/Havana"  # 2026-03-08 00:00 -> 01:00, 2026-11-01 01:00 -> 00:00
    assert told(busy("Sun 00:00-06:00", zone=zone), "2026-03-07", "2026-03-09") == ["Sun 01:00-0400 Sun 06:00-0400"]
    assert told(busy("Sat 20:00-24:00", zone=zone), "2026-03-07", "2026-03-09") == ["Sat 20:00-0500 Sun 01:00-0400"]
    assert busy_time(busy("Sat 20:00-24:00", zone=zone), "2026-03-07", "2026-03-09") == timedelta(hours=4)


def test_clocks_that_fall_back_over_midnight_repeat_the_end_of_the_day_before():
    zone = "Asia/Beirut"  # 2026-10-25 00:00 -> 2026-10-24 23:00
    hours = busy("Sat 23:30-24:00", zone=zone)
    assert told(hours, "2026-10-24", "2026-10-26") == ["Sat 23:30+0300 Sun 00:00+0200"]
    assert busy_time(hours, "2026-10-24", "2026-10-26") == timedelta(hours=1, minutes=30)
    assert told(busy("Sun 00:00-01:00", zone=zone), "2026-10-24", "2026-10-26") == ["Sun 00:00+0200 Sun 01:00+0200"]


def test_midnight_that_comes_twice_opens_at_its_first_and_closes_at_its_last_occurrence():
    zone = "America/Havana"
    saturday = busy("Sat 20:00-24:00", zone=zone)
    assert told(saturday, "2026-10-31", "2026-11-02") == ["Sat 20:00-0400 Sun 00:00-0500"]
    assert busy_time(saturday, "2026-10-31", "2026-11-02") == timedelta(hours=5)
    assert told(busy("Sun 00:00-02:00", zone=zone), "2026-10-31", "2026-11-02") == ["Sun 00:00-0400 Sun 02:00-0500"]


def test_a_day_that_the_calendar_skips_leaves_no_span():
    zone = "Pacific/Apia"  # 2011-12-30 did not take place: the 29th was followed by the 31st
    assert told(busy("08:00-18:00", zone=zone), "2011-12-29", "2012-01-01") == [
        "Thu 08:00-1000 Thu 18:00-1000",
        "Sat 08:00+1400 Sat 18:00+1400",
    ]
    assert told(busy("Thu 22:00-06:00", zone=zone), "2011-12-29", "2012-01-01") == ["Thu 22:00-1000 Sat 00:00+1400"]
    assert told(busy("Fri 22:00-06:00", zone=zone), "2011-12-29", "2012-01-01") == ["Sat 00:00+1400 Sat 06:00+1400"]


def test_half_an_hour_of_summer_time_is_half_an_hour():
    zone = "Australia/Lord_Howe"  # 2026-04-05 02:00 -> 01:30, 2026-10-04 02:00 -> 02:30
    assert busy_time(busy("00:00-06:00", zone=zone), "2026-04-05", "2026-04-06") == timedelta(hours=6, minutes=30)
    assert busy_time(busy("00:00-06:00", zone=zone), "2026-10-04", "2026-10-05") == timedelta(hours=5, minutes=30)
    assert told(busy("02:10-03:00", zone=zone), "2026-10-04", "2026-10-05") == ["Sun 02:30+1100 Sun 03:00+1100"]


def busy_time(hours: BusyHours, since: str, until: str) -> timedelta:
    found = spans(hours, local(since, hours.timezone), local(until, hours.timezone))
    return sum((span.duration for span in found), timedelta())


# -- days off -----------------------------------------------------------------------------------------------------


def test_holidays_of_berlin_are_not_busy_and_those_of_other_states_are():
    hours = busy("Mon-Sun 08:00-18:00", holidays="DE-BE")
    off = {date(2026, 1, 1) + timedelta(days=number) for number in range(365)}
    off -= {span.start.date() for span in spans(hours, local("2026-01-01"), local("2027-01-01"))}
    assert off == {
        date(2026, 1, 1),
        date(2026, 3, 8),  # Women's Day, a holiday in Berlin
        date(2026, 4, 3),
        date(2026, 4, 6),
        date(2026, 5, 1),
        date(2026, 5, 14),
        date(2026, 5, 25),
        date(2026, 10, 3),
        date(2026, 12, 25),
        date(2026, 12, 26),
    }  # and neither Epiphany nor Reformation Day


def test_a_country_without_subdivision_has_its_national_holidays():
    hours = busy("08:00-18:00", holidays="DE")
    assert span_at(hours, local("2026-03-08 12:00")) is not None
    assert span_at(hours, local("2026-10-03 12:00")) is None


def test_a_holiday_drops_the_whole_window_that_starts_on_it_and_none_that_started_before():
    hours = busy("22:00-06:00", holidays="DE-BE")
    assert told(hours, "2026-04-30 12:00", "2026-05-03 12:00") == [
        "Thu 22:00+0200 Fri 06:00+0200",
        "Sat 22:00+0200 Sun 06:00+0200",
    ]


def test_closed_days_are_local_days_and_include_both_ends():
    hours = busy("00:00-24:00", zone="Pacific/Auckland", closed=("2026-12-24..2026-12-31", "2027-02-06"))
    assert told(hours, "2026-12-20", "2027-02-10") == [
        "Sun 00:00+1300 Thu 00:00+1300",
        "Fri 00:00+1300 Sat 00:00+1300",
        "Sun 00:00+1300 Wed 00:00+1300",
    ]
    assert next_span(hours, local("2026-12-23 12:00", "Pacific/Auckland")).start == utc("2026-12-31 11:00")


# -- speed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [span_at, next_span])
def test_an_answer_from_the_cache_takes_less_than_twenty_microseconds(ask):
    hours = busy("Mon-Fri 08:00-18:00", "Sat 10:00-14:00", holidays="DE-BE", closed=("2026-12-24..2026-12-31",))
    now = utc("2026-11-22 12:00")
    ask(hours, now)
    best_seconds = min(timeit.repeat(lambda: ask(hours, now), number=1000, repeat=5)) / 1000
    assert best_seconds < 20e-6
