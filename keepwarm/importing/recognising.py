"""Recognises a production request, whichever way somebody got hold of it.

It reads and writes no file, and judges no cache points. The shapes are those of `dialects`; an invocation-log record is
as in the Bedrock user guide, "Model invocation logging", read 2026-11-22.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from keepwarm.dialects import Dialect, Reading, stable_end
from keepwarm.model import Api, Family, Section

_SECTION_KEYS = frozenset({"messages", "system", "tools", "toolConfig"})
_CONVERSE_KEYS = frozenset({
    "additionalModelRequestFields", "guardrailConfig", "modelId", "outputConfig", "performanceConfig",
    "promptVariables", "requestMetadata", "serviceTier",
})  # fmt: skip
_KINDS = {
    Dialect.CONVERSE: "arguments of converse",
    Dialect.ANTHROPIC: "an InvokeModel body of a Claude model",
    Dialect.NOVA: "an InvokeModel body of a Nova model",
}


class NotRecognised(ValueError):
    """Something that is no request; the message says what was expected and holds no prompt text."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A production request and what came with it.

    Attributes:
        kind: what it was, in words.
        data: as a request file of the registry holds it: a body, or the keyword arguments of the boto3 call.
        model_id: empty when it was not told; so is the region.
        operation: of an invocation-log record, empty elsewhere.
    """

    kind: str
    api: Api
    dialect: Dialect
    data: Mapping[str, Any] = field(repr=False)
    model_id: str = ""
    region: str = ""
    operation: str = ""


def parse(text: str, line: int | None = None) -> Any:
    """The JSON of a file, or of one line (from 1) of a file of JSON lines.

    Raises:
        NotRecognised: it is not JSON, has no such line, or has several lines and none was chosen.
    """
    chosen = text if line is None else _line(text, line)
    try:
        return json.loads(chosen)
    except RecursionError:
        raise NotRecognised("is nested too deeply") from None
    except ValueError as error:
        lines = [found for found in text.splitlines() if found.strip()]
        if line is None and len(lines) > 1 and _is_json(lines[0]):
            raise NotRecognised(
                f"holds {len(lines):,} lines of JSON; say which one to import with --line, such as --line 1"
            ) from None
        message = error.msg if isinstance(error, json.JSONDecodeError) else "a number is too long"
        where = f" in line {line}" if line else f" in line {getattr(error, 'lineno', 1)}"
        raise NotRecognised(f"is not JSON{where}: {message}") from None


def recognise(data: Any, api: Api | None = None, family: Family | None = None) -> Recognised:
    """Tell what parsed JSON is.

    Args:
        api: what the user says it is sent through; None to find out.
        family: of the model, where that is known; it decides between the two kinds of body.

    Raises:
        NotRecognised: it is not a request that keepwarm could ping.
    """
    if not isinstance(data, Mapping):
        raise NotRecognised("must hold a JSON object")
    if "inputBodyJson" in _mapping(data, "input") or data.get("schemaType") == "ModelInvocationLog":
        return _of_record(data, family)
    if "body" in data and not data.keys() & _SECTION_KEYS:
        body = _body(data["body"])
        dialect = _body_dialect(body, family)
        kept = {name: value for name, value in data.items() if name not in {"modelId", "requestMetadata"}}
        kind = f"arguments of invoke_model with {_KINDS[dialect]}"
        return Recognised(kind, Api.INVOKE_MODEL, dialect, kept, _text(data, "modelId"))
    if not data.keys() & {"messages", "system"}:
        raise NotRecognised(
            "is not a request: expected the body of InvokeModel, the arguments of converse or invoke_model, or a "
            "record of the invocation log"
        )
    dialect = _dialect(data, api, family)
    found = Api.CONVERSE if dialect is Dialect.CONVERSE else Api.INVOKE_MODEL
    kept = {name: value for name, value in data.items() if name not in {"modelId", "requestMetadata"}}
    return Recognised(_KINDS[dialect], found, dialect, kept, _text(data, "modelId"))


def where_a_point_would_go(reading: Reading, *, tools_cacheable: bool) -> str:
    """Where a request without a cache point would bear its first one, and how it is written."""
    place = stable_end(reading)
    if place is None or (place.section is Section.TOOLS and not tools_cacheable):
        return "put what every request begins with into the system text, and a cache point at its end"
    named = f"{_NAMES[reading.dialect][place.section]}[{place.index}]"
    if reading.dialect is Dialect.ANTHROPIC:
        form = f'"cache_control": {{"type": "ephemeral"}} in {named}'
        return f"add {form}" + (" (a list of text blocks, not one text)" if place.section is Section.SYSTEM else "")
    if reading.dialect is Dialect.NOVA:
        return f'add "cachePoint": {{"type": "default"}} in {named}'
    return f'add {{"cachePoint": {{"type": "default"}}}} as an element behind {named}'


_NAMES = {
    Dialect.ANTHROPIC: {Section.TOOLS: "tools", Section.SYSTEM: "system"},
    Dialect.NOVA: {Section.TOOLS: "toolConfig.tools", Section.SYSTEM: "system"},
    Dialect.CONVERSE: {Section.TOOLS: "toolConfig.tools", Section.SYSTEM: "system"},
}


# -- records ------------------------------------------------------------------------------------------------------


def _of_record(record: Mapping[str, Any], family: Family | None) -> Recognised:
    operation = _text(record, "operation")
    body = _mapping(record, "input").get("inputBodyJson")
    if isinstance(body, str):
        body = _body(body)
    if not isinstance(body, Mapping):
        outside = _mapping(record, "input").get("inputBodyS3Path")
        if outside:
            raise NotRecognised("is a record whose body lies in an object of its own; import that (inputBodyS3Path)")
        raise NotRecognised("is a record without a request body (input.inputBodyJson)")
    if operation in {"Converse", "ConverseStream"}:
        api, dialect = Api.CONVERSE, Dialect.CONVERSE
    elif operation in {"InvokeModel", "InvokeModelWithResponseStream"}:
        api, dialect = Api.INVOKE_MODEL, _body_dialect(body, family)
    else:
        raise NotRecognised(f"is a record of {operation[:60] or 'an unnamed operation'}, which has no prompt cache")
    kind = f"a record of {operation} from the invocation log"
    return Recognised(kind, api, dialect, body, _text(record, "modelId"), _text(record, "region"), operation)


# -- dialects -----------------------------------------------------------------------------------------------------


def _dialect(data: Mapping[str, Any], api: Api | None, family: Family | None) -> Dialect:
    if api is Api.CONVERSE:
        return Dialect.CONVERSE
    if api is Api.INVOKE_MODEL:
        return _body_dialect(data, family)
    marked = _marked(data)
    if marked:
        return marked
    if "anthropic_version" in data or "max_tokens" in data or any("type" in block for block in _blocks(data)):
        return Dialect.ANTHROPIC
    nova = "schemaVersion" in data or "max_new_tokens" in _mapping(data, "inferenceConfig")
    return Dialect.NOVA if nova and not data.keys() & _CONVERSE_KEYS else Dialect.CONVERSE


def _body_dialect(body: Mapping[str, Any], family: Family | None) -> Dialect:
    if family is not None:
        return Dialect.ANTHROPIC if family is Family.ANTHROPIC else Dialect.NOVA
    nova = _marked(body) is Dialect.NOVA or body.keys() & {"schemaVersion", "inferenceConfig", "toolConfig"}
    return Dialect.NOVA if nova else Dialect.ANTHROPIC


def _marked(data: Mapping[str, Any]) -> Dialect | None:
    """The dialect in which the first cache point is written; None without one."""
    if "cache_control" in data:
        return Dialect.ANTHROPIC
    for block in _blocks(data):
        if "cache_control" in block:
            return Dialect.ANTHROPIC
        if "cachePoint" in block:
            return Dialect.NOVA if len(block) > 1 else Dialect.CONVERSE
    return None


def _blocks(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    messages = [message.get("content") for message in _list(data.get("messages")) if isinstance(message, Mapping)]
    for holder in (data.get("tools"), _mapping(data, "toolConfig").get("tools"), data.get("system"), *messages):
        yield from (block for block in _list(holder) if isinstance(block, Mapping))


# -- small readers ------------------------------------------------------------------------------------------------


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    if number > len(lines):
        raise NotRecognised(f"has {len(lines):,} lines, and no line {number:,}")
    return lines[number - 1]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _body(body: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(body) if isinstance(body, str) else body
    except (ValueError, RecursionError):
        raise NotRecognised("has a body that is not JSON") from None
    if not isinstance(found, Mapping):
        raise NotRecognised("has a body that is not a JSON object")
    return found


def _mapping(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(data: Mapping[str, Any], name: str) -> str:
    found = data.get(name)
    return found if isinstance(found, str) else ""
