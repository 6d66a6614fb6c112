"""What has just happened, kept in memory within bounds: events, decisions, last pings, drifts.

It keeps nothing over a restart but what it is given; the ledger and the log do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from itertools import islice

from keepwarm.model import Entry, Event
from keepwarm.views import cursors, rows
from keepwarm.views.shapes import DecisionShown, DriftShown, Events, LastPing

_MOST_EVENTS = 2_000
# Of each prefix; fewer where there are many, since half a kilobyte each is much for a hundred thousand prefixes.
_MOST_DECISIONS, _LEAST_DECISIONS = 50, 3
_MOST_DECISIONS_IN_ALL = 20_000


class Recent:
    """The last of everything; an observer, safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._events: deque[tuple[int, Event]] = deque(maxlen=_MOST_EVENTS)
        self._decisions: dict[str, deque[DecisionShown]] = {}
        self._pings: dict[str, LastPing] = {}
        self._drifts: dict[str, DriftShown] = {}

    def observe(self, event: Event) -> None:
        """Keep an event."""
        with self._lock:
            self._number += 1
            self._events.append((self._number, event))
            name = event.fields.get("prefix")
            if isinstance(name, str):
                self._note(name, event)

    def _note(self, name: str, event: Event) -> None:
        if event.name in {"ping_succeeded", "ping_failed"}:
            self._pings[name] = _last_ping(event)
        elif event.name == "prefix_drifted":
            told = [str(event.fields.get(key, "")) for key in ("differs", "source", "hint")]
            self._drifts[name] = DriftShown(event.at, *told)

    def decided(self, name: str, decision: DecisionShown) -> None:
        """Keep a decision, unless it says what the one before did."""
        with self._lock:
            kept = self._decisions.setdefault(name, deque())
            if not kept or _what(kept[-1]) != _what(decision):
                kept.append(decision)
            share = max(_LEAST_DECISIONS, _MOST_DECISIONS_IN_ALL // len(self._decisions))
            while len(kept) > min(_MOST_DECISIONS, share):
                kept.popleft()

    def retain(self, names: Collection[str]) -> None:
        """Let all go that is kept of other prefixes, but events."""
        with self._lock:
            for kept in (self._decisions, self._pings, self._drifts):
                for name in kept.keys() - names:
                    del kept[name]

    def learn_pings(self, entries: Mapping[str, Entry]) -> None:
        """Last pings as the ledger tells them, by name; an earlier one changes nothing, nor does one in flight."""
        with self._lock:
            for name, entry in entries.items():
                known = self._pings.get(name)
                if entry.outcome and (known is None or known.at < entry.intent.started_at):
                    self._pings[name] = of_entry(entry)

    def last_ping(self, name: str) -> LastPing | None:
        """The last ping of a prefix that ended."""
        return self._pings.get(name)

    def drift(self, name: str) -> DriftShown | None:
        """What production last sent that is almost this prefix."""
        return self._drifts.get(name)

    def decisions(self, name: str) -> list[DecisionShown]:
        """The last decisions, newest first."""
        with self._lock:
            return list(reversed(self._decisions.get(name, ())))

    def events(self, limit: int, cursor: str) -> Events:
        """A page of events, newest first.

        Raises:
            BadCursor: it is not of this list.
        """
        before = cursors.read("events", cursor, (int,))[0] if cursor else None
        with self._lock:
            older = (kept for kept in reversed(self._events) if before is None or kept[0] < before)  # type: ignore[operator]
            found = list(islice(older, limit + 1))
        following = cursors.write("events", found[limit - 1][0]) if len(found) > limit else None
        return Events([rows.of_event(event) for _, event in found[:limit]], following)


def of_entry(entry: Entry) -> LastPing:
    """A ping that ended, as the ledger has it."""
    row = rows.of_entry(entry)
    verdict, cost = entry.verdict.value, float(entry.cost_usd)
    return LastPing(row.at, verdict, row.read_tokens, row.written_tokens, cost, row.latency_ms, row.error)


def _last_ping(event: Event) -> LastPing:
    latency = _count(event, "latency_ms")
    error = event.fields.get("error") or event.fields.get("error_code")
    return LastPing(
        at=_started(event.at, latency),
        verdict=str(event.fields["verdict"]),
        read_tokens=_count(event, "read_tokens"),
        written_tokens=_count(event, "written_tokens"),
        cost_usd=float(str(event.fields["cost_usd"])),
        latency_ms=latency,
        error=str(error) if error else None,
    )


def _started(ended: datetime, latency_ms: int | None) -> datetime:
    return ended - timedelta(milliseconds=latency_ms or 0)


def _count(event: Event, name: str) -> int | None:
    found = event.fields.get(name)
    return found if isinstance(found, int) else None


def _what(decision: DecisionShown) -> tuple[object, ...]:
    return decision.action, decision.reason, decision.next_at, decision.warm_until
