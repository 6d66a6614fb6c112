"""What makes two prompts the same cache entry, by the invalidation table of the Anthropic prompt caching page."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.dialects import Dialect, read
from keepwarm.fingerprint import cache_points, canonical, combine, positions
from keepwarm.model import Section, Ttl

KEY = b"a key of this installation"
T, S, M = Section.TOOLS, Section.SYSTEM, Section.MESSAGES
ALL = {T, S, M}

CONTROL = {"cache_control": {"type": "ephemeral"}}
POINT = {"cachePoint": {"type": "default"}}
TOOL_USE_INPUT = {"city": "Berlin", "days": 3}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}


def reordered(value: Any) -> Any:
    """The same JSON with the keys of every object backwards."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


# -- one full request in each dialect, with a cache point at the end of every section that may have one ------------


def anthropic() -> dict:
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 1000,
        "tools": [
            {"name": "weather", "description": "Tells the weather.", "input_schema": deepcopy(SCHEMA)},
            {"name": "clock", "description": "Tells the time.", "input_schema": {"type": "object"}} | CONTROL,
        ],
        "system": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be brief."} | CONTROL],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "1", "name": "weather", "input": dict(TOOL_USE_INPUT)}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "Rain."} | CONTROL]},
        ],
    }


def converse() -> dict:
    weather = {"name": "weather", "description": "Tells the weather.", "inputSchema": {"json": deepcopy(SCHEMA)}}
    clock = {"name": "clock", "description": "Tells the time.", "inputSchema": {"json": {"type": "object"}}}
    result = {"toolUseId": "1", "content": [{"text": "Rain."}]}
    return {
        "toolConfig": {"tools": [{"toolSpec": weather}, {"toolSpec": clock}, dict(POINT)]},
        "system": [{"text": "Be kind."}, {"text": "Be brief."}, dict(POINT)],
        "messages": [
            {"role": "user", "content": [{"text": "Weather?"}]},
            {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "1", "name": "weather", "input": dict(TOOL_USE_INPUT)}}],
            },
            {"role": "user", "content": [{"toolResult": result}, dict(POINT)]},
        ],
        "inferenceConfig": {"maxTokens": 1000},
    }


def nova() -> dict:
    body = converse()
    body["toolConfig"]["tools"].pop()
    body["system"] = [{"text": "Be kind."}, {"text": "Be brief."} | POINT]
    body["messages"][2]["content"] = [{"text": "Rain."} | POINT]
    return body


REQUESTS = {Dialect.ANTHROPIC: anthropic, Dialect.CONVERSE: converse, Dialect.NOVA: nova}


def ends(dialect: Dialect, body: dict) -> dict[Section, str]:
    """The digest of the last position of each section, which is its last cache point where it may have one."""
    return {position.section: position.digest for position in positions(read(dialect, body), KEY)}


def changed(dialect: Dialect, before: dict, after: dict) -> set[Section]:
    old, new = ends(dialect, before), ends(dialect, after)
    return {section for section in Section if old.get(section) != new.get(section)}


def put(*path: str | int, to: Any) -> Callable[[dict], None]:
    """An edit: set one place of a request."""

    def edit(body: dict) -> None:
        holder: Any = body
        for step in path[:-1]:
            holder = holder.setdefault(step, {}) if isinstance(holder, dict) else holder[step]
        holder[path[-1]] = to

    return edit


def add(*path: str | int, block: Any) -> Callable[[dict], None]:
    """An edit: append a block to a list of a request."""

    def edit(body: dict) -> None:
        holder: Any = body
        for step in path:
            holder = holder[step]
        holder.append(block)

    return edit


def swap_tools(body: dict) -> None:
    tools = body["tools"] if "tools" in body else body["toolConfig"]["tools"]
    tools[0], tools[1] = tools[1], tools[0]
    if "cache_control" in tools[0]:
        tools[1]["cache_control"] = tools[0].pop("cache_control")


PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
IMAGE = {"type": "image", "source": PNG}
CONVERSE_IMAGE = {"image": {"format": "png", "source": {"bytes": b"hi"}}}
JSON_FORMAT = {"type": "json_schema", "schema": SCHEMA}
CITED = {"type": "document", "source": {"type": "text", "data": "d"}, "citations": {"enabled": True}}
A, C, N = Dialect.ANTHROPIC, Dialect.CONVERSE, Dialect.NOVA

INVALIDATES = [
    ("a tool's name", A, put("tools", 0, "name", to="x"), ALL),
    ("a tool's name", C, put("toolConfig", "tools", 0, "toolSpec", "name", to="x"), ALL),
    ("a tool's name", N, put("toolConfig", "tools", 0, "toolSpec", "name", to="x"), ALL),
    ("a tool's description", A, put("tools", 1, "description", to="x"), ALL),
    ("a tool's schema", A, put("tools", 0, "input_schema", "properties", "city", "type", to="number"), ALL),
    ("the order of a schema's keys", A, put("tools", 0, "input_schema", to=reordered(SCHEMA)), ALL),
    (
        "the order of a schema's keys",
        C,
        put("toolConfig", "tools", 0, "toolSpec", "inputSchema", "json", to=reordered(SCHEMA)),
        ALL,
    ),
    ("the order of tools", A, swap_tools, ALL),
    ("the order of tools", C, swap_tools, ALL),
    ("the order of tools", N, swap_tools, ALL),
    ("an output schema", A, put("output_config", "format", to=JSON_FORMAT), ALL),
    ("an output schema", C, put("outputConfig", "textFormat", to=JSON_FORMAT), ALL),
    ("the system text", A, put("system", 0, "text", to="Be kind"), {S, M}),
    ("the system text", C, put("system", 0, "text", to="Be kind"), {S, M}),
    ("the system text", N, put("system", 0, "text", to="Be kind"), {S, M}),
    ("white space in a text", A, put("system", 1, "text", to="Be brief. "), {S, M}),
    ("the speed", A, put("speed", to="fast"), {S, M}),
    ("the speed", C, put("additionalModelRequestFields", to={"speed": "fast"}), {S, M}),
    ("citations", A, add("messages", 2, "content", block=CITED), {S, M}),
    (
        "citations",
        C,
        add("messages", 2, "content", block={"document": {"name": "d", "citations": {"enabled": True}}}),
        {S, M},
    ),
    (
        "citations",
        C,
        add("messages", 2, "content", block={"searchResult": {"citations": {"enabled": True}}}),
        {S, M},
    ),
    ("a message's text", A, put("messages", 0, "content", 0, "text", to="Wind?"), {M}),
    ("a message's text", C, put("messages", 0, "content", 0, "text", to="Wind?"), {M}),
    ("a message's text", N, put("messages", 0, "content", 0, "text", to="Wind?"), {M}),
    ("a message's role", N, put("messages", 1, "role", to="user"), {M}),
    ("a tool's input", A, put("messages", 1, "content", 0, "input", "days", to=4), {M}),
    ("the order of an input's keys", A, put("messages", 1, "content", 0, "input", to=reordered(TOOL_USE_INPUT)), {M}),
    (
        "the order of an input's keys",
        C,
        put("messages", 1, "content", 0, "toolUse", "input", to=reordered(TOOL_USE_INPUT)),
        {M},
    ),
    ("the tool choice", A, put("tool_choice", to={"type": "any"}), {M}),
    ("the tool choice", C, put("toolConfig", "toolChoice", to={"any": {}}), {M}),
    ("the tool choice", N, put("toolConfig", "toolChoice", to={"any": {}}), {M}),
    (
        "parallel tool use",
        A,
        put("tool_choice", to={"type": "auto", "disable_parallel_tool_use": True}),
        {M},
    ),
    ("thinking", A, put("thinking", to={"type": "adaptive"}), {M}),
    ("thinking", C, put("additionalModelRequestFields", to={"thinking": {"type": "adaptive"}}), {M}),
    ("effort", A, put("output_config", "effort", to="low"), {M}),
    ("effort", C, put("outputConfig", "effort", to="low"), {M}),
    ("a beta", A, put("anthropic_beta", to=["b"]), {M}),
    ("a beta", C, put("additionalModelRequestFields", to={"anthropic_beta": ["b"]}), {M}),
    ("an image", A, add("messages", 2, "content", block=IMAGE), {M}),
    ("an image", C, add("messages", 2, "content", block=CONVERSE_IMAGE), {M}),
    ("an image", N, add("messages", 2, "content", block=CONVERSE_IMAGE), {M}),
    ("an image in a tool result", A, put("messages", 2, "content", 0, "content", to=[IMAGE]), {M}),
    (
        "an image in a tool result",
        C,
        put("messages", 2, "content", 0, "toolResult", "content", to=[CONVERSE_IMAGE]),
        {M},
    ),
]


@pytest.mark.parametrize(
    ("dialect", "edit", "sections"),
    [pytest.param(*row[1:], id=f"{row[0]}, {row[1]}, {len(row[3])} sections") for row in INVALIDATES],
)
def test_a_change_invalidates_its_sections_and_no_others(dialect, edit, sections):
    before, after = REQUESTS[dialect](), REQUESTS[dialect]()
    edit(after)
    assert changed(dialect, before, after) == sections


SAMPLING = {"temperature": 0.5, "top_p": 0.5, "top_k": 5, "stop_sequences": ["x"]}


def everything_that_does_not_count(dialect: Dialect, body: dict) -> dict:
    if dialect is A:
        return body | SAMPLING | {"max_tokens": 1, "metadata": {"user_id": "u"}, "stream": True}
    sampling = {"maxTokens": 1, "temperature": 0.5, "topP": 0.5, "stopSequences": ["x"]}
    fields = {"additionalModelRequestFields": SAMPLING, "requestMetadata": {"a": "b"}}
    return body | {"inferenceConfig": sampling} | fields


@pytest.mark.parametrize("dialect", Dialect)
def test_limits_sampling_and_metadata_change_nothing(dialect):
    before = REQUESTS[dialect]()
    assert changed(dialect, before, everything_that_does_not_count(dialect, REQUESTS[dialect]())) == set()


@pytest.mark.parametrize("dialect", Dialect)
def test_the_order_of_json_keys_outside_schemas_and_inputs_changes_nothing(dialect):
    before, after = REQUESTS[dialect](), reordered(REQUESTS[dialect]())
    # Put back what is shown to the model in its own order.
    if dialect is A:
        after["tools"][0]["input_schema"] = deepcopy(SCHEMA)
        after["messages"][1]["content"][0]["input"] = dict(TOOL_USE_INPUT)
    else:
        after["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"] = deepcopy(SCHEMA)
        after["messages"][1]["content"][0]["toolUse"]["input"] = dict(TOOL_USE_INPUT)
    assert json.dumps(after) != json.dumps(before)
    assert changed(dialect, before, after) == set()


@given(before=st.integers(0, 6), count=st.integers(1, 4))
def test_an_image_behind_the_cache_point_counts_for_the_messages_before_it(before, count):
    texts = [{"type": "text", "text": str(number)} for number in range(before)]
    plain = {
        "system": "s",
        "messages": [{"role": "user", "content": [*texts, {"type": "text", "text": "."} | CONTROL]}],
    }
    pictured = deepcopy(plain)
    pictured["messages"].append({"role": "user", "content": [IMAGE] * count})
    old, new = positions(read(A, plain), KEY), positions(read(A, pictured), KEY)
    assert old[0].digest == new[0].digest
    assert all(one.digest != other.digest for one, other in zip(old[1:], new[1 : len(old)], strict=True))


def test_the_citations_of_an_answer_do_not_ask_for_citations():
    before, after = anthropic(), anthropic()
    after["messages"][1]["content"].append({"type": "text", "text": "a", "citations": [{"type": "char_location"}]})
    assert changed(A, before, after) == {M}
    assert changed(A, before, put_citations(anthropic(), enabled=False)) == {M}


def put_citations(body: dict, *, enabled: bool) -> dict:
    body["messages"][2]["content"].append(CITED | {"citations": {"enabled": enabled}})
    return body


def test_a_schema_or_setting_counts_for_whatever_section_comes_first():
    system = {"system": [{"text": "s"}]}
    messages = {"messages": [{"role": "user", "content": [{"text": "q"}]}]}
    schema = {"output_config": {"format": JSON_FORMAT}}
    assert changed(A, system, system | schema) == {S}
    assert changed(A, messages, messages | schema) == {M}
    assert changed(A, messages, messages | {"speed": "fast"}) == {M}
    other = {"output_config": {"format": {"type": "json_schema", "schema": reordered(SCHEMA)}}}
    assert changed(A, system | schema, system | other) == {S}


# -- markers ------------------------------------------------------------------------------------------------------

TEXTS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6)
MARKS = st.lists(st.sampled_from([None, *Ttl]), min_size=6, max_size=6)


def marked(dialect: Dialect, texts: list[str], marks: list[Ttl | None]) -> dict:
    content: list[dict] = []
    for text, ttl in zip(texts, marks, strict=False):
        block: dict = {"type": "text", "text": text} if dialect is A else {"text": text}
        point = {"type": "ephemeral" if dialect is A else "default"} | ({"ttl": ttl.value} if ttl else {})
        if ttl and dialect is C:
            content += [block, {"cachePoint": point}]
        else:
            content.append(block | ({"cache_control" if dialect is A else "cachePoint": point} if ttl else {}))
    return {"system": content, "messages": [{"role": "user", "content": content}]}


@given(dialect=st.sampled_from(Dialect), texts=TEXTS, one=MARKS, other=MARKS)
def test_positions_keep_their_digests_wherever_the_markers_stand(dialect, texts, one, other):
    first = positions(read(dialect, marked(dialect, texts, one)), KEY)
    second = positions(read(dialect, marked(dialect, texts, other)), KEY)
    assert [position.digest for position in first] == [position.digest for position in second]
    assert [position.marker for position in second] == other[: len(texts)] * 2


@given(dialect=st.sampled_from(Dialect), texts=TEXTS, marks=MARKS)
def test_cache_points_are_the_positions_with_a_marker(dialect, texts, marks):
    reading = read(dialect, marked(dialect, texts, marks))
    points = cache_points(reading, KEY)
    assert points == tuple(position for position in positions(reading, KEY) if position.marker)
    assert [point.marker for point in points] == [mark for mark in marks[: len(texts)] if mark] * 2


# -- positions ----------------------------------------------------------------------------------------------------


@given(dialect=st.sampled_from(Dialect), texts=TEXTS, where=st.integers(0, 5), text=st.text(min_size=1, max_size=5))
def test_a_changed_block_changes_every_position_from_it_on_and_none_before(dialect, texts, where, text):
    where %= len(texts)
    edited = [*texts[:where], texts[where] + text, *texts[where + 1 :]]
    body = {"messages": [{"role": "user", "content": [{"text": one} for one in texts]}]}
    other = {"messages": [{"role": "user", "content": [{"text": one} for one in edited]}]}
    old, new = positions(read(dialect, body), KEY), positions(read(dialect, other), KEY)
    same = [one.digest == two.digest for one, two in zip(old, new, strict=True)]
    assert same == [True] * where + [False] * (len(texts) - where)


@given(dialect=st.sampled_from(Dialect), texts=TEXTS, more=TEXTS)
def test_a_longer_conversation_keeps_the_positions_that_it_shares(dialect, texts, more):
    body = {"messages": [{"role": "user", "content": [{"text": text} for text in texts]}]}
    longer = {"messages": [*body["messages"], {"role": "assistant", "content": [{"text": text} for text in more]}]}
    old, new = positions(read(dialect, body), KEY), positions(read(dialect, longer), KEY)
    assert new[: len(old)] == old
    assert len({position.digest for position in new}) == len(new)


def test_where_a_message_ends_counts():
    together = {"messages": [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]}
    apart = {"messages": [{"role": "user", "content": [{"text": text}]} for text in "ab"]}
    assert changed(C, together, apart) == {M}


def test_a_text_is_not_the_same_in_another_section_dialect_or_installation():
    system, messages = {"system": "a"}, {"messages": [{"role": "user", "content": "a"}]}
    assert ends(A, system)[S] != ends(A, messages)[M]
    assert ends(A, system) != ends(N, system)
    assert positions(read(A, system), KEY) != positions(read(A, system), b"")


def test_a_digest_has_128_bits_and_a_size_counts_characters():
    (position,) = positions(read(N, {"system": [{"text": "äöü"}]}), KEY)
    assert len(bytes.fromhex(position.digest)) == 16
    assert position.size == len('{"text":"äöü"}')


def test_bytes_and_broken_unicode_can_be_digested():
    body = {"messages": [{"role": "user", "content": [CONVERSE_IMAGE, {"text": "\ud800"}]}]}
    assert len(positions(read(C, body), KEY)) == 2


# -- canonical text and combined digests --------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_canonical_text_is_json_of_the_same_value(value):
    assert json.loads(canonical(value)) == value


@given(JSON.filter(lambda value: not {"json", "input", "schema"} & set(str(value).split("'"))))
def test_canonical_text_ignores_the_order_of_keys(value):
    assert canonical(value) == canonical(reordered(value))


def test_canonical_text_keeps_the_order_of_keys_that_the_model_sees():
    for name in ("input_schema", "inputSchema", "input", "json", "schema"):
        inside = {name: {"b": [{"d": 1, "c": 2}], "a": 1}}
        assert canonical(inside) != canonical(reordered(inside))
        assert json.loads(canonical(inside)) == inside


def test_a_tuple_is_a_list():
    assert canonical({"a": (1, {"c": 1, "b": 2})}) == '{"a":[1,{"b":2,"c":1}]}'


PARTS = st.lists(st.none() | st.text(max_size=5), max_size=4)


@given(one=PARTS, other=PARTS)
def test_combined_digests_are_equal_exactly_when_all_parts_are(one, other):
    assert (combine(KEY, *one) == combine(KEY, *other)) == (one == other)
    assert combine(KEY, *one) != combine(b"another key", *one)
