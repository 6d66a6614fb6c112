"""Reads a Bedrock request into the blocks that its cache sees, whichever of the three dialects it is written in.

It does not hash, cut or send; it says where each block stands so that others can. The shapes are from the Amazon
Bedrock user guide, "Prompt caching", and the Anthropic prompt caching page, both read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from keepwarm.model import Api, Family, Section, Ttl

Body = Mapping[str, Any]

MAX_CACHE_POINTS = 4

_SAMPLING = frozenset({"max_tokens", "stop_sequences", "temperature", "top_k", "top_p"})


class Dialect(StrEnum):
    """How a request is written."""

    ANTHROPIC = "anthropic"  # InvokeModel body of a Claude model: `cache_control` inside the block it marks
    NOVA = "nova"  # InvokeModel body of a Nova model: `cachePoint` as a key of the text block it marks
    CONVERSE = "converse"  # keyword arguments of converse: `cachePoint` as an element of its own after the block


class DialectError(ValueError):
    """A request that is not of its dialect. `key` is the dotted path of the offending part; no prompt text inside."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key
        self.message = message


@dataclass(frozen=True, slots=True)
class Block:
    """One position of a prompt, in the order in which the cache reads it.

    Attributes:
        index: position among the tools or system blocks, or of the message.
        part: position inside the message's content; 0 elsewhere.
        role: `user` or `assistant` in messages, empty elsewhere.
        content: the block without its marker.
        marker: ttl of the cache point that stands on it, None without one.
    """

    section: Section
    index: int
    part: int
    role: str
    content: Any = field(repr=False)
    marker: Ttl | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A request as its cache sees it.

    Attributes:
        blocks: tools, then system, then messages.
        output_format: structured output schema, which counts for every section.
        system_settings: the speed toggle, which counts for system and messages.
        message_settings: tool choice, thinking, effort, betas and whatever else may count, for the messages only;
            not the sampling.
    """

    dialect: Dialect
    blocks: tuple[Block, ...]
    output_format: Any = field(repr=False)
    system_settings: Mapping[str, Any] = field(repr=False)
    message_settings: Mapping[str, Any] = field(repr=False)

    @property
    def cache_points(self) -> tuple[Block, ...]:
        """The blocks that bear a marker, in order."""
        return tuple(block for block in self.blocks if block.marker)


def dialect_of(api: Api, family: Family) -> Dialect:
    """Which dialect a request of this API for this family of models is written in."""
    if api is Api.CONVERSE:
        return Dialect.CONVERSE
    return Dialect.ANTHROPIC if family is Family.ANTHROPIC else Dialect.NOVA


def read(dialect: Dialect, body: Body) -> Reading:
    """Read a request (parsed JSON) into its blocks.

    Raises:
        DialectError: the body is not of this dialect, or a marker is misplaced or misspelt.
    """
    if not isinstance(body, Mapping):
        raise DialectError("", "must be a JSON object")
    blocks = tuple(_merge_markers(_READERS[dialect](body)))
    return Reading(
        dialect=dialect,
        blocks=blocks,
        output_format=_output_format(dialect, body),
        system_settings=_system_settings(dialect, body),
        message_settings=_message_settings(dialect, body),
    )


def stable_end(reading: Reading) -> Block | None:
    """The block behind which a first cache point would usually go: the last of system, else of tools.

    Both are the same in every request of an application, while messages grow. None for a request without either.
    """
    for section in (Section.SYSTEM, Section.TOOLS):
        found = [block for block in reading.blocks if block.section is section]
        if found:
            return found[-1]
    return None


def thinking_of(dialect: Dialect, body: Body) -> Mapping[str, Any]:
    """The `thinking` setting of a request, empty when it has none."""
    holder = body.get("additionalModelRequestFields") if dialect is Dialect.CONVERSE else body
    thinking = holder.get("thinking") if isinstance(holder, Mapping) else None
    return thinking if isinstance(thinking, Mapping) else {}


# -- the three readers: each yields the blocks, and a Converse marker as a block with content None -----------------


def _read_anthropic(body: Body) -> Iterator[Block]:
    if "cache_control" in body:
        raise DialectError(
            "cache_control", "automatic caching moves with the conversation; mark the block itself instead"
        )
    for index, tool in enumerate(_list(body, "tools")):
        yield _anthropic_block(Section.TOOLS, index, 0, "", tool, f"tools[{index}]")
    for index, text in enumerate(_text_or_list(body, "system", "system")):
        yield _anthropic_block(Section.SYSTEM, index, 0, "", text, f"system[{index}]")
    for index, message in enumerate(_messages(body)):
        for part, block in enumerate(_text_or_list(message, "content", f"messages[{index}].content")):
            key = f"messages[{index}].content[{part}]"
            yield _anthropic_block(Section.MESSAGES, index, part, message["role"], block, key)


def _read_nova(body: Body) -> Iterator[Block]:
    for index, tool in enumerate(_list(_object(body, "toolConfig"), "tools", "toolConfig.tools")):
        yield Block(Section.TOOLS, index, 0, "", _object_at(tool, f"toolConfig.tools[{index}]"))
    for index, text in enumerate(_text_or_list(body, "system", "system")):
        yield _nova_block(Section.SYSTEM, index, 0, "", text, f"system[{index}]")
    for index, message in enumerate(_messages(body)):
        for part, block in enumerate(_text_or_list(message, "content", f"messages[{index}].content")):
            key = f"messages[{index}].content[{part}]"
            yield _nova_block(Section.MESSAGES, index, part, message["role"], block, key)


def _read_converse(body: Body) -> Iterator[Block]:
    for index, tool in enumerate(_list(_object(body, "toolConfig"), "tools", "toolConfig.tools")):
        yield _converse_block(Section.TOOLS, index, 0, "", tool, f"toolConfig.tools[{index}]")
    for index, text in enumerate(_list(body, "system")):
        yield _converse_block(Section.SYSTEM, index, 0, "", text, f"system[{index}]")
    for index, message in enumerate(_messages(body)):
        for part, block in enumerate(_list(message, "content", f"messages[{index}].content")):
            key = f"messages[{index}].content[{part}]"
            yield _converse_block(Section.MESSAGES, index, part, message["role"], block, key)


_READERS = {
    Dialect.ANTHROPIC: _read_anthropic,
    Dialect.NOVA: _read_nova,
    Dialect.CONVERSE: _read_converse,
}


def _anthropic_block(section: Section, index: int, part: int, role: str, raw: Any, key: str) -> Block:
    block = _object_at(raw, key)
    control = block.get("cache_control")
    content = {name: value for name, value in block.items() if name != "cache_control"}
    if control is None:
        return Block(section, index, part, role, content)
    if not isinstance(control, Mapping) or control.get("type") != "ephemeral":
        raise DialectError(f"{key}.cache_control", "must be {type: ephemeral} with an optional ttl of 5m or 1h")
    if block.get("type") in ("thinking", "redacted_thinking") or block.get("text") == "":
        raise DialectError(f"{key}.cache_control", "a thinking block or an empty text cannot bear a cache point")
    return Block(section, index, part, role, content, _ttl(control.get("ttl"), f"{key}.cache_control.ttl"))


def _nova_block(section: Section, index: int, part: int, role: str, raw: Any, key: str) -> Block:
    block = _object_at(raw, key)
    content = {name: value for name, value in block.items() if name != "cachePoint"}
    if "cachePoint" not in block:
        return Block(section, index, part, role, content)
    if "text" not in block:
        raise DialectError(f"{key}.cachePoint", "on Nova a cache point stands in a text block")
    return Block(section, index, part, role, content, _point_ttl(block["cachePoint"], f"{key}.cachePoint"))


def _converse_block(section: Section, index: int, part: int, role: str, raw: Any, key: str) -> Block:
    block = _object_at(raw, key)
    if "cachePoint" in block:
        return Block(section, index, part, role, None, _point_ttl(block["cachePoint"], f"{key}.cachePoint"))
    return Block(section, index, part, role, block)


def _merge_markers(blocks: Iterator[Block]) -> Iterator[Block]:
    """Put each Converse marker on the block before it; the merged block keeps the marker's place."""
    held: Block | None = None
    for block in blocks:
        if block.content is not None:
            if held:
                yield held
            held = block
            continue
        if held is None or _container(held) != _container(block):
            raise DialectError(_converse_key(block), "a cache point cannot stand first in its section or message")
        if held.marker:
            raise DialectError(_converse_key(block), "two cache points follow the same block")
        held = Block(held.section, block.index, block.part, held.role, held.content, block.marker)
    if held:
        yield held


def _container(block: Block) -> tuple[Section, int]:
    """The list in which a block stands: its section, or its message."""
    return block.section, block.index if block.section is Section.MESSAGES else 0


def _converse_key(block: Block) -> str:
    if block.section is Section.MESSAGES:
        return f"messages[{block.index}].content[{block.part}].cachePoint"
    place = "toolConfig.tools" if block.section is Section.TOOLS else "system"
    return f"{place}[{block.index}].cachePoint"


# -- settings that count for the cache ----------------------------------------------------------------------------


def _output_format(dialect: Dialect, body: Body) -> Any:
    if dialect is Dialect.CONVERSE:
        return _object(body, "outputConfig").get("textFormat")
    return _object(body, "output_config").get("format")


def _system_settings(dialect: Dialect, body: Body) -> dict[str, Any]:
    holder = body if dialect is Dialect.ANTHROPIC else _object(body, "additionalModelRequestFields")
    return {"speed": holder["speed"]} if holder.get("speed") is not None else {}


def _message_settings(dialect: Dialect, body: Body) -> dict[str, Any]:
    if dialect is Dialect.ANTHROPIC:
        found = {
            "tool_choice": body.get("tool_choice"),
            "thinking": body.get("thinking"),
            "effort": _object(body, "output_config").get("effort"),
            "betas": body.get("anthropic_beta"),
        }
    else:
        extra = _object(body, "additionalModelRequestFields")
        found = {
            "tool_choice": _object(body, "toolConfig").get("toolChoice"),
            "thinking": extra.get("thinking"),
            "effort": _object(body, "outputConfig").get("effort"),
            "extra": {name: extra[name] for name in extra.keys() - _SAMPLING - {"thinking", "speed"}} or None,
        }
    return {name: value for name, value in found.items() if value is not None}


# -- small readers ------------------------------------------------------------------------------------------------


def _messages(body: Body) -> list[Body]:
    messages = _list(body, "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise DialectError(f"messages[{index}]", "must be an object with a role and content")
    return messages


def _list(body: Body, name: str, key: str = "") -> list[Any]:
    found = body.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise DialectError(key or name, "must be a list")
    return found


def _object(body: Body, name: str) -> Body:
    found = body.get(name)
    if found is None:
        return {}
    return _object_at(found, name)


def _object_at(value: Any, key: str) -> Body:
    if not isinstance(value, Mapping):
        raise DialectError(key, "must be an object")
    return value


def _text_or_list(body: Body, name: str, key: str) -> list[Any]:
    found = body.get(name)
    if isinstance(found, str):
        return [{"type": "text", "text": found}]
    return _list(body, name, key)


def _point_ttl(point: Any, key: str) -> Ttl:
    if not isinstance(point, Mapping) or point.get("type") != "default":
        raise DialectError(key, "must be {type: default} with an optional ttl of 5m or 1h")
    return _ttl(point.get("ttl"), f"{key}.ttl")


def _ttl(value: Any, key: str) -> Ttl:
    """An absent ttl means 5m (Anthropic prompt caching page)."""
    if value is None:
        return Ttl.FIVE_MINUTES
    try:
        return Ttl(value)
    except ValueError:
        raise DialectError(key, "must be 5m or 1h") from None
