"""Days that were summed up tell the same as walking every ping, wherever the report is cut."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm.accounting import Background, make_report, to_json
from keepwarm.counterfactual import Terms
from keepwarm.model import Entry, Prices, Rates, Span, Touch, Ttl, Usage, Verdict
from keepwarm.rollups import (
    DAY,
    Before,
    Ground,
    Part,
    Rolled,
    before_from,
    before_text,
    drawn_out,
    first_of_month,
    folded,
    midnight,
    next_month,
    part_from,
    part_text,
    put_together,
    roll,
    whole_days,
)
from keepwarm.sums import coarse
from tests.builders import MONDAY, make_entry, make_prefix, make_touch

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
START = midnight(MONDAY)
DAYS = 4
PREFIX = make_prefix()
RATES = Rates(
    Decimal("1.6"), Decimal(8), cache_read=Decimal("0.2"), cache_write_5m=Decimal(2), cache_write_1h=Decimal(4)
)
# Long lives, so that what happens on one day often matters on the next.
LIVES = {None: 5 * HOUR, Ttl.FIVE_MINUTES: 5 * HOUR, Ttl.ONE_HOUR: 30 * HOUR}
TERMS = Terms(Prices(RATES), Ttl.FIVE_MINUTES, LIVES.__getitem__, measured_tokens=5_000)


def lifetime(entry: Entry) -> timedelta:
    return LIVES[entry.outcome.billed_ttl if entry.outcome else None]


GROUNDS = {PREFIX.name: Ground(TERMS, lifetime)}
BUSY = tuple(Span(START + day * DAY + 3 * HOUR, START + day * DAY + 23 * HOUR) for day in range(DAYS))
usages = st.sampled_from(
    [
        None,
        Usage(3, 9, 5_000, 0),
        Usage(3, 9, 5_000, 0),
        Usage(3, 9, 0, 5_000),
        Usage(3, 9, 0, 5_000, 0),
        Usage(3, 9, 0, 5_000, 5_000),
        Usage(3, 9, 900, 4_100),
        Usage(5_003, 9, 0, 0),
    ]
)
starts = st.integers(0, DAYS * 24 - 1).map(lambda number: START + number * HOUR)
# Those of up to 127 ms are kept as they are.
latencies = st.none() | st.integers(1, 127)


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Entry], list[Touch]]:
    entries = []
    for number, at in enumerate(sorted(draw(st.lists(starts, max_size=25, unique=True)))):
        verdict = draw(st.sampled_from([*Verdict, Verdict.HIT, Verdict.HIT, Verdict.HIT, None]))
        entry = make_entry(PREFIX, verdict, started_at=at)
        if entry.outcome:
            outcome = replace(
                entry.outcome,
                completed_at=at + draw(st.sampled_from([0, 30, 90])) * MINUTE,
                cost_usd=Decimal(draw(st.integers(0, 10**6))) / 10**8,
                latency_ms=draw(st.integers(1, 127)),
                billed_ttl=draw(st.sampled_from([None, *Ttl])) if verdict is Verdict.REWRITE else None,
            )
            if verdict is Verdict.PARTIAL:  # a fingerprint has one size
                outcome = replace(outcome, usage=Usage(3, 1, 4_800, 200))
            entry = replace(entry, outcome=draw(st.sampled_from([outcome, replace(outcome, usage=None)])))
        if draw(st.integers(0, 9)) == 0:
            entry = replace(entry, intent=replace(entry.intent, provisioned=True))
        entries.append(replace(entry, number=number))
    moments = draw(st.lists(starts, min_size=1, max_size=14, unique=True))
    touches = [
        make_touch(PREFIX, number, started_at=at, usage=draw(usages), latency_ms=draw(latencies))
        for number, at in enumerate(sorted(moments))
    ]
    return entries, touches


def within(entries: list[Entry], touches: list[Touch], since: datetime, until: datetime) -> Any:
    return (
        [entry for entry in entries if since <= entry.intent.started_at < until],
        [touch for touch in touches if since <= touch.started_at < until],
    )


class Rolls:
    """All whole days summed up one behind the other, through their text."""

    def __init__(self, entries: list[Entry], touches: list[Touch], grounds: dict[str, Ground] = GROUNDS) -> None:
        self.parts: dict[datetime, list[Part]] = {}
        self.before: dict[datetime, dict[str, Before]] = {START: {}}
        for day in (START + number * DAY for number in range(DAYS)):
            own = within(entries, touches, day, day + DAY)
            parts, after = roll(day, *own, grounds, self.before[day])
            self.parts[day] = [part_from(part.prefix, part.fingerprint, part_text(part)) for part in parts]
            kept = {name: before_from(each.standing.name, before_text(each)) for name, each in after.items()}
            self.before[day + DAY] = self.before[day] | kept

    def rolled(self, span: Span, head: datetime, *, together: bool) -> Rolled:
        parts = [part for day, parts in self.parts.items() if span.start <= day < span.end for part in parts]
        if together:
            parts = folded(parts, span.start, span.end)
            parts = [part_from(part.prefix, part.fingerprint, part_text(part)) for part in parts]
        return put_together(span, head, parts, self.before[head], self.before[span.end])


def background(since: datetime, until: datetime) -> dict[str, Background]:
    busy = [Span(max(span.start, since), min(span.end, until)) for span in BUSY if span.end > since]
    return {PREFIX.name: Background([span for span in busy if span.start < span.end], lifetime, terms=TERMS)}


def figures(report: Any) -> Any:
    return to_json(report) | {"traffic": report.total.traffic}


@settings(max_examples=150, deadline=None)
@given(stories(), st.integers(0, 24 * DAYS - 25), st.integers(24, 24 * DAYS), st.booleans())
def test_summed_up_days_and_their_edges_tell_what_a_walk_over_all_tells(
    story: Any, start: int, length: int, together: bool
):
    since = START + start * HOUR
    until = min(since + length * HOUR, START + DAYS * DAY)
    span = whole_days(since, until)
    if span is None:
        return
    entries, touches = story
    walked = make_report(entries, since, until, background(since, until), touches)
    rolled = Rolls(entries, touches).rolled(span, midnight(since), together=together)
    head, tail = within(*story, midnight(since), span.start), within(*story, span.end, until)
    found = make_report([*head[0], *tail[0]], since, until, background(since, until), [*head[1], *tail[1]], rolled)
    if found.total.traffic is None:  # nobody told of requests in this time, nor a lifetime before it
        assert walked.total.traffic is None or not walked.total.traffic.requests
        blind = make_report(entries, since, until, background(since, until))
        assert figures(found) == figures(blind)
    else:
        assert figures(found) == figures(walked)


@given(stories())
def test_a_day_is_the_same_after_it_was_written_down(story: Any):
    parts, after = roll(START, *within(*story, START, START + DAY), GROUNDS, {})
    assert [part_from(part.prefix, part.fingerprint, part_text(part)) for part in parts] == parts
    assert {name: before_from(each.standing.name, before_text(each)) for name, each in after.items()} == after


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (MONDAY, MONDAY + DAY, None),
        (START, START + DAY, Span(START, START + DAY)),
        (START + MINUTE, START + DAY, None),
        (START - MINUTE, START + DAY + MINUTE, Span(START, START + DAY)),
    ],
)
def test_whole_days_begin_and_end_at_midnight(since: datetime, until: datetime, expected: Span | None):
    assert whole_days(since, until) == expected


def test_a_stretch_without_single_pings_is_drawn_out_to_whole_days():
    since, until = START + HOUR, START + DAY + HOUR
    assert drawn_out(since, until, None) == (since, until)
    assert drawn_out(since, until, START) == (since, until)
    assert drawn_out(since, until, START + DAY) == (START, until)
    assert drawn_out(since, until, START + 2 * DAY) == (START, START + 2 * DAY)
    assert drawn_out(since, START + DAY, START + 2 * DAY) == (START, START + DAY)


def test_pings_of_a_prefix_that_the_registry_does_not_know_are_summed_up_all_the_same():
    entry = make_entry(PREFIX, started_at=START + HOUR, cost_usd=Decimal("0.002"))
    parts, after = roll(START, [entry], [make_touch(PREFIX, started_at=START + 2 * HOUR)], {}, {})
    [part] = [part_from(each.prefix, each.fingerprint, part_text(each)) for each in parts]
    assert (part.sums.entries, part.sums.cost_usd, part.stage, part.warm) == (1, Decimal("0.002"), None, ())
    [month] = folded([part, part], START, START + 2 * DAY)
    assert (month.sums.entries, month.stage) == (2, None)
    rolled = put_together(Span(START, START + DAY), START, [part], {}, after)
    report = make_report([], START, START + DAY, None, (), rolled)
    assert [account.name for account in report.prefixes] == [PREFIX.name]
    assert report.total.refresh_cost_usd == Decimal("0.002")
    assert report.total.traffic is None


def test_touches_that_belong_to_no_prefix_are_not_summed_up():
    assert roll(START, [], [make_touch(PREFIX, started_at=START, fingerprint="")], GROUNDS, {}) == ([], {})


def test_a_prefix_renamed_within_a_day_keeps_its_pings_under_both_names():
    renamed = replace(PREFIX, name="renamed")
    entries = [make_entry(PREFIX, started_at=START + HOUR), make_entry(renamed, started_at=START + 2 * HOUR)]
    parts, after = roll(START, entries, [], {"renamed": GROUNDS[PREFIX.name]}, {})
    assert {part.prefix: (part.sums.entries, part.stage is not None) for part in parts} == {
        "renamed": (1, True),
        PREFIX.name: (1, False),
    }
    assert [each.standing.name for each in after.values()] == ["renamed"]


def test_latencies_of_a_day_that_is_over_are_less_than_a_percent_off():
    for value in (0, 1, 127, 128, 129, 255, 256, 1_000, 12_345, 999_999):
        [kept] = coarse(Counter({value: 3}))
        assert abs(kept - value) <= value / 100
    many = coarse(Counter(range(200, 2_000)))
    assert many.total() == 1_800
    assert len(many) < 250


def test_months_begin_on_their_first_day():
    assert first_of_month(datetime(2026, 12, 31, 23, tzinfo=UTC)) == datetime(2026, 12, 1, tzinfo=UTC)
    assert next_month(datetime(2026, 12, 1, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert next_month(datetime(2026, 2, 1, tzinfo=UTC)) == datetime(2026, 3, 1, tzinfo=UTC)


def test_what_was_pinged_before_midnight_is_warm_after_it():
    entries = [make_entry(PREFIX, started_at=START + 23 * HOUR)]
    since, until = START + DAY, START + 2 * DAY
    rolled = Rolls(entries, []).rolled(Span(since, until), since, together=False)
    busy = {PREFIX.name: Background([Span(since, since + 8 * HOUR)], lifetime, terms=TERMS)}
    report = make_report([], since, until, busy, (), rolled)
    assert report.total.warm_share_of_busy_time == 0.5
