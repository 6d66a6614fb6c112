"""A day of requests twice: played by an application on the emulator with keepwarm beside it, and as `simulate` says.

Both bills are of the same things: pings whole, and of each organic request the prefix, read or written; its question is
paid for anyway. Times may be scaled, as the emulator's are: both then see the same short lives.
"""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from keepwarm import dialects, fingerprint, pricing
from keepwarm.dialects import Dialect
from keepwarm.ledger import Ledger
from keepwarm.model import Prefix, Ttl, Usage, Verdict
from keepwarm.simulate import Arrival, Happening, Kind, Rules, new_learner, replay
from tests.builders import CLAUDE

REGION = "eu-central-1"
CHARACTERS_PER_TOKEN = 4  # of the emulator


@dataclass(slots=True)
class Bill:
    """What a day cost, and of how many requests."""

    usd: Decimal = Decimal(0)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: Kind, cost_usd: Decimal) -> None:
        """One more request."""
        self.usd += cost_usd
        self.counts[kind.value] += 1

    def __str__(self) -> str:
        """In words."""
        counts = ", ".join(f"{self.counts[kind.value]} {kind.value}s" for kind in Kind)
        return f"${self.usd:.4f} ({counts})"


def write_day(
    folder: Path,
    entries: Mapping[str, Mapping[str, Any]],
    tokens: Mapping[str, int],
    busy_hours: Mapping[str, Any] | None = None,
) -> Path:
    """A registry of prefixes that are always busy and not written before their first request, unless they say so.

    Args:
        folder: where it goes, with a request for each.
        entries: by name, more of each.
        tokens: by name, how large each is; where it is not said, 5,000.
        busy_hours: that they name.
    """
    rows = []
    for name, more in entries.items():
        ttl = more.get("ttl", "5m")
        text = f"{name}: ".ljust(tokens.get(name, 5_000) * CHARACTERS_PER_TOKEN, "x")
        (folder / f"{name}.json").write_text(json.dumps(_request(text, "5m" if ttl == "auto" else ttl)))
        common = {"name": name, "model_id": CLAUDE, "request": f"{name}.json"}
        rows.append(common | {"busy_hours": "always", "prewarm": False} | more)
    path = folder / "registry.yaml"
    defaults = {"region": REGION, "api": "converse"}
    whole = {"version": 1, "defaults": defaults, "busy_hours": dict(busy_hours or {}), "prefixes": rows}
    path.write_text(json.dumps(whole))  # JSON is YAML
    return path


def _request(text: str, ttl: str) -> dict[str, Any]:
    return {
        "system": [{"text": text}, {"cachePoint": {"type": "default", "ttl": ttl}}],
        "messages": [{"role": "user", "content": [{"text": "And what does it say of us?"}]}],
        "inferenceConfig": {"maxTokens": 10},
    }


class Application:
    """Sends what it is told to send, and tells keepwarm of it at once; where it may, it asks which ttl to send.

    Args:
        url: of keepwarm.
        client: of boto3.
        now: stamps the requests.
        folder: where the requests are that `write_day` wrote.
        asks: the prefixes with `ttl: auto`.
    """

    def __init__(self, url: str, client: Any, now: Callable[[], datetime], folder: Path, asks: Iterable[str]) -> None:
        self._url = url
        self._client = client
        self._now = now
        self._folder = folder
        self._asks = frozenset(asks)
        self._numbers = itertools.count()
        self._sent: dict[tuple[str, str], tuple[dict[str, Any], object]] = {}

    def call(self, name: str) -> None:
        """One request of a prefix."""
        ttl = self._ask(f"/v1/prefixes/{name}/ttl")["ttl"] if name in self._asks else ""
        sent, sketch = self._sent.get((name, ttl)) or self._prepare(name, ttl)
        at = self._now()
        usage = self._client.converse(modelId=CLAUDE, **sent)["usage"]
        written_1h = sum(row["inputTokens"] for row in usage.get("cacheDetails", ()) if row["ttl"] == "1h")
        touch = {
            "request_id": f"request-{next(self._numbers)}",
            "started_at": at.isoformat(),
            "api": "converse",
            "model_id": CLAUDE,
            "region": REGION,
            "usage": {
                "cache_read_tokens": usage["cacheReadInputTokens"],
                "cache_write_tokens": usage["cacheWriteInputTokens"],
                "cache_write_1h_tokens": written_1h,
            },
            "sketch": sketch,
        }
        heard = self._ask("/v1/touches", {"touches": [touch]})
        assert heard == {"accepted": 1, "duplicate": 0, "unknown": 0, "refused": []}, heard

    def _prepare(self, name: str, ttl: str) -> tuple[dict[str, Any], object]:
        sent = json.loads((self._folder / f"{name}.json").read_text())
        if ttl:
            sent["system"][-1]["cachePoint"]["ttl"] = ttl
        sketch = fingerprint.sketch(dialects.read(Dialect.CONVERSE, sent))
        self._sent[name, ttl] = sent, fingerprint.sketch_to_json(fingerprint.cut(sketch))
        return self._sent[name, ttl]

    def _ask(self, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self._url + path, data=data), timeout=10) as answer:
            return dict(json.loads(answer.read()))


def billed(ledger: Ledger, prefixes: Sequence[Prefix], until: datetime) -> Bill:
    """What the ledger holds of pings and organic requests before a moment."""
    bill, prices = Bill(), {prefix.name: prefix.facts.prices for prefix in prefixes}
    for entry in ledger.entries(None, until):
        assert entry.verdict in {Verdict.HIT, Verdict.REWRITE}, entry
        bill.add(Kind.REWRITE if entry.verdict is Verdict.REWRITE else Kind.PING, entry.cost_usd)
    for touch in ledger.touches(None, until):
        assert touch.usage, touch
        read, written = touch.usage.cache_read_tokens, touch.usage.cache_write_tokens
        usage = Usage(0, 0, read, written, touch.usage.cache_write_1h_tokens)
        bill.add(Kind.WRITE if written else Kind.READ, pricing.cost_usd(prices[touch.prefix], usage, Ttl.FIVE_MINUTES))
    return bill


def simulated(arrivals: Sequence[Arrival], prefixes: Sequence[Prefix], until: datetime) -> Bill:
    """What `simulate` says that the same requests cost with keepwarm, up to a moment."""
    by_name = {prefix.name: prefix for prefix in prefixes}
    bill, first = Bill(), prefixes[0]

    def tell(happening: Happening) -> None:
        at, name, kind, tokens, ttl = happening
        if at < until:
            written = tokens if kind in {Kind.WRITE, Kind.REWRITE} else 0
            usage = Usage(0, 0, tokens - written, written)
            bill.add(kind, pricing.cost_usd(by_name[name].facts.prices, usage, ttl))

    replay(arrivals, Rules(first.policy, None, first.facts, learner=new_learner, registered=by_name), tell)
    return bill


def scaled(
    rows: Iterable[tuple[float, str]], began: datetime, scale: float, tokens: Mapping[str, int]
) -> list[Arrival]:
    """Arrivals from seconds and names."""
    return [Arrival(began + timedelta(seconds=at * scale), name, tokens[name]) for at, name in rows]


def measured_tokens(ledger: Ledger) -> dict[str, int]:
    """How large each prefix was, as billed."""
    found = {}
    for touch in ledger.touches(None, None):
        if touch.usage:
            found[touch.prefix] = touch.usage.cache_read_tokens + touch.usage.cache_write_tokens
    return found
