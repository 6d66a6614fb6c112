"""Opens what both the daemon and single commands need, and answers what takes several rooms to answer.

It runs nothing: no timers, no threads, no HTTP (see `daemon`).
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from keepwarm import accounting, clock, garbage, losses, planner, rolling, simulate
from keepwarm.bedrock import Gateway
from keepwarm.errors import ConfigError, KeepwarmError, Problem
from keepwarm.gate import Gate
from keepwarm.guards import worth
from keepwarm.keeper import Keeper, Observer, Pinger
from keepwarm.ledger import Ledger
from keepwarm.limits import RateLimit
from keepwarm.mirror import Mirror, remote_of
from keepwarm.model import Answer, GuardStatus, IdleLimitPolicy, Prefix, PrefixState, Route, Ttl
from keepwarm.pausing import Pausing
from keepwarm.pricing import Catalog
from keepwarm.registry import Files, Registry, Shelf, load_catalog, load_registry
from keepwarm.settings import PREFIX, Settings, fingerprint_key
from keepwarm.switch import SharedSwitch, Switch
from keepwarm.tracing import Trace

_REGISTRY = f"{PREFIX}REGISTRY"

# So often what is written while it is read is read anew.
_READINGS = 3


@dataclass(slots=True)
class Parts:
    """What both the daemon and single commands need, opened and ready.

    Attributes:
        registry: in force; a reload puts another one in its place, and nobody keeps the one before.
        run_id: names this process in the ledger.
    """

    settings: Settings
    catalog: Catalog
    registry: Registry
    ledger: Ledger
    gateway: Gateway
    keeper: Keeper
    run_id: str
    gate: Gate
    switch: SharedSwitch
    pausing: Pausing


def switch_of(settings: Settings) -> Switch:
    """What stops all pings of this machine."""
    return Switch(settings.stop_path, by_setting=settings.stopped)


def read_registry(
    settings: Settings, now: datetime, files: Files | None = None, before: Registry | None = None
) -> tuple[Registry, Catalog]:
    """The registry that the settings name, with all its files as they were at one moment.

    Args:
        files: remembers what was read, also when it cannot be used.
        before: the reading before, with the same settings; what has not changed since is taken over.

    Raises:
        ConfigError: it, the model catalog or the fingerprint key cannot be used, or it was written all the while.
    """
    files = files or Files()
    path, doubts = _fetched(settings)
    key = fingerprint_key(settings)
    confined = mirror_of(settings) is not None
    for _ in range(_READINGS):
        files.forget()
        try:
            with garbage.uncollected():
                catalog = load_catalog(settings.models, files)
                registry = load_registry(
                    path, catalog, key, now, files, confined=confined, shelf=Shelf(), before=before
                )
        except ConfigError:
            if not files.changed():
                raise
        else:
            if not files.changed():
                doubts += [*registry.warnings, *_doubts_in_all(settings, registry, now)]
                doubts += _doubts_of_pace(settings, registry)
                return replace(registry, warnings=tuple(doubts)), catalog
    message = "it or a file that it names was written while it was read, several times in a row"
    raise ConfigError(
        [Problem(str(path), 0, "", message)], hint="write a new file beside the old one and move it to its place"
    )


def mirror_of(settings: Settings) -> Mirror | None:
    """What copies the registry from where it is kept; None where it is a file.

    Raises:
        ConfigError: the setting names no registry.
    """
    remote = remote_of(settings.registry, _REGISTRY)
    return Mirror(remote, settings.state_dir / "registry") if remote else None


def _fetched(settings: Settings) -> tuple[Path, list[Problem]]:
    """The registry as a file, and a warning where it may be old: a start needs no AWS that answers."""
    mirror = mirror_of(settings)
    if mirror is None:
        return Path(settings.registry), []
    try:
        mirror.refresh()
    except KeepwarmError as error:
        if not mirror.path.exists():
            raise
        return mirror.path, [Problem("environment", 0, _REGISTRY, f"{error}; the copy from before is used")]
    return mirror.path, []


def _doubts_in_all(settings: Settings, registry: Registry, now: datetime) -> list[Problem]:
    """Caps of all prefixes together that make some of them useless."""
    costs = [
        worth.daily_costs(prefix, planner.mean_ping_period(prefix, PrefixState()), now)
        for prefix in registry.prefixes
        if not prefix.provisioned and not isinstance(prefix.policy, IdleLimitPolicy)
    ]
    doubts = worth.doubts_in_all(settings.limits, costs)
    return [Problem("environment", 0, f"{PREFIX}{period.upper()}_CAP_USD", said) for period, said in doubts]


def _doubts_of_pace(settings: Settings, registry: Registry) -> Iterator[Problem]:
    """Rate limits under which not all prefixes of a model can be warm at once."""
    periods: defaultdict[tuple[Route, str], list[timedelta]] = defaultdict(list)
    for prefix in registry.prefixes:
        periods[prefix.route, prefix.model_id].append(planner.mean_ping_period(prefix, PrefixState()))
    for (route, model), each in periods.items():
        if said := worth.doubt_of_pace(settings.requests_per_minute, each, f"{model} in {route.region}"):
            yield Problem("environment", 0, f"{PREFIX}REQUESTS_PER_MINUTE", said)


@contextmanager
def shared_switch(settings: Settings) -> Iterator[SharedSwitch]:
    """What stops all pings of every daemon on the ledger; the registry is not read.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    with Ledger.open(settings.ledger) as ledger:
        yield SharedSwitch(switch_of(settings), ledger)


@contextmanager
def opened_pausing(settings: Settings) -> Iterator[Pausing]:
    """What is paused on the ledger, to read and to write; the registry is not read.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    with Ledger.open(settings.ledger) as ledger:
        pausing = Pausing(ledger)
        pausing.look()
        yield pausing


@contextmanager
def opened(
    settings: Settings,
    *,
    now: Callable[[], datetime] = clock.utc_now,
    observers: Sequence[Observer] = (),
    read: Callable[[Settings, datetime], tuple[Registry, Catalog]] = read_registry,
    hear: Callable[[Answer], None] | None = None,
    trace: Trace | None = None,
) -> Iterator[Parts]:
    """Open everything that a ping needs, and close it at the end.

    Args:
        read: where the prefixes come from.
        hear: called with every answer before it is judged.
        trace: what pings are sent through.

    Raises:
        ConfigError: settings or registry cannot be used.
        LedgerError: the ledger cannot be used.
    """
    registry, catalog = read(settings, now())
    with Ledger.open(settings.ledger) as ledger:
        run_id = uuid.uuid4().hex
        gateway = Gateway(settings.max_concurrent_pings, read_timeout_seconds=settings.read_timeout_seconds)
        switch = SharedSwitch(switch_of(settings), ledger)
        switch.look()
        pausing = Pausing(ledger, observers)
        pausing.look()
        gate = Gate(settings.limits, switch.reason, observers)
        pinger = trace(gateway) if trace else gateway
        keeper = Keeper(
            pinger=_Overheard(pinger, hear) if hear else pinger,
            book=ledger,
            run_id=run_id,
            now=now,
            rate=_rate(settings, registry, ledger, now()),
            gate=gate,
            paused=pausing.holding,
            observers=observers,
        )
        with garbage.uncollected():
            keeper.adopt(registry.prefixes)
        parts = Parts(settings, catalog, registry, ledger, gateway, keeper, run_id, gate, switch, pausing)
        del registry  # here it would outlive a reload
        yield parts


def _rate(settings: Settings, registry: Registry, ledger: Ledger, now: datetime) -> RateLimit:
    """The rate limit, knowing the pings of the last minute: whoever is started again and again must not go faster."""
    rate = RateLimit(settings.requests_per_minute)
    keys = {prefix.fingerprint: (prefix.route, prefix.model_id) for prefix in registry.prefixes}
    for entry in ledger.entries(now - timedelta(minutes=1), now):
        if entry.intent.fingerprint in keys:
            rate.remember(keys[entry.intent.fingerprint], entry.intent.started_at)
    return rate


@dataclass(frozen=True, slots=True)
class _Overheard:
    """A gateway whose answers somebody else hears too."""

    gateway: Pinger
    hear: Callable[[Answer], None]

    def ping(self, prefix: Prefix) -> Answer:
        answer = self.gateway.ping(prefix)
        self.hear(answer)
        return answer


def make_report(parts: Parts, since: datetime, until: datetime) -> accounting.Report:
    """What the ledger says of [since, until), with what the registry knows of its prefixes.

    Where entries and touches are deleted (`KEEPWARM_RETENTION`), it is about whole days; see its own since and until.
    """
    prefixes = parts.registry.prefixes
    # What is billed as 1h lives longer than a 5m prefix says.
    lives = [prefix.lifetime * (Ttl.ONE_HOUR.duration / prefix.ttl.duration) for prefix in prefixes]
    told = rolling.told(parts.ledger, since, until, max(lives, default=timedelta(hours=1)))
    backgrounds = {
        prefix.name: simulate.background_of(prefix, parts.keeper.known(prefix.name), told.since, told.until)
        for prefix in prefixes
    }
    return accounting.make_report(told.entries, told.since, told.until, backgrounds, told.touches, told.rolled)


def guard_statuses(parts: Parts, now: datetime) -> list[GuardStatus]:
    """Every guard on money as the ledger tells it: those of all prefixes together, then those of each.

    Raises:
        LedgerError: it cannot be read.
    """
    prefixes = parts.registry.prefixes
    coming = [(prefix, parts.keeper.known(prefix.name)) for prefix in prefixes if not prefix.provisioned]
    found = parts.gate.statuses_in_all(now, coming)
    tripwires = losses.look(parts.ledger, prefixes, parts.keeper.known, now)
    for prefix, tripwire in zip(prefixes, tripwires, strict=True):
        found += [*parts.gate.statuses(prefix, parts.keeper.known(prefix.name), now), tripwire]
    return found
