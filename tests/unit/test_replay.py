"""The ping of a request: the same cache entry, a valid conversation, as little as possible behind the last marker."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm import dialects, fingerprint
from keepwarm.dialects import Dialect
from keepwarm.model import Section, Ttl
from keepwarm.registry.requests import build_request, check_request, make_ping
from keepwarm.replay import ping_body
from tests.builders import CLAUDE, NOVA, facts_of
from tests.conversations import (
    api_of,
    document,
    image,
    last_section,
    mark,
    problems,
    requests,
    text,
    tool,
    tool_result,
    tool_use,
)

KEY = b"a key of this installation"
ALL = list(Dialect)
CLAUDES = [Dialect.ANTHROPIC, Dialect.CONVERSE]
Body = dict[str, Any]


def facts(dialect: Dialect):
    return facts_of(NOVA, "us-east-1") if dialect is Dialect.NOVA else facts_of(CLAUDE)


def ping_of(dialect: Dialect, body: Body, max_tokens: int = 1) -> Body:
    return ping_body(dialects.read(dialect, body), body, max_tokens)


def digests(dialect: Dialect, body: Body) -> list[str]:
    return [point.digest for point in fingerprint.cache_points(dialects.read(dialect, body), KEY)]


def limit_of(dialect: Dialect, body: Body) -> int:
    if dialect is Dialect.ANTHROPIC:
        return body["max_tokens"]
    config = body["inferenceConfig"]
    (limit,) = (config[name] for name in ("maxTokens", "max_new_tokens") if name in config)
    return limit


def request_of(dialect: Dialect, **changes: Any) -> Body:
    """A request with a cached system text and one question."""
    body: Body = {
        "system": mark(dialect, text(dialect, "Be kind.")),
        "messages": [{"role": "user", "content": [text(dialect, "Why?")]}],
    }
    limit = {"max_tokens": 1000} if dialect is Dialect.ANTHROPIC else {"inferenceConfig": {"maxTokens": 1000}}
    return {name: value for name, value in (body | limit | changes).items() if value is not None}


def with_tools(dialect: Dialect, tools: list[Body], choice: str | None = None) -> Body:
    if dialect is Dialect.ANTHROPIC:
        return {"tools": tools} | ({"tool_choice": {"type": "tool", "name": choice}} if choice else {})
    return {"toolConfig": {"tools": tools} | ({"toolChoice": {"tool": {"name": choice}}} if choice else {})}


def tools_of(body: Body) -> list[Body]:
    return body["tools"] if "tools" in body else body["toolConfig"]["tools"]


def turn(role: str, *blocks: Body) -> Body:
    return {"role": role, "content": list(blocks)}


# -- any request --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ALL)
@given(data=st.data())
def test_the_ping_of_any_request_is_valid_small_and_of_the_same_entries(dialect, data):
    body = data.draw(requests(dialect))
    before = deepcopy(body)
    assert not problems(dialect, body)
    ping = ping_of(dialect, body)
    assert not problems(dialect, ping)
    assert limit_of(dialect, ping) == 1
    assert digests(dialect, ping) == digests(dialect, body)
    assert body == before


@pytest.mark.parametrize("dialect", ALL)
@given(data=st.data())
def test_the_ping_of_any_request_keeps_every_block_and_marker_up_to_the_last_and_adds_none(dialect, data):
    body = data.draw(requests(dialect))
    ping = dialects.read(dialect, ping_of(dialect, body))
    production = dialects.read(dialect, body)
    assert ping.cache_points == production.cache_points
    end = production.blocks.index(production.cache_points[-1]) + 1
    assert ping.blocks[:end] == production.blocks[:end]


@pytest.mark.parametrize("dialect", ALL)
@given(data=st.data())
def test_behind_the_last_marker_stand_only_a_tiny_text_and_what_tools_demand(dialect, data):
    body = data.draw(requests(dialect))
    ping = dialects.read(dialect, ping_of(dialect, body))
    behind = ping.blocks[ping.blocks.index(ping.cache_points[-1]) + 1 :]
    texts = [block.content["text"] for block in behind if "text" in block.content]
    assert texts in ([], ["."])
    others = [block for block in behind if "text" not in block.content]
    assert all(block.section is Section.TOOLS or "result" in json.dumps(block.content).lower() for block in others)


@pytest.mark.parametrize("dialect", ALL)
@given(data=st.data(), extra=st.sampled_from(["image", "cited", "plain"]))
def test_a_ping_that_would_name_another_entry_is_refused(dialect, data, extra):
    """Behind the last cache point an image counts for messages before it, and a citation for the system too."""
    body = data.draw(requests(dialect))
    behind = {"image": image(dialect), "cited": document(dialect, cites=True), "plain": text(dialect, "x")}[extra]
    body["messages"] = [*body["messages"], turn("assistant", text(dialect, "Yes.")), turn("user", behind)]
    if extra == "cited":
        body["messages"][-1]["content"].append(text(dialect, "?"))
    counts = {"image": {Section.MESSAGES}, "cited": {Section.MESSAGES, Section.SYSTEM}, "plain": set()}[extra]
    request = build_request("request.json", deepcopy(body), api_of(dialect), dialect, "model")
    if last_section(dialect, body) in counts:
        with pytest.raises(ValueError, match=r"^has an image|^has a document with citations"):
            make_ping(request, facts(dialect), KEY)
    else:
        assert make_ping(request, facts(dialect), KEY).request


@pytest.mark.parametrize("dialect", ALL)
@given(data=st.data())
def test_what_is_sent_is_what_was_proven(dialect, data):
    """The bytes of an InvokeModel body, or the arguments of converse, read as the ping that was compared."""
    body = data.draw(requests(dialect))
    request = build_request("request.json", deepcopy(body), api_of(dialect), dialect, "model")
    assert not check_request(request, facts(dialect))
    sent = make_ping(request, facts(dialect), KEY).request
    sent = sent if dialect is Dialect.CONVERSE else json.loads(sent["body"])
    assert json.dumps(sent, default=bytes.hex) == json.dumps(ping_of(dialect, body), default=bytes.hex)
    assert [name for name in sent if name in body] == [name for name in body if name in sent]


# -- a marker in the tools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", CLAUDES)
def test_a_marked_tool_is_the_last_and_takes_everything_behind_it_along(dialect):
    tools = [tool(dialect, "a"), *mark(dialect, tool(dialect, "b"), Ttl.ONE_HOUR), tool(dialect, "c")]
    ping = ping_of(dialect, request_of(dialect, system=[text(dialect, "Be kind.")], **with_tools(dialect, tools)))
    assert tools_of(ping) == tools[:-1]
    assert "system" not in ping
    assert ping["messages"] == [turn("user", text(dialect, "."))]


@pytest.mark.parametrize("dialect", CLAUDES)
@pytest.mark.parametrize(("choice", "kept"), [("a", "ab"), ("b", "ab"), ("d", "abd")])
def test_the_tool_that_the_choice_insists_on_is_kept(dialect, choice, kept):
    tools = [tool(dialect, "a"), *mark(dialect, tool(dialect, "b")), tool(dialect, "c"), tool(dialect, "d")]
    body = request_of(dialect, system=None, **with_tools(dialect, tools, choice))
    ping = ping_of(dialect, body)
    names = [found.get("name") or found["toolSpec"]["name"] for found in tools_of(ping) if "cachePoint" not in found]
    assert names == list(kept)
    assert not problems(dialect, ping)


@pytest.mark.parametrize("dialect", CLAUDES)
@pytest.mark.parametrize("choice", ["auto", "any"])
def test_a_choice_without_a_name_needs_no_further_tool(dialect, choice):
    tools = [*mark(dialect, tool(dialect, "a")), tool(dialect, "b")]
    body = request_of(dialect, system=None, **with_tools(dialect, tools))
    if dialect is Dialect.ANTHROPIC:
        body["tool_choice"] = {"type": choice}
    else:
        body["toolConfig"]["toolChoice"] = {choice: {}}
    assert tools_of(ping_of(dialect, body)) == tools[:-1]


# -- a marker in the system text ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ALL)
def test_a_marked_system_text_keeps_the_tools_before_it_and_loses_what_follows(dialect):
    system = [*mark(dialect, text(dialect, "Be kind.")), text(dialect, "It is Monday.")]
    body = request_of(dialect, system=system, **with_tools(dialect, [tool(dialect, "a")], "a"))
    ping = ping_of(dialect, body)
    assert ping["system"] == system[:-1]
    assert tools_of(ping) == [tool(dialect, "a")]
    assert ping["messages"] == [turn("user", text(dialect, "."))]


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("messages", [None, []], ids=["no messages", "empty messages"])
def test_a_request_without_messages_gets_a_tiny_one(dialect, messages):
    ping = ping_of(dialect, request_of(dialect, messages=messages))
    assert ping["messages"] == [turn("user", text(dialect, "."))]


# -- a marker in a message ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ALL)
def test_a_marked_user_text_ends_the_conversation(dialect):
    said = mark(dialect, text(dialect, "A long story."))
    first = turn("user", *said, text(dialect, "Why?"))
    body = request_of(
        dialect, messages=[first, turn("assistant", text(dialect, "So.")), turn("user", text(dialect, "?"))]
    )
    assert ping_of(dialect, body)["messages"] == [turn("user", *said)]


@pytest.mark.parametrize("dialect", ALL)
def test_a_marked_assistant_text_is_followed_by_a_tiny_question(dialect):
    said = mark(dialect, text(dialect, "So."))
    before, behind = turn("user", text(dialect, "Why?")), turn("user", text(dialect, "And then?"))
    ping = ping_of(
        dialect, request_of(dialect, messages=[before, turn("assistant", *said, text(dialect, "!")), behind])
    )
    assert ping["messages"] == [before, turn("assistant", *said), turn("user", text(dialect, "."))]


@pytest.mark.parametrize("dialect", CLAUDES)
def test_a_marked_call_is_answered_as_it_was_and_calls_behind_it_are_dropped(dialect):
    calls = [tool_use(dialect, "1", "a"), *mark(dialect, tool_use(dialect, "2", "a")), tool_use(dialect, "3", "a")]
    answers = [tool_result(dialect, identity, "done") for identity in "321"]
    before = turn("user", text(dialect, "Why?"))
    body = request_of(
        dialect,
        messages=[before, turn("assistant", *calls), turn("user", *answers, text(dialect, "And?"))],
        **with_tools(dialect, [tool(dialect, "a")]),
    )
    assert ping_of(dialect, body)["messages"] == [before, turn("assistant", *calls[:-1]), turn("user", *answers[1:])]


@pytest.mark.parametrize("dialect", CLAUDES)
def test_of_several_answers_the_first_is_marked_and_all_are_kept(dialect):
    calls = turn("assistant", *(tool_use(dialect, identity, "a") for identity in "123"))
    marked = mark(dialect, tool_result(dialect, "1", "done"))
    answers = turn("user", *marked, *(tool_result(dialect, identity, "done") for identity in "23"))
    before = turn("user", text(dialect, "Why?"))
    said = turn("user", *answers["content"], text(dialect, "And?"))
    body = request_of(dialect, messages=[before, calls, said], **with_tools(dialect, [tool(dialect, "a")]))
    ping = ping_of(dialect, body)
    assert ping["messages"] == [before, calls, answers]
    assert digests(dialect, ping) == digests(dialect, body)


@pytest.mark.parametrize("dialect", CLAUDES)
def test_a_conversation_that_breaks_off_after_a_call_gets_a_tiny_question(dialect):
    calls = turn("assistant", *mark(dialect, tool_use(dialect, "1", "a")))
    body = request_of(dialect, messages=[turn("user", text(dialect, "Why?")), calls])
    assert ping_of(dialect, body)["messages"][-1] == turn("user", text(dialect, "."))


@pytest.mark.parametrize("dialect", [Dialect.ANTHROPIC, Dialect.NOVA])
def test_messages_of_plain_strings_stay_as_they_are(dialect):
    said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    marked = turn("user", *mark(dialect, text(dialect, "A long story.")))
    assert ping_of(dialect, request_of(dialect, messages=[*said, marked]))["messages"] == [*said, marked]


def test_a_call_answered_by_a_plain_string_gets_a_tiny_question():
    """Bedrock refuses such a request already; the ping must not crash on it."""
    calls = turn("assistant", *mark(Dialect.ANTHROPIC, tool_use(Dialect.ANTHROPIC, "1", "a")))
    body = request_of(
        Dialect.ANTHROPIC, messages=[{"role": "user", "content": "Why?"}, calls, {"role": "user", "content": "So"}]
    )
    assert ping_of(Dialect.ANTHROPIC, body)["messages"][-1]["content"] == [text(Dialect.ANTHROPIC, ".")]


@pytest.mark.parametrize("dialect", CLAUDES)
def test_a_marked_document_keeps_a_text_beside_it_where_the_api_demands_one(dialect):
    """`If you include a document, you must also include a text` (Converse API reference, Message)."""
    body = request_of(dialect, messages=[turn("user", *mark(dialect, document(dialect)), text(dialect, "Sum it up."))])
    ping = ping_of(dialect, body)
    wanted = [text(dialect, ".")] if dialect is Dialect.CONVERSE else []
    assert ping["messages"] == [turn("user", *mark(dialect, document(dialect)), *wanted)]
    assert digests(dialect, ping) == digests(dialect, body)


def test_a_document_with_a_text_before_its_marker_needs_no_other():
    dialect = Dialect.CONVERSE
    said = turn("user", text(dialect, "Sum it up."), *mark(dialect, document(dialect)))
    assert ping_of(dialect, request_of(dialect, messages=[said]))["messages"] == [said]


# -- output limits and thinking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("least", [1, 16])
def test_the_output_limit_is_the_smallest_that_the_model_accepts(dialect, least):
    body = request_of(dialect)
    assert limit_of(dialect, ping_of(dialect, body, least)) == least
    request = build_request("request.json", body, api_of(dialect), dialect, "model")
    sent = make_ping(request, replace(facts(dialect), min_max_tokens=least), KEY).request
    assert limit_of(dialect, sent if dialect is Dialect.CONVERSE else json.loads(sent["body"])) == least


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (None, {"maxTokens": 1}),
        ({"maxTokens": 500, "temperature": 0.5}, {"maxTokens": 1, "temperature": 0.5}),
        ({"max_new_tokens": 500, "top_p": 0.9}, {"max_new_tokens": 1, "top_p": 0.9}),
    ],
)
def test_the_older_name_of_the_limit_is_kept_on_nova(config, wanted):
    assert ping_of(Dialect.NOVA, request_of(Dialect.NOVA, inferenceConfig=config))["inferenceConfig"] == wanted


def test_a_ping_never_streams():
    assert "stream" not in ping_of(Dialect.ANTHROPIC, request_of(Dialect.ANTHROPIC, stream=True))


ENABLED = {"thinking": {"type": "enabled", "budget_tokens": 4096}}


def test_thinking_is_left_out_where_it_does_not_count_for_the_cached_part():
    anthropic = request_of(Dialect.ANTHROPIC, **ENABLED)
    assert "thinking" not in ping_of(Dialect.ANTHROPIC, anthropic)
    converse = request_of(Dialect.CONVERSE, additionalModelRequestFields=ENABLED)
    assert "additionalModelRequestFields" not in ping_of(Dialect.CONVERSE, converse)
    betas = request_of(Dialect.CONVERSE, additionalModelRequestFields=ENABLED | {"anthropic_beta": ["x"]})
    assert ping_of(Dialect.CONVERSE, betas)["additionalModelRequestFields"] == {"anthropic_beta": ["x"]}


@pytest.mark.parametrize("kind", ["adaptive", "disabled"])
def test_thinking_that_needs_no_budget_stays(kind):
    body = request_of(Dialect.ANTHROPIC, thinking={"type": kind})
    assert ping_of(Dialect.ANTHROPIC, body)["thinking"] == {"type": kind}


@pytest.mark.parametrize("dialect", CLAUDES)
def test_thinking_with_a_marked_message_is_refused(dialect):
    thinking = ENABLED if dialect is Dialect.ANTHROPIC else {"additionalModelRequestFields": ENABLED}
    body = request_of(dialect, messages=[turn("user", *mark(dialect, text(dialect, "A story.")))], **thinking)
    request = build_request("request.json", body, api_of(dialect), dialect, "model")
    with pytest.raises(ValueError, match="thinking enabled"):
        make_ping(request, facts(dialect), KEY)


@pytest.mark.parametrize("dialect", ALL)
def test_everything_else_is_sent_as_production_sends_it(dialect):
    kept: dict[Dialect, Body] = {
        Dialect.ANTHROPIC: {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["x"], "temperature": 0.5,
                            "output_config": {"effort": "low", "format": {"type": "json_schema"}}},
        Dialect.CONVERSE: {"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
                           "serviceTier": {"type": "flex"}, "performanceConfig": {"latency": "optimized"}},
        Dialect.NOVA: {"schemaVersion": "messages-v1"},
    }  # fmt: skip
    ping = ping_of(dialect, request_of(dialect, **kept[dialect]))
    assert {name: ping[name] for name in kept[dialect]} == kept[dialect]
