"""A ledger of a year: how large it grows, how long summing it up takes, and how long reports take before and after.

It pings nothing: entries are written in bulk in the shape that a daemon writes them, prefixes that are pinged around
the clock at 5m, each with a request for every ten pings. The reports are those of `keepwarm report`, without its start.
The peer in the same run is the plain walk over every ping, at stretches where it ends soon enough.

With `--copies` every summed up day, and the single pings of the last day and of the first day of each report, are then
written again under other names, so that a report over many times the entries need not wait for all of them.

Run: `nice python benchmarks/ledger_year.py [--entries 1000000] [--days 365] [--walk 1 30 ...] [--copies 9]`.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from keepwarm import accounting, rolling, simulate
from keepwarm.clock import steady_seconds
from keepwarm.ledger import Ledger
from keepwarm.ledger.tables import intent_row, outcome_row, touch_row
from keepwarm.model import Prefix, PrefixState, Usage, Verdict
from keepwarm.rolling import Roller
from tests.builders import make_entry, make_hours, make_prefix, make_touch

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
PERIOD = timedelta(seconds=270)
LIFE = timedelta(hours=1)
_BATCH = 20_000
_STATE = PrefixState(cached_tokens=5_000)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def fleet(entries: int, days: int) -> list[Prefix]:
    """As many prefixes as send so many pings in so many days."""
    count = max(1, round(entries / (days * DAY / PERIOD)))
    busy = make_hours("mon-sun 00:00-24:00", timezone="UTC")
    return [
        make_prefix(name=f"prefix-{number:04}", fingerprint=f"{number:032x}", busy_hours=busy)
        for number in range(count)
    ]


def fill(path: Path, prefixes: Sequence[Prefix], entries: int) -> None:
    """Write entries and touches of all prefixes, in the order of their starts, up to now."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    random, step = Random(7), PERIOD / len(prefixes)  # noqa: S311 no secret
    connection.execute("BEGIN")
    for first in range(0, entries, _BATCH):
        rows = list(_rows(random, prefixes, range(first, min(first + _BATCH, entries)), NOW - step * entries, step))
        for table in ("intents", "outcomes", "touches"):
            some = [row for name, row in rows if name == table]
            if some:
                marks = ", ".join("?" * len(some[0]))
                names = ", ".join(f'"{name}"' for name in some[0])
                statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 our own names
                connection.executemany(statement, (tuple(row.values()) for row in some))
    connection.execute("COMMIT")
    connection.close()


def _rows(
    random: Random, prefixes: Sequence[Prefix], numbers: range, start: datetime, step: timedelta
) -> Iterator[tuple[str, dict[str, Any]]]:
    templates = _templates(prefixes)
    for number in numbers:
        at = start + step * number
        intent, hit, rewrite, touch = templates[number % len(prefixes)]
        latency = int(random.lognormvariate(6.2, 0.3))
        late = at + timedelta(milliseconds=latency)
        yield "intents", {"number": number + 1} | intent | {"started_at": _moment(at)}
        outcome = rewrite if random.random() < 0.02 else hit
        yield "outcomes", outcome | {"number": number + 1, "completed_at": _moment(late), "latency_ms": latency}
        if random.random() < 0.1:
            told = {"request_id": f"{number:036}", "started_at": _moment(at + random.random() * PERIOD)}
            yield "touches", touch | told | {"latency_ms": int(random.lognormvariate(6.5, 0.3))}


def _templates(prefixes: Sequence[Prefix]) -> list[tuple[dict[str, Any], ...]]:
    found = []
    for prefix in prefixes:
        hit, rewrite = (make_entry(prefix, verdict) for verdict in (Verdict.HIT, Verdict.REWRITE))
        if not hit.outcome or not rewrite.outcome:
            raise AssertionError("both were answered")
        rows = (
            intent_row(hit.intent, "0" * 32),
            outcome_row(0, hit.outcome),
            outcome_row(0, rewrite.outcome),
            touch_row(make_touch(prefix, usage=Usage(9, 9, 5_000, 0)), "0" * 32),
        )
        found.append(tuple({name: _plain(value) for name, value in row.items()} for row in rows))
    return found


def _plain(value: object) -> object:
    """As SQLite keeps it."""
    if isinstance(value, datetime):
        return _moment(value)
    return value if value is None or isinstance(value, int | str) else format(value, "f")


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def reported(ledger: Ledger, prefixes: Sequence[Prefix], back: timedelta, *, walk: bool) -> tuple[float, Any]:
    """Seconds that a report takes, and what it says."""
    began, since = steady_seconds(), NOW - back
    backgrounds = {prefix.name: simulate.background_of(prefix, _STATE, since, NOW) for prefix in prefixes}
    if walk:
        before = since - LIFE
        entries, touches = ledger.entries(before, NOW), ledger.touches(before, NOW)
        report = accounting.make_report(entries, since, NOW, backgrounds, touches)
    else:
        told = rolling.told(ledger, since, NOW, LIFE)
        report = accounting.make_report(told.entries, since, NOW, backgrounds, told.touches, told.rolled)
    return steady_seconds() - began, accounting.to_json(report)


def _names(prefix: Prefix, copies: int) -> list[tuple[str, str]]:
    copied = [(f"{prefix.name}-{number}", f"{prefix.fingerprint}-{number}") for number in range(copies)]
    return [(prefix.name, prefix.fingerprint), *copied]


def copy(path: Path, given: argparse.Namespace) -> None:
    """Write the sums, and the single pings that reports still walk, again under other names."""
    heads = [NOW - back * DAY for back in (1, 30, given.days)]
    edges = " OR ".join(
        f"(started_at >= '{_moment(at.replace(hour=0, minute=0))}' AND started_at < '{_moment(at + DAY)}')"
        for at in heads
    )
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    step = connection.execute("SELECT max(number) FROM intents").fetchone()[0]
    for number in range(given.copies):
        own = {"prefix": f"prefix || '-{number}'", "fingerprint": f"fingerprint || '-{number}'"}
        ahead = {"number": f"number + {step * (number + 1)}"}
        within = f"({edges}) AND number <= {step}"
        _copy(connection, "rolled_parts", own, "fingerprint NOT LIKE '%-%'")
        _copy(connection, "rolled_standings", own, "fingerprint NOT LIKE '%-%'")
        _copy(connection, "intents", own | ahead, within)
        sent = f"number IN (SELECT number FROM intents WHERE {within})"  # noqa: S608 our own names
        _copy(connection, "outcomes", ahead, sent)
        _copy(connection, "touches", own | ahead | {"request_id": f"request_id || '-{number}'"}, within)
    # They are as old as those that they were copied from.
    connection.execute("UPDATE rolled_days SET touches_seen = (SELECT max(number) FROM touches)")
    connection.execute("COMMIT")
    connection.close()


def _copy(connection: sqlite3.Connection, table: str, changed: dict[str, str], where: str) -> None:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    quoted = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(changed.get(name, f'"{name}"') for name in names)
    statement = f"INSERT INTO {table} ({quoted}) SELECT {values} FROM {table} WHERE {where}"  # noqa: S608 our own names
    connection.execute(statement)


def alike(one: Any, other: Any) -> bool:
    """Whether two reports say the same; latencies are left out, which summed up days round."""
    if isinstance(one, dict):
        return all(name in {"latency_ms", "waiting_saved_seconds"} or alike(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


def main() -> None:
    """Fill, sum up, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--walk", type=int, nargs="*", default=[1, 30], help="days that are also walked")
    parser.add_argument("--copies", type=int, default=0, help="so often the sums are written again")
    parser.add_argument("--folder", type=Path, help="where the ledger is written; it must have room")
    given = parser.parse_args()
    prefixes = fleet(given.entries, given.days)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "ledger.sqlite"
        url = f"sqlite:///{path}"
        Ledger.open(url).close()
        began = steady_seconds()
        fill(path, prefixes, given.entries)
        size = path.stat().st_size
        said = f"{given.entries:,} entries of {len(prefixes)} prefixes, {given.days} days"
        say(f"{said}: {size / 2**20:,.0f} MiB, {size / given.entries:.0f} bytes an entry with its share of requests")
        say(f"written in {steady_seconds() - began:.0f} s")
        with Ledger.open(url) as ledger:
            measure(ledger, path, prefixes, given)


def measure(ledger: Ledger, path: Path, prefixes: Sequence[Prefix], given: argparse.Namespace) -> None:
    """Print the table."""
    walked = {days: reported(ledger, prefixes, days * DAY, walk=True) for days in given.walk}
    size, began = path.stat().st_size, steady_seconds()
    roller = Roller(ledger, lambda: prefixes, lambda _: _STATE, lambda: NOW, None)
    days = 0
    while roller.roll():
        days += 1
    took = steady_seconds() - began
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    grown = path.stat().st_size - size
    say(
        f"{days} days summed up in {took:,.0f} s, {took / given.entries * 1e6:.0f} us an entry; "
        f"the sums take {grown / 2**20:.1f} MiB, {grown / max(1, days * len(prefixes)):,.0f} bytes a prefix and day"
    )
    say(f"{'report':>8} {'walk s':>8} {'rolled s':>8} {'ratio':>7}  same figures")
    for back in sorted({1, 30, given.days, *given.walk}):
        seconds, report = reported(ledger, prefixes, back * DAY, walk=False)
        walk_seconds, walk_report = walked.get(back, (None, None))
        walk = f"{walk_seconds:8.2f}" if walk_seconds else f"{'-':>8}"
        ratio = f"{walk_seconds / seconds:6.0f}x" if walk_seconds else f"{'-':>7}"
        same = "-" if walk_report is None else "yes" if alike(walk_report, report) else "NO"
        say(f"{back:>6} d {walk} {seconds:8.2f} {ratio}  {same}")
    if given.copies:
        copy(path, given)
        fleet_of_all = [replace(prefix, name=name, fingerprint=fingerprint) for prefix in prefixes
                        for name, fingerprint in _names(prefix, given.copies)]  # fmt: skip
        said = f"{given.entries * (given.copies + 1):,} entries of {len(fleet_of_all)} prefixes, by copies of the sums"
        say(said)
        for back in sorted({1, 30, given.days}):
            seconds, report = reported(ledger, fleet_of_all, back * DAY, walk=False)
            pings = sum(report["total"]["pings"].values())
            say(f"{back:>6} d {'-':>8} {seconds:8.2f} {'-':>7}  {pings:,} pings")
    say(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
