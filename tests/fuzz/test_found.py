"""What fuzzing found, one test each: inputs that once came out as another exception, or quoted too much."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from keepwarm import pauses
from keepwarm.dialects import Dialect
from keepwarm.errors import ConfigError, Problem
from keepwarm.importing.recognising import NotRecognised, recognise
from keepwarm.model import Api, Scope
from keepwarm.pricing import CatalogError, parse_prices
from keepwarm.registry import load_registry
from keepwarm.registry.requests import build_request, read_request
from keepwarm.reporter import delivery
from keepwarm.reporter.passing import Frames
from tests.fuzz.targets import CATALOG, CLAUDE, KEY, NOW, REGION

ENTRY = {
    "name": "a", "model_id": CLAUDE, "region": REGION, "api": "converse", "busy_hours": "always", "min_tokens": 1,
    "system": {"text": "stable"},
}  # fmt: skip
PROMPT = "the secret words of a prompt that somebody wrote at the wrong place of the file " * 4


def refusal(folder: Path, **changes: Any) -> ConfigError:
    """The error of a registry with one entry, changed; JSON is YAML too."""
    path = folder / "registry.yaml"
    path.write_text(json.dumps({"version": 1, "prefixes": [ENTRY | changes]}))
    with pytest.raises(ConfigError) as caught:
        load_registry(path, CATALOG, KEY, NOW)
    return caught.value


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def body_error(body: dict[str, Any], api: Api = Api.CONVERSE, dialect: Dialect = Dialect.CONVERSE) -> str:
    with pytest.raises(ConfigError) as caught:
        build_request("r.json", body, api, dialect, CLAUDE)
    return str(caught.value)


@pytest.mark.parametrize("text", ["!{} 1", "!<tag:{}> 1", "*{}", "!a!{} 1", "a: &b 1\nc: *{}", "? [!{} a]\n: 1"])
def test_a_long_tag_or_alias_is_not_quoted_whole(tmp_path: Path, text: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(text.format("secretwords" * 500))
    with pytest.raises(ConfigError) as caught:
        load_registry(path, CATALOG, KEY, NOW)
    assert max(len(str(problem)) for problem in caught.value.problems) < len(str(path)) + 400


@pytest.mark.parametrize("levels", [100, 400, 600])
@pytest.mark.parametrize("key", ["system", "messages", "guardrailConfig", "additionalModelRequestFields"])
def test_a_request_that_nests_deeply_is_refused_before_the_stack_ends(key: str, levels: int) -> None:
    assert "nested too deeply" in body_error({key: deep(levels)})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 300 + "]" * 300, "must be a JSON object"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "number that is too long"),
        ("{", "not JSON"),
    ],
)
def test_a_body_that_is_text_is_read_as_carefully_as_a_file(text: str, words: str) -> None:
    assert words in body_error({"body": text}, Api.INVOKE_MODEL, Dialect.ANTHROPIC)


def test_bytes_that_are_no_ascii_are_no_base64() -> None:
    image = {"image": {"format": "png", "source": {"bytes": "ü"}}}
    assert "must be base64" in body_error({"messages": [{"role": "user", "content": [image]}]})


@pytest.mark.parametrize("odd", ["x", 1, ["x"], True])
def test_the_settings_of_another_dialect_are_passed_over_whatever_they_are(odd: Any) -> None:
    block = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    found = build_request(
        "r.json", {"system": [block], "messages": [], "toolConfig": odd}, Api.INVOKE_MODEL, Dialect.ANTHROPIC, CLAUDE
    )
    assert len(found.reading.cache_points) == 1


@pytest.mark.parametrize("amount", ["1e999999", 1e300, "1e13", "-1"])
@pytest.mark.parametrize("key", ["day_cap_usd", "cold_start_usd", "tripwire_usd"])
def test_no_amount_is_too_large_to_be_computed_with(tmp_path: Path, key: str, amount: Any) -> None:
    assert "must be USD of 0 or more" in str(refusal(tmp_path, **{key: amount}))


@pytest.mark.parametrize("price", ["1e999999", 1e300, "1000001"])
def test_no_price_is_too_large_to_be_computed_with(price: Any) -> None:
    with pytest.raises(CatalogError, match="at most a million"):
        parse_prices({"input": price, "output": 1, "cache_read": 1}, "prices", "test")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_pause_until_the_end_of_the_calendar_is_refused(moment: str) -> None:
    with pytest.raises(pauses.BadOrder, match="is not a moment"):
        pauses.order_of(Scope.ALL, "", {"why": "x", "until": moment}, (), NOW)


@pytest.mark.parametrize("tag", ["\ud800", "a\0b", "team:" + "x" * 9_000])
def test_no_pause_is_ended_of_a_tag_that_no_ledger_can_hold(tag: str) -> None:
    with pytest.raises(pauses.BadOrder, match="no tag is called so"):
        pauses.order_of(Scope.TAG, tag, {}, (), NOW, resumes=True)


def test_a_record_of_a_long_operation_or_a_deep_body_is_not_recognised() -> None:
    record = {"schemaType": "ModelInvocationLog", "input": {"inputBodyJson": {}}, "operation": PROMPT}
    with pytest.raises(NotRecognised) as caught:
        recognise(record)
    assert len(str(caught.value)) < 150
    with pytest.raises(NotRecognised, match="not JSON"):
        recognise({"input": {"inputBodyJson": "[" * 100_000}, "operation": "Converse"})


@pytest.mark.parametrize("odd", ["x\ny", "\x1b[2J", "\u202egnp", "\ud800", "\x85"])
def test_what_a_key_holds_forges_no_line_of_a_log_and_moves_no_cursor(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps({odd: 1, "modelId": odd}))
    with pytest.raises(ConfigError) as caught:
        read_request(path, Api.CONVERSE, Dialect.CONVERSE, odd)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).isprintable()
    str(caught.value).encode()


def test_a_problem_is_one_line_and_ordinary_letters_stay() -> None:
    assert str(Problem("f.yaml", 3, "ключ", "größer\n\x1b[2J")) == r"f.yaml:3: ключ: größer\n\x1b[2J"


@pytest.mark.parametrize(
    "changes",
    [
        *({key: PROMPT} for key in (
            "name", "region", "api", "ttl", "busy_hours", "policy", "prewarm", "lifetime", "margin", "role_arn",
            "provisioned", "metrics", "day_cap_usd", "cold_start_usd", "prices", "min_tokens", "tags", "system",
        )),
        {PROMPT: 1}, {"prices": {PROMPT: 1}}, {"prices": {"input": PROMPT}}, {"tags": {"a": PROMPT * 2}},
        {"request": [PROMPT]}, {"system": {"text": "x", PROMPT: 1}}, {"policy": {"idle_limit": PROMPT}},
    ],
    ids=lambda changes: f"{next(iter(changes))[:12]}-{str(next(iter(changes.values())))[:12]}",
)  # fmt: skip
def test_a_prompt_at_the_wrong_place_is_not_quoted(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert PROMPT[:110] not in str(refusal(tmp_path, **changes))


@pytest.mark.parametrize("lengths", [(0, 0), (15, 0), (40, 25), (40, 2**32 - 1), (2**32 - 1, 0)])
def test_frames_that_cannot_be_are_no_event_stream_however_they_are_cut(lengths: tuple[int, int]) -> None:
    stream = struct.pack("!II", *lengths) + b"x" * 100
    for size in (1, 13, 108):
        frames = Frames()
        with pytest.raises(ValueError, match="no event stream"):  # noqa: PT012 - whichever piece shows it
            for at in range(0, len(stream), size):
                frames.add(stream[at : at + size])
        assert frames.kept() == ()


@pytest.mark.parametrize(
    "region", ["eu-" + "x" * 6_000 + "-1", "eu-central-" + "1" * 6_000, "eu" + "-x" * 3_000 + "-1"]
)
def test_a_region_is_no_longer_than_aws_names_them(tmp_path: Path, region: str) -> None:
    told = refusal(tmp_path, region=region, model_id="unknown")
    assert "is not an AWS region" in str(told)
    assert len(str(told)) < 500


@pytest.mark.parametrize("name", ["x\ny", "x" * 101, "", "\x1b[2J"])
def test_busy_hours_have_names_that_can_be_shown(tmp_path: Path, name: str) -> None:
    path = tmp_path / "registry.yaml"
    hours = {name: {"timezone": "UTC", "windows": ["Mon 08:00-09:00"]}}
    path.write_text(json.dumps({"version": 1, "busy_hours": hours, "prefixes": [ENTRY]}))
    with pytest.raises(ConfigError, match="must have a name in one line"):
        load_registry(path, CATALOG, KEY, NOW)


@pytest.mark.parametrize("key", ["windows", "holidays", "except"])
def test_long_hours_are_refused_without_being_quoted(tmp_path: Path, key: str) -> None:
    path = tmp_path / "registry.yaml"
    hours = {"timezone": "UTC", "windows": ["Mon 08:00-09:00"]} | {key: PROMPT if key == "holidays" else [PROMPT]}
    path.write_text(json.dumps({"version": 1, "busy_hours": {"h": hours}, "prefixes": [ENTRY]}))
    with pytest.raises(ConfigError, match="longer than 200 characters"):
        load_registry(path, CATALOG, KEY, NOW)


@pytest.mark.parametrize("changes", [{"tags": {"a": "x\ny"}}, {"tags": {"x\x1by": "a"}}, {"profile": "x\ny"}])
def test_what_is_shown_elsewhere_is_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert "one line of printable characters" in str(refusal(tmp_path, **changes))


@pytest.mark.parametrize(
    "answer", ["[" * 100_000, '{"ttl": [], "max_age_seconds": 5}', '{"ttl": "5m", "max_age_seconds": NaN}']
)
def test_what_is_no_answer_of_a_daemon_breaks_no_reporter(answer: str) -> None:
    assert delivery._read_ttl(answer.encode()) == delivery._NOT_A_DAEMON  # noqa: SLF001


def test_a_ttl_that_is_believed_for_ever_is_believed_for_an_hour() -> None:
    told = delivery._read_ttl(b'{"ttl": "1h", "max_age_seconds": 1' + b"0" * 400 + b"}")  # noqa: SLF001
    assert told == delivery.ToldTtl("1h", 3600.0)
