"""Hears every event of a daemon, looks at it now and then, and hands what is wrong to the sinks.

It judges nothing (see `rules`). Events are only put aside by who tells them; all else happens in a thread of its own,
so that no sink and no ledger holds a ping up.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

from keepwarm import clock
from keepwarm.alerts import rules
from keepwarm.alerts.heard import TAKES, Heard
from keepwarm.alerts.heartbeat import Heartbeat
from keepwarm.alerts.kinds import Alert, Kind, Thresholds, kept, revived
from keepwarm.alerts.rules import Seen
from keepwarm.alerts.sender import Sender
from keepwarm.errors import ConfigError, LedgerError
from keepwarm.model import Event, GuardStatus, Prefix, PrefixState
from keepwarm.parts import Parts

# What no thread has taken up yet; older events are let go.
_MOST_WAITING = 20_000
# Looks do not follow one another faster, and take no more than this share of the time.
_LEAST_PAUSE = timedelta(seconds=1)
_MOST_SHARE = 0.05
# Three of these have to fit into what a stop may take beside the drain.
_CLOSING = timedelta(seconds=2)
_PLACE, _TRY = "alerts", "alerts_try"
# These come with every ping, and want no look of their own.
_QUIET = frozenset({"ping_succeeded", "prefix_warmed", "prefix_left_cold"})


class House(Protocol):
    """The running daemon."""

    @property
    def parts(self) -> Parts:
        """Its rooms."""

    @property
    def leading(self) -> bool:
        """Whether it pings."""

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Those of the registry in force."""

    @property
    def tripwires(self) -> tuple[GuardStatus, ...]:
        """As of the last look at them."""


class Alerts:
    """The alerts of one daemon.

    Args:
        period: how often a look is taken, whatever happens.
        tell: told of alerts that open and resolve.
    """

    def __init__(
        self,
        senders: Sequence[Sender] = (),
        heartbeat: Heartbeat | None = None,
        *,
        host: str = "",
        limits: Thresholds = Thresholds(),  # noqa: B008 - frozen
        period: timedelta = timedelta(seconds=30),
        now: Callable[[], datetime] = clock.utc_now,
        tell: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        self._senders = senders
        self._heartbeat = heartbeat
        self._host = host
        self._limits = limits
        self._period = period
        self._now = now
        self._tell = tell
        self._heard = Heard(rules.WANTED)
        self._events: deque[Event] = deque(maxlen=_MOST_WAITING)
        self._standing: dict[str, Alert] = {}
        self._kept = ""
        self._led = False
        self._trouble = ""
        self._ended_badly = ""
        self._wake = threading.Event()
        self._stop = threading.Event()

    # -- from any thread ------------------------------------------------------------------------------------------

    def observe(self, event: Event) -> None:
        """Take an event in; never waits."""
        self._ended_badly = self._ended_badly or _ended_badly(event)
        if event.name not in TAKES or not self.judges:
            return
        self._events.append(event)
        if event.name not in _QUIET or event.severity != "info":
            self._wake.set()

    def turned(self, *, leading: bool) -> None:
        """The daemon's loop has turned; of several daemons only the leader's counts as a sign of life."""
        if self._heartbeat:
            if leading:
                self._heartbeat.turned(self._trouble)
            else:
                self._heartbeat.rest()

    @property
    def judges(self) -> bool:
        """Whether it finds out what is wrong: only where somebody is told."""
        return bool(self._senders or self._heartbeat)

    @property
    def standing(self) -> tuple[Alert, ...]:
        """Those that are open."""
        return tuple(self._standing.values())

    @contextmanager
    def kept(self, house: House) -> Iterator[None]:
        """Watch until the block ends; when it ends badly, the heartbeat says so."""
        if not self.judges:
            yield
            return
        thread = threading.Thread(target=self._run, args=(house,), name="alerts", daemon=True)
        for sender in self._senders:
            sender.start()
        if self._heartbeat:
            self._heartbeat.start()
        thread.start()
        why = "ended by an error"
        try:
            yield
            why = ""
        finally:
            self._stop.set()
            self._wake.set()
            thread.join(_CLOSING.total_seconds())
            self._end(house, why or self._ended_badly)

    # -- in the thread --------------------------------------------------------------------------------------------

    def _run(self, house: House) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._period.total_seconds())
            self._wake.clear()
            began = clock.steady_seconds()
            try:
                self._look(house)
            except Exception as error:  # noqa: BLE001 - a bug here must not silence all alerts
                self._tell(Event("alerts_crashed", self._now(), "error", {"error": type(error).__name__}))
            took = clock.steady_seconds() - began
            self._stop.wait(max(_LEAST_PAUSE.total_seconds(), took / _MOST_SHARE))

    def _look(self, house: House) -> None:
        now = self._now()
        self._hear()
        prefixes = {prefix.name: prefix for prefix in house.prefixes}
        self._heard.settle(prefixes)
        self._take_role(house, now)
        self._trouble = self._try_ledger(house.parts, now)
        self._look_at_caps(house.parts, prefixes, now)
        states = _states(house.parts, prefixes)
        seen = Seen(self._led, self._host, prefixes, states, house.tripwires, self._trouble)
        found = rules.judge(seen, self._heard, self._limits, self._standing, now)
        told = rules.changes(self._standing, found, now)
        self._standing = found
        for sender in self._senders:
            sender.put(told)
        for alert in told:
            self._tell(_event(alert, now))
        self._keep(house.parts, now)

    def _hear(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._heard.hear(self._events.popleft())

    def _take_role(self, house: House, now: datetime) -> None:
        """Whoever begins to lead takes up the alerts that are open; whoever stops to leaves them to the next."""
        leading = house.leading
        if leading and not self._led:
            with contextlib.suppress(LedgerError):
                self._kept = house.parts.ledger.cursor(_PLACE) or ""
            open_ones = _read(self._kept)
            self._standing = {alert.key: alert for alert in open_ones} | self._standing
            self._heard.revive(open_ones, now)
        if self._led and not leading:
            self._standing = {key: alert for key, alert in self._standing.items() if rules.is_own(alert)}
        self._led = leading

    def _try_ledger(self, parts: Parts, now: datetime) -> str:
        """Why the ledger cannot be written, tried for real."""
        try:
            parts.ledger.set_cursor(_TRY, "", now)
        except LedgerError as error:
            return str(error)
        return ""

    def _look_at_caps(self, parts: Parts, prefixes: dict[str, Prefix], now: datetime) -> None:
        """Let caps tell that they would let pass again what they held; otherwise the next ping brings that out."""
        for subject in {subject for (_, subject), detail in self._heard.guards.items() if detail}:
            if prefix := prefixes.get(subject) or next(iter(prefixes.values()), None):
                parts.gate.look_at_caps(prefix, now)
        self._hear()

    def _keep(self, parts: Parts, now: datetime) -> None:
        """Write down what is open once it is told: after a crash before that it is told anew."""
        rows = json.dumps([kept(alert) for alert in self._standing.values() if alert.kind is not Kind.TEST])
        if not self._led or rows == (self._kept or "[]") or not all(sender.idle for sender in self._senders):
            return
        with contextlib.suppress(LedgerError):  # it has an alert of its own
            parts.ledger.set_cursor(_PLACE, rows, now)
            self._kept = rows

    # -- the end --------------------------------------------------------------------------------------------------

    def _end(self, house: House, why: str) -> None:
        if self._heartbeat:
            if why:
                self._heartbeat.fail(why)
            self._heartbeat.close(_CLOSING)
        deadline = clock.steady_seconds() + _CLOSING.total_seconds()
        for sender in self._senders:
            sender.close(timedelta(seconds=max(0.1, deadline - clock.steady_seconds())))
        self._keep(house.parts, self._now())


def _ended_badly(event: Event) -> str:
    """What an event says of a bad end; empty for nothing."""
    if event.name == "scheduler_died":
        return "its timers died"
    return "stopped with pings in flight" if event.name == "daemon_stopped" and not event.fields["drained"] else ""


def _states(parts: Parts, prefixes: dict[str, Prefix]) -> dict[str, PrefixState]:
    found = {}
    for name in prefixes:
        with contextlib.suppress(ConfigError):  # just let go by a reload
            found[name] = parts.keeper.state(name)
    return found


def _read(rows: str) -> list[Alert]:
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return [alert for row in json.loads(rows or "[]") if (alert := revived(row))]
    return []


def _event(alert: Alert, now: datetime) -> Event:
    fields: dict[str, object] = {"kind": alert.kind.value, "subject": alert.subject, "words": alert.words}
    if alert.about:
        fields["about"] = alert.about
    if alert.resolved_at:
        return Event("alert_resolved", now, "info", fields | {"opened_at": alert.opened_at})
    return Event("alert_opened", now, "warning", fields)
