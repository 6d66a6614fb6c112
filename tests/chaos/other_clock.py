"""`keepwarm run` with a wall clock of its own: SIGUSR1 sets it an hour ahead, SIGUSR2 an hour back.

AHEAD_SECONDS in the environment says how far it is ahead at the start. Only what a stepped wall clock changes is
changed: the steady clock goes on, and so do waits.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from datetime import datetime, timedelta, tzinfo

import apscheduler.executors.base
import apscheduler.schedulers.base
import apscheduler.triggers.interval

from keepwarm import clock

_HOUR = timedelta(hours=1)


class _Ahead(datetime):
    """The moments of this machine, and how far the daemon's clock is ahead of them."""

    by = timedelta(seconds=float(os.environ.get("AHEAD_SECONDS", "0")))

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain one, as the rest expects
        return datetime.now(tz) + cls.by  # noqa: TID251 - what stands in for the clock


def main() -> None:
    """Run the daemon with this clock, or the command of the arguments."""
    rooms = (clock, apscheduler.executors.base, apscheduler.schedulers.base, apscheduler.triggers.interval)
    for room in rooms:
        room.datetime = _Ahead  # type: ignore[attr-defined]
    for number, step in ((signal.SIGUSR1, _HOUR), (signal.SIGUSR2, -_HOUR)):
        signal.signal(number, lambda *_, step=step: setattr(_Ahead, "by", _Ahead.by + step))
    sys.argv = ["keepwarm", *(sys.argv[1:] or ["run"])]
    runpy.run_module("keepwarm", run_name="__main__")


if __name__ == "__main__":
    main()
