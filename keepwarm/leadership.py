"""Keeps a daemon's claim to lead alive: asks the ledger every second, in a thread that nothing else can hold up.

It starts and stops no tending itself: the daemon looks at `leading` and acts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from keepwarm import clock
from keepwarm.errors import LedgerError
from keepwarm.ledger import Lease
from keepwarm.model import Event

_BEAT = timedelta(seconds=1)
# A claim that hangs for longer than this on a dead network is broken off, and made anew over another connection.
_HANG = timedelta(seconds=4)


class Leadership:
    """One daemon's claim to lead, kept alive until `end`.

    Args:
        tell: called when the ledger cannot be asked, once until it can again.
    """

    def __init__(self, lease: Lease, *, now: Callable[[], datetime], tell: Callable[[Event], None]) -> None:
        self._lease = lease
        self._now = now
        self._tell = tell
        self._stop = threading.Event()
        self._failed = False
        self._asked: float | None = None  # while the ledger is being asked, since when
        self._changed: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="leadership", daemon=True)

    @property
    def term(self) -> int | None:
        """The term in which this daemon leads; None while another does, or nobody can tell."""
        return self._lease.term

    @property
    def leader(self) -> str:
        """Who leads, as last seen; empty before the first look."""
        return self._lease.leader

    def begin(self, changed: Callable[[], None]) -> None:
        """Ask from now on.

        Args:
            changed: called in the thread that asks, when the lead was won or lost.
        """
        self._changed = changed
        self._thread.start()

    def watch(self) -> None:
        """Break off an attempt that hangs; wanted every second or so."""
        asked = self._asked
        if asked is not None and clock.steady_seconds() - asked > _HANG.total_seconds():
            self._lease.cut()

    def end(self) -> None:
        """Give the lead up, at once for all others; ending twice is fine."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_BEAT.total_seconds())
            self._lease.cut()  # only a beat that hangs is still there
            self._thread.join(_BEAT.total_seconds())
        self._lease.give_up()

    # -- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(_BEAT.total_seconds()):
            before = self._lease.term
            self._asked = clock.steady_seconds()
            try:
                self._lease.beat()
            except LedgerError as error:
                self._tell_failure(error)
            else:
                self._failed = False
            finally:
                self._asked = None
            if self._lease.term != before:
                self._changed()

    def _tell_failure(self, error: LedgerError) -> None:
        if not self._failed and not self._stop.is_set():
            self._failed = True
            self._tell(Event("ledger_failed", self._now(), "error", {"error": str(error), "hint": error.hint}))
