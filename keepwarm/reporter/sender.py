"""Takes calls from the application's threads and gives their touches to the daemon from one thread of its own.

It never blocks, raises or waits on the application's side. What it holds is bounded: calls not drawn yet by number and
bytes, touches not delivered yet by number and bytes; beyond that the oldest touches go, and are counted.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from queue import Empty, SimpleQueue

from keepwarm import clock
from keepwarm.reporter.calls import Call, Drawn, Skip, draw
from keepwarm.reporter.delivery import Delivery, Destination
from keepwarm.reporter.tally import Stats, Tally


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is held, and how often it is sent.

    Attributes:
        queue: calls, and again touches, that may wait.
        raw_bytes: request bodies that may wait for their digests.
        ready_bytes: touches that may wait for the daemon.
        batch: touches in one request.
        batch_bytes: size of one request; the daemon takes 5 MB.
        interval_seconds: how long a touch waits for company.
        timeout_seconds: for the daemon's answer.
        first_backoff_seconds: pause after a failure; doubles up to `last_backoff_seconds`.
        oldest: touches that could not be delivered so long are dropped; the daemon refuses those above 25 h.
    """

    queue: int = 10_000
    raw_bytes: int = 64_000_000
    ready_bytes: int = 64_000_000
    batch: int = 500
    batch_bytes: int = 4_000_000
    interval_seconds: float = 1.0
    timeout_seconds: float = 3.0
    first_backoff_seconds: float = 0.5
    last_backoff_seconds: float = 30.0
    oldest: timedelta = timedelta(hours=24)


class Backlog:
    """The touches that wait for the daemon, oldest first; only the sender's thread writes it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._touches: deque[tuple[datetime, bytes]] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._touches)

    def add(self, at: datetime, touch: bytes) -> int:
        """Take one touch in, and tell how many old ones had to make room."""
        self._touches.append((at, touch))
        self._size += len(touch)
        return self._shrink(lambda: len(self) > self._limits.queue or self._size > self._limits.ready_bytes)

    def expire(self, now: datetime) -> int:
        """Drop what the daemon would refuse as too old, and tell how much that was."""
        return self._shrink(lambda: now - self._touches[0][0] > self._limits.oldest)

    def batch(self) -> list[bytes]:
        """The next touches to send; they stay until `done`."""
        found: list[bytes] = []
        room = self._limits.batch_bytes
        for _, touch in self._touches:
            room -= len(touch) + 1
            if len(found) == self._limits.batch or (found and room < 0):
                break
            found.append(touch)
        return found

    def done(self, count: int) -> None:
        """Forget the first touches."""
        for _ in range(count):
            self._size -= len(self._touches.popleft()[1])

    def _shrink(self, too_much: Callable[[], bool]) -> int:
        dropped = 0
        while self._touches and too_much():
            self.done(1)
            dropped += 1
        return dropped


class Sender:
    """One destination with its queue and its thread; safe to use from many threads, finalizers and after a fork."""

    def __init__(self, destination: Destination, limits: Limits) -> None:
        self.tally = Tally()
        self._post = destination.post
        self._limits = limits
        self._start()
        _SENDERS.add(self)
        _mind_the_process()

    def _start(self) -> None:
        # SimpleQueue may be fed by a finalizer that interrupts its own thread's feeding; other queues may not.
        self._calls: SimpleQueue[Call | threading.Event] = SimpleQueue()
        self._raw_bytes = 0
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._backlog = Backlog(self._limits)
        self._send_at: float | None = None
        self._backoff_seconds = 0.0
        self._urgent: list[threading.Event] = []

    def reset(self) -> None:
        """Begin anew in a forked child: what waits is the parent's to send."""
        self.tally.reset()
        self._start()

    # -- the application's side -----------------------------------------------------------------------------------

    def offer(self, call: Call) -> None:
        """Take a call; never blocks or raises."""
        with self.tally:
            self.tally.count("seen")
            if not self._has_room(len(call.body)):
                self.tally.count("dropped")
                return
            self._calls.put(call)
            if self._thread is None:
                self._run_thread()

    def flush(self, timeout_seconds: float) -> bool:
        """Send what waits now, and tell whether all of it went out in time."""
        if self._thread is None:
            return True
        sent = threading.Event()
        self._calls.put(sent)
        return sent.wait(timeout_seconds)

    def stats(self) -> Stats:
        """What became of the calls so far."""
        return self.tally.stats(waiting=self._calls.qsize() + len(self._backlog))

    def _has_room(self, size: int) -> bool:
        with self._lock:
            if self._calls.qsize() >= self._limits.queue or self._raw_bytes + size > self._limits.raw_bytes:
                return False
            self._raw_bytes += size
            return True

    def _run_thread(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="keepwarm-reporter", daemon=True)
                self._thread.start()

    # -- the thread's side ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self.tally:
                self._turn()

    def _turn(self) -> None:
        """Draw one call, or send when it is time."""
        try:
            item = self._calls.get(timeout=self._wait_seconds())
        except Empty:
            pass
        else:
            if isinstance(item, Call):
                self._draw(item)
            else:
                self._urgent.append(item)
        if self._is_due():
            self._send()
        if self._urgent and not len(self._backlog):
            for waiting in self._urgent:
                waiting.set()
            self._urgent.clear()

    def _wait_seconds(self) -> float | None:
        if self._urgent or self._send_at is None:
            return 0.0 if self._urgent else None
        return max(0.0, self._send_at - clock.steady_seconds())

    def _is_due(self) -> bool:
        if not len(self._backlog):
            return False
        if self._urgent or (len(self._backlog) >= self._limits.batch and not self._backoff_seconds):
            return True
        return self._send_at is not None and clock.steady_seconds() >= self._send_at

    def _draw(self, call: Call) -> None:
        with self._lock:
            self._raw_bytes -= len(call.body)
        drawn: Drawn | Skip | None = None
        with self.tally:
            drawn = draw(call)
        if drawn is None:
            self.tally.count("dropped")
            return
        if isinstance(drawn, Skip):
            self.tally.count("skipped", drawn.value)
            return
        if not drawn.sketched:
            self.tally.count("errors", "too_many_blocks")
        self.tally.count("dropped", by=self._backlog.add(call.started_at, drawn.text))
        if self._send_at is None:
            self._send_at = clock.steady_seconds() + self._limits.interval_seconds

    def _send(self) -> None:
        self.tally.count("dropped", by=self._backlog.expire(clock.utc_now()))
        batch = self._backlog.batch()
        delivery = self._post(batch) if batch else Delivery(True)
        if delivery.taken:
            refused = sum(delivery.refused.values())
            self.tally.count("reported", by=max(0, len(batch) - refused))
            for reason, count in delivery.refused.items():
                self.tally.count("refused", reason, by=count)
        else:
            self.tally.count("failed")
            self.tally.count("errors", delivery.kind)
        if not delivery.taken and not delivery.again:
            self.tally.count("dropped", by=len(batch))
        if delivery.taken or not delivery.again:
            self._backlog.done(len(batch))
        self._schedule(delivery)

    def _schedule(self, delivery: Delivery) -> None:
        limits = self._limits
        if delivery.taken:
            self._backoff_seconds = 0.0
            pause = 0.0 if len(self._backlog) >= limits.batch else limits.interval_seconds
        else:
            self._backoff_seconds = min(
                max(2 * self._backoff_seconds, limits.first_backoff_seconds), limits.last_backoff_seconds
            )
            pause = self._backoff_seconds
            self._urgent.clear()  # who waits for a flush, waits no longer than its own timeout
        self._send_at = clock.steady_seconds() + pause if len(self._backlog) else None


_SENDERS: weakref.WeakSet[Sender] = weakref.WeakSet()

_EXIT_SECONDS = 1.0


def all_senders() -> list[Sender]:
    """Every destination of this process."""
    return list(_SENDERS)


def flush_all(timeout_seconds: float = _EXIT_SECONDS) -> bool:
    """Send what waits everywhere, and tell whether all of it went out in time."""
    until = clock.steady_seconds() + timeout_seconds
    return all([sender.flush(max(0.0, until - clock.steady_seconds())) for sender in all_senders()])


def _reset_all() -> None:
    for sender in all_senders():
        sender.reset()


@cache
def _mind_the_process() -> None:
    """Once, with the first destination: send the rest at exit, and begin anew in a fork."""
    atexit.register(flush_all)
    os.register_at_fork(after_in_child=_reset_all)
