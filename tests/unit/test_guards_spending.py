"""The caps: no order of reservations passes one, and each says what holds a ping back and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepwarm.guards.spending import IN_ALL, Reservation, Spending, Spent, day_of, end_of, month_of, say_usd
from keepwarm.model import Guard, GuardState, Limits
from tests.builders import MONDAY

USD = Decimal
PLENTY = USD(1000)
GENEROUS = Limits(PLENTY, PLENTY, PLENTY)
TOMORROW = datetime(2026, 3, 3, tzinfo=UTC)


def limits(ping: object = PLENTY, day: object = PLENTY, month: object = PLENTY) -> Limits:
    return Limits(USD(ping), USD(day), USD(month))


def spend(spending: Spending, prefix: str, amount: object, now: datetime = MONDAY) -> None:
    spending.settle(spending.reserve(prefix, USD(amount), now), USD(amount))


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[str, str, Decimal, Decimal, int]]:
    """Starts and ends of pings in any order: action, prefix, high price, share of it paid, minutes later."""
    money = st.decimals(0, 3, places=4)
    step = st.tuples(
        st.sampled_from(["start", "end", "other"]),
        st.sampled_from("abc"),
        money,
        st.decimals(0, 1, places=3),
        st.integers(0, 600),
    )
    return draw(st.lists(step, max_size=60))


@settings(max_examples=300)
@given(
    lives(),
    st.decimals(0, 8, places=2),
    st.decimals(0, 20, places=2),
    st.decimals(0, 12, places=2),
    st.decimals(0, 30, places=2),
)
def test_no_order_of_pings_spends_more_than_any_cap(steps, day, month, day_all, month_all):
    own = limits(2, day, month)
    spending = Spending(limits(0, day_all, month_all))
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    flying: list[tuple[str, datetime, Decimal, Reservation]] = []
    paid: list[tuple[str, datetime, Decimal]] = []
    for action, prefix, amount, share, minutes in steps:
        now += timedelta(minutes=minutes)
        if action == "start" and spending.hold(prefix, own, amount, now) is None:
            assert amount <= 2
            flying.append((prefix, now, amount, spending.reserve(prefix, amount, now)))
        elif action == "end" and flying:
            name, at, high, reservation = flying.pop(len(flying) * int(share * 999) // 1000)
            cost = high * share
            spending.settle(reservation, cost)
            paid.append((name, at, cost))
    paid += [(name, at, high) for name, at, high, _ in flying]  # at worst
    for start, cap, cap_all in ((day_of, day, day_all), (month_of, month, month_all)):
        for since in {start(at) for _, at, _ in paid}:
            by_prefix = {name: [cost for who, at, cost in paid if who == name and start(at) == since] for name in "abc"}
            assert all(sum(costs) <= cap for costs in by_prefix.values())
            assert sum(map(sum, by_prefix.values())) <= cap_all


@given(st.lists(st.decimals(0, 1, places=4), max_size=20), st.decimals(0, 1, places=4))
def test_what_the_ledger_tells_at_the_start_counts_like_what_was_spent_since(costs, amount):
    own = limits(day=3, month=5)
    told, lived = Spending(GENEROUS), Spending(GENEROUS)
    total = sum(costs, USD(0))
    told.load([Spent("a", total, total)], MONDAY)
    for cost in costs:
        spend(lived, "a", cost)
    assert told.hold("a", own, amount, MONDAY) == lived.hold("a", own, amount, MONDAY)


@pytest.mark.parametrize(
    ("own", "in_all", "guard", "prefix", "until"),
    [
        (limits(day="0.5"), GENEROUS, Guard.DAY_CAP, "a", TOMORROW),
        (limits(month="0.5"), GENEROUS, Guard.MONTH_CAP, "a", datetime(2026, 4, 1, tzinfo=UTC)),
        (GENEROUS, limits(day="0.5"), Guard.DAY_CAP, IN_ALL, TOMORROW),
        (GENEROUS, limits(month="0.5"), Guard.MONTH_CAP, IN_ALL, datetime(2026, 4, 1, tzinfo=UTC)),
        (limits(day="0.5", month="0.5"), GENEROUS, Guard.MONTH_CAP, "a", datetime(2026, 4, 1, tzinfo=UTC)),
    ],
)
def test_a_cap_that_is_reached_holds_until_its_period_is_over(own, in_all, guard, prefix, until):
    spending = Spending(in_all)
    spend(spending, "a", "0.4987")
    hold = spending.hold("a", own, USD("0.019"), MONDAY)
    assert (hold.guard, hold.prefix, hold.until, hold.in_flight) == (guard, prefix, until, False)
    assert "$0.50 reached: $0.4987 spent since" in hold.detail
    assert spending.hold("a", own, USD("0.0013"), MONDAY) is None
    assert spending.hold("a", own, USD("0.019"), until) is None


def test_a_day_cap_in_words():
    spending = Spending(GENEROUS)
    spend(spending, "a", "0.4987")
    hold = spending.hold("a", limits(day="0.5"), USD("0.0375"), MONDAY)
    assert hold.detail == "day cap $0.50 reached: $0.4987 spent since 00:00 UTC, this ping may cost $0.0375"


def test_a_ping_that_may_cost_more_than_its_cap_is_held_until_somebody_changes_that():
    hold = Spending(GENEROUS).hold("a", limits(ping="0.01"), USD("0.02"), MONDAY)
    assert (hold.guard, hold.until) == (Guard.PING_CAP, None)
    assert hold.detail == "cap per ping $0.01: a ping may cost $0.02"
    assert Spending(GENEROUS).hold("a", limits(ping="0.02"), USD("0.02"), MONDAY) is None


def test_a_ping_that_may_cost_more_than_a_whole_day_is_not_held_until_tomorrow():
    hold = Spending(GENEROUS).hold("a", limits(day="0.01"), USD("0.02"), MONDAY)
    assert (hold.guard, hold.until, hold.detail) == (Guard.DAY_CAP, None, "day cap $0.01: a ping may cost $0.02")


@pytest.mark.parametrize(
    ("own", "in_all"),
    [
        (limits(ping=0), GENEROUS),
        (limits(day=0), GENEROUS),
        (limits(month=0), GENEROUS),
        (GENEROUS, limits(day=0)),
        (GENEROUS, limits(month=0)),
    ],
)
def test_a_cap_of_0_lets_nothing_go_not_even_what_costs_nothing(own, in_all):
    hold = Spending(in_all).hold("a", own, USD(0), MONDAY)
    assert hold.until is None
    assert not hold.in_flight


def test_money_in_flight_holds_back_only_until_it_is_settled():
    spending = Spending(GENEROUS)
    own = limits(day=1)
    flying = spending.reserve("a", USD("0.9"), MONDAY)
    hold = spending.hold("a", own, USD("0.2"), MONDAY)
    assert hold.in_flight
    assert hold.until is None
    assert spending.statuses("a", own, USD("0.2"), MONDAY)[1].state is GuardState.OK
    spending.settle(flying, USD("0.1"))
    assert spending.hold("a", own, USD("0.2"), MONDAY) is None


def test_a_cap_that_is_reached_goes_before_one_that_waits_for_pings_in_flight():
    spending = Spending(limits(day=1))
    spend(spending, "b", "0.5")
    spending.reserve("b", USD("0.3"), MONDAY)
    spend(spending, "a", "0.1")
    assert spending.hold("a", limits(day="0.2"), USD("0.15"), MONDAY).guard is Guard.DAY_CAP
    assert spending.hold("a", limits(day="0.2"), USD("0.15"), MONDAY).prefix == "a"


def test_what_is_settled_after_midnight_counts_for_the_day_in_which_it_was_sent():
    spending = Spending(GENEROUS)
    flying = spending.reserve("a", USD(1), MONDAY)
    assert spending.hold("a", limits(day=1), USD(1), TOMORROW) is None
    spending.settle(flying, USD(1))
    assert spending.hold("a", limits(day=1), USD(1), TOMORROW) is None


def test_after_the_clock_was_set_back_what_was_spent_still_counts():
    spending = Spending(GENEROUS)
    spend(spending, "a", 1, TOMORROW)
    assert spending.hold("a", limits(day=1), USD(1), MONDAY).guard is Guard.DAY_CAP


def test_what_another_process_spent_counts_in_its_own_day_and_month():
    spending = Spending(GENEROUS)
    spend(spending, "a", "0.1", TOMORROW)
    spending.add("a", USD("0.5"), MONDAY)
    day, month = spending.statuses(IN_ALL, GENEROUS, USD(0), TOMORROW)
    assert (day.spent_usd, month.spent_usd) == (USD("0.1"), USD("0.6"))
    spending.add("b", USD("0.5"), TOMORROW)
    day, month = spending.statuses(IN_ALL, GENEROUS, USD(0), TOMORROW)
    assert (day.spent_usd, month.spent_usd) == (USD("0.6"), USD("1.1"))


def test_the_caps_show_limit_money_state_and_reason():
    spending = Spending(limits(day=5, month=50))
    spend(spending, "a", "0.45")
    own = limits(1, "0.5", 10)
    ping, day, month = spending.statuses("a", own, USD("0.1"), MONDAY)
    assert (ping.guard, ping.limit_usd, ping.spent_usd, ping.state) == (Guard.PING_CAP, 1, USD("0.1"), GuardState.OK)
    assert (day.limit_usd, day.spent_usd, day.state) == (USD("0.5"), USD("0.45"), GuardState.TRIPPED)
    assert "day cap $0.50 reached" in day.detail
    assert (month.limit_usd, month.spent_usd, month.state, month.detail) == (10, USD("0.45"), GuardState.OK, "")
    assert [one.guard for one in spending.statuses(IN_ALL, GENEROUS, USD(0), MONDAY)] == [
        Guard.DAY_CAP,
        Guard.MONTH_CAP,
    ]


@pytest.mark.parametrize(
    ("moment", "day_end", "month_end"),
    [
        ("2026-01-31T23:59:59.999999+00:00", "2026-02-01T00:00+00:00", "2026-02-01T00:00+00:00"),
        ("2026-12-31T12:00+00:00", "2027-01-01T00:00+00:00", "2027-01-01T00:00+00:00"),
        ("2026-03-01T00:30+02:00", "2026-03-01T00:00+00:00", "2026-03-01T00:00+00:00"),  # still February in UTC
    ],
)
def test_days_and_months_are_those_of_utc(moment, day_end, month_end):
    at = datetime.fromisoformat(moment)
    assert end_of(Guard.DAY_CAP, at) == datetime.fromisoformat(day_end)
    assert end_of(Guard.MONTH_CAP, at) == datetime.fromisoformat(month_end)


@pytest.mark.parametrize(
    ("amount", "words"),
    [("0.5", "$0.50"), ("0.4987", "$0.4987"), ("0.0015", "$0.0015"), ("0.00000412", "$0.000004"),
     ("1234.5", "$1,234.50"), ("0", "$0.00"), ("-0.25", "$-0.25"), ("1.49876", "$1.4988")],
)  # fmt: skip
def test_money_is_said_with_the_digits_that_matter(amount, words):
    assert say_usd(USD(amount)) == words
