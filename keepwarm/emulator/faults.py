"""The switches that make the embedded Bedrock misbehave, and the dice that make it misbehave the same way twice.

It injects nothing itself; `service` asks it what should go wrong with one request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, get_type_hints

_YES_OR_NO = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with the requests for a model; nothing by default.

    A rate is the share of requests it befalls, 0 to 1. A request that is refused reads, writes and bills nothing.

    Attributes:
        throttle: rate of ThrottlingException (429).
        unavailable: rate of ServiceUnavailableException (503).
        internal_error: rate of InternalServerException (500).
        model_timeout: rate of ModelTimeoutException (408).
        hang: rate of requests that are processed and billed but answered only after `hang_seconds`.
        hang_seconds: how long a hanging answer is held back, in real seconds that no time scale shortens.
        reset: rate of requests that are processed and billed, and whose connection is then cut without an answer.
        evict: rate at which an entry that should be alive turns out to be gone.
        homes: regions behind an inference profile, each with a cache of its own; one is chosen for each request.
            Plain model ids have one home whatever this says.
        deny: every request is refused with AccessDeniedException (403).
        expired_tokens: every request is refused with ExpiredTokenException (403), as for credentials past their time.
        clock_skew: every request is refused with InvalidSignatureException (403), as for a clock that is minutes off.
        retired: every request is refused with ResourceNotFoundException (404), as for a model past its end of life.
        honour_1h_as_5m: a 1h cache point lives and is billed as 5m.
        omit_usage: the answer's body tells no usage.
        omit_headers: an InvokeModel answer carries no token counts in its headers.
        omit_cache_split: the usage does not split written tokens by ttl.
        wrong_json: the answer's body breaks off in the middle, with status 200.
        echo_prompt_in_errors: every request is refused with a ValidationException that quotes the start of its prompt.
    """

    throttle: float = 0.0
    unavailable: float = 0.0
    internal_error: float = 0.0
    model_timeout: float = 0.0
    hang: float = 0.0
    hang_seconds: float = 300.0
    reset: float = 0.0
    evict: float = 0.0
    homes: int = 1
    deny: bool = False
    expired_tokens: bool = False
    clock_skew: bool = False
    retired: bool = False
    honour_1h_as_5m: bool = False
    omit_usage: bool = False
    omit_headers: bool = False
    omit_cache_split: bool = False
    wrong_json: bool = False
    echo_prompt_in_errors: bool = False

    def __post_init__(self) -> None:
        for name in _RATES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: must be a rate from 0 to 1, not {getattr(self, name)}")
        if self.homes < 1:
            raise ValueError(f"homes: must be 1 or more, not {self.homes}")
        if self.hang_seconds < 0:
            raise ValueError(f"hang_seconds: must be 0 or more, not {self.hang_seconds}")

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read switches as the command line writes them: `throttle=0.3,hang=0.1,deny`; a bare name means always.

        Raises:
            ValueError: an unknown switch, or a value that it does not take; the message says what is allowed.
        """
        switches: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            switches[name] = value if equals else "1"
        return cls.from_mapping(switches)

    @classmethod
    def from_mapping(cls, switches: Mapping[str, Any]) -> Faults:
        """Build from names and values, which may be text or what JSON gives.

        Raises:
            ValueError: as `parse`.
        """
        values: dict[str, Any] = {name: _value(name, value) for name, value in switches.items()}
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """The switches that differ from their defaults."""
        found = {switch.name: getattr(self, switch.name) for switch in fields(self)}
        return {name: value for name, value in found.items() if value != getattr(NO_FAULTS, name)}


_KINDS: Mapping[str, type] = get_type_hints(Faults)
_RATES = tuple(name for name, kind in _KINDS.items() if kind is float and name != "hang_seconds")
NO_FAULTS = Faults()


def faults_for(by_pattern: dict[str, Faults], model_id: str) -> Faults:
    """The faults of a model id: of the last pattern (fnmatch) that fits it, with `*` as the fallback for all."""
    for pattern, faults in reversed(by_pattern.items()):
        if pattern != "*" and fnmatchcase(model_id, pattern):
            return faults
    return by_pattern.get("*", NO_FAULTS)


@dataclass(frozen=True, slots=True)
class Dice:
    """Chance for one request: the same request, asked as often before, under the same seed, has the same luck.

    No stream of random numbers is shared between requests, so the order of threads does not matter.

    Attributes:
        request: digest of the request.
        times_seen: how often this very request came before.
    """

    seed: int
    request: str
    times_seen: int

    def roll(self, purpose: str) -> float:
        """A number from 0 (inclusive) to 1 (exclusive)."""
        return int(self.hexadecimal(purpose)[:13], 16) / 16**13

    def falls(self, rate: float, purpose: str) -> bool:
        """Whether something of this rate befalls the request."""
        return rate > 0 and self.roll(purpose) < rate

    def hexadecimal(self, purpose: str) -> str:
        """32 hexadecimal digits that look random."""
        text = f"{self.seed}\n{purpose}\n{self.times_seen}\n{self.request}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _value(name: str, value: Any) -> float | int | bool:
    kind = _KINDS.get(name)
    if kind is None:
        raise ValueError(f"{name}: unknown switch; there are {', '.join(_KINDS)}")
    if kind is bool:
        found = _YES_OR_NO.get(str(value).lower())
        if found is None:
            raise ValueError(f"{name}: must be true or false, not {value!r}")
        return found
    try:
        return int(str(value)) if kind is int else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: must be a {'whole ' if kind is int else ''}number, not {value!r}") from None
