"""Makes the ping of a production request: the same bytes up to its last cache point, and as little as possible after.

It does not send, hash or judge; whether the cut request still names the same cache entry is proven by comparing
fingerprints (`registry` does). Rules from the Anthropic prompt caching page and the Bedrock user guide, both read
2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepwarm.dialects import Block, Body, Dialect, Reading, thinking_of
from keepwarm.model import Section, Ttl

_SMALLEST_TEXT = "."
_OTHER_TEXT = "Go on."


def ping_body(reading: Reading, body: Body, max_tokens: int) -> dict[str, Any]:
    """The body of the ping: cut behind the last cache point, ended as a valid conversation, with a tiny output limit.

    Args:
        reading: of `body`, with at least one cache point.
        body: the production request: an InvokeModel body, or the keyword arguments of converse.
        max_tokens: the smallest output limit that the model accepts.

    Returns:
        A new mapping that shares the unchanged parts with `body`.
    """
    ping = cut_body(reading, body)
    _limit_output(ping, reading.dialect, max_tokens)
    return ping


def cut_body(reading: Reading, body: Body) -> dict[str, Any]:
    """The body without what stands behind its last cache point, ended as a valid conversation.

    Everything before the cut stays as it is, in its order; no marker is moved or added. Arguments as `ping_body`.
    """
    last = reading.cache_points[-1]
    cut = dict(body)
    _cut_tools_and_system(cut, reading.dialect, last)
    cut["messages"] = _messages(body.get("messages") or [], reading.dialect, last)
    return cut


def with_ttl(reading: Reading, body: Body, ttl: Ttl) -> dict[str, Any]:
    """The body with all its cache points asking for this ttl; nothing else is changed.

    All, because a longer ttl may not follow a shorter one.

    Returns:
        A new mapping that shares the unchanged parts with `body`.
    """
    asking: Any = dict(body)
    key = "cache_control" if reading.dialect is Dialect.ANTHROPIC else "cachePoint"
    for point in reading.cache_points:
        path = _path_of(point, reading.dialect)
        holder = asking
        for step in path:
            holder[step] = holder[step].copy()
            holder = holder[step]
        holder[key] = {**holder[key], "ttl": ttl.value}
    return dict(asking)


def _path_of(point: Block, dialect: Dialect) -> tuple[str | int, ...]:
    """The way through a body to what holds a marker; Nova has none in its tools."""
    if point.section is Section.MESSAGES:
        return "messages", point.index, "content", point.part
    if point.section is Section.TOOLS and dialect is Dialect.CONVERSE:
        return "toolConfig", "tools", point.index
    return point.section.value, point.index


def production_body(reading: Reading, body: Body, max_tokens: int) -> dict[str, Any]:
    """The body as production sends it, with as little output as it allows; never the same bytes as the ping.

    A request that has nothing behind its last cache point gets another short question. Extended thinking stays, and
    then the output limit is just above its budget. Arguments as `ping_body`.
    """
    last = reading.cache_points[-1]
    whole = dict(body)
    if last == reading.blocks[-1] or not body.get("messages"):
        whole = cut_body(reading, body)
        whole["messages"] = [*whole["messages"][:-1], _asked(whole["messages"][-1], reading.dialect)]
    thinking = thinking_of(reading.dialect, body)
    budget = thinking.get("budget_tokens") if thinking.get("type") == "enabled" else None
    _set_limit(whole, reading.dialect, max(max_tokens, budget + 1) if isinstance(budget, int) else max_tokens)
    return whole


def _asked(turn: Body, dialect: Dialect) -> dict[str, Any]:
    question = ({"type": "text"} if dialect is Dialect.ANTHROPIC else {}) | {"text": _OTHER_TEXT}
    return {**turn, "content": [*turn["content"], question]}


def _cut_tools_and_system(ping: dict[str, Any], dialect: Dialect, last: Block) -> None:
    if last.section is Section.SYSTEM:
        ping["system"] = ping["system"][: last.index + 1]
    if last.section is not Section.TOOLS:
        return
    ping.pop("system", None)
    if dialect is Dialect.CONVERSE:
        config = ping["toolConfig"]
        ping["toolConfig"] = config | {"tools": _tools(config["tools"], last.index, _named_tool(config, "toolChoice"))}
    else:
        ping["tools"] = _tools(ping["tools"], last.index, _named_tool(ping, "tool_choice"))


def _tools(tools: list[Any], last_index: int, named: str | None) -> list[Any]:
    """Tools through the marked one, and behind it only the one that the tool choice insists on."""
    return tools[: last_index + 1] + [tool for tool in tools[last_index + 1 :] if named and _tool_name(tool) == named]


def _named_tool(holder: Body, key: str) -> str | None:
    choice = holder.get(key)
    if not isinstance(choice, Mapping):
        return None
    return choice.get("name") or (choice.get("tool") or {}).get("name")


def _tool_name(tool: Body) -> str | None:
    return tool.get("name") or (tool.get("toolSpec") or {}).get("name")


def _messages(messages: list[Any], dialect: Dialect, last: Block) -> list[Any]:
    """The conversation through the marked block, then whatever makes it one that the model accepts."""
    if last.section is not Section.MESSAGES:
        return [_tiny_turn(dialect)]
    marked = messages[last.index]
    content, rest = marked["content"][: last.part + 1], marked["content"][last.part + 1 :]
    if marked["role"] == "user":
        # An assistant's tool calls must all be answered in the turn that follows them.
        content += [block for block in rest if _tool_result_id(block)]
        content += _beside_documents(content, dialect)
        return [*messages[: last.index], dict(marked) | {"content": content}]
    kept = [*messages[: last.index], dict(marked) | {"content": content}]
    calls = {_tool_use_id(block) for block in content} - {None}
    following = messages[last.index + 1]["content"] if calls and last.index + 1 < len(messages) else []
    results = [block for block in following if _tool_result_id(block) in calls]
    return [*kept, {"role": "user", "content": results} if results else _tiny_turn(dialect)]


def _beside_documents(content: list[Any], dialect: Dialect) -> list[dict[str, Any]]:
    """The tiny text for a turn with a document whose own text was cut off; only Anthropic bodies do without."""
    if dialect is Dialect.ANTHROPIC or any("text" in block for block in content):
        return []
    return [_tiny_text(dialect)] if any("document" in block for block in content) else []


def _tiny_turn(dialect: Dialect) -> dict[str, Any]:
    return {"role": "user", "content": [_tiny_text(dialect)]}


def _tiny_text(dialect: Dialect) -> dict[str, Any]:
    return ({"type": "text"} if dialect is Dialect.ANTHROPIC else {}) | {"text": _SMALLEST_TEXT}


def _tool_use_id(block: Body) -> str | None:
    if block.get("type") == "tool_use":
        return block.get("id")
    return (block.get("toolUse") or {}).get("toolUseId")


def _tool_result_id(block: Any) -> str | None:
    if not isinstance(block, Mapping):
        return None
    if block.get("type") == "tool_result":
        return block.get("tool_use_id")
    return (block.get("toolResult") or {}).get("toolUseId")


def _limit_output(ping: dict[str, Any], dialect: Dialect, max_tokens: int) -> None:
    """Set the output limit; extended thinking, which needs 1,024 tokens and more, is left out.

    Thinking counts for the messages section only on most models, and the registry refuses it together with a cache
    point in a message; `docs/decisions/0004-thinking.md` has the reasons.
    """
    if thinking_of(dialect, ping).get("type") == "enabled":
        _drop_thinking(ping, dialect)
    _set_limit(ping, dialect, max_tokens)


def _set_limit(ping: dict[str, Any], dialect: Dialect, max_tokens: int) -> None:
    if dialect is Dialect.ANTHROPIC:
        ping.pop("stream", None)
        ping["max_tokens"] = max_tokens
        return
    config = dict(ping.get("inferenceConfig") or {})
    name = "max_new_tokens" if dialect is Dialect.NOVA and "max_new_tokens" in config else "maxTokens"
    ping["inferenceConfig"] = config | {name: max_tokens}


def _drop_thinking(ping: dict[str, Any], dialect: Dialect) -> None:
    if dialect is not Dialect.CONVERSE:
        del ping["thinking"]
        return
    extra = {name: value for name, value in ping["additionalModelRequestFields"].items() if name != "thinking"}
    ping["additionalModelRequestFields"] = extra
    if not extra:
        del ping["additionalModelRequestFields"]
