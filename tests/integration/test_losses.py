"""The tripwire on a real ledger: a proven loss stops a prefix, a blind one goes on, and what tripped stays so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from keepwarm import losses
from keepwarm.gate import Gate
from keepwarm.keeper import Keeper
from keepwarm.ledger import Ledger
from keepwarm.limits import RateLimit
from keepwarm.model import Action, Event, GuardState, Limits, Prefix, Reason, Usage, Verdict
from tests.builders import make_entry, make_intent, make_prefix, make_touch
from tests.integration.test_keeper import READ, Pinger, Wall

USD, HOUR, DAY = Decimal, timedelta(hours=1), timedelta(days=1)
PREFIX = make_prefix(limits=replace(Limits(), tripwire_usd=USD("0.5")))
HIT = Usage(100, 10, 5_000, 0)


class House:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.wall = Wall()
        self.events: list[Event] = []
        self.restart()

    def restart(self) -> None:
        self.gate = Gate(observers=[self.events.append])
        self.keeper = Keeper(
            pinger=Pinger(READ), book=self.ledger, run_id=f"run-{len(self.events)}", now=self.wall, gate=self.gate,
            rate=RateLimit(1000),
        )  # fmt: skip

    def pings(self, days: float, each_usd: str = "0.0017", prefix: Prefix = PREFIX) -> None:
        """A hit every four minutes of the last days."""
        at = self.wall.at - days * DAY
        while at < self.wall.at:
            number = self.ledger.open_entry(make_intent(prefix, started_at=at), "before")
            self.ledger.close_entry(number, make_entry(prefix, started_at=at, cost_usd=USD(each_usd)).outcome)
            at += timedelta(minutes=4)

    def traffic(self, count: int, usage: Usage | None = HIT, prefix: Prefix = PREFIX) -> None:
        """Requests in the last days, hours apart, each after a ping."""
        moments = [self.wall.at - timedelta(hours=1 + number) for number in range(count)]
        told = [
            make_touch(prefix, f"{number}-{self.wall.at}-{usage is None}", started_at=at, usage=usage)
            for number, at in enumerate(moments)
        ]
        self.ledger.add_touches(told)

    def watch(self, prefix: Prefix = PREFIX) -> tuple[GuardState, list[str]]:
        self.keeper.adopt([prefix])
        statuses = losses.look(self.ledger, [prefix], self.keeper.state, self.wall.at)
        return statuses[0].state, losses.heed(self.ledger, self.gate, statuses, self.wall.at)

    def told(self, name: str) -> int:
        return sum(event.name == name for event in self.events)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        yield House(ledger)


def test_a_prefix_that_lost_more_than_its_tripwire_stops_itself_with_the_figures(house):
    house.pings(2)
    house.traffic(3)
    assert house.watch() == (GuardState.TRIPPED, ["support-bot"])
    decision = house.keeper.tend("support-bot")
    assert (decision.action, decision.reason) == (Action.LEAVE, Reason.TRIPPED)
    assert decision.detail.startswith(
        "tripwire $0.50: pings cost $1.224 in seven days and are proven to have saved $0."
    )
    assert house.told("guard_tripped") == 1
    assert house.watch() == (GuardState.TRIPPED, [])


def test_traffic_that_is_worth_the_pings_trips_nothing(house):
    house.pings(2)
    house.traffic(47)
    assert house.watch() == (GuardState.OK, [])


@pytest.mark.parametrize("usage", ["none", "no touches"])
def test_a_blind_prefix_goes_on_however_much_it_cost(house, usage):
    house.pings(7)
    if usage == "none":
        house.traffic(20, usage=None)
    assert house.watch() == (GuardState.BLIND, [])
    assert house.keeper.tend("support-bot").reason is Reason.KEEP_WARM


def test_what_has_tripped_stays_so_over_a_restart_and_without_traffic_until_traffic_shows_otherwise(house):
    house.pings(2)
    house.traffic(3)
    house.watch()
    house.restart()
    house.wall.advance(8 * DAY)  # nothing of the loss is in the window any more, and nobody told of requests
    assert house.watch() == (GuardState.TRIPPED, ["support-bot"])
    house.traffic(1)
    assert house.watch() == (GuardState.OK, ["support-bot"])
    assert house.told("guard_recovered") == 1
    house.restart()
    assert house.watch()[0] is GuardState.OK


def test_a_tripwire_that_somebody_raised_is_judged_afresh(house):
    house.pings(2)
    house.traffic(3)
    house.watch()
    raised = replace(PREFIX, limits=replace(PREFIX.limits, tripwire_usd=USD(5)))
    assert house.watch(raised) == (GuardState.OK, ["support-bot"])
    assert house.keeper.tend("support-bot").reason is Reason.KEEP_WARM


def test_a_prefix_that_was_never_pinged_and_never_told_of_is_blind(house):
    assert house.watch() == (GuardState.BLIND, [])


def test_provisioned_throughput_loses_no_money(house):
    provisioned = replace(PREFIX, provisioned=True)
    house.pings(3, prefix=provisioned)
    house.traffic(3, prefix=provisioned)
    assert house.watch(provisioned) == (GuardState.OK, [])


def test_unknown_pings_count_at_their_high_price(house):
    for hours in range(40):
        at = house.wall.at - hours * HOUR
        number = house.ledger.open_entry(make_intent(PREFIX, started_at=at - HOUR), "before")
        outcome = make_entry(PREFIX, Verdict.UNKNOWN, started_at=at, cost_usd=USD("0.02"), retryable=True).outcome
        house.ledger.close_entry(number, outcome)
    house.traffic(3, usage=Usage(5, 1, 0, 5_000))
    assert house.watch()[0] is GuardState.TRIPPED
