"""`keepwarm run` as a child process: what it does when it is told to stop, to read again, or made to sleep."""

from __future__ import annotations

import signal
import socket
from datetime import timedelta

import pytest

from keepwarm.clock import utc_now
from keepwarm.emulator import Faults
from tests.daemons import CANARY, LIFETIME, pings, soon, was_written, write_registry


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_the_ping_in_flight_and_exits_with_zero(home, emulator, number):
    emulator.set_faults("*", Faults(hang=1, hang_seconds=1.5))
    write_registry(home.registry, "a")
    child = home.started()
    assert soon(lambda: emulator.log)
    child.signal(number)
    assert child.wait() == 0
    assert [entry["verdict"] for entry in home.entries] == ["rewrite"]
    assert child.told("daemon_stopped")[0]["drained"] is True


def test_a_stop_does_not_wait_longer_than_it_may_and_the_orphan_is_told_at_the_next_start(home, emulator):
    emulator.set_faults("*", Faults(hang=1, hang_seconds=60))
    write_registry(home.registry, "a")
    child = home.started(drain_seconds=0.5)
    assert soon(lambda: emulator.log)
    asked = utc_now()
    assert child.stop() == 0
    assert timedelta(seconds=0.5) <= utc_now() - asked < timedelta(seconds=5)
    assert [entry["verdict"] for entry in home.entries] == [None]
    emulator.set_faults("*", Faults())
    after = home.started()
    assert soon(lambda: after.told("orphans_found"))
    (told,) = after.told("orphans_found")
    assert (told["count"], told["prefixes"]) == (1, ["a"])
    assert after.stop() == 0


def test_a_second_stop_hurries_nothing_and_breaks_nothing(home, emulator):
    emulator.set_faults("*", Faults(hang=1, hang_seconds=1))
    write_registry(home.registry, "a")
    child = home.started()
    assert soon(lambda: emulator.log)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        child.signal(number)
    assert child.wait() == 0
    assert [entry["verdict"] for entry in home.entries] == ["rewrite"]


def test_a_hangup_reads_the_registry_again_and_a_bad_one_changes_nothing(home, emulator):
    write_registry(home.registry, "a")
    child = home.started()
    assert soon(lambda: pings(emulator, "a"))

    write_registry(home.registry, "a", "b")
    child.signal(signal.SIGHUP)
    assert soon(lambda: pings(emulator, "b"))

    write_registry(home.registry, "a", "b", "c", c={"ttl": "2h"})
    child.signal(signal.SIGHUP)
    assert soon(lambda: child.told("registry_refused"))
    (refused,) = child.told("registry_refused")
    assert any(str(home.registry) in problem and "ttl" in problem for problem in refused["problems"])

    before = {name: len(pings(emulator, name)) for name in "ab"}
    assert soon(lambda: all(len(pings(emulator, name)) > before[name] for name in "ab"))
    assert child.stop() == 0
    for name in "ab":
        assert [was_written(request) for request in pings(emulator, name)].count(True) == 1
    assert not pings(emulator, "c")


def test_what_slept_longer_than_a_lifetime_wakes_and_writes_once(home, emulator):
    write_registry(home.registry, "a")
    child = home.started()
    assert soon(lambda: len(pings(emulator, "a")) >= 2)
    child.signal(signal.SIGSTOP)
    stopped = utc_now()
    asleep = len(pings(emulator, "a"))
    assert soon(lambda: utc_now() - stopped > LIFETIME + timedelta(seconds=0.5))
    assert len(pings(emulator, "a")) <= asleep + 1  # one may have been on its way
    child.signal(signal.SIGCONT)
    assert soon(lambda: len(pings(emulator, "a")) >= asleep + 3)
    assert child.stop() == 0
    woken = [was_written(request) for request in pings(emulator, "a") if request.at > stopped]
    assert woken.count(True) == 1
    assert not woken[-1]


def test_a_second_daemon_is_refused_with_one_and_names_the_first(home, emulator):
    write_registry(home.registry, "a")
    first = home.started()
    second = home.start()
    assert second.wait() == 1
    assert str(first.process.pid) in second.text
    assert socket.gethostname() in second.text
    assert "Traceback" not in second.text
    assert first.stop() == 0


def test_a_bad_registry_ends_the_start_with_two_and_every_problem(home, emulator):
    write_registry(home.registry, "a", "b", a={"ttl": "2h"}, b={"margin": "10s"})
    child = home.start()
    assert child.wait() == 2
    assert "ttl" in child.text
    assert "margin" in child.text
    assert "Traceback" not in child.text
    assert not emulator.log


def test_the_log_is_json_with_known_events_and_neither_it_nor_the_ledger_holds_a_prompt(home, emulator):
    known = {
        "daemon_started",
        "daemon_stopped",
        "ping_succeeded",
        "ping_failed",
        "prefix_warmed",
        "prefix_left_cold",
        "prefix_stopped",
        "registry_reloaded",
        "registry_warned",
        "traffic_unknown",
        "guard_tripped",
        "guard_recovered",
    }
    write_registry(home.registry, "a", "b")
    child = home.started(log_level="debug")
    assert soon(lambda: len(emulator.log) >= 4)
    for faults in (Faults(reset=1), Faults(wrong_json=True), Faults(throttle=1), Faults(echo_prompt_in_errors=True)):
        emulator.set_faults("*", faults)
        failed = len(child.told("ping_failed")) + len(child.told("ping_succeeded"))
        assert soon(
            lambda failed=failed: len(child.told("ping_failed")) + len(child.told("ping_succeeded")) > failed + 1
        )
    assert soon(lambda: len(child.told("prefix_stopped")) == 2)
    write_registry(home.registry, "a", "b", "c")
    child.signal(signal.SIGHUP)
    assert soon(lambda: child.told("registry_reloaded"))
    assert child.stop() == 0
    assert {line["event"] for line in child.lines} <= known
    assert all(line["level"] and line["timestamp"].endswith("Z") for line in child.lines)
    assert CANARY not in child.text
    files = [path for path in home.ledger.parent.iterdir() if path.is_file()]
    assert home.ledger in files
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]
