"""Digests of what a prompt cache sees: equal digests mean the same entry, and nothing of the prompt can be read back.

It does not parse requests (see `dialects`) and keeps nothing. A request becomes a `Sketch`: one plain digest for each
block and each setting that counts, small enough to send and to compare. A sketch and a key become positions: HMACs
under the installation's key, each of everything up to its block, so that a leaked ledger cannot be searched for known
prompts.

What counts is the invalidation table of the Anthropic prompt caching page, read 2026-11-22: tools count for everything;
system, citations and speed for system and messages; tool choice, thinking, effort and the presence of images for the
messages only; an output schema (on Bedrock) for everything.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keepwarm.dialects import Dialect, Reading
from keepwarm.model import Section, Ttl

MAX_BLOCKS = 256  # of a sketch that is sent; four markers and their lookbacks reach 80

_MAX_SETTINGS = 32
_DIGEST = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[a-z_]{1,32}")

# Inside these keys the order of JSON keys is part of what the model is shown; elsewhere it is not.
_ORDERED_INSIDE = frozenset({"input_schema", "inputSchema", "input", "json", "schema"})


@dataclass(frozen=True, slots=True)
class BlockDigest:
    """One block without its text.

    Attributes:
        digest: hexadecimal, 128 bits; of the block alone, and of the role if it opens a message.
        marker: ttl of the cache point on it, None without one.
        size: characters of its text.
    """

    section: Section
    digest: str
    marker: Ttl | None
    size: int


@dataclass(frozen=True, slots=True)
class SettingDigest:
    """One setting that counts for the cache, without its value.

    Attributes:
        since: the first section for which it counts; it counts for all that follow.
    """

    since: Section
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Sketch:
    """A request as its cache sees it, as plain digests: of a known text anybody can compute them.

    Attributes:
        settings: ordered by section and name; only those that were set.
    """

    dialect: Dialect
    settings: tuple[SettingDigest, ...]
    blocks: tuple[BlockDigest, ...]


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


def sketch(reading: Reading) -> Sketch:
    """The digests of a request's blocks and settings; the one place that sees its text."""
    return Sketch(reading.dialect, tuple(_settings(reading)), tuple(_blocks(reading)))


def cut(drawn: Sketch) -> Sketch:
    """The sketch up to its last cache point, without any block when it has none; what stands behind is not cached."""
    marked = [position for position, block in enumerate(drawn.blocks, 1) if block.marker]
    return Sketch(drawn.dialect, drawn.settings, drawn.blocks[: marked[-1] if marked else 0])


def sketch_to_json(drawn: Sketch) -> dict[str, Any]:
    """Plain data for `json.dumps`: the sketch of version 1 of `POST /v1/touches`."""
    return {
        "dialect": drawn.dialect.value,
        "settings": [[setting.since.value, setting.name, setting.digest] for setting in drawn.settings],
        "blocks": [
            [block.section.value, block.digest, block.marker.value if block.marker else None, block.size]
            for block in drawn.blocks
        ],
    }


def sketch_from_json(raw: object) -> Sketch:
    """A sketch from parsed JSON that anybody may have sent.

    Raises:
        ValueError: it is not of the documented shape; the message quotes nothing of it.
    """
    found = raw if isinstance(raw, Mapping) else {}
    raw_settings, raw_blocks = _list(found.get("settings")), _list(found.get("blocks"))
    if len(raw_blocks) > MAX_BLOCKS or len(raw_settings) > _MAX_SETTINGS:
        raise ValueError(f"a sketch has at most {MAX_BLOCKS} blocks and {_MAX_SETTINGS} settings")
    try:
        settings = tuple(SettingDigest(Section(since), name, digest) for since, name, digest in raw_settings)
        blocks = tuple(
            BlockDigest(Section(section), digest, Ttl(marker) if marker is not None else None, size)
            for section, digest, marker, size in raw_blocks
        )
        drawn = Sketch(Dialect(found["dialect"]), settings, blocks)
    except (KeyError, ValueError, TypeError):
        raise ValueError(
            "a sketch has a dialect; a setting is [since, name, digest], a block is [section, digest, marker, size]"
        ) from None
    _check_sketch(drawn)
    return drawn


def _list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ValueError("a sketch must be an object with dialect, settings and blocks, both lists")


def _check_sketch(drawn: Sketch) -> None:
    """Refuse what `sketch` would never make; a name reaches logs, so it must not be able to carry a text."""
    digests = [*(setting.digest for setting in drawn.settings), *(block.digest for block in drawn.blocks)]
    if not _all_match(_DIGEST, digests):
        raise ValueError("a digest is 32 hexadecimal digits")
    if not _all_match(_NAME, [setting.name for setting in drawn.settings]):
        raise ValueError("the name of a setting is at most 32 small letters and underscores")
    if not all(type(block.size) is int and block.size >= 0 for block in drawn.blocks):
        raise ValueError("the size of a block is its number of characters")
    order = [list(Section).index(block.section) for block in drawn.blocks]
    if order != sorted(order):
        raise ValueError("blocks stand in the order tools, system, messages")


def _all_match(pattern: re.Pattern[str], texts: list[Any]) -> bool:
    return all(isinstance(text, str) and pattern.fullmatch(text) for text in texts)


def chain(drawn: Sketch, key: bytes) -> tuple[Position, ...]:
    """Every position of a sketch with its cumulative digest.

    Args:
        key: secret of the installation, any length.
    """
    return tuple(_chain(drawn, key))


def positions(reading: Reading, key: bytes) -> tuple[Position, ...]:
    """Every position of a prompt with its cumulative digest; as `chain` of its sketch."""
    return chain(sketch(reading), key)


def cache_points(reading: Reading, key: bytes) -> tuple[Position, ...]:
    """Only the positions that bear a cache point, in order."""
    return tuple(position for position in positions(reading, key) if position.marker)


def cites(content: Mapping[str, Any]) -> bool:
    """Whether a block, or a part inside it, asks for citations."""
    return any(map(_cites, _parts(content)))


def combine(key: bytes, *parts: str | None) -> str:
    """One keyed digest of several names, such as region, model and prompt digest; None differs from empty."""
    return _mac(key, "", json.dumps(parts))


def _blocks(reading: Reading) -> Iterator[BlockDigest]:
    message = -1
    for block in reading.blocks:
        opens = block.section is Section.MESSAGES and block.index != message
        message = block.index if block.section is Section.MESSAGES else message
        text = canonical(block.content)
        digest = _plain(f"{block.role if opens else ''}\n{text}")
        yield BlockDigest(block.section, digest, block.marker, len(text))


def _settings(reading: Reading) -> Iterator[SettingDigest]:
    parts = [part for block in reading.blocks for part in _parts(block.content)]
    found: dict[Section, dict[str, Any]] = {
        Section.TOOLS: {"output_format": reading.output_format},
        Section.SYSTEM: {"citations": any(map(_cites, parts)) or None, **reading.system_settings},
        Section.MESSAGES: {"images": any(map(_is_image, parts)) or None, **reading.message_settings},
    }
    for since, settings in found.items():
        for name in sorted(settings):
            if settings[name] is not None:
                yield SettingDigest(since, name, _plain(canonical(settings[name])))


def _chain(drawn: Sketch, key: bytes) -> Iterator[Position]:
    # Converse and InvokeModel are not known to render alike, so the dialect is part of the digest.
    link, section = _mac(key, "", drawn.dialect.value), None
    for block in drawn.blocks:
        if block.section is not section:
            section = block.section
            counting = [setting for setting in drawn.settings if _counts(setting, section)]
            seed = [f"{setting.name}={setting.digest}" for setting in counting]
            link = _mac(key, link, "\n".join([section.value, *seed]))
        link = _mac(key, link, block.digest)
        yield Position(section, link, block.marker, block.size)


def _counts(setting: SettingDigest, section: Section) -> bool:
    order = list(Section)
    return order.index(setting.since) <= order.index(section)


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
    """Images and documents in Converse arguments are bytes; on the wire and in logs the same are base64."""
    return base64.b64encode(value).decode()


def _plain(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16].hex()


def _mac(key: bytes, chain: str, text: str) -> str:
    return hmac.digest(key, f"{chain}\n{text}".encode("utf-8", "surrogatepass"), "sha256")[:16].hex()
