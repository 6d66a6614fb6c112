"""Which faults a campaign tries, when, and how long: drawn from a seed, the same for the same seed.

It breaks nothing itself; `world` does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from keepwarm.emulator import Faults


class Kind(StrEnum):
    """One way to trouble a daemon."""

    THROTTLED = "throttling storm, 5 to 95 %"
    SERVER_ERRORS = "503, 500 and 408, 10 to 90 %"
    HUNG = "hangs past the read timeout"
    RESET = "connection reset instead of an answer"
    DRIPPED = "slow answers within the timeout"
    WRONG_JSON = "answers that break off"
    NO_USAGE = "answers without usage"
    EVICTED = "entries evicted early"
    SHORTENED = "1h honoured as 5m"
    HOMES = "two homes behind the profile"
    HOUR_DOWN = "region down for an hour: 503 for twelve lifetimes"
    GONE = "endpoint refuses connections"
    SWALLOWED = "endpoint swallows connections"
    BROKEN_OFF = "connection reset in the middle of an answer"
    LONG_DRIPS = "answers that drip for longer than the read timeout"
    NO_NAME = "started with a name that DNS does not know"
    CERTIFICATE = "started with an endpoint whose certificate is wrong"
    EXPIRED = "credentials expired"
    SKEWED = "signatures refused: a clock that is minutes off"
    QUOTED = "errors that quote the prompt"
    KILLED = "kill -9 and restart"
    AT_POINTS = "kill -9 at each of six points of a ping"
    STOPPED = "SIGSTOP for ten minutes: two lifetimes"
    CLOCK_AHEAD = "wall clock set an hour ahead, then right again"
    CLOCK_BEHIND = "wall clock set an hour back, then right again"
    NO_CREDENTIALS = "started without credentials"
    NO_ROLE = "role that cannot be assumed for ten minutes: two lifetimes"
    LOCKED = "ledger locked by another program"
    FULL = "disk full"
    DELETED = "ledger file deleted, then a restart"
    CORRUPTED = "ledger file corrupted: a start refused, the file put back"
    TRUNCATED = "ledger file truncated: a start refused, the file put back"
    FEW_FILES = "64 file descriptors from the start on"
    ONE_WORKER = "one worker, and answers that hang"
    NO_FILES = "no more files may be opened"
    REWRITTEN = "registry rewritten again and again"
    HALF_WRITTEN = "registry half-written"
    MANY_ERRORS = "registry with 10,000 errors"
    HUGE_PROMPT = "registry that names a prompt of 50 MB"
    BOMB = "registry that is a YAML bomb"
    TOUCHES = "touches: duplicated, reordered, from the future, malformed"
    FLOOD = "touches by the hundred thousand"


# Those that are one deed instead of lasting; the others end when their time is over.
AT_ONCE = frozenset(
    {
        Kind.HOUR_DOWN,
        Kind.NO_NAME,
        Kind.CERTIFICATE,
        Kind.KILLED,
        Kind.AT_POINTS,
        Kind.STOPPED,
        Kind.CLOCK_AHEAD,
        Kind.CLOCK_BEHIND,
        Kind.NO_CREDENTIALS,
        Kind.NO_ROLE,
        Kind.DELETED,
        Kind.CORRUPTED,
        Kind.TRUNCATED,
        Kind.FEW_FILES,
        Kind.ONE_WORKER,
        Kind.FLOOD,
    }
)

# Requests show that these befell them by having been refused.
REFUSED = frozenset(
    {
        Kind.THROTTLED,
        Kind.SERVER_ERRORS,
        Kind.RESET,
        Kind.HOUR_DOWN,
        Kind.EXPIRED,
        Kind.SKEWED,
        Kind.QUOTED,
    }
)

# What these do is counted as they do it.
ONE_BY_ONE = frozenset(
    {
        Kind.KILLED,
        Kind.AT_POINTS,
        Kind.NO_ROLE,
        Kind.REWRITTEN,
        Kind.HALF_WRITTEN,
        Kind.MANY_ERRORS,
        Kind.HUGE_PROMPT,
        Kind.BOMB,
        Kind.TOUCHES,
        Kind.FLOOD,
    }
)

# After these, the breaker may rightly hold a prefix for lifetimes: rewrites or lost answers in a row.
TRIPPING = frozenset(
    {
        Kind.HUNG,
        Kind.RESET,
        Kind.BROKEN_OFF,
        Kind.WRONG_JSON,
        Kind.NO_USAGE,
        Kind.EVICTED,
        Kind.HOMES,
        Kind.SWALLOWED,
        Kind.ONE_WORKER,
    }
)


@dataclass(frozen=True, slots=True)
class Episode:
    """One fault, and the calm behind it.

    Attributes:
        lifetimes: how long it lasts.
        strength: 0.05 to 0.95; what a rate is set to, or how often something is done.
    """

    kind: Kind
    lifetimes: float
    strength: float

    def faults(self) -> Faults | None:
        """What the embedded Bedrock does meanwhile; None where it is well."""
        rate = self.strength
        return {
            Kind.THROTTLED: Faults(throttle=rate),
            Kind.SERVER_ERRORS: Faults(unavailable=rate / 2, internal_error=rate / 3, model_timeout=rate / 3),
            Kind.HUNG: Faults(hang=rate / 2, hang_seconds=30),
            Kind.RESET: Faults(reset=rate),
            Kind.DRIPPED: Faults(hang=rate, hang_seconds=0.8),
            Kind.WRONG_JSON: Faults(wrong_json=True, omit_headers=True),
            Kind.NO_USAGE: Faults(omit_usage=True, omit_headers=True),
            Kind.EVICTED: Faults(evict=rate),
            Kind.HOMES: Faults(homes=2),
            Kind.EXPIRED: Faults(expired_tokens=True),
            Kind.SKEWED: Faults(clock_skew=True),
        }.get(self.kind)


def draw(seed: int, count: int) -> list[Episode]:
    """So many episodes: every kind once in each round, in an order of its own each time."""
    dice = random.Random(seed)
    found: list[Episode] = []
    while len(found) < count:
        kinds = list(Kind)
        dice.shuffle(kinds)
        found += [Episode(kind, dice.uniform(0.4, 1.3), dice.uniform(0.05, 0.95)) for kind in kinds]
    return found[:count]


def draw_of(seed: int, kinds: list[Kind]) -> list[Episode]:
    """One episode of each of these kinds, in an order drawn from the seed."""
    dice = random.Random(seed)
    kinds = list(kinds)
    dice.shuffle(kinds)
    return [Episode(kind, dice.uniform(0.4, 0.8), dice.uniform(0.3, 0.95)) for kind in kinds]
