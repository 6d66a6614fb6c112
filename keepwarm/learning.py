"""Keeps what the adaptive policy learns over restarts, and lets many threads ask it.

It learns nothing itself (see `courses` and `policies.learner`); what is lost with a crash is learnt again from the
touches in the ledger.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Protocol

from keepwarm import planner
from keepwarm.courses import ALL, Courses
from keepwarm.errors import LedgerError
from keepwarm.model import AdaptivePolicy, Entry, Event, Prefix, PrefixState, Touch

# How far back an installation that has learnt nothing yet reads its touches.
_LOOK_BACK = timedelta(weeks=8)
_MOMENT = timedelta(microseconds=1)

# So many prefixes are put into words while others wait: some milliseconds.
_AT_ONCE = 100

# What is kept in place of what could not be read back, of a prefix that is not registered any more.
_NOTHING = "{}"


class LearntBook(Protocol):
    """What keeps what was learnt, and what it was learnt from: `ledger.Ledger`."""

    def keep_learnt(self, values: Mapping[str, str], at: datetime) -> None:
        """Keep text by fingerprint."""

    def learnt(self) -> tuple[dict[str, str], datetime | None]:
        """What was kept, and up to when it was learnt."""

    def entries(self, since: datetime | None, until: datetime | None, prefix: str | None = None) -> Iterator[Entry]:
        """Pings that started in a stretch of time."""

    def touches(self, since: datetime | None, until: datetime | None, prefix: str | None = None) -> Iterator[Touch]:
        """Organic requests that started in a stretch of time."""


class Learning:
    """The courses of all prefixes; safe to use from many threads, of which one at a time keeps what was learnt.

    Args:
        observe: called with every event.
    """

    def __init__(self, book: LearntBook, now: Callable[[], datetime], observe: Callable[[Event], None]) -> None:
        self._book = book
        self._now = now
        self._observe = observe
        self._courses = Courses()
        self._unkept: set[str] = set()
        self._lock = threading.Lock()

    def load(self, prefixes: Collection[Prefix]) -> None:
        """Take in what was kept, and learn from what came since.

        What cannot be read back, such as after a downgrade, is learnt anew from the touches.

        Raises:
            LedgerError: it cannot be read.
        """
        kept, learnt_at = self._book.learnt()
        now = self._now()
        try:
            courses = Courses({name: json.loads(value) for name, value in kept.items() if value != _NOTHING})
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            courses, learnt_at = Courses(), None
            fields: dict[str, object] = {"error": type(error).__name__, "hint": "it is learnt anew from the touches"}
            self._observe(Event("learning_lost", now, "warning", fields))
            self._unkept = set(kept)
        since = learnt_at + _MOMENT if learnt_at else now - _LOOK_BACK
        self._catch_up(courses, prefixes, since, now + _MOMENT)
        with self._lock:
            self._courses = courses

    def hear(self, told: Iterable[tuple[Prefix, PrefixState, Touch]]) -> None:
        """Organic requests, each with what was known before it."""
        with self._lock:
            for prefix, before, touch in sorted(told, key=lambda one: one[2].started_at):
                self._courses.hear(prefix, before, touch)

    def pinged(self, prefix: Prefix, entry: Entry) -> None:
        """One of our pings has ended."""
        with self._lock:
            self._courses.pinged(prefix, entry)

    def advise(self, prefix: Prefix, state: PrefixState, now: datetime) -> PrefixState:
        """The state with the course of this moment; as it is under any other policy."""
        if not isinstance(prefix.policy, AdaptivePolicy):
            return state
        with self._lock:
            course = self._courses.course(prefix, state, now)
        return state if course == state.course else replace(state, course=course)

    def curve(self, prefix: Prefix, state: PrefixState) -> list[tuple[float, float]]:
        """For each coming ping of a silence, its chance to be of use and the chance from which it pays."""
        with self._lock:
            return self._courses.curve(prefix, state)

    def keep(self) -> None:
        """Write what was learnt since the last time; what cannot be written now is written the next time.

        Others wait for a few prefixes at a time only; those that change meanwhile are written as they are in the end.
        """
        values: dict[str, str] = {}
        names, self._unkept = self._unkept, set()
        at = None
        while at is None:
            with self._lock:
                names |= self._courses.changed()
                if not names and not values:
                    return
                now = set(islice(names, _AT_ONCE))
                names -= now
                values |= {name: self._text(name) for name in now}
                if not names:
                    at, values[ALL] = self._now(), self._text(ALL)
        try:
            self._book.keep_learnt(values, at)
        except LedgerError as error:
            self._unkept |= values.keys()
            self._observe(Event("ledger_failed", at, "error", {"error": str(error), "hint": error.hint}))

    def _text(self, name: str) -> str:
        return json.dumps(self._courses.learnt(name), separators=(",", ":"))

    def _catch_up(self, courses: Courses, prefixes: Collection[Prefix], since: datetime, until: datetime) -> None:
        known = {prefix.fingerprint: prefix for prefix in prefixes}
        states = dict.fromkeys(known, PrefixState())
        events: Iterator[Entry | Touch] = merge(
            self._book.entries(since, until), self._book.touches(since, until), key=_started_at
        )
        for event in events:
            fingerprint = event.fingerprint if isinstance(event, Touch) else event.intent.fingerprint
            prefix = known.get(fingerprint)
            if prefix is None:
                continue
            before = states[fingerprint]
            if isinstance(event, Touch):
                states[fingerprint] = planner.absorb_touch(prefix, before, event)
                courses.hear(prefix, before, event)
            else:
                states[fingerprint] = planner.absorb(prefix, before, event, 0.5)
                courses.pinged(prefix, event)


def _started_at(event: Entry | Touch) -> datetime:
    return event.started_at if isinstance(event, Touch) else event.intent.started_at
