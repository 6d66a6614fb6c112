"""What a running daemon shows and lets do over HTTP, put together from its parts.

It serves nothing (see `ears` and `web`) and decides nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

from keepwarm import clock
from keepwarm.alerts import Alert, shown
from keepwarm.answers import Answers, Situation
from keepwarm.answers.acts import Acts
from keepwarm.answers.recent import Recent
from keepwarm.errors import LedgerError, Throttled
from keepwarm.listener import Listener
from keepwarm.metrics import Metrics, Reading
from keepwarm.model import Event, GuardStatus, Prefix, RegistryStatus
from keepwarm.parts import Parts
from keepwarm.views.shapes import RegistryRefused, RegistryShown
from keepwarm.web import Desk, Offers, Stream

# The daemon's loop turns every second; what has not turned for so long does not do its work any more.
_STUCK = timedelta(seconds=60)
_RELOAD_PATIENCE = timedelta(seconds=20)
_POLL = timedelta(milliseconds=20)
# A probe that finds the ledger writable is believed for so long.
_BELIEVED = timedelta(seconds=5)
_PLACE = "ready"


class House(Protocol):
    """The running daemon."""

    parts: Parts
    leading: bool
    registry_status: RegistryStatus
    tripwires: tuple[GuardStatus, ...]
    turned_at: float
    listener: Listener

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Those of the registry in force."""

    @property
    def open_alerts(self) -> tuple[Alert, ...] | None:
        """What is wrong now; None where nobody is told of alerts."""

    @property
    def leader(self) -> str:
        """Who leads, empty when it is not known."""

    @property
    def waiting(self) -> int:
        """How many prefixes wait for a free worker."""

    @property
    def firing(self) -> bool:
        """Whether timers still fire."""

    def reload(self) -> None:
        """Ask for the registry to be read again."""

    def stop_all(self) -> None:
        """Stop all pings."""

    def heed(self, names: Collection[str]) -> None:
        """Decide again on these prefixes, and show it."""

    def observe(self, event: Event) -> None:
        """Tell."""


class Front:
    """The daemon as it is seen from outside.

    Attributes:
        answers: what is read.
        recent: what has just happened; let it observe.
    """

    def __init__(
        self, house: House, recent: Recent, stream: Stream, now: Callable[[], datetime], metrics: Metrics
    ) -> None:
        self._house = house
        self._stream = stream
        self._now = now
        self._metrics = metrics
        self._started_at = now()
        self._writing = threading.Lock()
        self._written_at: float | None = None
        self.answers = Answers(house.parts, recent, now=now, prefixes=lambda: house.prefixes, situation=self._situation)
        metrics.watch(self._read)
        self._acts = Acts(
            house.parts,
            now=now,
            prefixes=lambda: house.prefixes,
            wake=house.heed,
            observe=house.observe,
            reload=self._reload,
        )

    def offers(self, desk: Desk) -> Offers:
        """What is served; the desk answers applications."""
        return Offers(
            stop_all=self._house.stop_all,
            desk=desk,
            answers=self.answers,
            acts=self._acts,
            probes=self,
            metrics=self._metrics,
            stream=self._stream,
        )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the figures current until the block ends, if anybody can ask for them."""
        if self._house.parts.settings.listen == "off":
            yield
            return
        with self.answers.kept():
            yield

    def _read(self) -> Reading:
        house = self._house
        summary, prefixes = self.answers.reading()
        return Reading(
            summary=summary,
            prefixes=prefixes,
            touches=house.listener.counts,
            in_flight=house.parts.keeper.in_flight,
            waiting=house.waiting,
            firing=house.firing,
            loop_age_seconds=clock.steady_seconds() - house.turned_at,
        )

    # -- probes ---------------------------------------------------------------------------------------------------

    def role(self) -> str:
        """`leader` or `standby`."""
        return "leader" if self._house.leading else "standby"

    def ailments(self) -> list[str]:
        """What is wrong with the process itself."""
        found = [] if self._house.firing else ["its timers do not fire any more"]
        still = clock.steady_seconds() - self._house.turned_at
        if still > _STUCK.total_seconds():
            found.append(f"its loop has not turned for {still:.0f} s")
        return found

    def obstacles(self) -> list[str]:
        """Why it cannot do its work at this moment."""
        found = self.ailments()
        if not self._house.leading and not self._house.leader:
            found.append("it neither leads nor knows who does")
        return [*found, *self._ledger_trouble()]

    def _ledger_trouble(self) -> list[str]:
        """Why the ledger cannot be written; tried for real, but not for each of many probes."""
        now = clock.steady_seconds()
        if self._written_at is not None and now - self._written_at < _BELIEVED.total_seconds():
            return []
        if not self._writing.acquire(blocking=False):
            return ["the ledger has not answered yet"]
        try:
            self._house.parts.ledger.set_cursor(_PLACE, "", self._now())
            self._written_at = clock.steady_seconds()
        except LedgerError as error:
            return [str(error)]
        finally:
            self._writing.release()
        return []

    def _reload(self) -> RegistryShown:
        """Read the registry again, in the daemon's own thread, and wait for what became of it."""
        before, patience = self._house.registry_status, clock.steady_seconds() + _RELOAD_PATIENCE.total_seconds()
        self._house.reload()
        while self._house.registry_status is before:
            if clock.steady_seconds() > patience:
                raise Throttled("the daemon is busy; it will read the registry as soon as it can")
            clock.sleep(_POLL)
        return self._registry()

    # -- the daemon -----------------------------------------------------------------------------------------------

    def _situation(self) -> Situation:
        house = self._house
        alerts = None if house.open_alerts is None else shown(house.open_alerts, {one.name for one in house.prefixes})
        return Situation(self.role(), house.leader, self._started_at, self._registry(), house.tripwires, alerts)

    def _registry(self) -> RegistryShown:
        status = self._house.registry_status
        refused = RegistryRefused(status.refused_at, list(status.problems)) if status.refused_at else None
        return RegistryShown(str(status.path), status.generation, status.loaded_at, refused)
