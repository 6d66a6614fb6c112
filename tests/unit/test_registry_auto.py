"""`ttl: auto`, `prewarm: {lead}`, `cold_start_usd` and `policy`: what the registry makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from keepwarm import dialects, fingerprint
from keepwarm.dialects import Dialect
from keepwarm.errors import Problem
from keepwarm.model import AdaptivePolicy, Api, BusyHoursPolicy, IdleLimitPolicy, Prefix, Ttl
from keepwarm.planner import default_margin
from keepwarm.replay import with_ttl
from tests.builders import make_prefix
from tests.unit.test_registry import CLAUDE, KEY, POINT, POINT_1H, QUESTION, TEXT, Desk, sent

MINUTE = timedelta(minutes=1)
BOTH = (Ttl.FIVE_MINUTES, Ttl.ONE_HOUR)
TOOL = {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}
CONVERSE = {
    "toolConfig": {"tools": [TOOL, POINT_1H]},
    "system": [{"text": TEXT}, POINT_1H, {"text": "It is Monday."}],
    "messages": [{"role": "user", "content": [{"text": "A long document."}, POINT, {"text": "What does it say?"}]}],
}
ANTHROPIC = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 800,
    "tools": [{"name": "look", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
    "system": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "Hello."}],
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def body(prefix: Prefix) -> Any:
    found = sent(prefix)
    return found.get("body", found)


def reading(prefix: Prefix) -> dialects.Reading:
    return dialects.read(dialects.dialect_of(prefix.api, prefix.facts.family), body(prefix))


def unmarked(value: Any) -> Any:
    """A request without its markers, whatever they ask for."""
    if isinstance(value, list):
        return [unmarked(item) for item in value if not (isinstance(item, dict) and set(item) == {"cachePoint"})]
    if isinstance(value, dict):
        return {name: unmarked(item) for name, item in value.items() if name != "cache_control"}
    return value


@pytest.mark.parametrize(("api", "request_"), [(Api.CONVERSE, CONVERSE), (Api.INVOKE_MODEL, ANTHROPIC)])
def test_with_auto_the_other_ttl_stands_on_every_cache_point_and_nothing_else_changes(desk, api, request_):
    prefix = desk.entry(f"ttl: auto\napi: {api}", request_)
    other = prefix.asking(Ttl.ONE_HOUR)

    assert (prefix.auto_ttl, prefix.ttl, other.ttl) == (True, *BOTH)
    assert {point.marker for point in reading(other).cache_points} == {Ttl.ONE_HOUR}
    assert len(reading(other).cache_points) == len(reading(prefix).cache_points)
    assert json.dumps(unmarked(body(other))) == json.dumps(unmarked(body(prefix)))


@pytest.mark.parametrize(("api", "request_"), [(Api.CONVERSE, CONVERSE), (Api.INVOKE_MODEL, ANTHROPIC)])
def test_with_auto_both_pings_name_the_entry_of_the_request_in_its_file(desk, api, request_):
    fixed = desk.entry(f"api: {api}", request_)
    prefix = desk.entry(f"ttl: auto\napi: {api}", request_)

    digests = {fingerprint.cache_points(reading(prefix.asking(ttl)), KEY)[-1].digest for ttl in BOTH}
    assert digests == {fingerprint.cache_points(reading(fixed), KEY)[-1].digest}
    assert {prefix.asking(ttl).fingerprint for ttl in BOTH} == {fixed.fingerprint}
    assert body(prefix) == body(fixed)


def test_with_auto_the_request_in_its_file_is_left_as_it_is_and_its_ttl_is_the_default(desk):
    request = {"system": [{"text": TEXT}, POINT_1H], "messages": QUESTION}
    prefix = desk.entry("ttl: auto", request)
    assert prefix.ttl is Ttl.ONE_HOUR
    assert body(prefix)["system"] == request["system"]
    assert body(prefix.asking(Ttl.FIVE_MINUTES))["system"][-1] == {"cachePoint": {"type": "default", "ttl": "5m"}}


@pytest.mark.parametrize("api", list(Api))
def test_a_system_text_with_auto_asks_for_five_minutes_first(desk, api):
    prefix = desk.entry(f"ttl: auto\napi: {api}\nsystem: {{text: '{TEXT}'}}")
    assert prefix.ttl is Ttl.FIVE_MINUTES
    assert [point.marker for point in reading(prefix.asking(Ttl.ONE_HOUR)).cache_points] == [Ttl.ONE_HOUR]


def test_with_auto_each_ttl_has_the_lifetime_and_margin_of_its_own(desk):
    prefix = desk.entry("ttl: auto")
    assert [(prefix.asking(ttl).lifetime, prefix.asking(ttl).margin) for ttl in BOTH] == [
        (ttl.duration, default_margin(ttl, ttl.duration)) for ttl in BOTH
    ]


def test_with_auto_a_lifetime_and_margin_of_ones_own_are_those_of_the_file_and_scaled_for_the_other(desk):
    prefix = desk.entry("ttl: auto\nlifetime: 6s\nmargin: 2s")
    other = prefix.asking(Ttl.ONE_HOUR)
    assert (other.lifetime, other.margin) == (timedelta(seconds=72), timedelta(seconds=24))


def test_a_prefix_whose_ttl_is_fixed_asks_for_no_other(desk):
    prefix = desk.entry("ttl: 5m")
    assert prefix.asking(Ttl.ONE_HOUR) is prefix
    assert not prefix.auto_ttl


def test_auto_with_a_policy_that_never_chooses_is_warned_of(desk):
    desk.entry("ttl: auto\npolicy: busy_hours")
    warned = desk.load((desk.path / "registry.yaml").read_text()).warnings
    assert [(problem.key, problem.message) for problem in warned] == [
        ("prefixes[0].ttl", "is auto, but policy busy_hours never chooses: 5m is always asked for")
    ]


@pytest.mark.parametrize(
    ("written", "policy"),
    [("adaptive", AdaptivePolicy()), ("busy_hours", BusyHoursPolicy()), ("{idle_limit: 2}", IdleLimitPolicy(2))],
)
def test_every_policy_has_its_name(desk, written, policy):
    assert desk.entry(f"policy: {written}").policy == policy


@pytest.mark.parametrize(
    ("written", "prewarm", "lead"),
    [("true", True, 0 * MINUTE), ("false", False, 0 * MINUTE), ("{lead: 2m}", True, 2 * MINUTE)],
)
def test_prewarm_says_whether_and_how_long_before_the_opening(desk, written, prewarm, lead):
    prefix = desk.entry(f"prewarm: {written}")
    assert (prefix.prewarm, prefix.prewarm_lead) == (prewarm, lead)


def test_a_lead_that_nothing_pays_for_is_warned_of(desk):
    (told,) = [problem for problem in warnings(desk, "prewarm: {lead: 2m}") if problem.key == "prefixes[0].prewarm"]
    assert told.message == "has a lead, but cold_start_usd is 0: once traffic is known, adaptive writes nothing ahead"
    for paid in ("cold_start_usd: 0.02", "policy: busy_hours"):
        assert not [one for one in warnings(desk, f"prewarm: {{lead: 2m}}\n{paid}") if one.key.endswith("prewarm")]


def test_what_a_cold_start_is_worth_is_read_exactly(desk):
    assert desk.entry("cold_start_usd: 0.02").cold_start_usd == Decimal("0.02")


@pytest.mark.parametrize("ttl", BOTH)
def test_nova_bodies_take_the_ttl_in_their_own_place(ttl):
    nova = {"system": [{"text": "Answer."} | POINT], "messages": [{"role": "user", "content": [{"text": "x"} | POINT]}]}
    asking = with_ttl(dialects.read(Dialect.NOVA, nova), nova, ttl)
    assert {point.marker for point in dialects.read(Dialect.NOVA, asking).cache_points} == {ttl}
    assert nova["system"] == [{"text": "Answer."} | POINT], "the request of the file stays as it was"


def test_a_prefix_that_nobody_made_a_second_request_for_stays_itself():
    prefix = make_prefix(auto_ttl=True)
    assert prefix.asking(Ttl.ONE_HOUR) is prefix
    assert CLAUDE in prefix.model_id


def test_with_auto_a_cap_is_measured_against_the_dearer_write(desk):
    capped = "ping_cap_usd: 0.017"  # between a write at 5m and one at 1h
    assert not [problem for problem in warnings(desk, capped) if problem.key.endswith("ping_cap_usd")]
    (told,) = [problem for problem in warnings(desk, f"ttl: auto\n{capped}") if problem.key.endswith("ping_cap_usd")]
    assert "none is ever sent" in told.message


def warnings(desk: Desk, keys: str) -> Sequence[Problem]:
    desk.entry(keys)
    return desk.load((desk.path / "registry.yaml").read_text()).warnings
