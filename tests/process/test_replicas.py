"""Three daemons on one PostgreSQL, one of which pings: what ends it starts another, and no slot is paid twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from keepwarm.clock import utc_now
from tests.daemons import soon
from tests.fleet import LOSSES, Fleet, follower, leads, lose
from tests.postgresql import Postgres
from tests.processes import Home

NAMES = [f"p{number}" for number in range(20)]
TAKE_OVER = timedelta(seconds=10)


@pytest.fixture
def fleet(home: Home, postgres: Postgres) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(home, postgres, stack, NAMES)


def test_a_rolling_deploy_under_load_leaves_nothing_cold_and_pings_no_slot_twice(fleet, emulator):
    old = [fleet.start() for _ in range(3)]
    fleet.put_under_load()
    fleet.wait_until_pinged()
    opened = utc_now()
    for child in old:
        fleet.start()
        assert child.stop() == 0
        fleet.wait_until_pinged()
    assert [child.stop() for child in fleet.home.children[3:]] == [0, 0, 0]
    assert fleet.cold(opened) == 0
    assert fleet.short_gaps() == {}
    entries = fleet.entries
    assert len(entries) == len(emulator.log)
    assert {verdict for _, _, _, verdict in entries} == {"rewrite", "hit"}
    assert len({run for _, _, run, _ in entries}) >= 3  # the lead went from hand to hand
    assert fleet.touches > 100
    assert not any(child.told("ledger_failed") for child in fleet.home.children)
    assert "unasked-secret" not in fleet.home.logs


def test_those_who_stand_by_name_the_leader_and_send_nothing(fleet):
    first, second = fleet.start(), fleet.start()
    assert soon(lambda: second.told("leader_found"))
    assert f"process {first.process.pid} on " in second.told("leader_found")[0]["leader"]
    fleet.wait_until_pinged()
    assert not second.told("ping_succeeded")
    assert second.stop() == first.stop() == 0


@pytest.mark.parametrize("how", LOSSES)
def test_a_leader_that_is_lost_is_followed_within_ten_seconds_and_sends_nothing_afterwards(fleet, emulator, how):
    network = fleet.proxy()
    leader, others = fleet.start(proxy=network), [fleet.start(), fleet.start()]
    assert soon(lambda: leads(leader))
    fleet.wait_until_pinged()
    lost = utc_now()
    lose(how, leader, network)
    new, took = follower(others, lost)
    assert took < TAKE_OVER
    fleet.wait_until_pinged()

    before = fleet.entries
    if how == "stopped":
        leader.signal(signal.SIGCONT)
    elif how != "killed":
        network.heal()
    if how != "killed":
        assert soon(lambda: leader.told("leadership_lost"), seconds=40)
    fleet.wait_until_pinged()
    assert {run for _, _, run, _ in fleet.entries[len(before) :]} == {before[-1][2]}  # the new one's alone
    assert leads(new)
    assert not leads(leader) or how == "killed"
    assert [child.stop() for child in others] == [0, 0]
    assert all(times == 1 for times in fleet.short_gaps().values())
    assert len(emulator.log) <= len(fleet.entries)
