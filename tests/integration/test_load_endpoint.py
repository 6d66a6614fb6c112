"""The endpoint for load against the emulator, which is the truth, and what it tells of the prefixes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import boto3
import pytest

from benchmarks.endpoint import Load
from benchmarks.scale import Round, write_registry
from keepwarm.emulator.service import Service
from keepwarm.emulator.wire import parse_call
from keepwarm.registry import load_registry
from tests.builders import CLAUDE, NOVA, shipped_catalog

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
TEXTS = {"handbook": "Of the handbook. " * 800, "tariff": "Of the tariff. " * 900, "short": "Too short. "}

Step = tuple[float, str, str, str, dict[str, Any]]


def converse(text: str, ttl: str = "5m", question: str = "q") -> dict[str, Any]:
    point = {"cachePoint": {"type": "default", "ttl": ttl}}
    return {
        "system": [{"text": TEXTS[text]}, point],
        "messages": [{"role": "user", "content": [{"text": question}]}],
        "inferenceConfig": {"maxTokens": 1},
    }


def anthropic(text: str, ttl: str = "5m") -> dict[str, Any]:
    control = {"type": "ephemeral", "ttl": ttl}
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1,
        "system": [{"type": "text", "text": TEXTS[text], "cache_control": control}],
        "messages": [{"role": "user", "content": "q"}],
    }


def nova(text: str) -> dict[str, Any]:
    return {
        "system": [{"text": TEXTS[text], "cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": "q"}]}],
        "inferenceConfig": {"maxTokens": 1},
    }


def nested(first: str, second: str) -> dict[str, Any]:
    """Two cache points: what the first covers may be read where the second was never written."""
    body = converse(first)
    body["system"] += [{"text": TEXTS[second]}, {"cachePoint": {"type": "default"}}]
    return body


# Minutes, account, model, prefix, body.
SCRIPT: list[Step] = [
    (0, "AKIAONE", CLAUDE, "handbook", converse("handbook")),
    (1, "AKIAONE", CLAUDE, "handbook", converse("handbook")),
    (1, "AKIATWO", CLAUDE, "handbook", converse("handbook")),
    (2, "AKIAONE", CLAUDE, "handbook", converse("handbook", question="another question")),
    (6.9, "AKIAONE", CLAUDE, "handbook", converse("handbook")),
    (11.9, "AKIAONE", CLAUDE, "handbook", converse("handbook")),
    (12, "AKIAONE", CLAUDE, "both", nested("handbook", "tariff")),
    (13, "AKIAONE", CLAUDE, "both", nested("handbook", "tariff")),
    (13, "AKIAONE", CLAUDE, "short", converse("short")),
    (14, "AKIAONE", CLAUDE, "hour", anthropic("tariff", "1h")),
    (73.9, "AKIAONE", CLAUDE, "hour", anthropic("tariff", "1h")),
    (134, "AKIAONE", CLAUDE, "hour", anthropic("tariff", "1h")),
    (135, "AKIAONE", NOVA, "nova", nova("handbook")),
    (136, "AKIAONE", NOVA, "nova", nova("handbook")),
    (141, "AKIAONE", NOVA, "nova", nova("handbook")),
]


def wire(step: Step) -> tuple[bytes, bytes]:
    """Head and body of a request as boto3 sends it."""
    _, account, model, prefix, given = step
    mark = {"keepwarm": "ping", "prefix": prefix}
    is_converse = "anthropic_version" not in given and model == CLAUDE
    body = json.dumps(given | ({"requestMetadata": mark} if is_converse else {})).encode()
    head = f"POST /model/{quote(model, safe='')}/{'converse' if is_converse else 'invoke'} HTTP/1.1\r\nHost: x\r\n"
    if not is_converse:
        head += f"X-Amzn-Bedrock-Request-Metadata: {json.dumps(mark)}\r\n"
    scope = f"{account}/20260302/eu-central-1/bedrock/aws4_request"
    head += f"Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n"
    return f"{head}Content-Length: {len(body)}".encode(), body


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def test_usage_in_bodies_and_headers_is_the_emulators_on_a_script_of_requests() -> None:
    load = Load(shipped_catalog())
    truth = Service(catalog=shipped_catalog(), latency_scale=0)
    for step in SCRIPT:
        at, (head, body) = AT + timedelta(minutes=step[0]), wire(step)
        path = head.split(b" ")[1].decode()
        wanted = truth.serve(parse_call("POST", path, headers_of(head), body), at)
        answer, _, content = load.serve(head, body, at, timedelta(0)).partition(b"\r\n\r\n")
        assert wanted.status == 200, wanted.body
        assert json.loads(content)["usage"] == json.loads(wanted.body)["usage"], step[0]
        counts = {name.lower(): value for name, value in wanted.headers if "Count" in name}
        assert counts.items() <= headers_of(answer).items()


def test_it_tells_how_long_an_entry_was_dead_and_what_the_requests_cost() -> None:
    load = Load(shipped_catalog())
    for step in SCRIPT[:6]:
        load.serve(*wire(step), AT + timedelta(minutes=step[0]), timedelta(0))
    told = load.told("AKIAONE", AT, AT + timedelta(minutes=18))
    # Touched at 6:54, written at 11:54 when its life was just over, so dead for no time; then for 66 s from 16:54 on.
    assert (told["requests"], told["writes"], told["ever_cold"]) == (5, 2, 1)
    assert told["dead_seconds"] == pytest.approx(66)
    tokens = len(TEXTS["handbook"]) // 4
    assert told["cost_usd"] == pytest.approx(tokens * (2 * 3.75 + 3 * 0.3) / 1e6, rel=0.15)
    assert [len(moments) for moments in load.arrivals("AKIAONE").values()] == [5]
    assert load.told("AKIATWO", AT, AT + timedelta(minutes=18))["requests"] == 1


@pytest.fixture
def served() -> Iterator[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "endpoint.py"), "--latency-ms", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        try:
            yield child.stdout.readline().strip()
        finally:
            child.terminate()


def test_boto3_writes_and_then_reads_an_entry_of_it(served: str) -> None:
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-central-1",
        endpoint_url=served,
        aws_access_key_id="AKIAONE",
        aws_secret_access_key="secret",
    )
    mark = {"prefix": "handbook"}
    answers = [client.converse(modelId=CLAUDE, requestMetadata=mark, **converse("handbook")) for _ in range(2)]
    kinds = ("cacheWriteInputTokens", "cacheReadInputTokens")
    assert [[bool(answer["usage"][kind]) for kind in kinds] for answer in answers] == [[True, False], [False, True]]
    bodies = [client.invoke_model(modelId=CLAUDE, body=json.dumps(anthropic("tariff")))["body"] for _ in range(2)]
    assert [json.loads(body.read())["usage"]["cache_read_input_tokens"] > 0 for body in bodies] == [False, True]
    with urlopen(f"{served}/told?account=AKIAONE&since=2026-01-01T00:00Z&until=2026-01-02T00:00Z") as told:
        assert json.load(told)["requests"] == 4
    client.close()


@pytest.mark.parametrize("shared", [False, True], ids=["own bodies", "shared bodies"])
def test_the_prefixes_of_the_benchmark_are_those_of_a_sound_registry(tmp_path: Path, shared: bool) -> None:
    path = write_registry(Round(120, shared, 30, 500, 30, tmp_path, "http://127.0.0.1:1"))
    prefixes = load_registry(path, shipped_catalog(), bytes(32), AT).prefixes
    assert len({prefix.fingerprint for prefix in prefixes}) == 120
    assert {prefix.lifetime for prefix in prefixes} == {timedelta(seconds=30)}
    sizes = [len(json.dumps(dict(prefix.ping_request))) for prefix in prefixes]
    assert max(sizes) > 1_000_000 if shared else max(sizes) < 6_000
    assert len(list(path.parent.glob("requests/**/*.json"))) == (12 if shared else 120)
