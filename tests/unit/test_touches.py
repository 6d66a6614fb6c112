"""What is taken for a touch, to which prefix it belongs, and what differs when it is only almost like one."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.dialects import Dialect, read
from keepwarm.fingerprint import BlockDigest, SettingDigest, Sketch, cut, sketch, sketch_from_json, sketch_to_json
from keepwarm.model import Api, Prefix, Route, Section, Source, Touch, Ttl, Usage
from keepwarm.replay import with_ttl
from keepwarm.touches import Matcher, Refusal, Refused, ReportedTouch, parse
from tests.builders import CLAUDE, MONDAY, make_prefix

KEY = b"a key of this installation"
DIGEST = "0123456789abcdef0123456789abcdef"
CONTROL = {"cache_control": {"type": "ephemeral"}}
POINT = {"cachePoint": {"type": "default"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
ONE_AT_A_TIME = {"type": "auto", "disable_parallel_tool_use": True}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
CITED = {"type": "document", "source": {"type": "text", "data": "d"}, "citations": {"enabled": True}}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words} | more


def body() -> dict[str, Any]:
    """A request with two blocks in each section and a cache point at the end of each."""
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1000,
        "tools": [{"name": "weather", "input_schema": SCHEMA}, {"name": "clock", "input_schema": SCHEMA} | CONTROL],
        "system": [text("Be kind."), text("Be brief.", **CONTROL)],
        "messages": [
            {"role": "user", "content": [text("Weather?")]},
            {"role": "assistant", "content": [text("Where?", **CONTROL)]},
            {"role": "user", "content": [text("Here.")]},
        ],
    }


def edited(edit: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    found = deepcopy(body())
    edit(found)
    return found


def only_system(found: dict[str, Any]) -> None:
    """Take the cache point off the messages, so that the last one stands in the system."""
    found["messages"][1]["content"][0].pop("cache_control")


def drawn(request: dict[str, Any], dialect: Dialect = Dialect.ANTHROPIC) -> Sketch:
    return cut(sketch(read(dialect, request)))


def registered(request: dict[str, Any] | None = None, **changes: Any) -> Prefix:
    return make_prefix(**{"sketch": drawn(request or body())} | changes)


def reported(request: dict[str, Any] | None = None, **changes: Any) -> ReportedTouch:
    touch = ReportedTouch(
        request_id="r-1",
        started_at=MONDAY,
        api=Api.INVOKE_MODEL,
        model_id=CLAUDE,
        region="eu-central-1",
        source=Source.REPORTER,
        sketch=drawn(request or body()),
    )
    return replace(touch, **changes)


def match(touch: ReportedTouch, *prefixes: Prefix) -> Touch:
    (found,) = Matcher(prefixes or [registered()], KEY).match(touch)
    return found


# -- belonging ----------------------------------------------------------------------------------------------------


def test_a_request_of_a_registered_prefix_belongs_to_it():
    usage = Usage(3, 1, 5_000, 0)
    found = match(reported(usage=usage, latency_ms=400))
    assert found == Touch(
        request_id="r-1",
        prefix="support-bot",
        fingerprint="0123456789abcdef0123456789abcdef",
        group=found.group,
        model_id=CLAUDE,
        region="eu-central-1",
        api=Api.INVOKE_MODEL,
        started_at=MONDAY,
        usage=usage,
        latency_ms=400,
        source=Source.REPORTER,
        ttl=found.ttl,
    )
    assert found.matched
    assert len(found.group) == 32


@pytest.mark.parametrize("sent", list(Ttl))
@pytest.mark.parametrize("known", list(Ttl))
def test_a_request_belongs_to_its_prefix_whichever_ttl_either_asks_for_and_the_touch_says_which(sent, known):
    found = match(reported(asking(sent)), registered(asking(known)))
    assert (found.matched, found.drift, found.ttl) == (True, "", sent)


def asking(ttl: Ttl) -> dict[str, Any]:
    """The registered request with this ttl at all its cache points."""
    return with_ttl(read(Dialect.ANTHROPIC, body()), body(), ttl)


def test_a_longer_request_belongs_to_the_prefix_whose_cache_point_it_bears():
    longer = edited(lambda found: found["messages"].append({"role": "user", "content": [text("And?", **CONTROL)]}))
    assert match(reported(longer)).matched
    assert match(reported(), registered(edited(only_system))).matched


@pytest.mark.parametrize(
    ("change", "drift"), [({"region": "us-east-1"}, ""), ({"api": Api.CONVERSE}, ""), ({"model_id": "m"}, "model_id")]
)
def test_model_region_and_api_must_be_the_same(change, drift):
    found = match(reported(**change))
    assert not found.matched
    assert found.drift == drift
    assert found.prefix == ("support-bot" if drift else "")


def test_prefixes_that_differ_only_in_credentials_are_all_touched():
    mine = registered(name="mine", fingerprint="aa", route=Route("eu-central-1", profile="a"))
    yours = registered(name="yours", fingerprint="bb", route=Route("eu-central-1", profile="b"))
    found = Matcher([mine, yours], KEY).match(reported())
    assert [(touch.prefix, touch.fingerprint, touch.request_id) for touch in found] == [
        ("mine", "aa", "r-1"),
        ("yours", "bb", "r-1"),
    ]


def test_a_request_with_the_cache_points_of_two_prefixes_touches_both():
    short = registered(edited(only_system), name="short", fingerprint="aa")
    long = registered(name="long", fingerprint="bb")
    assert [touch.prefix for touch in Matcher([long, short], KEY).match(reported())] == ["short", "long"]


def test_requests_that_belong_to_nothing_are_grouped_by_their_last_cache_point():
    other = edited(lambda found: found["messages"][2].update(content="There."))
    assert match(reported()).group == match(reported(other)).group
    groups = [
        match(touch).group
        for touch in (reported(), reported(region="r"), reported(model_id="m"), reported(edited(only_system)))
    ]
    assert len(set(groups)) == 4


def test_groups_of_two_installations_have_nothing_in_common():
    assert Matcher([], b"other").match(reported())[0].group != match(reported()).group


@pytest.mark.parametrize("nothing", [None, Sketch(Dialect.CONVERSE, (), ())])
def test_a_request_without_sketch_belongs_to_nothing_and_to_no_group(nothing):
    found = match(reported(sketch=nothing))
    assert (found.prefix, found.fingerprint, found.group, found.drift) == ("", "", "", "")


def test_a_prefix_without_sketch_is_never_matched():
    assert not match(reported(), make_prefix()).matched


# -- drift: one row for each of the invalidation table of the Anthropic prompt caching page -----------------------

INVALIDATES = [
    ("a tool definition", lambda f: f["tools"][1].update(description="Tells the time."), "tools[1] after 1"),
    ("the order of tools", lambda f: f["tools"][0].update(name="clock"), "tools[0] after 0"),
    ("web search", lambda f: f["tools"].append({"type": "web_search_20260101", "name": "web"}), "tools[2] after 2"),
    ("citations", lambda f: f["messages"][2]["content"].append(CITED), "citations"),
    ("speed", lambda f: f.update(speed="fast"), "speed"),
    ("the system text", lambda f: f["system"][0].update(text="Be rude."), "system[0] after 2"),
    ("tool choice", lambda f: f.update(tool_choice={"type": "any"}), "tool_choice"),
    (
        "parallel use",
        lambda f: f.update(tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
        "tool_choice",
    ),
    ("images", lambda f: f["messages"][2]["content"].append(IMAGE), "images"),
    ("images before the cache point", lambda f: f["messages"][0]["content"].append(IMAGE), "images"),
    ("thinking", lambda f: f.update(thinking={"type": "adaptive"}), "thinking"),
    ("effort", lambda f: f.update(output_config={"effort": "low"}), "effort"),
    ("an output schema", lambda f: f.update(output_config={"format": {"schema": SCHEMA}}), "output_format"),
    ("betas", lambda f: f.update(anthropic_beta=["b"]), "betas"),
    ("a message", lambda f: f["messages"][0]["content"][0].update(text="Wind?"), "messages[0] after 4"),
]


@pytest.mark.parametrize(("edit", "drift"), [pytest.param(*row[1:], id=row[0]) for row in INVALIDATES])
def test_what_invalidates_the_entry_is_named(edit, drift):
    found = match(reported(edited(edit)))
    assert not found.matched
    assert found.prefix == "support-bot"
    assert found.drift == drift or found.drift.startswith(f"{drift} equal block")


def test_another_model_with_the_same_prompt_is_named():
    assert match(reported(model_id="anthropic.claude-opus-5")).drift == "model_id"


INVALIDATES_NOTHING = [
    ("sampling and limits", lambda f: f.update(max_tokens=5, temperature=0.5, top_p=0.5, stop_sequences=["x"])),
    ("metadata", lambda f: f.update(metadata={"user_id": "u"})),
    ("another end of the conversation", lambda f: f["messages"][2].update(content="Elsewhere.")),
    ("one cache point more", lambda f: f["messages"][2]["content"][0].update(CONTROL)),
    ("one cache point less", lambda f: f["system"][1].pop("cache_control")),
    ("the order of keys", lambda f: f.update(system=[dict(reversed(block.items())) for block in f["system"]])),
]
COUNTS_LATER = [
    ("tool choice", lambda f: f.update(tool_choice={"type": "any"})),
    ("thinking", lambda f: f.update(thinking={"type": "adaptive"})),
    ("effort", lambda f: f.update(output_config={"effort": "low"})),
    ("images", lambda f: f["messages"][2]["content"].append(IMAGE)),
]


@pytest.mark.parametrize("edit", [pytest.param(row[1], id=row[0]) for row in INVALIDATES_NOTHING])
def test_what_invalidates_nothing_still_matches(edit):
    assert match(reported(edited(edit))).matched


@pytest.mark.parametrize("edit", [pytest.param(row[1], id=row[0]) for row in COUNTS_LATER])
def test_what_counts_for_messages_only_still_matches_a_prefix_that_ends_before_them(edit):
    assert match(reported(edited(edit)), registered(edited(only_system))).matched


def test_cache_points_on_other_blocks_are_named():
    def move(found: dict[str, Any]) -> None:
        only_system(found)
        found["messages"][2]["content"][0].update(CONTROL)

    assert match(reported(edited(move))).drift == "cache_points"
    assert match(reported(edited(only_system))).drift == "cache_points"


def test_another_system_between_the_same_tools_is_named_with_the_blocks_before_it():
    def shorter(found: dict[str, Any]) -> None:
        found["system"] = [text("Be brief.", **CONTROL)]

    assert match(reported(edited(shorter))).drift == "system[0] after 2 equal blocks"


def test_other_tools_before_the_same_system_are_named():
    assert match(reported(edited(lambda found: found["tools"].pop(0)))).drift == "tools[0] after 0 equal blocks"


def test_one_equal_block_is_one_block():
    assert match(reported(edited(lambda f: f["tools"][1].update(name="x")))).drift == "tools[1] after 1 equal block"


def test_several_other_settings_are_all_named():
    def edit(found: dict[str, Any]) -> None:
        found.update(tool_choice={"type": "any"}, thinking={"type": "adaptive"}, temperature=0.3)

    assert match(reported(edited(edit))).drift == "thinking, tool_choice"


def test_a_request_that_has_nothing_in_common_does_not_drift():
    other = {"system": [text("Be gone.", **CONTROL)], "messages": []}
    found = match(reported(other))
    assert (found.prefix, found.drift) == ("", "")


def test_a_prefix_of_one_block_resembles_no_other_text():
    one = {"system": [text("Be kind.", **CONTROL)], "messages": []}
    other = {"system": [text("Be rude.", **CONTROL)], "messages": []}
    assert match(reported(other), registered(one)).drift == ""


def test_the_end_of_a_long_prompt_may_differ():
    def request(*words: str) -> dict[str, Any]:
        blocks = [text(word) for word in words]
        return {"messages": [{"role": "user", "content": [*blocks[:-1], blocks[-1] | CONTROL]}]}

    found = match(reported(request("a", "b", "x")), registered(request("a", "b", "c")))
    assert found.drift == "messages[2] after 2 equal blocks"
    assert match(reported(request("a", "x", "c")), registered(request("a", "b", "c"))).drift == ""


def test_the_prefix_with_most_equal_blocks_is_the_one_that_it_is_like():
    far = registered(edited(lambda found: found["system"][0].update(text="Far.")), name="far", fingerprint="aa")
    near = registered(edited(lambda found: found["system"][1].update(text="Near.")), name="near", fingerprint="bb")
    for prefixes in ([far, near], [near, far]):
        assert match(reported(), *prefixes).prefix == "near"


def test_blocks_of_another_dialect_are_never_alike():
    other = {
        "toolConfig": {"tools": [{"toolSpec": {"name": "x"}}]},
        "system": [{"text": "Be kind."} | POINT],
        "messages": [],
    }
    prefix = registered(sketch=drawn(other, Dialect.NOVA))
    same_blocks = replace(drawn(other, Dialect.NOVA), dialect=Dialect.ANTHROPIC)
    assert match(reported(sketch=same_blocks), prefix).drift == ""


def test_a_converse_request_is_matched_and_compared_too():
    request = {
        "toolConfig": {"tools": [{"toolSpec": {"name": "x"}}]},
        "system": [{"text": "Be kind."}, dict(POINT)],
        "messages": [],
    }
    prefix = registered(sketch=drawn(request, Dialect.CONVERSE), api=Api.CONVERSE)
    assert match(reported(sketch=drawn(request, Dialect.CONVERSE), api=Api.CONVERSE), prefix).matched
    request["system"][0]["text"] = "Be rude."
    found = match(reported(sketch=drawn(request, Dialect.CONVERSE), api=Api.CONVERSE), prefix)
    assert found.drift == "system[0] after 1 equal block"


# -- what comes over the wire -------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)


def wire(**changes: Any) -> dict[str, Any]:
    found = {
        "request_id": "b9d1",
        "started_at": "2026-11-22T19:59:59.123456Z",
        "api": "converse",
        "model_id": CLAUDE,
        "region": "eu-central-1",
        "source": "reporter",
        "latency_ms": 812,
        "usage": {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_read_tokens": 3,
            "cache_write_tokens": 4,
            "cache_write_1h_tokens": None,
        },
        "sketch": sketch_to_json(drawn(body())),
    }
    return found | changes


def hear(raw: Any) -> ReportedTouch | Refused:
    return parse(json.loads(json.dumps(raw)), NOW, Source.HTTP)


def refusal(raw: Any) -> Refusal:
    found = hear(raw)
    assert isinstance(found, Refused), found
    return found.reason


def test_a_whole_touch_is_read():
    assert hear(wire()) == ReportedTouch(
        request_id="b9d1",
        started_at=datetime(2026, 11, 22, 19, 59, 59, 123456, tzinfo=UTC),
        api=Api.CONVERSE,
        model_id=CLAUDE,
        region="eu-central-1",
        source=Source.REPORTER,
        sketch=drawn(body()),
        usage=Usage(1, 2, 3, 4),
        latency_ms=812,
    )


def test_what_is_optional_may_be_missing_or_null():
    names = ("source", "latency_ms", "usage", "sketch")
    left_out = hear({name: value for name, value in wire().items() if name not in names})
    assert left_out == hear(wire(**dict.fromkeys(names)))
    assert (left_out.source, left_out.latency_ms, left_out.usage, left_out.sketch) == (Source.HTTP, None, None, None)


def test_unknown_keys_are_passed_over():
    assert hear(wire(news=1)) == hear(wire())


def test_the_sketch_is_cut_behind_its_last_cache_point():
    assert hear(wire(sketch=sketch_to_json(sketch(read(Dialect.ANTHROPIC, body()))))) == hear(wire())


def test_usage_may_leave_out_what_says_nothing_of_the_cache():
    found = hear(wire(usage={"cache_read_tokens": 3, "cache_write_tokens": 4, "cache_write_1h_tokens": 4}))
    assert found.usage == Usage(0, 0, 3, 4, 4)


@pytest.mark.parametrize(
    ("started_at", "reason"),
    [
        ("2026-11-22T20:01:01Z", Refusal.FUTURE_DATED),
        ("2027-11-22T20:00:00Z", Refusal.FUTURE_DATED),
        ("2026-11-21T18:59:59Z", Refusal.TOO_OLD),
        ("2026-11-22T20:00:00", Refusal.MALFORMED),
        ("0001-01-01T00:00:00+23:00", Refusal.MALFORMED),
        ("yesterday", Refusal.MALFORMED),
        (1795377600, Refusal.MALFORMED),
        (None, Refusal.MALFORMED),
    ],
)
def test_a_moment_that_cannot_be_is_refused(started_at, reason):
    assert refusal(wire(started_at=started_at)) is reason


def test_a_clock_that_is_a_little_ahead_means_now():
    assert hear(wire(started_at="2026-11-22T20:01:00Z")).started_at == NOW
    assert hear(wire(started_at="2026-11-21T19:00:00Z")).started_at == NOW - timedelta(hours=25)


def test_moments_are_kept_in_utc_whatever_zone_they_were_told_in():
    told = hear(wire(started_at="2026-11-22T20:30:00+01:00")).started_at
    assert (told, told.tzinfo) == (datetime(2026, 11, 22, 19, 30, tzinfo=UTC), UTC)
    ahead = parse(wire(started_at="2026-11-22T20:00:30Z"), NOW.astimezone(timezone(timedelta(hours=3))), Source.HTTP)
    assert ahead.started_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        ({"cache_read_tokens": 10**12, "cache_write_tokens": 0}, Refusal.ABSURD_USAGE),
        ({"cache_read_tokens": -1, "cache_write_tokens": 0}, Refusal.ABSURD_USAGE),
        ({"cache_read_tokens": 0, "cache_write_tokens": 5, "cache_write_1h_tokens": 6}, Refusal.ABSURD_USAGE),
        ({"cache_read_tokens": 0, "cache_write_tokens": 5, "input_tokens": 10**8 + 1}, Refusal.ABSURD_USAGE),
        ({"cache_read_tokens": 1.5, "cache_write_tokens": 0}, Refusal.MALFORMED),
        ({"cache_read_tokens": True, "cache_write_tokens": 0}, Refusal.MALFORMED),
        ({"cache_read_tokens": 0}, Refusal.MALFORMED),
        ({"cache_write_tokens": 0}, Refusal.MALFORMED),
        ({}, Refusal.MALFORMED),
        ([], Refusal.MALFORMED),
    ],
)
def test_counts_that_cannot_be_are_refused(usage, reason):
    assert refusal(wire(usage=usage)) is reason


@pytest.mark.parametrize(
    "change",
    [
        {"request_id": ""},
        {"request_id": 5},
        {"request_id": "x" * 256},
        {"request_id": "two\nlines"},
        {"api": "mantle"},
        {"api": ["converse"]},
        {"api": {}},
        {"source": "rumour"},
        {"model_id": ""},
        {"model_id": "m" * 2049},
        {"region": None},
        {"latency_ms": -1},
        {"latency_ms": "812"},
        {"latency_ms": 10**9},
    ],
)
def test_a_touch_of_another_shape_is_refused(change):
    assert refusal(wire(**change)) is Refusal.MALFORMED


@pytest.mark.parametrize("raw", [None, 5, [], "touch", {}])
def test_what_is_no_touch_at_all_is_refused(raw):
    assert hear(raw) == Refused(Refusal.MALFORMED, hear(raw).message, "")


def test_one_of_our_own_pings_is_refused():
    assert refusal(wire(request_metadata={"keepwarm": "ping", "prefix": "support-bot"})) is Refusal.OURS
    assert isinstance(hear(wire(request_metadata={"team": "support"})), ReportedTouch)


def test_a_refusal_names_the_request_as_far_as_it_can_be_read():
    assert hear(wire(started_at="never")).request_id == "b9d1"
    assert hear(wire(request_id=5)).request_id == ""
    assert hear(wire(request_id="x" * 999)).request_id == ""


def test_a_refusal_quotes_nothing():
    secret = "secret-prompt"
    for change in (
        {"started_at": secret},
        {"api": secret},
        {"usage": secret},
        {"sketch": secret},
        {"region": [secret]},
    ):
        assert secret not in hear(wire(**change)).message


# -- sketches over the wire ---------------------------------------------------------------------------------------


def bent(**changes: Any) -> dict[str, Any]:
    return {"dialect": "anthropic", "settings": [], "blocks": [["system", DIGEST, "5m", 9]]} | changes


def test_a_sketch_needs_a_cache_point():
    assert refusal(wire(sketch=bent(blocks=[]))) is Refusal.NO_CACHE_POINT
    assert refusal(wire(sketch=bent(blocks=[["system", DIGEST, None, 9]]))) is Refusal.NO_CACHE_POINT


@pytest.mark.parametrize(
    "raw",
    [
        [],
        "sketch",
        {},
        bent(dialect="latin"),
        bent(dialect=None),
        bent(settings={}),
        bent(settings=None),
        bent(blocks=None),
        bent(blocks=[5]),
        bent(blocks=[["system", DIGEST, "5m"]]),
        bent(blocks=[["footer", DIGEST, "5m", 9]]),
        bent(blocks=[["system", DIGEST, "2h", 9]]),
        bent(blocks=[["system", DIGEST.upper(), "5m", 9]]),
        bent(blocks=[["system", "the prompt itself", "5m", 9]]),
        bent(blocks=[["system", None, "5m", 9]]),
        bent(blocks=[["system", DIGEST, "5m", -1]]),
        bent(blocks=[["system", DIGEST, "5m", 1.5]]),
        bent(blocks=[["system", DIGEST, "5m", True]]),
        bent(blocks=[["messages", DIGEST, None, 9], ["system", DIGEST, "5m", 9]]),
        bent(blocks=[["system", DIGEST, "5m", 9]] * 257),
        bent(settings=[["messages", "tool_choice", DIGEST]] * 33),
        bent(settings=[["messages", "The text of a prompt", DIGEST]]),
        bent(settings=[["messages", 5, DIGEST]]),
        bent(settings=[["messages", "tool_choice", "x"]]),
        bent(settings=[["messages", "tool_choice"]]),
    ],
)
def test_a_sketch_of_another_shape_is_refused(raw):
    assert refusal(wire(sketch=raw)) is Refusal.MALFORMED


def test_a_sketch_of_256_blocks_is_taken():
    assert isinstance(hear(wire(sketch=bent(blocks=[["system", DIGEST, "5m", 9]] * 256))), ReportedTouch)


digests = st.text("0123456789abcdef", min_size=32, max_size=32)
markers = st.sampled_from([None, *Ttl])
blocks = st.builds(BlockDigest, st.just(Section.SYSTEM), digests, markers, st.integers(0, 10**9))
settings = st.builds(SettingDigest, st.sampled_from(Section), st.text("abc_", min_size=1, max_size=32), digests)
some_settings, some_blocks = (st.lists(kind, max_size=32).map(tuple) for kind in (settings, blocks))


@given(st.builds(Sketch, st.sampled_from(Dialect), some_settings, some_blocks))
def test_a_sketch_survives_the_wire(found):
    assert sketch_from_json(json.loads(json.dumps(sketch_to_json(found)))) == found


def test_what_stands_behind_the_last_cache_point_changes_no_sketch():
    longer = edited(lambda found: found["messages"].append({"role": "user", "content": "More."}))
    assert drawn(longer) == drawn(body())
    assert drawn({"system": "Be kind.", "messages": []}).blocks == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(wire())), json_values)
def test_no_json_whatever_breaks_the_reading(name, value):
    assert isinstance(hear(wire(**{name: value})), ReportedTouch | Refused)


@given(st.sampled_from(["dialect", "settings", "blocks"]), json_values)
def test_no_sketch_whatever_breaks_the_reading(name, value):
    assert isinstance(hear(wire(sketch=bent(**{name: value}))), ReportedTouch | Refused)
