"""A dead man's switch: posts to a heartbeat URL as long as the daemon's loop really turns.

The contract is that of Healthchecks (docs "HTTP API", read 2026-11-22): `/start` at the start, the plain URL for a
success, `/fail` for a failure. It has a thread that posts, and none that decides: without `turned` nothing is sent.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from keepwarm import clock
from keepwarm.alerts.posting import Mailbox
from keepwarm.errors import KeepwarmError
from keepwarm.model import Event

_ATTEMPTS = 3
_PAUSE = timedelta(seconds=2)
_START, _SUCCESS, _FAIL = "/start", "", "/fail"


class Heartbeat:
    """Tells somebody else that this daemon lives, so that they notice when it does not.

    Args:
        period: how often a success is told.
        tell: told when it cannot be posted, and when it can again.
    """

    def __init__(
        self, url: str, period: timedelta, *, now: Callable[[], datetime], tell: Callable[[Event], None]
    ) -> None:
        self._mailbox = Mailbox(url)
        self._period = period.total_seconds()
        self._now = now
        self._tell = tell
        self._told_at: float | None = None
        self._failed = False
        self._broken = False
        self._posts: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._waiting = threading.Semaphore(8)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Be ready to post."""
        self._thread.start()

    def turned(self, trouble: str = "") -> None:
        """The loop has turned once; the first time starts it.

        Args:
            trouble: what is wrong although it turned; empty for nothing.
        """
        steady = clock.steady_seconds()
        if self._told_at is None:
            self._put(_START, "starts")
        elif steady - self._told_at < self._period and bool(trouble) == self._broken:
            return
        self._broken = bool(trouble)
        self._told_at = steady
        self._put(_FAIL if trouble else _SUCCESS, trouble or "turns")

    def rest(self) -> None:
        """Another daemon leads, and is the one to tell; if this one leads again, it starts anew."""
        self._told_at = None

    def fail(self, why: str) -> None:
        """It ends, and not as it should."""
        if not self._failed:
            self._failed = True
            self._put(_FAIL, why)

    def close(self, within: timedelta) -> None:
        """Post what waits, and end."""
        self._posts.put(None)
        self._thread.join(within.total_seconds())

    def _put(self, path: str, words: str) -> None:
        """Of posts that are late only some wait: a heartbeat is of use when it is fresh."""
        if self._waiting.acquire(blocking=False):
            self._posts.put((path, words))

    # -- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        sick = False
        while post := self._posts.get():
            error = self._post(*post)
            self._waiting.release()
            if error and not sick:
                fields: dict[str, object] = {"sink": "heartbeat", "error": str(error), "hint": error.hint}
                self._tell(Event("alert_sink_failed", self._now(), "warning", fields))
            if sick and not error:
                self._tell(Event("alert_sink_recovered", self._now(), "info", {"sink": "heartbeat"}))
            sick = bool(error)

    def _post(self, path: str, words: str) -> KeepwarmError | None:
        found: KeepwarmError | None = None
        for attempt in range(_ATTEMPTS):
            try:
                self._mailbox.post(f"keepwarm: {words}\n".encode(), {"Content-Type": "text/plain"}, path)
            except KeepwarmError as error:
                found = error
                if not error.retryable or self._posts.qsize():
                    break
                clock.sleep(_PAUSE * attempt)
            else:
                return None
        return found
