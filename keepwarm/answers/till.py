"""Adds up what pings cost and saved in thirty days, a stretch at a time, so that answers come from memory.

It computes no money: `accounting` does. Stretches that are over are read once, days from their sums where they are
summed up, and again only when touches are told late; the last hour is read at every look. After the first look it
never takes more than a thirtieth of the time.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from keepwarm import accounting, rolling, simulate
from keepwarm.accounting import Background
from keepwarm.clock import steady_seconds
from keepwarm.errors import LedgerError
from keepwarm.guards.breaker import HIT_DUE
from keepwarm.ledger import Ledger
from keepwarm.model import Prefix, PrefixState, Span
from keepwarm.views import takings, timelines
from keepwarm.views.takings import Folded, Sums

_LOOK_EVERY_SECONDS = 5.0
_SHARE_OF_TIME = 30
# Pings of a stretch may end after it, and touches be told a little later: it is read again for so long.
_SETTLES = timedelta(minutes=10)


class Till:
    """What is known of money; one thread looks, any may read."""

    def __init__(
        self,
        ledger: Ledger,
        prefixes: Callable[[], Iterable[Prefix]],
        state_of: Callable[[str], PrefixState],
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._prefixes = prefixes
        self._state_of = state_of
        self._now = now
        self._parts: dict[Span, dict[str, Sums]] = {}
        self._touches_seen: int | None = None
        self.folded = Folded()

    def run(self, stop: threading.Event) -> None:
        """Look again and again until told to stop; what cannot be read now is read the next time."""
        while not stop.is_set():
            began = steady_seconds()
            with contextlib.suppress(LedgerError):  # the reconciling tells of it; the figures say how old they are
                self.look(stop)
            stop.wait(max(_LOOK_EVERY_SECONDS, (steady_seconds() - began) * _SHARE_OF_TIME))

    def look(self, stop: threading.Event | None = None) -> None:
        """Read what is new.

        Raises:
            LedgerError: it cannot be read; what was read before holds.
        """
        now, longest = self._now(), self._longest_life()
        wanted = takings.stretches(now)
        outdated = self._outdated(wanted, now, longest)
        for span in wanted:
            if span in outdated:
                if stop and stop.is_set():
                    return
                self._parts[span] = self._read(span, now, longest)
                if len(outdated) > 2:  # after a start there are figures as soon as there can be
                    self.folded = takings.folded(self._parts, now, now)
        self._parts = {span: self._parts[span] for span in wanted}
        self.folded = takings.folded(self._parts, now, now)

    def _outdated(self, wanted: list[Span], now: datetime, longest: timedelta) -> set[Span]:
        if self._touches_seen is None:
            self._touches_seen = self._ledger.latest_touch()
            return set(wanted)
        self._touches_seen, first, last = self._ledger.touch_news(self._touches_seen)
        late = Span(first, last + longest) if first and last else None
        return {
            span
            for span in wanted
            if span not in self._parts
            or span.end > now - _SETTLES
            or (late and span.start <= late.end and span.end > late.start)
        }

    def _read(self, span: Span, now: datetime, longest: timedelta) -> dict[str, Sums]:
        until = min(span.end, now)
        if until <= span.start:
            return {}
        told = rolling.told(self._ledger, span.start, until, longest)
        names = self._ledger.told_of(span.start - longest, until)
        if told.rolled:
            names |= {part.prefix for part in told.rolled.parts}
        if not names:
            return {}
        backgrounds = {
            prefix.name: Background(
                provisioned=prefix.provisioned, terms=simulate.terms_of(prefix, self._state_of(prefix.name))
            )
            for prefix in self._prefixes()
            if prefix.name in names  # most stretches of a large registry tell of few, a new ledger of none
        }
        report = accounting.make_report(told.entries, told.since, told.until, backgrounds, told.touches, told.rolled)
        return takings.sums_of(report, self._ledger.verdicts(span.start, until, HIT_DUE))

    def _longest_life(self) -> timedelta:
        return max(map(timelines.longest_life, self._prefixes()), default=timedelta(hours=1))
