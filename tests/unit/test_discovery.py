"""What is counted of a history and what it is worth, against the slow and obvious way of counting."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm import busyhours
from keepwarm.busyhours import parse_window
from keepwarm.dialects import Dialect
from keepwarm.discovery import Tally, rank, windows_of
from keepwarm.discovery.ranking import to_json
from keepwarm.discovery.tally import Group, cell_of, seconds_of
from keepwarm.fingerprint import BlockDigest, Sketch
from keepwarm.model import Api, BusyHours, Section, Source, Span, Ttl, Usage
from keepwarm.touches import ReportedTouch
from tests.builders import CLAUDE, NOVA, shipped_catalog
from tests.histories import SECOND, True_

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
KEY = b"key"
HIT, WRITTEN = Usage(10, 1, 5_000, 0), Usage(10, 1, 0, 5_000, 0)


def sketch(name: str = "a", marker: Ttl | None = Ttl.FIVE_MINUTES, section: Section = Section.SYSTEM) -> Sketch:
    return Sketch(Dialect.CONVERSE, (), (BlockDigest(section, name * 32, marker, 20_000),))


def touch(at: timedelta, **changes: Any) -> ReportedTouch:
    number = changes.pop("number", at)
    found = ReportedTouch(
        request_id=f"r-{number}",
        started_at=MONDAY + at,
        api=Api.CONVERSE,
        model_id=CLAUDE,
        region="eu-central-1",
        source=Source.INVOCATION_LOG,
        sketch=sketch(),
        usage=HIT,
    )
    return replace(found, **changes)


def make_tally(**changes: Any) -> Tally:
    return Tally(KEY, shipped_catalog(), **changes)


def count(*touches: ReportedTouch, marked: bool = True) -> Tally:
    tally = make_tally()
    for one in touches:
        tally.add(one, marked=marked)
    tally.finish()
    return tally


def only(tally: Tally) -> Group:
    (group,) = tally.groups.values()
    return group


MOMENTS = st.lists(st.integers(0, 30 * 3600), min_size=1, max_size=60, unique=True)


@given(MOMENTS)
def test_pings_writes_and_cold_starts_are_those_of_a_keepwarm_lived_through(seconds: list[int]):
    true = True_("", True, "converse", "5m", 5_000, sorted(second * SECOND for second in seconds))
    group = only(count(*(touch(timedelta(seconds=second)) for second in seconds)))
    for ttl in Ttl:
        kept = group.finished(ttl)
        assert (kept.pings, kept.writes) == true.kept(ttl.value)
        assert kept.cold == true.cold(ttl.value)
    assert group.requests == len(seconds)
    if true.gaps:
        assert group.gap_seconds(0.9) == seconds_of(cell_of(round(true.gap_seconds(0.9) * SECOND)))


@given(MOMENTS)
def test_the_order_of_the_log_does_not_matter_within_its_disorder(seconds: list[int]):
    inputs = [touch(timedelta(seconds=second)) for second in seconds]
    assert count(*inputs).dump()["groups"][0] | {"example": ""} == count(*sorted(inputs, key=_start)).dump()["groups"][
        0
    ] | {"example": ""}


def _start(one: ReportedTouch) -> datetime:
    return one.started_at


@given(MOMENTS, st.integers(0, 59))
def test_a_tally_goes_on_from_its_dump_as_if_nothing_had_happened(seconds: list[int], cut: int):
    inputs = [touch(timedelta(seconds=second)) for second in seconds]
    broken, whole = make_tally(), count(*inputs)
    for one in inputs[:cut]:
        broken.add(one, marked=True)
    resumed = make_tally()
    resumed.restore(broken.dump())
    for one in inputs[cut:]:
        resumed.add(one, marked=True)
    resumed.finish()
    assert resumed.dump() == whole.dump()


@given(st.integers(1, 2**168 - 1))
def test_windows_say_exactly_the_hours_with_traffic(hours: int):
    windows = tuple(map(parse_window, windows_of(hours)))
    spans = busyhours.spans(BusyHours("seen", "UTC", windows), MONDAY, MONDAY + timedelta(weeks=1))
    told = sum(1 << hour for span in spans for hour in _hours(span))
    assert told == hours


def _hours(span: Span) -> range:
    return range((span.start - MONDAY) // timedelta(hours=1), (span.end - MONDAY) // timedelta(hours=1))


def test_a_week_without_traffic_has_no_windows():
    assert windows_of(0) == ()


def test_requests_of_another_model_region_api_or_prefix_are_other_prefixes():
    tally = count(
        touch(timedelta(0), number=1),
        touch(timedelta(0), number=2, model_id=NOVA),
        touch(timedelta(0), number=3, region="us-east-1"),
        touch(timedelta(0), number=4, api=Api.INVOKE_MODEL),
        touch(timedelta(0), number=5, sketch=sketch("b")),
        touch(timedelta(0), number=6),
    )
    assert sorted(group.requests for group in tally.groups.values()) == [1, 1, 1, 1, 2]


def test_a_record_that_turns_up_twice_is_counted_once():
    tally = count(touch(timedelta(0)), touch(timedelta(0)))
    assert only(tally).requests == 1
    assert tally.skipped == {"duplicate": 1}
    assert tally.records == 2


def test_what_cannot_be_cached_is_counted_as_such():
    messages = sketch(marker=None, section=Section.MESSAGES)
    tally = count(touch(timedelta(0), sketch=messages), touch(timedelta(1), sketch=None), marked=False)
    assert tally.skipped == {"nothing_to_cache": 2}


def test_a_request_that_is_hours_late_counts_but_makes_no_gap():
    early = [touch(timedelta(hours=5, milliseconds=number)) for number in range(10_001)]
    tally = count(*early, touch(timedelta(0)))
    assert only(tally).late == 1
    assert only(tally).requests == 10_002
    assert sum(only(tally).gaps) == 10_000


def test_memory_is_bounded_by_letting_rare_prefixes_go_and_telling():
    tally = make_tally(max_groups=10)
    often = [touch(timedelta(hours=hour), number=f"o{hour}") for hour in range(100)]
    rare = [touch(timedelta(hours=hour, minutes=1), number=f"x{hour}", sketch=sketch(chr(200 + hour)))
            for hour in range(100)]  # fmt: skip
    for one in sorted([*often, *rare], key=_start):
        tally.add(one, marked=True)
    tally.finish()
    assert len(tally.groups) <= 10
    assert max(group.requests for group in tally.groups.values()) == 100
    assert tally.dropped + sum(group.requests for group in tally.groups.values()) == 200


def test_prefixes_that_all_come_often_leave_no_room_for_more():
    tally = make_tally(max_groups=2)
    for number in range(9):
        tally.add(touch(timedelta(minutes=number), sketch=sketch("abc"[number % 3])), marked=True)
    tally.finish()
    assert len(tally.groups) <= 2
    assert tally.dropped + sum(group.requests for group in tally.groups.values()) == 9


# -- money --------------------------------------------------------------------------------------------------------


def test_cold_writes_are_priced_at_the_ttl_that_was_billed():
    hour = Usage(10, 1, 0, 5_000, 5_000)
    one = only(count(touch(timedelta(0), usage=WRITTEN)))
    other = only(count(touch(timedelta(0), usage=hour)))
    unsplit = only(
        count(touch(timedelta(0), usage=replace(hour, cache_write_1h_tokens=None), sketch=sketch(marker=Ttl.ONE_HOUR)))
    )
    assert one.write_usd == Decimal("0.020625")  # 5,000 tokens at $4.125 a million
    assert other.write_usd == unsplit.write_usd == Decimal("0.033")


def test_a_step_price_goes_by_the_whole_prompt():
    haiku = {"model_id": "us.anthropic.claude-haiku-5-5", "region": "us-east-1"}
    small = only(count(touch(timedelta(0), usage=Usage(10, 1, 0, 60_000, 0), **haiku)))
    large = only(count(touch(timedelta(0), usage=Usage(60_000, 1, 0, 60_000, 0), **haiku)))
    assert large.write_usd == 5 * small.write_usd


def week_of(minutes: float, **changes: Any) -> Tally:
    """A week of requests from eight to eighteen, so many minutes apart."""
    per_day = int(600 / minutes)
    return count(
        *(
            touch(timedelta(days=day, hours=8, minutes=minutes * number), **changes)
            for day in range(7)
            for number in range(per_day)
        )
    )


def test_gaps_a_little_longer_than_the_ttl_are_worth_pinging_and_1h_more_so():
    (found,) = rank(week_of(6), 5).found
    five, hour = found.outlooks
    assert (five.ttl, hour.ttl) == (Ttl.FIVE_MINUTES, Ttl.ONE_HOUR)
    assert five.net_usd > 0
    assert five.saved_usd == hour.saved_usd  # both against what production marks today
    assert found.best is hour
    assert found.as_marked is five


def test_dense_traffic_keeps_itself_warm_and_leaves_nothing_to_save():
    (found,) = rank(week_of(1), 5).found
    assert found.best is not None
    assert found.best.net_usd < 0  # the openings are written for nothing but their speed
    assert found.best.pings < 10


def test_a_model_without_known_prices_is_shown_without_money_and_last():
    tally = count(touch(timedelta(0), model_id="who.knows"), touch(timedelta(1)))
    found = rank(tally, 5).found
    assert [item.group.model_id for item in found] == [CLAUDE, "who.knows"]
    assert found[1].best is None
    rows: Any = to_json(rank(tally, 5), tally)["prefixes"]
    assert rows[1]["cold_writes_usd"] is None
    assert rows[1]["weekly"] == []


def test_only_the_best_are_shown_and_the_others_counted():
    tally = count(*(touch(timedelta(seconds=number), sketch=sketch(chr(97 + number))) for number in range(9)))
    found = rank(tally, 2)
    assert (len(found.found), found.others) == (2, 7)


def test_less_than_a_day_is_not_blown_up_to_a_week_of_such_hours():
    (found,) = rank(count(touch(timedelta(0)), touch(timedelta(minutes=10))), 5).found
    assert found.outlooks[0].writes == 7


def bare(minutes: float, size: int = 20_000, **changes: Any) -> Tally:
    drawn = Sketch(Dialect.CONVERSE, (), (BlockDigest(Section.SYSTEM, "a" * 32, None, size),
                                          BlockDigest(Section.MESSAGES, "b" * 32, None, 10)))  # fmt: skip
    inputs = [touch(timedelta(minutes=minutes * number), sketch=drawn, usage=Usage(5_000, 1, 0, 0), **changes)
              for number in range(200)]  # fmt: skip
    return count(*inputs, marked=False)


def test_a_prefix_without_a_cache_point_that_repeats_is_pointed_out_with_what_it_would_save():
    (hint,) = rank(bare(2), 5).unmarked
    assert hint.ttl is Ttl.FIVE_MINUTES
    # 199 reads at a tenth and one write at 1.25, of 5,000 tokens at $3.30 a million, seven days for the one there is.
    saved = (199 * Decimal("0.9") - Decimal("0.25")) * 5_000 * Decimal("3.3") / 1_000_000 * 7
    assert hint.saved_usd == saved
    assert rank(bare(20), 5).unmarked[0].ttl is Ttl.ONE_HOUR


@pytest.mark.parametrize(
    "tally",
    [
        bare(2, size=4_000),  # 1,000 tokens: too short for the model
        bare(100),  # every request would be a dearer write
        bare(2, model_id="who.knows"),
    ],
)
def test_a_cache_point_that_would_not_pay_is_not_proposed(tally: Tally):
    assert rank(tally, 5).unmarked == ()
