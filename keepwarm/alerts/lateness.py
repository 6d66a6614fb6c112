"""Whether prefixes are tended when they are due; pure.

It measures nothing: it is told when a prefix was due, and when it was tended.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keepwarm.model import Event


class Lateness:
    """The prefixes that were last tended too late; one thread at a time for each prefix."""

    def __init__(self) -> None:
        self._late: set[str] = set()

    def tended(self, name: str, late: timedelta, allowed: timedelta, now: datetime) -> Event | None:
        """A prefix is about to be tended.

        Args:
            late: how long after it was due.
            allowed: how much later than due is still in time.

        Returns:
            `daemon_late` when it is not in time and was before, `daemon_in_time_again` the other way round.
        """
        if late > allowed and name not in self._late:
            self._late.add(name)
            fields: dict[str, object] = {
                "prefix": name,
                "late_seconds": round(late.total_seconds(), 3),
                "allowed_seconds": round(allowed.total_seconds(), 3),
                "hint": "the machine is busy or was asleep, or KEEPWARM_MAX_CONCURRENT_PINGS are too few",
            }
            return Event("daemon_late", now, "warning", fields)
        if late <= allowed and name in self._late:
            self._late.discard(name)
            return Event("daemon_in_time_again", now, "info", {"prefix": name})
        return None
