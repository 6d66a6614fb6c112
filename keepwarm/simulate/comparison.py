"""Policies by name, alone and side by side on one trace.

It replays and measures nothing itself, and prints nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from keepwarm.courses import Courses
from keepwarm.model import ALWAYS, AdaptivePolicy, BusyHours, BusyHoursPolicy, IdleLimitPolicy, ModelFacts, Policy, Ttl
from keepwarm.simulate.figures import Measure, Result, units_of
from keepwarm.simulate.replay import Happening, Learner, Rules, replay
from keepwarm.simulate.traces import Trace

_IDLE_LIMIT = re.compile(r"idle_limit\s*[:=]\s*(\d{1,6})")
_PLAIN: dict[str, Policy] = {
    "never": IdleLimitPolicy(0),
    "busy_hours": BusyHoursPolicy(),
    "adaptive": AdaptivePolicy(),
}
CLAIRVOYANT = "clairvoyant"


def new_learner(_: ModelFacts) -> Learner:
    """What learns in the adaptive policy, with nothing learnt."""
    return Courses()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of a comparison.

    Attributes:
        policy: None is the clairvoyant.
        ttl: None for `ttl: auto`.
    """

    name: str
    policy: Policy | None
    ttl: Ttl | None


def parse_policy(text: str) -> Policy:
    """Read `never`, `busy_hours`, `idle_limit:N` or `adaptive`.

    Raises:
        ValueError: a sentence that says what is allowed.
    """
    found = _IDLE_LIMIT.fullmatch(text.strip())
    if found:
        return IdleLimitPolicy(int(found[1]))
    if text.strip() not in _PLAIN:
        raise ValueError(f'"{text}" is not a policy; write never, busy_hours, idle_limit:N, adaptive or all')
    return _PLAIN[text.strip()]


def name_of(policy: Policy) -> str:
    """As `parse_policy` reads it."""
    if isinstance(policy, IdleLimitPolicy):
        return f"idle_limit:{policy.pings}" if policy.pings else "never"
    return policy.name


def candidates(facts: ModelFacts) -> Iterator[Candidate]:
    """What is worth comparing for a model, the clairvoyants last.

    The largest idle limits are those that lose at most as much again as the clairvoyant pays: as many pings as one
    avoided write is worth.
    """
    units = units_of(facts)
    for ttl in sorted(facts.ttls, key=lambda each: each.duration):
        worth = int((units.writes[ttl] - units.read) / units.read + 1e-9)
        few = (0, 1, 3, 6) if ttl is Ttl.FIVE_MINUTES else (0, 1, 3)
        for pings in sorted({*(limit for limit in few if limit < worth), worth}):
            yield _candidate(IdleLimitPolicy(pings), ttl)
        yield _candidate(BusyHoursPolicy(), ttl)
        yield _candidate(AdaptivePolicy(), ttl)
    choices = [*sorted(facts.ttls, key=lambda each: each.duration), *([None] if len(facts.ttls) > 1 else [])]
    if None in choices:
        yield _candidate(AdaptivePolicy(), None)
    for choice in choices:
        yield Candidate(CLAIRVOYANT, None, choice)


@dataclass(frozen=True, slots=True)
class Setting:
    """What all candidates meet alike.

    Attributes:
        rewrite_rate: see `Rules`; the clairvoyant meets none.
        learner: makes the one that the adaptive policy asks.
        busy_hours: of all prefixes; the clairvoyant pings at any hour.
        cold_start_usd: what the adaptive policy takes a request to be worth that is not cold, beyond its tokens; no
            cost counts it.
        prewarm: see `Rules`; the clairvoyant needs none.
    """

    facts: ModelFacts
    rewrite_rate: float = 0.0
    learner: Callable[[ModelFacts], Learner] | None = None
    busy_hours: BusyHours = ALWAYS
    cold_start_usd: Decimal = Decimal(0)
    prewarm: timedelta | None = None


def run(
    trace: Trace,
    measure: Measure,
    candidate: Candidate,
    setting: Setting,
    tell: Callable[[Happening], None] | None = None,
) -> Result:
    """One candidate on one trace.

    Args:
        trace: whole.
        measure: of this trace and the same model.
        candidate: whom to try.
        setting: what he meets.
        tell: hears every happening too, of the whole trace; of the clairvoyant there are none.
    """
    if candidate.policy is None:
        return measure.clairvoyant(candidate.name, candidate.ttl)
    adaptive = isinstance(candidate.policy, AdaptivePolicy)
    learner = setting.learner if adaptive else None
    rules = Rules(
        candidate.policy,
        candidate.ttl,
        setting.facts,
        setting.rewrite_rate,
        learner,
        setting.busy_hours,
        setting.cold_start_usd,
        setting.prewarm,
    )
    meter = measure.meter()

    def both(happening: Happening) -> None:
        meter.tell(happening)
        if tell:
            tell(happening)

    replay(trace.arrivals, rules, both if tell else meter.tell)
    return measure.result(candidate.name, candidate.ttl, meter.spent)


def _candidate(policy: Policy, ttl: Ttl | None) -> Candidate:
    return Candidate(name_of(policy), policy, ttl)
