"""`keepwarm run` doing what it is for: twenty prefixes on an emulator at 1:50, one write each and hits ever after."""

from __future__ import annotations

from datetime import timedelta

from keepwarm.emulator import Emulator
from tests.builders import shipped_catalog
from tests.daemons import pings, shortest_gap, soon, was_written, write_registry

NAMES = [f"p{number:02}" for number in range(20)]
LIFETIME, MARGIN = timedelta(seconds=6), timedelta(seconds=2)


def test_twenty_prefixes_are_written_once_each_and_every_later_ping_is_a_hit(make_home):
    with Emulator(catalog=shipped_catalog(), time_scale=0.02) as emulator:
        home = make_home(emulator)
        write_registry(home.registry, *NAMES, defaults={"lifetime": "6s", "margin": "2s"})
        child = home.started()
        assert soon(lambda: all(len(pings(emulator, name)) >= 5 for name in NAMES), seconds=30)
        assert child.stop() == 0
        for name in NAMES:
            writes = [was_written(request) for request in pings(emulator, name)]
            assert writes == [True] + [False] * (len(writes) - 1)
            assert shortest_gap(home.ledger, name) >= LIFETIME - 1.5 * MARGIN
        verdicts = [entry["verdict"] for entry in home.entries]
        assert verdicts.count("rewrite") == len(NAMES)
        assert verdicts.count("hit") == len(verdicts) - len(NAMES)
        assert not child.told("ping_failed")
