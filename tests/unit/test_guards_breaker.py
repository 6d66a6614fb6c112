"""The breaker: what opens it, what closes it, and what the planner does in between."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keepwarm import planner
from keepwarm.guards import breaker
from keepwarm.model import Action, GuardState, PrefixState, Reason, Verdict
from tests.builders import MONDAY, make_entry, make_prefix

PREFIX = make_prefix()
LIFETIME, SECOND = timedelta(minutes=5), timedelta(seconds=1)
HIT, REWRITE, UNKNOWN = Verdict.HIT, Verdict.REWRITE, Verdict.UNKNOWN


def after(*pings: Verdict | tuple[Verdict, Reason] | None, state: PrefixState | None = None) -> PrefixState:
    """What is known after these pings, four minutes apart, the last of them at MONDAY."""
    state = state or PrefixState()
    for number, ping in enumerate(pings, 1 - len(pings)):
        verdict, reason = ping if isinstance(ping, tuple) else (ping, Reason.KEEP_WARM)
        retryable = {"retryable": True} if verdict in {Verdict.ERROR, UNKNOWN} else {}
        entry = make_entry(
            PREFIX, verdict, started_at=MONDAY + 4 * number * timedelta(minutes=1), reason=reason, **retryable
        )
        state = planner.absorb(PREFIX, state, entry, 0.5)
    return state


def state_of(state: PrefixState) -> GuardState:
    return breaker.state_of(state, LIFETIME, MONDAY + SECOND)


@pytest.mark.parametrize("verdict", [REWRITE, UNKNOWN])
def test_three_in_a_row_open_it_for_one_lifetime_and_two_do_not(verdict):
    assert state_of(after(verdict, verdict)) is GuardState.OK
    state = after(verdict, verdict, verdict)
    assert state_of(state) is GuardState.TRIPPED
    decision = planner.decide(PREFIX, state, MONDAY + SECOND)
    assert (decision.action, decision.at, decision.reason) == (Action.WAIT, MONDAY + LIFETIME, Reason.BREAKER_OPEN)
    assert decision.detail.startswith("3 ")


@pytest.mark.parametrize("verdict", [REWRITE, UNKNOWN])
def test_after_the_lifetime_it_is_half_open_and_lets_a_ping_go(verdict):
    state = after(verdict, verdict, verdict)
    assert breaker.state_of(state, LIFETIME, MONDAY + LIFETIME) is GuardState.HALF_OPEN
    assert planner.decide(PREFIX, state, MONDAY + LIFETIME).action is Action.PING


def test_half_open_a_write_changes_nothing_and_the_next_rewrite_opens_it_again():
    state = after(REWRITE, REWRITE, REWRITE)
    state = after((REWRITE, Reason.COLD_IN_BUSY_HOURS), state=state)
    assert state.rewrites == 3
    later = after(REWRITE, state=state)
    assert (later.rewrites, later.broken_at) == (4, MONDAY)
    assert state_of(later) is GuardState.TRIPPED


@pytest.mark.parametrize("reason", [Reason.KEEP_WARM, Reason.MANUAL])
def test_a_hit_closes_it_also_one_by_hand(reason):
    state = after((HIT, reason), state=after(REWRITE, REWRITE, REWRITE))
    assert (state.rewrites, state.broken_at, breaker.detail_of(state)) == (0, None, "")
    assert state_of(state) is GuardState.OK


def test_lost_answers_are_forgiven_by_any_usage_also_that_of_a_write():
    state = after((REWRITE, Reason.COLD_IN_BUSY_HOURS), state=after(UNKNOWN, UNKNOWN, UNKNOWN))
    assert (state.unknowns, state_of(state)) == (0, GuardState.OK)


def test_a_refusal_between_them_ends_no_row_since_it_was_not_billed():
    assert state_of(after(UNKNOWN, Verdict.ERROR, UNKNOWN, Verdict.ERROR, UNKNOWN)) is GuardState.TRIPPED
    assert state_of(after(REWRITE, Verdict.ERROR, REWRITE, REWRITE)) is GuardState.TRIPPED


def test_a_partial_hit_ends_no_row_of_rewrites_and_is_none():
    assert after(REWRITE, Verdict.PARTIAL, REWRITE).rewrites == 2


@pytest.mark.parametrize("reason", [Reason.COLD_IN_BUSY_HOURS, Reason.MANUAL])
def test_writes_where_no_hit_was_due_do_not_count(reason):
    assert state_of(after(*[(REWRITE, reason)] * 5)) is GuardState.OK


@pytest.mark.parametrize("verdict", [REWRITE, UNKNOWN])
def test_each_time_that_it_opens_again_it_waits_twice_as_long_up_to_a_bound(verdict):
    pauses = []
    for count in (3, 4, 5, 6, 11, 12, 40):
        state = after(*[verdict] * count)
        pauses.append((breaker.held_until(state, LIFETIME, state.broken_at) - state.broken_at) / LIFETIME)
    assert pauses == [1, 2, 4, 8, 256, 256, 256]


def test_hits_leave_it_closed():
    assert state_of(after(HIT, HIT, HIT)) is GuardState.OK


def test_an_orphan_tells_nothing():
    assert after(REWRITE, REWRITE, None).rewrites == 2


def test_a_moment_that_a_clock_set_back_left_in_the_future_holds_nothing_back():
    state = after(UNKNOWN, UNKNOWN, UNKNOWN)
    assert breaker.held_until(state, LIFETIME, MONDAY - timedelta(hours=1)) is None


def test_the_words_tell_which_row_opened_it():
    assert breaker.detail_of(after(REWRITE, REWRITE, REWRITE)) == "3 rewrites in a row where a hit was due"
    assert "told nothing" in breaker.detail_of(after(UNKNOWN, UNKNOWN, UNKNOWN))
