"""`keepwarm doctor` against the embedded Bedrock: every fault is named by its own line, and by no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest

from keepwarm.clock import utc_now
from keepwarm.emulator import Emulator, Faults
from keepwarm.ledger import Ledger
from tests.builders import shipped_catalog
from tests.integration.cli.conftest import Shell

HEALTHY = {
    "credentials": "ok",
    "clock": "ok",
    "model_access": "ok",
    "capacity": "ok",
    "max_tokens": "ok",
    "usage": "ok",
    "caching": "ok",
    "minimum": "ok",
    "ttl": "ok",
    "regions": "ok",
    "ping_to_production": "ok",
    "production_to_ping": "not tested",
}
SYSTEM = {"text": "Answer from the handbook, in one sentence. " * 400}
POINT = {"cachePoint": {"type": "default", "ttl": "1h"}}
REQUEST: dict[str, Any] = {
    "system": [SYSTEM, POINT],
    "messages": [
        {"role": "user", "content": [{"text": "Where is the parcel of Mrs Miller? " * 20}]},
        {"role": "assistant", "content": [{"text": "On its way."}]},
        {"role": "user", "content": [{"text": "And when will it be there?"}]},
    ],
    "inferenceConfig": {"maxTokens": 900},
}


class Ward:
    """A shell with a registry of prefixes of the test's own."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.emulator = shell.emulator

    def register(self, name: str = "bot", **changes: Any) -> None:
        entry = {"name": name, "model_id": "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "api": "converse"}
        entry |= {"request": "bot.json"} | changes
        entry = {key: value for key, value in entry.items() if value is not None}
        defaults = {"region": "eu-central-1", "busy_hours": "always"}
        whole = {"version": 1, "defaults": defaults, "prefixes": [entry]}
        self.shell.registry.write_text(json.dumps(whole))

    def write(self, request: dict[str, Any]) -> None:
        (self.shell.directory / "bot.json").write_text(json.dumps(request))

    def examine(self, *options: object, exit_code: int = 0) -> dict[str, Any]:
        (found,) = self.shell.json("doctor", "bot", *options, exit_code=exit_code)["prefixes"]
        return found

    def lines(self, *options: object, exit_code: int = 0) -> dict[str, dict[str, str]]:
        return {line["check"]: line for line in self.examine(*options, exit_code=exit_code)["lines"]}

    def fault(self, **switches: Any) -> None:
        self.emulator.set_faults("*", Faults(**switches))


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws: Path) -> Iterator[Callable[..., Ward]]:
    running: list[Emulator] = []

    def begin(**settings: Any) -> Ward:
        emulator = Emulator(**{"catalog": shipped_catalog(), "latency_scale": 0.0, "seed": 1} | settings).start()
        running.append(emulator)
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("KEEPWARM_STATE_DIR", str(tmp_path / "state"))
        monkeypatch.setenv("KEEPWARM_REGISTRY", str(tmp_path / "registry.yaml"))
        ward = Ward(Shell(emulator, tmp_path))
        ward.write(REQUEST)
        ward.register()
        return ward

    yield begin
    for emulator in running:
        emulator.stop()


@pytest.fixture
def ward(start: Callable[..., Ward]) -> Ward:
    return start()


def statuses(lines: dict[str, dict[str, str]]) -> dict[str, str]:
    return {check: line["status"] for check, line in lines.items()}


def failed(lines: dict[str, dict[str, str]]) -> list[str]:
    return [check for check, line in lines.items() if line["status"] == "failed"]


def test_a_healthy_prefix_has_a_good_line_for_everything_that_can_be_tested(ward: Ward):
    assert statuses(ward.lines()) == HEALTHY


def test_every_request_has_its_entry_and_carries_our_mark(ward: Ward):
    found = ward.examine("--pings", 3)
    with Ledger.open(f"sqlite:///{ward.shell.directory}/state/ledger.sqlite") as ledger:
        entries = list(ledger.entries(None, None))
    assert [request["entry"] for request in found["requests"]] == [entry.number for entry in entries]
    assert {entry.intent.reason for entry in entries} == {"manual"}
    assert Decimal(found["cost_usd"]) == sum(entry.cost_usd for entry in entries)
    assert [request["kind"] for request in found["requests"]] == ["ping", "ping", "ping", "production"]
    assert all(request.metadata["keepwarm"] == "ping" for request in ward.emulator.log)


def test_the_last_request_is_the_whole_of_production_with_a_tiny_answer(ward: Ward):
    ward.examine()
    *pings, production = [request.usage for request in ward.emulator.log]
    assert production
    assert production.input_tokens > 100  # the conversation behind the cache point
    assert production.output_tokens == 1
    assert all(ping and ping.input_tokens < 20 for ping in pings)


@pytest.mark.parametrize(
    "request_of",
    [
        {"system": [SYSTEM, POINT], "messages": []},
        {"messages": [{"role": "user", "content": [SYSTEM, POINT]}]},
    ],
)
def test_a_request_with_nothing_behind_its_cache_point_is_asked_another_question(ward: Ward, request_of: Any):
    ward.write(request_of)
    assert statuses(ward.lines()) == HEALTHY


def test_a_system_text_from_a_file_is_examined_too(ward: Ward):
    (ward.shell.directory / "text.md").write_text(SYSTEM["text"])
    ward.register(request=None, system={"file": "text.md"}, api="invoke_model", ttl="1h")
    assert statuses(ward.lines()) == HEALTHY


def test_thinking_is_sent_as_production_does(ward: Ward):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    ward.write(REQUEST | {"additionalModelRequestFields": {"thinking": thinking}})
    assert statuses(ward.lines()) == HEALTHY


@pytest.mark.parametrize(
    ("switches", "line", "advice"),
    [
        ({"deny": True}, "model_access", "grant bedrock:InvokeModel"),
        ({"retired": True}, "model_access", "compare the registered request and model id"),
        ({"honour_1h_as_5m": True}, "ttl", "mark it 5m"),
        ({"omit_usage": True}, "usage", "takes the usage out"),
        ({"expired_tokens": True}, "credentials", "check the credentials"),
        ({"throttle": 1.0}, "capacity", "higher quota"),
        ({"unavailable": 1.0}, "capacity", "try again later"),
    ],
)
def test_a_fault_is_named_by_its_own_line_with_what_to_do(ward: Ward, switches: Any, line: str, advice: str):
    ward.fault(**switches)
    lines = ward.lines(exit_code=1)
    assert failed(lines) == [line]
    assert advice in lines[line]["advice"]


def test_a_prefix_below_the_minimum_fails_only_by_its_length(ward: Ward):
    ward.write({"system": [{"text": "Say yes. " * 200}, POINT], "messages": []})
    lines = ward.lines(exit_code=1)
    assert failed(lines) == ["minimum"]
    assert "1,024 on" in lines["minimum"]["message"]
    assert "longer" in lines["minimum"]["advice"]
    assert len(ward.emulator.log) == 1  # every further one would be paid at the full price


def test_more_than_one_home_is_a_warning_about_regions_alone(ward: Ward):
    ward.fault(homes=3)
    lines = ward.lines("--pings", 6)
    expected = HEALTHY | {"regions": "warning"}
    got = statuses(lines)
    assert got | {"ping_to_production": ""} == expected | {"ping_to_production": ""}
    assert got["ping_to_production"] in {"ok", "not tested"}
    assert "model id of one region" in lines["regions"]["advice"]


def test_some_throttling_is_a_warning(ward: Ward):
    ward.fault(throttle=0.4)
    lines = ward.lines("--pings", 10)
    assert lines["capacity"]["status"] == "warning"
    assert failed(lines) == []


def test_a_refused_output_limit_is_told_as_such(ward: Ward):
    models = json.loads((Path(__file__).parents[2] / "keepwarm/data/models.json").read_text())
    own = models["models"]["anthropic.claude-sonnet-4-5-20250929-v1:0"]
    (ward.shell.directory / "models.json").write_text(
        json.dumps({"models": {"anthropic.claude-sonnet-4-5-20250929-v1:0": own | {"min_max_tokens": -1}}})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEEPWARM_MODELS", str(ward.shell.directory / "models.json"))
        lines = ward.lines(exit_code=1)
    assert failed(lines) == ["max_tokens"]
    assert "min_max_tokens" in lines["max_tokens"]["advice"]


def test_without_credentials_nothing_is_sent(ward: Ward, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    lines = ward.lines(exit_code=1)
    assert failed(lines) == ["credentials"]
    assert set(statuses(lines).values()) == {"failed", "not tested"}
    assert ward.emulator.log == []


@pytest.mark.parametrize(
    ("minutes", "status", "word"), [(8, "failed", "behind"), (-8, "failed", "ahead of"), (1, "warning", "behind")]
)
def test_a_clock_that_is_off_is_told(start: Callable[..., Ward], minutes: int, status: str, word: str):
    ward = start(now=lambda: utc_now() + timedelta(minutes=minutes))
    line = ward.lines(exit_code=int(status == "failed"))["clock"]
    assert (line["status"], word in line["message"]) == (status, True)
    assert "NTP" in line["advice"]


def test_a_wrong_clock_is_not_blamed_on_the_credentials(start: Callable[..., Ward]):
    ward = start(now=lambda: utc_now() + timedelta(minutes=8))
    ward.fault(expired_tokens=True)
    assert failed(ward.lines(exit_code=1)) == ["clock"]


def test_production_that_does_not_read_what_the_ping_wrote_fails_the_pair(start: Callable[..., Ward]):
    def now() -> datetime:
        if len(ward.emulator.log) == 2:  # both pings are through: as if production had another prefix
            ward.emulator.evict()
        return utc_now()

    ward = start(now=now)
    lines = ward.lines("--pings", 2, exit_code=1)
    assert failed(lines) == ["ping_to_production"]
    assert "keepwarm import" in lines["ping_to_production"]["advice"]


def test_a_ping_that_reads_what_production_wrote_proves_the_way_back(ward: Ward):
    client = boto3.client("bedrock-runtime", region_name="eu-central-1")
    client.converse(modelId="eu.anthropic.claude-sonnet-4-5-20250929-v1:0", **REQUEST)
    lines = ward.lines()
    assert lines["production_to_ping"]["status"] == "ok"
    assert lines["ttl"]["status"] == "not tested"  # nothing was written
    assert ward.lines()["production_to_ping"]["status"] == "not tested"  # our own pings may have written by now


def test_a_later_run_knows_the_ttl_from_the_ledger(ward: Ward):
    ward.lines()
    line = ward.lines()["ttl"]
    assert (line["status"], line["message"]) == ("ok", "1h was billed at its last write")


# -- cost ---------------------------------------------------------------------------------------------------------


def test_what_it_costs_at_most_is_said_and_not_exceeded(ward: Ward):
    result = ward.shell("doctor", "bot")
    at_most = Decimal(result.stderr.split("at most $")[1].split()[0])
    spent = Decimal(result.stdout.split("requests, $")[1].split()[0])
    assert 0 < spent < at_most
    assert "5 requests" in result.stdout


def test_much_money_is_asked_for_and_without_an_answer_nothing_is_sent(ward: Ward):
    ward.write({"system": [{"text": "Answer from the handbook. " * 20_000}, POINT], "messages": []})
    assert "nobody is there to ask" in ward.shell("doctor", "bot", exit_code=2).stderr
    assert ward.emulator.log == []
    ward.shell("doctor", "bot", "--yes")
    assert ward.emulator.log


def test_all_prefixes_are_examined_without_a_name(ward: Ward):
    entries = json.loads(ward.shell.registry.read_text())
    other = entries["prefixes"][0] | {"name": "other", "model_id": "eu.anthropic.claude-sonnet-5"}
    entries["prefixes"].append(other)
    ward.shell.registry.write_text(json.dumps(entries))
    found = ward.shell.json("doctor")["prefixes"]
    assert [prefix["prefix"] for prefix in found] == ["bot", "other"]
    assert [prefix["status"] for prefix in found] == ["ok", "ok"]


def test_an_unknown_name_is_told(ward: Ward):
    assert "has no prefix 'nobody'" in ward.shell("doctor", "nobody", exit_code=2).stderr
