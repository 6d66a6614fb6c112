"""Who waits for a worker, and who of them goes next: the one whose entry dies first, and the dead when no other waits.

It starts no threads and decides nothing about pings. Why not as they came: docs/decisions/0002-apscheduler.md.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from datetime import datetime

# So many that wait no more may lie about before they are looked for.
_SPARE = 100

Run = tuple[str, int]  # a name and the number of its job, never used twice


class Waiting:
    """Runs that wait for a worker; safe to use from many threads."""

    def __init__(self) -> None:
        self._living: list[tuple[datetime, int, str]] = []  # a heap
        self._others: deque[Run] = deque()
        self._there: set[Run] = set()
        self._lock = threading.Lock()

    def add(self, name: str, number: int, dies_at: datetime | None) -> None:
        """Let a run wait.

        Args:
            dies_at: when the cache entry of this prefix dies; None when none is known.
        """
        with self._lock:
            self._there.add((name, number))
            if dies_at is None:
                self._others.append((name, number))
            else:
                heapq.heappush(self._living, (dies_at, number, name))

    def discard(self, name: str, number: int) -> None:
        """Let it wait no more."""
        with self._lock:
            self._there.discard((name, number))
            if len(self._living) + len(self._others) > 2 * len(self._there) + _SPARE:
                self._living = [each for each in self._living if (each[2], each[1]) in self._there]
                heapq.heapify(self._living)
                self._others = deque(run for run in self._others if run in self._there)

    def take(self, now: datetime) -> Run | None:
        """The run that goes next, which waits no more; None when nothing waits."""
        with self._lock:
            while self._living and self._living[0][0] <= now:
                _, number, name = heapq.heappop(self._living)
                self._others.append((name, number))
            while self._living or self._others:
                if self._living:
                    _, number, name = heapq.heappop(self._living)
                else:
                    name, number = self._others.popleft()
                if (name, number) in self._there:
                    self._there.remove((name, number))
                    return name, number
            return None

    @property
    def all(self) -> frozenset[Run]:
        """The runs that wait."""
        with self._lock:
            return frozenset(self._there)
