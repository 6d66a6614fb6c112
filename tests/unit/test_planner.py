"""When a prefix is pinged next and why: every reason, and what a clock that was set makes of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from keepwarm.model import (
    Action,
    AdaptivePolicy,
    BusyHours,
    Course,
    Decision,
    IdleLimitPolicy,
    Prefix,
    PrefixState,
    Reason,
    Stop,
    Ttl,
)
from keepwarm.planner import RATE_LIMITED, decide, default_margin, expiry_of, ping_period, tokens_of
from tests.builders import MONDAY, make_hours, make_prefix
from tests.walks import local

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
OFFICE = make_hours("Mon-Fri 08:00-18:00")
LUNCH = make_hours("Mon-Fri 08:00-12:00", "Mon-Fri 12:30-18:00")
LONG_LUNCH = make_hours("Mon-Fri 08:00-12:00", "Mon-Fri 14:00-18:00")
CLOSING = local(2026, 3, 2, 18)
TUESDAY = local(2026, 3, 3, 8)
NOON = local(2026, 3, 2, 12)

# The keeper's own reasons; the planner never gives them.
OF_THE_KEEPER = {
    Reason.MANUAL, Reason.DRAINING, Reason.IN_FLIGHT, Reason.CAPPED, Reason.TRIPPED, Reason.ALL_STOPPED,
    Reason.STANDING_BY, Reason.PAUSED,
}  # fmt: skip


def office(**changes: object) -> Prefix:
    return make_prefix(**{"busy_hours": OFFICE} | changes)


def touched(ago: timedelta, now: datetime = MONDAY, **changes: object) -> PrefixState:
    return PrefixState(touched_at=now - ago, **changes)


ONE_HOUR = office(ttl=Ttl.ONE_HOUR)
AT_LUNCH = office(ttl=Ttl.ONE_HOUR, busy_hours=LUNCH)
LEARNT = office(policy=AdaptivePolicy())
IDLE = office(policy=IdleLimitPolicy(2))
NEVER = office(busy_hours=BusyHours("never", "UTC", ()))
STOPPED = PrefixState(stop=Stop("access_denied", "no access", "grant it"))

CASES = {
    "a living entry is pinged before it dies": (
        office(), touched(MINUTE), MONDAY, Action.PING, Reason.KEEP_WARM,
    ),
    "a pause that one more ping outlives is bridged": (
        AT_LUNCH, touched(40 * MINUTE, NOON - 20 * MINUTE), NOON - 20 * MINUTE, Action.PING, Reason.BRIDGE_PAUSE,
    ),
    "a cold prefix is written": (
        office(), PrefixState(), MONDAY, Action.PING, Reason.COLD_IN_BUSY_HOURS,
    ),
    "a dead entry is written again": (
        office(), touched(5 * MINUTE), MONDAY, Action.PING, Reason.COLD_IN_BUSY_HOURS,
    ),
    "a failed ping is tried again while the entry lives": (
        office(), touched(4 * MINUTE + 25 * SECOND, failures=1, retry_at=MONDAY + 5 * SECOND), MONDAY,
        Action.PING, Reason.RETRY,
    ),
    "outside busy hours it waits": (
        office(), PrefixState(), CLOSING, Action.WAIT, Reason.OUTSIDE_BUSY_HOURS,
    ),
    "an entry that outlives the busy hours is left": (
        office(), touched(MINUTE, CLOSING - MINUTE), CLOSING - MINUTE, Action.WAIT, Reason.OUTLIVES_BUSY_HOURS,
    ),
    "an entry that outlives the pause needs no bridge": (
        AT_LUNCH, touched(15 * MINUTE, NOON - 5 * MINUTE), NOON - 5 * MINUTE, Action.WAIT, Reason.OUTLIVES_BUSY_HOURS,
    ),
    "a pause longer than the lifetime is not bridged": (
        office(ttl=Ttl.ONE_HOUR, busy_hours=LONG_LUNCH), touched(40 * MINUTE, NOON - 20 * MINUTE), NOON - 20 * MINUTE,
        Action.WAIT, Reason.OUTLIVES_BUSY_HOURS,
    ),
    "the last busy hours of all are not bridged": (
        office(ttl=Ttl.ONE_HOUR, busy_hours=make_hours("Mon 08:00-18:00", closed=((MONDAY.date() + timedelta(days=1),
        MONDAY.date() + timedelta(days=800)),))), touched(30 * MINUTE, CLOSING - MINUTE), CLOSING - MINUTE,
        Action.LEAVE, Reason.OUTLIVES_BUSY_HOURS,
    ),
    "just before closing nothing is written": (
        office(), PrefixState(), CLOSING - 30 * SECOND, Action.WAIT, Reason.CLOSING_SOON,
    ),
    "a cold prefix waits out its pause": (
        office(), PrefixState(failures=3, retry_at=MONDAY + MINUTE), MONDAY, Action.WAIT, Reason.BACKING_OFF,
    ),
    "a retry that comes after the death of the entry is waited for": (
        office(), touched(4 * MINUTE + 25 * SECOND, failures=5, retry_at=MONDAY + MINUTE), MONDAY,
        Action.WAIT, Reason.BACKING_OFF,
    ),
    "a retry of a bridge that comes in the pause is not made": (
        AT_LUNCH, touched(48 * MINUTE, NOON - 2 * MINUTE, failures=5, retry_at=NOON), NOON - 2 * MINUTE,
        Action.WAIT, Reason.BACKING_OFF,
    ),
    "a retry of a bridge that comes in time is made": (
        AT_LUNCH, touched(48 * MINUTE, NOON - 2 * MINUTE, failures=5, retry_at=NOON - SECOND), NOON - 2 * MINUTE,
        Action.PING, Reason.RETRY,
    ),
    "enough idle pings let a living entry die": (
        IDLE, touched(MINUTE, idle_pings=2), MONDAY, Action.WAIT, Reason.IDLE_LIMIT,
    ),
    "an entry that died of idleness stays dead": (
        IDLE, touched(6 * MINUTE, idle_pings=2), MONDAY, Action.WAIT, Reason.IDLE_LIMIT,
    ),
    "pings that would not pay are not sent": (
        LEARNT, touched(MINUTE, course=Course(1, Ttl.FIVE_MINUTES), idle_pings=1), MONDAY,
        Action.WAIT, Reason.NOT_WORTH_IT,
    ),
    "a closed prefix waits for its next request": (
        office(), touched(MINUTE, closed_at=MONDAY), MONDAY, Action.WAIT, Reason.CLOSED,
    ),
    "without prewarm a cold prefix waits for traffic": (
        office(prewarm=False), PrefixState(), MONDAY, Action.LEAVE, Reason.NO_TRAFFIC_YET,
    ),
    "hours that never come need no timer": (
        NEVER, PrefixState(), MONDAY, Action.LEAVE, Reason.NEVER_BUSY,
    ),
    "a stopped prefix is left, living or not": (
        office(), STOPPED, MONDAY, Action.LEAVE, Reason.STOPPED,
    ),
    "an open breaker waits": (
        office(), touched(MINUTE, rewrites=3, broken_at=MONDAY - MINUTE), MONDAY, Action.WAIT, Reason.BREAKER_OPEN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_prefix_is_treated_for_one_of_the_known_reasons(case):
    prefix, state, now, action, reason = CASES[case]
    decision = decide(prefix, state, now)
    assert (decision.action, decision.reason) == (action, reason)


def test_the_cases_above_reach_every_reason_of_the_planner():
    assert {case[4] for case in CASES.values()} == set(Reason) - OF_THE_KEEPER


# -- moments ------------------------------------------------------------------------------------------------------


def test_a_living_entry_is_pinged_between_one_and_one_and_a_half_margins_before_its_death():
    prefix = office()
    decision = decide(prefix, touched(MINUTE), MONDAY)
    assert decision.warm_until == MONDAY + 4 * MINUTE
    assert MONDAY + 3 * MINUTE <= decision.at <= MONDAY + 3 * MINUTE + 20 * SECOND


def test_an_overdue_ping_is_due_now():
    assert decide(office(), touched(4 * MINUTE + 50 * SECOND), MONDAY).at == MONDAY


def test_prefixes_touched_together_fall_due_apart():
    due = {decide(office(fingerprint=f"{number}"), touched(MINUTE), MONDAY).at for number in range(100)}
    assert len(due) == 100
    assert max(due) - min(due) > 15 * SECOND


def test_the_moment_is_the_same_after_a_restart_and_in_any_zone():
    elsewhere = MONDAY.astimezone(ZoneInfo("Asia/Kathmandu"))
    assert decide(office(), touched(MINUTE), MONDAY) == decide(office(), touched(MINUTE), elsewhere)


def test_a_cold_prefix_waits_for_the_next_opening_over_night():
    assert decide(office(), PrefixState(), CLOSING).at == TUESDAY


def test_a_bridging_ping_goes_out_shortly_before_the_pause_and_carries_over_it():
    now = NOON - 20 * MINUTE
    decision = decide(AT_LUNCH, touched(30 * MINUTE, now), now)
    assert NOON - 5 * MINUTE <= decision.at <= NOON - 2.5 * MINUTE
    assert decision.at + HOUR > NOON + 30 * MINUTE


def test_a_retry_goes_out_when_its_pause_is_over():
    state = touched(4 * MINUTE + 25 * SECOND, failures=2, retry_at=MONDAY + 5 * SECOND, retry_reason="throttled")
    decision = decide(office(), state, MONDAY)
    assert (decision.at, decision.detail) == (MONDAY + 5 * SECOND, "2 failed attempts, last throttled")


def test_a_stop_says_what_stopped_it():
    assert decide(office(), STOPPED, MONDAY).detail == "access_denied: no access"


def test_one_failed_attempt_is_told_in_the_singular():
    state = PrefixState(failures=1, retry_at=MONDAY + MINUTE, retry_reason="throttled")
    assert decide(office(), state, MONDAY).detail == "1 failed attempt, last throttled"


def test_a_margin_of_nearly_the_whole_lifetime_does_not_ping_without_pause():
    lifetime, margin = 300 * SECOND, 280 * SECOND
    for number in range(100):
        prefix = office(lifetime=lifetime, margin=margin, fingerprint=f"{number}")
        assert decide(prefix, touched(0 * SECOND), MONDAY).at >= MONDAY + (lifetime - margin) / 2


# -- idle limit ---------------------------------------------------------------------------------------------------


def test_an_idle_prefix_that_is_always_busy_is_idle_and_not_never_busy():
    prefix = make_prefix(policy=IdleLimitPolicy(1))
    assert decide(prefix, touched(MINUTE, idle_pings=1), MONDAY).reason is Reason.IDLE_LIMIT
    assert decide(prefix, touched(HOUR, idle_pings=1), MONDAY).reason is Reason.IDLE_LIMIT


def test_the_next_opening_writes_an_entry_that_died_of_idleness():
    decision = decide(IDLE, PrefixState(touched_at=MONDAY, idle_pings=2), TUESDAY)
    assert decision.reason is Reason.COLD_IN_BUSY_HOURS


def test_an_idle_entry_that_lived_at_the_opening_is_not_written_when_it_dies():
    """Deciding before its death and after it must agree, or a restart would change what is paid."""
    prefix = office(ttl=Ttl.ONE_HOUR, busy_hours=LUNCH, policy=IdleLimitPolicy(2))
    state = PrefixState(touched_at=NOON - 20 * MINUTE, idle_pings=2)
    waits = decide(prefix, state, NOON + 30 * MINUTE)
    assert (waits.reason, waits.at) == (Reason.IDLE_LIMIT, TUESDAY)
    assert decide(prefix, state, NOON + 45 * MINUTE).at == TUESDAY


# -- a clock that was set -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [1, 5, 24 * 400])
def test_a_clock_set_back_makes_the_entry_unknown_and_pings_at_once(hours):
    decision = decide(office(), touched(-hours * HOUR), MONDAY)
    assert (decision.at, decision.reason, decision.warm_until) == (MONDAY, Reason.COLD_IN_BUSY_HOURS, None)


def test_clocks_that_differ_by_seconds_do_not_make_an_entry_unknown():
    assert decide(office(), touched(-5 * SECOND), MONDAY).reason is Reason.KEEP_WARM


def test_a_clock_set_back_ends_the_pause_after_failures():
    state = PrefixState(failures=4, retry_at=MONDAY + 3 * HOUR, retry_reason="throttled")
    assert decide(office(), state, MONDAY).at == MONDAY


def test_a_turn_far_ahead_is_waited_for_since_a_crowd_may_be_before_it():
    state = PrefixState(retry_at=MONDAY + 3 * HOUR, retry_reason=RATE_LIMITED)
    assert decide(office(), state, MONDAY) == Decision(
        Action.WAIT, MONDAY + 3 * HOUR, Reason.BACKING_OFF, detail=RATE_LIMITED
    )


def test_a_clock_set_forward_finds_the_entry_dead():
    assert decide(office(), touched(HOUR), MONDAY + 3 * HOUR).reason is Reason.COLD_IN_BUSY_HOURS


# -- small figures ------------------------------------------------------------------------------------------------


def test_the_margin_is_forty_seconds_of_five_minutes_and_five_minutes_of_an_hour():
    assert default_margin(Ttl.FIVE_MINUTES, 5 * MINUTE) == 30 * SECOND
    assert default_margin(Ttl.ONE_HOUR, HOUR) == 2 * MINUTE
    assert default_margin(Ttl.FIVE_MINUTES, 30 * SECOND) == 3 * SECOND


def test_a_ttl_billed_shorter_shortens_lifetime_and_margin():
    state = touched(MINUTE, billed_ttl=Ttl.FIVE_MINUTES)
    assert expiry_of(ONE_HOUR, state) == MONDAY + 4 * MINUTE
    assert ping_period(ONE_HOUR, state) == 4 * MINUTE + 35 * SECOND
    assert MONDAY + 3 * MINUTE < decide(ONE_HOUR, state, MONDAY).at < MONDAY + 4 * MINUTE


def test_a_ttl_billed_as_asked_changes_nothing():
    assert ping_period(ONE_HOUR, touched(MINUTE, billed_ttl=Ttl.ONE_HOUR)) == 55 * MINUTE


def test_tokens_are_estimated_until_they_are_measured():
    assert tokens_of(office(), PrefixState()) == 5_000
    assert tokens_of(office(), PrefixState(cached_tokens=4_321)) == 4_321
