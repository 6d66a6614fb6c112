"""A lead before the opening: the first request of busy hours finds its entry warm, also when clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from keepwarm.model import (
    Action,
    AdaptivePolicy,
    BusyHoursPolicy,
    Decision,
    IdleLimitPolicy,
    Policy,
    Prefix,
    PrefixState,
    Reason,
)
from keepwarm.planner import absorb, decide
from keepwarm.simulate import project
from tests.builders import make_entry, make_hours, make_prefix
from tests.walks import local

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OFFICE = make_hours("08:00-18:00")
OPENING = local(2026, 3, 2, 8)
LEAD = 2 * MINUTE
NIGHT = OPENING - 3 * HOUR


def early(**changes: object) -> Prefix:
    return make_prefix(**{"busy_hours": OFFICE, "prewarm_lead": LEAD, "policy": AdaptivePolicy()} | changes)


def first_ping(prefix: Prefix, since: datetime, state: PrefixState | None = None) -> datetime:
    return next(project(prefix, state or PrefixState(), since, since + 3 * DAY)).at


@pytest.mark.parametrize("policy", [AdaptivePolicy(), BusyHoursPolicy(), IdleLimitPolicy(2)], ids=str)
def test_the_first_write_of_a_day_goes_out_a_lead_before_the_opening(policy: Policy):
    assert first_ping(early(policy=policy), NIGHT) == OPENING - LEAD
    assert first_ping(early(policy=policy, prewarm_lead=timedelta(0)), NIGHT) == OPENING


@pytest.mark.parametrize("day", [(2026, 3, 29), (2026, 10, 25)], ids=["clocks go forward", "clocks go back"])
@pytest.mark.parametrize("window", ["02:30-06:00", "03:00-06:00", "03:01-06:00", "08:00-18:00"])
def test_the_lead_is_of_real_time_also_on_the_nights_when_the_clocks_change(day, window):
    hours = make_hours(window)
    since = local(*day, 0)
    opening = first_ping(early(busy_hours=hours, prewarm_lead=timedelta(0)), since)
    assert first_ping(early(busy_hours=hours), since) == opening - LEAD


def test_what_is_written_ahead_is_said_so():
    found = decide(early(), PrefixState(), OPENING - LEAD)
    assert (found.action, found.reason, found.detail) == (
        Action.PING, Reason.COLD_IN_BUSY_HOURS, "ahead of the opening",
    )  # fmt: skip
    assert not decide(early(), PrefixState(), OPENING).detail


def test_before_the_lead_the_planner_waits_for_it_and_not_for_the_opening():
    waiting = Decision(Action.WAIT, OPENING - LEAD, Reason.OUTSIDE_BUSY_HOURS)
    assert decide(early(), PrefixState(), OPENING - LEAD - SECOND) == waiting


def test_an_entry_that_dies_between_lead_and_opening_is_kept_alive():
    prefix = early()
    dying = PrefixState(touched_at=OPENING - MINUTE - prefix.lifetime)
    assert OPENING - LEAD <= first_ping(prefix, OPENING - LEAD, dying) < OPENING - MINUTE


@pytest.mark.parametrize("policy", [AdaptivePolicy(), BusyHoursPolicy()], ids=str)
def test_the_entry_is_alive_at_the_opening_and_all_through_the_hours(policy: Policy):
    prefix = early(policy=policy)
    pings = [ping.at for ping in project(prefix, PrefixState(), NIGHT, NIGHT + 4 * HOUR)]
    assert all(later - ping < prefix.lifetime for ping, later in pairwise(pings))
    assert pings[0] < OPENING < pings[1]


def test_a_refusal_inside_the_lead_waits_for_the_opening_and_never_for_a_moment_that_has_passed():
    prefix = early(policy=IdleLimitPolicy(0))
    state = PrefixState(touched_at=OPENING - 90 * SECOND)
    now = OPENING - MINUTE
    assert decide(prefix, state, now) == Decision(
        Action.WAIT, OPENING, Reason.IDLE_LIMIT, OPENING - 90 * SECOND + prefix.lifetime
    )


@pytest.mark.parametrize("ago", [0, 1, 30, 90, 119, 121, 290, 600, 4000])
@pytest.mark.parametrize("policy", [AdaptivePolicy(), IdleLimitPolicy(1)], ids=str)
def test_whenever_it_waits_it_waits_for_a_moment_to_come(ago: int, policy: Policy):
    prefix = early(policy=policy, busy_hours=make_hours("08:00-12:00", "12:01-18:00"), prewarm_lead=3 * MINUTE)
    for minute in range(0, 11 * 60, 1):
        now = local(2026, 3, 2, 7, 50) + minute * MINUTE
        found = decide(prefix, PrefixState(touched_at=now - ago * SECOND, idle_pings=1), now)
        assert found.at is None or found.at > now or found.action is Action.PING


def test_without_prewarm_a_lead_says_nothing():
    assert decide(early(prewarm=False), PrefixState(), OPENING - LEAD).reason is Reason.NO_TRAFFIC_YET


def test_an_idle_limit_opens_once_and_then_lets_go():
    prefix = early(policy=IdleLimitPolicy(0))
    entry = make_entry(prefix, started_at=OPENING - LEAD, reason=Reason.COLD_IN_BUSY_HOURS)
    state = absorb(prefix, PrefixState(), entry, 0.5)
    assert decide(prefix, state, OPENING + 9 * MINUTE).reason is Reason.IDLE_LIMIT
