"""Digests of what a prompt cache sees: equal digests mean the same entry, and nothing of the prompt can be read back.

It does not parse requests (see `dialects`) and keeps nothing. Digests are HMACs under a key of the installation, so
that a leaked ledger cannot be searched for known prompts. What counts is the invalidation table of the Anthropic
prompt caching page, read 2026-11-22: tools count for everything; system, citations and speed for system and messages;
tool choice, thinking, effort and the presence of images for the messages only; an output schema (on Bedrock) for
everything.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keepwarm.dialects import Reading
from keepwarm.model import Section, Ttl

# Inside these keys the order of JSON keys is part of what the model is shown; elsewhere it is not.
_ORDERED_INSIDE = frozenset({"input_schema", "inputSchema", "input", "json", "schema"})


@dataclass(frozen=True, slots=True)
class Position:
    """The prompt up to and with one block.

    Attributes:
        digest: hexadecimal, 128 bits; of everything that counts for the prompt up to here.
        marker: ttl of the cache point on this block, None without one.
        size: characters of text in this block, for token estimates.
    """

    section: Section
    digest: str
    marker: Ttl | None
    size: int


def positions(reading: Reading, key: bytes) -> tuple[Position, ...]:
    """Every position of a prompt with its cumulative digest.

    Args:
        reading: from `dialects.read`.
        key: secret of the installation, any length.
    """
    return tuple(_positions(reading, key))


def cache_points(reading: Reading, key: bytes) -> tuple[Position, ...]:
    """Only the positions that bear a cache point, in order."""
    return tuple(position for position in _positions(reading, key) if position.marker)


def combine(key: bytes, *parts: str | None) -> str:
    """One keyed digest of several names, such as region, model and prompt digest; None differs from empty."""
    return _mac(key, "", json.dumps(parts))


def _positions(reading: Reading, key: bytes) -> Iterator[Position]:
    seeds = _seeds(reading)
    # Converse and InvokeModel are not known to render alike, so the dialect is part of the digest.
    chain, section, message = _mac(key, "", reading.dialect.value), None, -1
    for block in reading.blocks:
        if block.section is not section:
            section = block.section
            chain = _mac(key, chain, section.value + seeds.get(section, ""))
        opens = block.section is Section.MESSAGES and block.index != message
        message = block.index if block.section is Section.MESSAGES else message
        text = canonical(block.content)
        chain = _mac(key, chain, f"{block.role if opens else ''}\n{text}")
        yield Position(section, chain, block.marker, len(text))


def _seeds(reading: Reading) -> dict[Section, str]:
    """What counts from a section on besides its blocks; the schema enters with whichever section comes first."""
    schema = canonical(reading.output_format) if reading.output_format is not None else ""
    parts = [part for block in reading.blocks for part in _parts(block.content)]
    from_system = {"citations": any(map(_cites, parts))} | dict(reading.system_settings)
    from_messages = {"images": any(map(_is_image, parts))} | dict(reading.message_settings)
    system = schema + canonical(from_system)
    return {Section.TOOLS: schema, Section.SYSTEM: system, Section.MESSAGES: system + canonical(from_messages)}


def _parts(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A block, and the blocks inside it when it is a tool result."""
    yield content
    result = content.get("toolResult", content)
    inside = result.get("content") if isinstance(result, Mapping) else None
    if isinstance(inside, list):
        yield from (part for part in inside if isinstance(part, Mapping))


def _is_image(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "image" or "image" in part


def _cites(part: Mapping[str, Any]) -> bool:
    """Whether a document or search result asks for citations; the citations of an answer are a list."""
    for holder in (part, part.get("document"), part.get("searchResult")):
        citations = holder.get("citations") if isinstance(holder, Mapping) else None
        if isinstance(citations, Mapping) and citations.get("enabled"):
            return True
    return False


def canonical(value: Any) -> str:
    """JSON text of a value, with keys sorted wherever their order does not reach the model."""
    return json.dumps(_ordered(value, keep=False), ensure_ascii=False, separators=(",", ":"), default=_binary)


def _ordered(value: Any, *, keep: bool) -> Any:
    if isinstance(value, Mapping):
        names = list(value) if keep else sorted(value)
        return {name: _ordered(value[name], keep=keep or name in _ORDERED_INSIDE) for name in names}
    if isinstance(value, list | tuple):
        return [_ordered(item, keep=keep) for item in value]
    return value


def _binary(value: Any) -> str:
    """Images and documents in Converse arguments are bytes."""
    return bytes(value).hex()


def _mac(key: bytes, chain: str, text: str) -> str:
    return hmac.digest(key, f"{chain}\n{text}".encode("utf-8", "surrogatepass"), "sha256")[:16].hex()
