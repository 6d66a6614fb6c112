"""The daemon: the only place that wires the rooms, and the loop that listens to signals.

It holds no rules of its own: what to ping is the planner's, how is the keeper's, when is the scheduler's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from types import FrameType

from keepwarm import clock, differences, ears, losses, notices, planner, telemetry, tracing
from keepwarm.alerts import Alert, Alerts, Lateness, alerts_of
from keepwarm.errors import ConfigError, KeepwarmError, LedgerError
from keepwarm.front import Front
from keepwarm.keeper import Observer
from keepwarm.leadership import Leadership
from keepwarm.ledger import Holder, hold
from keepwarm.listener import Listener
from keepwarm.model import Decision, Event, GuardStatus, Prefix, RegistryStatus
from keepwarm.notify import Notifier
from keepwarm.outlets import Outlets, outlets_of
from keepwarm.parts import Parts, mirror_of, opened, read_registry
from keepwarm.registry import Files, Registry
from keepwarm.rolling import Roller
from keepwarm.scheduler import Scheduler
from keepwarm.settings import Settings, fingerprint_key, with_key
from keepwarm.watching import Watcher
from keepwarm.web import Address

_TICK = timedelta(seconds=1)
# How often a registry in S3 or SSM is asked for news: a few requests a minute cost nothing worth counting.
_MIRROR_EVERY = timedelta(minutes=1)
# Where several daemons share a ledger, what others wrote is learnt at least this often.
_SHARED_RECONCILE = timedelta(seconds=5)
# Wall clock and steady clock drift apart by less than this in one tick, unless somebody set the clock or it slept.
_STEP = timedelta(seconds=2)
# CloudWatch keeps what it is told in one minute as one point.
_EMF_EVERY = timedelta(minutes=1)
# What a stop takes beside the drain: open connections, the ledger.
_STOP_SLACK = timedelta(seconds=10)

# A pause that another process wrote is heeded at the latest after this long.
_LOOK_AT_PAUSES = timedelta(seconds=2)

_STOP, _RELOAD, _FOLLOW = "stop", "reload", "follow"


class Daemon:
    """A running keepwarm: tends every prefix of the registry until it is told to stop.

    Attributes:
        listener: takes in organic requests.
        leading: whether it pings; another daemon on the same ledger may be the one that does.
        address: where the HTTP interface listens while the daemon runs; None when it does not.
        registry_status: of the registry in force.
        tripwires: as of the last look at them.
        settle: called when what lives on is made, at the start and after a reload; whoever has a process for the daemon
            alone sets it to `garbage.settle`, which looks through all of a process.
        turned_at: when the loop last turned, by the steady clock.
        drained: False after a stop that left pings in flight behind; their threads then still run.
    """

    def __init__(
        self,
        parts: Parts,
        now: Callable[[], datetime],
        observers: Sequence[Observer],
        leadership: Leadership | None = None,
        outlets: Outlets | None = None,
        alerts: Alerts | None = None,
    ) -> None:
        self.parts = parts
        self.registry_status = RegistryStatus(str(parts.settings.registry), 1, now())
        self.tripwires: tuple[GuardStatus, ...] = ()
        self.settle: Callable[[], None] = lambda: None
        self.turned_at = clock.steady_seconds()
        self._outlets = outlets = outlets or Outlets()
        self._notifier, self._stream = outlets.notifier, outlets.stream
        self._leadership = leadership
        self._alerts = alerts or Alerts()
        self._lateness = Lateness()
        self._role_lock = threading.Lock()
        self._leader_told = ""
        self.leading = False
        self._refused = self._reload_owed = False
        self._due: dict[str, datetime] = {}  # when each wanted to be tended, for the metric of lateness
        self._now = now
        self._observers = observers
        self._scheduler = Scheduler(self._tend, parts.settings.max_concurrent_pings, now, parts.keeper.dies_at)
        self._orders: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._prefixes = parts.registry.prefixes
        self.listener = Listener(
            book=parts.ledger,
            keeper=parts.keeper,
            prefixes=self._prefixes,
            key=fingerprint_key(parts.settings),
            now=now,
            wake=self.heed,
            observers=observers,
        )
        self._front = Front(self, outlets.recent, outlets.stream, now, outlets.metrics)
        self._watcher = Watcher(parts.settings.watch, parts.registry.files, self._follow, now, self.observe)
        self._roller = Roller(parts.ledger, lambda: self._prefixes, parts.keeper.known, now, parts.settings.kept_for)
        self.address: Address | None = None
        self.drained = True

    def run(self) -> int:
        """Tend until stopped.

        Returns:
            The exit code: 0 after a stop that was asked for, 1 when the scheduler died.
        """
        parts, reconcile = self.parts, self.parts.settings.reconcile
        parts.keeper.stand_by()
        if self._leadership:
            self._leadership.begin(lambda: self._orders.put(""))
            reconcile = min(reconcile, _SHARED_RECONCILE)
        with (
            self._alerts.kept(self),
            self._front.kept(),
            self._watcher.kept(),
            self._roller.kept(lambda: self.leading),
            ears.listening(
                parts.settings,
                self.listener,
                parts.ledger,
                lambda: self._prefixes,
                now=self._now,
                tell=self.observe,
                offers=self._front.offers(self.listener),
            ) as self.address,
        ):
            self._tell_all(notices.of_start(parts, str(self.address or "nowhere"), self._now()))
            self._watch_losses()  # before anything can be sent
            self.settle()
            self._scheduler.start()
            try:
                self._take_role()
                self._reconcile()
                self._scheduler.every(reconcile, self._reconcile)
                self._scheduler.every(losses.LOOK_EVERY, self._watch_losses)
                if mirror_of(parts.settings):
                    self._scheduler.every(_MIRROR_EVERY, self._look_at_source)
                self._scheduler.every(_LOOK_AT_PAUSES, self._look_at_pauses)
                if self._outlets.emf:
                    self._scheduler.every(_EMF_EVERY, self._write_emf)
                self._notifier.ready(self._standing)
                return self._listen()
            finally:
                self._notifier.stopping("waits for pings in flight", parts.settings.drain + _STOP_SLACK)
                self._drain()

    def stop(self, *_: object) -> None:
        """Ask for an orderly stop; also a signal handler."""
        self._orders.put(_STOP)

    def reload(self, *_: object) -> None:
        """Ask for the registry to be read again; also a signal handler."""
        self._orders.put(_RELOAD)

    def _follow(self) -> None:
        self._orders.put(_FOLLOW)

    def obey_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reloads; only the main thread may call this."""
        handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
        }
        for number, handler in handlers.items():
            signal.signal(number, handler)

    # -- the loop -------------------------------------------------------------------------------------------------

    def _listen(self) -> int:
        wall, steady = self._now(), clock.steady_seconds()
        while True:
            orders = self._next_orders()
            if _STOP in orders:
                return 0
            if _RELOAD in orders or (_FOLLOW in orders and self._watcher.waits):
                self._notifier.reloading()
                self._reload()
                self._notifier.ready(self._standing)
            self._take_role()
            if self.parts.gate.look_at_stop(self._now()):
                self._rearm_all()
            if not self._scheduler.alive:
                self._tell("scheduler_died", "error", hint="the supervisor should start keepwarm again")
                return 1
            passed = timedelta(seconds=clock.steady_seconds() - steady)
            if abs(self._now() - wall - passed) > _STEP:
                self._tell("clock_stepped", "warning", by_seconds=(self._now() - wall - passed).total_seconds())
                self._scheduler.clock_was_set()
                self._rearm_all()
            wall, steady = self._now(), clock.steady_seconds()
            self.turned_at = steady
            self._notifier.alive(self._standing)
            self._alerts.turned(leading=self.leading)

    def _next_orders(self) -> set[str]:
        """All that was asked for since: many reloads are one, and a stop does not wait behind them."""
        orders = set()
        with contextlib.suppress(queue.Empty):
            orders.add(self._orders.get(timeout=_TICK.total_seconds()))
            while True:
                orders.add(self._orders.get_nowait())
        return orders

    def _reconcile(self) -> None:
        """Arm every prefix that has no timer, and look anew at those that another process has touched."""
        try:
            with self._role_lock:
                changed = self.parts.keeper.refresh()
            self.parts.switch.look()
        except LedgerError as error:
            changed = []
            self._tell("ledger_failed", "error", error=str(error), hint=error.hint)
        if self.leading:
            self.parts.keeper.keep()
        if self._reload_owed:
            self._reload_owed = False  # until that fails too
            self.reload()
        self._wake((set(self.parts.keeper.names) - self._scheduler.armed) | set(changed))

    def _look_at_pauses(self) -> None:
        """Heed what other processes paused and resumed."""
        with contextlib.suppress(LedgerError):  # the reconciling tells of it
            if self.parts.pausing.look():
                self._rearm_all()

    def stop_all(self) -> None:
        """Stop all pings, on this machine and in the ledger."""
        self.parts.switch.stop("by POST /v1/stop-all", self._now())
        self.parts.gate.look_at_stop(self._now())

    def _watch_losses(self, only: Collection[str] | None = None) -> None:
        """Let the tripwires look at the last seven days: all, or those of some prefixes, which is soon done."""
        parts, now = self.parts, self._now()
        try:
            names = set(parts.keeper.names)
            cared_for = [prefix for prefix in self._prefixes if prefix.name in names]
            looking = [prefix for prefix in cared_for if only is None or prefix.name in only]
            worry = parts.settings.alert_loss_usd
            statuses = losses.look(parts.ledger, looking, parts.keeper.known, now, worry)
            others = {prefix.name for prefix in cared_for} - {prefix.name for prefix in looking}
            self.tripwires = (*(status for status in self.tripwires if status.prefix in others), *statuses)
            changed = losses.heed(parts.ledger, parts.gate, statuses, now)
        except LedgerError as error:
            self._tell("ledger_failed", "error", error=str(error), hint=error.hint)
        else:
            self._wake(changed)

    def _wake(self, names: Collection[str]) -> None:
        if self.leading and names:
            self._scheduler.arm_all(names)

    def _tend(self, name: str) -> Decision:
        due, now = self._due.pop(name, None), self._now()
        if due and due <= now:
            self._outlets.metrics.tended((now - due).total_seconds())
        self._tell_lateness(name, now - due if due else timedelta(0), now)
        decision = self.parts.keeper.tend(name)
        if decision.at:
            self._due[name] = decision.at
        self._front.answers.decided(name, decision)
        self._stream.change([name])
        return decision

    def _tell_lateness(self, name: str, late: timedelta, now: datetime) -> None:
        """Half of a margin is what a ping may be late."""
        with contextlib.suppress(ConfigError):  # just let go by a reload
            keeper = self.parts.keeper
            allowed = planner.margin_of(keeper.prefix(name), keeper.state(name)) / 2
            self._tell_all(filter(None, [self._lateness.tended(name, late, allowed, now)]))

    def heed(self, names: Collection[str]) -> None:
        """Decide again on prefixes that somebody touched or paused, and show it."""
        self._front.answers.changed(names)
        self._wake(names)
        self._stream.change(names)

    def _rearm_all(self) -> None:
        self._front.answers.forget()
        self._stream.change([""])  # of all
        self._wake(self.parts.keeper.names)
        self._scheduler.wake()

    # -- leading and standing by ----------------------------------------------------------------------------------

    def _take_role(self) -> None:
        """Lead or stand by, as the ledger says; where nobody else can be there, lead."""
        leadership, leading = self._leadership, True
        if leadership:
            leadership.watch()
            leading = leadership.term is not None
        if leading and not self.leading:
            self._lead()
        elif self.leading and not leading:
            self._stand_by()
        if leadership and not leading and leadership.leader not in {"", self._leader_told}:
            self._leader_told = leadership.leader
            self._tell("leader_found", "info", leader=leadership.leader)

    def _lead(self) -> None:
        """Learn what others sent meanwhile, and only then send."""
        try:
            with self._role_lock:
                self.parts.keeper.lead()
        except LedgerError as error:  # the next tick tries again
            self._tell("ledger_failed", "error", error=str(error), hint=error.hint)
            return
        self.leading = True
        self._due.clear()
        if self._leadership:
            self._leader_told = self._leadership.leader
            self._tell("leadership_won", "info", term=self._leadership.term)
        self._tell_all(notices.of_orphans(self.parts, self._now()))
        self._rearm_all()

    def _stand_by(self) -> None:
        self.parts.keeper.stand_by()
        self.leading = False
        for name in self.parts.keeper.names:
            self._scheduler.disarm(name)
        self._tell("leadership_lost", "warning", hint="another daemon leads, or the ledger cannot be asked who does")

    def _reload(self) -> None:
        self._refused = True  # until it is not
        files = Files()
        try:
            registry, _ = read_registry(self.parts.settings, self._now(), files, self.parts.registry)
            with self._role_lock:
                self.parts.keeper.adopt(registry.prefixes)
        except ConfigError as error:
            self._refuse([str(problem) for problem in error.problems])
        except KeepwarmError as error:  # neither the registry's fault nor mended by a change of it
            self._reload_owed = True
            self._refuse([str(error)], hint=error.hint)
            return
        else:
            self._refused = False
            self._apply(registry)
        self._reload_owed = not files.paths
        if files.paths:
            self._watcher.expect(files)

    def _apply(self, registry: Registry) -> None:
        """Tend what the keeper has adopted; what has not changed keeps its moment."""
        found = differences.between(self._prefixes, registry.prefixes)
        self.parts.registry, self._prefixes = registry, registry.prefixes
        self.listener.adopt(registry.prefixes)
        generation = self.registry_status.generation + 1
        self.registry_status = RegistryStatus(str(registry.path), generation, self._now())
        for name in found.to_disarm:
            self._scheduler.disarm(name)
            self._due.pop(name, None)
        self._watch_losses(found.to_arm)
        self._tell_all(notices.of_registry(self.parts, registry, self._now()))
        self._tell("registry_reloaded", "info", prefixes=len(registry.prefixes), **found.fields())
        self._front.answers.forget()
        self._stream.change([""])  # of all
        self._wake(found.to_arm)
        self.settle()

    def _write_emf(self) -> None:
        if self._outlets.emf:
            self._outlets.emf.write(self._front.answers.summary(may_act=False, has_token=False))

    def _look_at_source(self) -> None:
        """Reload when the registry has changed in S3 or SSM; a source that cannot be asked changes nothing."""
        try:
            mirror = mirror_of(self.parts.settings)
            if mirror and mirror.changed():
                self.reload()
        except KeepwarmError as error:
            self._tell("registry_unreachable", "warning", error=str(error), hint=error.hint)

    def _refuse(self, problems: list[str], **more: object) -> None:
        self.registry_status = replace(self.registry_status, refused_at=self._now(), problems=tuple(problems))
        self._tell("registry_refused", "error", problems=problems, **more)

    def _drain(self) -> None:
        self._scheduler.close()
        self.drained = self.parts.keeper.drain(self.parts.settings.drain)
        self._write_emf()
        if self._leadership:
            self._leadership.end()  # only now: whoever leads next would take a ping in flight for one that died
        self._tell("daemon_stopped", "info" if self.drained else "warning", drained=self.drained)

    @property
    def open_alerts(self) -> tuple[Alert, ...] | None:
        """What is wrong now; None where nobody is told of alerts."""
        return self._alerts.standing if self._alerts.judges else None

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Those of the registry in force."""
        return self._prefixes

    @property
    def leader(self) -> str:
        """Who leads, as far as it is known."""
        if self._leadership:
            return self._leadership.leader
        return socket.gethostname() if self.leading else ""

    @property
    def waiting(self) -> int:
        """How many prefixes have come to their moment and wait for a free worker."""
        return self._scheduler.waiting

    @property
    def firing(self) -> bool:
        """Whether timers still fire."""
        return self._scheduler.alive

    @property
    def _standing(self) -> str:
        """How things stand, for the service manager."""
        count = len(self.parts.keeper.names)
        prefixes = f"{count} prefix{'' if count == 1 else 'es'}"
        if not self.leading:
            return f"stands by for {prefixes}" + (f"; {self._leader_told} leads" if self._leader_told else "")
        return f"keeps {prefixes} warm" + ("; the last reload was refused" if self._refused else "")

    # -- telling --------------------------------------------------------------------------------------------------

    def _tell(self, name: str, severity: str, **fields: object) -> None:
        self.observe(Event(name, self._now(), severity, fields))

    def observe(self, event: Event) -> None:
        """Tell every observer."""
        for observe in self._observers:
            observe(event)

    def _tell_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.observe(event)


@contextmanager
def build(
    settings: Settings,
    *,
    now: Callable[[], datetime] = clock.utc_now,
    observers: Sequence[Observer] = (telemetry.log,),
    notifier: Notifier | None = None,
) -> Iterator[Daemon]:
    """Wire a daemon that holds its ledger alone, or on PostgreSQL shares it with others of which one leads.

    Raises:
        ConfigError: settings or registry cannot be used.
        LedgerError: the ledger cannot be used, another daemon holds it, or leads it with another fingerprint key.
    """
    outlets = outlets_of(settings.emf, now, notifier)
    observers = (*observers, *outlets.observers)

    def tell(event: Event) -> None:
        for observe in observers:
            observe(event)

    alerts = alerts_of(settings, now=now, tell=tell)
    observers = (*observers, alerts.observe)
    with ExitStack() as stack:
        holder = Holder(os.getpid(), socket.gethostname(), now().isoformat(timespec="seconds"))
        stack.enter_context(hold(settings.ledger, holder))
        settings = with_key(settings)
        traced = stack.enter_context(tracing.started(os.environ, now, tell))
        observers = (*observers, *traced.observers)
        parts = stack.enter_context(opened(settings, now=now, observers=observers, trace=traced.through))
        lease = parts.ledger.lead(holder, hashlib.sha256(b"keepwarm ledger" + fingerprint_key(settings)).hexdigest())
        if lease is None:
            yield Daemon(parts, now, observers, outlets=outlets, alerts=alerts)
            return

        leadership = Leadership(lease, now=now, tell=tell)
        stack.callback(leadership.end)
        yield Daemon(parts, now, observers, leadership, outlets, alerts)
