"""What the adaptive policy has learnt outlives the daemon, its registry and its own rows; on a real ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import pytest

from keepwarm.keeper import Keeper
from keepwarm.ledger import Ledger
from keepwarm.model import AdaptivePolicy, BusyHoursPolicy, Prefix, Reason, Ttl, Usage
from tests.builders import make_prefix, make_touch
from tests.integration.test_sharing import Runs

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
READ = Usage(3, 1, 5_000, 0)
PREFIX = make_prefix(policy=AdaptivePolicy(), prewarm=False)
OTHER = make_prefix(name="other", policy=AdaptivePolicy(), prewarm=False, fingerprint="f" * 32)


class Story:
    """Daemons one after the other on one ledger, whose requests come every so many minutes."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.runs = Runs(f"sqlite:///{path}", stack)
        self.requests = 0

    def start(self, *prefixes: Prefix) -> tuple[Keeper, Ledger]:
        return self.runs(*prefixes)

    def live(
        self, run: tuple[Keeper, Ledger], *, gap: timedelta = 12 * MINUTE, times: int = 60, of: Prefix = PREFIX
    ) -> None:
        keeper, ledger = run
        for _ in range(times):
            self.runs.wall.at += gap
            self.requests += 1
            touch = make_touch(of, self.requests, started_at=self.runs.wall.at, usage=READ)
            self.runs.listen(keeper, ledger, touch)

    def pings(self, run: tuple[Keeper, Ledger], of: Prefix = PREFIX) -> int:
        """How many pings are sent until the prefix is let go."""
        keeper, _ = run
        before = len(self.runs.sending.sent)
        for _ in range(50):
            decision = keeper.tend(of.name)
            if decision.at is None:
                assert decision.reason is Reason.NOT_WORTH_IT
                return len(self.runs.sending.sent) - before
            self.runs.wall.at = max(self.runs.wall.at, decision.at)
        raise AssertionError("it is pinged for ever")

    def end(self, run: tuple[Keeper, Ledger]) -> None:
        assert run[0].drain(timedelta(seconds=1))

    def told(self, name: str) -> list[str]:
        return [event.fields["hint"] for event in self.runs.events if event.name == name]

    def spoil(self, statement: str, *values: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            assert connection.execute(statement, values).rowcount > 0


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with ExitStack() as stack:
        yield Story(tmp_path / "ledger.db", stack)


def pings_without_a_restart(tmp_path: Path) -> int:
    with ExitStack() as stack:
        story = Story(tmp_path / "another.db", stack)
        run = story.start(PREFIX)
        story.live(run)
        return story.pings(run)


def test_what_was_learnt_survives_a_restart_without_looking_at_touches_again(story: Story, tmp_path: Path):
    run = story.start(PREFIX)
    story.live(run)
    story.end(run)
    story.spoil("DELETE FROM touches WHERE started_at < (SELECT max(started_at) FROM touches)")
    again = story.start(PREFIX)
    assert story.pings(again) == pings_without_a_restart(tmp_path) > 3
    assert story.told("learning_lost") == []


def test_a_crash_loses_nothing_that_is_in_the_ledger(story: Story, tmp_path: Path):
    run = story.start(PREFIX)
    story.live(run, times=30)
    run[0].keep()
    story.live(run, times=30)  # and then it is gone, without a word
    again = story.start(PREFIX)
    again[0].keep()
    learnt_anew, _ = again[1].learnt()
    run[0].keep()  # as if it had not crashed
    assert run[1].learnt()[0] == learnt_anew
    assert story.pings(again) == pings_without_a_restart(tmp_path)


def test_what_time_alone_teaches_is_kept_too(story: Story):
    """Sessions that ended are counted as silent after their last request, while nothing more is heard of them."""
    run = story.start(PREFIX, OTHER)
    story.live(run, times=20)
    run[0].keep()
    story.live(run, gap=3 * HOUR, times=10, of=OTHER)
    story.end(run)
    kept, _ = run[1].learnt()
    again = story.start(PREFIX, OTHER)
    again[0].tend(PREFIX.name)
    story.end(again)
    assert again[1].learnt()[0] == kept


def test_what_came_while_another_policy_ruled_is_learnt_all_the_same(story: Story, tmp_path: Path):
    run = story.start(make_prefix(policy=BusyHoursPolicy(), prewarm=False))
    story.live(run)
    run[0].adopt([PREFIX])
    assert story.pings(run) == pings_without_a_restart(tmp_path)


def test_a_policy_that_was_changed_while_nothing_ran_finds_what_was_learnt(story: Story, tmp_path: Path):
    run = story.start(make_prefix(policy=BusyHoursPolicy(), prewarm=False))
    story.live(run)
    story.end(run)
    assert story.pings(story.start(PREFIX)) == pings_without_a_restart(tmp_path)


def test_another_ttl_does_not_begin_from_nothing(story: Story):
    run = story.start(make_prefix(policy=AdaptivePolicy(), prewarm=False))
    story.live(run, gap=2 * HOUR)
    story.end(run)
    hour = make_prefix(policy=AdaptivePolicy(), prewarm=False, ttl=Ttl.ONE_HOUR)
    again = story.start(hour)
    assert story.pings(again, hour) >= 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE learnt SET value = '{\"terms' WHERE fingerprint = ?",
        "UPDATE learnt SET value = '[]' WHERE fingerprint = ?",
        "UPDATE learnt SET value = '{}' WHERE fingerprint = ?",
        "UPDATE learnt SET value = 'null' WHERE fingerprint = ?",
        "DELETE FROM learnt WHERE fingerprint = ?",
    ],
    ids=["cut off", "another shape", "empty", "null", "lost"],
)
@pytest.mark.parametrize("row", [PREFIX.fingerprint, ""], ids=["of the prefix", "of all"])
def test_what_cannot_be_read_back_is_learnt_anew_from_the_touches_and_told_once(story: Story, tmp_path, statement, row):
    run = story.start(PREFIX)
    story.live(run)
    story.end(run)
    story.spoil(statement, row)
    again = story.start(PREFIX)
    assert story.told("learning_lost") == ["it is learnt anew from the touches"]
    assert story.pings(again) == pings_without_a_restart(tmp_path)
    story.end(again)
    story.start(PREFIX)
    assert len(story.told("learning_lost")) == 1


def test_a_row_that_cannot_be_read_of_a_prefix_that_is_gone_is_told_once(story: Story):
    run = story.start(PREFIX, OTHER)
    for prefix in (PREFIX, OTHER):
        story.live(run, times=3, of=prefix)
    story.end(run)
    story.spoil("UPDATE learnt SET value = '{' WHERE fingerprint = ?", OTHER.fingerprint)
    for _ in range(3):
        story.end(story.start(PREFIX))
    assert len(story.told("learning_lost")) == 1


def test_a_thousand_prefixes_are_kept_whole_and_what_could_not_be_written_is_written_later(story: Story):
    prefixes = [make_prefix(name=f"p{number}", fingerprint=f"{number:032x}") for number in range(1_000)]
    run = story.start(*prefixes)
    touches = [make_touch(each, number, started_at=story.runs.wall.at) for number, each in enumerate(prefixes)]
    run[0].hear(touches)
    with closing(sqlite3.connect(story.path)) as connection, connection:
        connection.execute("ALTER TABLE learnt RENAME TO gone")
    run[0].keep()
    assert len(story.told("ledger_failed")) == 1
    with closing(sqlite3.connect(story.path)) as connection, connection:
        connection.execute("ALTER TABLE gone RENAME TO learnt")
    run[0].keep()
    kept, _ = run[1].learnt()
    assert kept.keys() == {"", *(each.fingerprint for each in prefixes)}
    story.start(*prefixes)
    assert story.told("learning_lost") == []
