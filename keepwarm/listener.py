"""Takes in what others tell of organic requests: judges each, finds its prefix, writes it down, moves its expiry.

It opens no port and follows no log; `web` and `traffic` hand it what they hear. It never pings.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from keepwarm.keeper import Keeper, Observer
from keepwarm.model import Closing, Event, Prefix, Source, Touch
from keepwarm.touches import Matcher, Refused, ReportedTouch, parse, parse_closing

# The same difference of the same prefix is told again after this long.
_DRIFT_AGAIN = timedelta(hours=24)

# How long an application may believe what ttl it was told; nothing but its own requests and time changes that.
_TTL_BELIEVED = timedelta(seconds=15)


class TouchBook(Protocol):
    """What keeps touches: `ledger.Ledger`."""

    def add_touches(self, told: Collection[Touch]) -> set[str]:
        """Write those whose request id is new; returns these ids."""

    def add_closing(self, closing: Closing) -> None:
        """Write that no more requests of a prefix come."""


class Listener:
    """Hears of organic requests; safe to use from many threads.

    Args:
        key: the installation's fingerprint key.
        wake: called with the names of prefixes that want to be tended at once.
    """

    def __init__(
        self,
        *,
        book: TouchBook,
        keeper: Keeper,
        prefixes: Iterable[Prefix],
        key: bytes,
        now: Callable[[], datetime],
        wake: Callable[[Collection[str]], None],
        observers: Sequence[Observer] = (),
    ) -> None:
        self._book = book
        self._keeper = keeper
        self._key = key
        self._now = now
        self._wake = wake
        self._observers = observers
        self._matcher = Matcher(prefixes, key)
        self._drifts: dict[tuple[str, str], datetime] = {}
        # A zero from the start: Prometheus sees no increase in a series that begins with its first event.
        self._counts: Counter[str] = Counter(dropped=0)
        self._lock = threading.Lock()

    def adopt(self, prefixes: Iterable[Prefix]) -> None:
        """Know these prefixes from now on."""
        self._matcher = Matcher(prefixes, self._key, self._matcher)

    @property
    def counts(self) -> dict[str, int]:
        """What became of the touches so far.

        `accepted`, `duplicate`, `unknown`, `drifted`, refusals by reason, and `dropped`: what reporters could not tell.
        """
        with self._lock:
            return dict(self._counts)

    def hear_batch(self, batch: Sequence[Any], dropped: int = 0) -> dict[str, Any]:
        """Take in touches as they come over HTTP.

        Args:
            batch: parsed JSON; each is judged on its own.
            dropped: how many others the sender has lost since its last batch; counted only.

        Returns:
            The receipt: how many were accepted, known already, or of no prefix; and each refusal with its index.

        Raises:
            LedgerError: they cannot be written; none is taken in, and the batch may be sent again.
        """
        now = self._now()
        judged = [parse(raw, now, Source.HTTP) for raw in batch]
        refused = [(index, found) for index, found in enumerate(judged) if isinstance(found, Refused)]
        receipt: dict[str, Any] = self.hear([found for found in judged if isinstance(found, ReportedTouch)])
        with self._lock:
            self._counts.update(found.reason.value for _, found in refused)
            self._counts["dropped"] += dropped
        receipt["refused"] = [
            {"index": index, "request_id": found.request_id, "reason": found.reason.value, "message": found.message}
            for index, found in refused
        ]
        return receipt

    def hear(self, reported: Sequence[ReportedTouch]) -> dict[str, int]:
        """Take in touches that are judged already; a request id counts once, whoever tells it first.

        Raises:
            LedgerError: they cannot be written; none is taken in.
        """
        matched = [touch for one in reported for touch in self._matcher.match(one)]
        new = self._book.add_touches(matched) if matched else set()
        fresh = [touch for touch in matched if touch.request_id in new]
        touched = self._keeper.hear(fresh)
        if touched:
            self._wake(touched)
        self._tell_drifts(fresh)
        counts = {
            "accepted": len(new),
            "duplicate": len(reported) - len(new),
            "unknown": len({touch.request_id for touch in fresh if not touch.matched}),
        }
        with self._lock:
            self._counts.update(counts)
        return counts

    # -- single prefixes ------------------------------------------------------------------------------------------

    def ttl_of(self, name: str) -> dict[str, Any] | None:
        """What a request of a prefix should ask for now, as it goes over HTTP; None when there is no such prefix."""
        if name not in self._keeper:
            return None
        found, believed = self._keeper.choose_ttl(name), _TTL_BELIEVED
        if found.until:
            believed = min(believed, found.until - self._now())
        seconds = max(1, round(believed.total_seconds()))
        return {"prefix": name, "ttl": found.ttl.value, "max_age_seconds": seconds, "reason": found.reason.value}

    def close(self, name: str, raw: object) -> dict[str, Any] | Refused | None:
        """End pinging of a prefix until its next organic request, also over a restart.

        Args:
            raw: the parsed body as it came over HTTP.

        Returns:
            The receipt; None when there is no such prefix.

        Raises:
            LedgerError: it cannot be written, so nothing is changed.
        """
        if name not in self._keeper:
            return None
        now = self._now()
        read = parse_closing(raw, now)
        if isinstance(read, Refused):
            return read
        at, reason = read
        closing = Closing(name, self._keeper.prefix(name).fingerprint, at, reason)
        self._book.add_closing(closing)
        if closed := self._keeper.close([closing]):
            self._wake(closed)
            self._observe(Event("prefix_closed", now, "info", {"prefix": name, "at": at, "closing_reason": reason}))
        state = self._keeper.state(name)
        later = state.organic_at is not None and state.organic_at > at
        return {"prefix": name, "at": at.isoformat(), "closed": not later}

    def _observe(self, event: Event) -> None:
        for observe in self._observers:
            observe(event)

    def _tell_drifts(self, touches: Iterable[Touch]) -> None:
        now = self._now()
        for touch in touches:
            if not touch.drift:
                continue
            seen = (touch.prefix, touch.drift)
            with self._lock:
                self._counts["drifted"] += 1
                told = self._drifts.get(seen)
                if told and now - told < _DRIFT_AGAIN:
                    continue
                self._drifts[seen] = now
            fields: dict[str, object] = {
                "prefix": touch.prefix,
                "differs": touch.drift,
                "request_id": touch.request_id,
                "source": touch.source.value,
                "hint": "production sends something else than what is registered; register the new request",
            }
            self._observe(Event("prefix_drifted", now, "warning", fields))
