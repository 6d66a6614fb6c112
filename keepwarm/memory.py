"""What the ledger tells of prefixes: their states after a start, and what other processes wrote meanwhile.

It decides and sends nothing. An outcome that could not be written waits here until the ledger takes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from keepwarm import planner
from keepwarm.errors import LedgerError
from keepwarm.guards.spending import Spent, day_of, month_of
from keepwarm.model import Closing, Entry, Event, IdleLimitPolicy, Intent, Outcome, Prefix, PrefixState, Touch, Ttl

# An entry of another process without an outcome is taken to be in flight for this long, and for an orphan afterwards.
_IN_FLIGHT = timedelta(minutes=5)

# Databases give numbers before they show the rows: what has a lower number than the last may still appear.
_ENTRIES_OVERLAP, _TOUCHES_OVERLAP = 100, 2_000

# How many entries tell the state of a prefix; one with an idle limit needs as many as its pings and their retries.
_HISTORY = 20


class Book(Protocol):
    """What keeps entries: `ledger.Ledger`."""

    def open_entry(self, intent: Intent, run_id: str) -> int:
        """Write an intent; returns its number."""

    def close_entry(self, number: int, outcome: Outcome) -> None:
        """Write its outcome."""

    def recent(self, fingerprints: Collection[str] | None, limit_each: int = 20) -> dict[str, list[Entry]]:
        """The last entries of each fingerprint, oldest first."""

    def entries_after(self, number: int, not_run_id: str) -> list[Entry]:
        """Entries of other processes above a number."""

    def latest_number(self) -> int:
        """The highest number so far."""

    def recent_touches(self, fingerprints: Collection[str], limit_each: int = 20) -> dict[str, list[Touch]]:
        """The last organic requests of each fingerprint, oldest first."""

    def latest_touch(self) -> int:
        """The highest number of an organic request so far."""

    def others_touches(self, after: int) -> list[tuple[int, Touch]]:
        """Organic requests above a number that other processes were told of, a page of them by number."""

    def billed_ttls(self, fingerprints: Collection[str]) -> dict[str, Ttl]:
        """What the last write of each fingerprint was billed as, where it was told."""

    def last_closings(self, fingerprints: Collection[str]) -> dict[str, Closing]:
        """The latest closing of each fingerprint."""

    def latest_closing(self) -> int:
        """The highest number of a closing so far."""

    def closings_after(self, number: int) -> list[tuple[int, Closing]]:
        """Closings above a number, a page of them by number."""

    def spent(self, since: datetime, lately: datetime, up_to: int | None = None) -> list[Spent]:
        """What was spent per prefix since a moment, and of that since a later one, by entries up to a number."""


class Memory:
    """One run's view of the ledger. Outcomes may come from many threads, all else from one at a time.

    Args:
        run_id: names this run in the ledger.
        observe: called with every event.
    """

    def __init__(self, book: Book, run_id: str, now: Callable[[], datetime], observe: Callable[[Event], None]) -> None:
        self._book = book
        self._run_id = run_id
        self._now = now
        self._observe = observe
        self._lock = threading.Lock()
        self._unwritten: dict[int, Outcome] = {}
        self._seen: int | None = None  # other processes' entries up to here are known, but for those awaited
        self._known: set[int] = set()  # of those numbers that may still have late ones among them
        self._awaited: dict[int, str] = {}  # and their fingerprints
        self.in_flight: list[Entry] = []  # of other processes, as of the last `news`
        self._start = 0
        self._touches_start = self._touches_seen = 0
        self._touches_known: set[int] = set()
        self._closings_seen = 0

    # -- reading --------------------------------------------------------------------------------------------------

    def recall(self, prefixes: Collection[Prefix]) -> dict[str, PrefixState]:
        """The states of prefixes, by fingerprint, as their entries and touches in the ledger tell them.

        Raises:
            LedgerError: it cannot be read.
        """
        seen = self._seen
        if seen is None:
            seen = self._start = self._book.latest_number()
            self._touches_start = self._touches_seen = self._book.latest_touch()
            self._closings_seen = self._book.latest_closing()
        fingerprints = [prefix.fingerprint for prefix in prefixes]
        limits = [prefix.policy.pings for prefix in prefixes if isinstance(prefix.policy, IdleLimitPolicy)]
        # Each of these asks once for every fingerprint: not where there is nothing to find.
        pinged = fingerprints if self._book.latest_number() else []
        touched = fingerprints if self._book.latest_touch() else []
        ended = fingerprints if self._book.latest_closing() else []
        history = self._book.recent(pinged, _HISTORY + 2 * max(limits, default=0))
        touches = self._book.recent_touches(touched, _HISTORY)
        billed = self._book.billed_ttls([fingerprint for fingerprint in pinged if fingerprint in history])
        closed = self._book.last_closings(ended)
        states = {}
        for prefix in prefixes:
            state = PrefixState(billed_ttl=billed.get(prefix.fingerprint))
            for entry in history.get(prefix.fingerprint, ()):  # as written: a clock set back does not reorder them
                outcome = entry.outcome or self._unwritten.get(entry.number)
                state = planner.absorb(prefix, state, replace(entry, outcome=outcome), 0.5)
            for touch in touches.get(prefix.fingerprint, ()):
                state = planner.absorb_touch(prefix, state, touch)
            if prefix.fingerprint in closed:
                state = planner.close(state, closed[prefix.fingerprint].at)
            states[prefix.fingerprint] = state
        if self._seen is None:  # else `news` may know more by now
            self._seen = seen
        return states

    def news(self) -> list[Entry]:
        """Entries of other processes that ended since the last call; one in flight is news when it ends.

        Raises:
            LedgerError: it cannot be read; what was missed is told the next time.
        """
        seen, waiting = self._seen or 0, self._awaited
        late = max(self._start, seen - _ENTRIES_OVERLAP)
        found = self._book.entries_after(min([late, *(number - 1 for number in waiting)]), self._run_id)
        self._awaited, self.in_flight = {}, []
        ended = []
        for entry in found:
            if entry.number not in waiting and (entry.number <= self._start or entry.number in self._known):
                continue
            seen = max(seen, entry.number)
            self._known.add(entry.number)
            if entry.outcome is None and self._now() - entry.intent.started_at < _IN_FLIGHT:
                self._awaited[entry.number] = entry.intent.fingerprint
                self.in_flight.append(entry)
            else:
                ended.append(entry)
        self._seen = seen
        self._known = {number for number in self._known if number > seen - _ENTRIES_OVERLAP}
        return ended

    @property
    def awaited(self) -> frozenset[str]:
        """Fingerprints of the pings of other processes that were in flight at the last `news`."""
        return frozenset(self._awaited.values())

    def overheard(self) -> list[Touch]:
        """Touches that other processes took in since the last call, or the first `recall`, each once.

        Raises:
            LedgerError: they cannot be read; what was missed is told the next time.
        """
        told: list[Touch] = []
        known: set[int] = set()
        after, seen = max(self._touches_start, self._touches_seen - _TOUCHES_OVERLAP), self._touches_seen
        while page := self._book.others_touches(after):
            told.extend(touch for number, touch in page if number not in self._touches_known)
            known.update(number for number, _ in page)
            after = page[-1][0]
            seen = max(seen, after)
        self._touches_seen, self._touches_known = seen, known
        return told

    def closings(self) -> list[Closing]:
        """Closings since the last call, or the first `recall`; those of this process and the latest come again.

        Raises:
            LedgerError: they cannot be read; what was missed is told the next time.
        """
        told: list[Closing] = []
        after = self._closings_seen - _ENTRIES_OVERLAP
        while page := self._book.closings_after(after):
            told.extend(closing for _, closing in page)
            after = page[-1][0]
        self._closings_seen = max(self._closings_seen, after)
        return told

    def spent(self, now: datetime) -> list[Spent]:
        """What the entries known so far spent in this month and day.

        Raises:
            LedgerError: it cannot be read.
        """
        return self._book.spent(month_of(now), day_of(now), self._seen)

    # -- writing --------------------------------------------------------------------------------------------------

    def open(self, intent: Intent) -> int:
        """Write that a ping is about to leave; returns the number of its entry.

        Raises:
            LedgerError: it cannot be written, so the ping must not leave.
        """
        return self._book.open_entry(intent, self._run_id)

    def close(self, number: int, outcome: Outcome) -> bool:
        """Write an outcome, or keep it for later; tells which."""
        try:
            self._book.close_entry(number, outcome)
        except LedgerError as error:
            with self._lock:
                self._unwritten[number] = outcome
            fields: dict[str, object] = {"entry": number, "error": str(error), "hint": error.hint}
            self._observe(Event("ledger_failed", self._now(), "error", fields))
            return False
        return True

    def write_overdue(self) -> None:
        """Write what could not be written, until the first that still cannot: each try may wait for a busy database."""
        written = True
        while written:
            with self._lock:
                if not self._unwritten:
                    return
                number = min(self._unwritten)
                outcome = self._unwritten.pop(number)
            written = self.close(number, outcome)
