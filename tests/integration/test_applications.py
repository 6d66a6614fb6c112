"""An application and keepwarm share one cache entry, through each SDK that applications use.

The registered request is what the SDK really sent, caught on its way out. Each test says it both ways round: the ping
reads what the application wrote, and the application reads what the ping wrote.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from anthropic import AnthropicBedrock, DefaultHttpxClient
from langchain_aws import ChatBedrockConverse
from langchain_core.messages import HumanMessage, SystemMessage

from keepwarm.bedrock import Gateway
from keepwarm.emulator import Emulator, Request
from keepwarm.model import Verdict
from keepwarm.registry import load_catalog, load_registry

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
REGION = "eu-central-1"
SYSTEM = 'The assistant\'s handbook: "é", ☂, \\n and <tags> & more.\n' * 150
TOOL_SCHEMA = {"type": "object", "properties": {"order": {"type": "string"}, "city": {"type": "string"}}}
POINT = {"cachePoint": {"type": "default"}}
CONTROL = {"cache_control": {"type": "ephemeral"}}


class Wire:
    """What leaves an SDK, and the Bedrock that it reaches.

    Attributes:
        bodies: of the requests that the SDK has sent, as parsed JSON, oldest first.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.bodies: list[Any] = []

    def boto3_client(self) -> Any:
        client = boto3.client("bedrock-runtime", region_name=REGION, endpoint_url=self.emulator.url)
        client.meta.events.register("before-send.bedrock-runtime", self._catch)
        return client

    def httpx_client(self) -> httpx.Client:
        return DefaultHttpxClient(
            event_hooks={"request": [lambda request: self.bodies.append(json.loads(request.content))]}
        )

    def _catch(self, request: Any, **_: Any) -> None:
        body = request.body if isinstance(request.body, bytes) else request.body.read()
        self.bodies.append(json.loads(body))


@dataclass(frozen=True)
class Application:
    """Something that asks Bedrock.

    Attributes:
        ask: sends one question with the stable prefix.
    """

    api: str
    ask: Callable[[Wire, str], None]


# -- boto3 --------------------------------------------------------------------------------------------------------


def converse_arguments(question: str) -> dict[str, Any]:
    spec = {"name": "find", "description": "Finds an order.", "inputSchema": {"json": TOOL_SCHEMA}}
    return {
        "modelId": CLAUDE,
        "toolConfig": {"tools": [{"toolSpec": spec}]},
        "system": [{"text": SYSTEM}, POINT],
        "messages": [{"role": "user", "content": [{"text": question}]}],
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.5},
    }


def ask_converse(wire: Wire, question: str) -> None:
    wire.boto3_client().converse(**converse_arguments(question))


def ask_converse_stream(wire: Wire, question: str) -> None:
    list(wire.boto3_client().converse_stream(**converse_arguments(question))["stream"])


def ask_converse_in_a_conversation(wire: Wire, question: str) -> None:
    """The cache point stands in the first message, behind a document, and the conversation goes on behind it."""
    document = {"document": {"format": "txt", "name": "contract", "source": {"bytes": SYSTEM.encode()}}}
    wire.boto3_client().converse(
        modelId=CLAUDE,
        system=[{"text": "Answer from the contract."}],
        messages=[
            {"role": "user", "content": [document, {"text": "Here it is."}, POINT]},
            {"role": "assistant", "content": [{"text": "Thank you."}]},
            {"role": "user", "content": [{"text": question}]},
        ],
        inferenceConfig={"maxTokens": 100},
        additionalModelRequestFields={"top_k": 40},
    )


def anthropic_body(question: str) -> str:
    body = {
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 100,
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [{"name": "find", "description": "Finds an order.", "input_schema": TOOL_SCHEMA}],
        "anthropic_version": "bedrock-2023-05-31",
    }
    return json.dumps(body, indent=3, ensure_ascii=False)


def ask_invoke(wire: Wire, question: str) -> None:
    wire.boto3_client().invoke_model(modelId=CLAUDE, body=anthropic_body(question))["body"].read()


def ask_invoke_stream(wire: Wire, question: str) -> None:
    client = wire.boto3_client()
    list(client.invoke_model_with_response_stream(modelId=CLAUDE, body=anthropic_body(question))["body"])


# -- the anthropic SDK --------------------------------------------------------------------------------------------


def anthropic_client(wire: Wire) -> AnthropicBedrock:
    return AnthropicBedrock(
        aws_region=REGION,
        aws_access_key="AKIAEXAMPLE",
        aws_secret_key="secret",
        base_url=wire.emulator.url,
        http_client=wire.httpx_client(),
        max_retries=0,
    )


def anthropic_arguments(question: str) -> dict[str, Any]:
    return {
        "model": CLAUDE,
        "max_tokens": 100,
        "tools": [{"name": "find", "description": "Finds an order.", "input_schema": TOOL_SCHEMA} | CONTROL],
        "system": [{"type": "text", "text": SYSTEM} | CONTROL],
        "messages": [{"role": "user", "content": question}],
    }


def ask_anthropic(wire: Wire, question: str) -> None:
    with anthropic_client(wire) as client:
        client.messages.create(**anthropic_arguments(question))


def ask_anthropic_stream(wire: Wire, question: str) -> None:
    with anthropic_client(wire) as client, client.messages.stream(**anthropic_arguments(question)) as stream:
        stream.until_done()


# -- langchain-aws ------------------------------------------------------------------------------------------------


def langchain_messages(question: str) -> list[Any]:
    point = ChatBedrockConverse.create_cache_point()
    return [SystemMessage([{"type": "text", "text": SYSTEM}, point]), HumanMessage(question)]


def langchain_model(wire: Wire) -> ChatBedrockConverse:
    client = wire.boto3_client()
    return ChatBedrockConverse(model=CLAUDE, client=client, bedrock_client=client, max_tokens=100, temperature=0)


def ask_langchain(wire: Wire, question: str) -> None:
    langchain_model(wire).invoke(langchain_messages(question))


def ask_langchain_stream(wire: Wire, question: str) -> None:
    list(langchain_model(wire).stream(langchain_messages(question)))


APPLICATIONS = {
    "boto3 converse": Application("converse", ask_converse),
    "boto3 converse_stream": Application("converse", ask_converse_stream),
    "boto3 converse, in a conversation": Application("converse", ask_converse_in_a_conversation),
    "boto3 invoke_model": Application("invoke_model", ask_invoke),
    "boto3 invoke_model_with_response_stream": Application("invoke_model", ask_invoke_stream),
    "anthropic": Application("invoke_model", ask_anthropic),
    "anthropic stream": Application("invoke_model", ask_anthropic_stream),
    "langchain-aws": Application("converse", ask_langchain),
    "langchain-aws stream": Application("converse", ask_langchain_stream),
}


@pytest.fixture(params=APPLICATIONS.values(), ids=list(APPLICATIONS))
def application(request: pytest.FixtureRequest) -> Application:
    return request.param


@pytest.fixture
def wire(aws: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with Emulator(catalog=load_catalog(None), latency_scale=0.0) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        yield Wire(emulator)


def ping(wire: Wire, api: str, body: Any, path: Path) -> tuple[Verdict, Request]:
    """Register what an SDK sent, ping it once, and tell the verdict and what arrived."""
    (path / "request.json").write_text(json.dumps(body))
    (path / "registry.yaml").write_text(
        "version: 1\nprefixes:\n  - name: a\n    busy_hours: always\n    request: request.json\n"
        f"    api: {api}\n    model_id: {CLAUDE}\n    region: {REGION}\n"
    )
    (prefix,) = load_registry(path / "registry.yaml", load_catalog(None), b"key of the tests", NOW).prefixes
    answer = Gateway(1).ping(prefix)
    assert answer.usage is not None
    return answer.usage.verdict, wire.emulator.log[-1]


def test_a_ping_reads_what_the_application_wrote(wire, application, tmp_path):
    application.ask(wire, "Where is my order?")
    asked = wire.emulator.log[-1]
    verdict, pinged = ping(wire, application.api, wire.bodies[-1], tmp_path)

    assert verdict is Verdict.HIT
    assert asked.usage.cache_write_tokens == pinged.usage.cache_read_tokens > 1024
    assert pinged.cache_point_digests == asked.cache_point_digests


def test_the_application_reads_what_a_ping_wrote_also_with_another_question(wire, application, tmp_path):
    application.ask(wire, "Where is my order?")
    wire.emulator.evict()
    verdict, pinged = ping(wire, application.api, wire.bodies[-1], tmp_path)
    application.ask(wire, "And when does it arrive?")
    asked = wire.emulator.log[-1]

    assert verdict is Verdict.REWRITE
    assert (asked.usage.cache_write_tokens, asked.usage.cache_read_tokens) == (0, pinged.usage.cache_write_tokens)
    assert asked.cache_point_digests == pinged.cache_point_digests


def test_a_ping_pays_for_almost_nothing_besides_the_prefix(wire, application, tmp_path):
    application.ask(wire, "A long question, " * 200)
    _, pinged = ping(wire, application.api, wire.bodies[-1], tmp_path)
    assert pinged.usage.output_tokens == 1
    assert pinged.usage.input_tokens <= 10
    assert pinged.operation in {"Converse", "InvokeModel"}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"Finds an order."', '"Finds  an order."'),
        lambda text: text.replace("handbook", "Handbook", 1),
        lambda text: text.replace('"order"', '"orders"'),
    ],
    ids=["a tool's description", "one letter of the text", "a property of a schema"],
)
def test_a_registered_request_that_differs_in_one_character_warms_another_entry(wire, tmp_path, change):
    ask_converse(wire, "Where is my order?")
    asked = wire.emulator.log[-1]
    verdict, pinged = ping(wire, "converse", json.loads(change(json.dumps(wire.bodies[-1]))), tmp_path)
    assert verdict is Verdict.REWRITE
    assert pinged.cache_point_digests != asked.cache_point_digests


def test_a_system_text_in_the_registry_is_what_langchain_sends(wire, tmp_path):
    ask_langchain(wire, "Where is my order?")
    (tmp_path / "prompt.md").write_bytes(SYSTEM.encode())
    (tmp_path / "registry.yaml").write_text(
        "version: 1\nprefixes:\n  - name: a\n    busy_hours: always\n    system: {file: prompt.md}\n"
        f"    api: converse\n    model_id: {CLAUDE}\n    region: {REGION}\n"
    )
    (prefix,) = load_registry(tmp_path / "registry.yaml", load_catalog(None), b"key of the tests", NOW).prefixes
    assert Gateway(1).ping(prefix).usage.verdict is Verdict.HIT


def test_the_two_apis_do_not_share_an_entry(wire, tmp_path):
    ask_converse(wire, "Where is my order?")
    ask_invoke(wire, "Where is my order?")
    assert [request.usage.cache_read_tokens for request in wire.emulator.log] == [0, 0]
