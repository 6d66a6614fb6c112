"""A whole daemon under hours of traffic, and whether its memory, descriptors, threads and CPU share stay flat.

A `keepwarm run` of its own, with pings, reporters' touches, open pages, scrapes, reloads, pauses, storms and alerts, on
the embedded Bedrock in this process. `--virtual-hours 8` lets time pass forty times as fast: a 5m entry lives 7.5
seconds, and requests come forty times as often. `--minutes 30` leaves time as it is. It finds no leak; it shows one.

    python benchmarks/soak.py --virtual-hours 8 | --minutes 30 [--page docs/reliability.md]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

sys.path.insert(0, str(Path(__file__).parents[1]))

import boto3

from benchmarks.slopes import Slope, marks, slope, verdict
from keepwarm import reporter
from keepwarm.clock import steady_seconds
from keepwarm.emulator import Emulator, Faults
from tests.builders import CLAUDE, shipped_catalog
from tests.daemons import soon
from tests.days import REGION, write_day
from tests.processes import Child, Home
from tests.receiver import Receiver

BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
TOKEN = "an-acting-token-of-the-soak"  # noqa: S105
READERS = 2
# Threads that make the production's requests.
SENDERS = 4
# A storm of 429, 503 and cut connections lasts so long.
STORM = timedelta(seconds=2)
_TOKENS = 2_000
_STORM = Faults(throttle=0.2, unavailable=0.1, reset=0.1)
_CHORES_EVERY_SECONDS = 3.0
# Runs inside the daemon beside its own threads: how many blocks Python has allocated at least, between two work-loads.
_INSIDE = """
import os, sys, threading, time
def tell():
    while True:
        least = sys.maxsize
        for _ in range(40):
            time.sleep(0.05)
            least = min(least, sys.getallocatedblocks())
        with open(f"{place}.new", "w") as file:
            file.write(str(least))
        os.replace(f"{place}.new", place)
place = os.environ.get("SOAK_BLOCKS")
if place:
    threading.Thread(target=tell, daemon=True).start()
"""
_COUNTED = re.compile(r'^keepwarm_pings_total\{.*verdict="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)
_TOUCHES = re.compile(r'^keepwarm_touches_total\{outcome="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Soak:
    """What is played.

    Attributes:
        speed: how many times faster than real time.
        seconds: real ones.
        requests_per_hour: of production, for each prefix, in hours of traffic.
        warm_up: share of the run that slopes leave out.
    """

    prefixes: int
    speed: float
    seconds: float
    every_seconds: float
    requests_per_hour: float
    warm_up: float
    seed: int

    @property
    def names(self) -> list[str]:
        """Of the prefixes."""
        return [f"p{number:03}" for number in range(self.prefixes)]

    @property
    def hours(self) -> float:
        """Of traffic."""
        return self.seconds * self.speed / 3600


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process."""

    hours: float
    pings: float
    blocks: float
    resident_kb: float
    descriptors: float
    threads: float
    cpu_percent: float
    wal_kb: float
    ledger_kb: float


@dataclass(slots=True)
class Done:
    """What was done to the daemon, and what went wrong with it."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    late_seconds: float = 0.0


def dice_of(seed: int, whose: str) -> random.Random:
    """The same for the same."""
    return random.Random(f"{seed} {whose}")  # noqa: S311 - draws no secret


# -- the daemon -----------------------------------------------------------------------------------------------------


def registry_entries(given: Soak, margins: random.Random | None = None) -> dict[str, dict[str, Any]]:
    """Half of the prefixes are always kept warm, the others when it pays; one has a cap that it soon meets."""
    life = 300 / given.speed
    free = {"ping_cap_usd": 1_000, "day_cap_usd": 1_000_000, "month_cap_usd": 1_000_000, "tripwire_usd": 1_000_000}
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(given.names):
        margin = life / 3 * (margins.uniform(0.9, 1.1) if margins and number % 50 == 1 else 1)
        found[name] = {
            "lifetime": f"{life:g}s",
            "margin": f"{margin:.3f}s",
            "policy": "adaptive" if number % 2 else "busy_hours",
            "prewarm": not number % 2,
            "tags": {"team": f"team{number % 10}"},
        } | free
    found[given.names[0]]["day_cap_usd"] = "0.05"
    return found


class Stage(Home):
    """The daemon of a soak, and how to ask it."""

    address = ""

    def begin(self, alerts: str, beat_seconds: float) -> Child:
        """Start it, with everything on."""
        child = self.start(
            listen="127.0.0.1:0",
            token=TOKEN,
            requests_per_minute=6_000,
            day_cap_usd=1_000_000,
            month_cap_usd=10_000_000,
            alert_webhook_url=f"{alerts}/alerts",
            alert_messages_per_hour=100_000,
            heartbeat_url=f"{alerts}/beat",
            heartbeat_seconds=beat_seconds,
        )
        soon(lambda: child.process.poll() is not None or child.told("daemon_started"), 120)
        if not child.told("daemon_started"):
            raise SystemExit(f"the daemon did not start: {child.text[-3_000:]}")
        self.address = child.told("daemon_started")[0]["listens"]
        soon(self.blocks.exists, 60)
        return child

    @property
    def blocks(self) -> Path:
        """Where the daemon says how many blocks Python has allocated."""
        return self.place / "inside" / "blocks"

    def look_inside(self) -> None:
        """Let the daemon that is started next say so."""
        self.blocks.parent.mkdir()
        (self.blocks.parent / "sitecustomize.py").write_text(_INSIDE)
        own = [str(self.blocks.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ |= {"SOAK_BLOCKS": str(self.blocks), "PYTHONPATH": os.pathsep.join(own)}

    def ask(self, path: str, body: object = None) -> bytes:
        """One request; an answer that refuses is an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"http://{self.address}{path}", data, {"Content-Type": "application/json"})
        request.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            with urlopen(request, timeout=60) as answer:  # noqa: S310 - our own daemon
                return bytes(answer.read())
        except HTTPError as error:
            with error:
                return bytes(error.read())


# -- what happens to it ---------------------------------------------------------------------------------------------


class Production:
    """Applications that send requests as a seeded stream says, each told of by the reporter."""

    def __init__(self, given: Soak, stage: Stage, client: Any, done: Done, stop: threading.Event) -> None:
        self._given, self._stage, self._client, self._done, self._stop = given, stage, client, done, stop
        self._bodies = {name: json.loads((stage.place / f"{name}.json").read_text()) for name in given.names}

    def run(self) -> None:
        """Until it is stopped; prefixes with low numbers are asked for more often."""
        dice = dice_of(self._given.seed, "production")
        weights = [1 / (1 + number % 20) for number in range(self._given.prefixes)]
        a_second = self._given.requests_per_hour * self._given.prefixes * self._given.speed / 3600
        began, due = steady_seconds(), 0.0
        with ThreadPoolExecutor(SENDERS) as pool:
            while not self._stop.wait(max(0.0, began + due - steady_seconds())):
                (name,) = dice.choices(self._given.names, weights)
                pool.submit(self._send, name, began + due)
                due += dice.expovariate(a_second)

    def _send(self, name: str, due: float) -> None:
        if self._stop.is_set():
            return
        self._done.late_seconds = max(self._done.late_seconds, steady_seconds() - due)
        try:
            self._client.converse(modelId=CLAUDE, **self._bodies[name])
            self._done.counts["requests of production"] += 1
        except Exception:  # noqa: BLE001 - a storm refuses production too
            self._done.counts["requests of production refused"] += 1

    def drift(self) -> None:
        """Another system prompt than is registered, with its end changed."""
        body = json.loads(json.dumps(self._bodies[self._given.names[1]]))
        body["system"].insert(1, {"text": "And another rule."})
        self._client.converse(modelId=CLAUDE, **body)


def read_page(stage: Stage, done: Done, stop: threading.Event, dice: random.Random) -> None:
    """A page that is open for some seconds, looks at what it is told of, goes away in the middle, and comes again."""
    while not stop.is_set():
        host, _, port = stage.address.rpartition(":")
        until = steady_seconds() + dice.uniform(1, 8)
        with closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
            connection.request("GET", "/v1/stream", headers={"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            done.counts["pages opened"] += 1
            while steady_seconds() < until and not stop.is_set():
                if answer.readline().startswith(b"event: changed"):
                    stage.ask("/v1/summary")
                    stage.ask("/v1/prefixes?limit=100")
                    done.counts["looks of pages"] += 1
                    stop.wait(1)
            answer.close()


class Chores:
    """What people and other programs do to a daemon now and then."""

    def __init__(
        self, given: Soak, stage: Stage, emulator: Emulator, production: Production, done: Done, dice: random.Random
    ) -> None:
        self._given, self._stage, self._emulator = given, stage, emulator
        self._production, self._done, self._dice = production, done, dice
        self._good = stage.registry.read_text()
        self._deeds: dict[str, Callable[[str], object]] = {
            "pauses": lambda name: stage.ask(f"/v1/prefixes/{name}/pause", {"why": "soak", "for": "20s"}),
            "resumes": lambda name: stage.ask(f"/v1/prefixes/{name}/resume", {"why": "soak"}),
            "pauses of a tag": lambda _: stage.ask("/v1/pause", {"tag": "team:team3", "why": "soak", "for": "20s"}),
            "resumes of a tag": lambda _: stage.ask("/v1/resume", {"tag": "team:team3", "why": "soak"}),
            "pings by hand": lambda name: stage.ask(f"/v1/prefixes/{name}/ping", {"why": "soak"}),
            "closings": lambda name: stage.ask(f"/v1/prefixes/{name}/closed", {"reason": "soak"}),
            "reports": lambda _: stage.ask("/v1/report"),
            "looks at a prefix": self._look,
            "lists": lambda _: [stage.ask(path) for path in ("/", "/v1/events", "/v1/guards", "/v1/pauses")],
            "requests that are refused": lambda _: [
                stage.ask("/nowhere"),
                stage.ask("/v1/touches", {"touches": [{"odd": 1}]}),
            ],
            "reloads by hand": lambda _: stage.ask("/-/reload", {}),
            "changed registries": lambda _: self._write(changed=True),
            "refused registries": self._refused,
            "drifted requests": lambda _: production.drift(),
            "storms": self._storm,
        }

    def run(self, stop: threading.Event) -> None:
        """One after another, each as often as the others, in another order each time."""
        while not stop.is_set():
            for deed in self._dice.sample(list(self._deeds), len(self._deeds)):
                if stop.wait(_CHORES_EVERY_SECONDS):
                    return
                name = self._dice.choice(self._given.names)
                with suppress(self._production._client.exceptions.ClientError):  # noqa: SLF001 - a storm goes on
                    self._deeds[deed](name)
                self._done.counts[deed] += 1

    def _look(self, name: str) -> None:
        for path in ("", "/timeline", "/ledger", "/decisions", "/ttl"):
            self._stage.ask(f"/v1/prefixes/{quote(name)}{path}")

    def _write(self, *, changed: bool) -> None:
        entries = registry_entries(self._given, self._dice if changed else None)
        fresh = self._stage.place / "registry.new"
        whole = json.loads(self._good)
        whole["prefixes"] = [row | entries[row["name"]] for row in whole["prefixes"]]
        fresh.write_text(json.dumps(whole))
        fresh.replace(self._stage.registry)

    def _refused(self, _: str) -> None:
        self._stage.registry.write_text(self._good[: len(self._good) // 2])
        self._stage.ask("/-/reload", {})
        self._write(changed=False)

    def _storm(self, _: str) -> None:
        self._emulator.set_faults("*", _STORM)
        threading.Event().wait(STORM.total_seconds())
        self._emulator.set_faults("*", Faults())


# -- looking at it --------------------------------------------------------------------------------------------------


class Looker:
    """Looks at the process by what Linux tells of it, and at its ledger by size."""

    def __init__(self, stage: Stage, process_id: int, speed: float) -> None:
        self._stage, self._speed = stage, speed
        self._process = Path("/proc") / str(process_id)
        self._began = self._at = steady_seconds()
        self._cpu = self._cpu_seconds()

    def look(self) -> Sample:
        """One sample; scrapes /metrics for the pings."""
        pings = sum(float(count) for _, count in _COUNTED.findall(self._stage.ask("/metrics").decode()))
        status = (self._process / "status").read_text()
        now, cpu = steady_seconds(), self._cpu_seconds()
        percent = 100 * (cpu - self._cpu) / max(now - self._at, 1e-6)
        self._at, self._cpu = now, cpu
        ledger = self._stage.ledger
        return Sample(
            hours=(now - self._began) * self._speed / 3600,
            pings=pings,
            blocks=float(self._stage.blocks.read_text()),
            resident_kb=_number_of("VmRSS", status),
            descriptors=len(list((self._process / "fd").iterdir())),
            threads=_number_of("Threads", status),
            cpu_percent=percent,
            wal_kb=Path(f"{ledger}-wal").stat().st_size / 1024,
            ledger_kb=ledger.stat().st_size / 1024,
        )

    def open_files(self) -> Counter[str]:
        """What its descriptors are, by kind."""
        found: Counter[str] = Counter()
        for path in (self._process / "fd").iterdir():
            with suppress(OSError):
                found[re.sub(r":\[\d+\]|-\w{8}(?= \(deleted)", "", path.readlink().name)] += 1
        return found

    def _cpu_seconds(self) -> float:
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _number_of(name: str, status: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    return float(found[1]) if found else 0.0


# -- the whole ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it."""

    samples: list[Sample]
    done: Done
    verdicts: Counter[str]
    touches: Counter[str]
    alerts: int
    beats: int
    code: int
    tracebacks: int
    files: tuple[Counter[str], Counter[str]]


@contextmanager
def threads_of(stop: threading.Event, done: Done, runs: Sequence[Callable[[], None]]) -> Iterator[None]:
    """Run each in a thread until the block ends; whoever loses a connection begins anew, what else raises ends it."""

    def guarded(run: Callable[[], None]) -> None:
        while not stop.is_set():
            try:
                run()
            except (OSError, http.client.HTTPException):
                done.counts["connections lost"] += 1
            except Exception as error:  # noqa: BLE001 - told in the end
                done.failures.append(repr(error))
                return

    threads = [threading.Thread(target=guarded, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def play(given: Soak, place: Path) -> Told:
    """Start, let it soak, stop."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "example", "AWS_SECRET_ACCESS_KEY": "example"}
    done, stop = Done(), threading.Event()
    with ExitStack() as stack:
        emulator = stack.enter_context(
            Emulator(catalog=shipped_catalog(), time_scale=1 / given.speed, latency_scale=0.02, log_limit=1_000)
        )
        receiver = stack.enter_context(Receiver())
        stage = Stage(place, emulator)
        write_day(place, registry_entries(given), dict.fromkeys(given.names, _TOKENS))
        stage.look_inside()
        child = stage.begin(receiver.url, beat_seconds=5)
        stack.callback(child.kill)
        client = boto3.client("bedrock-runtime", endpoint_url=emulator.url, region_name=REGION)
        stack.callback(client.close)
        reporter.install(client, f"http://{stage.address}", token=TOKEN)
        production = Production(given, stage, client, done, stop)
        chores = Chores(given, stage, emulator, production, done, dice_of(given.seed, "chores"))
        looker = Looker(stage, child.process.pid, given.speed)
        readers = [
            lambda number=number: read_page(stage, done, stop, dice_of(given.seed, f"page {number}"))
            for number in range(READERS)
        ]
        with threads_of(stop, done, [production.run, lambda: chores.run(stop), *readers]):
            samples, files = sampled(given, looker, child, done)
            metrics = stage.ask("/metrics").decode()
        reporter.flush(10)
        child.signal(signal.SIGTERM)
        code = child.wait(60)
    return Told(
        samples=samples,
        done=done,
        verdicts=counted(_COUNTED, metrics),
        touches=counted(_TOUCHES, metrics),
        alerts=sum(path == "/alerts" for path, _ in receiver.heads),
        beats=sum(path == "/beat" for path, _ in receiver.heads),
        code=code,
        tracebacks=child.text.count("Traceback"),
        files=files,
    )


def sampled(
    given: Soak, looker: Looker, child: Child, done: Done
) -> tuple[list[Sample], tuple[Counter[str], Counter[str]]]:
    """A look every few seconds to the end, and the descriptors after the warm-up and then."""
    samples: list[Sample] = []
    ticks = round(given.seconds / given.every_seconds)
    began, clock, first = steady_seconds(), threading.Event(), Counter[str]()
    for tick in range(ticks + 1):
        clock.wait(max(0.0, began + tick * given.every_seconds - steady_seconds()))
        if child.process.poll() is not None or done.failures:
            raise SystemExit(f"it ended early: {done.failures} {child.text[-3_000:]}")
        try:
            samples.append(looker.look())
        except OSError:
            done.counts["scrapes lost"] += 1
            continue
        if tick == round(ticks * given.warm_up):
            first = looker.open_files()
        if tick % 30 == 0:
            sys.stderr.write(f"{samples[-1]}\n")
    return samples, (first, looker.open_files())


def counted(pattern: re.Pattern[str], metrics: str) -> Counter[str]:
    """A family of counters, added up by its last label."""
    found: Counter[str] = Counter()
    for name, count in pattern.findall(metrics):
        found[name] += round(float(count))
    return found


# -- the page -------------------------------------------------------------------------------------------------------

# What is looked at, its unit, and how much of it may be added for 1,000 pings at most; None where growth is meant.
ROWS: dict[str, tuple[str, str, float | None]] = {
    "blocks": ("Python's objects", "blocks", 1_000),
    "resident_kb": ("resident memory", "KB", 100),
    "descriptors": ("open descriptors", "", 0.5),
    "threads": ("threads", "", 0.5),
    "cpu_percent": ("CPU, of a core", "%", 1),
    "wal_kb": ("write-ahead log", "KB", 100),
    "ledger_kb": ("ledger", "KB", None),
}
RULE = (
    "Flat is what, by the upper end of its slope's 95 % interval, is not given more than one block of memory a ping "
    "(the least that a kept object takes), 100 bytes of resident memory or of log a ping, and half a descriptor, half "
    "a thread and 1 % of a core for 1,000 pings, with all that goes with them. Growth is what surely exceeds that; the "
    "rest is unclear. Blocks are the fewest that Python had allocated in the last two seconds, which leaves out what a "
    "look at the ledger holds for a moment. The ledger is meant to grow, up to its retention."
)


def table(samples: Sequence[Sample], warm_up: float) -> str:
    """What was looked at: marks over the whole run, slopes without the warm-up."""
    head = ["", "start", "1/4", "1/2", "3/4", "end", "an hour", "1,000 pings", ""]
    lines = [head, ["---", *["---:"] * 7, "---"]]
    later = samples[round((len(samples) - 1) * warm_up) :]
    for name, (words, unit, at_most) in ROWS.items():
        values = [getattr(sample, name) for sample in later]
        hourly = slope([sample.hours for sample in later], values)
        by_pings = slope([sample.pings / 1_000 for sample in later], values)
        lines.append(
            [
                f"{words}, {unit}" if unit else words,
                *(f"{value:,.0f}" for value in marks([getattr(sample, name) for sample in samples])),
                _shown(hourly),
                _shown(by_pings),
                "meant" if at_most is None else verdict(by_pings, at_most),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(found: Slope) -> str:
    return f"{found.value:+,.2f} ± {found.error:,.2f}"


def text_of(given: Soak, told: Told, command: str) -> str:
    """The whole of one soak, in Markdown."""
    load = os.getloadavg()[2]
    deeds = ", ".join(f"{count:,} {name}" for name, count in sorted(told.done.counts.items()))
    verdicts = ", ".join(f"{count:,} {name}" for name, count in told.verdicts.most_common())
    touches = ", ".join(f"{count:,} {name}" for name, count in told.touches.most_common())
    first, last = told.files
    grown = {kind: f"{first[kind]} then {last[kind]}" for kind in sorted(first | last) if first[kind] != last[kind]}
    kinds = "; ".join(f"{kind} {change}" for kind, change in grown.items()) or "none"
    head = (
        f"`{command}`: {given.hours:.2g} hours of traffic in {given.seconds / 60:.0f} minutes, {given.prefixes} "
        f"prefixes, load {load:.1f} at the end; slopes after the first {given.warm_up:.0%}, ± 95 %."
    )
    did = (
        f"Pings: {verdicts}. Touches: {touches}. {told.alerts} alerts and {told.beats} heartbeats were posted. "
        f"Done to it: {deeds}. The latest request of production went out {told.done.late_seconds:.1f} s late."
    )
    ended = (
        f"Kinds of descriptors whose number changed after the warm-up: {kinds}. It stopped with code {told.code}; "
        f"{told.tracebacks} tracebacks in its log."
    )
    return "\n\n".join([head, table(told.samples, given.warm_up), did, ended])


def replaced(page: str, name: str, text: str) -> str:
    """The page with this text for one soak in its section; the other soak's text stays."""
    if BEGIN not in page:
        page = f"{page.rstrip()}\n\n## Soak\n\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    section, _, after = rest.partition(END)
    begin, end = (f"<!-- soak {name}: {edge} -->" for edge in ("begin", "end"))
    if begin not in section:
        section = f"{section.rstrip()}\n\n{begin}\n{end}\n\n"
    head, _, rest = section.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{before}{BEGIN}{head}{begin}\n\n{text}\n\n{end}{tail}{END}{after}"


def main() -> None:
    """Soak, print, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--virtual-hours", type=float, help="of traffic, as fast as --speed says")
    length.add_argument("--minutes", type=float, help="in real time")
    parser.add_argument("--speed", type=float, default=40, help="of virtual hours: so many pass in one")
    parser.add_argument("--prefixes", type=int, default=200)
    parser.add_argument("--requests-per-hour", type=float, default=12, help="of production, for each prefix")
    parser.add_argument("--every", type=float, default=2, help="seconds between looks")
    parser.add_argument("--warm-up", type=float, default=0.5, help="share of the run that slopes leave out")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--page", type=Path, help="whose section of the soak is replaced")
    parser.add_argument("--keep", type=Path, help="an empty directory for log, ledger and samples")
    chosen = parser.parse_args()
    given = Soak(
        prefixes=chosen.prefixes,
        speed=chosen.speed if chosen.virtual_hours else 1,
        seconds=chosen.virtual_hours * 3600 / chosen.speed if chosen.virtual_hours else chosen.minutes * 60,
        every_seconds=chosen.every,
        requests_per_hour=chosen.requests_per_hour,
        warm_up=chosen.warm_up,
        seed=chosen.seed,
    )
    with ExitStack() as stack:
        place = chosen.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        told = play(given, place)
        if chosen.keep:
            rows = [[getattr(sample, name) for name in Sample.__slots__] for sample in told.samples]
            (place / "samples.json").write_text(json.dumps([list(Sample.__slots__), *rows]))
    kind = f"--virtual-hours {chosen.virtual_hours:g}" if chosen.virtual_hours else f"--minutes {chosen.minutes:g}"
    text = text_of(given, told, f"python benchmarks/soak.py {kind}")
    sys.stdout.write(f"{text}\n\n{RULE}\n")
    if chosen.page:
        page = chosen.page.read_text()
        chosen.page.write_text(replaced(page, "at speed" if chosen.virtual_hours else "in real time", text))


if __name__ == "__main__":
    main()
