"""One `keepwarm run` and thousands of prefixes, and its peers on the same: who kept what warm, how late, for how much.

Every contestant is a process of its own with an account of its own, one after another against one fast endpoint
(`benchmarks/endpoint.py`), which tells what it saw; CPU and memory are Linux's figures of the process. Nothing is left
out: the daemon reads its registry, writes its ledger with a sync of the disk for each intent, logs, and counts.

Run: `python benchmarks/scale.py [--prefixes 1000,10000,100000] [--lifetime 300] [--page docs/scale.md]`. At a lifetime
of 30 everything goes ten times as fast, so 1,000 prefixes ping as often as 10,000 of 5m do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from keepwarm import planner
from keepwarm.clock import sleep, steady_seconds, utc_now
from keepwarm.model import Api, Prefix, PrefixState, Ttl
from keepwarm.registry import load_catalog
from keepwarm.registry.synthetic import synthetic_prefix, synthetic_text

HERE = Path(__file__).parent
BEGIN, END = "<!-- scale: begin -->", "<!-- scale: end -->"
MODEL = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
REGION = "eu-central-1"
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/p{number:08d}"
FIVE_MINUTES = 300.0
# Bytes of the shared request files, and of a hundred prefixes how many have one of that size.
SHARES = {5_000: 90, 100_000: 9, 1_000_000: 1}
FILES_OF_A_SIZE = 4
# Peers ping every four minutes of a 5m entry.
PEER_SHARE = 0.8
# Whoever is not through with all prefixes once after so many lifetimes is measured as he is.
PATIENCE_LIFETIMES = 1.5
# And for a reload it is waited so long.
RELOAD_SECONDS = 120
CONTESTANTS = ("keepwarm", "cron", "apscheduler", "asyncio")


@dataclass(frozen=True, slots=True)
class Round:
    """What is the same for all contestants of one size.

    Attributes:
        shared: a few request files of `SHARES`, each named by many prefixes through an inference profile of its own;
            else one of 5 KB for each prefix.
        lifetime: of an entry, in seconds.
        seconds: how long it is measured after the first fill.
    """

    prefixes: int
    shared: bool
    lifetime: float
    latency_ms: float
    seconds: float
    folder: Path
    endpoint: str

    @property
    def pings_a_second(self) -> float:
        """What all prefixes need when each ping goes out a margin, and on average half its spread, before expiry."""
        return self.prefixes / (self.lifetime * 0.9)

    @property
    def workers(self) -> int:
        """Threads of everybody's pool: twice what is in flight on average."""
        return min(1000, max(16, math.ceil(2 * self.pings_a_second * self.latency_ms / 1000)))

    @property
    def requests_per_minute(self) -> int:
        """The daemon's rate limit: a first fill within 0.8 lifetimes, and never below the default."""
        return max(600, math.ceil(self.prefixes / (0.8 * self.lifetime / 60)))


@dataclass(frozen=True, slots=True)
class Figures:
    """How one contestant did.

    Attributes:
        warm: prefixes that were filled and never cold in the window.
        late: seconds at the endpoint after the moment that was meant: p50, p99, the latest.
        cpu_seconds: of the process in the window.
        pings: in the window.
        extra: what only the daemon has.
    """

    name: str
    warm: int
    dead_share: float
    fill_seconds: float
    filled: bool
    late: tuple[float, float, float]
    pings: int
    cpu_seconds: float
    window_seconds: float
    usd: float
    resident_bytes: int
    threads: int
    extra: dict[str, float]

    @property
    def core_percent(self) -> float:
        """CPU as a share of one core."""
        return 100 * self.cpu_seconds / self.window_seconds

    @property
    def cpu_ms(self) -> float:
        """CPU for each ping, in milliseconds."""
        return 1000 * self.cpu_seconds / self.pings if self.pings else math.nan


# -- the prefixes ---------------------------------------------------------------------------------------------------


def write_registry(given: Round) -> Path:
    """A registry of always busy prefixes, their request files beside it."""
    folder = given.folder / "registry"
    (folder / "requests").mkdir(parents=True)
    names = _write_shared(folder) if given.shared else []
    entries: list[dict[str, Any]] = []
    for number in range(given.prefixes):
        entry: dict[str, Any] = {"name": f"p{number:06d}"}
        if given.shared:
            entry |= {"request": names[number % len(names)], "model_id": PROFILE.format(number=number)}
        else:
            entry["request"] = f"requests/{number // 1000:03d}/{number:06d}.json"
            write_request(folder / entry["request"], 5_000, str(number))
        entries.append(entry)
    defaults = {
        "region": REGION,
        "api": "converse",
        "busy_hours": "always",
        "policy": "busy_hours",
        "lifetime": f"{given.lifetime:g}s",
        "margin": f"{given.lifetime / 10:g}s",
        "ping_cap_usd": 1_000,
        "day_cap_usd": 1_000_000,
        "month_cap_usd": 1_000_000,
        "tripwire_usd": 1_000_000,
    }
    defaults |= {"base_model": MODEL} if given.shared else {"model_id": MODEL}
    path = folder / "registry.yaml"
    path.write_text(json.dumps({"version": 1, "defaults": defaults, "prefixes": entries}, indent=1))  # JSON is YAML
    return path


def _write_shared(folder: Path) -> list[str]:
    """The shared files, and of a hundred prefixes which has which."""
    found = []
    for size, share in SHARES.items():
        names = [f"requests/shared-{size}-{number}.json" for number in range(FILES_OF_A_SIZE)]
        for name in names:
            write_request(folder / name, size, name)
        found += [names[number % FILES_OF_A_SIZE] for number in range(share)]
    return found


def write_request(path: Path, size: int, salt: str, api: str = "converse") -> None:
    """A production request of about so many bytes, different for each salt from the first words on."""
    text = (synthetic_text(100, salt) + " lorem ipsum dolor sit amet" * (size // 27))[:size]
    body: dict[str, Any] = {"system": [{"text": text}, {"cachePoint": {"type": "default"}}]}
    question: Any = [{"text": "q"}]
    if api == "invoke_model":
        block = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
        body, question = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "system": [block]}, "q"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(body | {"messages": [{"role": "user", "content": question}]}))


# -- processes ------------------------------------------------------------------------------------------------------


@contextmanager
def running(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child process; ended at the end."""
    with log.open("wb") as stream:
        child = subprocess.Popen([sys.executable, *command], env=environment, stdout=stream, stderr=stream)  # noqa: S603
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def endpoint(latency_ms: float, time_scale: float, log: Path) -> Iterator[str]:
    """The endpoint, and its address."""
    command = [str(HERE / "endpoint.py"), "--latency-ms", str(latency_ms), "--time-scale", str(time_scale)]
    with running(command, _environment(), log):
        until(lambda: log.read_text().endswith("\n"), 30)
        yield log.read_text().strip()


def _environment(account: str = "", url: str = "") -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPWARM_", "AWS_", "OTEL_"))}
    own["PYTHONPATH"] = str(HERE.parent)
    if account:
        own |= {"AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": "example", "AWS_EC2_METADATA_DISABLED": "true"}
        own["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = url
    return own


def until(true: Callable[[], object], seconds: float) -> bool:
    """Whether something becomes true in time."""
    deadline = steady_seconds() + seconds
    while not true():
        if steady_seconds() > deadline:
            return False
        sleep(timedelta(milliseconds=20))
    return True


def cpu_seconds(child: subprocess.Popen[bytes]) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status_of(child: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Resident bytes and threads of a process."""
    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    found = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines) if rest.split()}
    return 1024 * int(found["VmRSS"]), int(found["Threads"])


def ask(url: str, **query: str) -> Any:
    """What the endpoint tells."""
    text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    with urlopen(f"{url}?{text}", timeout=120) as answer:  # noqa: S310 - our own endpoint
        return json.load(answer)


class Manager:
    """The service manager of the daemon: hears when it is ready, which is when every prefix is armed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.readies = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        while True:
            self.readies += b"READY=1" in self._socket.recv(4096)


# -- one contestant -------------------------------------------------------------------------------------------------


def measure(given: Round, name: str, child: subprocess.Popen[bytes], began: datetime) -> Figures:
    """Wait for the first fill, then look at it for the seconds of the round; lateness is left to the caller."""

    def told(since: datetime, now: datetime) -> Any:
        return ask(f"{given.endpoint}/told", account=_account(given, name), since=_iso(since), until=_iso(now))

    def through() -> bool:
        if child.poll() is not None:
            raise SystemExit(f"{name} ended by itself; see {given.folder}")
        sleep(timedelta(milliseconds=200))
        return bool(told(began, began)["prefixes"] == given.prefixes)

    filled = until(through, PATIENCE_LIFETIMES * given.lifetime)
    since, cpu = utc_now(), cpu_seconds(child)
    before = told(since, since)
    sleep(timedelta(seconds=given.seconds))
    now, cpu_used = utc_now(), cpu_seconds(child) - cpu
    after = told(since, now)
    resident, threads = status_of(child)
    window = (now - since).total_seconds()
    return Figures(
        name=name,
        warm=after["prefixes"] - after["ever_cold"],
        dead_share=(after["dead_seconds"] + (given.prefixes - after["prefixes"]) * window) / window / given.prefixes,
        fill_seconds=(since - began).total_seconds(),
        filled=filled,
        late=(0.0, 0.0, 0.0),
        pings=after["requests"] - before["requests"],
        cpu_seconds=cpu_used,
        window_seconds=window,
        usd=after["cost_usd"] - before["cost_usd"],
        resident_bytes=resident,
        threads=threads,
        extra={"since": since.timestamp(), "until": now.timestamp()},
    )


def run_peer(given: Round, registry: Path, name: str) -> Figures:
    """One of `benchmarks/peers.py`."""
    log, period = given.folder / f"{name}.log", PEER_SHARE * given.lifetime
    command = [str(HERE / "peers.py"), name, str(registry), "--period", str(period), "--workers", str(given.workers)]
    with running(command, _environment(_account(given, name), given.endpoint), log) as child:
        if not until(lambda: log.read_text().startswith("ready"), 600):
            raise SystemExit(f"{name} did not start: {log.read_text()[-2000:]}")
        found = measure(given, name, child, utc_now())
    arrivals = ask(f"{given.endpoint}/arrivals", account=_account(given, name))
    late = [
        max(0.0, after - before - period)
        for moments in arrivals.values()
        for before, after in pairwise(moments)
        if found.extra["since"] <= after < found.extra["until"]
    ]
    return replace(found, late=shares(late))


def run_keepwarm(given: Round, registry: Path, *, name: str = "keepwarm") -> Figures:
    """The daemon, as an operator of that many prefixes would set it, on a ledger of its own."""
    state = given.folder / f"{name}-state"
    state.mkdir()
    manager = Manager(state / "notify")
    environment = _environment(_account(given, name), given.endpoint) | {
        "KEEPWARM_REGISTRY": str(registry),
        "KEEPWARM_STATE_DIR": str(state),
        "KEEPWARM_LISTEN": "127.0.0.1:0",
        "KEEPWARM_MAX_CONCURRENT_PINGS": str(given.workers),
        "KEEPWARM_REQUESTS_PER_MINUTE": str(given.requests_per_minute),
        "KEEPWARM_DAY_CAP_USD": "1000000",
        "KEEPWARM_MONTH_CAP_USD": "10000000",
        "KEEPWARM_WATCH": "off",
        "NOTIFY_SOCKET": str(manager.path),
    }
    log = given.folder / f"{name}.log"
    began = steady_seconds()
    with running(["-m", "keepwarm", "run"], environment, log) as child:
        if not until(lambda: manager.readies or child.poll() is not None, 600) or child.poll() is not None:
            raise SystemExit(f"the daemon did not start: {log.read_text()[-2000:]}")
        started = steady_seconds() - began
        armed_bytes, _ = status_of(child)
        found = measure(given, name, child, utc_now())
        reload = steady_seconds()
        change_one(registry)
        child.send_signal(signal.SIGHUP)
        reloaded = until(lambda: manager.readies > 1, RELOAD_SECONDS)
        reload = steady_seconds() - reload if reloaded else math.inf
    rows = ledger_rows(state / "ledger.sqlite")
    ledger = sum(path.stat().st_size for path in state.glob("ledger.sqlite*"))
    arrivals = ask(f"{given.endpoint}/arrivals", account=_account(given, name))
    late, way = lateness(given, rows, arrivals, found.extra["since"], found.extra["until"])
    extra = {
        "started": started,
        "armed_bytes": armed_bytes,
        "reload": reload,
        "ledger_bytes_a_ping": ledger / max(1, len(rows)),
        "way_p99": shares(way)[1],
        "warnings": sum(line.startswith("{") and '"level": "warning"' in line for line in log.open()),
    }
    return replace(found, late=shares(late), extra=extra)


def change_one(registry: Path) -> None:
    """Tag one prefix, and put the new file in the place of the old one."""
    whole = json.loads(registry.read_text())
    whole["prefixes"][len(whole["prefixes"]) // 2]["margin"] = "11s"
    beside = registry.with_suffix(".new")
    beside.write_text(json.dumps(whole, indent=1))
    beside.replace(registry)


def ledger_rows(path: Path) -> list[tuple[str, str, str, datetime]]:
    """Prefix, fingerprint, reason and start of every intent."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT prefix, fingerprint, reason, started_at FROM intents ORDER BY number")
        return [(*row[:3], datetime.fromisoformat(row[3]).replace(tzinfo=UTC)) for row in found]


def lateness(
    given: Round,
    rows: Sequence[tuple[str, str, str, datetime]],
    arrivals: dict[str, list[float]],
    since: float,
    before: float,
) -> tuple[list[float], list[float]]:
    """How long after the moment that the planner meant pings reached the endpoint, and how long they were on their way.

    The planner's moment follows from the start of the ping before, which the ledger has; the arrival is the endpoint's.
    """
    template = _template(given.lifetime)
    late, way = [], []
    touched: dict[str, datetime] = {}
    place: dict[str, int] = {}
    for name, fingerprint, reason, at in rows:
        number = place[name] = place.get(name, -1) + 1
        arrived = arrivals.get(name, [])[number : number + 1]
        if arrived and since <= arrived[0] < before:
            way.append(arrived[0] - at.timestamp())
            if reason == "keep_warm" and name in touched:
                prefix = replace(template, fingerprint=fingerprint)
                due = planner.due_at(prefix, PrefixState(touched_at=touched[name]))
                late.append(arrived[0] - due.timestamp() if due else 0.0)
        touched[name] = at
    return late, way


def _template(lifetime: float) -> Prefix:
    made = synthetic_prefix(
        model_id=MODEL,
        region=REGION,
        api=Api.CONVERSE,
        ttl=Ttl.FIVE_MINUTES,
        tokens=2000,
        salt="scale",
        catalog=load_catalog(None),
        key=bytes(32),
    )
    return replace(made, lifetime=timedelta(seconds=lifetime), margin=timedelta(seconds=lifetime / 10))


def shares(values: list[float]) -> tuple[float, float, float]:
    """Median, 99th percentile and greatest."""
    ordered = sorted(values) or [math.nan]
    last = len(ordered) - 1
    return ordered[last // 2], ordered[round(0.99 * last)], ordered[last]


def _account(given: Round, name: str) -> str:
    return f"AKIA{name.upper()}{given.prefixes}{'S' if given.shared else 'O'}"


def _iso(at: datetime) -> str:
    return at.isoformat()


# -- the page -------------------------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its first column words and the others figures."""
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


CONTEST = [
    "",
    "never cold",
    "time cold",
    "late p50 / p99 / max",
    "pings",
    "of a core",
    "CPU a ping",
    "spent",
    "first fill",
]


def contest(found: Sequence[Figures]) -> str:
    """What everybody did, each figure with its ratio to keepwarm's."""
    own = found[0]
    rows = []
    for each in found:
        late = " / ".join(f"{seconds:.3g}" for seconds in each.late)
        rows.append(
            [
                f"**{each.name}**" if each is own else each.name,
                _beside(f"{each.warm:,}", each.warm, own.warm, each is own),
                f"{100 * each.dead_share:.2f} %",
                f"{late} s" + ("" if each is own else f" ({_ratio(each.late[1], own.late[1])})"),
                _beside(f"{each.pings:,}", each.pings, own.pings, each is own),
                _beside(
                    f"{100 * each.cpu_seconds / each.window_seconds:.1f} %",
                    each.cpu_seconds,
                    own.cpu_seconds,
                    each is own,
                ),
                _beside(f"{each.cpu_ms:.2f} ms", each.cpu_ms, own.cpu_ms, each is own),
                _beside(f"${each.usd:,.2f}", each.usd, own.usd, each is own),
                f"{each.fill_seconds:.0f} s" if each.filled else "never",
            ]
        )
    header = [
        "",
        "never cold",
        "time cold",
        "late p50 / p99 / max",
        "pings",
        "of a core",
        "CPU a ping",
        "spent",
        "first fill",
    ]
    return table(header, rows)


def _beside(text: str, value: float, own: float, is_own: bool) -> str:
    return text if is_own else f"{text} ({_ratio(value, own)})"


def _ratio(value: float, own: float) -> str:
    return f"{value / own:.2f}" if own and math.isfinite(value) else "-"


def daemon_row(given: Round, own: Figures, bare: Figures | None, empty_bytes: int) -> list[str]:
    """The line of the daemon of one size in the table of goals."""
    extra, rate = own.extra, own.pings / own.window_seconds
    beyond = "-"
    if bare and bare.pings:
        beyond = f"{100 * (own.cpu_ms - bare.cpu_ms) * rate / 1000:.0f} %"
    return [
        f"{given.prefixes:,}, {'shared' if given.shared else 'own'} bodies",
        f"{extra['started']:.1f} s",
        f"{given.prefixes - own.warm:,}",
        f"{rate:.1f}",
        f"{own.late[0]:.3f} / {own.late[1]:.3f} / {own.late[2]:.2f} s",
        f"{own.core_percent:.0f} %",
        beyond,
        f"{own.resident_bytes / 2**20:.0f} MB",
        f"{(own.resident_bytes - empty_bytes) / given.prefixes / 1024:.1f} KB",
        f"{extra['reload']:.1f} s" if math.isfinite(extra["reload"]) else f"> {RELOAD_SECONDS} s",
        f"{extra['ledger_bytes_a_ping']:.0f} B",
        f"{given.workers}, {given.requests_per_minute:,}/min",
    ]


GOALS = [
    "prefixes",
    "armed after",
    "ever cold",
    "pings/s",
    "late p50 / p99 / max",
    "of a core",
    "beyond boto3",
    "resident",
    "a prefix",
    "reload of one",
    "ledger a ping",
    "workers, rate limit",
]


def replaced(page: str, text: str) -> str:
    """The page with this text as its section of figures; a page without one gets it at its end."""
    if BEGIN not in page:
        page = (page.rstrip() or "# Scale") + f"\n\n## Figures\n\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def section(lines: Sequence[list[str]], tables: Sequence[tuple[Round, str]], command: str) -> str:
    """All of the figures."""
    given = tables[0][0]
    where = f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[2]:.1f} at the end"
    head = (
        f"Made by `{command}` on {where}.\nAn entry lives {given.lifetime:g} s, an answer takes "
        f"{given.latency_ms:g} ms; "
        f"each contestant was looked at for {given.seconds:g} s after its first fill."
    )
    parts = [head, "### The daemon", table(GOALS, lines)]
    for one, text in tables:
        parts += [f"### {one.prefixes:,} prefixes, {'shared' if one.shared else 'own'} bodies, and its peers", text]
    return "\n\n".join(parts)


def play(given: Round, contestants: Sequence[str], empty_bytes: int) -> tuple[list[str], str]:
    """Everybody on the prefixes of one size, one after another."""
    registry = write_registry(given)
    found = []
    for name in contestants:
        found.append(run_keepwarm(given, registry) if name == "keepwarm" else run_peer(given, registry, name))
        sys.stderr.write(f"{given.prefixes:,} {name}: {found[-1]}\n")
    # The loop of asyncio calls at the same pace as the daemon does; that of cron in bursts, with warm caches.
    bare = next((each for each in reversed(found) if each.name in {"asyncio", "cron"}), None)
    return daemon_row(given, found[0], bare, empty_bytes), contest(found)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prefixes", default="1000", help="sizes, with commas between")
    parser.add_argument("--bodies", choices=["own", "shared", "both"], default="both")
    parser.add_argument("--lifetime", type=float, default=FIVE_MINUTES, help="of an entry, in seconds")
    parser.add_argument("--seconds", type=float, default=0, help="of the window; by default one lifetime")
    parser.add_argument("--latency-ms", type=float, default=500, help="of an answer")
    parser.add_argument("--contestants", default=",".join(CONTESTANTS), help="keepwarm first; fewer are sooner done")
    parser.add_argument("--page", type=Path, help="whose section of figures is replaced")
    parser.add_argument("--keep", action="store_true", help="leave logs and ledgers where they are")
    chosen = parser.parse_args()
    contestants = chosen.contestants.split(",")
    if contestants[0] != "keepwarm" or not set(contestants) <= set(CONTESTANTS):
        parser.error(f"contestants are {', '.join(CONTESTANTS)}, keepwarm first")
    place = Path(tempfile.mkdtemp(prefix="keepwarm-scale-"))
    lines: list[list[str]] = []
    tables: list[tuple[Round, str]] = []
    try:
        with endpoint(chosen.latency_ms, chosen.lifetime / FIVE_MINUTES, place / "endpoint.log") as url:
            given = Round(1, True, chosen.lifetime, chosen.latency_ms, 2, place / "empty", url)
            given.folder.mkdir()
            empty = run_keepwarm(given, write_registry(given)).resident_bytes
            for size in map(int, chosen.prefixes.split(",")):
                for kind in ("own", "shared") if chosen.bodies == "both" else (chosen.bodies,):
                    folder = place / f"{size}-{kind}"
                    folder.mkdir()
                    seconds = chosen.seconds or chosen.lifetime
                    given = replace(given, prefixes=size, shared=kind == "shared", seconds=seconds, folder=folder)
                    line, text = play(given, contestants, empty)
                    lines.append(line)
                    tables.append((given, text))
                    if not chosen.keep:
                        shutil.rmtree(folder)
    finally:
        if not chosen.keep:
            shutil.rmtree(place, ignore_errors=True)
    text = section(lines, tables, f"python benchmarks/scale.py {' '.join(_told(sys.argv[1:]))}".strip())
    sys.stdout.write(f"{text}\n")
    if chosen.page:
        page = chosen.page.read_text() if chosen.page.exists() else ""
        chosen.page.write_text(replaced(page, text))


def _told(arguments: Sequence[str]) -> list[str]:
    """The arguments without the page."""
    found = list(arguments)
    with contextlib.suppress(ValueError):
        place = found.index("--page")
        del found[place : place + 2]
    return found


if __name__ == "__main__":
    main()
