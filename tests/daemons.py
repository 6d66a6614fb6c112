"""What tests of whole daemons share: registries on disk, patience, and a look at what was sent and written."""

from __future__ import annotations

import gc
import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from keepwarm.clock import utc_now
from keepwarm.emulator import Emulator, Request
from tests.builders import CLAUDE

CANARY = "the merger closes on Friday"
OTHER_CLAUDE = "eu.anthropic.claude-sonnet-5"
PATIENCE_SECONDS = 40.0

# With the emulator at 1:50 a 5m entry lives six seconds; the wide margin is for machines busy with other things.
TIME_SCALE = 0.02
LIFETIME, MARGIN = timedelta(seconds=6), timedelta(seconds=3)
SHORTEST_GAP = LIFETIME - 1.5 * MARGIN


def write_registry(path: Path, *names: str, defaults: dict[str, Any] | None = None, **by_name: dict[str, Any]) -> Path:
    """A registry of prefixes that are always busy, each with a text and an entry of its own.

    Args:
        path: of the registry file; texts lie beside it.
        names: of the prefixes.
        defaults: more for all of them.
        by_name: more for one of them.
    """
    entries = []
    for name in names:
        text = path.parent / f"{name}.md"
        text.write_text(f"{name}: {CANARY}. ".ljust(20_000, "x"))
        entries.append({"name": name, "model_id": CLAUDE, "system": {"file": text.name}} | by_name.get(name, {}))
    common = {
        "region": "eu-central-1",
        "api": "invoke_model",
        "busy_hours": "always",
        "lifetime": f"{LIFETIME.total_seconds():g}s",
        "margin": f"{MARGIN.total_seconds():g}s",
    }
    whole = {"version": 1, "defaults": common | (defaults or {}), "prefixes": entries}
    path.write_text(json.dumps(whole, indent=1))  # JSON is YAML
    return path


def soon(true: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> bool:
    """Whether something becomes true before patience ends."""
    pause = threading.Event()
    deadline = utc_now() + timedelta(seconds=seconds)
    while not true():
        if utc_now() > deadline:
            return False
        pause.wait(0.01)
    return True


class _RaisingTrigger(BaseTrigger):
    """Says "now" once, and raises when it is asked for the time after."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        if previous_fire_time is not None:
            raise RuntimeError("a trigger with a bug")
        return now


def kill_scheduler() -> None:
    """End the one running scheduler's thread the way APScheduler can lose it: by a trigger that raises."""
    gc.unfreeze()  # the daemon has put away what lives as long as it does
    (running,) = (found for found in gc.get_objects() if isinstance(found, BackgroundScheduler) and found.running)
    running.add_job(print, _RaisingTrigger(), kwargs={"end": ""})


def pings(emulator: Emulator, name: str) -> list[Request]:
    """The requests of one prefix that were not refused, oldest first."""
    return [request for request in emulator.log if request.metadata.get("prefix") == name]


def was_written(request: Request) -> bool:
    """Whether this request found no entry and wrote one."""
    return request.usage is not None and request.usage.cache_write_tokens > 0


def shortest_gap(ledger: Path, name: str) -> timedelta:
    """The shortest time between two pings of a prefix by their stamps in the ledger.

    They arrive at the emulator later than that, the first of a process much later: boto3 makes its client in between.
    """
    stamps = [started(row) for row in rows(ledger) if row["prefix"] == name]
    return min((late - early for early, late in pairwise(stamps)), default=timedelta.max)


def rows(ledger: Path) -> list[dict[str, Any]]:
    """Every entry as the file has it, without keepwarm's own reading; none while the file is not there yet."""
    if not ledger.exists():
        return []
    with closing(sqlite3.connect(ledger, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute(
            "SELECT intents.*, outcomes.verdict, outcomes.request_id, outcomes.error_code "
            "FROM intents LEFT JOIN outcomes USING (number) ORDER BY number"
        )
        return [dict(row) for row in found]


def started(row: dict[str, Any]) -> datetime:
    """When the ping of a row left, aware UTC."""
    return datetime.fromisoformat(row["started_at"]).replace(tzinfo=utc_now().tzinfo)
