"""What a finished ping changes in what is known of its prefix."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keepwarm.model import Action, Entry, PrefixState, Reason, Stop, Ttl, Usage, Verdict
from keepwarm.planner import absorb, decide, hold_back, lifetime_of, margin_of, ping_period
from tests.builders import MONDAY, make_entry, make_prefix

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
PREFIX = make_prefix()
WARM = PrefixState(touched_at=MONDAY - 4 * MINUTE, idle_pings=3, cached_tokens=4_000, billed_ttl=Ttl.FIVE_MINUTES)
TROUBLED = replace(WARM, failures=4, uncached=1, retry_at=MONDAY, retry_reason="throttled")
STOPPED = replace(TROUBLED, stop=Stop("access_denied", "no access"))


def error(code: str = "throttled", *, retryable: bool = True, **changes: object) -> Entry:
    return make_entry(verdict=Verdict.ERROR, error_code=code, retryable=retryable, **changes)


def known(state: PrefixState) -> dict[str, object]:
    """What a state says, without when and by whom it was learned."""
    names = ("touched_at", "idle_pings", "billed_ttl", "cached_tokens", "failures", "uncached", "retry_at", "stop")
    return {name: getattr(state, name) for name in names}


# -- a touch ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE])
@pytest.mark.parametrize("state", [WARM, TROUBLED, STOPPED], ids=["warm", "troubled", "stopped"])
def test_a_touch_counts_from_its_start_and_ends_all_trouble(state, verdict):
    after = absorb(PREFIX, state, make_entry(verdict=verdict), 0.5)
    tokens = {Verdict.HIT: 5_000, Verdict.PARTIAL: 5_200, Verdict.REWRITE: 5_000}[verdict]
    assert known(after) == known(
        PrefixState(touched_at=MONDAY, idle_pings=4, billed_ttl=Ttl.FIVE_MINUTES, cached_tokens=tokens)
    )


def test_a_manual_ping_that_succeeds_starts_a_stopped_prefix_again():
    after = absorb(PREFIX, STOPPED, make_entry(reason=Reason.MANUAL), 0.5)
    assert decide(PREFIX, after, MONDAY + SECOND).reason is Reason.KEEP_WARM


def test_an_opening_write_starts_the_count_of_idle_pings_anew():
    entry = make_entry(verdict=Verdict.REWRITE, reason=Reason.COLD_IN_BUSY_HOURS)
    assert absorb(PREFIX, WARM, entry, 0.5).idle_pings == 0


def test_an_opening_that_finds_the_entry_alive_starts_the_count_anew_too():
    assert absorb(PREFIX, WARM, make_entry(reason=Reason.COLD_IN_BUSY_HOURS), 0.5).idle_pings == 0


def test_a_touch_without_a_told_ttl_keeps_the_one_known_before():
    assert absorb(PREFIX, WARM, make_entry(billed_ttl=None), 0.5).billed_ttl is Ttl.FIVE_MINUTES
    assert absorb(PREFIX, WARM, make_entry(billed_ttl=Ttl.ONE_HOUR), 0.5).billed_ttl is Ttl.ONE_HOUR


def test_a_ttl_billed_as_5m_shortens_the_plan_of_a_1h_prefix_until_1h_is_billed_again():
    prefix = make_prefix(ttl=Ttl.ONE_HOUR)
    short = absorb(prefix, PrefixState(), make_entry(prefix, Verdict.REWRITE, billed_ttl=Ttl.FIVE_MINUTES), 0.5)
    assert (lifetime_of(prefix, short), margin_of(prefix, short)) == (5 * MINUTE, 25 * SECOND)
    assert decide(prefix, short, MONDAY).at < MONDAY + 5 * MINUTE - 25 * SECOND
    later = make_entry(prefix, Verdict.REWRITE, started_at=MONDAY + MINUTE, billed_ttl=Ttl.ONE_HOUR)
    honoured = absorb(prefix, short, later, 0.5)
    assert lifetime_of(prefix, honoured) == 60 * MINUTE


def test_an_orphan_counts_as_a_touch_of_unknown_size():
    after = absorb(PREFIX, TROUBLED, make_entry(verdict=None), 0.5)
    assert known(after) == known(
        PrefixState(touched_at=MONDAY, idle_pings=4, billed_ttl=Ttl.FIVE_MINUTES, cached_tokens=4_000)
    )


# -- neither read nor written -------------------------------------------------------------------------------------


def test_one_uncached_ping_is_forgiven_and_tried_again_a_ping_period_later():
    after = absorb(PREFIX, WARM, make_entry(verdict=Verdict.UNCACHED), 0.5)
    assert (after.stop, after.uncached, after.touched_at) == (None, 1, WARM.touched_at)
    assert absorb(PREFIX, replace(WARM, failures=2), make_entry(verdict=Verdict.UNCACHED), 0.5).failures == 0
    decision = decide(PREFIX, after, MONDAY + 2 * SECOND)
    assert (decision.at, decision.reason) == (MONDAY + 260 * SECOND, Reason.BACKING_OFF)
    assert decision.detail == "uncached"


def test_a_second_uncached_ping_stops_the_prefix_and_says_how_long_it_would_have_to_be():
    once = absorb(PREFIX, WARM, make_entry(verdict=Verdict.UNCACHED), 0.5)
    twice = absorb(PREFIX, once, make_entry(verdict=Verdict.UNCACHED), 0.5)
    assert twice.stop.code == "uncached"
    assert "has 900 tokens" in twice.stop.message
    assert "caches from 1024 on" in twice.stop.message
    assert "longer" in twice.stop.hint
    assert decide(PREFIX, twice, MONDAY + MINUTE).reason is Reason.STOPPED


def test_an_uncached_ping_without_usage_still_counts():
    once = replace(WARM, uncached=1)
    assert absorb(PREFIX, once, make_entry(verdict=Verdict.UNCACHED, usage=None), 0.5).stop


def test_a_touch_between_two_uncached_pings_keeps_the_prefix_going():
    state = WARM
    for verdict in (Verdict.UNCACHED, Verdict.HIT, Verdict.UNCACHED):
        state = absorb(PREFIX, state, make_entry(verdict=verdict), 0.5)
    assert state.stop is None


# -- errors -------------------------------------------------------------------------------------------------------


def test_a_permanent_error_stops_with_what_is_to_be_done():
    entry = error("access_denied", retryable=False, error_message="no access", error_hint="grant it")
    after = absorb(PREFIX, WARM, entry, 0.5)
    assert after == replace(WARM, stop=Stop("access_denied", "no access", "grant it"))
    assert decide(PREFIX, after, MONDAY).action is Action.LEAVE


def test_a_stopped_prefix_stays_stopped_when_a_manual_ping_is_throttled():
    assert absorb(PREFIX, STOPPED, error(reason=Reason.MANUAL), 0.5).stop == STOPPED.stop


@pytest.mark.parametrize("verdict", [Verdict.ERROR, Verdict.UNKNOWN])
def test_a_passing_trouble_is_tried_again_while_the_entry_lives(verdict):
    state = replace(WARM, touched_at=MONDAY - 255 * SECOND)
    entry = make_entry(verdict=verdict, error_code="unavailable", retryable=True)
    decision = decide(PREFIX, absorb(PREFIX, state, entry, 0.5), MONDAY + SECOND)
    assert (decision.at, decision.reason) == (MONDAY + 6 * SECOND, Reason.RETRY)
    assert decision.detail == "1 failed attempt, last unavailable"


def test_an_answer_that_was_lost_is_tried_again_even_if_nobody_said_that_helps():
    after = absorb(PREFIX, WARM, make_entry(verdict=Verdict.UNKNOWN, retryable=False), 0.5)
    assert after.stop is None


def test_pauses_double_from_a_quarter_of_the_margin_up_to_a_ping_period():
    state, pauses = WARM, []
    for _ in range(8):
        state = hold_back(PREFIX, state, MONDAY, "throttled", 1.0)
        pauses.append((state.retry_at - MONDAY).total_seconds())
    assert pauses == [10, 20, 40, 80, 160, 260, 260, 260]


@pytest.mark.parametrize("jitter", [0.0, 0.05, 0.1, 0.3, 0.999])
def test_pauses_are_jittered_but_never_nothing(jitter):
    state = hold_back(PREFIX, WARM, MONDAY, "throttled", jitter)
    assert state.retry_at - MONDAY == 10 * SECOND * max(jitter, 0.1)


def test_years_of_failures_do_not_overflow():
    state = hold_back(PREFIX, replace(WARM, failures=10**9), MONDAY, "throttled", 1.0)
    assert state.retry_at == MONDAY + ping_period(PREFIX, WARM)


def test_the_ledger_gives_the_state_back():
    """What a daemon knew before a restart is what its entries tell afterwards."""
    entries = [
        make_entry(verdict=Verdict.REWRITE, reason=Reason.COLD_IN_BUSY_HOURS, billed_ttl=Ttl.FIVE_MINUTES),
        make_entry(started_at=MONDAY + 255 * SECOND),
        error(started_at=MONDAY + 510 * SECOND),
        make_entry(started_at=MONDAY + 515 * SECOND, attempt=2, usage=Usage(3, 1, 5_100, 0)),
    ]
    state = PrefixState()
    for entry in entries:
        state = absorb(PREFIX, state, entry, 0.5)
    assert known(state) == known(
        PrefixState(touched_at=MONDAY + 515 * SECOND, idle_pings=2, billed_ttl=Ttl.FIVE_MINUTES, cached_tokens=5_100)
    )


def test_an_orphan_does_not_start_a_stopped_prefix_again():
    assert absorb(PREFIX, STOPPED, make_entry(verdict=None, reason=Reason.MANUAL), 0.5).stop == STOPPED.stop
