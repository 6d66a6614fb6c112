"""Fires: one APScheduler date job for each prefix that waits for a moment, armed again after every decision.

It decides nothing: a job that fires late finds out from `tend` what to do at its real time. Where more are due than
workers are free, the most urgent goes first (see `waiting`). APScheduler lives only here; its traps, and why each
argument is set, are in `docs/decisions/0002-apscheduler.md`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from apscheduler.executors.base import BaseExecutor
from apscheduler.executors.pool import ThreadPoolExecutor as PoolExecutor
from apscheduler.job import Job
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from keepwarm.model import Decision
from keepwarm.waiting import Run, Waiting

AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)

_LOG = logging.getLogger(__name__)


class Scheduler:
    """Calls `tend(name)` at the moments that its decisions ask for, never twice at once for one name.

    Args:
        tend: decides and pings; its decision says when to come again.
        workers: how many calls run at once.
        now: the clock.
        dies_at: when the cache entry of a prefix dies, None when none is known; asked when its moment has come.
    """

    def __init__(
        self,
        tend: Callable[[str], Decision],
        workers: int,
        now: Callable[[], datetime],
        dies_at: Callable[[str], datetime | None],
    ) -> None:
        self._tend = tend
        self._now = now
        self._dies_at = dies_at
        self._armed: dict[str, tuple[int, Job | None]] = {}  # without a job: it waits for a worker already
        self._running: set[str] = set()
        self._disarmed: set[str] = set()  # of those that run
        self._sooner: dict[str, datetime] = {}  # armed while it ran
        self._periodic: list[tuple[Job, float]] = []
        self._number = 0
        self._covered: dict[str, int] = {}
        # Taken before APScheduler's own locks; no listener may take it, for APScheduler calls those with locks held.
        self._lock = threading.Lock()
        self._closing = False
        self._waiting = Waiting()
        self._worker_count = workers
        self._busy = 0  # workers that will look who waits before they rest
        self._busy_lock = threading.Lock()
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="tend")
        self._scheduler = _Forgiving(
            timezone="UTC",
            executors={"default": _Handing(self._hand_over), "housekeeping": PoolExecutor(1)},
            # None: the default of 1 s is checked when a worker is free, and drops what is later, job and all.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )

    def start(self) -> None:
        """Start firing."""
        self._scheduler.start()

    def arm(self, name: str, at: datetime = AT_ONCE) -> None:
        """Tend this prefix at a moment; a past one means at once. Replaces what was armed for it.

        While it is being tended the moment waits, and then counts if it is sooner than what the decision asks for.
        """
        with self._lock:
            if name in self._running:
                self._disarmed.discard(name)
                self._sooner[name] = min(at, self._sooner.get(name, at))
            else:
                self._add(name, at)

    def arm_all(self, names: Collection[str]) -> None:
        """Tend these prefixes at once, as `arm` does, and none of them before all are armed.

        They need no timer: a job of APScheduler's for each of 100,000 takes half a minute to be made, fired and
        removed. Tending thousands while thousands are still to be armed would take all time from the arming.
        """
        handed = 0
        for name in names:
            with self._lock:
                if name in self._running:
                    self._disarmed.discard(name)
                    self._sooner[name] = AT_ONCE
                elif not self._closing:
                    self._remove(name)
                    self._number += 1
                    self._armed[name] = self._number, None
                    self._waiting.add(name, self._number, self._dies_at(name))
                    handed += 1
        for _ in range(min(handed, self._worker_count)):
            self._call_worker()

    def disarm(self, name: str) -> None:
        """Do not tend this prefix any more, whatever a call that runs already decides."""
        with self._lock:
            self._sooner.pop(name, None)
            self._remove(name)
            if name in self._running:
                self._disarmed.add(name)
            else:
                self._covered.pop(name, None)

    @property
    def armed(self) -> frozenset[str]:
        """The prefixes that have a moment to be tended at, wait for a free worker, or are being tended."""
        with self._lock:
            there = {job.id for job in self._scheduler.get_jobs()}
            waiting = self._waiting.all  # asked second: a job waits before it leaves the store
            found = (
                name
                for name, (number, job) in self._armed.items()
                if (name, number) in waiting or (job and job.id in there)
            )
            return frozenset(found) | self._running

    @property
    def waiting(self) -> int:
        """How many have come to their moment and wait for a free worker."""
        return len(self._waiting.all)

    def moment(self, name: str) -> datetime | None:
        """When this prefix is tended next; None while it has no moment, or is being tended."""
        with self._lock:
            _, job = self._armed.get(name, (0, None))
            return job.next_run_time if job else None

    def every(self, period: timedelta, call: Callable[[], None]) -> None:
        """Call something again and again, apart from the workers that tend."""
        seconds = period.total_seconds()
        job = self._scheduler.add_job(call, "interval", seconds=seconds, executor="housekeeping")
        self._periodic.append((job, seconds))

    @property
    def alive(self) -> bool:
        """Whether the thread that fires still runs; APScheduler's own `running` stays true when it died."""
        thread: threading.Thread | None = getattr(self._scheduler, "_thread", None)
        return thread is not None and thread.is_alive()

    def clock_was_set(self) -> None:
        """Count the periods of `every` anew: by a clock that was set back, the next call would be that much later."""
        for job, seconds in self._periodic:
            job.reschedule("interval", seconds=seconds)

    def wake(self) -> None:
        """Look at the clock now; wanted after the wall clock was stepped or the machine slept."""
        self._scheduler.wakeup()

    def close(self) -> None:
        """Fire nothing more; calls that run already are not waited for. Closing twice is fine."""
        with self._lock:
            self._closing = True
        self._workers.shutdown(wait=False, cancel_futures=True)
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    # -- under the lock -------------------------------------------------------------------------------------------

    def _add(self, name: str, at: datetime) -> None:
        if self._closing:
            return
        self._remove(name)
        self._number += 1
        # An id of its own each time: APScheduler removes a date job by its id *after* it has fired it, and would
        # remove the one that a quick worker has armed meanwhile.
        job = self._scheduler.add_job(
            _fired, "date", run_date=at, args=(name, self._number), id=f"{name}:{self._number}", name=name
        )
        self._armed[name] = self._number, job

    def _remove(self, name: str) -> None:
        number, job = self._armed.pop(name, (0, None))
        self._waiting.discard(name, number)
        if job:
            self._scheduler.remove_job(job.id)  # gone already while it is being handed to a worker

    # -- to a worker ----------------------------------------------------------------------------------------------

    def _hand_over(self, name: str, number: int) -> None:
        self._waiting.add(name, number, self._dies_at(name))
        self._call_worker()

    def _call_worker(self) -> None:
        """Let one more worker look who waits, unless all do so already: what is submitted to no purpose piles up."""
        with self._busy_lock:
            if self._busy == self._worker_count:
                return
            self._busy += 1
        try:
            self._workers.submit(self._work).add_done_callback(_tell)
        except RuntimeError:  # closed meanwhile; or no more threads, and those there are will look
            self._rest()

    def _rest(self) -> None:
        with self._busy_lock:
            self._busy -= 1

    # -- in a worker ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Tend the most urgent of those that wait, and then the next, until nobody waits."""
        try:
            while taken := self._take():
                if self._begin(*taken):
                    self._run(taken[0])
        except BaseException:
            self._rest()
            self._call_worker()  # in place of this one
            raise

    def _take(self) -> Run | None:
        with self._busy_lock:  # whoever comes to wait after this look finds a worker less busy
            taken = self._waiting.take(self._now())
            self._busy -= taken is None
            return taken

    def _run(self, name: str) -> None:
        asked = None
        try:
            asked = self._tend(name).at
        finally:
            self._end(name, asked)

    def _begin(self, name: str, number: int) -> bool:
        """Whether this run is still wanted: neither disarmed, nor covered by one that began after it was armed."""
        with self._lock:
            if self._closing or name not in self._armed or number <= self._covered.get(name, 0):
                return False
            if self._armed[name][0] == number:
                del self._armed[name]  # APScheduler itself removes what it fired
            else:
                self._remove(name)
            self._running.add(name)
            self._covered[name] = self._number
            return True

    def _end(self, name: str, asked: datetime | None) -> None:
        """Arm it again; one that is left alone on purpose, or raised, is looked after by the daemon's reconciling."""
        with self._lock:
            self._running.discard(name)
            moments = [at for at in (asked, self._sooner.pop(name, None)) if at]
            if name in self._disarmed:
                self._disarmed.discard(name)
                self._covered.pop(name, None)
            elif moments:
                self._add(name, min(moments))


def _fired(_name: str, _number: int) -> None:
    """What a job would call; `_Handing` only looks at the arguments."""


def _tell(tended: Future[None]) -> None:
    if not tended.cancelled() and (error := tended.exception()):
        _LOG.error("a prefix could not be tended", exc_info=error)


class _Handing(BaseExecutor):  # type: ignore[misc] # APScheduler 3 has no types
    """Hands what has come to its moment over to our own workers.

    Its jobs are never submitted twice, so that nobody needs to count how many of each run.
    """

    def __init__(self, hand_over: Callable[[str, int], None]) -> None:
        super().__init__()
        self._hand_over = hand_over

    def submit_job(self, job: Job, run_times: list[datetime]) -> None:  # noqa: ARG002 - APScheduler's
        """Hand over; called by APScheduler's thread."""
        self._hand_over(*job.args)

    def _do_submit_job(self, job: Job, run_times: list[datetime]) -> None:
        raise NotImplementedError


class _Forgiving(BackgroundScheduler):  # type: ignore[misc] # APScheduler 3 has no types
    """Removing a job that is not there is nothing wrong.

    APScheduler's own thread trips over it: when it is stopped just after a job was fired, the fired job counts as not
    there, and the thread ends with a traceback.
    """

    def remove_job(self, job_id: str, jobstore: str | None = None) -> None:
        """As the original, without its JobLookupError."""
        with contextlib.suppress(JobLookupError):
            super().remove_job(job_id, jobstore)
