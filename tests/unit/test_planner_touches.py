"""What an organic request changes in what is known of its prefix, told in time or late."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.model import Entry, IdleLimitPolicy, PrefixState, Reason, Stop, Touch, Ttl, Usage, Verdict
from keepwarm.planner import absorb, absorb_touch, decide, expiry_of, hold_back
from tests.builders import MONDAY, make_entry, make_prefix, make_touch

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
PREFIX = make_prefix()
WARM = PrefixState(touched_at=MONDAY - 4 * MINUTE, idle_pings=3, cached_tokens=4_000)
READ, WRITTEN = Usage(3, 100, 5_000, 0), Usage(3, 100, 0, 5_000)


def touched(state: PrefixState, **changes: object) -> PrefixState:
    return absorb_touch(PREFIX, state, make_touch(PREFIX, **changes))


@pytest.mark.parametrize("usage", [None, READ, WRITTEN, Usage(3, 1, 3_000, 2_000)])
def test_an_organic_request_moves_the_expiry_from_its_start(usage):
    after = touched(WARM, usage=usage)
    assert expiry_of(PREFIX, after) == MONDAY + 5 * MINUTE
    assert (after.organic_at, after.idle_pings) == (MONDAY, 0)


def test_a_request_that_neither_read_nor_wrote_changes_nothing():
    assert touched(WARM, usage=Usage(5_003, 1, 0, 0)) == WARM


def test_a_request_of_another_prefix_changes_nothing():
    assert touched(WARM, fingerprint="feed") == WARM
    assert touched(WARM, fingerprint="", drift="system[0] after 2 equal blocks") == WARM


def test_the_pending_ping_moves_with_the_expiry():
    before = decide(PREFIX, WARM, MONDAY)
    after = decide(PREFIX, touched(WARM), MONDAY)
    assert before.at < MONDAY + MINUTE < after.at < MONDAY + 260 * SECOND + SECOND


def test_traffic_alone_is_kept_warm_where_nothing_is_written_beforehand():
    prefix = make_prefix(prewarm=False)
    assert decide(prefix, PrefixState(), MONDAY).reason is Reason.NO_TRAFFIC_YET
    after = absorb_touch(prefix, PrefixState(), make_touch(prefix))
    assert decide(prefix, after, MONDAY + SECOND).reason is Reason.KEEP_WARM


def test_a_touch_grants_an_idle_prefix_its_pings_anew():
    prefix = make_prefix(policy=IdleLimitPolicy(3))
    assert decide(prefix, WARM, MONDAY - MINUTE).reason is Reason.IDLE_LIMIT
    after = absorb_touch(prefix, WARM, make_touch(prefix, started_at=MONDAY - MINUTE))
    assert decide(prefix, after, MONDAY - MINUTE).reason is Reason.KEEP_WARM


def test_a_late_touch_moves_nothing_back_and_takes_back_only_the_pings_before_it():
    state = absorb(PREFIX, PrefixState(), make_entry(verdict=Verdict.REWRITE, reason=Reason.COLD_IN_BUSY_HOURS), 0.5)
    for minutes in (4, 8, 12):
        state = absorb(PREFIX, state, make_entry(started_at=MONDAY + minutes * MINUTE), 0.5)
    after = touched(state, started_at=MONDAY + 5 * MINUTE)
    assert (after.touched_at, after.organic_at, after.idle_pings) == (
        MONDAY + 12 * MINUTE,
        MONDAY + 5 * MINUTE,
        2,
    )
    assert touched(after, started_at=MONDAY + 4 * MINUTE).idle_pings == 2
    assert touched(after, started_at=MONDAY + 13 * MINUTE).idle_pings == 0


def test_a_touch_from_before_the_opening_write_takes_back_nothing():
    opening = make_entry(verdict=Verdict.REWRITE, reason=Reason.COLD_IN_BUSY_HOURS)
    state = absorb(PREFIX, PrefixState(), opening, 0.5)
    state = absorb(PREFIX, state, make_entry(started_at=MONDAY + 4 * MINUTE), 0.5)
    assert touched(state, started_at=MONDAY - MINUTE).idle_pings == 1


def test_a_ping_that_was_away_when_an_organic_request_started_is_not_idle():
    state = touched(WARM, started_at=MONDAY + SECOND)
    after = absorb(PREFIX, state, make_entry(completed_at=MONDAY + 2 * SECOND), 0.5)
    assert (after.idle_pings, after.touched_at, after.organic_at) == (0, MONDAY + SECOND, MONDAY + SECOND)


def test_of_very_many_idle_pings_a_late_touch_takes_back_those_that_are_remembered():
    state = PrefixState(touched_at=MONDAY)
    for count in range(1, 41):
        state = absorb(PREFIX, state, make_entry(started_at=MONDAY + 4 * count * MINUTE), 0.5)
    assert touched(state, started_at=MONDAY + 4 * 38 * MINUTE).idle_pings == 2
    assert touched(state, started_at=MONDAY + MINUTE).idle_pings == 40


def test_a_stop_and_its_pause_outlast_organic_requests():
    stopped = replace(WARM, stop=Stop("access_denied", "no access"), uncached=2)
    assert touched(stopped, usage=READ).stop == stopped.stop
    assert decide(PREFIX, touched(stopped), MONDAY).reason is Reason.STOPPED
    failing = hold_back(PREFIX, WARM, MONDAY, "throttled", 0.5)
    after = touched(failing, started_at=MONDAY + SECOND)
    assert (after.failures, after.retry_at) == (failing.failures, failing.retry_at)


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("failures", [0, 3, 20])
def test_no_pause_after_a_failure_lets_a_renewed_entry_die(jitter, failures):
    failing = hold_back(PREFIX, replace(WARM, failures=failures), MONDAY, "throttled", jitter)
    after = touched(failing, started_at=MONDAY + SECOND)
    assert MONDAY + SECOND < decide(PREFIX, after, MONDAY + 2 * SECOND).at < MONDAY + 5 * MINUTE


@pytest.mark.parametrize(
    ("usage", "billed"),
    [
        (Usage(3, 1, 0, 5_000, 5_000), Ttl.ONE_HOUR),
        (Usage(3, 1, 0, 5_000, 0), Ttl.FIVE_MINUTES),
        (Usage(3, 1, 0, 5_000, 4_000), None),  # the rest is behind our cache point
        (Usage(3, 1, 0, 5_000, None), None),
        (Usage(3, 1, 4_000, 1_000, 0), None),  # what it wrote is behind what it read
        (Usage(3, 1, 5_000, 0, 0), None),
        (None, None),
    ],
)
def test_the_ttl_that_was_billed_for_all_of_a_write_is_followed(usage, billed):
    assert touched(WARM, usage=usage).billed_ttl is billed


def test_the_latest_write_tells_the_billed_ttl_whichever_is_told_last():
    short, long = Usage(3, 1, 0, 5_000, 0), Usage(3, 1, 0, 5_000, 5_000)
    state = touched(WARM, usage=long)
    assert touched(state, usage=short, started_at=MONDAY - MINUTE).billed_ttl is Ttl.ONE_HOUR
    assert touched(state, usage=short, started_at=MONDAY + MINUTE).billed_ttl is Ttl.FIVE_MINUTES
    slow = make_entry(
        verdict=Verdict.REWRITE, started_at=MONDAY - MINUTE, completed_at=MONDAY, billed_ttl=Ttl.FIVE_MINUTES
    )
    assert absorb(PREFIX, state, slow, 0.5).billed_ttl is Ttl.ONE_HOUR


def test_touches_of_a_clock_that_was_set_back_are_forgotten_with_the_next_ping():
    future = touched(PrefixState(), started_at=MONDAY + timedelta(days=1), usage=Usage(3, 1, 0, 5_000, 5_000))
    for entry in (make_entry(), make_entry(verdict=None)):
        after = absorb(PREFIX, future, entry, 0.5)
        assert (after.touched_at, after.organic_at, after.idle_pings) == (MONDAY, None, 1)
    told = absorb(PREFIX, future, make_entry(verdict=Verdict.REWRITE, billed_ttl=Ttl.FIVE_MINUTES), 0.5)
    assert told.billed_ttl is Ttl.FIVE_MINUTES


# -- any order ----------------------------------------------------------------------------------------------------

usages = st.sampled_from(
    [None, READ, WRITTEN, Usage(9, 1, 0, 0), Usage(3, 1, 9, 9, 0), Usage(3, 1, 0, 50, 50), Usage(3, 1, 0, 50, 0)]
)
verdicts = st.sampled_from([Verdict.HIT, Verdict.PARTIAL, Verdict.REWRITE, Verdict.UNCACHED, Verdict.ERROR])
billed = st.sampled_from([None, *Ttl])
reasons = st.sampled_from([Reason.KEEP_WARM, Reason.COLD_IN_BUSY_HOURS, Reason.RETRY])


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Entry], list[Touch]]:
    """Pings, one at a time, and organic requests that may start while one is away."""
    entries = []
    for number, minute in enumerate(sorted(draw(st.sets(st.integers(0, 60), max_size=12)))):
        verdict, start = draw(verdicts), MONDAY + minute * MINUTE
        entry = make_entry(
            verdict=verdict,
            started_at=start,
            completed_at=start + draw(st.integers(0, 59)) * SECOND,
            reason=draw(reasons),
            retryable=draw(st.booleans()),
            billed_ttl=draw(billed) if verdict is Verdict.REWRITE else None,
        )
        entries.append(replace(entry, number=number))
    starts = draw(st.lists(st.integers(0, 60 * 60).map(lambda second: MONDAY + second * SECOND), max_size=12))
    return entries, [make_touch(number=n, started_at=start, usage=draw(usages)) for n, start in enumerate(starts)]


def replay(story: Iterable[Entry | Touch]) -> PrefixState:
    state = PrefixState()
    for event in story:
        learn = absorb_touch if isinstance(event, Touch) else partial(absorb, jitter=0.5)
        state = learn(PREFIX, state, event)
    # How long a pause is follows the ttl that was known when it began; that there is one does not.
    return replace(state, retry_at=state.retry_at and MONDAY)


@given(stories(), st.data())
def test_ledger_and_touches_merged_by_time_give_the_state_that_was_learned_live(story, data):
    """Live, a ping is known when it has ended, and a touch whenever it is told."""
    entries, touches = story
    started = {event: event.intent.started_at for event in entries} | {event: event.started_at for event in touches}
    told = {event: event.outcome.completed_at for event in entries} | {
        event: event.started_at + data.draw(st.integers(0, 3_600)) * SECOND for event in touches
    }
    live = replay(sorted(told, key=told.__getitem__))
    assert replay(sorted(started, key=started.__getitem__)) == live
    assert replay([*entries, *touches]) == live


@given(stories(), st.data())
def test_a_touch_that_is_told_twice_counts_once(story, data):
    entries, touches = story
    twice = data.draw(st.permutations(touches + touches))
    assert replay([*entries, *twice]) == replay([*entries, *touches])


@given(stories())
def test_an_organic_request_only_ever_adds_life_and_never_ends_a_stop(story):
    entries, touches = story
    before, after = replay(entries), replay([*entries, *touches])
    assert after.stop == before.stop
    assert before.touched_at is None or after.touched_at >= before.touched_at
    assert after.idle_pings <= before.idle_pings
