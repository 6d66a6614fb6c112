"""Follows one source of traffic for ever: reads what is new, hands it on, remembers how far it came.

It knows no AWS and no ledger. What it hands on may be handed on twice, after a crash or a failure: request ids make
that harmless. Nothing is lost as long as a source is followed again within a day.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from keepwarm.errors import KeepwarmError
from keepwarm.model import Event
from keepwarm.touches import MAX_AGE, ReportedTouch

# Takes touches in hand for good; they are told again if it raises a KeepwarmError.
Deliver = Callable[[Sequence[ReportedTouch]], object]

OVERLAP = timedelta(minutes=15)  # how late a record may turn up, and still be found

# Without a position: as far back as an entry can live, so that a first start knows what is warm.
_FIRST_LOOK = timedelta(hours=1)
_LONGEST_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Portion:
    """Some of what a source has to tell.

    Attributes:
        skipped: records that are no organic request, by reason.
        until: with this portion, everything that the source had before this moment is told; None when more comes.
    """

    touches: Sequence[ReportedTouch] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    until: datetime | None = None


class Source(Protocol):
    """Where organic requests are written down."""

    @property
    def name(self) -> str:
        """Names it in events and in the ledger, the same in every run."""

    def read(self, since: datetime, now: datetime) -> Iterator[Portion]:
        """What is new, a bounded portion at a time; raises KeepwarmError.

        A portion counts as told when the next one is asked for. Of what was before `since` only the late is told.
        """


class CursorStore(Protocol):
    """What remembers how far sources were read: `ledger.Ledger`."""

    def cursor(self, source: str) -> str | None:
        """The position of a source, None before its first."""

    def set_cursor(self, source: str, value: str, at: datetime) -> None:
        """Remember its position."""


class Follower:
    """One source, followed in one thread.

    Args:
        now: aware UTC.
        tell: called with `traffic_source_failed` and `traffic_source_recovered`, once for each turn of things.
        poll: how long it rests before it looks again.
    """

    def __init__(
        self,
        source: Source,
        cursors: CursorStore,
        *,
        now: Callable[[], datetime],
        tell: Callable[[Event], None],
        poll: timedelta,
    ) -> None:
        self._source = source
        self._cursors = cursors
        self._now = now
        self._tell = tell
        self._poll = poll
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._failures = 0
        self._told_code = ""
        self._failing_since: datetime | None = None

    @property
    def name(self) -> str:
        """Of its source."""
        return self._source.name

    @property
    def tally(self) -> dict[str, int]:
        """What became of the records so far: `touches`, and each reason to skip one; also from other threads."""
        with self._lock:
            return dict(self._counts)

    def run(self, stop: threading.Event, deliver: Deliver) -> None:
        """Follow until `stop` is set; what fails is tried again, ever more slowly."""
        while not stop.is_set():
            self.poll(stop, deliver)
            stop.wait(self.pause.total_seconds())

    @property
    def pause(self) -> timedelta:
        """How long it rests now: twice as long with every failure in a row."""
        return self._poll if not self._failures else self._backed_off()

    def poll(self, stop: threading.Event, deliver: Deliver) -> bool:
        """Read once what is new; True when nothing failed."""
        try:
            self._read(stop, deliver)
        except KeepwarmError as error:
            self._failed(error)
            return False
        self._succeeded()
        return True

    def _read(self, stop: threading.Event, deliver: Deliver) -> None:
        now = self._now()
        for portion in self._source.read(self._since(now), now):
            if portion.touches:
                deliver(portion.touches)
            with self._lock:
                self._counts.update(portion.skipped)
                self._counts["touches"] += len(portion.touches)
            if portion.until:
                self._cursors.set_cursor(self.name, portion.until.isoformat(), now)
            if stop.is_set():
                return

    def _since(self, now: datetime) -> datetime:
        """Where to read on; a position that cannot be read, or that only a clock set back explains, is none."""
        told = self._cursors.cursor(self.name)
        try:
            position = datetime.fromisoformat(told) if told else None
        except ValueError:
            position = None
        if position is None or position.tzinfo is None or position > now:
            return now - _FIRST_LOOK
        return max(position, now - MAX_AGE)

    def _backed_off(self) -> timedelta:
        longer: timedelta = self._poll * (1 << min(self._failures, 16))
        return min(longer, max(self._poll, _LONGEST_PAUSE))

    def _failed(self, error: KeepwarmError) -> None:
        now = self._now()
        self._failures += 1
        self._failing_since = self._failing_since or now
        if error.code == self._told_code:
            return
        self._told_code = error.code
        fields: dict[str, object] = {
            "source": self.name,
            "error_code": error.code,
            "error": str(error),
            "hint": error.hint,
            "tries_again_in_seconds": self.pause.total_seconds(),
        }
        self._tell(Event("traffic_source_failed", now, "warning", fields))

    def _succeeded(self) -> None:
        if self._failing_since is None:
            return
        now = self._now()
        failed_for = (now - self._failing_since).total_seconds()
        self._failures, self._told_code, self._failing_since = 0, "", None
        fields: dict[str, object] = {"source": self.name, "failed_for_seconds": failed_for}
        self._tell(Event("traffic_source_recovered", now, "info", fields))
