"""Fires: one APScheduler date job for each prefix, armed again after every decision.

It decides nothing: a job that fires late finds out from `tend` what to do at its real time. APScheduler lives only
here. Its traps, and why each argument is set, are in `docs/decisions/0002-apscheduler.md`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from keepwarm.model import Decision

_TEND = "tend:"


class Scheduler:
    """Calls `tend(name)` at the moments that its decisions ask for.

    Args:
        tend: decides and pings; its decision says when to come again.
        workers: how many calls run at once.
    """

    def __init__(self, tend: Callable[[str], Decision], workers: int) -> None:
        self._tend = tend
        self._armed: set[str] = set()
        self._lock = threading.Lock()
        self._closing = False
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(workers), "housekeeping": ThreadPoolExecutor(1)},
            # None: the default of 1 s is checked when a worker is free, and drops what is later, job and all.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        # Armed again from here and not inside the job: only now does APScheduler count the job as ended.
        self._scheduler.add_listener(self._ended, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)

    def start(self) -> None:
        """Start firing."""
        self._scheduler.start()

    def arm(self, name: str, at: datetime) -> None:
        """Tend this prefix at a moment; a past one means now. Replaces what was armed for it."""
        with self._lock:
            if self._closing:
                return
            self._armed.add(name)
        self._scheduler.add_job(
            self._tend, "date", run_date=at, args=(name,), id=_TEND + name, name=name, replace_existing=True
        )

    def disarm(self, name: str) -> None:
        """Do not tend this prefix any more."""
        with self._lock:
            self._armed.discard(name)
        if self._scheduler.get_job(_TEND + name):
            self._scheduler.remove_job(_TEND + name)

    @property
    def armed(self) -> frozenset[str]:
        """The prefixes that have a moment to be tended at, or are being tended."""
        with self._lock:
            return frozenset(self._armed)

    def every(self, period: timedelta, call: Callable[[], None]) -> None:
        """Call something again and again, apart from the workers that tend."""
        self._scheduler.add_job(call, "interval", seconds=period.total_seconds(), executor="housekeeping")

    @property
    def alive(self) -> bool:
        """Whether the thread that fires still runs; APScheduler's own `running` stays true when it died."""
        thread: threading.Thread | None = getattr(self._scheduler, "_thread", None)
        return thread is not None and thread.is_alive()

    def wake(self) -> None:
        """Look at the clock now; wanted after the wall clock was stepped or the machine slept."""
        self._scheduler.wakeup()

    def close(self) -> None:
        """Fire nothing more; calls that run already are not waited for."""
        with self._lock:
            self._closing = True
        self._scheduler.shutdown(wait=False)

    def _ended(self, event: Any) -> None:
        if not event.job_id.startswith(_TEND):
            return
        name = event.job_id.removeprefix(_TEND)
        decision = event.retval if event.code == EVENT_JOB_EXECUTED else None
        if isinstance(decision, Decision) and decision.at:
            self.arm(name, decision.at)
        else:
            with self._lock:  # left alone on purpose, or the call raised: the daemon's reconciling looks after it
                self._armed.discard(name)
