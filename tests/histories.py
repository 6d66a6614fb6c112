"""Histories of requests as invocation logs, made up under a seed, with the truth that can be known of them.

The truth is computed from plain lists in the slow and obvious way, not as `keepwarm discover` does.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
DAYS = 7
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
REGION = "eu-central-1"
SECOND = 1_000_000  # all moments are microseconds since MONDAY
HOUR = 3600 * SECOND
LIFETIMES = {"5m": 300 * SECOND, "1h": HOUR}
PERIODS = {"5m": 270 * SECOND, "1h": 3480 * SECOND}
LATENCY_MS = 800

_MARKED, _BARE = 40, 4
_SHARE_OF_NOISE, _SHARE_OF_ONE_OFFS, _SHARE_OF_BARE = 0.03, 0.02, 0.05
_NOISE = ("ours", "failed", "unknown_operation", "unknown_schema", "truncated", "body_missing")


@dataclass(slots=True)
class True_:  # noqa: N801 - `True` is taken
    """What is known of one prefix.

    Attributes:
        moments: starts of its requests, ascending.
        text: its system text, by which it is found again.
    """

    text: str
    marked: bool
    api: str
    ttl: str
    tokens: int
    moments: list[int] = field(default_factory=list)

    @property
    def gaps(self) -> list[int]:
        """Between one request and the next."""
        return [late - early for early, late in zip(self.moments, self.moments[1:], strict=False)]

    def cold(self, ttl: str) -> int:
        """Requests whose entry would have died of its gap, the first included."""
        return 1 + sum(gap > LIFETIMES[ttl] for gap in self.gaps)

    def gap_seconds(self, share: float) -> float:
        """The nearest-rank quantile."""
        ordered = sorted(self.gaps)
        return ordered[math.ceil(share * len(ordered)) - 1] / SECOND

    def kept(self, ttl: str) -> tuple[int, int]:
        """Pings and writes of a keepwarm that finds every hour with traffic busy: lived through, event by event."""
        pings = writes = 0
        hours = sorted({moment // HOUR for moment in self.moments})
        waiting = list(reversed(self.moments))
        touched = -10 * HOUR
        while hours:
            start = hours.pop(0)
            end = start + 1
            while hours and hours[0] == end:
                end = hours.pop(0) + 1
            if touched + LIFETIMES[ttl] <= start * HOUR:
                writes += 1
                touched = start * HOUR
            while True:
                due = touched + PERIODS[ttl]
                following = waiting[-1] if waiting and waiting[-1] < end * HOUR else None
                if following is not None and following <= due:
                    touched = waiting.pop()
                elif due < end * HOUR:
                    touched = due
                    pings += 1
                elif following is None:
                    break
        return pings, writes


@dataclass(slots=True)
class History:
    """What was written.

    Attributes:
        skipped: lines that are no organic request, by reason.
        one_offs: requests whose prefix never came again.
    """

    prefixes: list[True_]
    skipped: Counter[str] = field(default_factory=Counter)
    one_offs: int = 0


def write_history(path: Path, records: int, seed: int = 1) -> History:
    """Write a week of so many records as gzipped JSON lines, roughly in order as logs are."""
    dice = random.Random(seed)
    history = History([*_prefixes(dice)])
    with gzip.open(path, "wt", compresslevel=1) as file:
        for line in _disordered(_lines(history, records, dice), dice):
            file.write(line + "\n")
    return history


def _prefixes(dice: random.Random) -> Iterator[True_]:
    for number in range(_MARKED + _BARE):
        marked = number < _MARKED
        text = f"Handbook {number}. " + "Answer in one sentence. " * (4 if marked else 250)
        api = "converse" if number % 2 else "invoke_model"
        yield True_(text, marked, api, "1h" if number % 3 == 0 else "5m", 2_000 + 500 * number if marked else 0)


def _lines(history: History, records: int, dice: random.Random) -> Iterator[str]:
    """One line after the other, in the order of time."""
    warm_until: dict[int, int] = {}
    # Prefixes differ in their traffic by a factor of a hundred; half of them keep office hours.
    weights = [1 / (1 + number) for number in range(_MARKED)]
    at = 0.0
    for number in range(records):
        at += dice.expovariate(1) * DAYS * 24 * HOUR / records * 0.98
        moment = int(at) // 1000 * 1000
        luck = dice.random()
        if luck < _SHARE_OF_NOISE:
            reason = dice.choice(_NOISE)
            history.skipped[reason] += 1
            yield _noise(reason, number, moment)
            continue
        if luck < _SHARE_OF_NOISE + _SHARE_OF_ONE_OFFS:
            history.one_offs += 1
            once = True_(f"Conversation {number}. ", True, "converse", "5m", 3_000)
            yield json.dumps(_record(once, number, moment, warm=False))
            continue
        if luck < _SHARE_OF_NOISE + _SHARE_OF_ONE_OFFS + _SHARE_OF_BARE:
            chosen = _MARKED + dice.randrange(_BARE)
        else:
            chosen = dice.choices(range(_MARKED), weights)[0]
            if chosen % 2 and not 8 <= moment // HOUR % 24 < 18:
                chosen -= 1
        prefix = history.prefixes[chosen]
        prefix.moments.append(moment)
        warm = warm_until.get(chosen, -1) >= moment
        warm_until[chosen] = moment + LIFETIMES[prefix.ttl]
        yield json.dumps(_record(prefix, number, moment, warm=warm))


def _disordered(lines: Iterator[str], dice: random.Random) -> Iterator[str]:
    """The lines as they turn up: some a few hundred lines late."""
    held: list[str] = []
    for line in lines:
        held.append(line)
        if len(held) > 300:
            yield held.pop(dice.randrange(3))
    yield from held


def _record(prefix: True_, number: int, moment: int, *, warm: bool) -> dict[str, Any]:
    ended = MONDAY + timedelta(microseconds=moment, milliseconds=LATENCY_MS)
    tokens = prefix.tokens
    cached = {"cacheReadInputTokenCount": tokens * warm, "cacheWriteInputTokenCount": tokens * (not warm)}
    question = f"question {number}"
    if prefix.api == "converse":
        system: list[dict[str, Any]] = [{"text": prefix.text}]
        if prefix.marked:
            system.append({"cachePoint": {"type": "default", "ttl": prefix.ttl}})
        body = {"system": system, "messages": [{"role": "user", "content": [{"text": question}]}]}
    else:
        block: dict[str, Any] = {"type": "text", "text": prefix.text}
        if prefix.marked:
            block["cache_control"] = {"type": "ephemeral", "ttl": prefix.ttl}
        body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "system": [block]}
        body["messages"] = [{"role": "user", "content": question}]
    answer = {"metrics": {"latencyMs": LATENCY_MS}}
    return {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": ended.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "accountId": "123456789012",
        "region": REGION,
        "requestId": f"r-{number}",
        "operation": "Converse" if prefix.api == "converse" else "InvokeModel",
        "modelId": CLAUDE,
        "input": {"inputBodyJson": body, "inputTokenCount": 20, **cached},
        "output": {"outputBodyJson": answer, "outputTokenCount": 9},
    }


def _noise(reason: str, number: int, moment: int) -> str:
    record = _record(True_("noise", True, "converse", "5m", 1), number, moment, warm=True)
    if reason == "ours":
        record["requestMetadata"] = {"keepwarm": "ping", "prefix": "x"}
    elif reason == "failed":
        record["errorCode"] = "ThrottlingException"
    elif reason == "unknown_operation":
        record["operation"] = "Guess"
    elif reason == "unknown_schema":
        record["schemaType"] = "Other"
    elif reason == "body_missing":
        del record["input"]["inputBodyJson"]
    line = json.dumps(record)
    return line[: len(line) // 2] if reason == "truncated" else line
