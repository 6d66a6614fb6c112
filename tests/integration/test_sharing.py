"""Two runs of keepwarm on one ledger: each learns what the other sent and heard, once, and only one of them sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count

import psycopg
import pytest

from keepwarm.errors import LedgerError
from keepwarm.keeper import Keeper
from keepwarm.ledger import Ledger
from keepwarm.limits import RateLimit
from keepwarm.model import Action, Answer, Event, Outcome, Prefix, Reason, Touch, Usage, Verdict
from tests.builders import MONDAY, make_intent, make_prefix, make_touch

MINUTE = timedelta(minutes=1)
PREFIX = make_prefix()


class Wall:
    """A clock on the wall whose hands the test turns."""

    def __init__(self) -> None:
        self.at = MONDAY

    def __call__(self) -> datetime:
        return self.at


class Sending:
    """Answers in place of Bedrock, and remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def ping(self, prefix: Prefix) -> Answer:
        self.sent.append(prefix.name)
        return Answer(Usage(3, 1, 5_000, 0))


class Runs:
    """Keepers, each with the ledger opened for itself."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.wall, self.sending = Wall(), Sending()
        self.events: list[Event] = []
        self._url, self._stack, self._numbers = url, stack, count(1)

    def __call__(self, *prefixes: Prefix) -> tuple[Keeper, Ledger]:
        ledger = self._stack.enter_context(Ledger.open(self._url))
        keeper = Keeper(
            pinger=self.sending,
            book=ledger,
            run_id=f"run-{next(self._numbers)}",
            now=self.wall,
            rate=RateLimit(600),
            observers=[self.events.append],
        )
        keeper.adopt(prefixes or [PREFIX])
        return keeper, ledger

    def listen(self, keeper: Keeper, ledger: Ledger, touch: Touch) -> None:
        """Take a touch in as the listener does."""
        assert ledger.add_touches([touch])
        keeper.hear([touch])


@pytest.fixture
def runs(ledger_url: str) -> Iterator[Runs]:
    with ExitStack() as stack:
        yield Runs(ledger_url, stack)


def test_one_that_stands_by_sends_nothing_and_says_why(runs: Runs):
    keeper, _ = runs()
    keeper.stand_by()
    for _ in range(5):
        decision = keeper.tend(PREFIX.name)
        assert (decision.action, decision.at, decision.reason) == (Action.LEAVE, None, Reason.STANDING_BY)
        assert keeper.look(PREFIX.name) == decision
        runs.wall.at += MINUTE
    assert runs.sending.sent == []
    keeper.lead()
    assert keeper.tend(PREFIX.name).reason is Reason.KEEP_WARM
    assert runs.sending.sent == [PREFIX.name]


def test_one_that_takes_over_knows_what_was_sent_and_does_not_send_it_again(runs: Runs):
    (leader, _), (other, _) = runs(), runs()
    other.stand_by()
    leader.tend(PREFIX.name)
    runs.wall.at += MINUTE
    leader.stand_by()
    other.lead()
    decision = other.tend(PREFIX.name)
    assert len(runs.sending.sent) == 1
    assert decision.warm_until == MONDAY + PREFIX.lifetime
    assert other.state(PREFIX.name) == leader.state(PREFIX.name)


def test_one_that_takes_over_counts_a_ping_in_flight_as_sent_and_learns_later_what_became_of_it(runs: Runs):
    (_, ledger), (other, _) = runs(), runs()
    other.stand_by()
    number = ledger.open_entry(make_intent(PREFIX, started_at=MONDAY), "died")
    other.lead()
    assert other.tend(PREFIX.name).warm_until == MONDAY + PREFIX.lifetime
    assert runs.sending.sent == []
    unsent = {"error_code": "ledger_unavailable", "retryable": True}
    ledger.close_entry(number, replace(refused(), **unsent))
    assert other.refresh() == [PREFIX.name]
    assert other.state(PREFIX.name).touched_at is None


def refused() -> Outcome:
    return Outcome(MONDAY, Verdict.ERROR, Decimal(0))


def test_one_that_cannot_read_the_ledger_does_not_take_over(runs: Runs):
    keeper, ledger = runs()
    keeper.stand_by()
    engine = ledger._engine  # noqa: SLF001 - nothing public breaks a table
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE touches RENAME TO elsewhere")
    with pytest.raises(LedgerError):
        keeper.lead()
    assert keeper.tend(PREFIX.name).reason is Reason.STANDING_BY
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO touches")
    keeper.lead()
    assert keeper.tend(PREFIX.name).reason is Reason.KEEP_WARM


def test_what_one_heard_moves_the_ping_of_the_other(runs: Runs):
    (leader, _), (other, heard_by) = runs(), runs()
    leader.tend(PREFIX.name)
    runs.wall.at += 2 * MINUTE
    runs.listen(other, heard_by, make_touch(PREFIX, started_at=runs.wall.at))
    assert leader.refresh() == [PREFIX.name]
    assert leader.look(PREFIX.name).warm_until == runs.wall.at + PREFIX.lifetime
    assert leader.refresh() == []  # once


def test_each_touch_of_others_is_heard_once_however_many_and_in_whatever_order_they_appear(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
):
    heard: list[str] = []
    keeper, _ = runs()
    other, ledger = runs()
    inner = keeper.hear
    monkeypatch.setattr(keeper, "hear", lambda touches: inner([heard.append(t.request_id) or t for t in touches]))
    told = [make_touch(PREFIX, number, started_at=MONDAY) for number in range(3_500)]
    for start in range(0, len(told), 700):
        ledger.add_touches(told[start : start + 700])
        keeper.refresh()
    keeper.refresh()
    assert sorted(heard) == sorted(touch.request_id for touch in told)
    assert other.refresh() == []  # its own are no news


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
def test_an_entry_that_appears_after_one_with_a_higher_number_is_not_missed(runs: Runs, ledger_url: str):
    (keeper, _), (_, ledger) = runs(), runs()
    late = make_prefix(name="late", fingerprint="1a7e")
    keeper.adopt([PREFIX, late])
    with psycopg.connect(ledger_url.replace("+psycopg", "")) as slow:
        slow.execute(
            "INSERT INTO intents (run_id, prefix, fingerprint, model_id, region, api, ttl, reason, attempt, "
            "started_at, high_cost_usd, provisioned) VALUES ('slow', 'late', '1a7e', 'm', 'r', 'converse', '5m', "
            "'retry', 1, '2026-03-02 08:55Z', '0.1', false)"
        )
        number = ledger.open_entry(make_intent(PREFIX), "quick")
        ledger.close_entry(number, replace(refused(), retryable=True))
        assert keeper.refresh() == [PREFIX.name]
        slow.commit()
    assert keeper.refresh() == ["late"]
    assert keeper.state("late").touched_at == MONDAY - 5 * MINUTE
    assert keeper.refresh() == []
