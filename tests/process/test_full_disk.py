"""`keepwarm run` on a disk that is full for a while: what cannot be written down is not sent, and told."""

from __future__ import annotations

import resource
from collections import Counter
from pathlib import Path

from tests.daemons import LIFETIME, pings, soon, write_registry
from tests.processes import Child

# Python ignores SIGXFSZ, so that a file that may not grow fails as one that cannot: with an error from `write`.
_NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def fill(child: Child, ledger: Path) -> None:
    """Let no file of this process grow beyond what the ledger's journal has now; its log is much shorter."""
    journal = ledger.with_name(f"{ledger.name}-wal")
    assert journal.stat().st_size > 50_000
    resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (journal.stat().st_size, resource.RLIM_INFINITY))


def free(child: Child) -> None:
    resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, _NO_LIMIT)


def test_on_a_full_disk_nothing_is_sent_that_cannot_be_written_and_with_room_it_goes_on(home, emulator):
    write_registry(home.registry, "a", "b", defaults={"policy": "busy_hours"})
    child = home.started()
    assert soon(lambda: all(len(pings(emulator, name)) >= 2 for name in "ab"))
    fill(child, home.ledger)
    assert soon(lambda: {line.get("prefix") for line in child.told("ledger_failed")} >= {"a", "b"})
    sent = len(emulator.log)
    assert not soon(lambda: len(emulator.log) > sent, LIFETIME.total_seconds())
    assert child.process.poll() is None
    told = child.told("ledger_failed")[-1]
    assert "room" in told["hint"]

    free(child)
    assert soon(lambda: len(emulator.log) >= sent + 4)
    assert child.stop() == 0
    requests = Counter(request.metadata["prefix"] for request in emulator.log)
    assert requests == Counter(entry["prefix"] for entry in home.entries)
    assert all(entry["verdict"] for entry in home.entries)  # also of those whose answer came while it was full
    assert "Traceback" not in child.text


def test_a_start_on_a_full_disk_is_refused_in_words_and_the_next_one_with_room_is_as_if_nothing_had_been(
    home, emulator, monkeypatch
):
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)  # what measures the child finds no room either, and says so at length
    write_registry(home.registry, "a", defaults={"policy": "busy_hours"})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        child = home.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert child.wait() == 1
    assert "Traceback" not in child.text
    assert "ledger" in child.text
    assert not emulator.log
    child = home.started()
    assert soon(lambda: emulator.log)
    assert child.stop() == 0
