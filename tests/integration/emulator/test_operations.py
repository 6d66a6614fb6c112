"""Every operation, sent by real SDKs."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from anthropic import AnthropicBedrock
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from botocore.validate import ParamValidator

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
PLAIN_CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "eu.amazon.nova-pro-v1:0"
CACHED = 2000
QUESTION = 10


def nova_body(bench: Any) -> dict[str, Any]:
    return {
        "system": [bench.text(CACHED) | {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [bench.text(QUESTION)]}],
        "inferenceConfig": {"maxTokens": 1},
    }


def stream_chunks(response: Any) -> list[Any]:
    return [json.loads(event["chunk"]["bytes"]) for event in response["body"]]


def assert_fits(client: Any, operation: str, response: dict[str, Any]) -> None:
    """Let botocore's own validator compare an answer with the output shape."""
    answer = {name: value for name, value in response.items() if name != "ResponseMetadata"}
    with Stubber(client) as stubber:
        stubber.add_response(operation, answer)


def assert_event_fits(client: Any, shape: str, event: dict[str, Any]) -> None:
    report = ParamValidator().validate(event, client.meta.service_model.shape_for(shape))
    assert not report.has_errors(), report.generate_report()


def post(url: str, path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    finally:
        connection.close()


SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIA1/20261122/eu-west-1/bedrock/aws4_request, SignedHeaders=x"}


def test_converse_first_writes_and_then_reads(bench):
    first = bench.client().converse(**bench.converse())
    second = bench.client().converse(**bench.converse())

    assert first["output"]["message"] == {"role": "assistant", "content": [{"text": "ok"}]}
    assert first["stopReason"] == "max_tokens"
    assert first["usage"] == {
        "inputTokens": QUESTION,
        "outputTokens": 1,
        "totalTokens": CACHED + QUESTION + 1,
        "cacheReadInputTokens": 0,
        "cacheWriteInputTokens": CACHED,
        "cacheDetails": [{"ttl": "5m", "inputTokens": CACHED}],
    }
    assert second["usage"]["cacheReadInputTokens"] == CACHED
    assert second["usage"]["cacheWriteInputTokens"] == 0
    assert second["usage"]["cacheDetails"] == []


def test_a_converse_answer_fits_the_output_shape_and_holds_nothing_unknown_but_two_counters(bench):
    client = bench.client()
    assert_fits(client, "converse", client.converse(**bench.converse(serviceTier={"type": "default"})))

    body = {name: value for name, value in bench.converse().items() if name != "modelId"}
    _, raw, _ = post(bench.emulator.url, f"/model/{CLAUDE}/converse", json.dumps(body).encode(), SIGNED)
    shape = client.meta.service_model.operation_model("Converse").output_shape
    assert set(raw) <= set(shape.members)
    unknown = set(raw["usage"]) - set(shape.members["usage"].members)
    assert unknown == {"cacheReadInputTokenCount", "cacheWriteInputTokenCount"}


def test_converse_repeats_the_service_tier_and_the_performance_setting(bench):
    settings = {"serviceTier": {"type": "default"}, "performanceConfig": {"latency": "optimized"}}
    answer = bench.client().converse(**bench.converse(**settings))
    assert {name: answer[name] for name in settings} == settings


def test_converse_stream_sends_events_that_botocore_decodes(bench):
    client = bench.client()
    events = list(client.converse_stream(**bench.converse())["stream"])

    assert [next(iter(event)) for event in events] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    for event in events:
        assert_event_fits(client, "ConverseStreamOutput", event)
    assert events[-1]["metadata"]["usage"]["cacheWriteInputTokens"] == CACHED


def test_a_stream_reads_what_a_plain_call_wrote(bench):
    bench.client().converse(**bench.converse())
    *_, metadata = bench.client().converse_stream(**bench.converse())["stream"]
    assert metadata["metadata"]["usage"]["cacheReadInputTokens"] == CACHED


def test_invoke_model_tells_anthropic_usage_in_the_body_and_in_the_headers(bench):
    body, headers = bench.invoke()
    assert body["content"] == [{"type": "text", "text": "ok"}]
    assert body["usage"] == {
        "input_tokens": QUESTION,
        "output_tokens": 1,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": CACHED,
        "cache_creation": {"ephemeral_5m_input_tokens": CACHED, "ephemeral_1h_input_tokens": 0},
    }
    assert headers["x-amzn-bedrock-input-token-count"] == str(QUESTION)
    assert headers["x-amzn-bedrock-output-token-count"] == "1"
    assert headers["x-amzn-bedrock-cache-read-input-token-count"] == "0"
    assert headers["x-amzn-bedrock-cache-write-input-token-count"] == str(CACHED)
    assert headers["x-amzn-bedrock-invocation-latency"] == "0"

    again, headers = bench.invoke()
    assert again["usage"]["cache_read_input_tokens"] == CACHED
    assert headers["x-amzn-bedrock-cache-read-input-token-count"] == str(CACHED)


def test_invoke_model_fits_the_output_shape_and_repeats_the_service_tier(bench):
    client = bench.client()
    answer = client.invoke_model(
        modelId=CLAUDE,
        body=json.dumps(bench.anthropic()),
        serviceTier="flex",
        performanceConfigLatency="standard",
        requestMetadata='{"keepwarm": "ping"}',
    )
    assert (answer["serviceTier"], answer["performanceConfigLatency"]) == ("flex", "standard")
    assert_fits(client, "invoke_model", answer | {"body": answer["body"].read()})
    assert bench.last.metadata == {"keepwarm": "ping"}


def test_an_answer_longer_than_its_one_token_is_stopped_by_the_limit_only_when_the_limit_is_one(bench):
    assert bench.invoke(max_tokens=1)[0]["stop_reason"] == "max_tokens"
    assert bench.invoke(max_tokens=2)[0]["stop_reason"] == "end_turn"


def test_invoke_model_streams_anthropic_chunks(bench):
    client = bench.client()
    response = client.invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(bench.anthropic()))
    assert response["contentType"] == "application/json"
    chunks = stream_chunks(response)

    assert [chunk["type"] for chunk in chunks] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert chunks[0]["message"]["usage"]["cache_creation_input_tokens"] == CACHED
    assert chunks[-1]["amazon-bedrock-invocationMetrics"] == {
        "inputTokenCount": QUESTION,
        "outputTokenCount": 1,
        "invocationLatency": 0,
        "firstByteLatency": 0,
        "cacheReadInputTokenCount": 0,
        "cacheWriteInputTokenCount": CACHED,
    }


def test_nova_answers_through_invoke_model_in_its_own_words(bench):
    answers = [
        json.loads(bench.client().invoke_model(modelId=NOVA, body=json.dumps(nova_body(bench)))["body"].read())
        for _ in range(2)
    ]
    assert answers[0]["output"]["message"]["content"] == [{"text": "ok"}]
    # In a Nova body the cache point is a key of the block, and costs no token.
    assert answers[0]["usage"]["cacheWriteInputTokenCount"] == CACHED
    assert answers[1]["usage"]["cacheReadInputTokenCount"] == CACHED
    assert answers[1]["usage"]["totalTokens"] == CACHED + QUESTION + 1


def test_nova_streams_through_invoke_model(bench):
    response = bench.client().invoke_model_with_response_stream(modelId=NOVA, body=json.dumps(nova_body(bench)))
    chunks = stream_chunks(response)
    assert [next(iter(chunk)) for chunk in chunks][-1] == "metadata"
    assert chunks[-1]["metadata"]["usage"]["cacheWriteInputTokenCount"] == CACHED
    assert chunks[-1]["amazon-bedrock-invocationMetrics"]["cacheWriteInputTokenCount"] == CACHED


def test_nova_takes_its_older_name_for_the_output_limit(bench):
    body = nova_body(bench) | {"inferenceConfig": {"max_new_tokens": 0}}
    code, status, message = bench.refusal(
        lambda: bench.client().invoke_model(modelId=NOVA, body=json.dumps(body)),
    )
    assert (code, status) == ("ValidationException", 400)
    assert "greater than or equal to 1" in message


def test_count_tokens_counts_either_kind_of_prompt_and_caches_nothing(bench):
    client = bench.client()
    converse = {name: bench.converse()[name] for name in ("system", "messages")}
    counted = client.count_tokens(modelId=PLAIN_CLAUDE, input={"converse": converse})
    assert_fits(client, "count_tokens", counted)
    assert counted["inputTokens"] == CACHED + QUESTION

    body = json.dumps(bench.anthropic()).encode()
    assert client.count_tokens(modelId=PLAIN_CLAUDE, input={"invokeModel": {"body": body}})["inputTokens"] == (
        CACHED + QUESTION
    )
    assert bench.billed(modelId=PLAIN_CLAUDE) == (QUESTION, 0, CACHED, 0)


def test_count_tokens_takes_no_inference_profile(bench):
    send = lambda: bench.client().count_tokens(modelId=CLAUDE, input={"converse": {}})  # noqa: E731
    assert bench.refusal(send)[2] == "The provided model doesn't support counting tokens."


@pytest.mark.parametrize("given", [{}, {"invokeModel": {"body": "%%%"}}, {"invokeModel": {"body": "W10="}}])
def test_count_tokens_refuses_what_holds_no_prompt(bench, given):
    body = json.dumps({"input": given}).encode()
    status, answer, headers = post(bench.emulator.url, f"/model/{PLAIN_CLAUDE}/count-tokens", body, SIGNED)
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert answer["message"]


def test_a_model_id_may_be_an_arn(bench):
    arn = f"arn:aws:bedrock:eu-central-1:123456789012:inference-profile/{CLAUDE}"
    assert bench.billed(modelId=arn) == (QUESTION, 0, CACHED, 0)
    assert bench.billed(modelId=arn) == (QUESTION, CACHED, 0, 0)
    assert bench.last.model_id == arn


def test_the_anthropic_sdk_shares_the_cache_with_boto3(bench):
    body = bench.anthropic()
    bench.invoke()
    with AnthropicBedrock(
        aws_access_key="AKIAEXAMPLE",
        aws_secret_key="secret",
        aws_region="eu-central-1",
        base_url=bench.emulator.url,
        max_retries=0,
    ) as client:
        settings = {name: body[name] for name in ("max_tokens", "system", "messages")}
        message = client.messages.create(model=CLAUDE, **settings)
        with client.messages.create(model=CLAUDE, stream=True, **settings) as stream:
            events = list(stream)
    assert message.usage.cache_read_input_tokens == CACHED
    assert events[0].message.usage.cache_read_input_tokens == CACHED


def test_a_bearer_token_is_an_account_of_its_own(bench):
    # By hand: botocore sends bearer tokens over TLS only.
    written = {}
    for token in ("first", "second"):
        body = json.dumps(bench.anthropic()).encode()
        _, answer, _ = post(bench.emulator.url, f"/model/{CLAUDE}/invoke", body, {"Authorization": f"Bearer {token}"})
        written[token] = answer["usage"]["cache_creation_input_tokens"]
        assert token not in bench.last.access_key
    assert written == {"first": CACHED, "second": CACHED}
    assert bench.last.region == "us-east-1"


def test_a_request_without_authentication_is_refused(bench):
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=bench.emulator.url,
        config=Config(signature_version=UNSIGNED),
    )
    with pytest.raises(ClientError) as caught:
        client.converse(**bench.converse())
    client.close()
    assert caught.value.response["Error"]["Code"] == "MissingAuthenticationTokenException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_path_that_is_not_of_bedrock_is_not_found(bench):
    for method, path in (("POST", "/model/x/rewind"), ("GET", f"/model/{CLAUDE}/converse")):
        status, _, headers = post(bench.emulator.url, path, b"{}", SIGNED, method)
        assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException")
    assert bench.emulator.log == []


def test_a_body_over_25_megabytes_is_refused(bench):
    code, status, message = None, 0, ""
    try:
        bench.client().invoke_model(modelId=CLAUDE, body=b" " * 25_000_001)
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    assert (code, status) == ("ValidationException", 400)
    assert "too long" in message
    assert bench.billed() == (QUESTION, 0, CACHED, 0)


def test_the_log_tells_who_asked_for_what_and_holds_no_prompt(bench):
    bench.client().converse(**bench.converse(requestMetadata={"keepwarm": "ping", "prefix": "support-bot"}))
    bench.client().converse(**bench.converse())
    first, second = bench.emulator.log

    assert (first.number, second.number) == (1, 2)
    assert first.at == bench.wall.at
    assert (first.access_key, first.region, first.model_id) == ("AKIAEXAMPLE", "eu-central-1", CLAUDE)
    assert (first.operation, first.status, first.error_code) == ("Converse", 200, "")
    assert first.metadata == {"keepwarm": "ping", "prefix": "support-bot"}
    assert second.metadata == {}
    assert "Boto3" in first.user_agent
    assert first.usage.cache_write_tokens == second.usage.cache_read_tokens == CACHED
    assert first.cache_point_digests == second.cache_point_digests
    assert len(first.cache_point_digests) == 1
    assert "xxxx" not in repr(bench.emulator.log)


def test_the_log_forgets_the_oldest_requests(emulate):
    bench = emulate(log_limit=2)
    for _ in range(3):
        bench.billed()
    assert [request.number for request in bench.emulator.log] == [2, 3]


def test_many_requests_over_one_connection_are_served(bench):
    connection = http.client.HTTPConnection(urlsplit(bench.emulator.url).netloc, timeout=20)
    body = json.dumps(bench.anthropic())
    for _ in range(1100):  # past the point where dead entries are swept out
        connection.request("POST", f"/model/{CLAUDE}/invoke", body, SIGNED)
        assert connection.getresponse().read()
    connection.close()
    assert bench.last.number == 1100
    assert bench.last.usage.cache_read_tokens == CACHED


def test_a_stopped_emulator_has_no_url_and_can_be_started_again(emulate):
    bench = emulate()
    bench.emulator.stop()
    bench.emulator.stop()
    with pytest.raises(RuntimeError, match="not started"):
        _ = bench.emulator.url
    with bench.emulator as emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
