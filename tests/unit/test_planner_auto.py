"""Where keepwarm may choose the ttl: which one a request should ask for, and at which one the entry was written."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from keepwarm.model import Course, Prefix, PrefixState, Ttl, TtlChoice, TtlReason, Usage, Verdict
from keepwarm.planner import (
    absorb,
    absorb_touch,
    choose_ttl,
    close,
    decide,
    expiry_of,
    lifetime_of,
    margin_of,
)
from tests.builders import MONDAY, make_entry, make_prefix, make_touch

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
SHORT, LONG = Ttl.FIVE_MINUTES, Ttl.ONE_HOUR
FIXED = make_prefix()
AUTO = make_prefix(auto_ttl=True, other=make_prefix(ttl=LONG, auto_ttl=True, ping_request={"asks": "1h"}))
READ, WRITTEN, PARTLY = Usage(3, 100, 5_000, 0), Usage(3, 100, 0, 5_000), Usage(3, 100, 4_000, 1_000)
WRITTEN_1H = replace(WRITTEN, cache_write_1h_tokens=5_000)


def advising(ttl: Ttl, **known: object) -> PrefixState:
    return PrefixState(course=Course(3, ttl), **known)


def living(ttl: Ttl, **known: object) -> PrefixState:
    """An entry of this ttl that was touched two minutes ago, beside an advice of the other."""
    advised = LONG if ttl is SHORT else SHORT
    return advising(advised, touched_at=MONDAY - 2 * MINUTE, billed_ttl=ttl, billed_at=MONDAY - 9 * MINUTE, **known)


def after(state: PrefixState, prefix: Prefix = AUTO, **touch: object) -> Ttl | None:
    return absorb_touch(prefix, state, make_touch(prefix, **touch)).billed_ttl


@pytest.mark.parametrize("ttl", list(Ttl))
def test_the_next_write_asks_for_what_is_advised_and_before_any_advice_for_what_the_registry_says(ttl):
    assert choose_ttl(AUTO, advising(ttl), MONDAY) == TtlChoice(ttl, TtlReason.LEARNT)
    assert choose_ttl(AUTO, PrefixState(), MONDAY) == TtlChoice(SHORT, TtlReason.DEFAULT)
    assert choose_ttl(FIXED, advising(ttl), MONDAY) == TtlChoice(SHORT, TtlReason.FIXED)


@pytest.mark.parametrize("ttl", list(Ttl))
def test_a_living_entry_is_read_with_its_own_ttl_and_a_dead_one_written_with_the_advised(ttl):
    state = living(ttl)
    dies = expiry_of(AUTO, state)
    assert choose_ttl(AUTO, state, dies - SECOND) == TtlChoice(ttl, TtlReason.LIVING, dies)
    assert choose_ttl(AUTO, state, dies) == TtlChoice(state.course.ttl, TtlReason.LEARNT)
    assert state.course.ttl is not ttl


def test_where_the_application_fixed_the_ttl_no_other_is_ever_sent():
    assert choose_ttl(FIXED, living(LONG), MONDAY).ttl is SHORT


def test_an_entry_of_the_other_ttl_lives_as_long_and_is_pinged_as_early_as_that_one_says():
    state = living(LONG)
    assert (lifetime_of(AUTO, state), margin_of(AUTO, state)) == (HOUR, AUTO.other.margin)
    assert decide(AUTO, state, MONDAY).warm_until == MONDAY + 58 * MINUTE


# -- what an organic request tells of the entry -------------------------------------------------------------------


@pytest.mark.parametrize("state", [PrefixState(), living(SHORT), living(LONG)], ids=["unknown", "5m", "1h"])
def test_a_billed_ttl_goes_before_everything_else(state):
    assert after(state, usage=WRITTEN_1H, ttl=SHORT) is LONG
    assert after(state, usage=replace(WRITTEN, cache_write_1h_tokens=0), ttl=LONG) is SHORT


@pytest.mark.parametrize("usage", [None, READ, PARTLY])
@pytest.mark.parametrize("ttl", list(Ttl))
def test_a_request_that_found_the_entry_alive_leaves_its_ttl_whatever_it_asked_for(usage, ttl):
    other = LONG if ttl is SHORT else SHORT
    assert after(living(ttl), usage=usage, ttl=other) is ttl


@pytest.mark.parametrize("usage", [None, READ, WRITTEN, PARTLY])
def test_of_an_entry_that_nothing_is_known_of_the_asked_ttl_counts_and_then_the_advised(usage):
    dead = advising(LONG, touched_at=MONDAY - 6 * MINUTE, billed_ttl=SHORT, billed_at=MONDAY - 6 * MINUTE)
    for state in (advising(LONG), dead):
        assert after(state, usage=usage, ttl=SHORT) is SHORT
        assert after(state, usage=usage) is LONG


def test_a_rewrite_of_an_entry_that_was_taken_to_live_was_made_with_the_asked_ttl():
    assert after(living(SHORT), usage=WRITTEN, ttl=LONG) is LONG


def test_an_older_request_told_late_changes_no_ttl_of_a_later_write():
    known = advising(LONG, touched_at=MONDAY, billed_ttl=LONG, billed_at=MONDAY)
    assert after(known, usage=WRITTEN, ttl=SHORT, started_at=MONDAY - MINUTE) is LONG


def test_where_the_ttl_is_fixed_what_was_asked_for_tells_nothing():
    assert after(PrefixState(), FIXED, usage=WRITTEN, ttl=LONG) is None
    assert after(PrefixState(), FIXED, ttl=LONG) is None


def test_billed_writes_are_taken_in_alike_in_every_order():
    touches = [
        make_touch(AUTO, 1, started_at=MONDAY, usage=WRITTEN_1H),
        make_touch(AUTO, 2, started_at=MONDAY + MINUTE, usage=READ, ttl=SHORT),
        make_touch(AUTO, 3, started_at=MONDAY + 2 * HOUR, usage=replace(WRITTEN, cache_write_1h_tokens=0)),
    ]
    found = set()
    for order in permutations(touches):
        state = advising(LONG)
        for touch in order:
            state = absorb_touch(AUTO, state, touch)
        found.add((state.billed_ttl, state.touched_at))
    assert found == {(SHORT, MONDAY + 2 * HOUR)}


# -- what our own pings tell of it --------------------------------------------------------------------------------


def pinged(state: PrefixState, asked: Ttl, verdict: Verdict | None, prefix: Prefix = AUTO, **outcome: object) -> Ttl:
    entry = make_entry(prefix, verdict, **outcome)
    return absorb(prefix, state, replace(entry, intent=replace(entry.intent, ttl=asked)), 0.5).billed_ttl


def test_a_ping_that_wrote_made_an_entry_of_the_billed_ttl_or_else_of_the_asked():
    assert pinged(living(SHORT), LONG, Verdict.REWRITE) is LONG
    assert pinged(living(SHORT), LONG, Verdict.PARTIAL) is LONG
    assert pinged(living(SHORT), LONG, Verdict.REWRITE, billed_ttl=SHORT) is SHORT
    assert pinged(PrefixState(), LONG, Verdict.REWRITE, FIXED) is None


@pytest.mark.parametrize("ttl", list(Ttl))
def test_a_ping_that_hit_leaves_the_entry_its_ttl(ttl):
    assert pinged(living(ttl), ttl, Verdict.HIT) is ttl


def test_a_ping_whose_answer_was_lost_wrote_only_if_the_entry_was_dead():
    assert pinged(living(SHORT), SHORT, None) is SHORT
    assert pinged(advising(LONG), LONG, None) is LONG


# -- closing ------------------------------------------------------------------------------------------------------


def test_closing_ends_pinging_until_the_next_organic_request():
    closed = close(living(SHORT), MONDAY)
    assert decide(AUTO, closed, MONDAY).reason == "closed"
    assert decide(AUTO, replace(closed, touched_at=None), MONDAY).reason == "closed"
    opened = absorb_touch(AUTO, closed, make_touch(AUTO, started_at=MONDAY + SECOND))
    assert decide(AUTO, opened, MONDAY + SECOND).reason == "keep_warm"


def test_our_own_ping_does_not_end_a_closing():
    closed = close(living(SHORT), MONDAY)
    assert absorb(AUTO, closed, make_entry(AUTO, Verdict.HIT), 0.5).closed_at == MONDAY


def test_a_closing_told_after_a_later_request_changes_nothing():
    busy = living(SHORT, organic_at=MONDAY)
    assert close(busy, MONDAY - SECOND) == busy
    assert close(busy, MONDAY).closed_at == MONDAY


def test_of_two_closings_the_later_one_counts():
    assert close(close(PrefixState(), MONDAY), MONDAY - HOUR).closed_at == MONDAY
