"""What is refused, in the error shape that boto3 reads; a refused request writes and reads nothing."""

from __future__ import annotations

import json

import pytest

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLAUDE_5M_ONLY = "eu.anthropic.claude-3-7-sonnet-20250219-v1:0"
NOVA = "eu.amazon.nova-pro-v1:0"
MARK = {"cache_control": {"type": "ephemeral"}}
MARK_1H = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
POINT = {"cachePoint": {"type": "default"}}
POINT_1H = {"cachePoint": {"type": "default", "ttl": "1h"}}
TOOL = {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}


def text(words, **more):
    return {"type": "text", "text": words} | more


def user(*content):
    return {"role": "user", "content": list(content)}


def assistant(*content):
    return {"role": "assistant", "content": list(content)}


def tool_use(name):
    return {"type": "tool_use", "id": name, "name": "look", "input": {}}


def tool_result(name):
    return {"type": "tool_result", "tool_use_id": name, "content": "seen"}


REFUSED_BODIES = {
    "no api version": ({"anthropic_version": None}, "anthropic_version: Field required"),
    "a wrong api version": ({"anthropic_version": "claude-3"}, "Invalid API version: claude-3"),
    "no output limit": ({"max_tokens": None}, "max_tokens: Field required"),
    "an output limit of zero": ({"max_tokens": 0}, "must be greater than or equal to 1"),
    "an output limit in words": ({"max_tokens": "one"}, "valid integer"),
    "no messages": ({"messages": []}, "at least one message"),
    "messages left out": ({"messages": None}, "at least one message"),
    "an unknown role": ({"messages": [{"role": "tool", "content": "hi"}]}, 'should be "user" or "assistant"'),
    "an assistant who begins": ({"messages": [assistant(text("a")), user(text("b"))]}, "must start with a user"),
    "an assistant who ends": ({"messages": [user(text("b")), assistant(text("a"))]}, "must end with a user"),
    "an empty message": ({"messages": [user()]}, "must have non-empty content"),
    "an empty text": ({"messages": [user(text(""))]}, "messages.0.content.0: text content blocks must be non-empty"),
    "a blank system text": ({"system": " \n"}, "system.0: text content blocks must be non-empty"),
    "content that is no list": ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    "a message that is no object": ({"messages": ["hi"]}, "messages[0]"),
    "a tool use without its result": (
        {"messages": [user(text("a")), assistant(tool_use("t1"), tool_use("t2")), user(tool_result("t1"))]},
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t2",
    ),
    "a tool result without its use": (
        {"messages": [user(tool_result("t1"))]},
        "messages.0: unexpected `tool_use_id` found in `tool_result` blocks: t1",
    ),
    "thinking without a budget": ({"thinking": {"type": "enabled"}}, "budget_tokens: Field required"),
    "thinking with a tiny budget": (
        {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 1023}},
        "greater than or equal to 1024",
    ),
    "thinking up to the output limit": (
        {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
    "a fifth cache point": (
        {"messages": [user(*(text(f"t{index}", **MARK) for index in range(5)))], "system": None},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "an hour after five minutes": (
        {"system": [text("s", **MARK)], "messages": [user(text("m", **MARK_1H))]},
        "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block",
    ),
    "a lifetime that does not exist": (
        {"system": [text("s", cache_control={"type": "ephemeral", "ttl": "2h"})]},
        "system[0].cache_control.ttl: must be 5m or 1h",
    ),
    "a cache point on an empty text": ({"system": [text("", **MARK)]}, "cannot bear a cache point"),
    "automatic caching": (MARK, "cache_control"),
}


@pytest.mark.parametrize("case", REFUSED_BODIES)
def test_invoke_model_refuses(bench, case):
    changes, words = REFUSED_BODIES[case]
    code, status, message = bench.refusal(lambda: bench.invoke(**changes))
    assert (code, status) == ("ValidationException", 400)
    assert words in message
    assert bench.invoke()[0]["usage"]["cache_creation_input_tokens"] == 2000


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(bench, body):
    code, status, message = bench.refusal(lambda: bench.client().invoke_model(modelId=CLAUDE, body=body))
    assert (code, status) == ("ValidationException", 400)
    assert message.startswith("Malformed input request")


REFUSED_CONVERSATIONS = {
    "a cache point before everything": ({"system": [POINT]}, "cannot stand first"),
    "two cache points after one block": ({"system": [{"text": "s"}, POINT, POINT]}, "two cache points"),
    "a cache point that opens a message": ({"messages": [user(POINT, {"text": "m"})]}, "cannot stand first"),
    "an hour after five minutes": (
        {"system": [{"text": "s"}, POINT, {"text": "t"}, POINT_1H]},
        "must not come after a ttl='5m'",
    ),
    "an hour that the model does not sell": (
        {"modelId": CLAUDE_5M_ONLY, "system": [{"text": "s"}, POINT_1H]},
        "1h is not supported by this model",
    ),
    "a cache point among the tools of Nova": (
        {"modelId": NOVA, "toolConfig": {"tools": [TOOL, POINT]}},
        "Malformed input request: #/toolConfig/tools/1",
    ),
    "a cache point after a tool result on Nova": (
        {
            "modelId": NOVA,
            "messages": [
                user({"text": "m"}),
                assistant({"toolUse": {"toolUseId": "t1", "name": "look", "input": {}}}),
                user({"toolResult": {"toolUseId": "t1", "content": [{"text": "seen"}]}}, POINT),
            ],
        },
        "extraneous key [cachePoint] is not permitted",
    ),
    "a tool use without its result": (
        {
            "messages": [
                user({"text": "m"}),
                assistant({"toolUse": {"toolUseId": "t1", "name": "look", "input": {}}}),
                user({"text": "n"}),
            ]
        },
        "without `tool_result` blocks immediately after: t1",
    ),
    "thinking up to the output limit": (
        {
            "inferenceConfig": {"maxTokens": 1},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        },
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
}


@pytest.mark.parametrize("case", REFUSED_CONVERSATIONS)
def test_converse_refuses(bench, case):
    changes, words = REFUSED_CONVERSATIONS[case]
    code, status, message = bench.refusal(lambda: bench.client().converse(**bench.converse(**changes)))
    assert (code, status) == ("ValidationException", 400)
    assert words in message


def test_streams_are_refused_like_plain_calls(bench):
    code, _, _ = bench.refusal(lambda: bench.client().converse_stream(**bench.converse(system=[POINT])))
    assert code == "ValidationException"


@pytest.mark.parametrize(
    ("model_id", "code", "words"),
    [
        ("anthropic.claude-nonesuch", "ValidationException", "The provided model identifier is invalid."),
        ("eu.meta.llama4-scout-17b-instruct-v1:0", "AccessDeniedException", "You invoked an unsupported model"),
        ("mistral.mistral-large-3", "AccessDeniedException", "did not allow prompt caching"),
        ("anthropic.claude-mythos-5", "ValidationException", "on-demand throughput isn\u2019t supported"),
    ],
)
def test_a_model_that_cannot_be_asked_is_refused(bench, model_id, code, words):
    found, status, message = bench.refusal(lambda: bench.client().converse(**bench.converse(modelId=model_id)))
    assert (found, status) == (code, 403 if code == "AccessDeniedException" else 400)
    assert words in message


@pytest.mark.parametrize("metadata", ["{", "{}", '{"a": 1}', json.dumps({str(index): "x" for index in range(17)})])
def test_request_metadata_must_be_up_to_sixteen_pairs_of_strings(bench, metadata):
    body = json.dumps(bench.anthropic())
    send = lambda: bench.client().invoke_model(modelId=CLAUDE, body=body, requestMetadata=metadata)  # noqa: E731
    assert bench.refusal(send)[0] == "ValidationException"


def test_a_cache_point_on_the_tools_of_claude_is_accepted(bench):
    tool = {"toolSpec": {"name": "look", "description": "d" * 5000, "inputSchema": {"json": {"type": "object"}}}}
    tools = {"tools": [tool, POINT]}
    assert bench.billed(system=None, toolConfig=tools)[2] > 1024


def test_a_tool_call_with_its_result_is_accepted(bench):
    messages = [user(text("a")), assistant(tool_use("t1")), user(tool_result("t1"), text("go on"))]
    assert bench.invoke(messages=messages)[0]["usage"]["cache_creation_input_tokens"] == 2000


def test_thinking_within_the_output_limit_is_accepted(bench):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert bench.invoke(max_tokens=1025, thinking=thinking)[0]["usage"]["output_tokens"] == 1


def test_converse_needs_no_output_limit(bench):
    assert bench.client().converse(**bench.converse(inferenceConfig=None))["stopReason"] == "end_turn"
