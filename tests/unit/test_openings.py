"""Writing at the opening of busy hours: learnt, priced, bought where it is worth it and given up where nobody comes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from keepwarm import planner
from keepwarm.courses import ALL, Courses
from keepwarm.model import (
    Action,
    AdaptivePolicy,
    Opening,
    Prefix,
    PrefixState,
    Rates,
    Reason,
    Ttl,
    Verdict,
)
from keepwarm.policies.learner import Learner
from keepwarm.policies.openings import Openings, expected
from keepwarm.simulate import Arrival, Happening, Kind, Rules, new_learner, replay
from keepwarm.views import words
from tests.builders import make_entry, make_hours, make_prefix, make_touch
from tests.walks import local

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LIVES = (300.0, 3600.0)
DAY_SECONDS = 86_400.0
BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = make_hours("Mon-Fri 09:00-17:00")
LEAD = 2 * MINUTE


# -- counting -----------------------------------------------------------------------------------------------------


def followed(*delays: float | None) -> Openings:
    """An opening a day, each with a request so many seconds later or none."""
    openings, waiting = Openings(0.0), []
    for day, delay in enumerate(delays, 1):
        waiting.append(day * DAY_SECONDS)
        if delay is not None:
            openings.hear(day * DAY_SECONDS + delay, waiting, LIVES)
            waiting = []
    return openings


def test_before_anything_is_known_one_opening_in_ten_is_of_use():
    assert [Openings(0.0).chance(ttl, 0) for ttl in (0, 1)] == [0.1, 0.1]


def test_openings_that_are_used_day_by_day_become_likely():
    assert followed(60, 60, 60).chance(0, 0) > 0.5
    assert followed(*[60] * 20).chance(0, 0) > 0.98


def test_a_request_counts_for_the_ttl_whose_entry_would_have_lived():
    openings = followed(*[1800] * 8)
    assert openings.chance(0, 0) < 0.05
    assert openings.chance(1, 0) > 0.8


def test_a_request_at_the_last_moment_of_a_life_counts_and_one_after_it_does_not():
    assert followed(300).chance(0, 0) > followed(300.001).chance(0, 0)


def test_openings_without_a_request_count_when_the_next_one_comes_and_before_that_as_unheard():
    known = followed(60, 60, 60)
    waiting = known.chance(0, 2)
    assert waiting < known.chance(0, 0)
    missed = followed(60, 60, 60, None, None, 60)
    still = followed(60, 60, 60, 60, 60, 60)
    assert missed.chance(0, 0) < still.chance(0, 0)


def test_a_request_between_openings_counts_none():
    openings = followed(60)
    before = openings.to_data()
    openings.hear(DAY_SECONDS + 5000, [], LIVES)
    assert openings.to_data() == [DAY_SECONDS + 5000, *before[1:]]
    assert openings.heard_at == DAY_SECONDS + 5000


def test_without_requests_every_chance_comes_down_to_nothing():
    openings = followed(*[60] * 100)
    chances = [openings.chance(0, unheard) for unheard in range(40)]
    assert chances == sorted(chances, reverse=True)
    assert chances[-1] < 0.002


def test_two_writes_may_be_risked_until_one_was_of_use():
    openings = followed(60)
    found = []
    for _ in range(3):
        found.append(openings.has_credit)
        openings.write()
    assert found == [True, True, False]
    openings.hear(2 * DAY_SECONDS + 7200, [2 * DAY_SECONDS], LIVES)
    assert not openings.has_credit
    openings.hear(3 * DAY_SECONDS + 60, [3 * DAY_SECONDS], LIVES)
    assert openings.has_credit


def test_what_was_counted_is_the_same_when_it_is_read_back():
    openings = followed(60, None, 1800, 60)
    again = Openings.from_data(json.loads(json.dumps(openings.to_data())))
    assert again.to_data() == openings.to_data()


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.9, 1.0])
def test_no_write_ahead_pays_where_a_cold_start_is_worth_nothing(chance):
    assert expected(chance, 0.1, 1.25, 0.0) < 1.25


@pytest.mark.parametrize("chance", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("cold_start", [0.5, 3.0, 60.0])
def test_it_pays_exactly_where_the_cost_with_it_is_lower(chance, cold_start):
    write, read = 1.25, 0.1
    with_it, without = write + chance * read, chance * (write + cold_start)
    assert (expected(chance, read, write, cold_start) > write) == (with_it < without)


def test_a_write_ahead_is_no_rewrite_in_the_price_of_pings():
    learner = Learner()
    prefix = make_prefix()
    courses = Courses()
    courses.hear(prefix, PrefixState(), make_touch(prefix))
    plain = courses.curve(prefix, PrefixState())
    for number in range(20):
        reason, at = Reason.COLD_IN_BUSY_HOURS, make_touch().started_at + number * HOUR
        courses.pinged(prefix, make_entry(prefix, Verdict.REWRITE, reason=reason, started_at=at))
    assert courses.curve(prefix, PrefixState()) == plain
    assert not learner.affords("nobody", 0)


# -- a prefix on its way through weeks ----------------------------------------------------------------------------


def registered(cold_start: str, **changes: object) -> Prefix:
    more = {"policy": AdaptivePolicy(), "prewarm_lead": LEAD, "cold_start_usd": Decimal(cold_start)}
    named = {"fingerprint": "morning", "name": "morning"}
    return make_prefix(**{"busy_hours": OFFICE} | more | named | changes)


def workdays(since: datetime, count: int) -> list[datetime]:
    """09:00:30 on the wall clock of so many workdays."""
    day, found = since, []
    while len(found) < count:
        wall = datetime(day.year, day.month, day.day, 9, 0, 30, tzinfo=BERLIN)
        if wall.weekday() < 5:
            found.append(wall.astimezone(UTC))
        day += DAY
    return found


def happenings(prefix: Prefix, mornings: list[datetime], until: datetime | None = None) -> list[Happening]:
    """What is paid for when each of these mornings has a request, and another prefix goes on at noon for longer."""
    other, told = [], list[Happening]()
    noon = mornings[0] + 3 * HOUR
    while until and noon < until:
        other.append(Arrival(noon, "other", 5_000))
        noon += DAY
    arrivals = sorted([*(Arrival(at, "morning", 5_000) for at in mornings), *other])
    rules = Rules(prefix.policy, prefix.ttl, prefix.facts, learner=new_learner, registered={"morning": prefix})
    replay(arrivals, rules, lambda one: told.append(one) if one.prefix_id == "morning" else None)
    return told


def _cost(told: list[Happening], cold_start: str, prices: Rates) -> Decimal:
    """What is paid until the last request, with what a cold start is worth."""
    until = max(of(told, Kind.READ, Kind.WRITE))
    writes = sum(one.kind in {Kind.WRITE, Kind.REWRITE} for one in told if one.at <= until)
    reads = sum(one.kind in {Kind.READ, Kind.PING} for one in told if one.at <= until)
    tokens = Decimal(5_000) / 1_000_000
    cold = len(of(told, Kind.WRITE)) * Decimal(cold_start)
    return cold + tokens * (writes * prices.cache_write_5m + reads * prices.cache_read)


def of(told: list[Happening], *kinds: Kind) -> list[datetime]:
    return [one.at for one in told if one.kind in kinds]


MORNINGS = workdays(local(2026, 3, 16, 12), 15)  # three weeks; clocks go forward on Sunday, 29 March


@pytest.mark.parametrize("ttl", list(Ttl))
def test_a_prefix_that_is_used_every_morning_is_warm_then_also_after_the_clocks_have_changed(ttl):
    told = happenings(registered("1", ttl=ttl), MORNINGS)
    assert set(MORNINGS[3:]) <= set(of(told, Kind.READ))
    ahead = [at.astimezone(BERLIN) for at in of(told, Kind.REWRITE)]
    assert {(at.hour, at.minute, at.second) for at in ahead} == {(8, 58, 0)}
    assert len(of(told, Kind.REWRITE)) >= len(MORNINGS) - 3


def test_nothing_is_written_ahead_where_a_cold_start_costs_nothing():
    told = happenings(registered("0"), MORNINGS)
    assert of(told, Kind.REWRITE) == []
    assert of(told, Kind.WRITE) == MORNINGS


def test_a_small_price_buys_a_likely_morning_only_once_it_is_known_to_be_likely():
    mornings = of(happenings(registered("0.02"), MORNINGS), Kind.WRITE)
    assert 2 < len(mornings) < 8
    assert mornings == MORNINGS[: len(mornings)]


def test_what_is_written_ahead_is_worth_more_than_it_costs():
    prices = make_prefix().facts.prices.base
    worth = {}
    for cold_start in ("0.02", "0.05", "1"):
        asked, plain = (happenings(registered(paid), MORNINGS) for paid in (cold_start, "0"))
        worth[cold_start] = _cost(plain, cold_start, prices) - _cost(asked, cold_start, prices)
    assert 0 < worth["0.02"] < worth["0.05"] < worth["1"]


@pytest.mark.parametrize(("cold_start", "most"), [("0.05", 8), ("1", 30)])
def test_a_prefix_that_nobody_asks_for_any_more_is_written_ahead_no_more(cold_start, most):
    end = MORNINGS[-1] + 70 * DAY
    told = happenings(registered(cold_start), MORNINGS, end)
    in_vain = [at for at in of(told, Kind.REWRITE) if at > MORNINGS[-1]]
    assert 0 < len(in_vain) <= most
    assert in_vain[-1] < end - 25 * DAY


def test_after_an_opening_of_no_use_no_ping_follows():
    told = happenings(registered("1"), MORNINGS, MORNINGS[-1] + 14 * DAY)
    after = [one.kind for one in told if one.at > MORNINGS[-1] + 3 * HOUR]
    assert set(after) == {Kind.REWRITE}


def test_without_prewarm_or_openings_a_cold_start_changes_nothing():
    assert of(happenings(registered("1", prewarm=False), MORNINGS), Kind.REWRITE) == []
    assert of(happenings(registered("1", busy_hours=make_hours("00:00-24:00")), MORNINGS), Kind.REWRITE) == []


# -- one moment ---------------------------------------------------------------------------------------------------


def learnt(prefix: Prefix, mornings: list[datetime]) -> tuple[Courses, PrefixState]:
    courses, state = Courses(), PrefixState()
    for number, at in enumerate(mornings):
        touch = make_touch(prefix, number, started_at=at)
        before, state = state, planner.absorb_touch(prefix, state, touch)
        courses.hear(prefix, before, touch)
    return courses, state


def decided(courses: Courses, prefix: Prefix, state: PrefixState, now: datetime) -> tuple[PrefixState, object]:
    state = replace(state, course=courses.course(prefix, state, now))
    return state, planner.decide(prefix, state, now)


AHEAD = MORNINGS[-1] + 3 * DAY - 30 * SECOND - LEAD  # of the Monday after


def test_the_opening_is_judged_from_its_lead_until_a_margin_after_it_and_at_no_other_time():
    prefix = registered("1")
    courses, state = learnt(prefix, MORNINGS)
    moments = [AHEAD - SECOND, AHEAD, AHEAD + LEAD, AHEAD + LEAD + prefix.margin, AHEAD + LEAD + prefix.margin + SECOND]
    found = [courses.course(prefix, state, at).opening for at in moments]
    assert [bool(opening) for opening in found] == [False, True, True, True, False]
    assert decided(courses, prefix, state, AHEAD)[1].action is Action.PING


def test_an_opening_under_its_price_waits_and_says_the_figures():
    prefix = registered("0.002")
    courses, state = learnt(prefix, MORNINGS)
    state, decision = decided(courses, prefix, state, AHEAD)
    assert (decision.action, decision.reason) == (Action.WAIT, Reason.NOT_WORTH_IT)
    said = words.describe(prefix, state, decision, None, AHEAD)
    assert "expected value $0.0" in said
    assert " under its price $0.0" in said


def test_what_was_not_earned_yet_is_not_spent_on_openings():
    prefix = registered("0.02")
    courses, state = learnt(prefix, MORNINGS)
    for number in range(40):
        reason, at = Reason.COLD_IN_BUSY_HOURS, MORNINGS[-1] + number * MINUTE
        entry = make_entry(prefix, Verdict.REWRITE, reason=reason, started_at=at)
        courses.pinged(prefix, entry)
    state, decision = decided(courses, prefix, state, AHEAD)
    assert state.course.opening.held
    assert decision.reason is Reason.NOT_WORTH_IT
    assert "expected value" not in words.describe(prefix, state, decision, None, AHEAD)


def test_nothing_is_known_of_the_openings_of_a_prefix_that_was_never_asked_for():
    prefix = registered("1")
    courses, _ = learnt(registered("1", fingerprint="other", name="other"), MORNINGS)
    course = courses.course(prefix, PrefixState(), AHEAD)
    assert (course.pings, course.opening) == (0, None)


def test_a_request_that_is_told_late_changes_no_opening():
    prefix = registered("1")
    courses, state = learnt(prefix, MORNINGS)
    before = courses.learnt(prefix.fingerprint)["openings"]
    courses.hear(prefix, state, make_touch(prefix, 99, started_at=MORNINGS[3] + HOUR))
    assert courses.learnt(prefix.fingerprint)["openings"] == before


def test_what_was_learnt_of_openings_survives_a_restart():
    prefix = registered("1")
    courses, state = learnt(prefix, MORNINGS)
    kept = {name: json.loads(json.dumps(courses.learnt(name))) for name in (ALL, prefix.fingerprint)}
    again = Courses(kept)
    assert again.course(prefix, state, AHEAD) == courses.course(prefix, state, AHEAD)
    assert again.course(prefix, state, AHEAD).opening.pays
    assert courses.learnt("nobody") == {}


def test_an_opening_pays_above_its_price_unless_it_is_held():
    assert Opening(2.0, 1.25).pays
    assert not Opening(1.25, 1.25).pays
    assert not Opening(2.0, 1.25, held=True).pays
