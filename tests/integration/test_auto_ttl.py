"""An application that asks which ttl to send, a keeper and a Bedrock, over HTTP in virtual time: one entry for both."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from keepwarm import dialects, fingerprint, reporter
from keepwarm.clock import utc_now
from keepwarm.daemon import build
from keepwarm.dialects import Dialect
from keepwarm.emulator import Emulator, Request
from keepwarm.listener import Listener
from keepwarm.model import Course, Entry, Reason, Ttl, Verdict
from keepwarm.parts import Parts, opened
from keepwarm.settings import Settings, fingerprint_key
from keepwarm.web import Access, Address, Offers, Server, make_app
from tests.builders import CLAUDE, MONDAY, shipped_catalog
from tests.daemons import soon
from tests.integration.test_web import ask

REGION = "eu-central-1"
TEXT = "Clause by clause, the handbook says what is to be done. " * 150
TOOLS = [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DIALECT = Dialect.CONVERSE
SHORT, LONG = Ttl.FIVE_MINUTES, Ttl.ONE_HOUR
REQUESTS = itertools.count()


def request(ttl: Ttl) -> dict[str, Any]:
    """What the application sends: two cache points, both of this ttl, and a question behind them."""
    point = {"cachePoint": {"type": "default", "ttl": ttl.value}}
    return {
        "toolConfig": {"tools": [*TOOLS, point]},
        "system": [{"text": TEXT}, point],
        "messages": [{"role": "user", "content": [{"text": "And what does it say of us?"}]}],
        "inferenceConfig": {"maxTokens": 10},
    }


def settings_of(folder: Path, default: Ttl = SHORT, policy: str = "busy_hours", **settings: Any) -> Settings:
    (folder / "request.json").write_text(json.dumps(request(default)))
    (folder / "registry.yaml").write_text(
        f"version: 1\nprefixes:\n  - {{name: bot, api: converse, model_id: '{CLAUDE}', region: {REGION}, ttl: auto,"
        f" request: request.json, busy_hours: always, policy: {policy}}}\n"
    )
    return Settings(registry=folder / "registry.yaml", state_dir=folder / "state", **settings)


@dataclass
class Scene:
    """Keepwarm on a clock of its own, and an application that asks it over HTTP before each request."""

    parts: Parts
    emulator: Emulator
    wall: list[datetime]
    url: str = ""
    due: dict[str, datetime] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.wall[0]

    @property
    def pings(self) -> list[Entry]:
        return list(self.parts.ledger.entries(None, None))

    @property
    def asked(self) -> list[Request]:
        return [found for found in self.emulator.log if not found.metadata.get("keepwarm")]

    def ttl(self) -> tuple[str, str]:
        body = ask(f"{self.url}/v1/prefixes/bot/ttl").body
        return body["ttl"], body["reason"]

    def call(self, client: Any) -> Request:
        """One request of the application, as it was billed."""
        sent = request(Ttl(self.ttl()[0]))
        usage = client.converse(modelId=CLAUDE, **sent)["usage"]
        written_1h = sum(row["inputTokens"] for row in usage["cacheDetails"] if row["ttl"] == "1h")
        touch = {
            "request_id": f"request-{next(REQUESTS)}",
            "started_at": self.now.isoformat(),
            "api": "converse",
            "model_id": CLAUDE,
            "region": REGION,
            "usage": {
                "cache_read_tokens": usage["cacheReadInputTokens"],
                "cache_write_tokens": usage["cacheWriteInputTokens"],
                "cache_write_1h_tokens": written_1h,
            },
            "sketch": fingerprint.sketch_to_json(fingerprint.cut(fingerprint.sketch(dialects.read(DIALECT, sent)))),
        }
        heard = ask(f"{self.url}/v1/touches", json.dumps({"touches": [touch]}).encode()).body
        assert heard == {"accepted": 1, "duplicate": 0, "unknown": 0, "refused": []}
        return self.asked[-1]

    def wake(self, names: Any) -> None:
        self.due.update(dict.fromkeys(names, self.now))

    def tend(self, during: timedelta) -> None:
        """Tend whenever the last decision asked for it, as the scheduler does."""
        until = self.now + during
        while self.due and min(self.due.values()) < until:
            name = min(self.due, key=self.due.__getitem__)
            self.wall[0] = max(self.now, self.due.pop(name))
            decision = self.parts.keeper.tend(name)
            if decision.at:
                self.due[name] = decision.at
        self.wall[0] = until

    def sleep(self, during: timedelta) -> None:
        """Let time pass without any ping, as when the machine is suspended."""
        self.wall[0] += during
        self.wake(["bot"])

    def advise(self, ttl: Ttl) -> None:
        """Stand in for what the adaptive policy learns."""
        kept = self.parts.keeper._kept["bot"]  # noqa: SLF001
        kept.state = replace(kept.state, course=Course(99, ttl))


@dataclass
class Theatre:
    """Opens scenes on one ledger, one after the other as over restarts."""

    settings: Settings
    emulator: Emulator
    wall: list[datetime]
    stack: ExitStack = field(default_factory=ExitStack)

    def open(self) -> Scene:
        self.close()
        parts = self.stack.enter_context(opened(self.settings, now=lambda: self.wall[0]))
        scene = Scene(parts, self.emulator, self.wall)
        listener = Listener(
            book=parts.ledger,
            keeper=parts.keeper,
            prefixes=parts.registry.prefixes,
            key=fingerprint_key(parts.settings),
            now=lambda: self.wall[0],
            wake=scene.wake,
        )
        app = make_app(listener.hear_batch, Access(), Offers(desk=listener))
        server = self.stack.enter_context(Server(app, Address("127.0.0.1", 0)))
        scene.url = f"http://{server.address}"
        scene.wake(["bot"])
        return scene

    def close(self) -> None:
        self.stack.close()


@pytest.fixture
def wall() -> list[datetime]:
    return [MONDAY]


@pytest.fixture
def emulator(aws: Path, wall: list[datetime], monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), now=lambda: wall[0], latency_scale=0) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", found.url)
        yield found


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Any]:
    made = boto3.client("bedrock-runtime", region_name=REGION)
    yield made
    made.close()


@pytest.fixture(params=[SHORT, LONG], ids=lambda ttl: ttl.value)
def default(request: pytest.FixtureRequest) -> Ttl:
    return request.param


@pytest.fixture
def theatre(tmp_path: Path, emulator: Emulator, wall: list[datetime], default: Ttl) -> Iterator[Theatre]:
    found = Theatre(settings_of(tmp_path, default), emulator, wall)
    yield found
    found.close()


@pytest.fixture
def scene(theatre: Theatre) -> Scene:
    return theatre.open()


def other(ttl: Ttl) -> Ttl:
    return LONG if ttl is SHORT else SHORT


def was_read(found: Request) -> bool:
    return found.usage.cache_read_tokens > 0 and found.usage.cache_write_tokens == 0


def written(found: Request) -> set[Ttl]:
    """The ttls at which a request wrote."""
    long = found.usage.cache_write_1h_tokens
    return ({LONG} if long else set()) | ({SHORT} if found.usage.cache_write_tokens > long else set())


def test_an_application_that_sends_what_it_is_told_finds_its_entry_warm_for_hours(scene, client, default):
    assert scene.ttl() == (default, "default")
    scene.tend(MINUTE)
    assert scene.ttl() == (default, "living")
    for gap in (20 * MINUTE, 3 * HOUR, MINUTE, 5 * HOUR):
        scene.tend(gap)
        assert was_read(scene.call(client))
    assert {entry.intent.ttl for entry in scene.pings} == {default}
    assert [entry.verdict for entry in scene.pings] == [Verdict.REWRITE] + [Verdict.HIT] * (len(scene.pings) - 1)
    least = timedelta(hours=8) / default.duration
    assert least < len(scene.pings) < 1.4 * least + 3


def test_a_living_entry_keeps_its_ttl_and_the_next_write_has_the_advised(scene, client, default):
    scene.tend(MINUTE)
    scene.advise(other(default))
    scene.tend(2 * HOUR)
    assert scene.ttl() == (default, "living")
    assert was_read(scene.call(client))
    assert {entry.intent.ttl for entry in scene.pings} == {default}

    scene.sleep(2 * HOUR)
    assert scene.ttl() == (other(default), "learnt")
    assert written(scene.call(client)) == {other(default)}
    assert scene.ttl() == (other(default), "living")
    before = len(scene.pings)
    scene.tend(3 * HOUR)
    assert was_read(scene.call(client))
    assert {(entry.intent.ttl, entry.verdict) for entry in scene.pings[before:]} == {(other(default), Verdict.HIT)}


def test_a_ping_that_writes_asks_for_the_advised_ttl_and_is_priced_so(scene, client, default):
    scene.advise(LONG)
    scene.tend(MINUTE)
    (entry,) = scene.pings
    prices = scene.parts.registry.prefixes[0].facts.prices.base
    assert (entry.intent.ttl, entry.verdict, entry.outcome.billed_ttl) == (LONG, Verdict.REWRITE, LONG)
    assert entry.outcome.cost_usd > entry.outcome.usage.cache_write_tokens * prices.cache_write_1h / 1_000_000
    assert entry.intent.high_cost_usd >= entry.outcome.cost_usd
    assert scene.ttl() == ("1h", "living")
    assert was_read(scene.call(client))


def test_what_the_entry_was_written_at_is_known_after_a_restart(theatre, client, default):
    scene = theatre.open()
    scene.advise(other(default))
    scene.call(client)
    again = theatre.open()
    assert again.ttl() == (other(default), "living")
    again.tend(timedelta(hours=3))
    assert {(entry.intent.ttl, entry.verdict) for entry in again.pings} == {(other(default), Verdict.HIT)}


def test_a_closing_ends_pinging_over_a_restart_until_the_application_is_back(theatre, client, default):
    scene = theatre.open()
    scene.tend(MINUTE)
    scene.call(client)
    receipt = ask(f"{scene.url}/v1/prefixes/bot/closed", b'{"reason": "all left"}').body
    assert receipt["closed"] is True
    scene.tend(10 * HOUR)
    assert len(scene.pings) == 1

    again = theatre.open()
    assert again.parts.keeper.look("bot").reason is Reason.CLOSED
    again.tend(10 * HOUR)
    assert len(again.pings) == 1

    assert written(again.call(client)) == {default}
    again.tend(2 * HOUR)
    assert was_read(again.call(client))
    assert len(again.pings) > 1


def test_a_closing_that_another_daemon_heard_is_learnt_from_the_ledger(theatre, client, default):
    scene = theatre.open()
    scene.tend(MINUTE)
    with opened(theatre.settings, now=lambda: theatre.wall[0]) as standby:
        assert standby.keeper.look("bot").reason is Reason.KEEP_WARM
        ask(f"{scene.url}/v1/prefixes/bot/closed", b"")
        assert standby.keeper.refresh() == ["bot"]
        assert standby.keeper.look("bot").reason is Reason.CLOSED
        assert standby.keeper.refresh() == []
    assert scene.ttl() == (default, "living")


def test_what_the_adaptive_policy_learns_reaches_the_application_and_its_bill(
    tmp_path: Path, emulator: Emulator, wall: list[datetime], client: Any
):
    theatre = Theatre(settings_of(tmp_path, SHORT, "adaptive"), emulator, wall)
    scene = theatre.open()
    for _ in range(60):
        scene.tend(40 * MINUTE)
        scene.call(client)
    assert scene.ttl() == ("1h", "living")
    assert [was_read(found) for found in scene.asked[-20:]] == [True] * 20
    theatre.close()


# -- the reporter and a whole daemon, in real time ----------------------------------------------------------------


def test_the_reporter_asks_and_closes_a_running_daemon(tmp_path: Path, aws: Path, monkeypatch: pytest.MonkeyPatch):
    with Emulator(catalog=shipped_catalog(), latency_scale=0) as bedrock:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock.url)
        settings = settings_of(tmp_path, LONG, listen="127.0.0.1:0")
        with build(settings, observers=[]) as daemon, ExitStack() as stack:
            thread = threading.Thread(target=daemon.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(daemon.stop)
            assert soon(lambda: daemon.address)
            url = f"http://{daemon.address}"
            assert soon(lambda: reporter.cache_point("bot", url=url)["cachePoint"]["ttl"] == "1h")
            assert soon(lambda: bedrock.log)
            reporter.closed("bot", "all left", url=url)
            assert soon(lambda: daemon.parts.keeper.look("bot").reason is Reason.CLOSED)
            assert daemon.parts.keeper.state("bot").closed_at <= utc_now()
