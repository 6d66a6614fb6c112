"""Reads one record of Bedrock's model invocation logging into an organic request, or says why it is none.

It opens nothing and fetches nothing: a body that stands in an object of its own is handed in. What it cannot read for
certain it skips, for a wrong digest would keep the wrong entry alive. The shapes are from the Amazon Bedrock user
guide, "Model invocation logging", and from records that others have published, both read 2026-11-22.

Three choices, where the documents are silent:

- **Start.** Whether `timestamp` is the start or the end of a request is not said. It is taken for the end wherever the
  record tells how long the request took: an entry believed to die too early costs one more read, one believed to live
  too long costs the write.
- **Model.** Records name an inference profile by its ARN also when the application sent its id. It stays as it stands
  in the record; `touches.Matcher` compares ids without what an ARN has in front of them.
- **Media.** Images and documents of Converse may have been moved to S3. Without their bytes a block has no digest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from keepwarm import dialects, fingerprint, touches
from keepwarm.dialects import Dialect, DialectError, Reading
from keepwarm.model import Api, Source
from keepwarm.pricing import parse_model_id
from keepwarm.touches import Refused, ReportedTouch

MAX_BODY_BYTES = 25_000_000  # botocore's bound for a body
MAX_RECORD_BYTES = 2 * MAX_BODY_BYTES  # with its answer

_SCHEMA = "ModelInvocationLog"
_APIS = {
    "Converse": Api.CONVERSE,
    "ConverseStream": Api.CONVERSE,
    "InvokeModel": Api.INVOKE_MODEL,
    "InvokeModelWithResponseStream": Api.INVOKE_MODEL,
}
_OUR_AGENT = "keepwarm/"
_LONGEST = timedelta(hours=1)  # Bedrock's own limit for one inference
_MEDIA = ("image", "document", "video")


class Skip(StrEnum):
    """Why a record is no organic request; closed."""

    TRUNCATED = "truncated"  # not a whole JSON object
    TOO_LARGE = "too_large"
    UNKNOWN_SCHEMA = "unknown_schema"
    UNKNOWN_OPERATION = "unknown_operation"
    UNKNOWN_MODEL = "unknown_model"  # an InvokeModel body of neither Claude nor Nova, such as of an embedding
    OURS = "ours"  # a ping of keepwarm
    FAILED = "failed"  # Bedrock refused it, so that it touched nothing
    BODY_MISSING = "body_missing"  # logging was told to leave bodies out, or the body's object is not there
    BODY_DENIED = "body_denied"  # the body's object may not be read: grant s3:GetObject
    NOT_ITS_DIALECT = "not_its_dialect"  # the body cannot be read as its cache would read it
    MEDIA_ELSEWHERE = "media_elsewhere"  # the bytes of a cached image or document are not in the record
    NO_CACHE_POINT = "no_cache_point"
    MALFORMED = "malformed"  # no request id, model, region or moment
    TOO_OLD = "too_old"
    FUTURE_DATED = "future_dated"
    ABSURD_USAGE = "absurd_usage"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that is no organic request of a cached prompt.

    Attributes:
        request_id: as far as it could be read, else empty.
        touch: for `no_cache_point` the request all the same, with the sketch of its whole prompt.
    """

    reason: Skip
    request_id: str = ""
    touch: ReportedTouch | None = field(default=None, repr=False)


class _SkippedError(Exception):
    """Leaves the reading of one record."""

    def __init__(self, reason: Skip) -> None:
        super().__init__(reason.value)
        self.reason = reason


# -- from text ----------------------------------------------------------------------------------------------------


def parse_record(line: bytes | str) -> dict[str, Any] | Skipped:
    """One line of a log as an object."""
    if len(line) > MAX_RECORD_BYTES:
        return Skipped(Skip.TOO_LARGE)
    found = _parse(line)
    return found if isinstance(found, dict) else Skipped(Skip.TRUNCATED)


def body_path(record: Mapping[str, Any]) -> str:
    """Where the request's body stands when it was too long for the record (`s3://...`); empty when it is in it."""
    told = _object(record, "input")
    path = told.get("inputBodyS3Path")
    return path if isinstance(path, str) and told.get("inputBodyJson") is None else ""


def read_record(
    record: Mapping[str, Any], now: datetime | None, body: bytes | Skip | None = None
) -> ReportedTouch | Skipped:
    """The organic request that a record tells of.

    Args:
        record: parsed; see `parse_record`.
        now: aware; when it was heard of. None to read history, where nothing is too old.
        body: JSON text of the object at `body_path`, unpacked, or why there is none.
    """
    try:
        touch, marked = _read(record, now, body)
    except _SkippedError as error:
        return Skipped(error.reason, _request_id(record))
    except RecursionError:
        return Skipped(Skip.NOT_ITS_DIALECT, _request_id(record))
    except OverflowError:  # a moment at an end of the calendar
        return Skipped(Skip.MALFORMED, _request_id(record))
    return touch if marked else Skipped(Skip.NO_CACHE_POINT, touch.request_id, touch)


def _read(record: Mapping[str, Any], now: datetime | None, given: bytes | Skip | None) -> tuple[ReportedTouch, bool]:
    """The request, and whether it bears a cache point."""
    api = _api(record)
    touch = _touch(record, api, now)  # before the body: what is refused here needs no digest
    body = _body(record, given)
    if _is_ping(body.get("requestMetadata")):
        raise _SkippedError(Skip.OURS)
    dialect = _dialect(api, touch.model_id, body)
    try:
        reading = dialects.read(dialect, body)
    except DialectError:
        raise _SkippedError(Skip.NOT_ITS_DIALECT) from None
    if not reading.blocks:
        raise _SkippedError(Skip.NOT_ITS_DIALECT)
    points = reading.cache_points
    if dialect is Dialect.CONVERSE and points:
        _check_media(reading)
    drawn = fingerprint.sketch(reading)
    return replace(touch, sketch=fingerprint.cut(drawn) if points else drawn), bool(points)


# -- what it is ---------------------------------------------------------------------------------------------------


def _api(record: Mapping[str, Any]) -> Api:
    if record.get("schemaType") != _SCHEMA or not str(record.get("schemaVersion", "1.0")).startswith("1."):
        raise _SkippedError(Skip.UNKNOWN_SCHEMA)
    operation = record.get("operation")
    api = _APIS.get(operation) if isinstance(operation, str) else None
    if api is None:
        raise _SkippedError(Skip.UNKNOWN_OPERATION)
    if _is_ping(record.get("requestMetadata")) or _OUR_AGENT in str(record.get("userAgent", "")):
        raise _SkippedError(Skip.OURS)
    if record.get("errorCode"):
        raise _SkippedError(Skip.FAILED)
    return api


def _is_ping(metadata: Any) -> bool:
    return isinstance(metadata, Mapping) and metadata.get("keepwarm") == "ping"


def _dialect(api: Api, model_id: str, body: Mapping[str, Any]) -> Dialect:
    """An application inference profile hides the family in its id, but a body tells."""
    if api is Api.CONVERSE:
        return Dialect.CONVERSE
    base_id = parse_model_id(model_id).base_id
    if base_id.startswith("anthropic."):
        return Dialect.ANTHROPIC
    if base_id.startswith("amazon.nova"):
        return Dialect.NOVA
    if "." in base_id or not isinstance(body.get("messages"), list):
        raise _SkippedError(Skip.UNKNOWN_MODEL)
    return Dialect.ANTHROPIC if "anthropic_version" in body else Dialect.NOVA


def _body(record: Mapping[str, Any], given: bytes | Skip | None) -> Mapping[str, Any]:
    inline = _object(record, "input").get("inputBodyJson")
    if inline is None and isinstance(given, Skip):
        raise _SkippedError(given)
    if inline is None and given is None:
        raise _SkippedError(Skip.BODY_MISSING)
    text = given if inline is None else inline
    if isinstance(text, bytes | str):
        if len(text) > MAX_BODY_BYTES:
            raise _SkippedError(Skip.TOO_LARGE)
        text = _parse(text)
    if not isinstance(text, dict):
        raise _SkippedError(Skip.TRUNCATED)
    return text


def _check_media(reading: Reading) -> None:
    """Refuse a cached image or document whose bytes are not there: its digest would be that of another block."""
    last = reading.blocks.index(reading.cache_points[-1])
    for block in reading.blocks[: last + 1]:
        for part in _parts(block.content):
            if any(name in part for name in _MEDIA) and not _is_inline(part):
                raise _SkippedError(Skip.MEDIA_ELSEWHERE)


def _parts(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A block, and the blocks inside it when it is the result of a tool or guarded content."""
    yield content
    yield _object(content, "guardContent")
    inside = _object(content, "toolResult").get("content")
    if isinstance(inside, list):
        yield from (part for part in inside if isinstance(part, Mapping))


def _is_inline(part: Mapping[str, Any]) -> bool:
    """Whether every medium of a block has its content: bytes as base64, or a document's text."""
    for name in _MEDIA:
        if name in part:
            source = _object(_object(part, name), "source")
            text = source.get("bytes")
            if not _is_base64(text) and not {"text", "content"} & source.keys():
                return False
    return True


def _is_base64(text: Any) -> bool:
    """Whether it is base64 as every client writes it, so that the same bytes are always the same text."""
    try:
        return isinstance(text, str) and bool(text) and base64.b64encode(base64.b64decode(text)).decode() == text
    except (binascii.Error, ValueError):
        return False


# -- who, when, how much ------------------------------------------------------------------------------------------


def _touch(record: Mapping[str, Any], api: Api, now: datetime | None) -> ReportedTouch:
    """Everything but the prompt, held to the same rules as a touch that is told over HTTP."""
    ended_at = _moment(record.get("timestamp"))
    answer = _object(record, "output").get("outputBodyJson")
    told = _told(answer)
    took = _milliseconds(told, "invocationLatency", "latencyMs")
    # A moment ahead of us is judged as it stands; only then is the way back to the start counted.
    raw = {
        "request_id": record.get("requestId"),
        "api": api.value,
        "model_id": record.get("modelId"),
        "region": record.get("region"),
        "started_at": ended_at.isoformat(),
        "latency_ms": _milliseconds(told, "firstByteLatency", *([] if _is_stream(record) else ["latencyMs"])),
        "usage": _usage(record, told),
    }
    found = touches.parse(raw, now or ended_at, Source.INVOCATION_LOG)
    if isinstance(found, Refused):
        raise _SkippedError(Skip(found.reason.value))
    return replace(found, started_at=found.started_at - timedelta(milliseconds=took or 0))


def _moment(told: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(told)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        raise _SkippedError(Skip.MALFORMED) from None


def _is_stream(record: Mapping[str, Any]) -> bool:
    return "Stream" in str(record.get("operation"))


def _milliseconds(told: Mapping[str, Any], *names: str) -> int | None:
    found = next((told[name] for name in names if name in told), None)
    longest = _LONGEST // timedelta(milliseconds=1)
    return found if type(found) is int and 0 <= found <= longest else None


_INPUT = ("inputTokenCount", "input_tokens", "inputTokens")
_OUTPUT = ("outputTokenCount", "output_tokens", "outputTokens")
_READ = ("cacheReadInputTokenCount", "cache_read_input_tokens", "cacheReadInputTokens")
_WRITTEN = ("cacheWriteInputTokenCount", "cache_creation_input_tokens", "cacheWriteInputTokens")


def _usage(record: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any] | None:
    """Token counts of the record, completed from its answer, as `touches.parse` wants them; None when not told.

    A usage object that leaves the cache out says that nothing was cached; a record that leaves it out says nothing.
    """
    counts = {**told, **_without_none(_object(record, "output")), **_without_none(_object(record, "input"))}
    silent = 0 if _first(told, _INPUT) is not None else None
    read, written = (_first(counts, names, silent) for names in (_READ, _WRITTEN))
    if _first(counts, _INPUT) is None or read is None or written is None:
        return None
    written_1h = _written_1h(told)
    return {
        "input_tokens": _first(counts, _INPUT),
        "output_tokens": _first(counts, _OUTPUT, 0),
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        # The split is of the answer's own count; where the record says another, it splits nothing.
        "cache_write_1h_tokens": written_1h if _first(told, _WRITTEN, written) == written else None,
    }


def _told(answer: Any) -> dict[str, Any]:
    """Usage and latencies of an answer: of one body, or of the events of a stream, the last word counting."""
    events = answer if isinstance(answer, list) else [answer]
    found: dict[str, Any] = {}
    for event in events:
        if isinstance(event, Mapping):
            last = _object(event, "metadata")
            holders = (_object(event, "message"), event, last)
            for part in (
                *(_object(holder, "usage") for holder in holders),
                *(_object(holder, "metrics") for holder in (event, last)),
                _object(event, "amazon-bedrock-invocationMetrics"),
            ):
                found |= _without_none(part)
    return found


def _written_1h(told: Mapping[str, Any]) -> Any:
    creation = told.get("cache_creation")
    if isinstance(creation, Mapping):
        return creation.get("ephemeral_1h_input_tokens", 0)
    rows = told.get("cacheDetails")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        return None
    counts = [row.get("inputTokens") for row in rows if row.get("ttl") == "1h"]
    return sum(counts) if all(type(count) is int for count in counts) else None


def _first(holder: Mapping[str, Any], names: tuple[str, ...], otherwise: Any = None) -> Any:
    return next((holder[name] for name in names if name in holder), otherwise)


def _without_none(holder: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in holder.items() if value is not None}


def _request_id(record: Mapping[str, Any]) -> str:
    found = record.get("requestId")
    return found if isinstance(found, str) and len(found) <= 255 and found.isprintable() else ""


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, Mapping) else {}


def _parse(text: bytes | str) -> Any:
    """Parsed JSON; None for what is no JSON, too deep, or holds a number that is too long."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
