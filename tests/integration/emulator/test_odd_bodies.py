"""Bodies that no SDK would send: each gets an answer or a refusal, and none an accident."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.emulator.service import Service
from keepwarm.emulator.wire import parse_call

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=AKIA1/20261122/eu-west-1/bedrock/aws4_request, SignedHeaders=x"}
CONVERSE = {
    "system": [{"text": "s"}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
    "toolConfig": {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {}}}}]},
    "messages": [
        {"role": "user", "content": [{"text": "m"}, {"cachePoint": {"type": "default"}}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "look", "input": {}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "seen"}]}}]},
    ],
    "inferenceConfig": {"maxTokens": 2000},
    "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "requestMetadata": {"keepwarm": "ping"},
}
ANTHROPIC = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 2000,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "tools": [{"name": "look", "input_schema": {}}],
    "output_config": {"format": {}, "effort": "low"},
    "messages": [
        {"role": "user", "content": "m"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "seen"}]},
    ],
}
NOVA = {
    "system": [{"text": "s", "cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": "m"}]}],
    "toolConfig": CONVERSE["toolConfig"],
    "inferenceConfig": {"max_new_tokens": 1},
}
CALLS = [
    ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "converse", CONVERSE),
    ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "invoke", ANTHROPIC),
    ("eu.amazon.nova-pro-v1:0", "invoke", NOVA),
    ("anthropic.claude-sonnet-5", "count-tokens", {"input": {"converse": CONVERSE}}),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def places(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


def with_replaced(body, path, value):
    if not path:
        return value
    changed = copy.deepcopy(body)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return changed


@pytest.fixture(scope="module")
def status_of(catalog):
    """The status of one answer; a function, because hypothesis would print a whole catalog."""

    def serve(model_id: str, action: str, body: str) -> int:
        service = Service(catalog=catalog, latency_scale=0)
        return service.serve(parse_call("POST", f"/model/{model_id}/{action}", SIGNED, body.encode()), NOW).status

    return serve


@pytest.mark.parametrize(("model_id", "action", "body"), CALLS)
def test_the_body_is_accepted_as_it_stands(status_of, model_id, action, body):
    assert status_of(model_id, action, json.dumps(body)) == 200


PLACES = [(model_id, action, body, path) for model_id, action, body in CALLS for path in places(body)]


@given(place=st.integers(0, len(PLACES) - 1), value=values)
def test_any_part_may_be_replaced_by_anything(status_of, place, value):
    model_id, action, body, path = PLACES[place]
    odd = json.dumps(with_replaced(body, path, value))
    assert status_of(model_id, action, odd) in {200, 400}


@pytest.mark.parametrize("depth", [100, 300, 450, 600, 900, 2000])
def test_deep_nesting_is_answered_or_refused(status_of, depth):
    nested = json.dumps(ANTHROPIC).replace('"input": {}', '"input": ' + '{"a":' * depth + "1" + "}" * depth)
    assert status_of(CALLS[0][0], "invoke", nested) in {200, 400}


def test_only_so_many_requests_are_remembered_for_their_chances(catalog):
    service = Service(catalog=catalog, latency_scale=0, remembered_requests=2)
    ids = []
    for body in (b"1", b"2", b"3", b"1", b"3"):
        reply = service.serve(parse_call("POST", "/model/x/invoke", SIGNED, body), NOW)
        ids.append(dict(reply.headers)["x-amzn-RequestId"])
    assert ids[3] == ids[0]  # forgotten, so it is the first of its kind again
    assert ids[4] != ids[2]
