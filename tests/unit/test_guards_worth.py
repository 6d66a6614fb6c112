"""Caps that make a prefix useless are told; those that leave room for the plan are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from keepwarm import planner, verdicts
from keepwarm.guards.worth import daily_costs, doubt_of_pace, doubts, doubts_in_all
from keepwarm.model import IdleLimitPolicy, Limits, Prefix, PrefixState
from keepwarm.simulate import project
from tests.builders import MONDAY, make_hours, make_prefix

USD = Decimal
PLENTY = USD(1000)
OFFICE = make_hours("Mon-Fri 08:00-18:00")


def costs_of(prefix: Prefix) -> dict[datetime, Decimal]:
    return daily_costs(prefix, planner.mean_ping_period(prefix, PrefixState()), MONDAY)


def said(prefix: Prefix) -> list[tuple[str, str]]:
    return doubts(prefix, verdicts.high_cost_usd(prefix, PrefixState()), costs_of(prefix))


def limited(ping: object = PLENTY, day: object = PLENTY, month: object = PLENTY, **changes: object) -> Prefix:
    return make_prefix(limits=Limits(USD(ping), USD(day), USD(month)), **{"busy_hours": OFFICE} | changes)


@pytest.mark.parametrize(
    "hours", [OFFICE, make_hours("22:00-06:00"), make_hours("Mon-Fri 08:00-12:00", "Mon 14:00-18:00")]
)
def test_a_week_costs_about_what_the_planner_would_spend(hours):
    prefix = make_prefix(busy_hours=hours)
    week = MONDAY.replace(hour=0)
    planned = sum(ping.cost_usd for ping in project(prefix, PrefixState(), week, week + timedelta(days=7)))
    assert sum(costs_of(prefix).values()) == pytest.approx(planned, rel=USD("0.05"))


def test_an_overnight_window_is_paid_for_in_both_days():
    costs = costs_of(make_prefix(busy_hours=make_hours("Mon 22:00-06:00", timezone="UTC")))
    assert set(costs) == {datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)}


@pytest.mark.parametrize("key", ["ping", "day", "month"])
def test_a_cap_of_0_is_told(key):
    assert said(limited(**{key: 0})) == [(f"{key}_cap_usd", "is 0: no ping is ever sent")]


@pytest.mark.parametrize("key", ["ping", "day", "month"])
def test_a_cap_below_the_price_of_the_first_ping_is_told(key):
    ((where, message),) = said(limited(**{key: "0.03"}))
    assert (where, message) == (f"{key}_cap_usd", "is $0.03, but the first ping may cost $0.0416: none is ever sent")


def test_a_day_cap_below_a_busy_day_is_told_with_what_that_costs():
    ((where, message),) = said(limited(day="0.1"))
    assert where == "day_cap_usd"
    assert message == "is $0.10, but a day in which all busy hours are kept warm costs about $0.2582"


def test_a_month_cap_below_the_months_busy_days_is_told():
    ((where, _),) = said(limited(month="5"))
    assert where == "month_cap_usd"
    assert said(limited(month="6")) == []


def test_caps_above_the_plan_and_the_defaults_are_not_told():
    assert said(limited()) == []
    assert said(make_prefix()) == []


def test_what_an_idle_limit_spends_is_not_guessed_and_capacity_is_no_money():
    assert said(limited(day="0.1", policy=IdleLimitPolicy(3))) == []
    assert said(limited(ping="0.0001", day="0.0001", provisioned=True)) == []
    assert said(limited(day=0, provisioned=True))


def test_a_margin_as_long_as_the_lifetime_is_somebody_elses_trouble():
    assert costs_of(make_prefix(margin=timedelta(minutes=6)))


def test_the_caps_in_all_are_held_against_the_sum_of_all():
    costs = [costs_of(make_prefix(busy_hours=OFFICE))] * 4
    assert doubts_in_all(Limits(day_cap_usd=USD("1.5"), month_cap_usd=PLENTY), costs) == []
    ((name, message),) = doubts_in_all(Limits(day_cap_usd=USD("0.5"), month_cap_usd=PLENTY), costs)
    assert (name, message) == ("day", "is $0.50, but a day in which all busy hours are kept warm costs about $1.03")
    assert doubts_in_all(Limits(day_cap_usd=USD(0)), costs) == [("day", "is 0: no ping is ever sent")]
    assert doubts_in_all(Limits(), []) == []


def test_large_sums_are_told_without_cents():
    ((_, message),) = doubts_in_all(
        Limits(day_cap_usd=USD(100), month_cap_usd=USD(100_000)), [{MONDAY: USD("1234.56")}]
    )
    assert message.endswith("about $1,235.00")


def test_a_rate_limit_too_low_for_all_says_for_how_many_it_will_do():
    every_four_minutes = [timedelta(minutes=4)] * 40
    assert doubt_of_pace(10, every_four_minutes, "a model") == ""
    said = doubt_of_pace(5, every_four_minutes, "a model in us-east-1")
    assert said.startswith(
        "lets 5 pings a minute go to a model in us-east-1; without requests of their own its 40 prefixes need 10, "
        "so about 20 of them can be warm at once"
    )


def test_a_margin_of_all_the_lifetime_needs_no_endless_pace():
    assert doubt_of_pace(60, [timedelta(0)], "a model") == ""
