"""From how many requests an hour a prefix pays of whose traffic nobody tells, and when it can only lose."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from math import exp, inf, log
from statistics import fmean, stdev

import pytest

from keepwarm import blind, planner, pricing
from keepwarm.blind import Stakes, Stretch, break_even_of, is_blind, per_hour, say_rate
from keepwarm.model import (
    ALWAYS,
    Action,
    BusyHours,
    IdleLimitPolicy,
    Prefix,
    PrefixState,
    Prices,
    Rates,
    Ttl,
    Usage,
)
from keepwarm.simulate import imagine, plan
from tests.builders import NOVA, facts_of, make_hours, make_prefix, make_touch
from tests.walks import local

NOON = local(2026, 6, 15, 12)  # a Monday
OFFICE = make_hours("Mon-Fri 08:00-18:00")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
# In units of the input price: reads 0.1, writes 1.25; nothing for output, so that figures can be done by hand.
PLAIN = Prices(Rates(Decimal(1), Decimal(0), Decimal("0.1"), Decimal("1.25"), Decimal(2)))


def plain_prefix(prices: Prices = PLAIN, **changes) -> Prefix:
    """A prefix of 100,000 tokens on a model with these prices."""
    facts = replace(make_prefix().facts, prices=prices)
    return make_prefix(facts=facts, estimated_tokens=100_000, **changes)


def steady(**changes) -> Stakes:
    """Always busy, a unit a token: at 5m, without a margin."""
    always = (Stretch(86_400.0, opens=False, times=1),)
    found = Stakes(0.1, 1.25, 1.15, 300.0, 300.0, inf, prewarm=True, stretches=always, days=1)
    return replace(found, **changes)


# -- the rate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stakes", "by_hand"),
    [
        (steady(), 1.0917),  # -ln(1 - 0.1 / 1.15) in 5 minutes
        (steady(avoided=1.9, lifetime_seconds=3600, period_seconds=3600), 0.054067),  # -ln(1 - 0.1 / 1.9) in an hour
        (steady(ping=0.025, avoided=1.225), 0.24744),  # -ln(1 - 0.025 / 1.225) in 5 minutes
        (steady(ping=0.25, avoided=0.75), 4.8656),  # Nova: -ln(2 / 3) in 5 minutes
    ],
    ids=["5m", "1h", "cheap reads", "Nova"],
)
def test_a_ping_pays_from_the_rate_at_which_a_request_is_likely_enough_in_its_period(stakes, by_hand):
    assert per_hour(stakes) == pytest.approx(by_hand, rel=1e-4)
    assert per_hour(stakes) == pytest.approx(
        -log(1 - stakes.ping / stakes.avoided) / stakes.lifetime_seconds * 3600, rel=1e-9
    )


def test_a_margin_makes_pings_more_frequent_and_so_the_rate_higher():
    rate = per_hour(steady(period_seconds=250)) / 3600
    assert rate * 3600 == pytest.approx(1.34, abs=0.01)
    # Nobody came in the 50 seconds in which the entry lived anyway, and somebody in the 250 that the ping added.
    assert 1.15 * exp(-rate * 50) * (1 - exp(-rate * 250)) == pytest.approx(0.1, rel=1e-9)


@pytest.mark.parametrize("pings", [1, 2, 3, 11, 1000])
def test_random_requests_have_no_memory_so_an_idle_limit_changes_nothing(pings):
    assert per_hour(steady(limit=pings, period_seconds=250)) == pytest.approx(per_hour(steady(period_seconds=250)))


def test_no_rate_is_high_enough_where_a_ping_costs_as_much_as_it_can_save():
    assert per_hour(steady(ping=1.15)) is None
    assert per_hour(steady(ping=1.15 * 0.999)) is not None


def test_where_a_write_costs_no_more_than_a_read_no_rate_pays_unless_the_ping_is_free():
    assert per_hour(steady(avoided=0.0)) is None
    assert per_hour(steady(avoided=0.0, ping=0.0)) == 0.0


def test_where_nothing_is_pinged_nothing_has_to_be_earned():
    assert per_hour(steady(limit=0)) == 0.0


def test_the_opening_write_replaces_that_of_the_first_request_and_costs_a_read_more():
    """Ten hours at 5m without a margin, 119 pings: by hand, the expected cold requests, pings and opening write."""
    office = steady(stretches=(Stretch(36_000.0, opens=True, times=1),))
    rate = per_hour(office) / 3600
    cold = 1 - exp(-rate * 300) + rate * (36_000 - 300) * exp(-rate * 300)
    pings = sum(exp(-rate * 300 * count) * (1 + rate * (36_000 - 300 * count)) for count in range(1, 120))
    assert 1.15 * cold == pytest.approx(1.25 + 0.1 * pings, rel=1e-6)
    assert per_hour(steady()) < per_hour(office) < 1.25


def test_without_an_opening_write_the_first_request_is_not_saved_and_no_ping_goes_before_it():
    office = steady(prewarm=False, stretches=(Stretch(36_000.0, opens=True, times=1),))
    rate = per_hour(office) / 3600
    cold = 1 - exp(-rate * 300) + rate * (36_000 - 300) * exp(-rate * 300) - (1 - exp(-rate * 36_000))
    pings = sum(exp(-rate * 300 * count) * rate * (36_000 - 300 * count) for count in range(1, 120))
    assert 1.15 * cold == pytest.approx(0.1 * pings, rel=1e-6)


@pytest.mark.parametrize("ttl", list(Ttl))
@pytest.mark.parametrize("prewarm", [True, False])
@pytest.mark.parametrize("policy", [None, IdleLimitPolicy(3)], ids=["busy hours", "idle limit"])
def test_random_requests_in_busy_hours_cost_the_planner_what_the_formula_says(ttl, prewarm, policy):
    more = {"policy": policy} if policy else {}
    prefix = plain_prefix(ttl=ttl, busy_hours=OFFICE, prewarm=prewarm, **more)
    stakes = blind.stakes_of(prefix, PrefixState(), NOON)
    for factor in (0.4, 3.0):
        rate = per_hour(stakes) / 3600 * factor
        days = walked(prefix, rate, weeks=10)
        expected, tolerance = blind.net(stakes, rate) / 5, 4 * stdev(days) / len(days) ** 0.5
        assert fmean(days) == pytest.approx(expected, abs=tolerance)
        assert (expected > 0) == (factor > 1)


def walked(prefix: Prefix, rate: float, weeks: int) -> list[float]:
    """What each day of random requests in office hours saves less its cost, as the planner decides it."""
    dice, days = random.Random(17), []
    since, state, net = local(2026, 6, 15, 0), PrefixState(), 0.0
    read, write = 0.01, 0.125 if prefix.ttl is Ttl.FIVE_MINUTES else 0.2
    last_request = since - 7 * 24 * HOUR
    for day in (since + timedelta(days=7 * week + day) for week in range(weeks) for day in range(5)):
        now, end = day + 8 * HOUR, day + 18 * HOUR
        coming = now + timedelta(seconds=dice.expovariate(rate))
        while True:
            decision = planner.decide(prefix, state, now)
            due = decision.at if decision.at and decision.at < end else end
            now = min(due, coming, end)
            if now >= end:
                break
            if due <= coming and decision.action is not Action.PING:
                now = due
            elif due <= coming:
                entry = imagine(prefix, state, planner.decide(prefix, state, now), now)
                state = planner.absorb(prefix, state, entry, 0.5)
                net -= float(entry.cost_usd)
            else:
                expiry = planner.expiry_of(prefix, state)
                net += write if coming - last_request >= prefix.lifetime else read
                net -= read if expiry and expiry > coming else write
                state = planner.absorb_touch(
                    prefix, state, make_touch(prefix, started_at=coming, usage=Usage(1, 1, 100_000, 0))
                )
                last_request, coming = coming, coming + timedelta(seconds=dice.expovariate(rate))
        days.append(net)
        net = 0.0
    return days


# -- what a silent day costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl", list(Ttl))
@pytest.mark.parametrize(
    "windows", [("Mon-Fri 08:00-18:00",), ("22:00-06:00",), ("Mon-Fri 08:00-12:00", "Sat 9:00-9:30")]
)
def test_a_silent_busy_day_costs_what_the_plan_of_a_week_says(ttl, windows):
    prefix = make_prefix(ttl=ttl, busy_hours=make_hours(*windows))
    found = break_even_of(prefix, PrefixState(), NOON)
    week = plan(prefix, PrefixState(touched_at=NOON - MINUTE), NOON, NOON + timedelta(days=28))
    days = {ping.at.astimezone(NOON.tzinfo).date() for ping in week.pings if ping.verdict.value == "rewrite"}
    assert float(found.silent_day_usd) == pytest.approx(float(week.cost_usd) / len(days), rel=0.05)


def test_a_pause_that_the_entry_outlives_needs_no_second_opening_write():
    lunch = make_prefix(ttl=Ttl.ONE_HOUR, busy_hours=make_hours("Mon-Fri 08:00-12:00", "Mon-Fri 12:30-18:00"))
    stakes = blind.stakes_of(lunch, PrefixState(), NOON)
    assert stakes.stretches == (Stretch(36_000.0, opens=True, times=5),)
    long = make_prefix(ttl=Ttl.FIVE_MINUTES, busy_hours=lunch.busy_hours)
    assert sum(stretch.times for stretch in blind.stakes_of(long, PrefixState(), NOON).stretches) == 10


def test_always_has_no_openings():
    stakes = blind.stakes_of(make_prefix(busy_hours=ALWAYS), PrefixState(), NOON)
    assert (stakes.days, [stretch.opens for stretch in stakes.stretches]) == (7, [False])
    assert float(break_even_of(make_prefix(), PrefixState(), NOON).silent_day_usd) == pytest.approx(
        86_400 / 250 * stakes.ping, rel=1e-6
    )


def test_no_money_is_at_stake_on_provisioned_throughput_and_without_busy_hours():
    assert break_even_of(make_prefix(provisioned=True), PrefixState(), NOON) is None
    assert break_even_of(make_prefix(busy_hours=BusyHours("never", "UTC", ())), PrefixState(), NOON) is None


def test_a_later_holiday_week_without_busy_hours_has_no_rate():
    closed = make_hours("Mon-Fri 08:00-18:00", closed=((NOON.date(), NOON.date() + timedelta(days=8)),))
    assert break_even_of(make_prefix(busy_hours=closed), PrefixState(), NOON) is None


def test_what_was_measured_and_billed_counts_not_what_was_estimated_and_asked_for():
    prefix = make_prefix(ttl=Ttl.ONE_HOUR)
    billed = PrefixState(billed_ttl=Ttl.FIVE_MINUTES, cached_tokens=10_000)
    found = blind.stakes_of(prefix, billed, NOON)
    assert found.avoided == pytest.approx(
        float(pricing.avoided_write_usd(prefix.facts.prices, 10_000, Ttl.FIVE_MINUTES))
    )
    assert found.lifetime_seconds == 300


def test_a_cold_start_that_is_worth_money_lowers_the_rate():
    plain, dear = plain_prefix(), plain_prefix(cold_start_usd=Decimal("0.115"))
    rates = [break_even_of(prefix, PrefixState(), NOON).ping_per_hour for prefix in (plain, dear)]
    assert rates[1] == pytest.approx(rates[0] / 2, rel=0.06)  # it doubles what an avoided write is worth


# -- warnings -----------------------------------------------------------------------------------------------------


def test_5m_through_an_office_day_is_warned_of_with_what_1h_would_cost():
    warning = break_even_of(plain_prefix(busy_hours=OFFICE), PrefixState(), NOON).warning
    # 143 reads of 0.01 and a write of 0.125; at 1h, with its default margin, 10 reads and a write of 0.2.
    assert "pays only from 1.5/hour on" in warning
    assert "a silent busy day costs $1.56, 143 pings for one avoided write worth $0.1150" in warning
    assert "ttl: 1h would cost $0.3000 and pay from 0.18/hour on" in warning
    assert "idle_limit: 11" in warning


def test_a_prefix_whose_ttl_keepwarm_chooses_is_advised_neither_a_ttl_nor_a_policy_that_never_chooses():
    warning = break_even_of(plain_prefix(busy_hours=OFFICE, auto_ttl=True), PrefixState(), NOON).warning
    assert warning.endswith(
        "the registered request marked with 1h would cost $0.3000 and pay from 0.18/hour on; "
        "or tell keepwarm of the traffic: until it has heard of some, ttl: auto stays at 5m"
    )
    marked = plain_prefix(busy_hours=OFFICE, auto_ttl=True, ttl=Ttl.ONE_HOUR)
    billed = break_even_of(marked, PrefixState(billed_ttl=Ttl.FIVE_MINUTES), NOON).warning
    assert "idle_limit" not in billed


def test_where_no_1h_is_sold_the_warning_names_an_idle_limit():
    nova = make_prefix(model_id=NOVA, facts=facts_of(NOVA, "us-east-1"), busy_hours=OFFICE)
    warning = break_even_of(nova, PrefixState(), NOON).warning
    assert "1h" not in warning
    assert "set policy: {idle_limit: 2}" in warning


def test_1h_and_idle_limits_and_short_windows_are_not_warned_of():
    for prefix in (
        plain_prefix(ttl=Ttl.ONE_HOUR, busy_hours=OFFICE),
        plain_prefix(policy=IdleLimitPolicy(3), busy_hours=OFFICE),
        plain_prefix(busy_hours=make_hours("Mon-Fri 08:00-08:40")),
    ):
        assert break_even_of(prefix, PrefixState(), NOON).warning == ""


def test_1h_that_is_billed_as_5m_is_warned_of_without_advising_what_was_asked_for():
    prefix = plain_prefix(ttl=Ttl.ONE_HOUR, busy_hours=OFFICE)
    warning = break_even_of(prefix, PrefixState(billed_ttl=Ttl.FIVE_MINUTES), NOON).warning
    assert "pays only from" in warning
    assert "ttl: 1h" not in warning


def test_1h_is_not_advised_where_it_costs_more_than_half():
    dear = Prices(replace(PLAIN.base, cache_write_1h=Decimal(12)))
    assert "ttl: 1h" not in break_even_of(plain_prefix(dear, busy_hours=OFFICE), PrefixState(), NOON).warning


@pytest.mark.parametrize(
    "prefix",
    [
        plain_prefix(ttl=Ttl.ONE_HOUR, busy_hours=make_hours("Mon-Fri 08:00-08:30")),
        plain_prefix(policy=IdleLimitPolicy(0), busy_hours=OFFICE),
    ],
    ids=["busy hours within one lifetime", "an opening write and no ping"],
)
def test_an_opening_write_that_no_traffic_can_pay_for_is_told_as_that(prefix):
    found = break_even_of(prefix, PrefixState(), NOON)
    assert found.per_hour is None
    assert found.warning.startswith("can only lose, whatever the traffic: the opening write costs")
    assert "prewarm: false" in found.warning


def test_prices_at_which_no_ping_can_pay_are_told_as_that():
    flat = Prices(Rates(Decimal(1), Decimal(0), Decimal("0.6"), Decimal("0.9")))
    for hours in (ALWAYS, OFFICE):
        found = break_even_of(plain_prefix(flat, busy_hours=hours, prewarm=False), PrefixState(), NOON)
        assert found.warning.startswith("can only lose, whatever the traffic: a ping costs $0.0600")


def test_a_window_of_few_lifetimes_loses_at_random_though_the_best_of_traffic_would_pay():
    prefix = plain_prefix(busy_hours=make_hours("Mon-Fri 08:00-08:08"))
    found = break_even_of(prefix, PrefixState(), NOON)
    assert blind.best_case(blind.stakes_of(prefix, PrefixState(), NOON)) > 0
    assert found.per_hour is None
    assert found.warning.startswith("loses at any number of requests that come at random")


def test_the_best_case_is_one_request_a_lifetime_after_the_other():
    stretch = Stretch(1500.0, opens=True, times=1)
    # Requests at 0, 300, ... 1200 seconds: five writes avoided for an opening write and four pings.
    assert blind.best_case(steady(stretches=(stretch,))) == pytest.approx(5 * 1.15 - 1.25 - 4 * 0.1)
    assert blind.best_case(steady(stretches=(stretch,), prewarm=False)) == pytest.approx(4 * (1.15 - 0.1))


# -- words, and who is blind --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (None, "never"),
        (0.0, "any"),
        (1.4633, "1.5/hour"),
        (0.0609, "0.061/hour"),
        (12.34, "12/hour"),
        (250, "250/hour"),
    ],
)
def test_a_rate_is_told_in_two_digits(rate, text):
    assert say_rate(rate) == text


def test_a_prefix_is_blind_until_somebody_tells_or_is_about_to():
    prefix = make_prefix()
    assert is_blind(prefix, PrefixState(), followed=False)
    assert not is_blind(prefix, PrefixState(), followed=True)
    assert not is_blind(make_prefix(metrics=True), PrefixState(), followed=False)
    assert not is_blind(prefix, PrefixState(touched_at=NOON, organic_at=NOON), followed=False)
    assert is_blind(prefix, PrefixState(touched_at=NOON), followed=False)
