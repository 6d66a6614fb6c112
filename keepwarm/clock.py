"""The only place that reads the clock or waits.

It decides nothing: everything else takes `now` as an argument (ruff bans the alternatives).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """The wall clock as an aware UTC datetime; cache entries expire by wall time, also in a suspended machine."""
    return datetime.now(UTC)


def monotonic_seconds() -> float:
    """Seconds that never jump, for measuring latencies."""
    return time.perf_counter()


def steady_seconds() -> float:
    """Seconds of the machine's steady clock; compared with the wall clock it shows steps and suspends."""
    return time.monotonic()


def sleep(duration: timedelta) -> None:
    """Block this thread for `duration`; a negative one returns at once."""
    time.sleep(max(0.0, duration.total_seconds()))
