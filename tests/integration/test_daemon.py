"""The daemon in this process: real scheduler, ledger and boto3 on the embedded Bedrock, in real time at 1:50."""

from __future__ import annotations

import gc
import os
import socket
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from keepwarm.clock import utc_now
from keepwarm.daemon import Daemon, build
from keepwarm.emulator import Emulator, Faults
from keepwarm.errors import ConfigError, LedgerError
from keepwarm.model import Event, PrefixState, Verdict
from keepwarm.parts import opened, read_registry
from keepwarm.settings import Settings
from tests.builders import shipped_catalog
from tests.daemons import (
    CANARY,
    OTHER_CLAUDE,
    PATIENCE_SECONDS,
    SHORTEST_GAP,
    TIME_SCALE,
    kill_scheduler,
    pings,
    shortest_gap,
    soon,
    was_written,
    write_registry,
)


class Wall:
    """The real clock, set forward or back by the test; it remembers nothing."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


class Home:
    """A place for daemons: registry, state, and what they told."""

    def __init__(self, place: Path, wall: Wall) -> None:
        self.registry = place / "registry.yaml"
        self.state = place / "state"
        self.ledger = self.state / "ledger.sqlite"
        self.wall = wall
        self.events: list[Event] = []

    def settings(self, **changes: object) -> Settings:
        chosen = {"registry": self.registry, "state_dir": self.state, "reconcile_seconds": 0.2, "drain_seconds": 5}
        return Settings(**{"listen": "off"} | chosen | changes)

    def told(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]

    @contextmanager
    def running(self, **changes: object) -> Iterator[Daemon]:
        """A daemon that runs in a thread, and is stopped well at the end of the block."""
        with ExitStack() as stack:
            observers = [self.events.append, *changes.pop("observers", ())]
            daemon = stack.enter_context(build(self.settings(**changes), now=self.wall, observers=observers))
            pool = stack.enter_context(ThreadPoolExecutor(1))
            code = pool.submit(daemon.run)
            try:
                yield daemon
            finally:
                daemon.stop()
                assert code.result(PATIENCE_SECONDS) == 0


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def home(tmp_path: Path, wall: Wall) -> Home:
    return Home(tmp_path, wall)


@pytest.fixture
def emulator(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), now=wall, time_scale=TIME_SCALE, seed=7) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield emulator


def test_a_daemon_writes_each_prefix_once_and_then_only_reads(home, emulator):
    write_registry(home.registry, "a", "b", "c")
    with home.running():
        assert soon(lambda: all(len(pings(emulator, name)) >= 3 for name in "abc"))
    for name in "abc":
        writes = [was_written(request) for request in pings(emulator, name)]
        assert writes == [True] + [False] * (len(writes) - 1)
        assert shortest_gap(home.ledger, name) >= SHORTEST_GAP
    assert [event.name for event in home.events][:1] == ["daemon_started"]
    assert home.told("daemon_stopped")[0].fields == {"drained": True}
    assert CANARY not in str(home.events)


def test_prefixes_of_whose_traffic_nobody_tells_are_told_with_what_they_need_to_pay(home, emulator):
    sparing = {"policy": {"idle_limit": 3}}
    write_registry(home.registry, "dear", "cheap", cheap=sparing)
    with home.running():
        assert soon(lambda: emulator.log)
    told = {event.fields["prefix"]: event for event in home.told("traffic_unknown")}
    assert {name: event.severity for name, event in told.items()} == {"dear": "warning", "cheap": "info"}
    assert told["dear"].fields["pays_from_requests_per_hour"] > 1
    assert told["dear"].fields["silent_busy_day_usd"] > told["cheap"].fields["silent_busy_day_usd"] > 0
    assert "idle_limit" in told["dear"].fields["hint"]


def test_of_a_hundred_alike_the_rest_is_told_as_a_number(home, emulator):
    write_registry(home.registry, *(f"p{number}" for number in range(103)), defaults={"prewarm": False})
    with home.running() as daemon:
        assert soon(lambda: len(home.told("traffic_unknown")) == 101)
    blind = home.told("traffic_unknown")
    assert [event.fields.get("more") for event in blind[99:]] == [None, 3]
    assert len({event.fields["prefix"] for event in blind[:100]}) == 100
    warned = [event.fields["warning"] for event in home.told("registry_warned")]
    assert warned[:100] == [str(warning) for warning in daemon.parts.registry.warnings[:100]]
    more = len(daemon.parts.registry.warnings) - 100
    assert warned[100:] == [f"and {more} more; `keepwarm check` tells them all"]


def test_what_is_warm_is_not_pinged_again_after_a_restart(home, emulator):
    write_registry(home.registry, "a", defaults={"lifetime": "60s", "margin": "5s"})
    for _ in range(3):
        with home.running() as daemon:
            assert soon(lambda: any(event.name == "prefix_warmed" for event in home.events))
            assert daemon.parts.keeper.look("a").warm_until
            home.events.clear()
    assert len(emulator.log) == 1


def test_a_second_daemon_on_the_same_ledger_is_refused_and_told_who_the_first_is(home, emulator):
    write_registry(home.registry, "a")
    with build(home.settings(), observers=[]):
        with pytest.raises(LedgerError) as refused, build(home.settings(), observers=[]):
            pass
        assert str(os.getpid()) in str(refused.value)
        assert socket.gethostname() in str(refused.value)
    with build(home.settings(), observers=[]):
        pass


def test_a_bad_registry_at_the_start_is_refused_and_holds_nothing(home, emulator):
    write_registry(home.registry, "a", defaults={"ttl": "2h"})
    with pytest.raises(ConfigError), build(home.settings(), observers=[]):
        pass
    write_registry(home.registry, "a")
    with build(home.settings(), observers=[]):
        pass


def test_a_reload_adds_and_removes_and_pings_nothing_again_that_is_warm(home, emulator):
    long = {"defaults": {"lifetime": "60s", "margin": "5s"}}
    write_registry(home.registry, "stays", "goes", **long)
    with home.running() as daemon:
        assert soon(lambda: len(emulator.log) == 2)
        write_registry(home.registry, "stays", "comes", **long)
        daemon.reload()
        assert soon(lambda: pings(emulator, "comes"))
        assert soon(lambda: home.told("registry_reloaded"))
        assert daemon.parts.keeper.names == ("stays", "comes")
    told = home.told("registry_reloaded")[0].fields
    assert told == {"prefixes": 2, "added": ["comes"], "removed": ["goes"], "changed": [], "unchanged": 1}
    assert [len(pings(emulator, name)) for name in ("stays", "goes", "comes")] == [1, 1, 1]


def test_a_removed_prefix_is_left_alone_and_a_reload_brings_it_back(home, emulator):
    write_registry(home.registry, "a", "b")
    with home.running() as daemon:
        assert soon(lambda: len(emulator.log) >= 2)
        write_registry(home.registry, "a")
        daemon.reload()
        assert soon(lambda: home.told("registry_reloaded"))
        kept = len(pings(emulator, "b"))
        before = len(pings(emulator, "a"))
        assert soon(lambda: len(pings(emulator, "a")) >= before + 2)
        assert len(pings(emulator, "b")) == kept
        write_registry(home.registry, "a", "b")
        daemon.reload()
        assert soon(lambda: len(pings(emulator, "b")) > kept)


def test_a_bad_registry_at_a_reload_keeps_the_old_one_and_says_why(home, emulator):
    write_registry(home.registry, "a")
    with home.running() as daemon:
        assert soon(lambda: emulator.log)
        write_registry(home.registry, "a", "b", b={"ttl": "2h"})
        daemon.reload()
        assert soon(lambda: home.told("registry_refused"))
        before = len(emulator.log)
        assert soon(lambda: len(emulator.log) > before)
        assert not pings(emulator, "b")
        home.registry.unlink()
        daemon.reload()
        assert soon(lambda: len(home.told("registry_refused")) == 2)
        assert daemon.parts.keeper.names == ("a",)
    first, second = home.told("registry_refused")
    assert any("ttl" in problem for problem in first.fields["problems"])
    assert second.fields["problems"]
    assert [was_written(request) for request in emulator.log] == [True] + [False] * (len(emulator.log) - 1)


def test_reloads_while_pings_are_away_lose_no_prefix_and_ping_none_twice(home, emulator):
    names = [f"p{number}" for number in range(8)]
    emulator.set_faults("*", Faults(hang=1, hang_seconds=0.2))
    write_registry(home.registry, *names)
    with home.running(max_concurrent_pings=4) as daemon:
        for _ in range(15):
            daemon.reload()
            before = len(home.told("registry_reloaded"))
            assert soon(lambda before=before: len(home.told("registry_reloaded")) > before)
        assert soon(lambda: all(len(pings(emulator, name)) >= 3 for name in names))
    for name in names:
        assert [was_written(request) for request in pings(emulator, name)].count(True) == 1
        assert shortest_gap(home.ledger, name) >= SHORTEST_GAP


@pytest.mark.parametrize("policy", ["busy_hours", "adaptive"])
def test_of_registries_that_a_reload_replaced_nothing_is_kept(home, emulator, policy):
    write_registry(home.registry, "a", "b", defaults={"policy": policy})
    with home.running() as daemon:
        assert soon(lambda: emulator.log)
        past = []
        for number in range(3):
            past += [weakref.ref(prefix) for prefix in daemon.prefixes]
            write_registry(home.registry, "a", "b", defaults={"policy": policy}, b={"margin": f"2.{number}s"})
            daemon.reload()
            assert soon(lambda number=number: len(home.told("registry_reloaded")) > number)

        def left() -> list[str]:
            gc.unfreeze()
            gc.collect()
            return [prefix.name for prefix in (one() for one in past) if prefix]

        assert soon(lambda: not left()), left()


def test_a_prefix_whose_tending_raised_is_armed_again_by_the_reconciling(home, emulator):
    left = iter([True])

    def fail_once(event: Event) -> None:
        if event.name == "prefix_warmed" and event.fields["prefix"] == "a" and next(left, False):
            raise RuntimeError("a bug")

    write_registry(home.registry, "a", "b")
    with home.running(observers=[fail_once]):
        assert soon(lambda: len(pings(emulator, "a")) >= 3)
    assert [was_written(request) for request in pings(emulator, "a")].count(True) == 1
    assert [was_written(request) for request in pings(emulator, "b")].count(True) == 1


def test_a_ping_by_hand_sets_a_stopped_prefix_going_again(home, emulator):
    emulator.set_faults("*", Faults(deny=True))
    write_registry(home.registry, "a")
    with home.running():
        assert soon(lambda: home.told("prefix_stopped"))
        emulator.set_faults("*", Faults())
        with opened(home.settings(), now=home.wall) as parts:
            assert parts.keeper.ping("a").verdict is Verdict.REWRITE
        assert soon(lambda: len(pings(emulator, "a")) >= 3)
    assert not was_written(pings(emulator, "a")[-1])


def test_trouble_with_one_model_touches_no_prefix_of_another(home, emulator):
    emulator.set_faults(OTHER_CLAUDE, Faults(throttle=1))
    write_registry(home.registry, "good", "bad", bad={"model_id": OTHER_CLAUDE})
    with home.running():
        assert soon(lambda: len(pings(emulator, "good")) >= 4)
    assert [was_written(request) for request in pings(emulator, "good")].count(True) == 1
    assert {event.fields["prefix"] for event in home.told("ping_failed")} == {"bad"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_scheduler_that_died_ends_the_daemon_with_code_one(home, emulator):
    write_registry(home.registry, "a")
    with build(home.settings(), observers=[home.events.append]) as daemon, ThreadPoolExecutor(1) as pool:
        code = pool.submit(daemon.run)
        assert soon(lambda: emulator.log)
        kill_scheduler()
        assert code.result(PATIENCE_SECONDS) == 1
    assert home.told("scheduler_died")[0].severity == "error"
    assert home.told("daemon_stopped")


def test_a_clock_that_jumps_ahead_is_noticed_and_the_dead_entry_written_once(home, emulator, wall):
    write_registry(home.registry, "a", defaults={"lifetime": "60s", "margin": "5s"})
    with home.running():
        assert soon(lambda: len(emulator.log) == 1)
        wall.ahead = timedelta(hours=1)
        assert soon(lambda: len(emulator.log) == 2)
        assert soon(lambda: home.told("clock_stepped"))
    assert home.told("clock_stepped")[0].fields["by_seconds"] == pytest.approx(3600, abs=5)
    assert [was_written(request) for request in emulator.log] == [True, True]


def test_pings_that_hang_longer_than_the_drain_are_left_behind_and_told_as_orphans(home, emulator):
    emulator.set_faults("*", Faults(hang=1, hang_seconds=30))
    write_registry(home.registry, "a")
    with home.running(drain_seconds=0.3) as daemon:
        assert soon(lambda: emulator.log)
        asked = utc_now()
        daemon.stop()
        assert soon(lambda: home.told("daemon_stopped"))
        assert utc_now() - asked < timedelta(seconds=3)
    assert not daemon.drained
    emulator.set_faults("*", Faults())
    with home.running():
        assert soon(lambda: home.told("orphans_found"))
    assert home.told("orphans_found")[0].fields["prefixes"] == ["a"]


def test_a_ledger_that_is_gone_for_a_while_is_told_and_the_pings_go_on_afterwards(home, emulator):
    write_registry(home.registry, "a")
    with home.running() as daemon:
        assert soon(lambda: len(emulator.log) >= 1)
        ledger = daemon.parts.ledger
        with ledger._engine.begin() as connection:  # noqa: SLF001 - nothing public breaks a table
            connection.exec_driver_sql("ALTER TABLE intents RENAME TO hidden")
        assert soon(lambda: home.told("ledger_failed"))
        sent = len(emulator.log)
        assert soon(lambda: any("intent" in event.fields["error"] for event in home.told("ledger_failed")))
        assert len(emulator.log) == sent
        with ledger._engine.begin() as connection:  # noqa: SLF001
            connection.exec_driver_sql("ALTER TABLE hidden RENAME TO intents")
        assert soon(lambda: len(emulator.log) > sent)


def test_a_stop_does_not_wait_behind_reloads_and_an_owed_one_is_asked_for_once(home, emulator, monkeypatch):
    reading, go_on = threading.Event(), threading.Event()

    def slow(*arguments: object) -> object:
        reading.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return read_registry(*arguments)

    write_registry(home.registry, "a")
    monkeypatch.setattr("keepwarm.daemon.read_registry", slow)
    with home.running(reconcile_seconds=0.05) as daemon:
        assert soon(lambda: pings(emulator, "a"))
        daemon.reload()
        assert reading.wait(PATIENCE_SECONDS)
        vars(daemon)["_reload_owed"] = True  # as after a reading that the ledger's trouble ended
        assert soon(lambda: not vars(daemon)["_reload_owed"])
        for _ in range(5):
            daemon.reload()
        daemon.stop()
        assert vars(daemon)["_orders"].qsize() == 7  # the owed one, five, and the stop
        go_on.set()
        assert soon(lambda: home.told("daemon_stopped"))
    assert len(home.told("registry_reloaded")) == 1


def test_what_was_removed_and_comes_back_is_not_late(home, emulator):
    write_registry(home.registry, "a", "b")
    with home.running() as daemon:
        assert soon(lambda: "a" in vars(daemon)["_due"])
        write_registry(home.registry, "b")
        daemon.reload()
        assert soon(lambda: home.told("registry_reloaded"))
        assert soon(lambda: "a" not in vars(daemon)["_due"])
        assert daemon.parts.keeper.known("a") == PrefixState()


def test_a_fingerprint_key_that_is_deleted_parts_no_fingerprints_of_a_running_daemon(home, emulator):
    write_registry(home.registry, "a")
    with home.running() as daemon:
        before = daemon.parts.registry.find("a").fingerprint
        (home.state / "fingerprint.key").unlink()
        write_registry(home.registry, "a", "b")
        daemon.reload()
        assert soon(lambda: home.told("registry_reloaded"))
        assert daemon.parts.registry.find("a").fingerprint == before
