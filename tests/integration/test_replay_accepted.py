"""Pings of requests of every shape, sent to the embedded Bedrock by boto3: accepted, and read by production afterwards.

The unit tests judge pings by a description of what is valid; here the emulator's own rules do, on the real wire.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepwarm.dialects import Dialect
from keepwarm.emulator import Emulator
from keepwarm.model import Ttl, Usage
from keepwarm.registry.requests import build_request, make_ping
from tests.builders import CLAUDE, MONDAY, NOVA, facts_of, shipped_catalog
from tests.conversations import (
    api_of,
    document,
    mark,
    requests,
    text,
    tool,
    tool_result,
    tool_use,
)

CLAUDES = [Dialect.ANTHROPIC, Dialect.CONVERSE]
PADDING = "A long handbook. " * 600
Body = dict[str, Any]


class Bedrock:
    """The emulator and a client of it; every request goes with an account of its own, so that no entry is shared."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._accounts = itertools.count()

    def send_ping_then_production(self, dialect: Dialect, body: Body) -> tuple[Usage, Usage]:
        """What the ping and then production's own request are billed."""
        model_id, region = (NOVA, "us-east-1") if dialect is Dialect.NOVA else (CLAUDE, "eu-central-1")
        request = build_request("request.json", deepcopy(body), api_of(dialect), dialect, model_id)
        ping = make_ping(request, facts_of(model_id, region), b"a key of this installation").request
        whole = body if dialect is Dialect.CONVERSE else {"body": json.dumps(body)}
        client = self._client(region)
        send = client.converse if dialect is Dialect.CONVERSE else client.invoke_model
        try:
            for arguments in (ping, whole):
                answer = send(modelId=model_id, **arguments)
                if dialect is not Dialect.CONVERSE:
                    answer["body"].read()
        finally:
            client.close()
        first, second = (entry.usage for entry in self.emulator.log[-2:])
        return first, second

    def _client(self, region: str) -> Any:
        return boto3.client(
            "bedrock-runtime",
            region_name=region,
            endpoint_url=self.emulator.url,
            aws_access_key_id=f"AKIA{next(self._accounts)}",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Bedrock]:
    with Emulator(catalog=shipped_catalog(), now=lambda: MONDAY, latency_scale=0.0) as emulator:
        yield Bedrock(emulator)


def read_what_the_ping_wrote(usages: tuple[Usage, Usage]) -> bool:
    ping, production = usages
    return (
        ping.cache_write_tokens > 0
        and ping.cache_read_tokens == 0
        and production.cache_read_tokens == ping.cache_write_tokens
        and production.cache_write_tokens == 0
    )


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_ping_of_any_request_is_accepted_and_production_reads_what_it_wrote(bedrock, dialect, data):
    body = data.draw(requests(dialect, PADDING))
    usages = bedrock.send_ping_then_production(dialect, body)
    assert read_what_the_ping_wrote(usages)
    ping, production = usages
    assert ping.output_tokens == 1
    assert ping.input_tokens <= production.input_tokens + 10


def user(*blocks: Body) -> Body:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Body) -> Body:
    return {"role": "assistant", "content": list(blocks)}


def base(dialect: Dialect, tools: list[Body] | None = None) -> Body:
    if dialect is Dialect.ANTHROPIC:
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 2_000}
        return body | ({"tools": tools} if tools else {})
    return {"toolConfig": {"tools": tools}} if tools else {}


def marked_tool(dialect: Dialect) -> Body:
    tools = [*mark(dialect, tool(dialect, "a", PADDING), Ttl.ONE_HOUR), tool(dialect, "b"), tool(dialect, "c")]
    body = base(dialect, tools) | {"system": [text(dialect, "Be kind.")], "messages": [user(text(dialect, "Why?"))]}
    if dialect is Dialect.ANTHROPIC:
        return body | {"tool_choice": {"type": "tool", "name": "c"}}
    return body | {"toolConfig": body["toolConfig"] | {"toolChoice": {"tool": {"name": "c"}}}}


def marked_system(dialect: Dialect) -> Body:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1_024}}
    extra = {"inferenceConfig": {"maxTokens": 2_000}, "additionalModelRequestFields": thinking}
    system = [*mark(dialect, text(dialect, PADDING)), text(dialect, "It is Monday.")]
    settings_ = thinking if dialect is Dialect.ANTHROPIC else extra
    return base(dialect) | settings_ | {"system": system, "messages": [user(text(dialect, "Why?"))]}


def marked_document(dialect: Dialect) -> Body:
    said = user(*mark(dialect, document(dialect)), text(dialect, "Sum it up."))
    return base(dialect) | {"system": [text(dialect, PADDING)], "messages": [said]}


def marked_assistant(dialect: Dialect) -> Body:
    said = assistant(*mark(dialect, text(dialect, "So.")), text(dialect, "Or so."))
    return base(dialect) | {"messages": [user(text(dialect, PADDING)), said, user(text(dialect, "And then?"))]}


def marked_call(dialect: Dialect) -> Body:
    calls = assistant(
        tool_use(dialect, "1", "a"), *mark(dialect, tool_use(dialect, "2", "a")), tool_use(dialect, "3", "a")
    )
    answers = user(*(tool_result(dialect, identity, "done") for identity in "321"), text(dialect, "And?"))
    return base(dialect, [tool(dialect, "a", PADDING)]) | {"messages": [user(text(dialect, "Why?")), calls, answers]}


def marked_first_answer(dialect: Dialect) -> Body:
    calls = assistant(*(tool_use(dialect, identity, "a") for identity in "123"))
    answers = [*mark(dialect, tool_result(dialect, "1", "done")), *(tool_result(dialect, i, "done") for i in "23")]
    messages = [user(text(dialect, "Why?")), calls, user(*answers, text(dialect, "And?"))]
    return base(dialect, [tool(dialect, "a", PADDING)]) | {"messages": messages}


@pytest.mark.parametrize("dialect", CLAUDES)
@pytest.mark.parametrize(
    "build", [marked_tool, marked_system, marked_document, marked_assistant, marked_call, marked_first_answer]
)
def test_each_place_of_the_last_cache_point_has_its_ping(bedrock, build, dialect):
    assert read_what_the_ping_wrote(bedrock.send_ping_then_production(dialect, build(dialect)))


@pytest.mark.parametrize("limit", [{}, {"max_new_tokens": 500}, {"maxTokens": 500}])
def test_nova_takes_its_limit_by_either_name(bedrock, limit):
    nova = Dialect.NOVA
    body = {"system": mark(nova, text(nova, PADDING)), "messages": [user(text(nova, "Why?"))], "inferenceConfig": limit}
    usages = bedrock.send_ping_then_production(nova, body)
    assert read_what_the_ping_wrote(usages)
    assert usages[0].output_tokens == 1
