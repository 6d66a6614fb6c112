"""CPU of one ping of keepwarm, ledger and guards and metrics and log included, beside a bare `client.converse`.

Both run in one process, in turns, through a pool of as many threads, against `benchmarks/endpoint.py` in another one;
CPU is that of the whole process, so it counts every thread. A ping is the daemon's own: decide, guards, intent on the
disk, boto3, verdict, outcome on the disk, events to metrics, page, and a log line.

Run: `python benchmarks/ping_cost.py [--calls 2000] [--workers 16] [--sizes 5000,100000,1000000] [--profile FILE]`.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

if __name__ == "__main__":  # a script finds its own directory only
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.scale import MODEL, REGION, endpoint, write_request
from keepwarm import clock, telemetry
from keepwarm.alerts import alerts_of
from keepwarm.model import Api, Prefix
from keepwarm.outlets import outlets_of
from keepwarm.parts import Parts, opened
from keepwarm.settings import Settings

PREFIXES = 200
APIS = ("converse", "invoke_model")


class Hasty:
    """A clock that is put ahead by a ping period, so that every ping is due."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        """The time of keepwarm; the endpoint keeps the real one, so that every ping is a hit."""
        return clock.utc_now() + self.ahead


def write_registry(folder: Path, size: int, api: str) -> Path:
    """Always busy prefixes with a body of a size, each its own."""
    entries = []
    for number in range(PREFIXES):
        name = f"requests/{number}.json"
        write_request(folder / name, size, str(number), api)
        entries.append({"name": f"p{number}", "request": name})
    caps = {f"{period}_cap_usd": 1_000_000 for period in ("ping", "day", "month")}
    defaults = {"model_id": MODEL, "region": REGION, "api": api, "busy_hours": "always", "policy": "busy_hours"}
    path = folder / "registry.yaml"
    path.write_text(json.dumps({"version": 1, "defaults": defaults | caps, "prefixes": entries}))
    return path


@contextmanager
def keepers(folder: Path, registry: Path, workers: int, now: Callable[[], datetime], log: Any) -> Iterator[Parts]:
    """What a daemon on this registry sends with, and all that observes it."""
    settings = Settings(
        registry=str(registry),
        state_dir=folder / "state",
        max_concurrent_pings=workers,
        requests_per_minute=10_000_000,
        day_cap_usd=10_000_000,
        month_cap_usd=10_000_000,
    )
    telemetry.configure("info", "json", log)
    outlets = outlets_of("", now, None)
    observers = (telemetry.log, *outlets.observers)
    alerts = alerts_of(settings, now=now, tell=lambda event: [observe(event) for observe in observers])
    with opened(settings, now=now, observers=(*observers, alerts.observe)) as parts:
        yield parts


def bare_calls(parts: Parts, workers: int, url: str) -> list[Callable[[], object]]:
    """The same calls of boto3, and nothing beside them."""
    client = boto3.client(
        "bedrock-runtime",
        region_name=REGION,
        endpoint_url=url,
        config=Config(retries={"total_max_attempts": 1, "mode": "standard"}, max_pool_connections=workers),
    )

    def invoke(given: dict[str, Any]) -> object:
        return client.invoke_model(**given)["body"].read()

    def make(prefix: Prefix) -> Callable[[], object]:
        given = {**prefix.ping_request, "modelId": MODEL}
        mark = {"keepwarm": "ping", "prefix": prefix.name}
        if prefix.api is Api.CONVERSE:
            return partial(client.converse, **given, requestMetadata=mark)
        return partial(invoke, given | {"requestMetadata": json.dumps(mark)})

    return [make(prefix) for prefix in parts.registry.prefixes]


def cpu_of(calls: Sequence[Callable[[], object]], workers: int) -> float:
    """Microseconds of the process for each call."""
    with ThreadPoolExecutor(workers) as pool:
        began = time.process_time()
        for _ in pool.map(lambda call: call(), calls):
            pass
        return 1e6 * (time.process_time() - began) / len(calls)


def measured(folder: Path, size: int, api: str, calls: int, workers: int, url: str) -> tuple[float, float]:
    """Medians of rounds in turns: bare, keepwarm."""
    hasty, bare, kept = Hasty(), [], []
    registry = write_registry(folder, size, api)
    with (folder / "log").open("w") as log, keepers(folder, registry, workers, hasty.now, log) as parts:
        plain = bare_calls(parts, workers, url)
        tends = [partial(parts.keeper.tend, name) for name in parts.keeper.names]
        cpu_of(plain, workers)
        cpu_of(tends, workers)
        for _ in range(max(1, calls // PREFIXES)):
            bare.append(cpu_of(plain, workers))
            hasty.ahead += timedelta(seconds=275)
            kept.append(cpu_of(tends, workers))
        entries = sum(1 for _ in parts.ledger.entries(None, None))
        if entries != PREFIXES * (len(kept) + 1):
            raise SystemExit(f"{entries} pings were sent instead of {PREFIXES * (len(kept) + 1)}")
    logging.getLogger().handlers.clear()
    return statistics.median(bare), statistics.median(kept)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--sizes", default="5000,100000,1000000")
    parser.add_argument("--apis", default=",".join(APIS))
    parser.add_argument("--profile", type=Path, help="where to write what the threads did, by function")
    chosen = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIACOST", "AWS_SECRET_ACCESS_KEY": "example"}
    out = sys.stdout.write
    out("| bytes | API | bare boto3 | keepwarm | ratio |\n| ---: | --- | ---: | ---: | ---: |\n")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keepwarm-cost-")))
        url = stack.enter_context(endpoint(0, 1, place / "endpoint.log"))
        os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = url
        for size in map(int, chosen.sizes.split(",")):
            for api in chosen.apis.split(","):
                folder = place / f"{size}-{api}"
                folder.mkdir()
                with profiled(chosen.profile):
                    bare, kept = measured(folder, size, api, chosen.calls, chosen.workers, url)
                out(f"| {size:,} | {api} | {bare:.0f} us | {kept:.0f} us | {kept / bare:.2f} |\n")
                sys.stdout.flush()


@contextmanager
def profiled(path: Path | None) -> Iterator[None]:
    """Profile every thread of the pools by turns of `tend`, where somebody wants it."""
    if path is None:
        yield
        return
    profile = cProfile.Profile()
    from keepwarm.keeper import Keeper  # noqa: PLC0415 - only here

    tend = Keeper.tend

    def watched(self: Keeper, name: str) -> Any:
        return profile.runcall(tend, self, name)

    Keeper.tend = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        Keeper.tend = tend  # type: ignore[method-assign]
        with path.open("w") as stream:
            pstats.Stats(profile, stream=stream).sort_stats("cumulative").print_stats(90)


if __name__ == "__main__":
    main()
