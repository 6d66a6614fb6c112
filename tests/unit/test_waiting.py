"""Who goes next of those that wait for a worker."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from keepwarm.waiting import Waiting
from tests.builders import MONDAY

SECOND = timedelta(seconds=1)


def taken(waiting: Waiting, now=MONDAY) -> list[str]:
    names = []
    while run := waiting.take(now):
        names.append(run[0])
    return names


def test_the_one_that_dies_first_goes_first_and_the_dead_and_unknown_go_last_as_they_came():
    waiting = Waiting()
    for number, (name, seconds) in enumerate(
        {"unknown": None, "far": 30, "dead": -5, "near": 2, "dead too": 0, "unknown too": None}.items()
    ):
        waiting.add(name, number, None if seconds is None else MONDAY + seconds * SECOND)
    assert taken(waiting) == ["near", "far", "unknown", "unknown too", "dead", "dead too"]


def test_what_dies_while_it_waits_goes_to_the_end():
    waiting = Waiting()
    waiting.add("dies", 1, MONDAY + SECOND)
    waiting.add("lives", 2, MONDAY + 9 * SECOND)
    assert taken(waiting, MONDAY + 2 * SECOND) == ["lives", "dies"]


def test_what_is_discarded_waits_no_more_and_its_next_run_does():
    waiting = Waiting()
    waiting.add("a", 1, MONDAY + SECOND)
    waiting.add("b", 2, None)
    waiting.discard("a", 1)
    waiting.discard("b", 2)
    waiting.add("a", 3, None)
    assert waiting.all == {("a", 3)}
    assert waiting.take(MONDAY) == ("a", 3)
    assert waiting.take(MONDAY) is None


@given(st.lists(st.none() | st.integers(-5, 60), max_size=30), st.lists(st.integers(0, 20), max_size=60))
def test_everyone_goes_once_and_no_living_one_behind_a_dead_one(expiries, pauses):
    waiting, now, left = Waiting(), MONDAY, {}
    for number, seconds in enumerate(expiries):
        left[number] = None if seconds is None else MONDAY + seconds * SECOND
        waiting.add("p", number, left[number])
    for pause in pauses:
        now += pause * SECOND
        living = [expiry for expiry in left.values() if expiry and expiry > now]
        run = waiting.take(now)
        assert (run is None) == (not left)
        if run:
            gone = left.pop(run[1])
            assert gone == min(living) if living else gone is None or gone <= now


def test_what_waits_no_more_does_not_pile_up():
    waiting, alive = Waiting(), MONDAY + timedelta(hours=1)
    for number in range(5_000):
        waiting.add("dead", 2 * number, None)
        waiting.add("alive", 2 * number + 1, alive)
        waiting.take(MONDAY)
        waiting.discard("dead", 2 * number)
    assert len(vars(waiting)["_others"]) < 300
    assert taken(waiting) == []
