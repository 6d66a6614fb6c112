"""A Bedrock for load: Converse and InvokeModel with the usage of a prompt cache, some thousand requests a second.

The truth is `keepwarm.emulator`, whose cache it uses; to be fast it reads each body once and knows it again by its
bytes, checks nothing, and has no faults. A test holds the two against each other. It keeps, for each account, when the
requests of each prefix came, when its entry was dead, and what they cost; `GET /told` and `GET /arrivals` say it.

Run: `python benchmarks/endpoint.py [--port 0] [--latency-ms 500] [--time-scale 1]`; the first line is its address.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote

from keepwarm import pricing
from keepwarm.clock import utc_now
from keepwarm.dialects import Dialect, dialect_of, read
from keepwarm.emulator.cache import Bill, Cache, Place
from keepwarm.fingerprint import Position, positions
from keepwarm.model import Api, ModelFacts, Usage
from keepwarm.pricing import Catalog
from keepwarm.registry import load_catalog

# What an application inference profile stands for: its ARN does not tell.
BEHIND_PROFILES = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"

_CALLER = re.compile(rb"\r\nauthorization: aws4-hmac-sha256 +credential=([^/]+)/\d{8}/([a-z0-9-]+)/", re.IGNORECASE)
_METADATA = re.compile(rb"\r\nx-amzn-bedrock-request-metadata: ([^\r]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MARK = b'"requestMetadata"'
_KEY = bytes(32)
_OUTPUT_TOKENS = 1


@dataclass(slots=True)
class Kept:
    """One prefix of one account.

    Attributes:
        touched_at: the start of its last request.
        arrivals: seconds since 1970, of every request.
        dead: stretches in which its entry was dead, after the first request.
    """

    touched_at: datetime
    life: timedelta
    writes: int = 0
    arrivals: array[float] = field(default_factory=lambda: array("d"))
    dead: list[tuple[datetime, datetime]] = field(default_factory=list)


@dataclass(slots=True)
class Account:
    """What one account did."""

    prefixes: dict[str, Kept] = field(default_factory=dict)
    requests: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class _Known:
    """A body that was read before."""

    place: Place
    facts: ModelFacts
    dialect: Dialect
    prompt: Sequence[Position]


class Load:
    """The endpoint without its sockets.

    Args:
        time_scale: of the lives of entries.
    """

    def __init__(self, catalog: Catalog, time_scale: float = 1.0) -> None:
        self.accounts: dict[str, Account] = {}
        self._catalog = catalog
        self._cache = Cache(time_scale=time_scale)
        self._scale = time_scale
        self._known: dict[tuple[str, bytes, int], _Known] = {}
        self._costs: dict[tuple[int, Bill], Decimal] = {}

    def serve(self, head: bytes, body: bytes, at: datetime, latency: timedelta) -> bytes:
        """The whole answer to one request that started at `at`.

        Args:
            head: the request line and headers, without the empty line.
        """
        path = head[: head.index(b" HTTP/")].partition(b" ")[2]
        caller = _CALLER.search(head)
        if caller is None:
            return _reply(b"403 Forbidden", b'{"message":"Missing Authentication Token"}')
        account, name = caller[1].decode(), ""
        stable = len(body)
        if path.endswith(b"/converse"):
            found = body.rfind(_MARK)
            if found >= 0:
                stable, name = found, _name(body[found + len(_MARK) :].lstrip(b": "))
        elif metadata := _METADATA.search(head):
            name = _name(metadata[1])
        key = (account, path, hash(body if stable == len(body) else body[:stable]))
        known = self._known.get(key) or self._learn(key, caller[2].decode(), body)
        bill = self._cache.bill(known.place, known.prompt, min_tokens=known.facts.min_tokens, now=at)
        self._cache.settle(known.place, bill, started_at=at, readable_at=at + latency)
        self._note(account, name, known, bill, at)
        return _answer(known, bill, latency)

    def _learn(self, key: tuple[str, bytes, int], region: str, body: bytes) -> _Known:
        account, path, _ = key
        model, _, call = unquote(path.decode())[len("/model/") :].rpartition("/")
        stands_for = BEHIND_PROFILES if ":application-inference-profile/" in model else model
        facts = self._catalog.find(stands_for, region)
        if facts is None:
            raise ValueError(f"{model} is not a model that the catalog knows")
        dialect = dialect_of(Api.CONVERSE if call == "converse" else Api.INVOKE_MODEL, facts.family)
        prompt = positions(read(dialect, json.loads(body)), _KEY)
        self._known[key] = _Known(Place(account, region, model), facts, dialect, prompt)
        return self._known[key]

    def _note(self, account: str, name: str, known: _Known, bill: Bill, at: datetime) -> None:
        book = self.accounts.setdefault(account, Account())
        book.requests += 1
        book.cost_usd += self._cost(known, bill)
        kept = book.prefixes.get(name)
        marker = next((each.marker for each in reversed(known.prompt) if each.marker), None)
        life = marker.duration * self._scale if marker else timedelta(0)
        if kept is None:
            kept = book.prefixes[name] = Kept(at, life)
        elif bill.writes and not bill.read:
            kept.dead.append((kept.touched_at + kept.life, at))
        kept.touched_at, kept.life = at, life
        kept.arrivals.append(at.timestamp())
        kept.writes += bool(bill.writes)

    def _cost(self, known: _Known, bill: Bill) -> Decimal:
        key = (id(known.facts), bill)
        if key not in self._costs:
            if len(self._costs) > 10_000:
                self._costs.clear()
            marker = next(each.marker for each in known.prompt if each.marker)
            self._costs[key] = pricing.cost_usd(known.facts.prices, _usage(bill), marker)
        return self._costs[key]

    def told(self, account: str, since: datetime, until: datetime) -> dict[str, Any]:
        """What an account did so far, and in [since, until) how long entries were dead."""
        book = self.accounts.get(account, Account())
        dead = [_dead_seconds(kept, since, until) for kept in book.prefixes.values()]
        return {
            "requests": book.requests,
            "prefixes": len(book.prefixes),
            "writes": sum(kept.writes for kept in book.prefixes.values()),
            "ever_cold": sum(seconds > 0 for seconds in dead),
            "dead_seconds": sum(dead),
            "cost_usd": float(book.cost_usd),
        }

    def arrivals(self, account: str) -> dict[str, list[float]]:
        """When the requests of each prefix came, in seconds since 1970."""
        return {name: list(kept.arrivals) for name, kept in self.accounts.get(account, Account()).prefixes.items()}


def _dead_seconds(kept: Kept, since: datetime, until: datetime) -> float:
    stretches: Iterable[tuple[datetime, datetime]] = [*kept.dead, (kept.touched_at + kept.life, until)]
    return sum(max(0.0, (min(end, until) - max(start, since)).total_seconds()) for start, end in stretches)


def _name(metadata: bytes) -> str:
    found, _ = json.JSONDecoder().raw_decode(metadata.decode())
    return str(found.get("prefix", "")) if isinstance(found, Mapping) else ""


def _usage(bill: Bill) -> Usage:
    written = bill.write_5m_tokens + bill.write_1h_tokens
    return Usage(bill.input_tokens, _OUTPUT_TOKENS, bill.read_tokens, written, bill.write_1h_tokens)


# -- answers --------------------------------------------------------------------------------------------------------

_BODIES = {
    Dialect.CONVERSE: (
        b'{"output":{"message":{"role":"assistant","content":[{"text":"ok"}]}},"stopReason":"max_tokens","usage":'
        b'{"inputTokens":%d,"outputTokens":1,"totalTokens":%d,"cacheReadInputTokenCount":%d,'
        b'"cacheWriteInputTokenCount":%d,"cacheReadInputTokens":%d,"cacheWriteInputTokens":%d,"cacheDetails":[%s]},'
        b'"metrics":{"latencyMs":%d}}'
    ),
    Dialect.NOVA: (
        b'{"output":{"message":{"role":"assistant","content":[{"text":"ok"}]}},"stopReason":"max_tokens","usage":'
        b'{"inputTokens":%d,"outputTokens":1,"totalTokens":%d,"cacheReadInputTokenCount":%d,'
        b'"cacheWriteInputTokenCount":%d}}'
    ),
    Dialect.ANTHROPIC: (
        b'{"model":"claude","id":"msg_bdrk_01","type":"message","role":"assistant","content":[{"type":"text",'
        b'"text":"ok"}],"stop_reason":"max_tokens","stop_sequence":null,"usage":{"input_tokens":%d,'
        b'"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d,"output_tokens":1,"cache_creation":'
        b'{"ephemeral_5m_input_tokens":%d,"ephemeral_1h_input_tokens":%d}}}'
    ),
}


def _answer(known: _Known, bill: Bill, latency: timedelta) -> bytes:
    usage, shape = _usage(bill), _BODIES[known.dialect]
    read_tokens, written = usage.cache_read_tokens, usage.cache_write_tokens
    milliseconds = round(latency / timedelta(milliseconds=1))
    if known.dialect is Dialect.ANTHROPIC:
        counts: tuple[Any, ...] = (bill.input_tokens, written, read_tokens, bill.write_5m_tokens, bill.write_1h_tokens)
        return _reply(b"200 OK", shape % counts, _headers(usage, milliseconds))
    counts = (usage.input_tokens, usage.prompt_tokens + 1, read_tokens, written)
    if known.dialect is Dialect.NOVA:
        return _reply(b"200 OK", shape % counts, _headers(usage, milliseconds))
    split = (("1h", bill.write_1h_tokens), ("5m", bill.write_5m_tokens))
    rows = ",".join(f'{{"ttl":"{ttl}","inputTokens":{tokens}}}' for ttl, tokens in split if tokens)
    return _reply(b"200 OK", shape % (*counts, read_tokens, written, rows.encode(), milliseconds))


def _headers(usage: Usage, milliseconds: int) -> bytes:
    return (
        b"X-Amzn-Bedrock-Input-Token-Count: %d\r\nX-Amzn-Bedrock-Output-Token-Count: 1\r\n"
        b"X-Amzn-Bedrock-Cache-Read-Input-Token-Count: %d\r\nX-Amzn-Bedrock-Cache-Write-Input-Token-Count: %d\r\n"
        b"X-Amzn-Bedrock-Invocation-Latency: %d\r\n"
        % (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, milliseconds)
    )


def _reply(status: bytes, body: bytes, headers: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nx-amzn-RequestId: 00000000-0000-4000-8000-000000000000\r\n"
        b"%sContent-Length: %d\r\n\r\n%s" % (status, headers, len(body), body)
    )


# -- sockets --------------------------------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """One connection, on which requests come one after the other, as boto3 sends them."""

    def __init__(self, load: Load, latency: timedelta) -> None:
        self._load = load
        self._latency = latency
        self._seconds = latency.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._head: bytes | None = None
        self._wanted = 0
        self._began = utc_now()
        self._buffer = bytearray()

    def connection_made(self, transport: Any) -> None:
        """Remember where to answer."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request, and answer when it is whole."""
        self._buffer += data
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._began = utc_now()
            self._head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            length = _LENGTH.search(self._head)
            self._wanted = int(length[1]) if length else 0
            if b"\r\nExpect: 100" in self._head:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self._buffer) >= self._wanted:
            head, body = self._head, bytes(self._buffer[: self._wanted])
            del self._buffer[: self._wanted]
            self._head = None
            self._respond(head, body)

    def _respond(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET "):
            self._transport.write(_reply(b"200 OK", json.dumps(self._tell(head)).encode()))
            return
        answer = self._load.serve(head, body, self._began, self._latency)
        if self._seconds:
            self._loop.call_later(self._seconds, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def _tell(self, head: bytes) -> dict[str, Any]:
        """`/told?account=A&since=ISO&until=ISO`, `/arrivals?account=A`."""
        place, _, query = head.split(b" ")[1].decode().partition("?")
        given = dict(parse_qsl(query))
        if place == "/arrivals":
            return self._load.arrivals(given["account"])
        since, until = (datetime.fromisoformat(given[name]) for name in ("since", "until"))
        return self._load.told(given["account"], since, until)


async def serve(port: int, latency: timedelta, time_scale: float) -> None:
    """Answer until somebody ends the process."""
    load = Load(load_catalog(None), time_scale)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(load, latency), "127.0.0.1", port, backlog=1024)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    gc.freeze()
    await server.serve_forever()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=500)
    parser.add_argument("--time-scale", type=float, default=1.0)
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.port, timedelta(milliseconds=chosen.latency_ms), chosen.time_scale))


if __name__ == "__main__":
    main()
