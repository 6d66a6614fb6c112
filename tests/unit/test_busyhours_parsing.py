"""What an operator may write for windows, closed days and holidays, and what a slip is answered with."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.busyhours import check_holidays, parse_closed, parse_window
from keepwarm.model import ALWAYS, Window

NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@pytest.mark.parametrize(
    ("text", "weekdays", "start_minute", "end_minute"),
    [
        ("Mon-Fri 08:00-18:00", {0, 1, 2, 3, 4}, 480, 1080),
        ("Sat 10:00-14:00", {5}, 600, 840),
        ("Mon,Wed,Fri 9:00-12:30", {0, 2, 4}, 540, 750),
        ("Mon-Wed,Fri 9:00-12:30", {0, 1, 2, 4}, 540, 750),
        ("Sat-Mon 00:00-01:00", {5, 6, 0}, 0, 60),
        ("Fri-Fri 00:00-01:00", {4}, 0, 60),
        ("22:00-06:00", set(range(7)), 1320, 1800),
        ("Fri 22:00-06:00", {4}, 1320, 1800),
        ("Fri 22:00-00:00", {4}, 1320, 1440),
        ("Fri 22:00-24:00", {4}, 1320, 1440),
        ("Fri 23:59-23:58", {4}, 1439, 2878),
        ("00:00-24:00", set(range(7)), 0, 1440),
        ("  mon - WED , fri  9:00 - 12:30 ", {0, 1, 2, 4}, 540, 750),
        ("Mon\N{EN DASH}Fri 08:00\N{EN DASH}18:00", {0, 1, 2, 3, 4}, 480, 1080),
    ],
)
def test_a_window_is_read_as_it_is_written(text, weekdays, start_minute, end_minute):
    assert parse_window(text) == Window(frozenset(weekdays), start_minute, end_minute)


def test_the_whole_week_is_what_always_means():
    assert (parse_window("00:00-24:00"),) == ALWAYS.windows


@given(
    days=st.lists(st.integers(0, 6), min_size=1),
    start=st.integers(0, 1439),
    end=st.integers(0, 1440),
)
def test_every_window_ends_after_it_starts_and_within_a_day_of_it(days, start, end):
    text = ",".join(NAMES[day] for day in days)
    hours = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    if start == end:
        with pytest.raises(ValueError, match="00:00-24:00"):
            parse_window(f"{text} {hours}")
        return
    window = parse_window(f"{text} {hours}")
    assert window.weekdays == set(days)
    assert window.start_minute == start
    assert window.end_minute % 1440 == end % 1440
    assert 0 < window.end_minute - window.start_minute <= 1440


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a window"),
        ("Mon-Fri", "is not a window"),
        ("Mon-Fri 08:00", "is not a window"),
        ("Mon8:00-9:00", "is not a window"),
        ("0800-1800", "is not a window"),
        ("Mon-Fri 08:00-18:00 Berlin", "is not a window"),
        ("Tues 08:00-18:00", '"tues" is not a weekday'),
        ("Mon-Wed-Fri 08:00-18:00", '"wed-fri" is not a weekday'),
        ("Mon,,Tue 08:00-18:00", '"" is not a weekday'),
        ("8:60-9:00", "8:60 is not a time of day"),
        ("08:00-24:01", "24:01 is not a time of day"),
        ("99:00-09:00", "99:00 is not a time of day"),
        ("24:00-06:00", "starts at 24:00"),
        ("08:00-08:00", "starts and ends at the same time"),
    ],
)
def test_a_bad_window_is_quoted_with_an_example_that_would_do(text, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_window(text)
    message = str(caught.value)
    assert f'"{text}"' in message
    assert parse_window(message.rsplit('"', 2)[1])


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("2026-12-24..2026-12-31", date(2026, 12, 24), date(2026, 12, 31)),
        (" 2026-12-24 .. 2026-12-31 ", date(2026, 12, 24), date(2026, 12, 31)),
        ("2026-12-24", date(2026, 12, 24), date(2026, 12, 24)),
        ("2026-12-24..2026-12-24", date(2026, 12, 24), date(2026, 12, 24)),
    ],
)
def test_closed_days_include_both_ends(text, since, until):
    assert parse_closed(text) == (since, until)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("2026-12-31..2026-12-24", 'ends before it starts; write "2026-12-24..2026-12-31"'),
        ("2026-02-29", '"2026-02-29" is not a date'),
        ("2026-12-24..", '"" is not a date'),
        ("20261224", '"20261224" is not a date'),
        ("2026-W01-1", '"2026-W01-1" is not a date'),
        ("Christmas", '"Christmas" is not a date'),
    ],
)
def test_bad_closed_days_are_quoted_with_an_example_that_would_do(text, complaint):
    with pytest.raises(ValueError, match="write") as caught:
        parse_closed(text)
    message = str(caught.value)
    assert complaint in message
    assert parse_closed(message.rsplit('"', 2)[1])


@pytest.mark.parametrize("code", ["DE", "DE-BE", "US-CA", "GB-ENG", "DEU", "VA"])
def test_holidays_that_python_holidays_knows_are_accepted(code):
    check_holidays(code)


@pytest.mark.parametrize(
    ("code", "nearest"),
    [
        ("de", "DE"),
        ("DEE", "DE"),
        ("DE-be", "DE-BE"),
        ("DE-B", "DE-BE"),
        ("DE-Berlin", "DE-BE"),
        ("AU-NWS", "AU-NSW"),
        ("GB-ENGL", "GB-ENG"),
        ("VA-X", "VA"),
    ],
)
def test_unknown_holidays_are_answered_with_the_nearest_codes(code, nearest):
    with pytest.raises(ValueError, match=f'^"{code}"') as caught:
        check_holidays(code)
    assert nearest in str(caught.value).partition(";")[2]


def test_a_code_that_resembles_nothing_is_still_answered_with_what_is_allowed():
    with pytest.raises(ValueError, match=r"allowed are GB-ENG, GB-NIR, GB-SCT, GB-WLS$"):
        check_holidays("GB-XX")
    with pytest.raises(ValueError, match=r"and 12 more$"):
        check_holidays("DE-")
    with pytest.raises(ValueError, match='country ""; write a code such as AD, '):
        check_holidays("")
