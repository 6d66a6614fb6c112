"""Daemons on one PostgreSQL, each with a network of its own to it if wanted, and what they did together."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from itertools import count, pairwise
from urllib.request import Request, urlopen

from keepwarm.clock import utc_now
from tests.daemons import SHORTEST_GAP, pings, soon, was_written, write_registry
from tests.postgresql import Postgres
from tests.processes import Child, Home
from tests.proxy import Proxy

LOSSES = ["killed", "stopped", "cut", "swallowed"]


class Fleet:
    """Daemons with one registry and one ledger.

    Args:
        stack: ends what the fleet begins.
    """

    def __init__(self, home: Home, server: Postgres, stack: ExitStack, names: list[str]) -> None:
        self.home, self.names = home, names
        self._server, self._stack = server, stack
        self._database = server.new_database()
        self._addresses: list[str] = []
        self._numbers = count()
        write_registry(home.registry, *names)

    def start(self, *, proxy: Proxy | None = None) -> Child:
        """One more daemon, on its own port."""
        url = self._server.url(self._database, proxy.port if proxy else None)
        child = self.home.started(
            ledger_url=url, max_concurrent_pings=4, listen="127.0.0.1:0", requests_per_minute=6000
        )
        self._addresses.append(child.told("daemon_started")[0]["listens"])
        return child

    def proxy(self) -> Proxy:
        """A network to the database that can be cut."""
        return self._stack.enter_context(Proxy(self._server.port))

    def put_under_load(self) -> None:
        """From now on tell every daemon that is there of requests, 20 at once, of which each has to write down some."""
        ended = threading.Event()
        thread = threading.Thread(target=self._load, args=(ended,), daemon=True)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(ended.set)

    def _load(self, ended: threading.Event) -> None:
        while not ended.wait(0.1):
            for address in list(self._addresses):
                with suppress(OSError):  # it was stopped; whoever reports would ask another
                    self._tell(address)

    def _tell(self, address: str) -> None:
        common = {"started_at": utc_now().isoformat(), "api": "converse", "model_id": "m", "region": "eu-central-1"}
        touches = [common | {"request_id": f"load-{next(self._numbers)}"} for _ in range(20)]
        body = json.dumps({"touches": touches}).encode()
        with urlopen(Request(f"http://{address}/v1/touches", body, method="POST"), timeout=2) as answer:
            answer.read()

    @property
    def entries(self) -> list[tuple[str, datetime, str, str | None]]:
        """Prefix, start, run and verdict of each."""
        return self._server.execute(
            "SELECT prefix, started_at, run_id, verdict FROM intents LEFT JOIN outcomes USING (number) ORDER BY number",
            self._database,
        )

    @property
    def touches(self) -> int:
        """How many were written down."""
        return self._server.execute("SELECT count(*) FROM touches", self._database)[0][0]

    def wait_until_pinged(self) -> None:
        """Until every prefix was pinged once more."""
        before = {name: len(pings(self.home.emulator, name)) for name in self.names}
        assert soon(
            lambda: all(len(pings(self.home.emulator, name)) > before[name] for name in self.names), seconds=40
        ), self.home.logs[-5_000:]

    def cold(self, since: datetime) -> int:
        """How many pings found their entry dead."""
        found = [request for name in self.names for request in pings(self.home.emulator, name)]
        return sum(1 for request in found if request.at >= since and was_written(request))

    def short_gaps(self) -> dict[str, int]:
        """How many pings of each prefix came sooner after the one before than any slot wants; without those of 0."""
        found, entries = {}, self.entries
        for wanted in self.names:
            stamps = sorted(at for name, at, _, verdict in entries if name == wanted and verdict != "error")
            short = [late - early for early, late in pairwise(stamps) if late - early < SHORTEST_GAP]
            if short:
                found[wanted] = len(short)
        return found


def lose(how: str, leader: Child, network: Proxy) -> None:
    """Take the leader away in one of the `LOSSES`."""
    if how == "killed":
        leader.kill()
    elif how == "stopped":
        leader.signal(signal.SIGSTOP)
    elif how == "cut":
        network.cut()
    else:
        network.swallow()


def leads(child: Child) -> bool:
    """Whether it said last that it leads."""
    turns = [line["event"] for line in child.lines if line["event"] in {"leadership_won", "leadership_lost"}]
    return turns[-1:] == ["leadership_won"]


def follower(others: list[Child], lost: datetime) -> tuple[Child, timedelta]:
    """Which of them leads now, and how long nobody did."""
    assert soon(lambda: any(map(leads, others)), seconds=60), "nobody took over within a minute"
    found = next(child for child in others if leads(child))
    return found, datetime.fromisoformat(found.told("leadership_won")[-1]["timestamp"]) - lost
