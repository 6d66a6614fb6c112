"""`keepwarm run` killed without warning, again and again: every request has its entry, and no slot is pinged twice."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from keepwarm.emulator import Faults
from tests.daemons import SHORTEST_GAP, pings, shortest_gap, soon, was_written, write_registry

NAMES = [f"p{number}" for number in range(6)]


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_killed_at_random_moments_loses_no_entry_and_pings_no_slot_twice(home, emulator, seed):
    moments = random.Random(seed)
    emulator.set_faults("*", Faults(hang=1, hang_seconds=0.3))  # so that it is often killed with pings in flight
    write_registry(home.registry, *NAMES)
    for _ in range(4):
        child = home.started()
        before = len(emulator.log)
        soon(lambda before=before: len(emulator.log) > before, seconds=3)
        threading.Event().wait(moments.uniform(0, 0.5))  # the moment is the test's choice, nothing is waited for
        child.kill()
    emulator.set_faults("*", Faults())
    last = home.started()
    seen = {name: len(pings(emulator, name)) for name in NAMES}
    assert soon(lambda: all(len(pings(emulator, name)) >= seen[name] + 2 for name in NAMES))
    assert last.stop() == 0

    entries = home.entries
    sent, noted = Counter(), Counter(entry["prefix"] for entry in entries)
    sent.update(request.metadata["prefix"] for request in emulator.log)
    assert not sent - noted  # every request has its entry; an entry may have died before its request
    assert all(noted[name] - sent[name] <= 4 for name in NAMES)
    assert min(shortest_gap(home.ledger, name) for name in NAMES) >= SHORTEST_GAP
    orphans = [entry for entry in entries if entry["verdict"] is None]
    assert len({entry["run_id"] for entry in entries if entry["verdict"] is not None}) >= 2
    if orphans:
        assert soon(lambda: last.told("orphans_found"))
        assert last.told("orphans_found")[0]["count"] == len(orphans)


def test_what_is_killed_between_pings_goes_on_as_if_nothing_had_been(home, emulator):
    write_registry(home.registry, *NAMES)
    child = home.started()
    assert soon(lambda: len(child.told("ping_succeeded")) >= len(NAMES))
    child.kill()
    after = home.started()
    assert soon(lambda: all(len(pings(emulator, name)) >= 3 for name in NAMES))
    assert after.stop() == 0
    for name in NAMES:
        assert [was_written(request) for request in pings(emulator, name)].count(True) == 1
        assert shortest_gap(home.ledger, name) >= SHORTEST_GAP
    answered = {entry["request_id"] for entry in home.entries if entry["request_id"]}
    assert len(answered) == len([entry for entry in home.entries if entry["verdict"]])
