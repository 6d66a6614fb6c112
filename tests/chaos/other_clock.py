"""`keepwarm run` with a wall clock of its own: `python -m tests.chaos.other_clock`.

The file that the variable AHEAD names says by how many seconds it is ahead; it is read at the start and upon each
SIGUSR1. Only what a wall clock that is set changes is changed: the steady clock goes on, and so do waits.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import apscheduler.executors.base
import apscheduler.schedulers.base
import apscheduler.triggers.interval

from keepwarm import clock


class _Ahead(datetime):
    """The moments of this machine, and how far the daemon's clock is ahead of them."""

    by = timedelta(0)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain one, as the rest expects
        return datetime.now(tz) + cls.by  # noqa: TID251 - what stands in for the clock


def _look(*_: object) -> None:
    _Ahead.by = timedelta(seconds=float(Path(os.environ["AHEAD"]).read_text()))


def main() -> None:
    """Run the daemon with this clock, or the command of the arguments."""
    rooms = (clock, apscheduler.executors.base, apscheduler.schedulers.base, apscheduler.triggers.interval)
    for room in rooms:
        room.datetime = _Ahead  # type: ignore[attr-defined]
    _look()
    signal.signal(signal.SIGUSR1, _look)
    sys.argv = ["keepwarm", *(sys.argv[1:] or ["run"])]
    runpy.run_module("keepwarm", run_name="__main__")


if __name__ == "__main__":
    main()
