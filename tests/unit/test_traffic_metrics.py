from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from keepwarm.model import Entry, Verdict
from keepwarm.traffic.metrics import Sums, organic_minutes
from tests.builders import MONDAY, make_entry

MINUTE = timedelta(minutes=1)


def sums(*minutes: tuple[int, float, float], read: str = "CacheReadInputTokenCount") -> Sums:
    """From minute, invocations and tokens read."""
    found: Sums = {}
    for minute, invocations, tokens in minutes:
        found["Invocations", MONDAY + minute * MINUTE] = invocations
        found[read, MONDAY + minute * MINUTE] = tokens
    return found


def ping(seconds: float, verdict: Verdict | None = Verdict.HIT, took_seconds: float = 1) -> Entry:
    """A ping that read 5,000 tokens (nothing with another verdict), so long after Monday nine o'clock."""
    start = MONDAY + timedelta(seconds=seconds)
    if verdict is None:
        return make_entry(verdict=None, started_at=start)
    return make_entry(verdict=verdict, started_at=start, completed_at=start + timedelta(seconds=took_seconds))


def test_a_minute_with_more_requests_and_tokens_than_our_pings_is_organic():
    assert organic_minutes(sums((0, 1, 5000), (1, 0, 0), (2, 3, 15_000)), []) == [MONDAY, MONDAY + 2 * MINUTE]


def test_either_name_of_the_cache_metrics_counts_and_both_together_count_once():
    assert organic_minutes(sums((0, 1, 5000), read="CacheReadInputTokens"), []) == [MONDAY]
    both = sums((0, 1, 5000), read="CacheReadInputTokens") | sums((0, 1, 5000))
    assert organic_minutes(both, [ping(30)]) == []


def test_our_own_pings_are_no_traffic():
    assert organic_minutes(sums((0, 1, 5000)), [ping(30)]) == []
    assert organic_minutes(sums((0, 2, 10_000)), [ping(30)]) == [MONDAY]


def test_a_ping_counts_in_every_minute_that_it_may_have_been_counted_in():
    across = ping(59.5)
    assert organic_minutes(sums((0, 1, 5000)), [across]) == []
    assert organic_minutes(sums((1, 1, 5000)), [across]) == []
    assert organic_minutes(sums((2, 1, 5000)), [across]) == [MONDAY + 2 * MINUTE]
    assert organic_minutes(sums((1, 1, 5000)), [ping(58, took_seconds=0.2)]) == []  # the clocks may be apart


def test_requests_that_touched_no_entry_are_no_touch():
    assert organic_minutes(sums((0, 5, 0)), []) == []
    assert organic_minutes({("Invocations", MONDAY): 5}, []) == []


def test_a_minute_with_a_ping_of_unknown_tokens_tells_nothing():
    assert organic_minutes(sums((0, 9, 90_000)), [ping(30, None)]) == []
    assert organic_minutes(sums((0, 9, 90_000)), [ping(30, Verdict.UNKNOWN)]) == []


@given(
    ours=st.lists(st.floats(0, 590), max_size=8),
    theirs=st.lists(st.integers(0, 9), max_size=8),
    late=st.booleans(),
)
def test_no_minute_without_a_request_of_somebody_else_is_ever_organic(ours, theirs, late):
    found: Sums = {}
    for minute in theirs:
        add(found, minute)
    for seconds in ours:
        add(found, int((seconds + late) // 60))  # counted at its start or at its end
    told = organic_minutes(found, [ping(seconds) for seconds in ours])
    assert set(told) <= {MONDAY + minute * MINUTE for minute in theirs}
    if not ours:
        assert set(told) == {MONDAY + minute * MINUTE for minute in theirs}


def add(found: Sums, minute: int) -> None:
    for name, value in (("Invocations", 1), ("CacheReadInputTokenCount", 5000)):
        place = name, MONDAY + minute * MINUTE
        found[place] = found.get(place, 0) + value
