"""Keeps the ledger small and its reports fast: sums up days that are over, deletes what is older than its retention.

It computes nothing: `rollups` does. Of several daemons on a ledger only the one that leads does this. A day is summed
up when it is over for six hours; what comes later still lets it be summed up again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from keepwarm import rollups, simulate
from keepwarm.clock import steady_seconds
from keepwarm.errors import ConfigError, LedgerError
from keepwarm.ledger import Ledger, RolledRow, RolledState
from keepwarm.model import Entry, Prefix, PrefixState, Touch
from keepwarm.rollups import DAY, Before, Ground, Rolled, midnight

SETTLES = timedelta(hours=6)
BATCH = 1_000
# So many names are asked for one by one rather than walking everybody's.
FEW = 20

# Where the ledger keeps which entries were there at the last look at what may be late.
_ENTRIES = "rolling"
_CHUNK_ROWS = 20_000
_WHEN_DONE_SECONDS = 600.0
_LEAST_PAUSE_SECONDS = 1.0
_SHARE_OF_TIME = 10
_PATIENCE_SECONDS = 5.0
_REBUILD_HINT = "it was written by another keepwarm: run that one, or `keepwarm tidy --rebuild` to sum up anew"


@dataclass(frozen=True, slots=True)
class Told:
    """What the ledger tells of a stretch of time.

    Attributes:
        since: as asked for, or earlier, where only whole days are left.
        entries: those that no whole day holds; from before the stretch on, as far as it matters.
        touches: likewise.
        rolled: the whole days in it that are summed up.
    """

    since: datetime
    until: datetime
    entries: Iterable[Entry]
    touches: Iterable[Touch]
    rolled: Rolled | None


def told(
    ledger: Ledger, since: datetime, until: datetime, longest: timedelta, names: Collection[str] | None = None
) -> Told:
    """What the ledger tells of [since, until).

    Args:
        longest: how long an entry lives at most.
        names: of these prefixes only; others may be among them. None for all.

    Raises:
        LedgerError: it cannot be read.
    """
    few = sorted(names) if names is not None and len(names) <= FEW else None
    state = ledger.rolls.state()
    span = None
    if state:
        since, until = rollups.drawn_out(since, until, state.details_since)
        late = _first_late(ledger, state)
        usable = min(state.until, midnight(late)) if late else state.until
        span = rollups.whole_days(since, min(until, usable))
    if span is None:
        edges = [(since - longest, until)]
        return Told(since, until, _entries(ledger, edges, few), _touches(ledger, edges, few), None)
    head = midnight(since)
    edges = [(start, end) for start, end in ((head, span.start), (span.end, until)) if start < end]
    with _readable():
        rolled = rollups.put_together(
            span,
            head,
            [rollups.part_from(*row) for row in ledger.rolls.parts(span.start, span.end, few)],
            _befores(ledger.rolls.standings(head, few)),
            _befores(ledger.rolls.standings(span.end, few)),
        )
    return Told(since, until, _entries(ledger, edges, few), _touches(ledger, edges, few), rolled)


def _first_late(ledger: Ledger, state: RolledState | None) -> datetime | None:
    """When the first touch or ping started that no sum holds although its day was summed up; None without any.

    Touches are told late. Pings come late only where the clock was ahead when their day was summed up, unbegun.
    """
    seen = ledger.cursor(_ENTRIES)
    return ledger.rolls.first_late(state, int(seen) if seen else ledger.latest_number()) if state else None


Edges = list[tuple[datetime, datetime]]


def _entries(ledger: Ledger, edges: Edges, names: list[str] | None) -> Iterator[Entry]:
    return chain.from_iterable(ledger.entries(*edge, name) for edge in edges for name in _each(names))


def _touches(ledger: Ledger, edges: Edges, names: list[str] | None) -> Iterator[Touch]:
    return chain.from_iterable(ledger.touches(*edge, name) for edge in edges for name in _each(names))


def _each(names: list[str] | None) -> Iterable[str | None]:
    return (None,) if names is None else names


def _befores(rows: Iterable[RolledRow]) -> dict[str, Before]:
    return {row.fingerprint: rollups.before_from(row.prefix, row.value) for row in rows}


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"a summed up day of the ledger cannot be read: {error}", hint=_REBUILD_HINT) from None


class Roller:
    """Sums up day after day, and deletes old entries, a step at a time.

    Args:
        retention: how long entries and touches are kept; None for ever.
    """

    def __init__(
        self,
        ledger: Ledger,
        prefixes: Callable[[], Iterable[Prefix]],
        state_of: Callable[[str], PrefixState],
        now: Callable[[], datetime],
        retention: timedelta | None,
    ) -> None:
        self._ledger = ledger
        self._prefixes = prefixes
        self._state_of = state_of
        self._now = now
        self._retention = retention

    def step(self) -> bool:
        """Sum up a day, or delete a little.

        Returns:
            Whether there is more to do.

        Raises:
            LedgerError: it cannot be read or written.
        """
        return self.roll() is not None or self.trim() > 0

    def roll(self) -> datetime | None:
        """Sum up the first day that is over and not summed up; that day, None without any.

        Raises:
            LedgerError: it cannot be read or written.
        """
        rolls, last = self._ledger.rolls, midnight(self._now() - SETTLES)
        seen = self._ledger.latest_touch()  # before all else: what comes from now on comes late
        entries = self._ledger.latest_number()
        state = rolls.state()
        if late := _first_late(self._ledger, state):
            rolls.drop(midnight(late))
            state = rolls.state()
        if self._ledger.cursor(_ENTRIES) != str(entries):
            self._ledger.set_cursor(_ENTRIES, str(entries), self._now())
        first = rolls.next_start(state.until if state else None)
        if first and midnight(first) < last:
            self._fold_month(rollups.first_of_month(first))
            self._roll(midnight(first), seen)
            return midnight(first)
        if state and state.until < last:  # silent days
            rolls.keep(last - DAY, (), (), seen)
        return None

    def _fold_month(self, before: datetime) -> None:
        """Sum up the days of the last month that had any, before a day that is in another."""
        rolls = self._ledger.rolls
        last = rolls.last_day(before)
        month = rollups.first_of_month(last) if last else before
        end = rollups.next_month(month)
        if last and not rolls.months(month, end):
            with _readable():
                days = [rollups.part_from(*row) for row in rolls.parts(month, end, whole_months=False)]
            parts = rollups.folded(days, month, end)
            rows = [RolledRow(part.prefix, part.fingerprint, rollups.part_text(part)) for part in parts]
            rolls.keep_month(month, (end - month) // DAY, rows)

    def _roll(self, day: datetime, seen: int) -> None:
        rolls = self._ledger.rolls
        with _readable():
            before = _befores(rolls.standings(day))
        grounds = self._grounds()
        parts: list[RolledRow] = []
        after: dict[str, Before] = {}
        for names in _chunks(rolls.names(day)):
            entries, touches = rolls.details(day, names)
            found, stood = rollups.roll(day, entries, touches, grounds, before)
            parts += (RolledRow(part.prefix, part.fingerprint, rollups.part_text(part)) for part in found)
            after |= stood
        standings = [RolledRow(at.standing.name, each, rollups.before_text(at)) for each, at in after.items()]
        rolls.keep(day, parts, standings, seen)

    def _grounds(self) -> Mapping[str, Ground]:
        found = {}
        for prefix in self._prefixes():
            # A prefix that was let go a moment ago has no state any more.
            with contextlib.suppress(ConfigError):
                found[prefix.name] = simulate.ground_of(prefix, self._state_of(prefix.name))
        return found

    def trim(self) -> int:
        """Delete some of what is older than the retention and summed up; how many rows.

        Raises:
            LedgerError: they cannot be deleted.
        """
        if self._retention is None:
            return 0
        return self._ledger.rolls.delete_details(midnight(self._now() - self._retention), BATCH)

    def rebuild(self) -> None:
        """Forget the sums of all days whose entries and touches are still there, to sum them up again.

        Raises:
            LedgerError: it cannot be written.
        """
        state = self._ledger.rolls.state()
        if state:
            self._ledger.rolls.drop(state.details_since or datetime.min.replace(tzinfo=state.until.tzinfo))

    def run(self, leads: Callable[[], bool], stop: threading.Event) -> None:
        """Do so while this daemon leads, in a tenth of the time, until told to stop."""
        pause = _LEAST_PAUSE_SECONDS
        while not stop.wait(pause):
            began, more = steady_seconds(), False
            with contextlib.suppress(LedgerError):  # the reconciling tells of it; the next step tries again
                more = leads() and self.step()
            took = (steady_seconds() - began) * _SHARE_OF_TIME
            pause = max(_LEAST_PAUSE_SECONDS, took) if more else _WHEN_DONE_SECONDS

    @contextmanager
    def kept(self, leads: Callable[[], bool]) -> Iterator[None]:
        """Run beside what the caller does."""
        stop = threading.Event()
        thread = threading.Thread(target=self.run, args=(leads, stop), name="rolling", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_PATIENCE_SECONDS)  # a step more is harmless, but its ledger is closed next


def _chunks(names: Mapping[str, int]) -> Iterator[list[str]]:
    """Names whose rows fit into memory together."""
    chunk: list[str] = []
    rows = 0
    for name, count in sorted(names.items()):
        chunk.append(name)
        rows += count
        if rows >= _CHUNK_ROWS:
            yield chunk
            chunk, rows = [], 0
    if chunk:
        yield chunk
