"""Whole weeks in virtual time: clock changes, holidays, nights and lunches, with pings that succeed and that fail.

A day has its entry written once at each cold opening, kept through the window, and left alone outside.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from keepwarm import busyhours, simulate
from keepwarm.model import BusyHours, Prefix, PrefixState, Reason, Span, Ttl, Verdict
from tests.builders import make_hours, make_prefix
from tests.walks import cold_gaps, local, outside, walk

HOUR, MINUTE, SECOND, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1), timedelta(days=1)

HOURS = {
    "office": make_hours("Mon-Fri 08:00-18:00", "Sat 10:00-14:00"),
    "every night": make_hours("22:00-06:00"),
    "every day": make_hours("Mon-Sun 00:00-24:00"),
    "the hour that clocks skip or repeat": make_hours("02:00-03:00"),
    "short lunch": make_hours("Mon-Sun 08:00-12:00", "Mon-Sun 12:30-18:00"),
    "long lunch": make_hours("Mon-Sun 08:00-12:00", "Mon-Sun 14:00-18:00"),
    "breath": make_hours("Mon-Sun 08:00-12:00", "Mon-Sun 12:04-18:00"),
    "New York nights": make_hours("Mon-Fri 20:00-04:30", "Sat,Sun 01:30-02:30", timezone="America/New_York"),
    "holidays": make_hours("Mon-Fri 08:00-18:00", holidays="DE-BE"),
}

# The week around each change of clocks; the last one holds Good Friday, Easter Monday and the Berlin Easter.
WEEKS = {
    "Berlin goes forward": local(2026, 3, 26),
    "Berlin goes back": local(2026, 10, 22),
    "New York goes forward": local(2026, 3, 5, zone="America/New_York"),
    "New York goes back": local(2026, 10, 29, zone="America/New_York"),
    "Easter": local(2026, 4, 1),
}


def make(hours: BusyHours, ttl: Ttl) -> Prefix:
    return make_prefix(ttl=ttl, busy_hours=hours)


def cold_openings(prefix: Prefix, pings: list[datetime], since: datetime, until: datetime) -> list[datetime]:
    """Openings at which no earlier ping's entry still lives."""
    openings = [span.start for span in busyhours.spans(prefix.busy_hours, since, until)]
    return [at for at in openings if not any(ping < at < ping + prefix.lifetime for ping in pings)]


@pytest.mark.parametrize("ttl", Ttl)
@pytest.mark.parametrize("week", WEEKS)
@pytest.mark.parametrize("hours", HOURS)
def test_a_week_has_no_gap_inside_busy_hours_no_ping_outside_and_one_write_for_each_cold_opening(hours, week, ttl):
    prefix, since = make(HOURS[hours], ttl), WEEKS[week]
    until = since + 7 * DAY
    planned = list(simulate.project(prefix, PrefixState(), since, until))
    pings = [ping.at for ping in planned]
    assert pings
    assert not outside(prefix, pings)
    assert not cold_gaps(prefix, pings, since, until)
    writes = [ping.at for ping in planned if ping.verdict is Verdict.REWRITE]
    assert writes == cold_openings(prefix, pings, since, until)
    assert writes == [ping.at for ping in planned if ping.reason is Reason.COLD_IN_BUSY_HOURS]


@pytest.mark.parametrize("ttl", Ttl)
@pytest.mark.parametrize("week", WEEKS)
@pytest.mark.parametrize("hours", HOURS)
def test_a_week_is_kept_with_as_few_pings_as_lifetime_and_margin_allow(hours, week, ttl):
    """No more than the busy time holds ping periods, plus the spread, one write and one bridge for each opening."""
    prefix, since = make(HOURS[hours], ttl), WEEKS[week]
    busy = list(busyhours.spans(prefix.busy_hours, since, since + 7 * DAY))
    pings = list(simulate.project(prefix, PrefixState(), since, since + 7 * DAY))
    shortest = prefix.lifetime - 1.5 * prefix.margin
    assert len(pings) <= sum(span.duration / shortest + 2 for span in busy)


@pytest.mark.parametrize("week", WEEKS)
def test_the_same_wall_hours_are_kept_whatever_the_clocks_do(week):
    """The office opens at 08:00 by the wall before and after the change."""
    prefix, since = make(HOURS["office"], Ttl.ONE_HOUR), WEEKS[week]
    planned = simulate.project(prefix, PrefixState(), since, since + 7 * DAY)
    writes = [ping.at.astimezone(ZoneInfo("Europe/Berlin")) for ping in planned if ping.verdict is Verdict.REWRITE]
    assert {(write.isoweekday() == 6, write.hour, write.minute) for write in writes} <= {(False, 8, 0), (True, 10, 0)}


@pytest.mark.parametrize(
    ("since", "busy_hours"),
    [(local(2026, 3, 28, 12), 7), (local(2026, 10, 24, 12), 9), (local(2026, 6, 20, 12), 8)],
    ids=["forward", "back", "no change"],
)
def test_the_night_of_the_change_is_kept_for_the_hours_it_really_has(since, busy_hours):
    prefix = make(HOURS["every night"], Ttl.FIVE_MINUTES)
    pings = [ping.at for ping in simulate.project(prefix, PrefixState(), since, since + DAY)]
    assert busy_hours * HOUR - 5 * MINUTE <= pings[-1] - pings[0] < busy_hours * HOUR


def test_on_holidays_nothing_is_sent():
    prefix = make(HOURS["holidays"], Ttl.FIVE_MINUTES)
    pings = [ping.at for ping in simulate.project(prefix, PrefixState(), local(2026, 4, 1), local(2026, 4, 8))]
    days = {ping.astimezone(ZoneInfo("Europe/Berlin")).date() for ping in pings}
    assert days == {date(2026, 4, day) for day in (1, 2, 7)}  # without Good Friday, the week-end and Easter Monday


# -- lunch --------------------------------------------------------------------------------------------------------


def on_a_day(hours: str, ttl: Ttl) -> Counter[Reason]:
    since = local(2026, 6, 17)
    planned = simulate.project(make(HOURS[hours], ttl), PrefixState(), since, since + DAY)
    return Counter(ping.reason for ping in planned)


@pytest.mark.parametrize(
    ("hours", "ttl", "writes"),
    [
        ("short lunch", Ttl.ONE_HOUR, 1),
        ("long lunch", Ttl.ONE_HOUR, 2),
        ("short lunch", Ttl.FIVE_MINUTES, 2),
        ("breath", Ttl.FIVE_MINUTES, 1),
        ("breath", Ttl.ONE_HOUR, 1),
    ],
)
def test_a_lunch_shorter_than_the_lifetime_costs_no_second_write(hours, ttl, writes):
    reasons = on_a_day(hours, ttl)
    assert reasons[Reason.COLD_IN_BUSY_HOURS] == writes
    assert reasons[Reason.BRIDGE_PAUSE] <= 1


def test_a_pause_a_bridge_cannot_outlive_is_not_bridged():
    assert on_a_day("long lunch", Ttl.ONE_HOUR)[Reason.BRIDGE_PAUSE] == 0
    assert on_a_day("short lunch", Ttl.FIVE_MINUTES)[Reason.BRIDGE_PAUSE] == 0


def test_nothing_is_sent_to_outlive_the_end_of_the_day():
    """An office day of 1h entries: the write and a ping an hour, and none that only lives into the evening."""
    since = local(2026, 6, 17)
    planned = list(simulate.project(make(HOURS["office"], Ttl.ONE_HOUR), PrefixState(), since, since + DAY))
    assert 10 <= len(planned) <= 12
    assert planned[-1].at + HOUR - local(2026, 6, 17, 18) < 55 * MINUTE


# -- pings that fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", Ttl)
@pytest.mark.parametrize("week", ["Berlin goes forward", "Berlin goes back", "New York goes back"])
@pytest.mark.parametrize("hours", ["office", "every night", "short lunch", "New York nights"])
@pytest.mark.parametrize("failing", [0.05, 0.5])
def test_a_week_with_failing_pings_sends_nothing_outside_and_repairs_what_it_can(hours, week, ttl, failing):
    prefix, since, chance = make(HOURS[hours], ttl), WEEKS[week], random.Random(f"{hours}{week}{ttl}{failing}")
    until = since + 7 * DAY
    sent = walk(
        prefix, since, until,
        answer=lambda _: Verdict.ERROR if chance.random() < failing else None,
        jitter=chance.random,
        entry_changes=lambda: {"retryable": True},
    )  # fmt: skip
    assert not outside(prefix, [ping.at for ping in sent])
    touches = [ping.at for ping in sent if ping.touched]
    gaps = cold_gaps(prefix, touches, since, until)
    kept = sum((span.duration for span in busyhours.spans(prefix.busy_hours, since, until)), timedelta())
    assert sum((gap.duration for gap in gaps), timedelta()) < kept * (0.01 if failing < 0.1 else 0.1)
    for gap in gaps:
        refused = [ping for ping in sent if gap.start - prefix.margin * 1.5 <= ping.at < gap.end and not ping.touched]
        assert refused, f"cold from {gap.start} to {gap.end} although nothing failed"


def test_an_outage_of_an_hour_is_survived_with_ever_rarer_attempts():
    prefix, since = make_prefix(), local(2026, 6, 17, 8)
    outage = Span(since + HOUR, since + 2 * HOUR)
    sent = walk(
        prefix, since, since + 3 * HOUR,
        answer=lambda at: Verdict.ERROR if outage.start <= at < outage.end else None,
        entry_changes=lambda: {"retryable": True},
    )  # fmt: skip
    attempts = [ping.at for ping in sent if not ping.touched]
    assert 10 < len(attempts) <= 40
    assert attempts[1] - attempts[0] < 10 * SECOND
    assert attempts[-1] - attempts[-2] > 2 * MINUTE
    (gap,) = cold_gaps(prefix, [ping.at for ping in sent if ping.touched], since, since + 3 * HOUR)
    assert gap.end - outage.end < 5 * MINUTE
