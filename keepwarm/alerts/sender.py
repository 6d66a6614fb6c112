"""Sends alerts to one sink by a queue and a thread of its own, so that a slow or dead sink costs others nothing.

It judges nothing and writes nothing down; what it could not deliver it tells its observers once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from keepwarm import clock
from keepwarm.alerts.kinds import Alert
from keepwarm.alerts.pace import Message, Pace
from keepwarm.alerts.sinks import Sink
from keepwarm.errors import KeepwarmError, Unavailable
from keepwarm.model import Event

_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=5)
_ATTEMPTS = 10  # in about 20 minutes


class Sender:
    """One sink's queue and thread.

    Args:
        per_hour: how many messages it gets in the long run.
        tell: told of deliveries that fail, and that work again.
        first_pause: before the second attempt; doubled for each further one.
    """

    def __init__(
        self,
        sink: Sink,
        per_hour: int,
        *,
        now: Callable[[], datetime],
        tell: Callable[[Event], None],
        first_pause: timedelta = _FIRST_PAUSE,
    ) -> None:
        self._sink = sink
        self._pace = Pace(per_hour, now())
        self._now = now
        self._tell = tell
        self._first_pause = first_pause
        self._changed = threading.Condition()
        self._sending = False
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"alerts-{sink.name}", daemon=True)

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    def put(self, alerts: Iterable[Alert]) -> None:
        """Take alerts to send; never waits."""
        with self._changed:
            for alert in alerts:
                self._pace.hold(alert)
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        with self._changed:
            return not self._sending and not self._pace.holds

    def close(self, within: timedelta) -> bool:
        """Send what waits and may go, without further attempts, and end.

        Returns:
            Whether nothing was left.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(within.total_seconds())
        return self.idle

    # -- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while message := self._next():
            try:
                self._deliver(message)
            finally:
                with self._changed:
                    self._sending = False

    def _next(self) -> Message | None:
        """What may go out, as soon as something may; None at the end."""
        with self._changed:
            while True:
                message = self._pace.next(self._now())
                if message:
                    self._sending = True
                    return message
                if self._closing:
                    return None
                wait = self._pace.wait(self._now())
                self._changed.wait(wait.total_seconds() if wait is not None else None)

    def _deliver(self, message: Message) -> None:
        pause, error = self._first_pause, self._attempt(message)
        for _ in range(_ATTEMPTS - 1):
            if error is None or not error.retryable or self._closes_within(pause):
                break
            pause, error = min(2 * pause, _LONGEST_PAUSE), self._attempt(message)
        if error:
            self._lose(message, error)

    def _attempt(self, message: Message) -> KeepwarmError | None:
        try:
            self._sink.deliver(message, self._now())
        except KeepwarmError as error:
            self._fail(error)
            return error
        except Exception as error:  # noqa: BLE001 - a bug in one sink must not silence it for ever
            found = Unavailable(f"unexpected {type(error).__name__}", hint="report this as a bug")
            self._fail(found)
            return found
        if self._failing:
            self._failing = False
            self._tell(Event("alert_sink_recovered", self._now(), "info", {"sink": self._sink.name}))
        return None

    def _fail(self, error: KeepwarmError) -> None:
        """Tell of an outage, once."""
        if not self._failing:
            self._failing = True
            fields: dict[str, object] = {"sink": self._sink.name, "error": str(error), "hint": error.hint}
            self._tell(Event("alert_sink_failed", self._now(), "warning", fields))

    def _lose(self, message: Message, error: KeepwarmError) -> None:
        fields: dict[str, object] = {
            "sink": self._sink.name,
            "count": len(message.alerts) + message.uncounted,
            "alerts": [f"{alert.state} {alert.key}" for alert in message.alerts[-20:]],
            "error": str(error),
        }
        self._tell(Event("alerts_lost", self._now(), "error", fields))

    def _closes_within(self, pause: timedelta) -> bool:
        """Wait for the next attempt; whether that is not to come any more."""
        deadline = clock.steady_seconds() + pause.total_seconds()
        with self._changed:
            self._changed.wait_for(lambda: self._closing, deadline - clock.steady_seconds())
            return self._closing
