"""What programs and pages ask of a running daemon, answered from its memory, and from its ledger within bounds.

It decides nothing and knows nothing of HTTP: `views` gives the answers their shape, `web` carries them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from keepwarm import __version__, accounting, pauses
from keepwarm.answers.recent import Recent
from keepwarm.answers.till import Till
from keepwarm.errors import ConfigError, LedgerError, Throttled
from keepwarm.model import Decision, GuardState, GuardStatus, Prefix, Span, Verdict
from keepwarm.parts import Parts, make_report
from keepwarm.views import prefixes as shown_prefixes
from keepwarm.views import rows, timelines
from keepwarm.views.prefixes import Known, Wanted
from keepwarm.views.shapes import (
    AlertShown,
    CurvePoint,
    Decisions,
    Events,
    Guards,
    Latencies,
    LatencyShown,
    LedgerRows,
    PastPauses,
    PrefixList,
    PrefixPage,
    PrefixShown,
    RegistryShown,
    Summary,
    Timeline,
    Timelines,
)

# What is known of a prefix is looked at anew after this long, whatever happened.
_BELIEVED = timedelta(seconds=30)
_LATENCY_WINDOW = timedelta(days=7)
LONGEST_STRETCH = timedelta(days=31)

# So many pings, and so many requests, are on a timeline at most.
_MOST_MARKS, _MOST_MARKS_OF_MANY = 10_000, 1_000

_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Situation:
    """How the daemon is, beyond its prefixes.

    Attributes:
        leader: who leads, as far as this daemon knows; empty when it does not.
        tripwires: as of the last look at them.
        alerts: those that are open; None where nobody is told of alerts.
    """

    role: str
    leader: str
    started_at: datetime
    registry: RegistryShown
    tripwires: Sequence[GuardStatus]
    alerts: list[AlertShown] | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is known of a prefix, believed until a moment.

    Attributes:
        tripped: those of its guards that hold it.
    """

    known: Known
    tripped: tuple[GuardStatus, ...]
    until: datetime


class Answers:
    """Answers about one running daemon; safe to use from many threads.

    Args:
        recent: what has just happened; its caller lets it observe.
        prefixes: those of the registry in force.
        situation: how the daemon is now.
    """

    def __init__(
        self,
        parts: Parts,
        recent: Recent,
        *,
        now: Callable[[], datetime],
        prefixes: Callable[[], Sequence[Prefix]],
        situation: Callable[[], Situation],
    ) -> None:
        self._parts = parts
        self._recent = recent
        self._now = now
        self._prefixes = prefixes
        self._situation = situation
        self._till = Till(parts.ledger, prefixes, parts.keeper.known, now)
        self._known: dict[str, _Kept] = {}
        self._reading = threading.Lock()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the figures current in a thread of their own, until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self._keep, args=(stop,), name="till", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_STOP_SECONDS)

    def _keep(self, stop: threading.Event) -> None:
        with contextlib.suppress(LedgerError):  # only the last pings of before the start are missing
            self.learn(self._prefixes())
        self._till.run(stop)

    def learn(self, prefixes: Iterable[Prefix]) -> None:
        """Read the last pings of prefixes from the ledger, such as those of other processes.

        Raises:
            LedgerError: it cannot be read.
        """
        by_fingerprint = {prefix.fingerprint: prefix.name for prefix in prefixes}
        ledger = self._parts.ledger
        found = ledger.recent(by_fingerprint, 1) if ledger.latest_number() else {}  # it asks once for each of them
        self._recent.learn_pings({by_fingerprint[each]: entries[-1] for each, entries in found.items()})
        self.changed(by_fingerprint.values())

    def changed(self, names: Iterable[str]) -> None:
        """What is known of these prefixes may have changed."""
        for name in names:
            self._known.pop(name, None)

    def forget(self) -> None:
        """What is known of all prefixes may have changed, and some may be gone."""
        self._known.clear()
        self._recent.retain({prefix.name for prefix in self._prefixes()})

    def decided(self, name: str, decision: Decision) -> None:
        """A decision was taken just now."""
        self._known.pop(name, None)
        try:
            prefix, state = self._parts.keeper.prefix(name), self._parts.keeper.state(name)
        except ConfigError:
            return  # gone with a reload meanwhile
        self._recent.decided(name, rows.of_decision(prefix, state, decision, self._now()))

    def now(self) -> datetime:
        """The present moment."""
        return self._now()

    # -- from memory ----------------------------------------------------------------------------------------------

    def summary(self, *, may_act: bool, has_token: bool) -> Summary:
        """The daemon in one look."""
        now = self._now()
        return self._summary(self._kept_at(now), now, may_act=may_act, has_token=has_token)[0]

    def reading(self) -> tuple[Summary, list[PrefixShown]]:
        """The daemon in one look, and all its prefixes; both at one moment, and worked out once."""
        now = self._now()
        return self._summary(self._kept_at(now), now, may_act=False, has_token=False)

    def _summary(
        self, kept: list[_Kept], now: datetime, *, may_act: bool, has_token: bool
    ) -> tuple[Summary, list[PrefixShown]]:
        found, folded = self._situation(), self._till.folded
        shown = [self._show(one.known, now) for one in kept]
        of_all = (*self._parts.gate.statuses_in_all(now), *found.tripwires)
        tripped = [status for status in of_all if status.state is GuardState.TRIPPED]
        tripped += [status for one in kept for status in one.tripped]
        summary = Summary(
            as_of=now,
            version=__version__,
            role=found.role,
            leader=found.leader,
            stopped=self._parts.switch.reason() or None,
            started_at=found.started_at,
            prefixes=shown_prefixes.count(shown),
            money=folded.takings(""),
            money_as_of=folded.as_of,
            registry=found.registry,
            guards=[shown_prefixes.show_guard(status) for status in tripped],
            alerts=found.alerts,
            may_act=may_act,
            has_token=has_token,
        )
        return summary, shown

    def prefixes(self, wanted: Wanted) -> PrefixList:
        """A page of prefixes.

        Raises:
            BadCursor: the cursor is not of this list.
        """
        now = self._now()
        shown = [self._show(one.known, now) for one in self._kept_at(now)]
        items, following, total = shown_prefixes.choose(shown, wanted)
        return PrefixList(now, items, following, total)

    def decisions(self, name: str) -> Decisions | None:
        """The last decisions of a prefix; None when there is no such prefix."""
        return Decisions(self._recent.decisions(name)) if self._find(name) else None

    def guards(self) -> Guards:
        """Every guard on money."""
        return Guards([shown_prefixes.show_guard(status) for status in self._guards(self._now())])

    def events(self, limit: int, cursor: str) -> Events:
        """A page of the last events.

        Raises:
            BadCursor: the cursor is not of this list.
        """
        return self._recent.events(limit, cursor)

    def pauses(self) -> PastPauses:
        """Every pause with its end."""
        return PastPauses(rows.of_pauses(pauses.history(self._parts.pausing.orders)))

    def _guards(self, now: datetime) -> list[GuardStatus]:
        found = [*self._parts.gate.statuses_in_all(now), *self._situation().tripwires]
        for prefix in self._prefixes():
            found += self._parts.gate.statuses(prefix, self._parts.keeper.known(prefix.name), now)
        return found

    def _guards_of(self, prefix: Prefix, now: datetime) -> list[GuardStatus]:
        tripwire = [status for status in self._situation().tripwires if status.prefix == prefix.name]
        return [*self._parts.gate.statuses(prefix, self._parts.keeper.known(prefix.name), now), *tripwire]

    def _kept_at(self, now: datetime) -> list[_Kept]:
        return [kept for prefix in self._prefixes() if (kept := self._know(prefix, now))]

    def _show(self, known: Known, now: datetime) -> PrefixShown:
        name, folded = known.prefix.name, self._till.folded
        return shown_prefixes.show(known, folded.takings(name), folded.early_loss_rate(name), now)

    def _know(self, prefix: Prefix, now: datetime) -> _Kept | None:
        kept = self._known.get(prefix.name)
        if kept and kept.known.prefix is prefix and now < kept.until:
            return kept
        keeper, pause = self._parts.keeper, self._parts.pausing.holding(prefix, now)
        try:
            decision, state = keeper.look(prefix.name), keeper.state(prefix.name)
        except ConfigError:
            return None  # gone with a reload meanwhile
        known = Known(prefix, state, decision, pause, self._recent.last_ping(prefix.name))
        guards = self._parts.gate.statuses(prefix, state, now)
        tripped = tuple(status for status in guards if status.state is GuardState.TRIPPED)
        ends = (now + _BELIEVED, decision.at, decision.warm_until, pause.until if pause else None)
        kept = _Kept(known, tripped, min(end for end in ends if end and end > now))
        self._known[prefix.name] = kept
        return kept

    def _find(self, name: str) -> Prefix | None:
        return next((prefix for prefix in self._prefixes() if prefix.name == name), None)

    # -- from the ledger ------------------------------------------------------------------------------------------

    def prefix(self, name: str) -> PrefixPage | None:
        """All that is known of a prefix; None when there is no such prefix.

        Raises:
            LedgerError: its pings cannot be read.
        """
        now, prefix = self._now(), self._find(name)
        kept = self._know(prefix, now) if prefix else None
        if prefix is None or kept is None:
            return None
        shown = self._show(kept.known, now)
        return PrefixPage(
            **{field.name: getattr(shown, field.name) for field in fields(PrefixShown)},
            fingerprint=prefix.fingerprint,
            guards=[shown_prefixes.show_guard(status) for status in self._guards_of(prefix, now)],
            drift=self._recent.drift(name),
            latency=self._latencies(prefix, now),
            curve=[CurvePoint(number, *point) for number, point in enumerate(self._parts.keeper.curve(name), 1)],
            busy_hours=shown_prefixes.say_busy_hours(prefix),
            margin_seconds=prefix.margin.total_seconds(),
            lifetime_seconds=prefix.lifetime.total_seconds(),
        )

    def _latencies(self, prefix: Prefix, now: datetime) -> Latencies:
        since = now - _LATENCY_WINDOW
        entries = self._parts.ledger.entries_back(prefix.name, since, (now, 0), _MOST_MARKS)
        found = accounting.make_report(entries, since, now).total
        cold = found.pings[Verdict.REWRITE] + found.pings[Verdict.UNCACHED]
        return Latencies(
            LatencyShown(found.pings[Verdict.HIT], found.latency_warm_ms.p50, found.latency_warm_ms.p95),
            LatencyShown(cold, found.latency_cold_ms.p50, found.latency_cold_ms.p95),
        )

    def timeline(self, name: str, stretch: Span) -> Timeline | None:
        """What happened to a prefix; None when there is no such prefix.

        Raises:
            LedgerError: it cannot be read.
        """
        prefix = self._find(name)
        return self._timeline(prefix, stretch, _MOST_MARKS) if prefix else None

    def timelines(self, names: Sequence[str], hours: float) -> Timelines:
        """What happened to several prefixes in the last hours.

        Raises:
            LedgerError: it cannot be read.
        """
        now = self._now()
        stretch = Span(now - timedelta(hours=hours), now)
        wanted = set(names)
        found = {
            prefix.name: self._timeline(prefix, stretch, _MOST_MARKS_OF_MANY)
            for prefix in self._prefixes()
            if prefix.name in wanted
        }
        return Timelines(now, stretch.start, now, found)

    def _timeline(self, prefix: Prefix, stretch: Span, most: int) -> Timeline:
        since, before = stretch.start - timelines.longest_life(prefix), (stretch.end, 0)
        entries = self._parts.ledger.entries_back(prefix.name, since, before, most)
        touches = [touch for _, touch in self._parts.ledger.touches_back(prefix.name, since, before, most)]
        oldest = [entries[-1].intent.started_at] if len(entries) == most else []
        oldest += [touches[-1].started_at] if len(touches) == most else []
        start = max([stretch.start, *oldest])
        truncated = start > stretch.start
        return timelines.draw(prefix, entries, touches, Span(start, stretch.end), truncated=truncated)

    def ledger(self, name: str, stretch: Span, limit: int, cursor: str) -> LedgerRows | None:
        """A page of pings and organic requests of a prefix, newest first; None when there is no such prefix.

        Raises:
            BadCursor: the cursor is not of this list.
            LedgerError: it cannot be read.
        """
        if self._find(name) is None:
            return None
        before_entry, before_touch = rows.places_before(cursor, stretch.end)
        ledger = self._parts.ledger
        found = [rows.of_entry(entry) for entry in ledger.entries_back(name, stretch.start, before_entry, limit + 1)]
        touches = ledger.touches_back(name, stretch.start, before_touch, limit + 1)
        found += [rows.of_touch(number, touch) for number, touch in touches]
        return LedgerRows(*rows.page(found, limit))

    def report(self, stretch: Span) -> dict[str, Any]:
        """What `keepwarm report --format json` prints; one at a time, since it may read a long ledger.

        Raises:
            Throttled: another one is being added up.
            LedgerError: it cannot be read.
        """
        if not self._reading.acquire(blocking=False):
            raise Throttled("another report is being added up at this moment", hint="ask again when it has ended")
        try:
            registry = replace(self._parts.registry, prefixes=tuple(self._prefixes()))
            found = make_report(replace(self._parts, registry=registry), stretch.start, stretch.end)
        finally:
            self._reading.release()
        return accounting.to_json(found)
