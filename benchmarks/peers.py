"""What others run to keep prefixes warm, on the prefixes of a registry that `benchmarks/scale.py` has written.

Each is as naive as it is found in the field: every four minutes of a 5m entry, all day, with no look at what came back.
They differ from one another only in who calls boto3 when. `cron` is also the bare call: a pool, and nothing beside it.

Run: `python benchmarks/peers.py cron|apscheduler|asyncio REGISTRY --period 240 --workers 16`, until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import boto3
from apscheduler.executors.pool import ThreadPoolExecutor as SchedulerPool
from apscheduler.schedulers.blocking import BlockingScheduler
from botocore.config import Config

from keepwarm.clock import sleep, steady_seconds, utc_now

Call = Callable[[], None]


def calls_of(registry: Path, workers: int) -> list[Call]:
    """A call of boto3 for each prefix of a registry in JSON; a request file that several name is read once."""
    whole = json.loads(registry.read_text())
    config = Config(retries={"total_max_attempts": 1, "mode": "standard"}, max_pool_connections=workers)
    client = boto3.client("bedrock-runtime", region_name=whole["defaults"]["region"], config=config)
    bodies: dict[str, dict[str, Any]] = {}

    def make(entry: dict[str, Any]) -> Call:
        name = entry["request"]
        if name not in bodies:
            body = json.loads((registry.parent / name).read_text())
            bodies[name] = body | {"inferenceConfig": {"maxTokens": 1}}
        model = entry.get("model_id") or whole["defaults"]["model_id"]
        mark = {"peer": "ping", "prefix": entry["name"]}
        return lambda: client.converse(modelId=model, requestMetadata=mark, **bodies[name])

    return [make(entry) for entry in whole["prefixes"]]


def cron(calls: list[Call], period: float, workers: int) -> None:
    """All of them, as fast as a pool goes; then again at the next time of the period."""
    with ThreadPoolExecutor(workers) as pool:
        began = steady_seconds()
        for turn in count(1):
            for _ in pool.map(lambda call: call(), calls):
                pass
            sleep(timedelta(seconds=began + turn * period - steady_seconds()))


def apscheduler(calls: list[Call], period: float, workers: int) -> None:
    """An interval job for each, the first at once, with the defaults of APScheduler."""
    scheduler = BlockingScheduler(timezone="UTC", executors={"default": SchedulerPool(workers)})
    for call in calls:
        scheduler.add_job(call, "interval", seconds=period, next_run_time=utc_now())
    scheduler.start()


def by_asyncio(calls: list[Call], period: float, workers: int) -> None:
    """A task for each, that calls in a thread of a pool and sleeps."""

    async def keep(call: Call) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(pool, call)
            await asyncio.sleep(period)

    async def keep_all() -> None:
        await asyncio.gather(*map(keep, calls))

    with ThreadPoolExecutor(workers) as pool:
        asyncio.run(keep_all())


PEERS: dict[str, Callable[[list[Call], float, int], None]] = {
    "cron": cron,
    "apscheduler": apscheduler,
    "asyncio": by_asyncio,
}


def main() -> None:
    """Keep warm until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("registry", type=Path)
    parser.add_argument("--period", type=float, default=240)
    parser.add_argument("--workers", type=int, default=16)
    chosen = parser.parse_args()
    logging.disable()  # APScheduler warns of every run that it drops
    calls = calls_of(chosen.registry, chosen.workers)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    PEERS[chosen.peer](calls, chosen.period, chosen.workers)


if __name__ == "__main__":
    main()
