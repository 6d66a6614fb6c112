"""What the daemon spends on requests is what `simulate` says of them: one planner, one learner, one price."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import pytest

from benchmarks.streams import rows_of
from keepwarm.clock import sleep, utc_now
from keepwarm.daemon import build
from keepwarm.emulator import Emulator
from keepwarm.listener import Listener
from keepwarm.parts import Parts, opened
from keepwarm.settings import Settings, fingerprint_key
from keepwarm.web import Access, Address, Offers, Server, make_app
from tests.builders import MONDAY, shipped_catalog
from tests.daemons import PATIENCE_SECONDS, TIME_SCALE, soon
from tests.days import REGION, Application, Bill, billed, measured_tokens, scaled, simulated, write_day

RECONCILE = timedelta(minutes=2)
TOLERANCE = 0.02


@pytest.fixture
def client(aws: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def open_for(emulator: Emulator) -> Any:
            made = boto3.client("bedrock-runtime", region_name=REGION, endpoint_url=emulator.url)
            stack.callback(made.close)
            return made

        yield open_for


# -- hours, on a clock of their own -------------------------------------------------------------------------------


class Walk:
    """A keeper that is tended as the scheduler does, on a clock that only this moves."""

    def __init__(self, parts: Parts, wall: list[datetime]) -> None:
        self.parts = parts
        self.due: dict[str, datetime] = {}
        self._wall = wall
        self._reconciled = wall[0]

    def wake(self, names: Any) -> None:
        self.due.update(dict.fromkeys(names, self._wall[0]))

    def go(self, until: datetime) -> None:
        while True:
            name = min(self.due, key=self.due.__getitem__, default="")
            reconcile = self._reconciled + RECONCILE
            if name and self.due[name] <= min(until, reconcile):
                self._wall[0] = max(self._wall[0], self.due.pop(name))
                decision = self.parts.keeper.tend(name)
                if decision.at:
                    self.due[name] = decision.at
            elif reconcile <= until:
                self._wall[0] = self._reconciled = reconcile
                self.wake(set(self.parts.keeper.names) - set(self.due))
            else:
                self._wall[0] = until
                return


def requests_of_a_day() -> list[tuple[float, str]]:
    """A working day, night and morning of prefixes of all kinds, as seconds and names; the same every time."""
    began, wanted = 9 * 3600.0, {
        "office_hours": ("office-2", "office-3"),
        "sessions": ("session-138",),
        "sparse": ("user-109", "user-9", "user-111", "user-6", "user-82"),
        "adversarial_fixed": ("fixed-3", "fixed-4"),
        "adversarial_learner": ("learner-2",),
    }  # fmt: skip
    return sorted(
        (row.at - began, row.prefix)
        for stream, names in wanted.items()
        for row in rows_of(stream)
        if row.prefix in names and began <= row.at < began + 24 * 3600.0
    )


class Life:
    """Plays requests on a keeper, a listener over HTTP and the emulator, with the clock in the test's hands."""

    def __init__(self, folder: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._client = client
        self._monkeypatch = monkeypatch

    def bills(self, registry: Path, rows: list[tuple[float, str]], asks: Iterable[str] = ()) -> tuple[Bill, Bill]:
        """What the ledger says that they cost, until two hours after the last one, and what `simulate` says.

        Args:
            registry: of their prefixes.
            rows: seconds since MONDAY, and names.
            asks: the prefixes that ask for their ttl.
        """
        wall = [MONDAY]
        with (
            Emulator(catalog=shipped_catalog(), now=lambda: wall[0], latency_scale=0) as bedrock,
            ExitStack() as stack,
        ):
            self._monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock.url)
            settings = Settings(registry=registry, state_dir=self._folder / "state", requests_per_minute=10_000)
            parts = stack.enter_context(opened(settings, now=lambda: wall[0]))
            walk, prefixes = Walk(parts, wall), parts.registry.prefixes
            listener = Listener(
                book=parts.ledger, keeper=parts.keeper, prefixes=prefixes, key=fingerprint_key(parts.settings),
                now=lambda: wall[0], wake=walk.wake,
            )  # fmt: skip
            server = Server(make_app(listener.hear_batch, Access(), Offers(desk=listener)), Address("127.0.0.1", 0))
            url = f"http://{stack.enter_context(server).address}"
            application = Application(url, self._client(bedrock), lambda: wall[0], self._folder, asks)
            for at, name in rows:
                walk.go(MONDAY + timedelta(seconds=at))
                application.call(name)
            walk.go(until := wall[0] + timedelta(hours=2))
            spent = billed(parts.ledger, prefixes, until)
            said = simulated(scaled(rows, MONDAY, 1, measured_tokens(parts.ledger)), prefixes, until)
        return spent, said


@pytest.fixture
def life(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> Life:
    return Life(tmp_path, client, monkeypatch)


@pytest.mark.parametrize("kinds", [
    [{"ttl": "auto"}],
    [{"ttl": "5m"}, {"ttl": "5m", "policy": {"idle_limit": 2}}, {"ttl": "1h", "policy": {"idle_limit": 1}}],
], ids=["ttl auto", "fixed ttls, adaptive and idle limits"])  # fmt: skip
def test_a_day_costs_in_the_ledger_what_simulate_says(tmp_path: Path, life: Life, kinds: list[Any]):
    rows = requests_of_a_day()
    names = sorted({name for _, name in rows})
    entries = {name: kinds[number % len(kinds)] for number, name in enumerate(names)}
    registry = write_day(tmp_path, entries, dict.fromkeys(names, 12_000))
    spent, said = life.bills(registry, rows, [name for name in names if entries[name]["ttl"] == "auto"])
    assert spent.counts == said.counts
    assert float(spent.usd) == pytest.approx(float(said.usd), rel=TOLERANCE)
    assert said.counts["ping"] > 100
    assert said.counts["write"] > len(names)


@pytest.mark.parametrize(("cold_start_usd", "warm"), [(1, 18), (0, 0)])
def test_mornings_are_bought_by_the_keeper_as_by_simulate_also_when_clocks_change(tmp_path, life, cold_start_usd, warm):
    """Twenty workdays at 9:00 in Berlin, from the second of March on; clocks go forward on the 29th."""
    mornings = [datetime(2026, 3, day, 9, 0, 30, tzinfo=ZoneInfo("Europe/Berlin")) for day in range(3, 32)]
    rows = [((at - MONDAY).total_seconds(), "bot") for at in mornings if at.weekday() < 5]
    entry = {
        "ttl": "5m", "busy_hours": "office", "prewarm": {"lead": "2m"}, "cold_start_usd": cold_start_usd,
    }  # fmt: skip
    office = {"timezone": "Europe/Berlin", "windows": ["Mon-Fri 09:00-17:00"]}
    registry = write_day(tmp_path, {"bot": entry}, {"bot": 12_000}, {"office": office})
    spent, said = life.bills(registry, [(0.0, "bot"), *rows])
    assert spent.counts == said.counts
    assert float(spent.usd) == pytest.approx(float(said.usd), rel=TOLERANCE)
    assert spent.counts["read"] >= warm
    assert spent.counts["rewrite"] == spent.counts["read"]
    assert spent.counts["write"] + spent.counts["read"] == len(rows) + 1


# -- seconds, with a whole daemon and its timers ------------------------------------------------------------------

# Gaps in seconds, where an entry lives six and is pinged three to four after a touch. None is near a moment at which an
# entry dies or a ping goes out, so that a busy machine changes nothing.
SHORT, ONE_PING, TWO_PINGS, COLD = 1.2, 5.0, 8.5, 12.0
GAPS = {
    "adaptive-a": (SHORT, ONE_PING, ONE_PING, ONE_PING),
    "adaptive-b": (ONE_PING, SHORT, TWO_PINGS),
    "adaptive-c": (SHORT,),
    "auto-a": (SHORT, ONE_PING, SHORT),
    "auto-b": (TWO_PINGS, ONE_PING),
    "limit-a": (COLD, SHORT),
    "limit-b": (ONE_PING, COLD),
    "limit-c": (SHORT, COLD),
    "never-a": (TWO_PINGS, SHORT, TWO_PINGS),
    "never-b": (ONE_PING, TWO_PINGS, SHORT),
}
KINDS: dict[str, dict[str, Any]] = {
    "adaptive": {}, "auto": {"ttl": "auto"}, "limit": {"policy": {"idle_limit": 1}},
    "never": {"policy": {"idle_limit": 0}},
}  # fmt: skip
LASTS = 20.0
SHORT_LIVES = {"lifetime": "6s", "margin": "2s"}


def short_day() -> list[tuple[float, str]]:
    """Its requests; the prefixes begin one after the other."""
    starts = {name: 0.5 + 0.08 * number for number, name in enumerate(GAPS)}
    return sorted((starts[name] + at, name) for name, gaps in GAPS.items() for at in accumulate(gaps, initial=0.0))


def test_a_daemon_at_1_to_50_spends_what_simulate_says(tmp_path: Path, client: Any, monkeypatch):
    entries = {name: {"ttl": "5m"} | SHORT_LIVES | KINDS[name.split("-")[0]] for name in GAPS}
    registry = write_day(tmp_path, entries, dict.fromkeys(GAPS, 12_000))
    with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, latency_scale=0) as bedrock, ExitStack() as stack:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock.url)
        settings = Settings(
            registry=registry, state_dir=tmp_path / "state", listen="127.0.0.1:0",
            requests_per_minute=10_000, reconcile_seconds=0.5,
        )  # fmt: skip
        daemon = stack.enter_context(build(settings, observers=[]))
        thread = threading.Thread(target=daemon.run)
        thread.start()
        stack.callback(thread.join, PATIENCE_SECONDS)
        stack.callback(daemon.stop)
        assert soon(lambda: daemon.address)
        asks = [name for name in GAPS if entries[name]["ttl"] == "auto"]
        application = Application(f"http://{daemon.address}", client(bedrock), utc_now, tmp_path, asks)
        began = utc_now()
        for at, name in short_day():
            sleep(began + timedelta(seconds=at) - utc_now())
            application.call(name)
        until = began + timedelta(seconds=LASTS)
        sleep(until - utc_now())
        daemon.stop()
        thread.join(PATIENCE_SECONDS)
        ledger, prefixes = daemon.parts.ledger, daemon.parts.registry.prefixes
        spent = billed(ledger, prefixes, until)
        said = simulated(scaled(short_day(), began, 1, measured_tokens(ledger)), prefixes, until)
    assert spent.counts == said.counts
    assert float(spent.usd) == pytest.approx(float(said.usd), rel=TOLERANCE)
    assert said.counts["ping"] > 10
    assert said.counts["write"] > len(GAPS)
