"""Whatever a request or a registry holds, it is either loaded or refused in words; nothing else ever comes out."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepwarm import fingerprint
from keepwarm.dialects import Dialect, dialect_of, read
from keepwarm.errors import ConfigError
from keepwarm.model import Api
from keepwarm.registry import load_catalog, load_registry
from keepwarm.registry.requests import build_request, check_request, make_ping

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
KEY = b"key of the tests"
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "eu.amazon.nova-pro-v1:0"
CATALOG = load_catalog(None)
POINT = {"cachePoint": {"type": "default"}}
CONTROL = {"cache_control": {"type": "ephemeral"}}

CONVERSE = {
    "toolConfig": {
        "tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}, POINT],
        "toolChoice": {"tool": {"name": "t"}},
    },
    "system": [{"text": "s"}, POINT],
    "messages": [
        {"role": "user", "content": [{"text": "q"}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "1", "name": "t", "input": {}}}, POINT]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "1", "content": [{"text": "r"}]}}, {"text": "x"}]},
    ],
    "inferenceConfig": {"maxTokens": 5},
    "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "outputConfig": {"effort": "low", "textFormat": {"type": "json_schema"}},
    "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
}
ANTHROPIC = {
    "anthropic_version": "bedrock-2023-05-31",
    "tools": [{"name": "t", "input_schema": {"type": "object"}} | CONTROL],
    "tool_choice": {"type": "tool", "name": "t"},
    "system": [{"type": "text", "text": "s"} | CONTROL],
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "t", "input": {}} | CONTROL]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "r"}]},
    ],
    "max_tokens": 5,
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "low"},
}
NOVA_BODY = {
    "toolConfig": {"tools": [{"toolSpec": {"name": "t"}}]},
    "system": [{"text": "s"} | POINT],
    "messages": [{"role": "user", "content": [{"text": "q"} | POINT]}],
    "inferenceConfig": {"maxTokens": 5},
}
REQUESTS = [
    (Api.CONVERSE, CLAUDE, CONVERSE),
    (Api.INVOKE_MODEL, CLAUDE, ANTHROPIC),
    (Api.INVOKE_MODEL, NOVA, NOVA_BODY),
    (Api.INVOKE_MODEL, CLAUDE, {"body": ANTHROPIC, "guardrailIdentifier": "g"}),
]
ODD = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", [], [None], ["x"], [[]], {}, {"x": 1}, {"text": 3}, {"type": []}]
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inside for found in [(*path, key), *places(item, (*path, key))]]


@st.composite
def odd_requests(draw: st.DrawFn) -> tuple[Api, str, Any]:
    """A good request in which a few values were replaced, dropped or doubled."""
    api, model_id, request = draw(st.sampled_from(REQUESTS))
    request = copy.deepcopy(request)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(request) or [("x",)]))
        holder: Any = request
        for step in path:
            holder = holder[step]
        change = draw(st.sampled_from(["replace", "drop", "double"]))
        if change == "drop":
            holder.pop(last, None) if isinstance(holder, dict) else holder.pop(last)
        elif change == "double" and isinstance(holder, list):
            holder.insert(last, copy.deepcopy(holder[last]))
        else:
            holder[last] = copy.deepcopy(draw(ODD))
    return api, model_id, request


@settings(max_examples=600, deadline=None)
@given(odd_requests())
def test_an_odd_request_is_refused_in_words_or_its_ping_names_the_same_entry(case):
    api, model_id, data = case
    facts = CATALOG.find(model_id, "eu-central-1")
    dialect = dialect_of(api, facts.family)
    try:
        request = build_request("request.json", data, api, dialect, model_id)
        if check_request(request, facts):
            return
        ping = make_ping(request, facts, KEY)
    except (ConfigError, ValueError) as error:
        assert str(error)  # noqa: PT017 - either way is right
        return
    body = ping.request if api is Api.CONVERSE else json.loads(ping.request["body"])
    again = read(dialect, body)
    assert fingerprint.cache_points(again, KEY)[-1].digest == fingerprint.cache_points(request.reading, KEY)[-1].digest
    assert [block.marker for block in again.cache_points] == [block.marker for block in request.reading.cache_points]


BROKEN = st.recursive(
    st.sampled_from(["1", "a", '""', "null", "true", "2026-12-24", "5m", "always", CLAUDE, "eu-central-1", "converse"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(
            st.sampled_from(["name", "model_id", "text", "input", "timezone", "windows", "steps", "x"]),
            inner,
            max_size=3,
        ).map(lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"),
    ),
    max_leaves=5,
)
KEYS = [
    "name", "model_id", "base_model", "region", "api", "request", "system", "ttl", "busy_hours", "policy", "prewarm",
    "lifetime", "margin", "profile", "role_arn", "provisioned", "tags", "prices", "min_tokens",
]  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entry=st.dictionaries(st.sampled_from(KEYS), BROKEN, max_size=5),
    defaults=st.dictionaries(st.sampled_from(KEYS), BROKEN, max_size=2),
    hours=st.dictionaries(st.sampled_from(["timezone", "windows", "holidays", "except"]), BROKEN, max_size=4),
)
def test_a_registry_of_any_values_is_loaded_or_refused_with_a_line_for_every_problem(tmp_path, entry, defaults, hours):
    good = {"name": "a", "region": "eu-central-1", "api": "converse", "busy_hours": "always", "model_id": CLAUDE}
    whole = good | {"system": "{text: " + "word " * 2000 + "}"} | entry
    lines = ["version: 1", "defaults:", *[f"  {key}: {value}" for key, value in defaults.items()]]
    lines += ["busy_hours:", "  office:", *[f"    {key}: {value}" for key, value in hours.items()]]
    lines += ["prefixes:", "  -", *[f"    {key}: {value}" for key, value in whole.items()]]
    path: Path = tmp_path / "registry.yaml"
    path.write_text("\n".join(lines))
    try:
        assert load_registry(path, CATALOG, KEY, NOW).prefixes
    except ConfigError as error:
        for problem in error.problems:
            assert problem.message
            assert 1 <= problem.line <= len(lines) or problem.file != str(path)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_the_odd_requests_start_from_good_ones(dialect):
    for api, model_id, data in REQUESTS:
        facts = CATALOG.find(model_id, "eu-central-1")
        if dialect_of(api, facts.family) is dialect:
            build_request("request.json", data, api, dialect, model_id)
