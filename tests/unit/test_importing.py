"""What a file is recognised as, and how an entry is put into the text of a registry."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from keepwarm import dialects
from keepwarm.dialects import Dialect
from keepwarm.importing.appending import CannotAppend, append_entry, scalar
from keepwarm.importing.recognising import NotRecognised, parse, recognise, where_a_point_would_go
from keepwarm.model import Api, Family
from keepwarm.registry.document import read_document
from tests.builders import CLAUDE, NOVA

ANTHROPIC: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 500,
    "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "hello"}],
}
CONVERSE: dict[str, Any] = {
    "system": [{"text": "Be kind."}, {"cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": "hello"}]}],
}
NOVA_BODY: dict[str, Any] = {
    "system": [{"text": "Be kind.", "cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": "hello"}]}],
}
ENTRY = {"name": "new", "model_id": CLAUDE, "region": "eu-central-1", "api": "converse", "request": "p/new.json"}


def record(operation: str, body: Any, **more: Any) -> dict[str, Any]:
    return {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": "2026-11-22T20:00:00Z",
        "region": "us-east-1",
        "requestId": "r-1",
        "operation": operation,
        "modelId": CLAUDE,
        "input": {"inputContentType": "application/json", "inputBodyJson": body},
    } | more


@pytest.mark.parametrize(
    ("data", "api", "dialect"),
    [
        (ANTHROPIC, Api.INVOKE_MODEL, Dialect.ANTHROPIC),
        (CONVERSE, Api.CONVERSE, Dialect.CONVERSE),
        (NOVA_BODY, Api.INVOKE_MODEL, Dialect.NOVA),
        ({"modelId": CLAUDE, "body": ANTHROPIC}, Api.INVOKE_MODEL, Dialect.ANTHROPIC),
        ({"modelId": CLAUDE, "body": json.dumps(ANTHROPIC)}, Api.INVOKE_MODEL, Dialect.ANTHROPIC),
        ({"modelId": NOVA, "body": NOVA_BODY}, Api.INVOKE_MODEL, Dialect.NOVA),
        ({"modelId": CLAUDE, **CONVERSE}, Api.CONVERSE, Dialect.CONVERSE),
        (record("InvokeModel", ANTHROPIC), Api.INVOKE_MODEL, Dialect.ANTHROPIC),
        (record("InvokeModelWithResponseStream", NOVA_BODY), Api.INVOKE_MODEL, Dialect.NOVA),
        (record("ConverseStream", CONVERSE), Api.CONVERSE, Dialect.CONVERSE),
        (record("Converse", json.dumps(CONVERSE)), Api.CONVERSE, Dialect.CONVERSE),
        ({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}, Api.INVOKE_MODEL, Dialect.ANTHROPIC),
        ({"messages": [], "inferenceConfig": {"max_new_tokens": 5}}, Api.INVOKE_MODEL, Dialect.NOVA),
        ({"messages": [], "inferenceConfig": {"maxTokens": 5}}, Api.CONVERSE, Dialect.CONVERSE),
    ],
)
def test_a_request_is_recognised_in_every_form(data: Any, api: Api, dialect: Dialect):
    found = recognise(data)
    assert (found.api, found.dialect) == (api, dialect)


def test_a_record_tells_model_region_and_operation():
    found = recognise(record("ConverseStream", CONVERSE))
    assert (found.model_id, found.region, found.operation) == (CLAUDE, "us-east-1", "ConverseStream")
    assert dict(found.data) == CONVERSE


def test_the_model_decides_between_two_kinds_of_bodies_that_look_alike():
    body = {"messages": [], "system": [{"text": "x"}]}
    assert recognise(body, Api.INVOKE_MODEL, Family.NOVA).dialect is Dialect.NOVA
    assert recognise(body, Api.INVOKE_MODEL, Family.ANTHROPIC).dialect is Dialect.ANTHROPIC


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "JSON object"),
        ({"prompt": "secret words"}, "not a request"),
        ({"body": "no json"}, "body that is not JSON"),
        ({"body": [1]}, "not a JSON object"),
        (record("InvokeModel", None), "without a request body"),
        (record("InvokeModel", None, input={"inputBodyS3Path": "s3://b/k"}), "object of its own"),
        (record("CountTokens", CONVERSE), "CountTokens"),
    ],
)
def test_what_is_no_request_is_refused_without_quoting_it(data: Any, message: str):
    with pytest.raises(NotRecognised, match=message) as caught:
        recognise(data)
    assert "secret" not in str(caught.value)


def test_one_line_of_many_is_chosen_by_its_number():
    text = f"{json.dumps(ANTHROPIC)}\n{json.dumps(CONVERSE)}\n"
    assert parse(text, 2) == CONVERSE
    with pytest.raises(NotRecognised, match=r"2 lines of JSON.*--line"):
        parse(text)
    with pytest.raises(NotRecognised, match="no line 3"):
        parse(text, 3)
    with pytest.raises(NotRecognised, match="not JSON in line 1"):
        parse("{,}", 1)
    with pytest.raises(NotRecognised, match="not JSON in line 1"):
        parse("{,}")
    with pytest.raises(NotRecognised, match="too deeply"):
        parse("[" * 100_000)


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        (Dialect.ANTHROPIC, {"system": "x", "messages": []}, '"cache_control".* in system\\[0\\]'),
        (Dialect.ANTHROPIC, {"tools": [{"name": "a"}, {"name": "b"}], "messages": []}, "in tools\\[1\\]"),
        (Dialect.NOVA, {"system": [{"text": "x"}], "messages": []}, '"cachePoint".* in system\\[0\\]'),
        (Dialect.CONVERSE, {"system": [{"text": "x"}, {"text": "y"}]}, "element behind system\\[1\\]"),
        (Dialect.CONVERSE, {"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "into the system text"),
    ],
)
def test_the_best_place_for_a_first_cache_point_is_named(dialect: Dialect, body: Any, expected: str):
    said = where_a_point_would_go(dialects.read(dialect, body), tools_cacheable=True)
    assert re.search(expected, said)


def test_a_model_that_caches_no_tools_gets_no_cache_point_there():
    reading = dialects.read(Dialect.NOVA, {"toolConfig": {"tools": [{"toolSpec": {}}]}, "messages": []})
    assert "system text" in where_a_point_would_go(reading, tools_cacheable=False)


# -- text of registries -------------------------------------------------------------------------------------------

HAND_WRITTEN = """\
# ours
version: 1
prefixes:
  # the bot
  - name: a   # keep
    model_id: m
    tags: {x: y}  # tags
    # margin: 5s

# busy hours come last here
busy_hours:
  office: {timezone: UTC, windows: ["08:00-18:00"]}
"""


def append(tmp_path: Path, text: str) -> str:
    path = tmp_path / "registry.yaml"
    path.write_bytes(text.encode())
    document = read_document(path)
    new = append_entry(text, document, ENTRY)
    path.write_bytes(new.encode())
    after = read_document(path).data
    assert after["prefixes"][-1] == ENTRY
    assert after["prefixes"][:-1] == (document.data.get("prefixes") or [])
    assert {**after, "prefixes": 0} == {**document.data, "prefixes": 0}
    return new


def test_an_entry_goes_behind_the_last_with_its_comments_and_nothing_else_moves(tmp_path: Path):
    new = append(tmp_path, HAND_WRITTEN).splitlines()
    start = new.index("  - name: new")
    assert new[start - 1] == "    # margin: 5s"
    del new[start : start + len(ENTRY)]
    assert new == HAND_WRITTEN.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nprefixes:\n- name: a\n  model_id: m\n",
        "version: 1\nprefixes:\n- name: a\n  model_id: m",
        "version: 1\nprefixes:\n    -   name: a\n        model_id: m\n",
        "version: 1\r\nprefixes:\r\n  - name: a\r\n    model_id: m\r\n",
        "version: 1\nprefixes:\n  - {name: a, model_id: m}\nbusy_hours: {}\n",
        "version: 1\nprefixes:\n  - name: a\n    system:\n      text: |\n        one\n\n        two\n\ndefaults: {}\n",
        "version: 1\nprefixes:\n  - name: a\n    tags:\n      x: y\n      z: >-\n        folded\n        text\n# end\n",
        "version: 1\nprefixes:\n  - name: a\n    tags:\n",
        "version: 1\nprefixes: [{name: a}]\ndefaults: {}\n",
        "version: 1\nprefixes: [\n  {name: a},  # first\n  {name: b}   # second\n]\ndefaults: {}\n",
        'version: 1\nprefixes: ["{name: a}"]\n',
        "version: 1\nprefixes: []\ndefaults: {}\n",
        "version: 1\nprefixes: []  # none yet\ndefaults: {}\n",
        "version: 1\nprefixes:\ndefaults: {}\n",
        "version: 1\n# nothing yet",
        '{"version": 1, "prefixes": [{"name": "a"}]}',
        "version: 1\nprefixes:\n  - name: 'ü\u2028x'\n    model_id: m\ndefaults: {}\n",
    ],
)
def test_registries_of_every_layout_take_one_more_entry(tmp_path: Path, text: str):
    append(tmp_path, text)


def test_entries_that_stand_apart_stay_apart(tmp_path: Path):
    text = "version: 1\nprefixes:\n  - name: a\n\n  # about b\n  - name: b\n"
    assert append(tmp_path, text).endswith("  - name: b\n\n  - name: new\n" + "".join(_lines_of_entry()))


def _lines_of_entry() -> list[str]:
    return [f"    {key}: {value}\n" for key, value in ENTRY.items() if key != "name"]


@pytest.mark.parametrize("text", ['{"version": 1}', "version: 1\nprefixes: {a: b}\n", "version: 1\nprefixes: x\n"])
def test_a_layout_that_cannot_be_added_to_is_told(tmp_path: Path, text: str):
    path = tmp_path / "registry.yaml"
    path.write_text(text)
    with pytest.raises(CannotAppend):
        append_entry(text, read_document(path), ENTRY)


@pytest.mark.parametrize("value", ["null", "True", "1", "1.5", "-x", "a: b", "x #y", "", "é", "a:", '"', "~"])
def test_a_value_that_yaml_could_take_for_something_else_is_quoted(tmp_path: Path, value: str):
    path = tmp_path / "value.yaml"
    path.write_text(f"key: {scalar(value)}\n")
    assert read_document(path).data == {"key": value}
    assert scalar(value).startswith('"')


@pytest.mark.parametrize("value", [CLAUDE, "prefixes/a.json", "1h", "eu-central-1", "arn:aws:bedrock:us-east-1:1:x/y"])
def test_a_plain_value_stays_plain(value: str):
    assert scalar(value) == value
