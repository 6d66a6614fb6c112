"""Takes calls from the application's threads and gives their touches to the daemon from one thread of its own.

It never blocks, raises or waits on the application's side. What it holds is bounded: calls not drawn yet by number and
bytes, touches not delivered yet by number and bytes; beyond that the oldest touches go, and are counted.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from queue import Empty, SimpleQueue

from keepwarm import clock
from keepwarm.reporter.calls import Call, Drawn, Skip, draw
from keepwarm.reporter.delivery import Delivery, Destination
from keepwarm.reporter.errands import Errands
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
        self._errands = Errands(destination, self.tally)
        self._limits = limits
        self._start()
        _SENDERS.add(self)
        _mind_the_process()

    def _start(self) -> None:
        # SimpleQueue may be fed by a finalizer that interrupts its own thread's feeding; other queues may not.
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._wakes: SimpleQueue[threading.Event | None] = SimpleQueue()
        self._asleep = False
        self._raw_bytes = 0
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._backlog = Backlog(self._limits)
        self._draw_at: float | None = None
        self._send_at: float | None = None
        self._backoff_seconds = 0.0
        self._dropped_told = 0
        self._urgent: list[threading.Event] = []

    def reset(self) -> None:
        """Begin anew in a forked child: what waits is the parent's to send."""
        self.tally.reset()
        self._errands.reset()
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
            if self._asleep or self._is_crowded():
                self._asleep = False
                self._wakes.put(None)

    def ttl(self, prefix: str) -> str | None:
        """What the cache points of a prefix should ask for, as far as is known already; never blocks or raises."""
        known = None
        with self.tally:
            known, is_new = self._errands.ttl(prefix)
            if is_new:
                self._wake()
        return known

    def close(self, prefix: str, reason: str) -> None:
        """Tell soon that no more requests of a prefix come; never blocks or raises."""
        with self.tally:
            self._errands.close(prefix, reason)
            self._wake()

    def _wake(self) -> None:
        self._wakes.put(None)
        if self._thread is None:
            self._run_thread()

    def hurry(self) -> threading.Event:
        """Send what waits now; the event is set when all of it went out."""
        sent = threading.Event()
        if self._thread is None:
            sent.set()
        else:
            self._wakes.put(sent)
        return sent

    def stats(self) -> Stats:
        """What became of the calls so far."""
        return self.tally.stats(waiting=self._calls.qsize() + len(self._backlog))

    def _has_room(self, size: int) -> bool:
        with self._lock:
            if self._calls.qsize() >= self._limits.queue or self._raw_bytes + size > self._limits.raw_bytes:
                return False
            self._raw_bytes += size
            return True

    def _is_crowded(self) -> bool:
        """Whether calls should be drawn at once, to make room for more."""
        return self._calls.qsize() >= self._limits.batch or 4 * self._raw_bytes > self._limits.raw_bytes

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
        """Sleep, then draw what has come and send what is due.

        Calls are not drawn as they come: drawing wants the interpreter's lock just when the application, its answer in
        hand, wants it too. Once an interval and with pauses, it is in nobody's way.
        """
        self._sleep()
        if self._urgent or self._is_crowded() or _has_come(self._draw_at):
            self._draw_all()
        if self._is_due():
            self._send()
        if not self._errands.run(urgent=bool(self._urgent)):
            self._urgent.clear()  # as in `_schedule`
        if self._urgent and not len(self._backlog):
            for waiting in self._urgent:
                waiting.set()
            self._urgent.clear()

    def _sleep(self) -> None:
        self._asleep = self._draw_at is None
        with contextlib.suppress(Empty):
            wake = self._wakes.get(timeout=self._sleep_seconds())
            while True:
                if wake is not None:
                    self._urgent.append(wake)
                wake = self._wakes.get_nowait()
        self._asleep = False
        if self._draw_at is None and not self._calls.empty():
            self._draw_at = clock.steady_seconds() + self._limits.interval_seconds

    def _sleep_seconds(self) -> float | None:
        """None for as long as nothing happens."""
        if self._urgent or (self._draw_at is None and not self._calls.empty()):
            return 0.0
        moments = [at for at in (self._draw_at, self._send_at, self._errands.next_at()) if at is not None]
        return max(0.0, min(moments) - clock.steady_seconds()) if moments else None

    def _is_due(self) -> bool:
        if not len(self._backlog):
            return False
        if self._urgent or (len(self._backlog) >= self._limits.batch and not self._backoff_seconds):
            return True
        return _has_come(self._send_at)

    def _draw_all(self) -> None:
        self._draw_at = None
        for _ in range(self._calls.qsize()):
            began = clock.steady_seconds()
            self._draw(self._calls.get())
            if not self._urgent and not self._is_crowded():
                clock.sleep(timedelta(seconds=clock.steady_seconds() - began))

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
            self._send_at = clock.steady_seconds()

    def _send(self) -> None:
        self.tally.count("dropped", by=self._backlog.expire(clock.utc_now()))
        batch = self._backlog.batch()
        dropped = self.tally.total("dropped")
        delivery = self._post(batch, dropped - self._dropped_told) if batch else Delivery(True)
        if delivery.taken:
            self._dropped_told = dropped if batch else self._dropped_told
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
            pause = 0.0
        else:
            self._backoff_seconds = min(
                max(2 * self._backoff_seconds, limits.first_backoff_seconds), limits.last_backoff_seconds
            )
            pause = self._backoff_seconds
            self._urgent.clear()  # who waits for a flush, waits no longer than its own timeout
        self._send_at = clock.steady_seconds() + pause if len(self._backlog) else None


def _has_come(at: float | None) -> bool:
    return at is not None and clock.steady_seconds() >= at


_SENDERS: weakref.WeakSet[Sender] = weakref.WeakSet()

_EXIT_SECONDS = 1.0


def flush_senders(senders: Iterable[Sender], timeout_seconds: float) -> bool:
    """Send what waits, and tell whether all of it went out in time."""
    until = clock.steady_seconds() + timeout_seconds
    hurried = [sender.hurry() for sender in senders]
    sent = [each.wait(max(0.0, until - clock.steady_seconds())) for each in hurried]
    return all(sent)


def _flush_at_exit() -> None:
    flush_senders(list(_SENDERS), _EXIT_SECONDS)


def _reset_all() -> None:
    for sender in list(_SENDERS):
        sender.reset()


@cache
def _mind_the_process() -> None:
    """Once, with the first destination: send the rest at exit, and begin anew in a fork."""
    atexit.register(_flush_at_exit)
    os.register_at_fork(after_in_child=_reset_all)
