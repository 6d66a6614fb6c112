from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm import dialects, fingerprint
from keepwarm.dialects import Dialect
from keepwarm.model import Api, Route, Source, Usage
from keepwarm.touches import Matcher, ReportedTouch
from keepwarm.traffic.records import (
    MAX_BODY_BYTES,
    MAX_RECORD_BYTES,
    Skip,
    Skipped,
    body_path,
    parse_record,
    read_record,
)
from tests.builders import facts_of, make_prefix
from tests.invocation_logs import CLAUDE, NOON, REGION, anthropic_body, converse_body, make_record, wire_text

NOW = NOON + timedelta(minutes=3)
HAIKU_ARN = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123def456"


def read(**changes: Any) -> ReportedTouch | Skipped:
    return read_record(make_record(**changes), NOW)


def touch(**changes: Any) -> ReportedTouch:
    found = read(**changes)
    assert isinstance(found, ReportedTouch), found
    return found


def why(**changes: Any) -> Skip:
    found = read(**changes)
    assert isinstance(found, Skipped), found
    return found.reason


def digests(dialect: Dialect, body: dict[str, Any]) -> fingerprint.Sketch:
    return fingerprint.cut(fingerprint.sketch(dialects.read(dialect, body)))


def test_a_record_tells_who_when_where_and_what():
    found = touch()
    assert (found.request_id, found.model_id, found.region) == (make_record()["requestId"], CLAUDE, REGION)
    assert (found.api, found.source, found.latency_ms) == (Api.CONVERSE, Source.INVOCATION_LOG, 800)
    assert found.usage == Usage(12, 3, 5000, 0, None)
    assert found.sketch == digests(Dialect.CONVERSE, converse_body())


@pytest.mark.parametrize(
    ("operation", "api", "body", "dialect"),
    [
        ("Converse", Api.CONVERSE, converse_body(), Dialect.CONVERSE),
        ("ConverseStream", Api.CONVERSE, converse_body(), Dialect.CONVERSE),
        ("InvokeModel", Api.INVOKE_MODEL, anthropic_body(), Dialect.ANTHROPIC),
        ("InvokeModelWithResponseStream", Api.INVOKE_MODEL, anthropic_body(), Dialect.ANTHROPIC),
    ],
)
def test_every_operation_is_read_in_its_own_dialect(operation, api, body, dialect):
    found = touch(operation=operation, body=body)
    assert (found.api, found.sketch) == (api, digests(dialect, body))


def test_the_body_of_nova_is_read_as_nova():
    body = {
        "system": [{"text": "stable", "cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": "q"}]}],
    }
    found = touch(operation="InvokeModel", modelId="amazon.nova-lite-v1:0", body=body)
    assert found.sketch == digests(Dialect.NOVA, body)


@pytest.mark.parametrize(
    "body", [anthropic_body(), {"system": [{"text": "s", "cachePoint": {"type": "default"}}], "messages": []}]
)
def test_the_body_tells_the_family_that_an_application_profile_hides(body):
    dialect = Dialect.ANTHROPIC if "anthropic_version" in body else Dialect.NOVA
    found = touch(operation="InvokeModel", modelId=HAIKU_ARN, body=body)
    assert (found.model_id, found.sketch) == (HAIKU_ARN, digests(dialect, body))


# -- when ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "earlier_ms"),
    [
        ({"metrics": {"latencyMs": 800}}, 800),
        (
            [
                {"type": "message_start"},
                {
                    "type": "message_stop",
                    "amazon-bedrock-invocationMetrics": {"invocationLatency": 60_500, "firstByteLatency": 700},
                },
            ],
            60_500,
        ),
        ([{"metadata": {"metrics": {"latencyMs": 4_000}}}], 4_000),
        ({}, 0),
        (None, 0),
        ({"metrics": {"latencyMs": 10**9}}, 0),
        ({"metrics": {"latencyMs": -5}}, 0),
        ({"metrics": {"latencyMs": "800"}}, 0),
    ],
)
def test_the_moment_of_a_record_counts_as_the_end_where_the_record_tells_how_long_it_took(answer, earlier_ms):
    assert touch(answer=answer).started_at == NOON - timedelta(milliseconds=earlier_ms)


def test_the_latency_is_that_until_the_answer_began():
    events = [{"amazon-bedrock-invocationMetrics": {"invocationLatency": 60_500, "firstByteLatency": 700}}]
    assert touch(operation="InvokeModelWithResponseStream", body=anthropic_body(), answer=events).latency_ms == 700
    assert touch(operation="ConverseStream").latency_ms is None  # 800 ms are those of the whole stream
    assert touch().latency_ms == 800


def test_a_moment_without_a_zone_is_utc():
    assert touch(timestamp="2026-11-22T12:00:00", answer=None).started_at == NOON
    assert touch(timestamp="2026-11-22T13:00:00+01:00", answer=None).started_at == NOON


def test_old_and_future_records_are_told_apart_and_history_has_no_age():
    assert why(timestamp="2026-11-20T12:00:00Z") is Skip.TOO_OLD
    assert why(timestamp="2027-11-20T12:00:00Z") is Skip.FUTURE_DATED
    assert isinstance(read_record(make_record(timestamp="2020-11-20T12:00:00Z"), None), ReportedTouch)


@pytest.mark.parametrize("moment", [None, 17, "", "yesterday", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", []])
def test_a_moment_that_is_none_costs_its_record_and_no_other(moment):
    found = read_record(make_record() | {"timestamp": moment}, None)
    assert isinstance(found, Skipped)
    assert found.reason is Skip.MALFORMED


# -- how much -----------------------------------------------------------------------------------------------------


def test_the_answer_tells_how_a_write_is_split():
    counts = {"inputTokenCount": 12, "cacheReadInputTokenCount": 0, "cacheWriteInputTokenCount": 900}
    details = {
        "usage": {
            "inputTokens": 12,
            "outputTokens": 3,
            "cacheWriteInputTokens": 900,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 700}, {"ttl": "5m", "inputTokens": 200}],
        }
    }
    assert touch(counts=counts, answer=details).usage == Usage(12, 3, 0, 900, 700)
    creation = {
        "usage": {
            "input_tokens": 12,
            "cache_creation_input_tokens": 900,
            "cache_creation": {"ephemeral_5m_input_tokens": 900},
        }
    }
    assert touch(counts=counts, answer=creation).usage == Usage(12, 3, 0, 900, 0)
    other = {
        "usage": {
            "input_tokens": 12,
            "cache_creation_input_tokens": 800,
            "cache_creation": {"ephemeral_1h_input_tokens": 800},
        }
    }
    assert touch(counts=counts, answer=other).usage == Usage(12, 3, 0, 900, None)


def test_the_answer_stands_in_for_counts_that_the_record_leaves_out():
    usage = {"inputTokens": 12, "outputTokens": 3, "cacheReadInputTokens": 70, "cacheWriteInputTokens": 0}
    assert touch(counts=None, answer={"usage": usage}).usage == Usage(12, 3, 70, 0)
    events = [
        {"message": {"usage": {"input_tokens": 12, "output_tokens": 1, "cache_read_input_tokens": 70}}},
        {"type": "message_delta", "usage": {"output_tokens": 3}},
        "[...truncated stream events...]",
    ]
    assert touch(
        operation="InvokeModelWithResponseStream", body=anthropic_body(), counts=None, answer=events
    ).usage == (Usage(12, 3, 70, 0))


def test_silence_on_the_cache_is_no_claim_unless_the_answer_told_its_usage():
    counts = {"inputTokenCount": 12}
    assert touch(counts=counts, answer=None).usage is None
    assert touch(counts=counts, answer={"usage": {"inputTokens": 12}}).usage == Usage(12, 3, 0, 0)
    assert touch(counts=None, answer=None).usage is None


def test_absurd_counts_are_refused_with_their_reason():
    for count in (10**12, -1):
        counts = {"inputTokenCount": 1, "cacheReadInputTokenCount": count, "cacheWriteInputTokenCount": 0}
        assert why(counts=counts) is Skip.ABSURD_USAGE
    assert (
        why(counts={"inputTokenCount": "1", "cacheReadInputTokenCount": 1, "cacheWriteInputTokenCount": 0})
        is Skip.MALFORMED
    )


# -- what is left out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schemaType": "AgentTrace"}, Skip.UNKNOWN_SCHEMA),
        ({"schemaType": None}, Skip.UNKNOWN_SCHEMA),
        ({"schemaVersion": "2.0"}, Skip.UNKNOWN_SCHEMA),
        ({"operation": "StartAsyncInvoke"}, Skip.UNKNOWN_OPERATION),
        ({"operation": ["Converse"]}, Skip.UNKNOWN_OPERATION),
        (
            {"operation": "InvokeModel", "modelId": "amazon.titan-embed-text-v2:0", "body": {"inputText": "x"}},
            Skip.UNKNOWN_MODEL,
        ),
        (
            {"operation": "InvokeModel", "modelId": "meta.llama3-70b-instruct-v1:0", "body": {"prompt": "x"}},
            Skip.UNKNOWN_MODEL,
        ),
        ({"operation": "InvokeModel", "modelId": HAIKU_ARN, "body": {"inputText": "x"}}, Skip.UNKNOWN_MODEL),
        ({"requestMetadata": {"keepwarm": "ping", "prefix": "bot"}}, Skip.OURS),
        ({"body": converse_body(requestMetadata={"keepwarm": "ping"})}, Skip.OURS),
        ({"userAgent": "Boto3/1.44 keepwarm/0.3"}, Skip.OURS),
        ({"errorCode": "ThrottlingException"}, Skip.FAILED),
        ({"body": None}, Skip.BODY_MISSING),
        ({"body": '{"system": [{"text": "cut'}, Skip.TRUNCATED),
        ({"body": ["no", "object"]}, Skip.TRUNCATED),
        ({"body": "x" * (MAX_BODY_BYTES + 1)}, Skip.TOO_LARGE),
        ({"body": {}}, Skip.NOT_ITS_DIALECT),
        ({"body": {"messages": "hello"}}, Skip.NOT_ITS_DIALECT),
        ({"body": converse_body(system=[{"cachePoint": {"type": "default"}}])}, Skip.NOT_ITS_DIALECT),
        ({"body": converse_body(system=None)}, Skip.NO_CACHE_POINT),
        ({"requestId": ""}, Skip.MALFORMED),
        ({"modelId": 7}, Skip.MALFORMED),
        ({"region": None}, Skip.MALFORMED),
    ],
)
def test_what_is_no_organic_request_is_skipped_with_its_reason(changes, reason):
    assert why(**changes) is reason


def test_other_metadata_is_the_applications_own():
    assert touch(requestMetadata={"keepwarm": "application", "team": "support"}).usage == Usage(12, 3, 5000, 0)


def test_a_request_without_a_cache_point_is_kept_apart_with_its_whole_sketch():
    found = read(body=converse_body(system=[{"text": "stable"}]))
    assert isinstance(found, Skipped)
    assert found.touch is not None
    assert found.touch.sketch is not None
    assert [block.section for block in found.touch.sketch.blocks] == ["system", "messages"]


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b'"text"', b"\xff\xfe{", b'{"a":' + b"1" * 5000 + b"}", b'{"a":' * 100_000]
)
def test_a_line_that_is_no_json_object_is_truncated(line):
    assert parse_record(line) == Skipped(Skip.TRUNCATED)


def test_a_line_over_the_limit_is_not_parsed():
    assert parse_record(b" " * (MAX_RECORD_BYTES + 1)) == Skipped(Skip.TOO_LARGE)


def test_a_body_that_is_nested_too_deeply_is_skipped():
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"properties": deep}
    tools = {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": deep}}}]}
    assert why(body=converse_body(toolConfig=tools)) is Skip.NOT_ITS_DIALECT


def test_a_line_is_read_as_text_and_as_bytes():
    assert parse_record(json.dumps(make_record())) == parse_record(json.dumps(make_record()).encode()) == make_record()


# -- bodies elsewhere ---------------------------------------------------------------------------------------------


def test_a_long_body_is_read_from_its_own_object():
    record = make_record(body=None)
    record["input"]["inputBodyS3Path"] = "s3://logs/data/1_input.json.gz"
    assert body_path(record) == "s3://logs/data/1_input.json.gz"
    found = read_record(record, NOW, json.dumps(converse_body()).encode())
    assert isinstance(found, ReportedTouch)
    assert found == touch()
    assert read_record(record, NOW, Skip.BODY_DENIED) == Skipped(Skip.BODY_DENIED, record["requestId"])
    assert read_record(record, NOW, b'{"system": [') == Skipped(Skip.TRUNCATED, record["requestId"])
    assert read_record(record, NOW) == Skipped(Skip.BODY_MISSING, record["requestId"])


def test_a_body_in_the_record_wants_no_object():
    record = make_record()
    record["input"]["inputBodyS3Path"] = "s3://logs/data/1_input.json.gz"
    assert body_path(record) == ""


def image(source: dict[str, Any]) -> list[dict[str, Any]]:
    block = {"image": {"format": "png", "source": source}}
    return [{"role": "user", "content": [block, {"cachePoint": {"type": "default"}}, {"text": "what is it?"}]}]


def test_an_image_has_the_digest_of_its_bytes_whether_they_are_raw_or_base64():
    png = b"\x89PNG" + bytes(range(256))
    found = touch(body=converse_body(messages=image({"bytes": wire_text(png)})))
    assert found.sketch == digests(Dialect.CONVERSE, converse_body(messages=image({"bytes": png})))


@pytest.mark.parametrize(
    "source",
    [{"s3Location": {"uri": "s3://logs/data/1.png"}}, {"bytes": ""}, {"bytes": "<png>"}, {"bytes": "ab=="}, {}],
)
def test_a_cached_image_without_its_bytes_has_no_digest(source):
    assert why(body=converse_body(messages=image(source))) is Skip.MEDIA_ELSEWHERE
    result = {"toolResult": {"toolUseId": "1", "content": image(source)[0]["content"][:1]}}
    inside = [{"role": "user", "content": [result, {"cachePoint": {"type": "default"}}]}]
    assert why(body=converse_body(messages=inside)) is Skip.MEDIA_ELSEWHERE


def test_an_image_behind_the_last_cache_point_needs_no_bytes():
    messages = [{"role": "user", "content": image({"s3Location": {"uri": "s3://x/y"}})[0]["content"][:1]}]
    assert touch(body=converse_body(messages=messages)).sketch == digests(
        Dialect.CONVERSE, converse_body(messages=messages)
    )


def test_a_document_of_text_has_its_content():
    document = {"document": {"format": "txt", "name": "d", "source": {"text": "contract"}}}
    messages = [{"role": "user", "content": [document, {"cachePoint": {"type": "default"}}]}]
    assert touch(body=converse_body(messages=messages)).sketch == digests(
        Dialect.CONVERSE, converse_body(messages=messages)
    )


# -- never a crash, never a wrong digest --------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in parsed JSON but its root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, item in items for found in [(*path, name), *paths(item, (*path, name))]]


def changed(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], change)
    return copy


RICH = converse_body(
    toolConfig={
        "tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}],
        "toolChoice": {"auto": {}},
    },
    messages=[
        {"role": "user", "content": [{"text": "a"}, {"cachePoint": {"type": "default", "ttl": "5m"}}, {"text": "b"}]}
    ],
    additionalModelRequestFields={"thinking": {"type": "adaptive"}},
)
CALLS = [("Converse", RICH), ("InvokeModel", anthropic_body(tools=[{"name": "t", "input_schema": {"type": "object"}}]))]


@given(call=st.sampled_from(CALLS), data=st.data())
def test_whatever_a_record_is_turned_into_it_is_skipped_or_has_the_digest_of_its_body(call, data):
    operation, body = call
    record = make_record(operation=operation, body=body)
    for _ in range(data.draw(st.integers(1, 3))):
        places = paths(record)
        record = changed(record, data.draw(st.sampled_from(places)), lambda _: data.draw(JSON))
    found = read_record(record, NOW)
    if isinstance(found, ReportedTouch):
        dialect = Dialect.CONVERSE if found.api is Api.CONVERSE else Dialect.ANTHROPIC
        given_body = record["input"]["inputBodyJson"]
        if "anthropic" in found.model_id or dialect is Dialect.CONVERSE:
            assert found.sketch == digests(dialect, given_body)
        assert found.started_at <= NOW


@given(call=st.sampled_from(CALLS), data=st.data())
def test_a_record_cut_anywhere_is_skipped(call, data):
    text = json.dumps(make_record(operation=call[0], body=call[1]))
    assert parse_record(text[: data.draw(st.integers(0, len(text) - 1))]) == Skipped(Skip.TRUNCATED)


@given(JSON)
def test_any_json_object_is_a_record_or_a_reason(value):
    record = parse_record(json.dumps(value))
    if not isinstance(record, Skipped):
        assert isinstance(read_record(record, NOW), Skipped)


# -- to whom it belongs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("registered", "logged", "belongs"),
    [
        (CLAUDE, CLAUDE, True),
        (CLAUDE, f"arn:aws:bedrock:{REGION}:123456789012:inference-profile/{CLAUDE}", True),
        (f"arn:aws:bedrock:{REGION}:123456789012:inference-profile/{CLAUDE}", CLAUDE, True),
        (CLAUDE, CLAUDE.removeprefix("eu."), False),
        (CLAUDE, "us." + CLAUDE.removeprefix("eu."), False),
        (HAIKU_ARN, HAIKU_ARN, True),
        (HAIKU_ARN, CLAUDE, False),
    ],
)
def test_a_profile_is_the_same_by_its_id_and_by_its_arn(registered, logged, belongs):
    prefix = make_prefix(
        model_id=registered,
        api=Api.CONVERSE,
        facts=facts_of(CLAUDE),
        route=Route(REGION),
        sketch=digests(Dialect.CONVERSE, converse_body()),
    )
    (found,) = Matcher([prefix], b"key").match(touch(modelId=logged))
    assert (found.fingerprint == prefix.fingerprint, found.model_id) == (belongs, logged)
