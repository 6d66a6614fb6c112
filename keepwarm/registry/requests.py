"""The request of a registered prefix: read from its file, checked, and made into its ping.

It does not know the registry file; problems are told with the request file's own name and lines.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

from keepwarm import dialects, fingerprint, replay
from keepwarm.dialects import Body, Dialect, DialectError, Reading
from keepwarm.errors import ConfigError, Problem
from keepwarm.model import Api, ModelFacts, Section, Ttl
from keepwarm.registry.files import Files

_MAX_KEY = 100  # of an error: a longer one is a misplaced text, perhaps a prompt
MAX_BODY_BYTES = 20_000_000  # Anthropic's Bedrock page, read 2026-11-22; botocore's own bound is 25,000,000

# Keyword arguments of the two boto3 calls in botocore 1.44.5 that a ping replays.
_CONVERSE_ARGUMENTS = frozenset({
    "messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "additionalModelRequestFields",
    "promptVariables", "additionalModelResponseFieldPaths", "performanceConfig", "serviceTier", "outputConfig",
})  # fmt: skip
_INVOKE_ARGUMENTS = frozenset({
    "body", "contentType", "accept", "trace", "guardrailIdentifier", "guardrailVersion", "performanceConfigLatency",
    "serviceTier",
})  # fmt: skip
# Arguments that may lead to another pool of servers or another prompt, so that they name another cache entry.
_ENTRY_ARGUMENTS = (
    "guardrailConfig", "performanceConfig", "serviceTier", "guardrailIdentifier", "guardrailVersion",
    "performanceConfigLatency", "promptVariables",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """A production request as read from its file.

    Attributes:
        arguments: keyword arguments of the boto3 call besides the body, without modelId and requestMetadata.
        body: the InvokeModel body, or for converse all keyword arguments.
        model_id: what the file says it is for; empty when it does not.
    """

    api: Api
    dialect: Dialect
    arguments: Mapping[str, Any] = field(repr=False)
    body: Body = field(repr=False)
    reading: Reading
    model_id: str = ""

    @property
    def ttl(self) -> Ttl:
        """What the last cache point asks for."""
        return self.reading.cache_points[-1].marker or Ttl.FIVE_MINUTES


@dataclass(frozen=True, slots=True)
class Ping:
    """The ping of a request.

    Attributes:
        request: keyword arguments of the boto3 call without modelId and requestMetadata.
        digest: names the cache entry as far as the request does.
        cached_bytes: size of the cached part; a prompt never has more tokens than bytes, besides what tools add.
        cached_characters: for estimates.
        certain: False when images or documents make the size say little.
        sketch: of the production request up to its last cache point.
    """

    request: Mapping[str, object] = field(repr=False)
    digest: str
    cached_bytes: int
    cached_characters: int
    certain: bool
    sketch: fingerprint.Sketch


def beside(registry: Path, name: str, *, confined: bool) -> Path:
    """Where a file lies that a registry names.

    Args:
        confined: refuse what is neither beside nor below the registry.

    Raises:
        ConfigError: it is refused.
    """
    path = PurePath(name)
    if confined and (path.is_absolute() or ".." in path.parts):
        message = "lies outside the folder of a registry that comes from S3 or SSM; keep it there"
        raise ConfigError([Problem(name, 0, "", message)])
    return registry.parent / path


def read_request(path: Path, api: Api, dialect: Dialect, model_id: str, files: Files | None = None) -> Request:
    """Read a request file: an InvokeModel body, or the keyword arguments of the boto3 call.

    Args:
        files: remembers what was read.

    Raises:
        ConfigError: the file is missing, too large, not JSON, for another model, or not of its dialect.
    """
    name = str(path)
    try:
        data = json.loads(_read(path, files))
    except OSError as error:
        raise _problem(name, "", f"cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ConfigError([Problem(name, error.lineno, "", f"is not JSON: {error.msg}")]) from None
    except RecursionError:
        raise _problem(name, "", "is nested too deeply") from None
    except ValueError as error:
        message = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else "holds a number that is too long"
        raise _problem(name, "", message) from None
    if not isinstance(data, dict):
        raise _problem(name, "", "must hold a JSON object")
    return build_request(name, data, api, dialect, model_id)


def read_text(path: Path, files: Files | None = None) -> str:
    """Read a prompt that stands in a file of its own.

    Args:
        files: remembers what was read.

    Raises:
        ConfigError: the file is missing, too large, not UTF-8 or blank.
    """
    name = str(path)
    try:
        text = _read(path, files).decode()
    except OSError as error:
        raise _problem(name, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise _problem(name, "", f"is not UTF-8 at byte {error.start}") from None
    if not text.strip():
        raise _problem(name, "", "is blank; Bedrock refuses a text of white space")
    return text


def _read(path: Path, files: Files | None) -> bytes:
    content = (files or Files()).read(path, MAX_BODY_BYTES + 1)
    if len(content) > MAX_BODY_BYTES:
        raise _problem(str(path), "", f"is larger than Bedrock accepts ({MAX_BODY_BYTES:,} bytes)")
    return content


def build_request(name: str, data: dict[str, Any], api: Api, dialect: Dialect, model_id: str) -> Request:
    """Take parsed JSON for a request.

    Raises:
        ConfigError: as `read_request`; `name` stands for the file.
    """
    if _is_deep(data):
        raise _problem(name, "", "is nested too deeply")
    if data.get("modelId", model_id) != model_id:
        raise _problem(name, "modelId", f"is {data['modelId']!r:.200}, but the registry says {model_id!r}")
    arguments = {key: value for key, value in data.items() if key not in {"modelId", "requestMetadata"}}
    if api is Api.CONVERSE:
        _refuse_unknown(name, arguments, _CONVERSE_ARGUMENTS, "converse")
        body = arguments = _decode_blobs(name, arguments)
    elif "body" in arguments and "messages" not in arguments:
        _refuse_unknown(name, arguments, _INVOKE_ARGUMENTS, "invoke_model")
        body = _body_of(name, arguments.pop("body"))
    else:
        body, arguments = data, {}
    try:
        reading = dialects.read(dialect, body)
    except DialectError as error:
        raise _problem(name, error.key, error.message) from None
    wrong = [Problem(name, 0, key, message) for key, message in _odd_shapes(body, reading)]
    if wrong:
        raise ConfigError(wrong)
    return Request(api, dialect, arguments, body, reading, str(data.get("modelId", "")))


def shorthand_request(text: str, api: Api, dialect: Dialect, ttl: Ttl) -> Request:
    """The request of a registry entry that gives only a system text: one cache point at its end."""
    body: dict[str, Any]
    point = {"type": "default"} | ({} if ttl is Ttl.FIVE_MINUTES else {"ttl": ttl.value})
    if dialect is Dialect.ANTHROPIC:
        control = {"type": "ephemeral", "ttl": ttl.value}
        block = {"type": "text", "text": text, "cache_control": control}
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, "system": [block], "messages": []}
    elif dialect is Dialect.NOVA:
        body = {"system": [{"text": text, "cachePoint": point}], "messages": []}
    else:
        body = {"system": [{"text": text}, {"cachePoint": point}], "messages": []}
    return Request(api, dialect, body if api is Api.CONVERSE else {}, body, dialects.read(dialect, body))


def check_request(request: Request, facts: ModelFacts) -> list[str]:
    """What is wrong with the cache points of a request for this model; empty when nothing is."""
    points = request.reading.cache_points
    if not points:
        return ["has no cache point: nothing of it is cached; mark the last block of the stable part"]
    found = []
    if len(points) > dialects.MAX_CACHE_POINTS:
        found.append(f"has {len(points)} cache points; Bedrock accepts {dialects.MAX_CACHE_POINTS}")
    markers = [point.marker for point in points]
    if any(early is Ttl.FIVE_MINUTES and late is Ttl.ONE_HOUR for early, late in pairwise(markers)):
        found.append("has a 5m cache point before a 1h one; the longer ttl must come first")
    refused = {marker for marker in markers if marker} - facts.ttls
    if refused:
        sold = " and ".join(sorted(facts.ttls))
        found.append(f"asks for a ttl of {', '.join(sorted(refused))}, but {facts.base_id} sells only {sold}")
    if not facts.tools_cacheable and any(point.section is Section.TOOLS for point in points):
        found.append(f"has a cache point in its tools; {facts.base_id} caches only system and messages")
    return found


def make_ping(request: Request, facts: ModelFacts, key: bytes) -> Ping:
    """Make the ping of a checked request, and prove that it names the same cache entry.

    Raises:
        ValueError: the ping would change the prefix; the message says why.
    """
    body = replay.ping_body(request.reading, request.body, facts.min_max_tokens)
    drawn = fingerprint.cut(fingerprint.sketch(request.reading))
    wanted = fingerprint.chain(drawn, key)[-1].digest
    reading = dialects.read(request.dialect, body)
    points = fingerprint.cache_points(reading, key)
    if points[-1].digest != wanted:
        raise ValueError(_why_changed(request))
    cached = reading.blocks[: reading.blocks.index(reading.cache_points[-1]) + 1]
    texts = [fingerprint.canonical(block.content) for block in cached]
    entry = {name: request.arguments[name] for name in _ENTRY_ARGUMENTS if name in request.arguments}
    certain = not any(_is_media(block.content) for block in cached)
    return Ping(
        request=body if request.api is Api.CONVERSE else {**request.arguments, "body": _to_bytes(body)},
        digest=fingerprint.combine(key, wanted, fingerprint.canonical(entry)),
        cached_bytes=sum(len(text.encode("utf-8", "surrogatepass")) for text in texts),
        cached_characters=sum(map(len, texts)),
        certain=certain,
        sketch=drawn,
    )


def with_ttl(request: Request, ttl: Ttl) -> Request:
    """The request with all its cache points asking for this ttl."""
    body = replay.with_ttl(request.reading, request.body, ttl)
    arguments = body if request.api is Api.CONVERSE else request.arguments
    return Request(request.api, request.dialect, arguments, body, dialects.read(request.dialect, body))


def thinks(request: Request) -> bool:
    """Whether the request has extended thinking enabled, which its ping leaves out."""
    return dialects.thinking_of(request.dialect, request.body).get("type") == "enabled"


def _why_changed(request: Request) -> str:
    """What the ping leaves out although it counts for the cached part, and what to do about it."""
    if thinks(request):
        return (
            "has thinking enabled and a cache point in a message: a ping cannot afford to think, and without "
            "thinking it would warm another entry; move the last cache point to the system text"
        )
    section = request.reading.cache_points[-1].section
    behind = request.reading.blocks[request.reading.blocks.index(request.reading.cache_points[-1]) + 1 :]
    if any(fingerprint.cites(block.content) for block in behind):
        return (
            "has a document with citations behind its last cache point and none before it: citations count for the "
            f"cached {section.value}, so a ping without the document would warm another entry; mark a block behind "
            "the document, or the last tool"
        )
    return (
        "has an image behind its last cache point and none before it: an image counts for the cached messages, so a "
        "ping without it would warm another entry; mark a block behind the image, or the system text"
    )


def _odd_shapes(body: Body, reading: Reading) -> Iterator[tuple[str, str]]:
    """Parts that a ping has to look into and cannot; whatever else is odd, Bedrock tells."""
    config = body.get("inferenceConfig")
    if config is not None and not isinstance(config, Mapping):
        yield "inferenceConfig", "must be an object"
    for index, message in enumerate(body.get("messages") or []):
        if not isinstance(message.get("content"), str | list):
            yield f"messages[{index}].content", "must be text or a list of blocks"
    yield from _odd_blocks(reading)
    tools = body.get("toolConfig")
    tools = tools if isinstance(tools, Mapping) else {}
    for place, choice in (("toolConfig.toolChoice", tools.get("toolChoice")), ("tool_choice", body.get("tool_choice"))):
        if isinstance(choice, Mapping):
            yield from _odd_values(choice, place, ("tool",), Mapping, "must be an object")


def _odd_blocks(reading: Reading) -> Iterator[tuple[str, str]]:
    for block in reading.blocks:
        place = f"messages[{block.index}].content[{block.part}]" if block.role else f"{block.section}[{block.index}]"
        yield from _odd_values(block.content, place, _OBJECTS, Mapping, "must be an object")
        for name in ("", *_OBJECTS):
            holder = block.content.get(name, {}) if name else block.content
            if isinstance(holder, Mapping):
                yield from _odd_values(holder, f"{place}.{name}" if name else place, _NAMES, str, "must be text")


def _odd_values(
    holder: Mapping[str, Any], place: str, names: tuple[str, ...], kind: type, message: str
) -> Iterator[tuple[str, str]]:
    for name in names:
        if holder.get(name) is not None and not isinstance(holder[name], kind):
            yield f"{place}.{name}", message


_MAX_DEPTH = 100


def _is_deep(value: Any) -> bool:
    """Whether it nests so deeply that reading it might exhaust the stack."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        inside = [holder.values() if isinstance(holder, dict) else holder for holder in level]
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not level:
            return False
    return True


_OBJECTS = ("toolSpec", "toolUse", "toolResult")
_NAMES = ("type", "id", "name", "tool_use_id", "toolUseId")


def _to_bytes(body: Body) -> bytes:
    """ASCII JSON: also a lone surrogate survives, as it would in the application's own body."""
    return json.dumps(body, separators=(",", ":")).encode()


def _is_media(content: Any) -> bool:
    return content.get("type") in {"image", "document"} or any(
        name in content for name in ("image", "document", "video")
    )


def _body_of(name: str, body: Any) -> Body:
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except json.JSONDecodeError as error:
            raise _problem(name, "body", f"is text that is not JSON: {error.msg}") from None
        except ValueError:
            raise _problem(name, "body", "holds a number that is too long") from None
        except RecursionError:
            raise _problem(name, "body", "is nested too deeply") from None
    if not isinstance(body, dict):
        raise _problem(name, "body", "must be a JSON object")
    if _is_deep(body):
        raise _problem(name, "body", "is nested too deeply")
    return body


def _refuse_unknown(name: str, arguments: Mapping[str, Any], known: frozenset[str], call: str) -> None:
    unknown = sorted(set(arguments) - known)
    if unknown:
        message = f"is not an argument of {call} that a ping can replay; known are {', '.join(sorted(known))}"
        raise ConfigError([Problem(name, 0, key[:_MAX_KEY], message) for key in unknown])


def _decode_blobs(name: str, value: Any) -> Any:
    """In JSON the bytes of images and documents are base64 under the key `bytes`; boto3 wants them raw."""
    if isinstance(value, list):
        return [_decode_blobs(name, item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"bytes"} and isinstance(value["bytes"], str):
        try:
            return {"bytes": base64.b64decode(value["bytes"], validate=True)}
        except ValueError:  # of binascii, or for what is no ASCII
            raise _problem(name, "bytes", "must be base64") from None
    return {key: _decode_blobs(name, item) for key, item in value.items()}


def _problem(name: str, key: str, message: str) -> ConfigError:
    return ConfigError([Problem(name, 0, key, message)])
