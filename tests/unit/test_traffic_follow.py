from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from keepwarm.errors import Throttled, Unavailable
from keepwarm.model import Event
from keepwarm.touches import MAX_AGE
from keepwarm.traffic.follow import Follower, Portion

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Script:
    """A source that follows a script: each poll takes its next step, an error or portions."""

    name = "script"

    def __init__(self, *steps: Exception | list[Portion]) -> None:
        self.steps = list(steps)
        self.asked: list[datetime] = []

    def read(self, since: datetime, now: datetime) -> Iterator[Portion]:
        self.asked.append(since)
        step = self.steps.pop(0) if self.steps else [Portion(until=now)]
        if isinstance(step, Exception):
            raise step
        yield from step


class Memory(dict[str, str]):
    """Cursors in memory."""

    def cursor(self, source: str) -> str | None:
        return self.get(source)

    def set_cursor(self, source: str, value: str, at: datetime) -> None:
        assert at == NOW
        self[source] = value


def follow(source: Script, cursors: Memory, events: list[Event] | None = None, seconds: float = 15) -> Follower:
    tell = events.append if events is not None else list[Event]().append
    return Follower(source, cursors, now=lambda: NOW, tell=tell, poll=timedelta(seconds=seconds))


def poll(follower: Follower, stop: threading.Event | None = None) -> bool:
    return follower.poll(stop or threading.Event(), lambda _: None)


@pytest.mark.parametrize(
    ("cursor", "since"),
    [
        (None, NOW - HOUR),
        ("2026-11-22T11:55:00+00:00", NOW - timedelta(minutes=5)),
        ("2026-11-22T12:55:00+01:00", NOW - timedelta(minutes=5)),
        ("2026-11-01T00:00:00+00:00", NOW - MAX_AGE),
        ("2026-11-22T11:55:00", NOW - HOUR),
        ("2026-11-23T00:00:00+00:00", NOW - HOUR),
        ("damaged", NOW - HOUR),
    ],
)
def test_it_reads_on_from_its_cursor_if_that_makes_sense(cursor, since):
    source = Script()
    poll(follow(source, Memory(script=cursor) if cursor else Memory()))
    assert source.asked == [since]


def test_the_cursor_moves_to_where_everything_is_told_and_no_further():
    cursors = Memory()
    early, late = NOW - HOUR, NOW - timedelta(minutes=30)
    assert poll(follow(Script([Portion(until=early), Portion(), Portion(until=late)]), cursors))
    assert cursors == {"script": late.isoformat()}


def test_a_stop_ends_a_long_reading_between_two_portions():
    stop, cursors = threading.Event(), Memory()
    stop.set()
    poll(follow(Script([Portion(until=NOW - HOUR), Portion(until=NOW)]), cursors), stop)
    assert cursors == {"script": (NOW - HOUR).isoformat()}


def test_failures_are_told_once_for_each_turn_and_slow_it_down():
    events: list[Event] = []
    steps = [Throttled("slow down"), Throttled("again"), Unavailable("away"), Unavailable("away")]
    follower = follow(Script(*steps), Memory(), events)
    pauses = []
    for _ in range(6):
        poll(follower)
        pauses.append(follower.pause.total_seconds())
    assert pauses == [30, 60, 120, 240, 15, 15]
    assert [(event.name, event.fields.get("error_code")) for event in events] == [
        ("traffic_source_failed", "throttled"),
        ("traffic_source_failed", "unavailable"),
        ("traffic_source_recovered", None),
    ]


def test_it_never_rests_longer_than_five_minutes_unless_it_was_told_to():
    often, seldom = (follow(Script(*[Unavailable("away")] * 40), Memory(), seconds=s) for s in (1, 900))
    for _ in range(40):
        poll(often)
        poll(seldom)
    assert (often.pause, seldom.pause) == (timedelta(minutes=5), timedelta(minutes=15))


def test_its_tally_adds_up_over_polls():
    follower = follow(Script([Portion(skipped={"ours": 2})], [Portion(skipped={"ours": 1, "truncated": 1})]), Memory())
    poll(follower)
    poll(follower)
    assert follower.tally == {"ours": 3, "truncated": 1, "touches": 0}
