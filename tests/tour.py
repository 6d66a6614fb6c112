"""A tour of the guards on money: for each, what trips it, the state that it shows, and the spend that it stopped at.

The keeper is tended as the scheduler does, on a clock that only the tour moves; ledger, gate, switch and gateway are
those of a daemon, and the Bedrock is the emulator over HTTP. Only the stop over HTTP needs a daemon in real time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from typer.testing import CliRunner

from keepwarm import losses
from keepwarm.cli import app
from keepwarm.clock import utc_now
from keepwarm.daemon import build
from keepwarm.emulator import Emulator, Faults
from keepwarm.model import Entry, Guard, GuardStatus, Usage
from keepwarm.parts import Parts, guard_statuses, opened
from keepwarm.settings import Settings
from tests.builders import MONDAY, make_touch, shipped_catalog
from tests.daemons import LIFETIME, TIME_SCALE, soon, write_registry

HOUR = timedelta(hours=1)
HIT = Usage(100, 10, 5_000, 0)
ALL = ""


@dataclass(frozen=True)
class Stop:
    """One station of the tour.

    Attributes:
        status: as `keepwarm guards` shows it once it has tripped.
        spent_usd: by what it guards, until then.
        later_usd: and in the hours after that.
        reason: why the next ping is not sent.
    """

    guard: Guard
    scenario: str
    status: GuardStatus
    spent_usd: Decimal
    later_usd: Decimal
    reason: str

    @property
    def scope(self) -> str:
        """What it guards."""
        return self.status.prefix or "all"


class Stage:
    """A keepwarm on a clock of its own, with two prefixes that are pinged around the clock."""

    def __init__(self, parts: Parts, wall: list[datetime], emulator: Emulator) -> None:
        self.parts = parts
        self.emulator = emulator
        self._wall = wall
        self._due = dict.fromkeys(parts.keeper.names, wall[0])

    def play(self, hours: float) -> None:
        """Tend whenever a decision asked for it, and look at the tripwires every hour."""
        until = self._wall[0] + hours * HOUR
        look = self._wall[0] + losses.LOOK_EVERY
        while True:
            name = min(self._due, key=self._due.__getitem__, default="")
            if name and self._due[name] <= min(until, look):
                self._wall[0] = max(self._wall[0], self._due.pop(name))
                decision = self.parts.keeper.tend(name)
                if decision.at:
                    self._due[name] = decision.at
            elif look <= until:
                self._wall[0], look = look, look + losses.LOOK_EVERY
                self._watch_losses()
            else:
                self._wall[0] = until
                return

    def hear(self, name: str) -> None:
        """An organic request."""
        at = self._wall[0]
        touch = make_touch(self.parts.keeper.prefix(name), f"{name} {at}", started_at=at, usage=HIT)
        self.parts.ledger.add_touches([touch])
        self.parts.keeper.hear([touch])

    def tripped(self, guard: Guard, scope: str, scenario: str) -> Stop:
        """The station as it stands, and what six more hours cost."""
        now, keeper = self._wall[0], self.parts.keeper
        (status,) = (one for one in guard_statuses(self.parts, now) if (one.guard, one.prefix) == (guard, scope))
        spent = self.spent(scope)
        reason = keeper.look(scope or "a").reason.value
        self.play(6)
        return Stop(guard, scenario, status, spent, self.spent(scope) - spent, reason)

    def spent(self, scope: str) -> Decimal:
        """What pings cost so far."""
        return sum((entry.cost_usd for entry in self.parts.ledger.entries(None, None, scope or None)), Decimal(0))

    def _watch_losses(self) -> None:
        parts, now = self.parts, self._wall[0]
        prefixes = parts.registry.prefixes
        changed = losses.heed(
            parts.ledger, parts.gate, losses.look(parts.ledger, prefixes, parts.keeper.state, now), now
        )
        self._due.update(dict.fromkeys(changed, now))


class Tour:
    """Opens a stage for each station.

    Args:
        place: an empty directory.
        point: called with the URL of an emulator, which clients shall use from then on.
    """

    def __init__(self, place: Path, point: Callable[[str], None]) -> None:
        self._place = place
        self._point = point

    @contextmanager
    def stage(self, name: str, a: dict[str, Any] | None = None, **settings: Any) -> Iterator[Stage]:
        """Two prefixes, `a` as told, and a keepwarm with these settings."""
        wall = [MONDAY]
        with (
            Emulator(catalog=shipped_catalog(), now=lambda: wall[0], latency_scale=0) as emulator,
            ExitStack() as stack,
        ):
            self._point(emulator.url)
            chosen = self._settings(name, {"lifetime": "5m", "margin": "30s"}, a or {}, settings)
            parts = stack.enter_context(opened(chosen, now=lambda: wall[0]))
            yield Stage(parts, wall, emulator)

    def _settings(self, name: str, defaults: dict[str, Any], a: dict[str, Any], settings: dict[str, Any]) -> Settings:
        folder = self._place / name
        folder.mkdir()
        b: dict[str, Any] = {} if settings else {"policy": {"idle_limit": 0}, "prewarm": False}  # quiet: a is looked at
        defaults = {"policy": "busy_hours"} | defaults
        registry = write_registry(folder / "registry.yaml", "a", "b", defaults=defaults, a=a, b=b)
        return Settings(**{"registry": registry, "state_dir": folder / "state", "listen": "off"} | settings)

    # -- stations -------------------------------------------------------------------------------------------------

    def ping_cap(self) -> Stop:
        """A ping that may cost more than one may."""
        with self.stage("ping_cap", {"ping_cap_usd": 0.001}) as stage:
            stage.play(6)
            return stage.tripped(Guard.PING_CAP, "a", "a ping may cost more than $0.001")

    def day_cap(self) -> Stop:
        """A prefix that is pinged around the clock."""
        with self.stage("day_cap", {"day_cap_usd": 0.1}) as stage:
            stage.play(8)
            return stage.tripped(Guard.DAY_CAP, "a", "pinged all day, $0.10 a day")

    def day_cap_in_all(self) -> Stop:
        """Two of them, under one cap."""
        with self.stage("day_cap_in_all", day_cap_usd=Decimal("0.15")) as stage:
            stage.play(8)
            return stage.tripped(Guard.DAY_CAP, ALL, "two prefixes, $0.15 a day together")

    def month_cap(self) -> Stop:
        """A prefix that is pinged into the next day."""
        with self.stage("month_cap", {"month_cap_usd": 0.4}) as stage:
            stage.play(20)
            return stage.tripped(Guard.MONTH_CAP, "a", "pinged into the next day, $0.40 a month")

    def month_cap_in_all(self) -> Stop:
        """Two of them, under one cap."""
        with self.stage("month_cap_in_all", month_cap_usd=Decimal("0.2")) as stage:
            stage.play(8)
            return stage.tripped(Guard.MONTH_CAP, ALL, "two prefixes, $0.20 a month together")

    def breaker(self) -> Stop:
        """Entries that Bedrock drops at once."""
        with self.stage("breaker") as stage:
            stage.emulator.set_faults("*", Faults(evict=1))
            stage.play(15 / 60)
            return stage.tripped(Guard.BREAKER, "a", "every entry is gone before its ping")

    def tripwire(self) -> Stop:
        """A prefix that is asked for twice a day."""
        with self.stage("tripwire", {"tripwire_usd": 0.3}) as stage:
            for _ in range(2):
                stage.hear("a")
                stage.play(12)
            return stage.tripped(Guard.TRIPWIRE, "a", "pinged all day, asked for twice a day")

    def stop_by_command(self) -> Stop:
        """`keepwarm stop-all`, in another process or this one."""
        with self.stage("command") as stage:
            stage.play(1)
            chosen = stage.parts.settings
            own = {"KEEPWARM_REGISTRY": str(chosen.registry), "KEEPWARM_STATE_DIR": str(chosen.state_dir)}
            said = CliRunner().invoke(app, ["stop-all", "--why", "the bill looks odd"], env=own)
            assert said.exit_code == 0, said.output
            return stage.tripped(Guard.STOP_ALL, ALL, "keepwarm stop-all after an hour")

    def stop_by_file(self) -> Stop:
        """A file that somebody makes."""
        with self.stage("file") as stage:
            stage.play(1)
            stage.parts.settings.stop_path.touch()
            return stage.tripped(Guard.STOP_ALL, ALL, "touch STATE_DIR/stopped after an hour")

    def stop_by_setting(self) -> Stop:
        """A setting, from the start on."""
        with self.stage("setting", stopped=True) as stage:
            stage.play(1)
            return stage.tripped(Guard.STOP_ALL, ALL, "KEEPWARM_STOPPED=true at the start")

    def stop_over_http(self) -> Stop:
        """A whole daemon at 1:50, until it is told over HTTP."""
        with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, seed=7) as emulator, ExitStack() as stack:
            self._point(emulator.url)
            chosen = self._settings("http", {}, {}, {"listen": "127.0.0.1:0", "token": "s3cret"})
            daemon = stack.enter_context(build(chosen, observers=[]))
            thread = threading.Thread(target=daemon.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(daemon.stop)
            assert soon(lambda: daemon.address and len(_answered(daemon.parts)) > 1)
            post = Request(f"http://{daemon.address}/v1/stop-all", method="POST")
            post.add_header("Authorization", "Bearer s3cret")
            with urlopen(post, timeout=10) as answer:
                assert answer.status == 200
            # One that was sent before ends in its time; until then it counts as what it may cost at most.
            assert soon(lambda: all(entry.outcome for entry in daemon.parts.ledger.entries(None, None)))
            parts, began = daemon.parts, utc_now()
            statuses = guard_statuses(parts, began)
            (status,) = (one for one in statuses if one.guard is Guard.STOP_ALL)
            spent = _spent(parts)
            reason = parts.keeper.look("a").reason.value
            soon(lambda: utc_now() > began + 1.2 * LIFETIME)
            later = _spent(parts) - spent
            return Stop(Guard.STOP_ALL, "POST /v1/stop-all to a daemon", status, spent, later, reason)


def _answered(parts: Parts) -> list[Entry]:
    return [entry for entry in parts.ledger.entries(None, None) if entry.outcome]


def _spent(parts: Parts) -> Decimal:
    return sum((entry.cost_usd for entry in parts.ledger.entries(None, None)), Decimal(0))


STATIONS: tuple[Callable[[Tour], Stop], ...] = (
    Tour.ping_cap,
    Tour.day_cap,
    Tour.day_cap_in_all,
    Tour.month_cap,
    Tour.month_cap_in_all,
    Tour.breaker,
    Tour.tripwire,
    Tour.stop_by_command,
    Tour.stop_by_file,
    Tour.stop_by_setting,
    Tour.stop_over_http,
)
