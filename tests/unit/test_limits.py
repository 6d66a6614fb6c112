"""Turns under a rate limit: never too many in a minute, nobody forgotten, nobody queued past use."""

from __future__ import annotations

from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from keepwarm.limits import RateLimit
from tests.builders import MONDAY

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def most_in_a_minute(turns: list[datetime]) -> int:
    turns = sorted(turns)
    return max(bisect_left(turns, turn + MINUTE) - index for index, turn in enumerate(turns))


def crowd(limit: RateLimit, size: int, now: datetime = MONDAY, deadline: datetime | None = None) -> list[datetime]:
    return [limit.turn("model", f"caller {number}", now, deadline) for number in range(size)]


def test_as_many_as_allowed_go_at_once():
    assert crowd(RateLimit(10), 10) == [MONDAY] * 10


def test_a_larger_crowd_spreads_over_the_coming_minutes():
    turns = [turn - MONDAY for turn in crowd(RateLimit(10), 25)]
    assert turns == [0 * MINUTE] * 10 + [MINUTE + place * 6 * SECOND for place in range(15)]


def test_after_a_quiet_minute_a_crowd_may_go_at_once_again():
    limit = RateLimit(10)
    crowd(limit, 20)
    later = MONDAY + 2 * MINUTE + 54 * SECOND
    assert crowd(limit, 20, later)[:10] == [later] * 10


def test_whoever_asks_again_early_hears_the_same_moment_and_takes_nobodys_turn():
    limit = RateLimit(1)
    crowd(limit, 2)
    told = {limit.turn("model", "caller 1", MONDAY + second * SECOND, None) for second in range(1, 60)}
    assert told == {MONDAY + MINUTE}
    assert limit.turn("model", "caller 2", MONDAY + 59 * SECOND, None) == MONDAY + 2 * MINUTE


def test_whoever_comes_at_its_moment_goes_and_then_stands_in_line_again():
    limit = RateLimit(1)
    crowd(limit, 2)
    assert limit.turn("model", "caller 1", MONDAY + MINUTE, None) <= MONDAY + MINUTE
    assert limit.turn("model", "caller 1", MONDAY + MINUTE, None) == MONDAY + 2 * MINUTE


def test_a_turn_that_comes_too_late_is_told_but_not_taken_from_others():
    limit = RateLimit(1)
    crowd(limit, 1)
    assert limit.turn("model", "hurried", MONDAY, MONDAY + MINUTE) == MONDAY + MINUTE
    assert limit.turn("model", "patient", MONDAY, None) == MONDAY + MINUTE


def test_a_turn_before_the_deadline_is_reserved():
    limit = RateLimit(1)
    crowd(limit, 1)
    assert limit.turn("model", "hurried", MONDAY, MONDAY + 61 * SECOND) == MONDAY + MINUTE
    assert limit.turn("model", "patient", MONDAY, None) == MONDAY + 2 * MINUTE


def test_who_has_a_deadline_takes_over_the_next_turn_of_one_who_has_none():
    limit = RateLimit(1)
    assert crowd(limit, 4) == [MONDAY, MONDAY + MINUTE, MONDAY + 2 * MINUTE, MONDAY + 3 * MINUTE]
    later = MONDAY + 30 * SECOND
    assert limit.turn("model", "hurried", later, later + 2 * MINUTE) == MONDAY + MINUTE
    assert limit.turn("model", "hurried too", later, later + MINUTE) == later + 3.5 * MINUTE  # not reserved
    assert limit.turn("model", "caller 1", MONDAY + MINUTE, None) == MONDAY + 4 * MINUTE
    assert limit.turn("model", "hurried", MONDAY + MINUTE, MONDAY + 2 * MINUTE) == MONDAY + MINUTE


def test_a_turn_that_is_about_to_be_used_is_not_taken_over():
    limit = RateLimit(1)
    crowd(limit, 2)
    at = MONDAY + MINUTE
    assert limit.turn("model", "hurried", at, at + SECOND) == at + MINUTE
    assert limit.turn("model", "caller 1", at, None) == at


def test_what_is_taken_over_from_those_who_are_gone_is_nothing():
    limit = RateLimit(1)
    crowd(limit, 3)
    later = MONDAY + 4 * MINUTE
    assert limit.turn("model", "caller", later, None) == later
    assert limit.turn("model", "hurried", later, later + SECOND) == later + MINUTE


def test_who_comes_late_for_many_turns_at_once_still_keeps_to_the_limit():
    limit = RateLimit(10)
    crowd(limit, 30)
    late = MONDAY + 2 * MINUTE - SECOND  # the ten of this minute are all there by now
    names = [f"caller {number}" for number in range(10, 30)]
    went = [name for name in names if limit.turn("model", name, late, None) <= late]
    assert len(went) == 10
    told = {limit.turn("model", name, late, None) for name in names if name not in went}
    assert min(told) == late + SECOND  # reserved, and not come for yet
    at = late + MINUTE - SECOND
    assert limit.turn("model", names[-1], at, None) == late + MINUTE


def test_what_was_reserved_for_one_who_is_gone_goes_to_the_next_who_asks():
    limit = RateLimit(60)
    crowd(limit, 6000)
    for number in range(60, 6000):
        limit.let_go("model", f"caller {number}", MONDAY)
    at = MONDAY + 2 * MINUTE
    assert limit.turn("model", "newcomer", at, None) == at + SECOND
    assert limit.turn("model", "another", at, at + 10 * SECOND) == at + 2 * SECOND
    limit.let_go("model", "nobody", at)
    limit.let_go("nothing", "nobody", at)


def test_who_has_a_turn_far_ahead_and_now_a_deadline_gets_one_in_time_and_the_other_gets_his():
    limit = RateLimit(1)
    turns = crowd(limit, 30)
    at, deadline = MONDAY + 30 * SECOND, MONDAY + 5 * MINUTE
    assert limit.turn("model", "caller 29", at, deadline) == turns[1]
    assert limit.turn("model", "caller 1", at, None) == turns[29]
    assert limit.turn("model", "caller 29", at, None) == turns[1]
    assert limit.turn("model", "caller 28", at, at + SECOND) == turns[28]  # nothing is in time; his place he keeps


def test_keys_do_not_share_turns():
    limit = RateLimit(1)
    assert [limit.turn(key, "caller", MONDAY, None) for key in "abc"] == [MONDAY] * 3


def test_a_reservation_nobody_came_for_lapses():
    limit = RateLimit(2)
    crowd(limit, 40)
    tomorrow = MONDAY + 24 * HOUR
    assert sum(turn <= tomorrow for turn in crowd(limit, 40, tomorrow)) == 2


def test_a_clock_set_back_does_not_block_until_it_has_caught_up():
    limit = RateLimit(2)
    crowd(limit, 10)
    earlier = MONDAY - 5 * HOUR
    assert crowd(limit, 3, earlier) == [earlier, earlier, earlier + MINUTE]


def test_clocks_read_by_threads_in_another_order_change_nothing():
    limit = RateLimit(2)
    assert crowd(limit, 2) == [MONDAY] * 2
    assert limit.turn("model", "late", MONDAY - SECOND, None) == MONDAY + MINUTE


def test_a_clock_set_forward_lets_everybody_go_on():
    limit = RateLimit(2)
    crowd(limit, 2)
    assert crowd(limit, 2, MONDAY + 5 * HOUR) == [MONDAY + 5 * HOUR] * 2


@given(
    per_minute=st.integers(1, 8),
    arrivals=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 90), st.none() | st.integers(1, 200)), max_size=60),
)
@example(1, [(0, 0, None), (0, 0, None), (1, 17, None), (0, 90, 14), (1, 74, None), (0, 59, None)])
def test_no_minute_sees_more_than_the_limit(per_minute, arrivals):
    """Callers who come when they are told to, as the scheduler does, and ask anew as often as they like."""
    limit, now, went = RateLimit(per_minute), MONDAY, []
    waiting: dict[str, tuple[datetime, datetime | None]] = {}
    for number, pause, patience in arrivals:
        now += pause * SECOND
        due = sorted((at, name) for name, (at, _) in waiting.items() if at <= now)
        for at, name in due:
            deadline = waiting.pop(name)[1]
            turn = limit.turn("model", name, at, deadline)
            if turn <= at:
                went.append(at)
            else:
                waiting[name] = (turn, deadline)
        name, deadline = f"caller {number}", now + patience * SECOND if patience else None
        turn = limit.turn("model", name, now, deadline)
        if turn <= now:
            went.append(now)
            waiting.pop(name, None)
        else:
            waiting[name] = (turn, deadline)
    assert not went or most_in_a_minute(went) <= per_minute


def test_many_threads_share_one_limit():
    limit = RateLimit(50)
    with ThreadPoolExecutor(16) as pool:
        turns = list(pool.map(lambda number: limit.turn("model", f"{number}", MONDAY, None), range(400)))
    assert most_in_a_minute(turns) == 50
    assert max(turns) == MONDAY + MINUTE + 349 * MINUTE / 50
