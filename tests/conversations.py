"""Production requests of every shape that the three dialects know, and what makes one valid."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from keepwarm import dialects
from keepwarm.dialects import Dialect
from keepwarm.model import Api, Section, Ttl

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8)
Request = dict[str, Any]


def api_of(dialect: Dialect) -> Api:
    """The API that a dialect is sent through."""
    return Api.CONVERSE if dialect is Dialect.CONVERSE else Api.INVOKE_MODEL


# -- blocks -------------------------------------------------------------------------------------------------------


def text(dialect: Dialect, words: str) -> Request:
    """A text block."""
    return {"type": "text", "text": words} if dialect is Dialect.ANTHROPIC else {"text": words}


def tool(dialect: Dialect, name: str, description: str = "Helps.") -> Request:
    """A tool definition."""
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
    if dialect is Dialect.ANTHROPIC:
        return {"name": name, "description": description, "input_schema": schema}
    return {"toolSpec": {"name": name, "description": description, "inputSchema": {"json": schema}}}


def tool_use(dialect: Dialect, identity: str, name: str) -> Request:
    """A call of a tool."""
    if dialect is Dialect.ANTHROPIC:
        return {"type": "tool_use", "id": identity, "name": name, "input": {"b": "x", "a": 1}}
    return {"toolUse": {"toolUseId": identity, "name": name, "input": {"b": "x", "a": 1}}}


def tool_result(dialect: Dialect, identity: str, words: str) -> Request:
    """The answer to a call."""
    if dialect is Dialect.ANTHROPIC:
        return {"type": "tool_result", "tool_use_id": identity, "content": words}
    return {"toolResult": {"toolUseId": identity, "content": [{"text": words}]}}


def image(dialect: Dialect) -> Request:
    """A picture of one byte."""
    if dialect is Dialect.ANTHROPIC:
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    return {"image": {"format": "png", "source": {"bytes": b"\0" if dialect is Dialect.CONVERSE else "AA=="}}}


def document(dialect: Dialect, *, cites: bool = False) -> Request:
    """A document, which may ask for citations."""
    citations = {"citations": {"enabled": True}} if cites else {}
    if dialect is Dialect.ANTHROPIC:
        source = {"type": "text", "media_type": "text/plain", "data": "facts"}
        return {"type": "document", "source": source} | citations
    source = {"bytes": b"facts"} if dialect is Dialect.CONVERSE else {"bytes": "ZmFjdHM="}
    return {"document": {"format": "txt", "name": "facts", "source": source} | citations}


def mark(dialect: Dialect, block: Request, ttl: Ttl = Ttl.FIVE_MINUTES) -> list[Request]:
    """A block with a cache point, as the elements that stand for the two in a list."""
    told = {} if ttl is Ttl.FIVE_MINUTES else {"ttl": ttl.value}
    if dialect is Dialect.ANTHROPIC:
        return [block | {"cache_control": {"type": "ephemeral"} | told}]
    point = {"cachePoint": {"type": "default"} | told}
    return [block | point] if dialect is Dialect.NOVA else [block, point]


# -- requests -----------------------------------------------------------------------------------------------------


@st.composite
def requests(draw: st.DrawFn, dialect: Dialect, padding: str = "") -> Request:
    """A valid request with one to four cache points anywhere, long enough to be cached when the padding is.

    No image and no citation stands behind the last cache point, where `make_ping` may refuse.
    """
    tools = [tool(dialect, f"tool{number}", draw(TEXTS)) for number in range(draw(st.integers(0, 3)))]
    system = [text(dialect, draw(TEXTS)) for _ in range(draw(st.integers(0, 3)))]
    names = [_name(found) for found in tools]
    messages = draw(conversations(dialect, names))
    if padding:
        _pad(dialect, tools, system, messages, padding)
    places = _markable(dialect, tools, system, messages)
    if not places:
        system = [text(dialect, padding + draw(TEXTS))]
        places = [(system, 0)]
    chosen = draw(st.lists(st.sampled_from(range(len(places))), min_size=1, max_size=4, unique=True).map(sorted))
    hours = draw(st.integers(0, len(chosen))) if dialect is not Dialect.NOVA else 0
    for number, place in reversed(list(enumerate(chosen))):
        holder, index = places[place]
        holder[index : index + 1] = mark(dialect, holder[index], Ttl.ONE_HOUR if number < hours else Ttl.FIVE_MINUTES)
    return merged(draw(settings_of(dialect, names)), _assembled(dialect, tools, system, messages))


@st.composite
def conversations(draw: st.DrawFn, dialect: Dialect, tools: list[str]) -> list[Request]:
    """Turns of user and assistant that end with the user; every call of a tool is answered in the next turn."""
    turns, calls = [], list[str]()
    for number in range(draw(st.integers(0, 3))):
        turns.append({"role": "user", "content": draw(user_contents(dialect, calls))})
        calls = [f"call{number}-{index}" for index in range(draw(st.integers(0, 3)) if tools else 0)]
        said = [text(dialect, draw(TEXTS)) for _ in range(draw(st.integers(0 if calls else 1, 2)))]
        asked = [tool_use(dialect, call, draw(st.sampled_from(tools))) for call in calls]
        turns.append({"role": "assistant", "content": said + asked})
    turns.append({"role": "user", "content": draw(user_contents(dialect, calls))})
    return turns


@st.composite
def user_contents(draw: st.DrawFn, dialect: Dialect, calls: list[str]) -> list[Request] | str:
    """Answers to calls in any order, then what the user says; a plain string where the dialect takes one."""
    answers = [tool_result(dialect, call, draw(TEXTS)) for call in draw(st.permutations(calls))]
    if not calls and dialect is Dialect.ANTHROPIC and draw(st.booleans()):
        return draw(TEXTS)
    said = [text(dialect, draw(TEXTS)) for _ in range(draw(st.integers(0 if calls else 1, 3)))]
    if said and draw(st.booleans()):
        said.insert(draw(st.integers(0, len(said))), document(dialect))
    return answers + said


@st.composite
def settings_of(draw: st.DrawFn, dialect: Dialect, tools: list[str]) -> Request:
    """Everything besides the prompt: output limits, sampling, tool choice."""
    choice = draw(st.none() | st.sampled_from(["auto", "any", *tools])) if tools else None
    if dialect is Dialect.ANTHROPIC:
        named = {"type": choice} if choice in {"auto", "any"} else {"type": "tool", "name": choice}
        limit = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": draw(st.integers(1, 9_000))}
        return limit | ({"tool_choice": named} if choice else {}) | draw(st.sampled_from([{}, {"temperature": 0.5}]))
    limit = draw(st.sampled_from([{}, {"maxTokens": 500}, {"maxTokens": 500, "temperature": 0.5}]))
    if dialect is Dialect.NOVA and draw(st.booleans()):
        limit = {"max_new_tokens": 500, "topP": 0.9}
    named = {choice: {}} if choice in {"auto", "any"} else {"tool": {"name": choice}}
    config = {"toolConfig": {"toolChoice": named}} if choice else {}
    return config | ({"inferenceConfig": limit} if limit else {})


def _assembled(dialect: Dialect, tools: list[Request], system: list[Request], messages: list[Request]) -> Request:
    found: Request = {"messages": messages}
    if system:
        found["system"] = system
    if tools and dialect is Dialect.ANTHROPIC:
        found["tools"] = tools
    elif tools:
        found["toolConfig"] = {"tools": tools}
    return found


def merged(request: Request, other: Request) -> Request:
    """One request of two, whose tool settings are both kept."""
    config = request.get("toolConfig", {}) | other.get("toolConfig", {})
    return request | other | ({"toolConfig": config} if config else {})


def _markable(
    dialect: Dialect, tools: list[Request], system: list[Request], messages: list[Request]
) -> list[tuple[list[Request], int]]:
    """Where a cache point may stand: the list and the index in it, in the order of the prompt."""
    parts = [message["content"] for message in messages if isinstance(message["content"], list)]
    holders = [system, *parts] if dialect is Dialect.NOVA else [tools, system, *parts]
    places = [(holder, index) for holder in holders for index in range(len(holder))]
    return [(holder, index) for holder, index in places if dialect is not Dialect.NOVA or "text" in holder[index]]


def _pad(dialect: Dialect, tools: list[Request], system: list[Request], messages: list[Request], padding: str) -> None:
    """Make the first block of the prompt long."""
    if tools:
        tools[0] = tool(dialect, _name(tools[0]), padding)
    elif system:
        system[0] = text(dialect, padding)
    elif isinstance(messages[0]["content"], str):
        messages[0]["content"] = padding
    else:
        messages[0]["content"].insert(0, text(dialect, padding))


def _name(found: Request) -> str:
    return found.get("name") or found["toolSpec"]["name"]


# -- validity -----------------------------------------------------------------------------------------------------


def problems(dialect: Dialect, body: Request) -> list[str]:
    """What the model would refuse of a request; written apart from the emulator, from the same pages."""
    found, open_calls = [], set[str]()
    roles = [message["role"] for message in body["messages"]]
    if not roles or roles[0] != "user" or roles[-1] != "user":
        found.append("a conversation starts and ends with the user")
    if any(first == second for first, second in pairwise(roles)):
        found.append("turns alternate")
    for message in body["messages"]:
        blocks = [text(dialect, message["content"])] if isinstance(message["content"], str) else message["content"]
        answered = {answer for answer in map(_answers, blocks) if answer}
        if not blocks or open_calls != answered:
            found.append("a turn is not empty and answers exactly the calls before it")
        if dialect is not Dialect.ANTHROPIC and any("document" in block for block in blocks):
            found += [] if any("text" in block for block in blocks) else ["a document stands beside a text"]
        open_calls = {call for call in map(_asks, blocks) if call}
    return found + (["the chosen tool is there"] if _chosen(body) - _tool_names(body) else [])


def _answers(block: Request) -> str | None:
    return block.get("tool_use_id") or block.get("toolResult", {}).get("toolUseId")


def _asks(block: Request) -> str | None:
    return (block.get("id") if block.get("type") == "tool_use" else None) or block.get("toolUse", {}).get("toolUseId")


def _chosen(body: Request) -> set[str]:
    choice = body.get("tool_choice") or body.get("toolConfig", {}).get("toolChoice") or {}
    return {name for name in (choice.get("name"), choice.get("tool", {}).get("name")) if name}


def _tool_names(body: Request) -> set[str]:
    tools = body.get("tools") or body.get("toolConfig", {}).get("tools") or []
    return {_name(found) for found in tools if "cachePoint" not in found}


def last_section(dialect: Dialect, body: Request) -> Section:
    """Where the last cache point of a request stands."""
    return dialects.read(dialect, body).cache_points[-1].section
