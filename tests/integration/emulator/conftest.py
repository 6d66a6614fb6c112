from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import keepwarm
from keepwarm.emulator import Emulator, Request
from keepwarm.model import Usage
from keepwarm.pricing import Catalog, parse_catalog

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"  # at least 1,024 tokens, 5m and 1h


class Wall:
    """A clock on the wall whose hands the test turns."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **duration: float) -> None:
        self.at += timedelta(**duration)


class Bench:
    """One emulator with boto3 clients for it, and builders for the requests that the tests vary."""

    def __init__(self, emulator: Emulator, wall: Wall) -> None:
        self.emulator = emulator
        self.wall = wall
        self._clients: dict[tuple[str, str, float], Any] = {}

    def client(
        self, access_key: str = "AKIAEXAMPLE", region: str = "eu-central-1", read_timeout_seconds: float = 20
    ) -> Any:
        key = (access_key, region, read_timeout_seconds)
        if key not in self._clients:
            self._clients[key] = boto3.client(
                "bedrock-runtime",
                region_name=region,
                endpoint_url=self.emulator.url,
                aws_access_key_id=access_key,
                aws_secret_access_key="secret",
                config=Config(retries={"total_max_attempts": 1}, read_timeout=read_timeout_seconds),
            )
        return self._clients[key]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    @property
    def last(self) -> Request:
        return self.emulator.log[-1]

    def billed(self, client: Any = None, **changes: Any) -> tuple[int, int, int, int]:
        """Send a Converse request and tell (input, read, written for 5m, written for 1h) tokens."""
        usage = (client or self.client()).converse(**self.converse(**changes))["usage"]
        split = {detail["ttl"]: detail["inputTokens"] for detail in usage["cacheDetails"]}
        return usage["inputTokens"], usage["cacheReadInputTokens"], split.get("5m", 0), split.get("1h", 0)

    @staticmethod
    def text(tokens: int, letter: str = "x") -> dict[str, str]:
        """A Converse text block of exactly so many tokens."""
        return {"text": letter * (4 * tokens - len('{"text":""}'))}

    @staticmethod
    def point(ttl: str | None = None) -> dict[str, Any]:
        return {"cachePoint": {"type": "default"} | ({"ttl": ttl} if ttl else {})}

    def converse(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments of converse: 2,000 cached system tokens and 10 of a question."""
        request: dict[str, Any] = {
            "modelId": CLAUDE,
            "system": [self.text(2000), self.point()],
            "messages": [{"role": "user", "content": [self.text(10, "q")]}],
            "inferenceConfig": {"maxTokens": 1},
        }
        return {name: value for name, value in (request | changes).items() if value is not None}

    def anthropic(self, **changes: Any) -> dict[str, Any]:
        """An InvokeModel body: 2,000 cached system tokens and 10 of a question."""
        body: dict[str, Any] = {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 1,
            "system": [self.anthropic_text(2000) | {"cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": [self.anthropic_text(10, "q")]}],
        }
        return {name: value for name, value in (body | changes).items() if value is not None}

    @staticmethod
    def anthropic_text(tokens: int, letter: str = "x") -> dict[str, Any]:
        """An Anthropic text block of exactly so many tokens."""
        return {"type": "text", "text": letter * (4 * tokens - len('{"text":"","type":"text"}'))}

    def invoke(self, model_id: str = CLAUDE, **changes: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Send an Anthropic body through InvokeModel and tell the answer's body and headers."""
        response = self.client().invoke_model(modelId=model_id, body=json.dumps(self.anthropic(**changes)))
        return json.loads(response["body"].read()), response["ResponseMetadata"]["HTTPHeaders"]

    def refusal(self, send: Callable[[], object]) -> tuple[str, int, str]:
        """Code, HTTP status and message of the error that a request gets; it must have billed and cached nothing."""
        with pytest.raises(ClientError) as caught:
            send()
        assert self.last.usage is None
        error, metadata = caught.value.response["Error"], caught.value.response["ResponseMetadata"]
        assert (self.last.error_code, self.last.status) == (error["Code"], metadata["HTTPStatusCode"])
        return error["Code"], metadata["HTTPStatusCode"], error["Message"]

    @property
    def usages(self) -> list[Usage | None]:
        return [request.usage for request in self.emulator.log]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    path = Path(keepwarm.__file__).parent / "data" / "models.json"
    return parse_catalog(json.loads(path.read_text()))


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def emulate(catalog: Catalog, wall: Wall) -> Iterator[Callable[..., Bench]]:
    """Start an emulator with the given settings; it answers at once and lives by the wall clock of the test."""
    benches: list[Bench] = []

    def start(**settings: Any) -> Bench:
        emulator = Emulator(**{"catalog": catalog, "now": wall, "latency_scale": 0.0} | settings)
        benches.append(Bench(emulator.start(), wall))
        return benches[-1]

    yield start
    for bench in benches:
        bench.close()
        bench.emulator.stop()


@pytest.fixture
def bench(emulate: Callable[..., Bench]) -> Bench:
    return emulate()
