"""How many messages a sink gets: single alerts while there is room, then one summary of those held back; pure.

It sends nothing and knows no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from keepwarm.alerts.kinds import Alert

# So many messages may go at once after a quiet time.
BURST = 10
# Of so many held alerts the summary tells one by one; older ones are only counted.
MOST_HELD = 200


@dataclass(frozen=True, slots=True)
class Message:
    """What goes out at once.

    Attributes:
        alerts: one, or several in a summary, oldest first.
        uncounted: more that were held back, and are only counted.
    """

    alerts: tuple[Alert, ...]
    uncounted: int = 0

    @property
    def is_summary(self) -> bool:
        """Whether it tells of several."""
        return len(self.alerts) + self.uncounted > 1


class Pace:
    """A bucket of tokens, one for each message, and the alerts that wait for one.

    Args:
        per_hour: how many messages an hour in the long run.
    """

    def __init__(self, per_hour: int, now: datetime) -> None:
        self._every = timedelta(hours=1) / per_hour
        self._burst = min(BURST, per_hour)
        self._tokens = float(self._burst)
        self._at = now
        self._held: OrderedDict[str, Alert] = OrderedDict()
        self._uncounted = 0

    def hold(self, alert: Alert) -> None:
        """Take an alert; of the same key the last one counts."""
        self._held.pop(alert.key, None)
        self._held[alert.key] = alert
        if len(self._held) > MOST_HELD:
            self._held.popitem(last=False)
            self._uncounted += 1

    @property
    def holds(self) -> int:
        """How many wait."""
        return len(self._held) + self._uncounted

    def next(self, now: datetime) -> Message | None:
        """What may go out now; None when nothing waits or may.

        The last token is for what waits all together, so that nothing follows a summary before there is room again.
        """
        self._refill(now)
        if not self._held or self._tokens < 1:
            return None
        self._tokens -= 1
        if self._tokens >= 1:
            return Message((self._held.popitem(last=False)[1],))
        message = Message(tuple(self._held.values()), self._uncounted)
        self._held.clear()
        self._uncounted = 0
        return message

    def wait(self, now: datetime) -> timedelta | None:
        """How long until something may go out; None while nothing waits."""
        self._refill(now)
        return max(timedelta(0), (1 - self._tokens) * self._every) if self._held else None

    def _refill(self, now: datetime) -> None:
        passed = max(timedelta(0), now - self._at)
        self._tokens = min(float(self._burst), self._tokens + passed / self._every)
        self._at = now
