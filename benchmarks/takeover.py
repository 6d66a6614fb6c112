"""Three daemons on one PostgreSQL, deployed anew under load and then deprived of their leader: prints what it cost.

It asserts nothing; tests/process/test_replicas.py does. Needs the test requirements, which bring a PostgreSQL.

    python benchmarks/takeover.py [--prefixes 40] [--rounds 3]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))

from keepwarm.clock import utc_now
from keepwarm.emulator import Emulator
from tests.builders import shipped_catalog
from tests.daemons import LIFETIME, SHORTEST_GAP, TIME_SCALE
from tests.fleet import LOSSES, Fleet, follower, lose
from tests.postgresql import Postgres
from tests.processes import Home

Found = TypeVar("Found")


def rehearse(fleet: Fleet) -> str:
    """A rolling deploy: three old daemons are replaced by three new ones."""
    old = [fleet.start() for _ in range(3)]
    fleet.put_under_load()
    fleet.wait_until_pinged()
    began = utc_now()
    for child in old:
        fleet.start()
        child.stop()
        fleet.wait_until_pinged()
    took = (utc_now() - began).total_seconds()
    return f"{'rolling deploy':16}{took:8.1f} s {fleet.cold(began):6} {sum(fleet.short_gaps().values()):12}"


def deprive(fleet: Fleet, how: str) -> tuple[timedelta, str]:
    """Lose the leader in one way; how long nobody led, and the line of the table."""
    network = fleet.proxy()
    leader, others = fleet.start(proxy=network), [fleet.start(), fleet.start()]
    fleet.wait_until_pinged()
    lost = utc_now()
    lose(how, leader, network)
    _, took = follower(others, lost)
    fleet.wait_until_pinged()
    return took, f"{how:16}{took.total_seconds():8.1f} s {fleet.cold(lost):6} {sum(fleet.short_gaps().values()):12}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prefixes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    names = [f"p{number}" for number in range(chosen.prefixes)]
    server, out = Postgres(), sys.stdout.write
    try:
        out(f"{chosen.prefixes} prefixes, entries live {LIFETIME.total_seconds():g} s; pings of one prefix less than\n")
        out(f"{SHORTEST_GAP.total_seconds():g} s apart are paid twice; the longest of {chosen.rounds} rounds\n\n")
        out(f"{'':16}{'took':>10} {'cold':>6} {'paid twice':>12}\n")
        out(_run(server, names, rehearse) + "\n")
        for how in LOSSES:
            found = [_run(server, names, lambda fleet, how=how: deprive(fleet, how)) for _ in range(chosen.rounds)]
            out(f"{max(found)[1]}\n")
    finally:
        server.stop()


def _run(server: Postgres, names: list[str], what: Callable[[Fleet], Found]) -> Found:
    with ExitStack() as stack, tempfile.TemporaryDirectory() as place:
        emulator = stack.enter_context(Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, seed=7))
        home = Home(Path(place), emulator)
        stack.callback(lambda: [child.kill() for child in home.children])
        return what(Fleet(home, server, stack, names))


if __name__ == "__main__":
    main()
