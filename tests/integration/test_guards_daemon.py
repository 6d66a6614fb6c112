"""The guards in a running daemon: what the ledger and the settings hold back is held from the first moment on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from keepwarm.clock import utc_now
from keepwarm.daemon import Daemon, build
from keepwarm.emulator import Emulator
from keepwarm.model import Event, Usage
from keepwarm.parts import opened
from keepwarm.settings import Settings
from tests.builders import make_entry, make_intent, make_touch, shipped_catalog
from tests.daemons import PATIENCE_SECONDS, TIME_SCALE, soon, write_registry

# Touches in the ledger would let the adaptive policy decide; here the guards alone shall hold pings back.
PINGS = {"policy": "busy_hours"}


class Home:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.registry = place / "registry.yaml"
        self.events: list[Event] = []

    def settings(self, **changes: object) -> Settings:
        chosen = {"registry": self.registry, "state_dir": self.place / "state", "reconcile_seconds": 0.2}
        return Settings(**{"listen": "off"} | chosen | changes)

    @contextmanager
    def running(self, **changes: object) -> Iterator[Daemon]:
        with (
            build(self.settings(**changes), observers=[self.events.append]) as daemon,
            ThreadPoolExecutor(1) as pool,
        ):
            code = pool.submit(daemon.run)
            try:
                yield daemon
            finally:
                daemon.stop()
                assert code.result(PATIENCE_SECONDS) == 0

    def told(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    write_registry(home.registry, "a", "b", defaults=PINGS)
    return home


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, seed=7) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield emulator


def lose(home: Home, name: str) -> None:
    """A week in which this prefix cost ten dollars and three requests paid for their own writes."""
    with opened(home.settings()) as parts:
        prefix = parts.registry.find(name)
        for hours in range(1, 101):
            at = utc_now() - timedelta(hours=hours)
            number = parts.ledger.open_entry(make_intent(prefix, started_at=at), "before")
            parts.ledger.close_entry(number, make_entry(prefix, started_at=at, cost_usd=Decimal("0.1")).outcome)
        cold = Usage(5, 1, 0, 5_000)
        at = utc_now() - timedelta(hours=5)
        parts.ledger.add_touches([make_touch(prefix, number, started_at=at, usage=cold) for number in range(3)])


def test_a_prefix_that_lost_too_much_last_week_is_not_pinged_once_after_a_start_and_the_other_is(home, emulator):
    lose(home, "a")
    with home.running() as daemon:
        assert soon(lambda: emulator.log)
        assert soon(lambda: {event.fields["prefix"] for event in home.told("prefix_left_cold")} == {"a"})
        assert "tripwire $5.00: pings cost $10.00" in daemon.parts.keeper.look("a").detail
    assert {request.metadata["prefix"] for request in emulator.log} == {"b"}
    (told,) = home.told("guard_tripped")
    assert (told.fields["guard"], told.fields["prefix"]) == ("tripwire", "a")


def test_a_higher_tripwire_in_the_registry_lets_it_go_on_at_the_reload(home, emulator):
    lose(home, "a")
    with home.running() as daemon:
        assert soon(lambda: home.told("prefix_left_cold"))
        write_registry(home.registry, "a", "b", defaults=PINGS, a={"tripwire_usd": 50})
        daemon.reload()
        assert soon(lambda: any(request.metadata["prefix"] == "a" for request in emulator.log))
    assert [event.fields["prefix"] for event in home.told("guard_recovered")] == ["a"]


def test_the_day_cap_in_all_stops_a_daemon_below_it_and_a_start_warns_of_it(home, emulator):
    with home.running(day_cap_usd="0.05") as daemon:
        assert soon(lambda: home.told("guard_tripped"))
        spent = sum(entry.cost_usd for entry in daemon.parts.ledger.entries(None, None))
        assert daemon.parts.gate.statuses_in_all(utc_now())[1].spent_usd <= Decimal("0.05")
    assert spent <= Decimal("0.05")
    warned = [event.fields["warning"] for event in home.told("registry_warned")]
    assert any("KEEPWARM_DAY_CAP_USD: is $0.05, but a day" in warning for warning in warned)


def test_a_daemon_that_may_spend_nothing_sends_nothing_and_says_why(home, emulator):
    with home.running(month_cap_usd="0"):
        assert soon(lambda: len(home.told("prefix_left_cold")) == 2)
    assert emulator.log == []
    assert {event.fields["reason"] for event in home.told("prefix_left_cold")} == {"capped"}
    assert home.told("prefix_left_cold")[0].fields["detail"] == "month cap in all $0.00: no ping is sent"
