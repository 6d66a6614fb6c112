"""The scheduler on the real APScheduler and the real clock; each call waits for an event of the test, none for time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from queue import Queue

import pytest

from keepwarm.clock import utc_now
from keepwarm.model import Action, Decision, Reason
from keepwarm.scheduler import AT_ONCE, Scheduler
from tests.daemons import kill_scheduler, soon

PATIENCE_SECONDS = 10
LEAVE = Decision(Action.LEAVE, None, Reason.STOPPED)
HOUR = timedelta(hours=1)


def come_again(after: timedelta) -> Decision:
    return Decision(Action.WAIT, utc_now() + after, Reason.KEEP_WARM)


class Tending:
    """What is tended, in the order of its beginning; what comes of it is the test's."""

    def __init__(self) -> None:
        self.begun: Queue[str] = Queue()
        self.outcomes: dict[str, Callable[[], Decision]] = {}
        self.most_at_once: Counter[str] = Counter()
        self._at_once: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> Decision:
        with self._lock:
            self._at_once[name] += 1
            self.most_at_once[name] = max(self.most_at_once[name], self._at_once[name])
        self.begun.put(name)
        try:
            return self.outcomes.get(name, lambda: LEAVE)()
        finally:
            with self._lock:
                self._at_once[name] -= 1

    def wait_for(self, count: int) -> list[str]:
        """The names of the next calls."""
        return [self.begun.get(timeout=PATIENCE_SECONDS) for _ in range(count)]


class Gate:
    """Holds calls until it is opened."""

    def __init__(self, then: Callable[[], Decision] = lambda: LEAVE) -> None:
        self._open = threading.Event()
        self._then = then

    def __call__(self) -> Decision:
        assert self._open.wait(PATIENCE_SECONDS)
        return self._then()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def tending() -> Tending:
    return Tending()


@pytest.fixture
def expiries() -> dict[str, datetime]:
    """When the entries of prefixes die; nothing is known of those that are not here."""
    return {}


@pytest.fixture
def scheduler(tending: Tending, expiries: dict[str, datetime]) -> Iterator[Scheduler]:
    scheduler = Scheduler(tending, 2, utc_now, expiries.get)
    scheduler.start()
    yield scheduler
    scheduler.close()


def test_jobs_that_wait_long_for_a_worker_are_late_but_not_lost(tending, scheduler):
    gate = Gate()
    names = [f"p{number}" for number in range(12)]
    tending.outcomes = dict.fromkeys(names, gate)
    for name in names:
        scheduler.arm(name, utc_now() - timedelta(seconds=30))
    assert len(tending.wait_for(2)) == 2  # two workers, and ten that are late by more than APScheduler's own grace
    gate.open()
    tending.wait_for(10)
    assert tending.most_at_once == Counter(names)


def test_what_waits_for_a_worker_is_armed_until_it_was_tended(tending, scheduler):
    gate = Gate()
    names = ["a", "b", "c", "d"]
    tending.outcomes = dict.fromkeys(names, gate)
    for name in names:
        scheduler.arm(name)
    tending.wait_for(2)
    assert scheduler.armed == set(names)
    gate.open()
    tending.wait_for(2)
    assert soon(lambda: not scheduler.armed)


def test_where_workers_are_few_the_living_go_before_the_dead(tending, scheduler, expiries):
    gate = Gate()
    tending.outcomes = {"busy": gate, "busy too": gate}
    scheduler.arm_all(tending.outcomes)
    tending.wait_for(2)
    now = utc_now()
    expiries |= {"dead": now - HOUR, "far": now + 2 * HOUR, "near": now + HOUR}
    names = ["unknown", "dead", "far", "near"]
    scheduler.arm_all(names)
    assert soon(lambda: scheduler.waiting == len(names))
    gate.open()
    assert set(tending.wait_for(2)) == {"near", "far"}
    assert set(tending.wait_for(2)) == {"unknown", "dead"}


def test_of_many_that_are_armed_together_none_is_tended_before_all_are_armed(tending, scheduler):
    begun_at_each: list[int] = []

    class Names(list):
        def __iter__(self):
            for name in super().__iter__():
                begun_at_each.append(tending.begun.qsize())
                yield name
            assert not soon(tending.begun.qsize, 0.3)

    scheduler.arm_all(Names(f"p{number}" for number in range(200)))
    assert set(begun_at_each) == {0}
    assert sorted(tending.wait_for(200)) == sorted(f"p{number}" for number in range(200))


def test_arming_many_after_closing_does_nothing(tending, scheduler):
    scheduler.close()
    scheduler.arm_all(["a", "b"])
    assert not scheduler.armed


def test_a_moment_that_has_passed_means_now(tending, scheduler):
    scheduler.arm("a", AT_ONCE)
    assert tending.wait_for(1) == ["a"]


def test_a_prefix_is_tended_again_when_its_decision_says_so(tending, scheduler):
    decisions = iter([come_again(timedelta(milliseconds=1)), come_again(timedelta(0)), LEAVE])
    tending.outcomes["a"] = lambda: next(decisions)
    scheduler.arm("a", utc_now())
    assert tending.wait_for(3) == ["a"] * 3
    assert soon(lambda: not scheduler.armed)
    assert tending.begun.empty()


def test_a_call_that_ends_at_once_keeps_its_next_moment_however_often(tending, scheduler):
    # APScheduler calls back in its own thread when the worker was quicker, and then removes the job by its id.
    left = dict.fromkeys("abcd", 200)

    def count_down(name: str) -> Decision:
        left[name] -= 1
        return come_again(timedelta(0)) if left[name] else LEAVE

    tending.outcomes = {name: partial(count_down, name) for name in left}
    for name in left:
        scheduler.arm(name, utc_now())
    tending.wait_for(800)
    assert soon(lambda: not scheduler.armed)
    assert set(left.values()) == {0}


def test_arming_from_many_threads_while_calls_end_locks_nothing_up(tending, scheduler):
    names = [f"p{number}" for number in range(8)]
    tending.outcomes = dict.fromkeys(names, lambda: come_again(timedelta(milliseconds=1)))

    def arm_often(name: str) -> None:
        for _ in range(200):
            scheduler.arm(name, utc_now())
            scheduler.armed  # noqa: B018 - it takes the locks of both
        scheduler.disarm(name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(arm_often, names))
    assert soon(lambda: not scheduler.armed)
    assert set(tending.most_at_once.values()) == {1}


def test_arming_what_waits_for_a_worker_neither_delays_it_nor_runs_it_twice(tending, scheduler):
    gate = Gate()
    tending.outcomes = {"a": gate, "b": gate}
    for name in ("a", "b", "c", "d"):
        scheduler.arm(name, utc_now())
    tending.wait_for(2)
    for _ in range(3):
        scheduler.arm("c", utc_now())
    gate.open()
    assert sorted(tending.wait_for(2)) == ["c", "d"]
    assert soon(lambda: not scheduler.armed)
    assert tending.begun.empty()


def test_what_is_armed_while_it_runs_runs_once_more_and_never_at_the_same_time(tending, scheduler):
    gate = Gate(lambda: come_again(HOUR))
    tending.outcomes["a"] = gate
    scheduler.arm("a", utc_now())
    tending.wait_for(1)
    for _ in range(5):
        scheduler.arm("a", utc_now())
    gate.open()
    assert tending.wait_for(1) == ["a"]
    assert soon(lambda: scheduler.armed == {"a"})
    assert tending.most_at_once["a"] == 1
    assert tending.begun.empty()


def test_what_is_armed_while_it_runs_is_not_forgotten_when_that_run_wants_no_other(tending, scheduler):
    gate = Gate()
    tending.outcomes["a"] = gate
    scheduler.arm("a", utc_now())
    tending.wait_for(1)
    scheduler.arm("a", utc_now())
    gate.open()
    assert tending.wait_for(1) == ["a"]


def test_the_decision_counts_when_it_is_sooner_than_what_was_armed_meanwhile(tending, scheduler):
    gate = Gate(lambda: come_again(timedelta(0)))
    tending.outcomes["a"] = gate
    scheduler.arm("a", utc_now())
    tending.wait_for(1)
    scheduler.arm("a", utc_now() + HOUR)
    gate.open()
    assert tending.wait_for(1) == ["a"]


def test_a_call_that_raises_ends_its_own_prefix_and_no_other(tending, scheduler):
    def fail() -> Decision:
        raise RuntimeError("a bug")

    decisions = iter([come_again(timedelta(milliseconds=50)), LEAVE])
    tending.outcomes = {"bad": fail, "good": lambda: next(decisions)}
    scheduler.arm("good", utc_now())
    scheduler.arm("bad", utc_now())
    assert sorted(tending.wait_for(3)) == ["bad", "good", "good"]
    assert soon(lambda: not scheduler.armed)
    assert scheduler.alive
    scheduler.arm("bad", utc_now())
    assert tending.wait_for(1) == ["bad"]


def test_a_disarmed_prefix_is_not_tended(tending, scheduler):
    scheduler.arm("a", utc_now() + HOUR)
    assert scheduler.armed == {"a"}
    scheduler.disarm("a")
    scheduler.disarm("a")
    scheduler.disarm("never seen")
    assert scheduler.armed == frozenset()


def test_a_prefix_disarmed_while_it_runs_does_not_come_back(tending, scheduler):
    gate = Gate(lambda: come_again(timedelta(0)))
    tending.outcomes["a"] = gate
    scheduler.arm("a", utc_now())
    tending.wait_for(1)
    scheduler.arm("a", utc_now())
    scheduler.disarm("a")
    gate.open()
    scheduler.arm("b", utc_now())
    assert tending.wait_for(1) == ["b"]
    assert soon(lambda: not scheduler.armed)
    assert tending.begun.empty()


def test_disarming_at_the_moment_of_firing_raises_nothing(tending, scheduler):
    for number in range(300):
        scheduler.arm(f"p{number}", utc_now())
        scheduler.disarm(f"p{number}")
    assert soon(lambda: not scheduler.armed)


def test_a_prefix_that_runs_is_armed_and_one_that_was_left_alone_is_not(tending, scheduler):
    gate = Gate()
    tending.outcomes["a"] = gate
    scheduler.arm("a", utc_now())
    tending.wait_for(1)
    assert scheduler.armed == {"a"}
    gate.open()
    assert soon(lambda: not scheduler.armed)


def test_housekeeping_runs_while_every_worker_is_busy(tending, scheduler):
    gate, kept = Gate(), threading.Event()
    tending.outcomes = {"a": gate, "b": gate}
    for name in "ab":
        scheduler.arm(name, utc_now())
    tending.wait_for(2)
    scheduler.every(timedelta(milliseconds=10), kept.set)
    assert kept.wait(PATIENCE_SECONDS)
    gate.open()


def test_housekeeping_that_raises_is_called_again(tending, scheduler):
    calls: Queue[None] = Queue()

    def fail() -> None:
        calls.put(None)
        raise RuntimeError("a bug")

    scheduler.every(timedelta(milliseconds=10), fail)
    for _ in range(3):
        calls.get(timeout=PATIENCE_SECONDS)


def test_after_closing_nothing_fires_and_nothing_can_be_armed(tending, scheduler):
    gate = Gate(lambda: come_again(timedelta(0)))
    tending.outcomes["a"] = gate
    scheduler.arm("a", utc_now())
    tending.wait_for(1)
    scheduler.arm("b", utc_now() + timedelta(milliseconds=50))
    scheduler.close()
    gate.open()
    scheduler.arm("c", utc_now())
    scheduler.close()
    assert not scheduler.alive
    assert not soon_any(tending)


def soon_any(tending: Tending) -> bool:
    pause = threading.Event()
    pause.wait(0.15)  # nothing is to happen, so there is nothing to wait for
    return not tending.begun.empty()


def test_closing_what_was_never_started_does_nothing(tending):
    scheduler = Scheduler(tending, 1, utc_now, lambda _name: None)
    assert not scheduler.alive
    scheduler.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_scheduler_whose_thread_died_is_not_alive(scheduler):
    assert scheduler.alive
    kill_scheduler()
    scheduler.wake()
    assert soon(lambda: not scheduler.alive)


def test_what_is_handed_to_busy_workers_does_not_pile_up(tending, scheduler):
    gate, names = Gate(), [f"p{number}" for number in range(20)]
    tending.outcomes = dict.fromkeys(names, gate)
    for _ in range(200):
        scheduler.arm_all(names)
    assert vars(vars(scheduler)["_workers"])["_work_queue"].qsize() <= 2
    gate.open()
    assert set(tending.wait_for(20)) == set(names)
