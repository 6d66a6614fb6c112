"""The coming pings of one prefix, what they cost, and from which traffic on they pay."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from keepwarm import pricing
from keepwarm.model import (
    Action,
    BusyHours,
    Course,
    IdleLimitPolicy,
    PauseOrder,
    PrefixState,
    Reason,
    Scope,
    Stop,
    Ttl,
    Verdict,
)
from keepwarm.simulate import background_of, imagine, plan, project
from tests.builders import MONDAY, make_entry, make_hours, make_prefix
from tests.walks import local

HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
OFFICE = make_hours("Mon-Fri 08:00-18:00")
# 5,000 tokens of Sonnet 4.5 through an EU profile, one uncached token and one of output.
WRITE, READ, WRITE_1H = Decimal("0.0206448"), Decimal("0.0016698"), Decimal("0.0330198")


def test_a_plan_starts_with_a_write_and_goes_on_with_hits():
    found = plan(make_prefix(), PrefixState(), MONDAY, MONDAY + HOUR)
    assert [ping.verdict for ping in found.pings[:3]] == [Verdict.REWRITE, Verdict.HIT, Verdict.HIT]
    assert {ping.verdict for ping in found.pings[1:]} == {Verdict.HIT}
    assert (found.decision.reason, found.decision.at) == (Reason.COLD_IN_BUSY_HOURS, MONDAY)
    assert found.estimated


def test_a_plan_costs_one_write_and_its_reads_to_the_last_digit():
    found = plan(make_prefix(), PrefixState(), MONDAY, MONDAY + HOUR)
    assert found.cost_usd == WRITE + READ * (len(found.pings) - 1) == sum(ping.cost_usd for ping in found.pings)


def test_a_measured_prefix_is_planned_with_its_measured_tokens():
    found = plan(make_prefix(), PrefixState(cached_tokens=10_000), MONDAY, MONDAY + MINUTE)
    assert not found.estimated
    assert found.cost_usd == 2 * WRITE - Decimal("0.0000198")


def test_where_keepwarm_chooses_the_ttl_a_plan_writes_as_chosen_and_pings_as_rarely_as_that_needs():
    prefix = make_prefix(auto_ttl=True, other=make_prefix(ttl=Ttl.ONE_HOUR, auto_ttl=True))
    found = plan(prefix, PrefixState(course=Course(99, Ttl.ONE_HOUR)), MONDAY, MONDAY + 3 * HOUR)
    assert [ping.cost_usd for ping in found.pings] == [WRITE_1H, READ, READ, READ]
    assert len(plan(prefix, PrefixState(), MONDAY, MONDAY + 3 * HOUR).pings) > 30


def test_where_keepwarm_chooses_the_ttl_a_ping_covers_as_long_as_the_entry_that_it_asked_for():
    prefix = make_prefix(auto_ttl=True, other=make_prefix(ttl=Ttl.ONE_HOUR, auto_ttl=True))
    lifetime = background_of(prefix, PrefixState(), MONDAY, MONDAY + DAY).lifetime
    hit = make_entry(prefix, Verdict.HIT)
    assert lifetime(hit) == 5 * MINUTE
    assert lifetime(replace(hit, intent=replace(hit.intent, ttl=Ttl.ONE_HOUR))) == HOUR


def test_the_end_of_a_plan_is_not_part_of_it():
    since = local(2026, 3, 2, 7)
    assert list(project(make_prefix(busy_hours=OFFICE), PrefixState(), since, since + HOUR)) == []
    assert [ping.at for ping in project(make_prefix(busy_hours=OFFICE), PrefixState(), since, since + 61 * MINUTE)] == [
        since + HOUR
    ]


def test_no_time_holds_no_pings():
    assert list(project(make_prefix(), PrefixState(), MONDAY, MONDAY)) == []


def test_nothing_is_planned_for_what_is_stopped_cold_without_prewarm_or_never_busy():
    stopped = PrefixState(stop=Stop("access_denied", "no"))
    assert not plan(make_prefix(), stopped, MONDAY, MONDAY + DAY).pings
    assert not plan(make_prefix(prewarm=False), PrefixState(), MONDAY, MONDAY + DAY).pings
    never = make_prefix(busy_hours=BusyHours("never", "UTC", ()))
    found = plan(never, PrefixState(), MONDAY, MONDAY + DAY)
    assert (found.pings, found.cost_usd, found.break_even_requests_per_day) == ((), 0, None)
    assert found.decision.action is Action.LEAVE


def test_no_ping_is_planned_while_a_prefix_is_paused_and_the_first_one_after_it_writes():
    def paused(prefix, now):
        return order if order.until is None or now < order.until else None

    warm = PrefixState(touched_at=MONDAY)
    order = PauseOrder(Scope.ALL, "", MONDAY, MONDAY + 2 * HOUR, "deploy", "anna")
    found = plan(make_prefix(), warm, MONDAY, MONDAY + 3 * HOUR, paused)
    assert (found.pings[0].at, found.pings[0].verdict) == (order.until, Verdict.REWRITE)
    assert (found.decision.reason, found.decision.at) == (Reason.PAUSED, order.until)
    assert found.decision.warm_until == MONDAY + 5 * MINUTE
    order = replace(order, until=None)
    found = plan(make_prefix(), warm, MONDAY, MONDAY + 3 * HOUR, paused)
    assert (found.pings, found.cost_usd, found.decision.action) == ((), 0, Action.LEAVE)


def test_an_idle_limit_plans_its_few_pings_and_no_more():
    prefix = make_prefix(busy_hours=OFFICE, policy=IdleLimitPolicy(2))
    since = local(2026, 3, 2, 0)
    reasons = [ping.reason for ping in project(prefix, PrefixState(), since, since + 2 * DAY)]
    assert reasons == [Reason.COLD_IN_BUSY_HOURS, Reason.KEEP_WARM, Reason.KEEP_WARM] * 2


def test_pings_pay_from_as_many_requests_a_day_as_their_cost_holds_avoided_writes():
    found = plan(make_prefix(ttl=Ttl.ONE_HOUR, busy_hours=OFFICE), PrefixState(), MONDAY, MONDAY + HOUR)
    # A day is a write of 0.0330198 and 10 or 11 reads; a request saves 0.033 - 0.00165.
    assert found.break_even_requests_per_day == 2


def test_without_prewarm_the_break_even_is_told_all_the_same():
    hours = make_prefix(busy_hours=OFFICE), make_prefix(busy_hours=OFFICE, prewarm=False)
    counts = [plan(prefix, PrefixState(), MONDAY, MONDAY + HOUR).break_even_requests_per_day for prefix in hours]
    assert counts[0] == counts[1] > 1


@pytest.mark.parametrize(
    ("windows", "days"),
    [(("Mon-Fri 08:00-12:00", "Mon-Fri 14:00-18:00"), 5), (("22:00-06:00",), 7), (("Mon-Sun 00:00-24:00",), 7)],
    ids=["two windows a day", "nights", "all week"],
)
def test_the_cost_of_a_busy_day_is_that_of_a_week_by_its_busy_days(windows, days):
    prefix, since = make_prefix(busy_hours=make_hours(*windows)), local(2026, 6, 15, 12)
    week = sum(ping.cost_usd for ping in project(prefix, PrefixState(), since, since + 7 * DAY))
    found = background_of(prefix, PrefixState(touched_at=since - MINUTE), since - DAY, since)
    assert abs(found.daily_refresh_cost_usd - week / days) <= week / days / 6  # a night is cut at both ends


def test_a_report_reckons_with_the_lifetime_that_was_billed():
    prefix = make_prefix(ttl=Ttl.ONE_HOUR)
    found = background_of(prefix, PrefixState(), MONDAY, MONDAY + HOUR)
    assert found.lifetime(make_entry(prefix)) == HOUR
    assert found.lifetime(make_entry(prefix, Verdict.REWRITE, billed_ttl=Ttl.FIVE_MINUTES)) == 5 * MINUTE
    assert found.lifetime(make_entry(prefix, None)) == HOUR


def test_a_1h_prefix_that_is_billed_as_5m_is_planned_at_that_price():
    prefix = make_prefix(ttl=Ttl.ONE_HOUR)
    decision = plan(prefix, PrefixState(), MONDAY, MONDAY + MINUTE).decision
    assert imagine(prefix, PrefixState(), decision, MONDAY).cost_usd == WRITE_1H
    billed = PrefixState(billed_ttl=Ttl.FIVE_MINUTES)
    assert imagine(prefix, billed, decision, MONDAY).cost_usd == WRITE
    prices = prefix.facts.prices
    assert background_of(prefix, billed, MONDAY, MONDAY + HOUR).avoided_write_usd == pricing.avoided_write_usd(
        prices, 5_000, Ttl.FIVE_MINUTES
    )


def test_a_week_of_thousands_of_pings_is_told_from_a_sample_that_is_near_the_whole():
    prefix = make_prefix(lifetime=MINUTE, margin=MINUTE / 4)
    pings = list(project(prefix, PrefixState(), MONDAY, MONDAY + 7 * DAY))
    assert len(pings) > 10_000
    whole = sum((ping.cost_usd for ping in pings), Decimal(0)) / 7
    told = background_of(prefix, PrefixState(), MONDAY - HOUR, MONDAY).daily_refresh_cost_usd
    assert told is not None
    assert abs(told / whole - 1) < Decimal("0.05")  # the one write weighs more in the sample


def test_prefixes_with_a_rhythm_in_common_have_each_their_own_cost_of_a_day():
    common, since = make_prefix(busy_hours=OFFICE), MONDAY.replace(hour=0)
    kinds = [
        common,
        replace(common, name="twin", fingerprint="twin"),
        replace(common, estimated_tokens=50_000),
        replace(common, ttl=Ttl.ONE_HOUR, lifetime=HOUR, margin=2 * MINUTE),
        replace(common, policy=IdleLimitPolicy(3)),
        replace(common, margin=2 * MINUTE),
        replace(common, busy_hours=make_hours("Mon-Fri 08:00-12:00")),
    ]
    costs = [background_of(kind, PrefixState(), since, since).daily_refresh_cost_usd for kind in kinds]
    assert costs[0] == costs[1]
    assert len(set(costs)) == len(kinds) - 1
    for kind, cost in zip(kinds, costs, strict=True):
        pings = list(project(kind, PrefixState(), since, since + 7 * DAY))
        assert abs(cost - sum(ping.cost_usd for ping in pings) / 5) <= cost / 50
    measured = background_of(common, PrefixState(cached_tokens=500), since, since).daily_refresh_cost_usd
    assert measured < costs[0] / 5
