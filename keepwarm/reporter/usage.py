"""Reads token counts out of answers as they passed by: headers, whole bodies and the events of a stream.

It does not wait for anything and judges no count; a stream whose end was not seen tells nothing. Shapes from the Amazon
Bedrock user guide and the Anthropic streaming page, both read 2026-11-22.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from keepwarm.model import Usage

_HEADER = "x-amzn-bedrock-{}-token-count"
_METRICS = "amazon-bedrock-invocationMetrics"
_ENDED = "\0ended"  # no counter is called so

_INPUT = ("input_tokens", "inputTokens", "inputTokenCount")
_OUTPUT = ("output_tokens", "outputTokens", "outputTokenCount")
_READ = ("cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount")
_WRITE = ("cache_creation_input_tokens", "cacheWriteInputTokens", "cacheWriteInputTokenCount")


def usage_of_headers(headers: Mapping[str, str]) -> Usage | None:
    """The counts that InvokeModel tells in its headers (names in lower case); None when they are absent."""
    names = ("input", "output", "cache-read-input", "cache-write-input")
    found = [headers.get(_HEADER.format(name)) for name in names]
    if found[0] is None:
        return None
    counts = [int(value) if value and value.isdigit() else 0 for value in found]
    return Usage(counts[0], counts[1], counts[2], counts[3])


def usage_of(told: Mapping[str, Any]) -> Usage | None:
    """The usage object of a Converse, Anthropic or Nova answer; None when it does not tell the input."""
    if not any(name in told for name in _INPUT):
        return None
    return Usage(_count(told, _INPUT), _count(told, _OUTPUT), _count(told, _READ), _count(told, _WRITE), _split(told))


def usage_of_pieces(pieces: Iterable[bytes | Mapping[str, Any]], seen: Usage | None = None) -> Usage | None:
    """Usage of a whole body (one piece), or of the first and the last events of a stream.

    Args:
        pieces: JSON texts, or objects parsed already; what cannot be read counts as not told.
        seen: what the headers told; stands in for what the pieces leave out.
    """
    told: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    for piece in map(_parsed, pieces):
        told |= _told(piece)
        metrics |= _object(piece, _METRICS)
    if not metrics and not told.pop(_ENDED, False):
        return seen
    usage = usage_of({**metrics, **told})
    if usage and seen and not usage.cache_read_tokens and not usage.cache_write_tokens:
        return replace(usage, cache_read_tokens=seen.cache_read_tokens, cache_write_tokens=seen.cache_write_tokens)
    return usage or seen


def _told(piece: Mapping[str, Any]) -> dict[str, Any]:
    """The usage in an event or a body, and whether it is the last word."""
    message = piece.get("message")
    if piece.get("type") == "message_start" and isinstance(message, Mapping):
        return dict(_object(message, "usage"))
    found = _object(piece, "usage") or _object(_object(piece, "metadata"), "usage")
    # The last words of a stream tell the output; what they leave out stays as the first said it.
    return {name: value for name, value in found.items() if value is not None} | {_ENDED: True} if found else {}


def _parsed(piece: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    """A piece as an object; the bytes inside a chunk event are unpacked."""
    if isinstance(piece, Mapping):
        return piece
    try:
        found = json.loads(piece)
        if isinstance(found, dict) and isinstance(found.get("bytes"), str):
            found = json.loads(base64.b64decode(found["bytes"]))
    except (ValueError, RecursionError, binascii.Error):
        return {}
    return found if isinstance(found, dict) else {}


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, Mapping) else {}


def _split(told: Mapping[str, Any]) -> int | None:
    """The tokens written for 1h; None when the usage does not split what was written."""
    creation = told.get("cache_creation")
    if isinstance(creation, Mapping):
        return _count(creation, ("ephemeral_1h_input_tokens",))
    rows = told.get("cacheDetails")
    if not isinstance(rows, list) or not rows:
        return None
    return sum(_count(row, _INPUT) for row in rows if isinstance(row, Mapping) and row.get("ttl") == "1h")


def _count(row: Mapping[str, Any], names: tuple[str, ...]) -> int:
    value = next((row[name] for name in names if row.get(name) is not None), 0)
    return value if isinstance(value, int) and value >= 0 else 0
