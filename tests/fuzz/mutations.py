"""Mutates JSON by its structure, which bytes alone would break nine times out of ten; whatever else by its bytes.

The same for Hypothesis and for atheris; all chance comes from the random generator that is handed in.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.targets import SEPARATOR

CORPUS = Path(__file__).parent / "corpus"

# What has broken readers before: of the wrong kind, at the ends of ranges, with what terminals and logs obey.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 1e308, 10**30, 2**63, "", " ", "x", "0", "5m", "1h", "auto", "x\ny", "\x1b[2J",
    "\ud800", "\0", "<script>", "../x", "/proc/self/environ", "request.json", "prompt.txt", "NaN", "1e999999",
    "99999999d", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-22T12:00:00Z", "9" * 400,
    "y" * 6000,
    [], [None], ["x"], [[]], {}, {"x": 1}, {"text": 3}, {"type": []}, {"cachePoint": {"type": "default"}},
    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, {"bytes": "AAAA"},
    {"document": {"citations": {"enabled": True}, "source": {"bytes": "AAAA"}}}, {"toolUse": {"toolUseId": "1"}},
    {"type": "tool_use", "id": "1", "name": "t"}, {"thinking": {"type": "enabled", "budget_tokens": True}},
)  # fmt: skip
_WORDS = (
    "toolConfig", "tools", "system", "messages", "content", "cachePoint", "cache_control", "ttl", "body", "thinking",
    "tool_choice", "toolChoice", "outputConfig", "inferenceConfig", "additionalModelRequestFields", "prices", "steps",
    "min_tokens", "margin", "lifetime", "policy", "idle_limit", "prewarm", "tags", "limits", "base_model", "usage",
    "sketch", "timestamp", "inputBodyJson", "outputBodyJson", "requestMetadata", "x\ny", "modelId", "bytes", "image",
)  # fmt: skip
_DEEP = 600


def seeds(target: str) -> list[bytes]:
    """The inputs that the repository keeps for a target."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def mutate(data: bytes, random: Random) -> bytes:
    """Another input, a little different."""
    parts = data.split(SEPARATOR)
    at = random.randrange(len(parts))
    head, part = (parts[at][:1], parts[at][1:]) if parts[at][1:2] == b"{" else (b"", parts[at])
    try:
        found = json.loads(part)
        for _ in range(random.randint(1, 4)):
            found = _mutate_json(found, random)
        parts[at] = head + json.dumps(found).encode()
    except RecursionError:
        pass  # as deep as it gets
    except ValueError:
        parts[at] = _mutate_bytes(parts[at], random)
    return SEPARATOR.join(parts)


def _mutate_json(found: Any, random: Random) -> Any:
    places = _places(found)
    if not places:
        return copy.deepcopy(random.choice(ODD))
    holder, key = random.choice(places)
    other_holder, other_key = random.choice(places)
    match random.randrange(7):
        case 0 | 1 | 2:
            holder[key] = copy.deepcopy(random.choice(ODD))
        case 3:
            holder[key] = json.loads(json.dumps(other_holder[other_key]))
        case 4:
            del holder[key]
        case 5 if isinstance(holder, dict):
            holder[random.choice(_WORDS)] = copy.deepcopy(random.choice(ODD))
        case 6 if not random.randrange(20):
            for _ in range(random.choice((50, _DEEP))):
                holder[key] = [holder[key]] if random.randrange(2) else {"content": holder[key]}
        case _:
            holder[key] = json.dumps(holder[key])
    return found


def _places(found: Any) -> list[tuple[Any, Any]]:
    """Every holder and key in a JSON value, found without recursion."""
    places, left = [], [found] if isinstance(found, dict | list) else []
    while left:
        holder = left.pop()
        inside = list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder))
        places += [(holder, key) for key, _ in inside]
        left += [value for _, value in inside if isinstance(value, dict | list)]
    return places


def _mutate_bytes(data: bytes, random: Random) -> bytes:
    found = bytearray(data)
    for _ in range(random.randint(1, 8)):
        at = random.randrange(len(found) + 1)
        match random.randrange(4):
            case 0:
                found[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del found[at : at + random.randint(1, 16)]
            case 2:
                start = random.randrange(len(found) + 1)
                found[at:at] = found[start : start + random.randint(1, 32)]
            case _:
                word = random.choice(ODD)
                found[at:at] = word.encode("utf-8", "surrogatepass") if isinstance(word, str) else b"{[&a *a, !!x <<: "
    return bytes(found)
