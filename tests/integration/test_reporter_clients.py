"""The reporter inside real clients: every operation, streamed or not, says what was sent and what it cost."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import io
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from anthropic import AnthropicBedrock, AsyncAnthropicBedrock, DefaultHttpxClient
from botocore.config import Config
from botocore.eventstream import EventStream
from botocore.response import StreamingBody
from langchain_aws import ChatBedrockConverse
from langchain_core.messages import HumanMessage, SystemMessage

from keepwarm import dialects, fingerprint, reporter, touches
from keepwarm.dialects import Dialect
from keepwarm.emulator import Emulator, Faults
from keepwarm.model import Source
from tests.builders import shipped_catalog
from tests.receiver import Receiver

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
REGION = "eu-central-1"
CANARY = "canary-4711"
TEXT = f"The {CANARY} lives in a mine. " * 400
PIXEL = b"\x89PNG\r\n\x1a\n" + b"pixel" * 20

CONVERSE: dict[str, Any] = {
    "modelId": CLAUDE,
    "system": [{"text": TEXT}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"image": {"format": "png", "source": {"bytes": PIXEL}}},
                {"text": f"What does the {CANARY} sing?"},
                {"cachePoint": {"type": "default"}},
                {"text": "Be short."},
            ],
        }
    ],
    "inferenceConfig": {"maxTokens": 5},
}
ANTHROPIC: dict[str, Any] = {
    "max_tokens": 5,
    "tools": [{"name": "sing", "description": CANARY, "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "auto"},
    "system": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [{"role": "user", "content": f"Sing, {CANARY}!"}],
}
NOVA_BODY: dict[str, Any] = {
    "system": [{"text": TEXT, "cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": f"Sing, {CANARY}!"}]}],
    "inferenceConfig": {"maxTokens": 5},
}
INVOKE = json.dumps({"anthropic_version": "bedrock-2023-05-31"} | ANTHROPIC).encode()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), latency_scale=0) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def client(emulator: Emulator, aws: Path) -> Iterator[Any]:
    made = make_client(emulator)
    yield made
    made.close()


def make_client(emulator: Emulator, **config: Any) -> Any:
    return boto3.client(
        "bedrock-runtime", region_name=REGION, endpoint_url=emulator.url, config=Config(**config) if config else None
    )


def sketch_of(dialect: Dialect, body: dict[str, Any]) -> dict[str, Any]:
    return fingerprint.sketch_to_json(fingerprint.cut(fingerprint.sketch(dialects.read(dialect, body))))


def told(receiver: Receiver, count: int) -> list[dict[str, Any]]:
    """The touches, which the daemon must be able to read and which must hold no prompt text."""
    assert reporter.flush(10, receiver.url)
    found = receiver.wait(count)
    assert len(found) == count
    assert not any(CANARY.encode() in body or b"mine" in body for body in receiver.bodies)
    for touch in found:
        parsed = touches.parse(touch, datetime.now(UTC), Source.HTTP)  # noqa: TID251 - the emulator lives by the wall clock
        assert isinstance(parsed, touches.ReportedTouch)
        assert parsed.source is Source.REPORTER
    return found


def check(touch: dict[str, Any], emulator: Emulator, sketch: dict[str, Any], index: int = -1) -> None:
    request = emulator.log[index]
    assert request.usage
    assert touch["sketch"] == sketch
    assert {name: touch["usage"][name] for name in touch["usage"] if name != "cache_write_1h_tokens"} == {
        "input_tokens": request.usage.input_tokens,
        "output_tokens": request.usage.output_tokens,
        "cache_read_tokens": request.usage.cache_read_tokens,
        "cache_write_tokens": request.usage.cache_write_tokens,
    }
    assert touch["usage"]["cache_write_1h_tokens"] in {request.usage.cache_write_1h_tokens, None}
    assert (touch["model_id"], touch["region"]) == (request.model_id, request.region)
    # Stamped before it was sent, and not long before.
    age = request.at - datetime.fromisoformat(touch["started_at"])
    assert timedelta(0) <= age < timedelta(seconds=2)


# -- boto3 --------------------------------------------------------------------------------------------------------


def converse(client: Any) -> str:
    return client.converse(**CONVERSE)["ResponseMetadata"]["RequestId"]


def converse_stream(client: Any) -> str:
    answer = client.converse_stream(**CONVERSE)
    assert [name for event in answer["stream"] for name in event][-1] == "metadata"
    return answer["ResponseMetadata"]["RequestId"]


def invoke(client: Any, body: Any = INVOKE, model_id: str = CLAUDE) -> str:
    answer = client.invoke_model(modelId=model_id, body=body)
    assert json.loads(answer["body"].read())["usage"]
    return answer["ResponseMetadata"]["RequestId"]


def invoke_stream(client: Any, body: Any = INVOKE, model_id: str = CLAUDE) -> str:
    answer = client.invoke_model_with_response_stream(modelId=model_id, body=body)
    assert list(answer["body"])
    return answer["ResponseMetadata"]["RequestId"]


CALLS: dict[str, tuple[Callable[[Any], str], Dialect, dict[str, Any]]] = {
    "converse": (converse, Dialect.CONVERSE, CONVERSE),
    "converse_stream": (converse_stream, Dialect.CONVERSE, CONVERSE),
    "invoke": (invoke, Dialect.ANTHROPIC, ANTHROPIC),
    "invoke_stream": (invoke_stream, Dialect.ANTHROPIC, ANTHROPIC),
    "nova": (lambda client: invoke(client, json.dumps(NOVA_BODY), NOVA), Dialect.NOVA, NOVA_BODY),
    "nova_stream": (lambda client: invoke_stream(client, json.dumps(NOVA_BODY), NOVA), Dialect.NOVA, NOVA_BODY),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_reported_as_it_was_sent_and_billed(
    name: str, client: Any, emulator: Emulator, receiver: Receiver
) -> None:
    send, dialect, body = CALLS[name]
    reporter.install(client, receiver.url)
    ids = [send(client), send(client)]
    found = told(receiver, 2)
    assert [touch["request_id"] for touch in found] == ids
    for index, touch in enumerate(found):
        check(touch, emulator, sketch_of(dialect, body), index)
    assert found[0]["usage"]["cache_write_tokens"] > 0
    assert found[1]["usage"]["cache_read_tokens"] > 0
    assert reporter.stats(receiver.url) == reporter.Stats(seen=2, reported=2)


def test_the_tokens_written_for_an_hour_are_told_apart(client: Any, emulator: Emulator, receiver: Receiver) -> None:
    reporter.install(client, receiver.url)
    for name in ("converse", "invoke", "converse_stream", "invoke_stream"):
        emulator.evict()
        CALLS[name][0](client)
    assert [touch["usage"]["cache_write_1h_tokens"] for touch in told(receiver, 4)] == [
        request.usage.cache_write_1h_tokens for request in emulator.log if request.usage
    ]


def test_headers_tell_the_usage_of_a_body_that_nobody_reads(
    client: Any, emulator: Emulator, receiver: Receiver
) -> None:
    reporter.install(client, receiver.url)
    client.invoke_model(modelId=CLAUDE, body=INVOKE)
    gc.collect()
    check(told(receiver, 1)[0], emulator, sketch_of(Dialect.ANTHROPIC, ANTHROPIC))


def test_a_body_is_read_as_if_nobody_looked(client: Any, receiver: Receiver) -> None:
    invoke(client)
    plain = client.invoke_model(modelId=CLAUDE, body=INVOKE)["body"].read()
    reporter.install(client, receiver.url)
    body = client.invoke_model(modelId=CLAUDE, body=INVOKE)["body"]
    assert isinstance(body, StreamingBody)
    assert type(body).__name__ == "StreamingBody"
    assert len(body.read(10)) == 10
    assert len(b"".join(body.iter_chunks(7))) == len(plain) - 10
    room = bytearray(len(plain) + 1)
    body = client.invoke_model(modelId=CLAUDE, body=INVOKE)["body"]
    assert sum(iter(lambda: body.readinto(room), 0)) == len(plain)
    with client.invoke_model(modelId=CLAUDE, body=INVOKE)["body"] as raw:
        assert len(raw.read()) == len(plain)
    assert len(list(client.invoke_model(modelId=CLAUDE, body=INVOKE)["body"].iter_lines())) == 1
    gc.collect()
    assert all(touch["usage"]["cache_read_tokens"] for touch in told(receiver, 4))


def test_a_stream_is_read_as_if_nobody_looked(client: Any, receiver: Receiver) -> None:
    plain = list(client.converse_stream(**CONVERSE)["stream"])
    reporter.install(client, receiver.url)
    stream = client.converse_stream(**CONVERSE)["stream"]
    assert isinstance(stream, EventStream)
    assert type(stream).__name__ == "EventStream"
    pieces = iter(stream)
    events = [next(pieces)]
    del pieces
    events += list(stream)  # a pause with another iterator loses nothing
    assert [list(event) for event in events] == [list(event) for event in plain]
    assert list(stream) == []
    stream.close()
    assert told(receiver, 1)[0]["usage"]["cache_read_tokens"] > 0


@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["stream", "body"])
def test_a_stream_given_up_half_way_is_reported_without_usage(name: str, client: Any, receiver: Receiver) -> None:
    reporter.install(client, receiver.url)

    def begin() -> Any:
        if name == "stream":
            return client.converse_stream(**CONVERSE)[name]
        return client.invoke_model_with_response_stream(modelId=CLAUDE, body=INVOKE)[name]

    closed, dropped = begin(), begin()
    next(iter(closed))
    closed.close()
    next(iter(dropped))
    del dropped
    begin()
    gc.collect()
    assert ["usage" in touch for touch in told(receiver, 3)] == [False] * 3


def test_a_stream_that_breaks_still_raises_and_is_reported(client: Any, receiver: Receiver) -> None:
    reporter.install(client, receiver.url)
    stream = client.converse_stream(**CONVERSE)["stream"]

    def explode(*_: object) -> None:
        raise RuntimeError("the line is dead")

    vars(stream)["_parse_event"] = explode
    with pytest.raises(RuntimeError, match="the line is dead"):
        list(stream)
    assert "usage" not in told(receiver, 1)[0]


def test_a_retried_call_counts_from_the_attempt_that_was_answered(
    emulator: Emulator, aws: Path, receiver: Receiver
) -> None:
    client = make_client(emulator, retries={"total_max_attempts": 2, "mode": "standard"})
    reporter.install(client, receiver.url)
    emulator.set_faults("*", Faults(throttle=1))
    client.meta.events.register(
        "needs-retry.bedrock-runtime", lambda **_: emulator.set_faults("*", Faults()), unique_id="mend"
    )
    answer = client.converse(**CONVERSE)
    assert answer["ResponseMetadata"]["RetryAttempts"] == 1
    (touch,) = told(receiver, 1)
    refused, answered = emulator.log
    assert refused.at < datetime.fromisoformat(touch["started_at"]) <= answered.at
    client.close()


def test_a_refused_call_is_no_touch_and_raises_what_it_always_raised(
    client: Any, emulator: Emulator, receiver: Receiver
) -> None:
    reporter.install(client, receiver.url)
    emulator.set_faults("*", Faults(deny=True))
    with pytest.raises(client.exceptions.AccessDeniedException):
        client.converse(**CONVERSE)
    assert reporter.stats(receiver.url).seen == 0


def test_our_own_pings_are_not_reported(emulator: Emulator, client: Any, receiver: Receiver) -> None:
    mark = {"keepwarm": "ping", "prefix": "p"}
    named = make_client(emulator, user_agent_extra="keepwarm/1.0")
    for each in (client, named):
        reporter.install(each, receiver.url)
    client.converse(**CONVERSE, requestMetadata=mark)
    client.invoke_model(modelId=CLAUDE, body=INVOKE, requestMetadata=json.dumps(mark))["body"].read()
    named.converse(**CONVERSE)
    assert reporter.flush(10, receiver.url)
    assert reporter.stats(receiver.url).skipped == {"ours": 3}
    assert receiver.attempts == 0
    named.close()


def test_a_call_without_a_cache_point_is_counted_and_not_sent(client: Any, receiver: Receiver) -> None:
    reporter.install(client, receiver.url)
    client.converse(modelId=CLAUDE, messages=[{"role": "user", "content": [{"text": CANARY}]}])
    assert reporter.flush(10, receiver.url)
    assert reporter.stats(receiver.url).skipped == {"no_cache_point": 1}


def test_what_the_application_changes_after_the_call_changes_no_digest(client: Any, receiver: Receiver) -> None:
    reporter.install(client, receiver.url)
    arguments = json.loads(json.dumps({name: CONVERSE[name] for name in ("modelId", "system", "inferenceConfig")}))
    arguments["messages"] = [{"role": "user", "content": [{"text": "q"}]}]
    expected = sketch_of(Dialect.CONVERSE, json.loads(json.dumps(arguments)))
    client.converse(**arguments)
    arguments["system"][0]["text"] = "changed"
    body = bytearray(INVOKE)
    client.invoke_model(modelId=CLAUDE, body=body)["body"].read()
    body[:] = b"0" * len(body)
    found = told(receiver, 2)
    assert [touch["sketch"] for touch in found] == [expected, sketch_of(Dialect.ANTHROPIC, ANTHROPIC)]


def test_a_body_from_a_file_is_sent_whole_and_only_counted(client: Any, receiver: Receiver) -> None:
    reporter.install(client, receiver.url)
    invoke(client, io.BytesIO(INVOKE))
    assert reporter.stats(receiver.url).errors == {"TypeError": 1}


def test_installed_twice_it_reports_once_and_uninstalled_not_at_all(client: Any, receiver: Receiver) -> None:
    reporter.install(client, receiver.url)
    reporter.install(client, receiver.url)
    converse(client)
    assert len(told(receiver, 1)) == 1
    reporter.uninstall(client)
    reporter.uninstall(client)
    converse(client)
    assert reporter.flush(10, receiver.url)
    assert reporter.stats(receiver.url).seen == 1


def test_many_threads_report_every_call_once(emulator: Emulator, aws: Path, receiver: Receiver) -> None:
    client = make_client(emulator, max_pool_connections=8)
    reporter.install(client, receiver.url)
    ids: list[str] = []

    def work() -> None:
        for _ in range(10):
            ids.append(converse(client))
            ids.append(converse_stream(client))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = told(receiver, 160)
    assert sorted(touch["request_id"] for touch in found) == sorted(ids)
    client.close()


def test_other_clients_are_refused_with_their_name(aws: Path) -> None:
    with pytest.raises(TypeError, match="is no bedrock-runtime client"):
        reporter.install(boto3.client("s3", region_name=REGION))
    with pytest.raises(ValueError, match="must look like"):
        reporter.install(httpx.Client(), "localhost:8378")


# -- whatever builds on boto3 -------------------------------------------------------------------------------------


def test_langchain_reports_through_the_client_it_holds(client: Any, emulator: Emulator, receiver: Receiver) -> None:
    model = ChatBedrockConverse(model=CLAUDE, client=client, max_tokens=5)
    reporter.install(model, receiver.url)
    content: list[Any] = [{"type": "text", "text": TEXT}, {"cachePoint": {"type": "default"}}]
    messages = [SystemMessage(content), HumanMessage("Sing!")]
    model.invoke(messages)
    assert list(model.stream(messages))
    body = {"system": [{"text": TEXT}, {"cachePoint": {"type": "default"}}], "messages": []}
    for index, touch in enumerate(told(receiver, 2)):
        check(touch, emulator, sketch_of(Dialect.CONVERSE, body), index)


# -- httpx and the anthropic SDK ----------------------------------------------------------------------------------


@pytest.fixture
def anthropic_settings(emulator: Emulator) -> dict[str, Any]:
    return {
        "aws_access_key": "AKIAEXAMPLE",
        "aws_secret_key": "secret",
        "aws_region": REGION,
        "base_url": emulator.url,
        "max_retries": 0,
    }


def test_the_anthropic_sdk_is_reported(
    anthropic_settings: dict[str, Any], emulator: Emulator, receiver: Receiver
) -> None:
    with AnthropicBedrock(**anthropic_settings) as client:
        reporter.install(client, receiver.url)
        reporter.install(client.with_options(timeout=9), receiver.url)
        client.messages.create(model=CLAUDE, **ANTHROPIC)
        with client.messages.stream(model=CLAUDE, **ANTHROPIC) as stream:
            assert stream.get_final_text() == "ok"
        found = told(receiver, 2)
        reporter.uninstall(client)
        client.messages.create(model=CLAUDE, **ANTHROPIC)
    for index, touch in enumerate(found):
        check(touch, emulator, sketch_of(Dialect.ANTHROPIC, ANTHROPIC), index)
    assert reporter.stats(receiver.url).seen == 2


def test_the_asynchronous_anthropic_sdk_is_reported(
    anthropic_settings: dict[str, Any], emulator: Emulator, receiver: Receiver
) -> None:
    async def ask() -> None:
        async with AsyncAnthropicBedrock(**anthropic_settings) as client:
            reporter.install(client, receiver.url)
            await client.messages.create(model=CLAUDE, **ANTHROPIC)
            async with client.messages.stream(model=CLAUDE, **ANTHROPIC) as stream:
                assert await stream.get_final_text() == "ok"
            async with client.messages.stream(model=CLAUDE, **ANTHROPIC) as stream:
                await anext(stream)

    asyncio.run(ask())
    found = told(receiver, 3)
    for index, touch in enumerate(found[:2]):
        check(touch, emulator, sketch_of(Dialect.ANTHROPIC, ANTHROPIC), index)


def test_a_bearer_token_leaves_the_region_to_the_client(emulator: Emulator, aws: Path, receiver: Receiver) -> None:
    with AnthropicBedrock(api_key="key", aws_region=REGION, base_url=emulator.url) as client:
        reporter.install(client, receiver.url)
        client.messages.create(model=CLAUDE, **ANTHROPIC)
    assert told(receiver, 1)[0]["region"] == REGION


def test_event_hooks_leave_an_answer_unread_and_others_alone(
    anthropic_settings: dict[str, Any], emulator: Emulator, receiver: Receiver
) -> None:
    states: list[bool] = []
    hooks = reporter.httpx_hook(receiver.url)
    hooks["response"] = [*hooks["response"], lambda answer: states.append(answer.is_stream_consumed)]
    with DefaultHttpxClient(event_hooks=hooks) as inner:
        client = AnthropicBedrock(**anthropic_settings, http_client=inner)
        client.messages.create(model=CLAUDE, **ANTHROPIC)
        inner.get(f"{receiver.url}/elsewhere")
    assert states == [False, False]
    check(told(receiver, 1)[0], emulator, sketch_of(Dialect.ANTHROPIC, ANTHROPIC))
    assert reporter.stats(receiver.url).seen == 1


def test_plain_httpx_reads_a_stream_in_pieces_of_any_size(receiver: Receiver, emulator: Emulator) -> None:
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential=AKIA/20261122/{REGION}/bedrock/aws4_request, Signature=0"}
    with httpx.Client(event_hooks=reporter.httpx_hook(receiver.url), headers=headers) as client:
        url = f"{emulator.url}/model/{CLAUDE}/invoke-with-response-stream"
        with client.stream("POST", url, content=INVOKE) as answer:
            assert len(b"".join(answer.iter_raw(3))) > 100
        url = f"{emulator.url}/model/{CLAUDE}/converse-stream"
        body = json.dumps({"system": CONVERSE["system"], "messages": [{"role": "user", "content": [{"text": "q"}]}]})
        client.post(url, content=body)
    found = told(receiver, 2)
    check(found[0], emulator, sketch_of(Dialect.ANTHROPIC, ANTHROPIC), 0)
    check(found[1], emulator, sketch_of(Dialect.CONVERSE, json.loads(body)), 1)


# -- LiteLLM ------------------------------------------------------------------------------------------------------

needs_litellm = pytest.mark.skipif(
    importlib.util.find_spec("litellm") is None, reason="litellm is not installed: pip install litellm"
)


@needs_litellm
def test_litellm_is_reported(emulator: Emulator, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches prices from the network
    import litellm  # noqa: PLC0415 - optional

    monkeypatch.setattr(litellm, "callbacks", [reporter.litellm_callback(receiver.url)])
    arguments: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": "Sing!"},
        ],
        "max_tokens": 5,
        "aws_access_key_id": "AKIAEXAMPLE",
        "aws_secret_access_key": "secret",
        "aws_region_name": REGION,
        "aws_bedrock_runtime_endpoint": emulator.url,
    }

    for route in ("converse", "invoke"):
        model = f"bedrock/{route}/{CLAUDE}"
        litellm.completion(**arguments, model=model)
        assert list(litellm.completion(**arguments, model=model, stream=True))
    system = [{"text": TEXT}, {"cachePoint": {"type": "default"}}]
    converse = sketch_of(Dialect.CONVERSE, {"system": system, "messages": []})
    block = {"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}
    anthropic = sketch_of(Dialect.ANTHROPIC, {"system": [block], "messages": []})
    receiver.wait(4)  # LiteLLM calls back from a thread of its own, in its own time
    found = sorted(told(receiver, 4), key=lambda touch: touch["started_at"])
    for index, (touch, sketch) in enumerate(zip(found, [converse, converse, anthropic, anthropic], strict=True)):
        check(touch, emulator, sketch, index)
