"""Hours of a trace on a whole daemon and the emulator at 1:50, and what `simulate` said of them: prints both bills.

It asserts nothing; tests/integration/test_daemon_equals_simulate.py does, on a shorter day. Needs the test
requirements. Everything is scaled alike, requests, lives and margins, so that the very same planner and learner run in
both; `simulate` is given the requests as the trace has them, not as they were sent.

    python benchmarks/daemon_day.py TRACE [--prefixes 12] [--from-hour 9] [--hours 6] [--ttl 5m] [--margin 1.5]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import boto3

from keepwarm.clock import sleep, utc_now
from keepwarm.daemon import Daemon, build
from keepwarm.emulator import Emulator
from keepwarm.settings import Settings
from keepwarm.simulate import read_trace
from keepwarm.simulate.traces import seconds_of
from tests.builders import shipped_catalog
from tests.daemons import TIME_SCALE, soon
from tests.days import REGION, Application, billed, measured_tokens, scaled, simulated, write_day

TOKENS = 12_000

Rows = list[tuple[float, str]]


def stretch(path: Path, prefixes: int, from_hour: float, hours: float) -> Rows:
    """The requests of the busiest prefixes in some hours of a trace: seconds from their beginning, and new names."""
    since, until = from_hour * 3600, (from_hour + hours) * 3600
    arrivals = read_trace(path).arrivals
    found = [(seconds_of(each.at) - since, each.prefix_id) for each in arrivals if since <= seconds_of(each.at) < until]
    busiest = [name for name, _ in Counter(name for _, name in found).most_common(prefixes)]
    names = {name: f"p{number}" for number, name in enumerate(busiest)}
    return [(at, names[name]) for at, name in found if name in names]


@contextmanager
def running(folder: Path, registry: Path) -> Iterator[Daemon]:
    """A daemon on a registry."""
    settings = Settings(
        registry=registry,
        state_dir=folder / "state",
        listen="127.0.0.1:0",
        requests_per_minute=100_000,
        reconcile_seconds=30 * TIME_SCALE,
    )
    with build(settings, observers=[]) as daemon:
        thread = threading.Thread(target=daemon.run)
        thread.start()
        try:
            soon(lambda: daemon.address)
            yield daemon
        finally:
            daemon.stop()
            thread.join()


def play(application: Application, rows: Sequence[tuple[float, str]], began: datetime) -> float:
    """Send the requests of every prefix in its own thread; how late the latest was, in seconds."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for at, name in rows:
        by_name[name].append(at)

    def send(name: str) -> float:
        late = timedelta(0)
        for at in by_name[name]:
            due = began + timedelta(seconds=at * TIME_SCALE)
            sleep(due - utc_now())
            late = max(late, utc_now() - due)
            application.call(name)
        return late.total_seconds()

    with ThreadPoolExecutor(len(by_name)) as pool:
        return max(pool.map(send, by_name))


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--prefixes", type=int, default=12, help="so many of the busiest")
    parser.add_argument("--from-hour", type=float, default=9, help="of the trace")
    parser.add_argument("--hours", type=float, default=6, help="each takes 72 seconds")
    parser.add_argument("--ttl", choices=["5m", "1h", "auto"], default="5m")
    parser.add_argument("--margin", type=float, default=1.5, help="of a 5m entry of six seconds, in seconds")
    chosen = parser.parse_args()
    rows = stretch(chosen.trace, chosen.prefixes, chosen.from_hour, chosen.hours)
    names = sorted({name for _, name in rows})
    os.environ |= {"AWS_ACCESS_KEY_ID": "example", "AWS_SECRET_ACCESS_KEY": "example"}
    scale = 12 if chosen.ttl == "1h" else 1
    entry = {"ttl": chosen.ttl, "lifetime": f"{6 * scale}s", "margin": f"{chosen.margin * scale:g}s"}
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        bedrock = stack.enter_context(Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE, latency_scale=0))
        os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = bedrock.url
        registry = write_day(folder, dict.fromkeys(names, entry), dict.fromkeys(names, TOKENS))
        client = boto3.client("bedrock-runtime", region_name=REGION)
        stack.callback(client.close)
        daemon = stack.enter_context(running(folder, registry))
        asks = names if chosen.ttl == "auto" else ()
        application = Application(f"http://{daemon.address}", client, utc_now, folder, asks)
        began = utc_now()
        until = began + timedelta(hours=chosen.hours) * TIME_SCALE
        late = play(application, rows, began)
        sleep(until - utc_now())
        daemon.stop()
        ledger, prefixes = daemon.parts.ledger, daemon.parts.registry.prefixes
        spent = billed(ledger, prefixes, until)
        said = simulated(scaled(rows, began, TIME_SCALE, measured_tokens(ledger)), prefixes, until)
    title = f"{chosen.trace.name}, {chosen.hours:g} hours from {chosen.from_hour:g}, ttl {chosen.ttl}"
    print(f"{title}: {len(rows)} requests of {len(names)} prefixes; the latest was sent {late:.2f} s late")  # noqa: T201
    print(f"  daemon    {spent}\n  simulate  {said}\n  ratio     {spent.usd / said.usd:.4f}")  # noqa: T201


if __name__ == "__main__":
    main()
