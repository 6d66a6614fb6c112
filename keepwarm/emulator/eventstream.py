"""Encodes frames of the Amazon event-stream format (`application/vnd.amazon.eventstream`).

It does not decode, and writes string headers only. Layout: total length, header length, CRC-32 of these eight bytes,
headers, payload, CRC-32 of everything before (Amazon Transcribe developer guide, "Event stream encoding", read
2026-11-22; botocore's decoder checks both sums).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

_STRING = 7
_FRAMING_BYTES = 16  # prelude 8, its sum 4, the message's sum 4


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack("!II", len(encoded) + len(payload) + _FRAMING_BYTES, len(encoded))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + encoded + payload
    return message + struct.pack("!I", zlib.crc32(message))


def event(name: str, payload: bytes) -> bytes:
    """One event whose payload is JSON."""
    return frame({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, payload)


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _STRING, len(text)) + text
