"""Three daemons on one PostgreSQL, one of which pings: what ends it starts another, and no slot is paid twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from keepwarm.clock import utc_now
from keepwarm.emulator import Emulator
from tests.daemons import SHORTEST_GAP, pings, soon, was_written, write_registry
from tests.postgresql import Postgres
from tests.process.conftest import Child, Home
from tests.proxy import Proxy

NAMES = [f"p{number}" for number in range(8)]
TAKE_OVER = timedelta(seconds=10)


class Fleet:
    """Daemons on one database; each may have a network of its own to it."""

    def __init__(self, home: Home, server: Postgres, stack: ExitStack) -> None:
        self.home, self.server, self._stack = home, server, stack
        self.database = server.new_database()
        write_registry(home.registry, *NAMES)

    def start(self, *, proxy: Proxy | None = None) -> Child:
        url = self.server.url(self.database, proxy.port if proxy else None)
        return self.home.started(ledger_url=url, max_concurrent_pings=4)

    def proxy(self) -> Proxy:
        return self._stack.enter_context(Proxy(self.server.port))

    @property
    def entries(self) -> list[tuple[str, datetime, str, str | None, str | None]]:
        """Prefix, start, run, verdict and request id of each."""
        return self.server.execute(
            "SELECT prefix, started_at, run_id, verdict, request_id FROM intents LEFT JOIN outcomes USING (number) "
            "ORDER BY number",
            self.database,
        )

    def shortest_gap(self) -> timedelta:
        """Between two pings of one prefix, by their stamps, whoever sent them."""
        stamps = {name: sorted(row[1] for row in self.entries if row[0] == name) for name in NAMES}
        return min(late - early for found in stamps.values() for early, late in pairwise(found))


def leads(child: Child) -> bool:
    turns = [line["event"] for line in child.lines if line["event"] in {"leadership_won", "leadership_lost"}]
    return turns[-1:] == ["leadership_won"]


def won_at(child: Child) -> datetime:
    return datetime.fromisoformat(child.told("leadership_won")[-1]["timestamp"])


def writes(emulator: Emulator, name: str) -> int:
    return [was_written(request) for request in pings(emulator, name)].count(True)


def all_pinged_again(emulator: Emulator, times: int = 1) -> bool:
    before = {name: len(pings(emulator, name)) for name in NAMES}
    return soon(lambda: all(len(pings(emulator, name)) >= before[name] + times for name in NAMES), seconds=40)


@pytest.fixture
def fleet(home: Home, postgres: Postgres) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(home, postgres, stack)


def test_a_rolling_deploy_leaves_nothing_cold_and_pings_no_slot_twice(fleet, emulator):
    old = [fleet.start() for _ in range(3)]
    assert soon(lambda: leads(old[0]))
    assert all_pinged_again(emulator)
    for child in old:
        fleet.start()
        assert child.stop() == 0
        assert all_pinged_again(emulator)
    new = fleet.home.children[3:]
    assert [child.stop() for child in new] == [0, 0, 0]
    assert [writes(emulator, name) for name in NAMES] == [1] * len(NAMES)
    assert fleet.shortest_gap() >= SHORTEST_GAP
    entries = fleet.entries
    assert len(entries) == len(emulator.log)
    assert len({run for _, _, run, _, _ in entries}) >= 3  # the lead went from hand to hand
    assert {verdict for _, _, _, verdict, _ in entries} == {"rewrite", "hit"}
    assert not any(child.told("ledger_failed") for child in fleet.home.children)


def test_those_who_stand_by_name_the_leader_and_send_nothing(fleet, emulator):
    first, second = fleet.start(), fleet.start()
    assert soon(lambda: second.told("leader_found"))
    assert f"process {first.process.pid} on " in second.told("leader_found")[0]["leader"]
    assert all_pinged_again(emulator)
    assert not second.told("ping_succeeded")
    assert second.stop() == first.stop() == 0


def lose(how: str, leader: Child, network: Proxy) -> None:
    if how == "killed":
        leader.kill()
    elif how == "stopped":
        leader.signal(signal.SIGSTOP)
    elif how == "cut":
        network.cut()
    else:
        network.swallow()


@pytest.mark.parametrize("how", ["killed", "stopped", "cut", "swallowed"])
def test_a_leader_that_is_lost_is_followed_within_ten_seconds_and_sends_nothing_afterwards(fleet, emulator, how):
    network = fleet.proxy()
    leader = fleet.start(proxy=network)
    others = [fleet.start(), fleet.start()]
    assert soon(lambda: leads(leader))
    assert all_pinged_again(emulator)
    lost = utc_now()
    lose(how, leader, network)
    assert soon(lambda: any(map(leads, others)))
    follower = next(child for child in others if leads(child))
    took = won_at(follower) - lost
    assert took < TAKE_OVER
    assert all_pinged_again(emulator)

    runs = [run for _, _, run, _, _ in fleet.entries]
    if how == "stopped":
        leader.signal(signal.SIGCONT)
    elif how != "killed":
        network.heal()
    if how != "killed":
        assert soon(lambda: leader.told("leadership_lost"), seconds=40)
        assert not leads(leader)
    assert all_pinged_again(emulator)
    later = fleet.entries[len(runs) :]
    assert {run for _, _, run, _, _ in later} == {runs[-1]}  # the follower's alone
    assert_paid_once(fleet, emulator, lost)
    assert [child.stop() for child in others] == [0, 0]


def assert_paid_once(fleet: Fleet, emulator: Emulator, lost: datetime) -> None:
    """Every request has its entry, and around the loss each prefix was pinged at most once more than its slots want."""
    entries = fleet.entries
    for name in NAMES:
        stamps = [at for prefix, at, _, verdict, _ in entries if prefix == name and verdict != "error"]
        assert len([1 for one in emulator.log if one.metadata["prefix"] == name]) <= len(stamps)
        short = [late - early for early, late in pairwise(stamps) if late - early < SHORTEST_GAP]
        assert len(short) <= 1, (name, short)
