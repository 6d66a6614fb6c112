"""How requests of the three dialects are read into the blocks, markers and settings that their cache sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.dialects import Dialect, DialectError, dialect_of, read, thinking_of
from keepwarm.model import Api, Family, Section, Ttl

POINT = {"cachePoint": {"type": "default"}}
POINT_1H = {"cachePoint": {"type": "default", "ttl": "1h"}}
CONTROL = {"cache_control": {"type": "ephemeral"}}
CONTROL_1H = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def seen(dialect: Dialect, body: dict) -> list[tuple]:
    """The blocks without their places."""
    return [(block.section.value, block.role, block.content, block.marker) for block in read(dialect, body).blocks]


@pytest.mark.parametrize(
    ("api", "family", "dialect"),
    [
        (Api.CONVERSE, Family.ANTHROPIC, Dialect.CONVERSE),
        (Api.CONVERSE, Family.NOVA, Dialect.CONVERSE),
        (Api.INVOKE_MODEL, Family.ANTHROPIC, Dialect.ANTHROPIC),
        (Api.INVOKE_MODEL, Family.NOVA, Dialect.NOVA),
    ],
)
def test_the_api_decides_the_dialect_and_on_invoke_model_the_family(api, family, dialect):
    assert dialect_of(api, family) is dialect


# -- the three dialects -------------------------------------------------------------------------------------------


def test_an_anthropic_body_is_read_in_the_order_of_the_cache_whatever_the_order_of_its_keys():
    body = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "r"} | CONTROL]},
            {"role": "assistant", "content": "a"},
        ],
        "system": [{"type": "text", "text": "s"} | CONTROL_1H],
        "tools": [{"name": "t"}, {"name": "u"} | CONTROL_1H],
    }
    assert seen(Dialect.ANTHROPIC, body) == [
        ("tools", "", {"name": "t"}, None),
        ("tools", "", {"name": "u"}, Ttl.ONE_HOUR),
        ("system", "", {"type": "text", "text": "s"}, Ttl.ONE_HOUR),
        ("messages", "user", {"type": "text", "text": "q"}, None),
        ("messages", "user", {"type": "text", "text": "r"}, Ttl.FIVE_MINUTES),
        ("messages", "assistant", {"type": "text", "text": "a"}, None),
    ]


def test_a_converse_request_is_read_with_each_marker_on_the_block_before_it():
    body = {
        "toolConfig": {"tools": [{"toolSpec": {"name": "t"}}, POINT_1H]},
        "system": [{"text": "s"}, POINT_1H],
        "messages": [
            {"role": "user", "content": [{"text": "q"}, POINT, {"text": "r"}]},
            {"role": "assistant", "content": [{"text": "a"}, POINT]},
        ],
    }
    assert seen(Dialect.CONVERSE, body) == [
        ("tools", "", {"toolSpec": {"name": "t"}}, Ttl.ONE_HOUR),
        ("system", "", {"text": "s"}, Ttl.ONE_HOUR),
        ("messages", "user", {"text": "q"}, Ttl.FIVE_MINUTES),
        ("messages", "user", {"text": "r"}, None),
        ("messages", "assistant", {"text": "a"}, Ttl.FIVE_MINUTES),
    ]


def test_a_nova_body_bears_its_markers_as_keys_of_the_text():
    body = {
        "toolConfig": {"tools": [{"toolSpec": {"name": "t"}}]},
        "system": [{"text": "s"} | POINT],
        "messages": [{"role": "user", "content": [{"text": "q"} | POINT, {"image": {}}]}],
    }
    assert seen(Dialect.NOVA, body) == [
        ("tools", "", {"toolSpec": {"name": "t"}}, None),
        ("system", "", {"text": "s"}, Ttl.FIVE_MINUTES),
        ("messages", "user", {"text": "q"}, Ttl.FIVE_MINUTES),
        ("messages", "user", {"image": {}}, None),
    ]


@pytest.mark.parametrize("dialect", Dialect)
def test_an_empty_request_has_no_blocks(dialect):
    assert read(dialect, {}).blocks == ()
    assert read(dialect, {"tools": None, "toolConfig": None, "system": None, "messages": None}).cache_points == ()


@pytest.mark.parametrize("dialect", [Dialect.ANTHROPIC, Dialect.NOVA])
def test_a_plain_text_is_one_text_block(dialect):
    plain = {"system": "s", "messages": [{"role": "user", "content": "q"}]}
    text = {"type": "text", "text": "s"}, {"type": "text", "text": "q"}
    assert [block.content for block in read(dialect, plain).blocks] == list(text)


def test_a_block_knows_where_its_marker_stands_in_the_request():
    body = {
        "system": [{"text": "s"}, {"text": "t"}, POINT],
        "messages": [{"role": "user", "content": []}, {"role": "user", "content": [{"text": "q"}, POINT]}],
    }
    points = read(Dialect.CONVERSE, body).cache_points
    assert [(point.section, point.index, point.part) for point in points] == [
        (Section.SYSTEM, 2, 0),
        (Section.MESSAGES, 1, 1),
    ]
    assert read(Dialect.ANTHROPIC, {"tools": [{"name": "t"}, {"name": "u"} | CONTROL]}).cache_points[0].index == 1


@given(
    texts=st.lists(st.tuples(st.text(), st.sampled_from([None, *Ttl])), max_size=8),
    role=st.sampled_from(["user", "assistant"]),
)
def test_the_same_marked_texts_read_the_same_in_every_dialect(texts, role):
    anthropic, nova, converse = [], [], []
    for text, ttl in texts:
        marker = {"type": "default", "ttl": ttl.value} if ttl else None
        anthropic.append({"text": text + "."} | ({"cache_control": marker | {"type": "ephemeral"}} if ttl else {}))
        nova.append({"text": text + "."} | ({"cachePoint": marker} if ttl else {}))
        converse += [{"text": text + "."}, {"cachePoint": marker}] if ttl else [{"text": text + "."}]
    expected = [
        *(("system", "", {"text": text + "."}, ttl) for text, ttl in texts),
        *(("messages", role, {"text": text + "."}, ttl) for text, ttl in texts),
    ]
    contents = {Dialect.ANTHROPIC: anthropic, Dialect.NOVA: nova, Dialect.CONVERSE: converse}
    for dialect, content in contents.items():
        assert seen(dialect, {"system": content, "messages": [{"role": role, "content": content}]}) == expected


# -- what is refused ----------------------------------------------------------------------------------------------


def user(*content: object) -> dict:
    return {"messages": [{"role": "user", "content": list(content)}]}


REFUSED = [
    (Dialect.ANTHROPIC, ["no", "object"], "", "must be a JSON object"),
    (Dialect.ANTHROPIC, {"tools": {}}, "tools", "must be a list"),
    (Dialect.ANTHROPIC, {"tools": ["t"]}, "tools[0]", "must be an object"),
    (Dialect.ANTHROPIC, {"system": 1}, "system", "must be a list"),
    (Dialect.ANTHROPIC, {"messages": "q"}, "messages", "must be a list"),
    (Dialect.ANTHROPIC, {"messages": ["q"]}, "messages[0]", "must be an object with a role"),
    (Dialect.ANTHROPIC, {"messages": [{"content": "q"}]}, "messages[0]", "must be an object with a role"),
    (Dialect.ANTHROPIC, {"messages": [{"role": 1, "content": "q"}]}, "messages[0]", "must be an object with a role"),
    (Dialect.ANTHROPIC, {"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "must be a list"),
    (Dialect.ANTHROPIC, user({"text": "q"}, "r"), "messages[0].content[1]", "must be an object"),
    (Dialect.ANTHROPIC, CONTROL, "cache_control", "mark the block itself"),
    (Dialect.ANTHROPIC, {"output_config": []}, "output_config", "must be an object"),
    (
        Dialect.ANTHROPIC,
        {"system": [{"text": "s", "cache_control": "ephemeral"}]},
        "system[0].cache_control",
        "must be {type: ephemeral}",
    ),
    (
        Dialect.ANTHROPIC,
        {"system": [{"text": "s", "cache_control": {"type": "default"}}]},
        "system[0].cache_control",
        "must be {type: ephemeral}",
    ),
    (
        Dialect.ANTHROPIC,
        {"tools": [{"name": "t", "cache_control": {"type": "ephemeral", "ttl": "2h"}}]},
        "tools[0].cache_control.ttl",
        "must be 5m or 1h",
    ),
    (
        Dialect.ANTHROPIC,
        {"tools": [{"name": "t", "cache_control": {"type": "ephemeral", "ttl": ["1h"]}}]},
        "tools[0].cache_control.ttl",
        "must be 5m or 1h",
    ),
    (
        Dialect.ANTHROPIC,
        user({"type": "thinking", "thinking": "hm"} | CONTROL),
        "messages[0].content[0].cache_control",
        "cannot bear a cache point",
    ),
    (
        Dialect.ANTHROPIC,
        user({"type": "text", "text": ""} | CONTROL),
        "messages[0].content[0].cache_control",
        "cannot bear a cache point",
    ),
    (Dialect.NOVA, {"toolConfig": {"tools": ["t"]}}, "toolConfig.tools[0]", "must be an object"),
    (Dialect.NOVA, {"toolConfig": {"tools": "t"}}, "toolConfig.tools", "must be a list"),
    (Dialect.NOVA, user({"image": {}} | POINT), "messages[0].content[0].cachePoint", "stands in a text block"),
    (
        Dialect.NOVA,
        {"system": [{"text": "s", "cachePoint": {"type": "ephemeral"}}]},
        "system[0].cachePoint",
        "must be {type: default}",
    ),
    (Dialect.CONVERSE, {"toolConfig": []}, "toolConfig", "must be an object"),
    (Dialect.CONVERSE, {"system": "s"}, "system", "must be a list"),
    (Dialect.CONVERSE, {"messages": [{"role": "user", "content": "q"}]}, "messages[0].content", "must be a list"),
    (Dialect.CONVERSE, {"additionalModelRequestFields": "x"}, "additionalModelRequestFields", "must be an object"),
    (
        Dialect.CONVERSE,
        {"system": [{"text": "s"}, {"cachePoint": "default"}]},
        "system[1].cachePoint",
        "must be {type: default}",
    ),
    (
        Dialect.CONVERSE,
        {"system": [{"text": "s"}, {"cachePoint": {"type": "default", "ttl": "1d"}}]},
        "system[1].cachePoint.ttl",
        "must be 5m or 1h",
    ),
    (Dialect.CONVERSE, {"system": [POINT, {"text": "s"}]}, "system[0].cachePoint", "cannot stand first"),
    (
        Dialect.CONVERSE,
        {"toolConfig": {"tools": [{"toolSpec": {}}, POINT]}, "system": [POINT]},
        "system[0].cachePoint",
        "cannot stand first",
    ),
    (Dialect.CONVERSE, {"toolConfig": {"tools": [POINT]}}, "toolConfig.tools[0].cachePoint", "cannot stand first"),
    (
        Dialect.CONVERSE,
        {"messages": [{"role": "user", "content": [{"text": "q"}]}, {"role": "user", "content": [POINT]}]},
        "messages[1].content[0].cachePoint",
        "cannot stand first",
    ),
    (
        Dialect.CONVERSE,
        user({"text": "q"}, POINT, POINT),
        "messages[0].content[2].cachePoint",
        "two cache points follow the same block",
    ),
    (
        Dialect.CONVERSE,
        {"toolConfig": {"tools": [{"toolSpec": {}}, POINT, POINT_1H]}},
        "toolConfig.tools[2].cachePoint",
        "two cache points follow the same block",
    ),
]


@pytest.mark.parametrize(("dialect", "body", "key", "complaint"), REFUSED)
def test_a_request_that_is_not_of_its_dialect_is_refused_with_the_place(dialect, body, key, complaint):
    with pytest.raises(DialectError) as caught:
        read(dialect, body)
    assert caught.value.key == key
    assert complaint in caught.value.message
    assert str(caught.value) == (f"{key}: " if key else "") + caught.value.message


def test_a_refusal_never_quotes_the_prompt():
    with pytest.raises(DialectError) as caught:
        read(Dialect.NOVA, {"system": [{"text": "secret", "cachePoint": {"type": "secret"}}]})
    assert "secret" not in str(caught.value)


# -- settings -----------------------------------------------------------------------------------------------------


def test_the_settings_of_an_anthropic_body_are_found():
    reading = read(
        Dialect.ANTHROPIC,
        {
            "tool_choice": {"type": "any"},
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "low", "format": {"type": "json_schema"}},
            "anthropic_beta": ["b"],
            "speed": "fast",
            "max_tokens": 5,
            "temperature": 1,
        },
    )
    assert reading.output_format == {"type": "json_schema"}
    assert reading.system_settings == {"speed": "fast"}
    assert reading.message_settings == {
        "tool_choice": {"type": "any"},
        "thinking": {"type": "adaptive"},
        "effort": "low",
        "betas": ["b"],
    }


def test_the_settings_of_a_converse_request_are_found():
    reading = read(
        Dialect.CONVERSE,
        {
            "toolConfig": {"tools": [], "toolChoice": {"any": {}}},
            "outputConfig": {"effort": "low", "textFormat": {"type": "json_schema"}},
            "additionalModelRequestFields": {
                "thinking": {"type": "adaptive"},
                "speed": "fast",
                "top_k": 5,
                "anthropic_beta": ["b"],
            },
            "inferenceConfig": {"maxTokens": 5, "temperature": 1},
        },
    )
    assert reading.output_format == {"type": "json_schema"}
    assert reading.system_settings == {"speed": "fast"}
    assert reading.message_settings == {
        "tool_choice": {"any": {}},
        "thinking": {"type": "adaptive"},
        "effort": "low",
        "extra": {"anthropic_beta": ["b"]},
    }


@pytest.mark.parametrize("dialect", Dialect)
def test_sampling_and_limits_are_no_settings_of_the_cache(dialect):
    sampling = {"max_tokens": 9, "temperature": 1, "top_k": 5, "top_p": 0.5, "stop_sequences": ["x"]}
    body = sampling | {"additionalModelRequestFields": sampling, "inferenceConfig": sampling}
    reading = read(dialect, body)
    assert (reading.output_format, reading.system_settings, reading.message_settings) == (None, {}, {})


def test_thinking_is_found_where_the_dialect_has_it():
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert thinking_of(Dialect.ANTHROPIC, thinking) == thinking["thinking"]
    assert thinking_of(Dialect.CONVERSE, {"additionalModelRequestFields": thinking}) == thinking["thinking"]
    assert thinking_of(Dialect.CONVERSE, thinking) == {}
    assert thinking_of(Dialect.ANTHROPIC, {}) == {}
    assert thinking_of(Dialect.ANTHROPIC, {"thinking": "enabled"}) == {}
    assert thinking_of(Dialect.CONVERSE, {"additionalModelRequestFields": "x"}) == {}
