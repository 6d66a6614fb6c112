"""Whether one more ping or a write is refused, by policy alone, and why."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keepwarm.model import AdaptivePolicy, BusyHoursPolicy, Course, IdleLimitPolicy, PrefixState, Reason, Span, Ttl
from keepwarm.policies import refusal, refusal_to_write
from tests.builders import MONDAY

HOUR = timedelta(hours=1)
WINDOW = Span(MONDAY, MONDAY + 8 * HOUR)
COURSE = Course(pings=2, ttl=Ttl.FIVE_MINUTES)


@pytest.mark.parametrize("pings", [0, 1, 1_000])
def test_busy_hours_always_want_another_ping(pings):
    assert refusal(BusyHoursPolicy(), PrefixState(idle_pings=pings)) is None


@pytest.mark.parametrize(("pings", "refused"), [(0, None), (2, None), (3, Reason.IDLE_LIMIT), (4, Reason.IDLE_LIMIT)])
def test_an_idle_limit_wants_so_many_pings_and_no_more(pings, refused):
    assert refusal(IdleLimitPolicy(3), PrefixState(idle_pings=pings)) is refused


def test_an_idle_limit_of_none_wants_no_ping_at_all():
    assert refusal(IdleLimitPolicy(0), PrefixState()) is Reason.IDLE_LIMIT


@pytest.mark.parametrize(("pings", "refused"), [(0, None), (1, None), (2, Reason.NOT_WORTH_IT)])
def test_the_adaptive_policy_pings_as_often_as_its_course_says(pings, refused):
    assert refusal(AdaptivePolicy(), PrefixState(idle_pings=pings, course=COURSE)) is refused


def test_the_blind_adaptive_policy_pings_like_busy_hours():
    blind = PrefixState(idle_pings=100)
    assert refusal(AdaptivePolicy(), blind) is None
    assert refusal_to_write(AdaptivePolicy(), blind, None, WINDOW) is None


def test_the_adaptive_policy_writes_nothing_before_a_request():
    assert refusal_to_write(AdaptivePolicy(), PrefixState(course=COURSE), None, WINDOW) is Reason.NOT_WORTH_IT


@pytest.mark.parametrize("policy", [AdaptivePolicy(), BusyHoursPolicy(), IdleLimitPolicy(9)], ids=str)
def test_a_closed_prefix_is_neither_pinged_nor_written_under_any_policy(policy):
    closed = PrefixState(closed_at=MONDAY)
    assert refusal(policy, closed) is Reason.CLOSED
    assert refusal_to_write(policy, closed, None, WINDOW) is Reason.CLOSED


@pytest.mark.parametrize("expired_at", [None, MONDAY - HOUR, MONDAY + HOUR])
def test_busy_hours_write_whatever_is_cold(expired_at):
    assert refusal_to_write(BusyHoursPolicy(), PrefixState(), expired_at, WINDOW) is None


@pytest.mark.parametrize(
    ("expired_at", "refused"),
    [(None, None), (MONDAY - HOUR, None), (MONDAY, None), (MONDAY + HOUR, Reason.IDLE_LIMIT)],
    ids=["never written", "died before the opening", "died at the opening", "died inside the window"],
)
def test_an_idle_limit_writes_only_what_the_opening_found_cold(expired_at, refused):
    assert refusal_to_write(IdleLimitPolicy(3), PrefixState(), expired_at, WINDOW) is refused
