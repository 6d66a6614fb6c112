"""What the demo plays with: four prefixes, their registry, and the moments at which the application asks.

It starts nothing. Times are seconds of the demo, fifty times as fast as real ones: 5m lives 6 s, 1h lives 72 s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIME_SCALE = 0.02
THROTTLE = 0.5

SUPPORT_BOT = "support-bot"
LEGAL_SEARCH = "legal-search"
TINY_FAQ = "tiny-faq"
INVOICES = "invoice-reader"


@dataclass(frozen=True, slots=True)
class Part:
    """One prefix of the demo.

    Attributes:
        api: `converse` or `invoke_model`.
        ttl: of its cache point.
        words: length of its system text; a word is a good token.
        asks_at: when the application sends it, seconds from the start.
        about: what it shows.
    """

    name: str
    model_id: str
    api: str
    ttl: str
    words: int
    asks_at: tuple[float, ...]
    about: str

    def request(self, question: str) -> dict[str, Any]:
        """The production request: keyword arguments of converse, or an InvokeModel body."""
        text = handbook(self.name, self.words)
        if self.api == "converse":
            return {
                "system": [{"text": text}, {"cachePoint": {"type": "default", "ttl": self.ttl}}],
                "messages": [{"role": "user", "content": [{"text": question}]}],
                "inferenceConfig": {"maxTokens": 64},
            }
        control = {"type": "ephemeral", "ttl": self.ttl}
        return {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 64,
            "system": [{"type": "text", "text": text, "cache_control": control}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": question}]}],
        }


PARTS = (
    Part(
        SUPPORT_BOT, "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "converse", "1h", 6000, (3, 77),
        "Converse, 1h: two questions, more than an hour apart",
    ),
    Part(
        LEGAL_SEARCH, "us.anthropic.claude-haiku-4-5-20251001-v1:0", "invoke_model", "5m", 9000,
        (4, 12, 13.5, 22, 31, 40, 42, 51, 60, 69, 76), "InvokeModel, 5m: a question every ten minutes or so",
    ),
    Part(
        TINY_FAQ, "us.anthropic.claude-opus-4-5-20251101-v1:0", "converse", "5m", 1600, (8, 28, 48, 68),
        "too short for its model, which caches from 4,096 tokens on",
    ),
    Part(
        INVOICES, "us.anthropic.claude-sonnet-5", "converse", "5m", 5000, (6, 15, 25, 34, 44, 53, 63, 72),
        f"its model throttles {THROTTLE:.0%} of all requests",
    ),
)  # fmt: skip


def write(folder: Path) -> Path:
    """Write the registry and the request files of the demo.

    Returns:
        Path of the registry.
    """
    entries = []
    for part in PARTS:
        request = folder / f"{part.name}.json"
        request.write_text(json.dumps(part.request("What does the handbook say?")))
        lifetime = "72s" if part.ttl == "1h" else "6s"
        margin = "6s" if part.ttl == "1h" else "1500ms"
        entries.append(
            f"  - name: {part.name}\n    model_id: {part.model_id}\n    region: {region(part)}\n    api: {part.api}\n"
            f"    request: {request.name}\n    ttl: {part.ttl}\n    busy_hours: always\n"
            f"    lifetime: {lifetime}   # of {part.ttl}, at 1:50\n    margin: {margin}\n"
        )
    registry = folder / "registry.yaml"
    registry.write_text("version: 1\nprefixes:\n" + "".join(entries))
    return registry


def region(part: Part) -> str:
    """Where the application sends it."""
    return "eu-central-1" if part.model_id.startswith("eu.") else "us-east-1"


_SUBJECTS = ("The customer", "A clerk", "The contract", "Every invoice", "The court", "Our support", "The tenant")
_VERBS = ("names", "confirms", "returns", "explains", "records", "forwards", "checks", "signs")
_OBJECTS = (
    "the order number",
    "a written notice",
    "the delivery date",
    "each clause",
    "the open amount",
    "its reason",
)


def handbook(title: str, words: int) -> str:
    """A text of about this many words, the same for the same title."""
    lines = [f"Handbook of {title}."]
    count = 0
    number = 0
    while count < words:
        subject = _SUBJECTS[number % len(_SUBJECTS)]
        verb = _VERBS[number * 3 % len(_VERBS)]
        thing = _OBJECTS[number * 5 % len(_OBJECTS)]
        lines.append(f"Rule {number}: {subject} {verb} {thing} within {number % 28 + 2} days.")
        count += len(lines[-1].split())
        number += 1
    return " ".join(lines)
