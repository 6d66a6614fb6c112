"""What an application asks of the daemon for a prefix, and tells it besides its calls: the ttl, and closings.

On the application's side nothing here waits: answers come from memory, and the sender's thread runs the errands. A ttl
that was asked for once is asked for again and again for a day, so that an application with few requests has it when the
next one comes. What it holds is bounded, and a closing replaces an older one of the same prefix.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from keepwarm import clock
from keepwarm.reporter.delivery import Delivery, Destination, ToldTtl
from keepwarm.reporter.tally import Tally

_PREFIXES = 1_000
_WANTED_SECONDS = 24 * 3600.0
_GRACE_SECONDS = 60.0  # that an answer is believed beyond its age while the daemon cannot be asked
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.5, 30.0
_UNKNOWN_SECONDS = 60.0  # until a prefix that the daemon does not know is asked for again


@dataclass(slots=True)
class _Wanted:
    """A prefix whose ttl the application wants to know; moments in steady seconds."""

    wanted_until: float
    ask_at: float
    ttl: str | None = None
    believed_until: float = 0.0


@dataclass(frozen=True, slots=True)
class _Closing:
    at: datetime
    reason: str

    def to_json(self) -> bytes:
        """The body of `POST /v1/prefixes/NAME/closed`."""
        said = {"at": self.at.astimezone(UTC).isoformat()} | ({"reason": self.reason} if self.reason else {})
        return json.dumps(said).encode()


class Errands:
    """Those of one destination; safe to use from many threads and finalizers."""

    def __init__(self, destination: Destination, tally: Tally) -> None:
        self._destination = destination
        self._tally = tally
        self.reset()

    def reset(self) -> None:
        """Begin anew in a forked child: what waits is the parent's to tell."""
        self._lock = threading.RLock()
        self._wanted: dict[str, _Wanted] = {}
        self._closings: dict[str, _Closing] = {}
        self._not_before = 0.0
        self._pause_seconds = 0.0

    # -- the application's side -----------------------------------------------------------------------------------

    def ttl(self, prefix: str) -> tuple[str | None, bool]:
        """What is known of a prefix, and whether it is asked for the first time."""
        now = clock.steady_seconds()
        with self._lock:
            wanted = self._wanted.get(prefix)
            if wanted is None:
                if len(self._wanted) >= _PREFIXES:
                    return None, False
                self._wanted[prefix] = _Wanted(now + _WANTED_SECONDS, ask_at=now)
                return None, True
            wanted.wanted_until = now + _WANTED_SECONDS
            return (wanted.ttl if now < wanted.believed_until else None), False

    def close(self, prefix: str, reason: str) -> None:
        """No more requests of this prefix come."""
        with self._lock:
            if prefix not in self._closings and len(self._closings) >= _PREFIXES:
                self._closings.pop(next(iter(self._closings)))
                self._tally.count("errors", "closings_dropped")
            self._closings[prefix] = _Closing(clock.utc_now(), reason)

    # -- the thread's side ----------------------------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """Whether closings wait to be told."""
        return bool(self._closings)

    def next_at(self) -> float | None:
        """When there is something to do; None for as long as nothing happens."""
        with self._lock:
            moments = [0.0] if self._closings else [wanted.ask_at for wanted in self._wanted.values()]
            return max(self._not_before, min(moments)) if moments else None

    def run(self, *, urgent: bool = False) -> bool:
        """Tell and ask what is due, up to the first failure; tells whether there was none.

        Args:
            urgent: tell what waits although the last try has failed just now, and ask nothing.
        """
        now = clock.steady_seconds()
        if now < self._not_before and not urgent:
            return True
        return self._tell_closings() and (urgent or self._ask_ttls(now))

    def _tell_closings(self) -> bool:
        while self._closings:
            with self._lock:  # taken out first: one that raises must not come again and again
                prefix = next(iter(self._closings))
                closing = self._closings.pop(prefix)
            delivery = self._destination.close(prefix, closing.to_json())
            if not self._heed(delivery) and delivery.again:
                with self._lock:
                    self._closings.setdefault(prefix, closing)
                return False
        return True

    def _ask_ttls(self, now: float) -> bool:
        with self._lock:
            self._wanted = {prefix: wanted for prefix, wanted in self._wanted.items() if now < wanted.wanted_until}
            due = [(prefix, wanted) for prefix, wanted in self._wanted.items() if wanted.ask_at <= now]
        for prefix, wanted in due:
            asked_at, wanted.ask_at = wanted.ask_at, now + _UNKNOWN_SECONDS
            told = self._destination.ask_ttl(prefix)
            if isinstance(told, ToldTtl):
                wanted.ttl, wanted.ask_at = told.ttl, clock.steady_seconds() + told.max_age_seconds
                wanted.believed_until = wanted.ask_at + _GRACE_SECONDS
                self._pause_seconds = 0.0
                continue
            self._heed(told)
            if told.again:
                wanted.ask_at = asked_at
                return False
            wanted.ttl = None
        return True

    def _heed(self, delivery: Delivery) -> bool:
        """Count a failure and pause after one that time may heal; tells whether it was none."""
        if delivery.taken:
            self._pause_seconds = 0.0
            return True
        self._tally.count("errors", delivery.kind)
        if delivery.again:
            self._pause_seconds = min(max(2 * self._pause_seconds, _FIRST_PAUSE_SECONDS), _LAST_PAUSE_SECONDS)
            self._not_before = clock.steady_seconds() + self._pause_seconds
        return False
