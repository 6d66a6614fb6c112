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
    GONE = "endpoint refuses connections"
    SWALLOWED = "endpoint swallows connections"
    EXPIRED = "credentials expired"
    SKEWED = "signatures refused: a clock that is minutes off"
    QUOTED = "errors that quote the prompt"
    KILLED = "kill -9 and restart"
    AT_POINTS = "kill -9 at each of six points of a ping"
    STOPPED = "SIGSTOP for 1.2 lifetimes"
    NO_CREDENTIALS = "started without credentials"
    LOCKED = "ledger locked by another program"
    FULL = "disk full"
    DELETED = "ledger file deleted, then a restart"
    CORRUPTED = "ledger file corrupted: a start refused, the file put back"
    NO_FILES = "no more files may be opened"
    REWRITTEN = "registry rewritten again and again"
    HALF_WRITTEN = "registry half-written"
    MANY_ERRORS = "registry with 10,000 errors"
    HUGE_PROMPT = "registry that names a prompt of 50 MB"
    BOMB = "registry that is a YAML bomb"
    TOUCHES = "touches: duplicated, reordered, from the future, malformed"


# Those that are one deed instead of lasting; the others end when their time is over.
AT_ONCE = frozenset({Kind.KILLED, Kind.AT_POINTS, Kind.CORRUPTED, Kind.DELETED, Kind.STOPPED, Kind.NO_CREDENTIALS})

# After these, the breaker may rightly hold a prefix for lifetimes: rewrites or lost answers in a row.
TRIPPING = frozenset({Kind.HUNG, Kind.RESET, Kind.WRONG_JSON, Kind.NO_USAGE, Kind.EVICTED, Kind.HOMES, Kind.SWALLOWED})


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
