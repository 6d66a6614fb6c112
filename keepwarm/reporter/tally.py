"""Counts what became of the calls that were seen, and keeps the reporter's own mistakes from the application.

It logs nothing: an application asks for `stats()`. Of an error only the name of its class is kept, since a message may
quote a prompt.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Stats:
    """What became of the calls that were seen, since the process started or forked.

    Attributes:
        seen: answered calls that the hooks handed over.
        reported: touches that the daemon took.
        refused: touches that the daemon did not want, by its reason.
        skipped: calls that are no touch of a cache point, by reason.
        dropped: touches lost: no room was left, they grew too old, or the daemon refused their batch.
        failed: batches that could not be delivered; they are tried again while that can help.
        waiting: touches not delivered yet.
        errors: mistakes inside the reporter and failures of delivery, by kind.
    """

    seen: int = 0
    reported: int = 0
    dropped: int = 0
    failed: int = 0
    waiting: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)


class Tally:
    """Counters, and a context manager that swallows and counts whatever goes wrong inside it.

    The lock is reentrant, because a finalizer may count while its own thread is counting.
    """

    def __init__(self) -> None:
        self.reset()

    def count(self, what: str, kind: str = "", by: int = 1) -> None:
        """Add to one counter; `what` is a field of `Stats`, `kind` a key in it."""
        with self._lock:
            self._counts[what, kind] += by

    def total(self, what: str) -> int:
        """One counter without kinds."""
        with self._lock:
            return self._counts[what, ""]

    def reset(self) -> None:
        """Start anew, with a lock that no other thread of a forked process can still hold."""
        self._lock = threading.RLock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def stats(self, waiting: int) -> Stats:
        """The counters so far."""
        with self._lock:
            counts = dict(self._counts)
        kinds: dict[str, dict[str, int]] = {"refused": {}, "skipped": {}, "errors": {}}
        for (what, kind), count in counts.items():
            if kind:
                kinds[what][kind] = count
        return Stats(
            seen=counts.get(("seen", ""), 0),
            reported=counts.get(("reported", ""), 0),
            dropped=counts.get(("dropped", ""), 0),
            failed=counts.get(("failed", ""), 0),
            waiting=waiting,
            refused=kinds["refused"],
            skipped=kinds["skipped"],
            errors=kinds["errors"],
        )

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        self.count("errors", kind.__name__)
        return True


def add_up(parts: list[Stats]) -> Stats:
    """The sum of the counters of several destinations."""
    return Stats(
        seen=sum(part.seen for part in parts),
        reported=sum(part.reported for part in parts),
        dropped=sum(part.dropped for part in parts),
        failed=sum(part.failed for part in parts),
        waiting=sum(part.waiting for part in parts),
        refused=dict(sum((Counter(part.refused) for part in parts), Counter())),
        skipped=dict(sum((Counter(part.skipped) for part in parts), Counter())),
        errors=dict(sum((Counter(part.errors) for part in parts), Counter())),
    )
