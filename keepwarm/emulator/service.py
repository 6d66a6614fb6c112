"""The embedded Bedrock without its sockets: from a parsed call to the reply, by way of faults, rules and cache.

It never waits and opens nothing: a reply says how long it is to be held back. Many threads may call it at once.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from uuid import UUID

from keepwarm.dialects import dialect_of
from keepwarm.emulator.answers import OUTPUT_TOKENS, Answer, answer_reply, count_reply
from keepwarm.emulator.cache import Cache, Place, tokens_of
from keepwarm.emulator.faults import NO_FAULTS, Dice, Faults, faults_for
from keepwarm.emulator.refusals import Prompt, check, find_facts, quoting, read_prompt
from keepwarm.emulator.wire import (
    Call,
    Json,
    Operation,
    Refusal,
    Reply,
    counted_body,
    parse_json,
    parse_metadata,
    refusal_reply,
)
from keepwarm.fingerprint import Position, positions
from keepwarm.model import Api, ModelFacts, Ttl, Usage
from keepwarm.pricing import Catalog, parse_model_id

CONNECTION_RESET = "ConnectionReset"

_TOO_DEEP = Refusal("ValidationException", "Malformed input request: too deeply nested.")

_BASE_MS = 350.0
_COUNT_BASE_MS = 70.0
_UNCACHED_MS_PER_TOKEN = 0.06
_READ_MS_PER_TOKEN = 0.004
_JITTER = 0.1
_REQUESTS_BETWEEN_PURGES = 1_000

# In the order in which they are asked; the refused request is never read.
_RATED_REFUSALS = (
    ("throttle", "ThrottlingException", "Too many tokens, please wait before trying again."),
    ("unavailable", "ServiceUnavailableException", "Bedrock is unable to process your request."),
    ("internal_error", "InternalServerException", "The system encountered an unexpected error during processing."),
    (
        "model_timeout",
        "ModelTimeoutException",
        "Model has timed out in processing the request.",
    ),
)
_CONSTANT_REFUSALS = (
    ("expired_tokens", "ExpiredTokenException", "The security token included in the request is expired"),
    (
        "clock_skew",
        "InvalidSignatureException",
        "Signature expired: the time of the request is more than five minutes away from the time of the server",
    ),
    ("deny", "AccessDeniedException", "You don't have access to the model with the specified model ID."),
    ("retired", "ResourceNotFoundException", "This model version has reached the end of its life."),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the emulator's log keeps it; no prompt text.

    Attributes:
        number: ascending from 1 in the order in which requests were served.
        at: aware UTC, the start of the request.
        access_key: the account; empty for a request without authentication.
        status: HTTP status; 0 when the connection was cut instead of answering.
        error_code: of the refusal; `ConnectionReset` when the connection was cut; empty otherwise.
        usage: what was billed, also when the answer did not tell it; None when nothing was.
        cache_point_digests: of the prompt up to each cache point; equal ones mean the same entry.
        latency_ms: how long the answer was held back, 0 for refusals.
        home: which of the regions behind an inference profile served it.
    """

    number: int
    at: datetime
    access_key: str
    region: str
    model_id: str
    operation: str
    status: int
    error_code: str
    metadata: Mapping[str, str]
    user_agent: str
    usage: Usage | None
    cache_point_digests: tuple[str, ...]
    latency_ms: int
    home: int


@dataclass(slots=True)
class _Notes:
    """What has been learnt of a request so far; survives its refusal."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    usage: Usage | None = None
    digests: tuple[str, ...] = ()
    latency_ms: int = 0
    home: int = 0


class Service:
    """Bedrock as one object; safe to call from many threads."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        seed: int = 0,
        time_scale: float = 1.0,
        latency_scale: float | None = None,
        log_limit: int = 100_000,
        remembered_requests: int = 100_000,
    ) -> None:
        self._log: deque[Request] = deque(maxlen=log_limit)
        self._catalog = catalog
        self._seed = seed
        self._latency_scale = time_scale if latency_scale is None else latency_scale
        self._cache = Cache(time_scale=time_scale)
        self._key = secrets.token_bytes(32)
        self._faults: dict[str, Faults] = {}
        self._remembered_requests = remembered_requests
        self._times_seen: dict[str, int] = {}
        self._served = 0
        self._lock = threading.Lock()

    @property
    def faults(self) -> dict[str, Faults]:
        """The faults by pattern, the last one set at the end."""
        with self._lock:
            return dict(self._faults)

    def set_faults(self, pattern: str, faults: Faults) -> None:
        """Let models whose id fits the pattern (fnmatch) misbehave from the next request on."""
        with self._lock:
            self._faults.pop(pattern, None)
            self._faults[pattern] = faults

    def replace_faults(self, by_pattern: Mapping[str, Faults]) -> None:
        """Set every pattern at once; those not named are forgotten."""
        with self._lock:
            self._faults = dict(by_pattern)

    def evict(self, pattern: str = "*") -> int:
        """Drop the cache entries of the models whose id fits the pattern, and tell how many there were."""
        with self._lock:
            return self._cache.evict(lambda place: fnmatchcase(place.model_id, pattern))

    def history(self) -> list[Request]:
        """The last requests, oldest first."""
        with self._lock:
            return list(self._log)

    def serve(self, call: Call, at: datetime) -> Reply:
        """Answer one call that started at `at` (aware UTC)."""
        with self._lock:
            faults = faults_for(self._faults, call.model_id)
        dice = self._dice(call)
        notes = _Notes()
        try:
            reply = self._answer(call, at, faults, dice, notes)
            code = CONNECTION_RESET if reply.cut else ""
        except RecursionError:
            reply, code = refusal_reply(_TOO_DEEP, _request_id(dice)), _TOO_DEEP.code
        except Refusal as refusal:
            reply, code = refusal_reply(refusal, _request_id(dice)), refusal.code
        self._note(call, at, 0 if reply.cut else reply.status, code, notes)
        return reply

    # -- the way of a request -------------------------------------------------------------------------------------

    def _answer(self, call: Call, at: datetime, faults: Faults, dice: Dice, notes: _Notes) -> Reply:
        _refuse(call, faults, dice)
        body = parse_json(call.body)
        notes.metadata = parse_metadata(call, body)
        if call.operation is Operation.COUNT_TOKENS:
            return self._count(call, body, dice, notes)
        facts = find_facts(self._catalog, call.model_id, call.region)
        dialect = dialect_of(Api.CONVERSE if call.operation.is_converse else Api.INVOKE_MODEL, facts.family)
        prompt = Prompt(body, read_prompt(dialect, body), facts)
        if faults.echo_prompt_in_errors:
            raise quoting(prompt.reading)
        check(prompt)
        found = positions(prompt.reading, self._key)
        notes.digests = tuple(position.digest for position in found if position.marker)
        notes.home = _home(call, faults, dice)
        notes.usage, latency = self._touch(call, _honoured(found, faults), facts, at, faults, dice, notes.home)
        notes.latency_ms = round(latency / timedelta(milliseconds=1))
        answer = Answer(
            request_id=_request_id(dice),
            model_id=call.model_id,
            usage=notes.usage,
            latency_ms=notes.latency_ms,
            stop_reason="max_tokens" if prompt.max_tokens == OUTPUT_TOKENS else "end_turn",
            settings={name: body[name] for name in ("serviceTier", "performanceConfig") if name in body},
            faults=faults,
        )
        reply = answer_reply(call, dialect, answer)
        return replace(reply, wait=latency, cut=dice.falls(faults.reset, "reset"))

    def _count(self, call: Call, body: Json, dice: Dice, notes: _Notes) -> Reply:
        if parse_model_id(call.model_id).geography:
            raise Refusal("ValidationException", "The provided model doesn't support counting tokens.")
        facts = find_facts(self._catalog, call.model_id, call.region)
        is_converse, counted = counted_body(body)
        dialect = dialect_of(Api.CONVERSE if is_converse else Api.INVOKE_MODEL, facts.family)
        tokens = sum(tokens_of(position) for position in positions(read_prompt(dialect, counted), self._key))
        latency = self._latency(_COUNT_BASE_MS, dice)
        notes.latency_ms = round(latency / timedelta(milliseconds=1))
        return replace(count_reply(tokens, _request_id(dice)), wait=latency)

    def _touch(
        self,
        call: Call,
        prompt: Sequence[Position],
        facts: ModelFacts,
        at: datetime,
        faults: Faults,
        dice: Dice,
        home: int,
    ) -> tuple[Usage, timedelta]:
        """Read and write the cache; what that bills, and when the answer is due."""
        place = Place(call.access_key, call.region, call.model_id, home)
        with self._lock:
            bill = self._cache.bill(place, prompt, min_tokens=facts.min_tokens, now=at)
            if bill.read is not None and dice.falls(faults.evict, "evict"):
                self._cache.forget(place, bill.read)
                bill = self._cache.bill(place, prompt, min_tokens=facts.min_tokens, now=at)
            written = bill.write_5m_tokens + bill.write_1h_tokens
            milliseconds = _BASE_MS + _UNCACHED_MS_PER_TOKEN * (bill.input_tokens + written)
            latency = self._latency(milliseconds + _READ_MS_PER_TOKEN * bill.read_tokens, dice)
            if dice.falls(faults.hang, "hang"):
                latency += timedelta(seconds=faults.hang_seconds)
            self._cache.settle(place, bill, started_at=at, readable_at=at + latency)
        return Usage(bill.input_tokens, OUTPUT_TOKENS, bill.read_tokens, written, bill.write_1h_tokens), latency

    def _latency(self, milliseconds: float, dice: Dice) -> timedelta:
        factor = self._latency_scale * (1 + _JITTER * (2 * dice.roll("latency") - 1))
        return timedelta(milliseconds=milliseconds * factor)

    # -- books ----------------------------------------------------------------------------------------------------

    def _dice(self, call: Call) -> Dice:
        seen = hashlib.blake2b(f"{call.access_key}\n{call.model_id}\n{call.operation}\n".encode(), digest_size=16)
        seen.update(call.body)
        digest = seen.hexdigest()
        with self._lock:
            times_seen = self._times_seen.pop(digest, 0)
            self._times_seen[digest] = times_seen + 1
            if len(self._times_seen) > self._remembered_requests:
                del self._times_seen[next(iter(self._times_seen))]
        return Dice(self._seed, digest, times_seen)

    def _note(self, call: Call, at: datetime, status: int, code: str, notes: _Notes) -> None:
        with self._lock:
            self._served += 1
            if self._served % _REQUESTS_BETWEEN_PURGES == 0:
                self._cache.purge(at)
            self._log.append(
                Request(
                    number=self._served,
                    at=at,
                    access_key=call.access_key,
                    region=call.region,
                    model_id=call.model_id,
                    operation=call.operation.value,
                    status=status,
                    error_code=code,
                    metadata=notes.metadata,
                    user_agent=call.user_agent,
                    usage=notes.usage,
                    cache_point_digests=notes.digests,
                    latency_ms=notes.latency_ms,
                    home=notes.home,
                )
            )


def _refuse(call: Call, faults: Faults, dice: Dice) -> None:
    """Refuse what needs no look at the prompt."""
    if not call.access_key:
        raise Refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
    if faults is NO_FAULTS:
        return
    for switch, code, message in _CONSTANT_REFUSALS:
        if getattr(faults, switch):
            raise Refusal(code, message)
    for switch, code, message in _RATED_REFUSALS:
        if dice.falls(getattr(faults, switch), switch):
            raise Refusal(code, message)


def _honoured(prompt: Sequence[Position], faults: Faults) -> Sequence[Position]:
    """The prompt with the lifetimes that its cache points really get."""
    if not faults.honour_1h_as_5m:
        return prompt
    return [replace(position, marker=position.marker and Ttl.FIVE_MINUTES) for position in prompt]


def _home(call: Call, faults: Faults, dice: Dice) -> int:
    if faults.homes == 1 or not parse_model_id(call.model_id).geography:
        return 0
    return int(dice.roll("home") * faults.homes)


def _request_id(dice: Dice) -> str:
    return str(UUID(hex=dice.hexadecimal("request id")))
