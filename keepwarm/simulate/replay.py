"""Replays arrivals through the planner and the policies of the daemon: what would be sent, written and read.

It has no rule of its own about when to ping, prices nothing in USD (see `figures`), and knows of the arrivals to come
no more than the daemon would: every action depends on earlier arrivals only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol

from keepwarm import planner
from keepwarm.model import (
    ALWAYS,
    Action,
    AdaptivePolicy,
    Api,
    BusyHours,
    BusyHoursPolicy,
    Course,
    Decision,
    Entry,
    Intent,
    ModelFacts,
    Outcome,
    Policy,
    Prefix,
    PrefixState,
    Route,
    Source,
    Touch,
    Ttl,
    Usage,
    Verdict,
)
from keepwarm.simulate.traces import Arrival

_NOTHING = Decimal(0)


class Learner(Protocol):
    """What chooses the courses of prefixes with the adaptive policy; one for all prefixes of a replay."""

    def meet(self, prefix: Prefix) -> Course | None:
        """The course of a prefix before its first request; None leaves it to the prefix."""

    def arrive(self, prefix: Prefix, state: PrefixState, touch: Touch) -> Course:
        """The course after an organic request; called in order of time over all prefixes.

        Args:
            prefix: whose request it is.
            state: the request absorbed; its course is still the one before.
            touch: the request; its usage says whether it read or wrote, and with which ttl.
        """

    def pinged(self, prefix: Prefix, verdict: Verdict) -> None:
        """One ping of it was a hit or a rewrite; told before its next request, or at the end."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How the prefixes of a replay are registered; all alike, without prewarming.

    Attributes:
        ttl: None for `ttl: auto`.
        rewrite_rate: the share of pings that find their living entry gone and write it.
        learner: builds a fresh one; needed by the adaptive policy.
        busy_hours: of all of them.
    """

    policy: Policy
    ttl: Ttl | None
    facts: ModelFacts
    rewrite_rate: float = 0.0
    learner: Callable[[ModelFacts], Learner] | None = None
    busy_hours: BusyHours = ALWAYS


class Kind(StrEnum):
    """What happened; the middle column of a judge's file is `ping` for both kinds of pings."""

    READ = "read"
    WRITE = "write"
    PING = "ping"
    REWRITE = "rewrite"


class Happening(NamedTuple):
    """One paid request, organic or ours.

    Attributes:
        at: when it started.
        tokens: of the prefix, as the last organic request told.
        ttl: with which it wrote, or of the entry that it read.
    """

    at: datetime
    prefix_id: str
    kind: Kind
    tokens: int
    ttl: Ttl


Tell = Callable[[Happening], None]


def replay(arrivals: Sequence[Arrival], rules: Rules, tell: Tell) -> None:
    """Tell everything that is paid for.

    Each prefix's happenings are told in order of time; those of different prefixes mingle, since pings are told
    shortly before the next request of their prefix. After the last arrival of all, a policy that ends pinging by itself
    is followed until it does; the others are until that moment.

    Args:
        arrivals: ascending.
        rules: for all of them.
        tell: is called with every happening.
    """
    if not arrivals:
        return
    runner = _Runner(rules, tell)
    for arrival in arrivals:
        runner.arrive(arrival)
    runner.finish(arrivals[-1].at)


@dataclass(slots=True)
class _Run:
    """What is known of one prefix on the way."""

    prefix: Prefix
    state: PrefixState
    tokens: int = 0


class _Runner:
    def __init__(self, rules: Rules, tell: Tell) -> None:
        self._rules = rules
        self._tell = tell
        self._runs: dict[str, _Run] = {}
        self._learner = rules.learner(rules.facts) if rules.learner else None
        self._ttl = rules.ttl or Ttl.FIVE_MINUTES
        example = _prefix("", rules, self._ttl)
        # By the ttl that was billed; no touch is without one here.
        self._lifetimes = {ttl: planner.lifetime_of(example, PrefixState(billed_ttl=ttl)) for ttl in Ttl}
        self._quiet = {ttl: planner.quiet_time(example, PrefixState(billed_ttl=ttl)) for ttl in Ttl}
        self._usages: dict[tuple[int, Ttl | None], Usage] = {}

    def arrive(self, arrival: Arrival) -> None:
        """One organic request, after all pings until then."""
        at, prefix_id, tokens = arrival
        run = self._runs.get(prefix_id)
        if run is None:
            run = self._runs[prefix_id] = self._meet(prefix_id)
        elif at - run.state.touched_at >= self._quiet[run.state.billed_ttl]:  # type: ignore[operator, index]
            self._send_until(run, at)
        run.tokens = tokens
        state = run.state
        if state.touched_at is not None and at <= state.touched_at + self._lifetimes[state.billed_ttl]:  # type: ignore[index]
            kind, written = Kind.READ, None
        else:
            kind, written = Kind.WRITE, self._ttl_of(state)
        touch = _touch(run.prefix, at, self._usage(tokens, written))
        run.state = state = planner.absorb_touch(run.prefix, state, touch)
        if self._learner:
            run.state = replace(state, course=self._learner.arrive(run.prefix, state, touch))
        self._tell(Happening(at, prefix_id, kind, tokens, state.billed_ttl or self._ttl))

    def finish(self, horizon: datetime) -> None:
        """The pings after the last request of each prefix."""
        for run in self._runs.values():
            self._send_until(run, horizon if _endless(self._rules.policy, run.state) else None)

    def _send_until(self, run: _Run, until: datetime | None) -> None:
        """Send what the planner wants sent at or before a moment; None for all that it ever will."""
        prefix, now = run.prefix, run.state.touched_at
        while now is not None:
            decision = planner.decide(prefix, run.state, now)
            if decision.at is None or (until is not None and decision.at > until):
                return
            now = decision.at
            if decision.action is Action.PING:
                self._ping(run, decision, now)

    def _ping(self, run: _Run, decision: Decision, now: datetime) -> None:
        prefix, ttl = run.prefix, run.state.billed_ttl or self._ttl
        rewritten = self._rules.rewrite_rate > 0 and _lot(prefix.name, now) < self._rules.rewrite_rate
        usage = self._usage(run.tokens, ttl if rewritten else None)
        verdict = Verdict.REWRITE if rewritten else Verdict.HIT
        intent = Intent(prefix.name, prefix.fingerprint, prefix.model_id, prefix.route.region, prefix.api, ttl,
                        decision.reason, 1, now, _NOTHING)  # fmt: skip
        outcome = Outcome(now, verdict, _NOTHING, usage=usage, billed_ttl=ttl if rewritten else None)
        run.state = planner.absorb(prefix, run.state, Entry(0, intent, outcome), 0.5)
        if self._learner:
            self._learner.pinged(prefix, verdict)
        self._tell(Happening(now, prefix.name, Kind.REWRITE if rewritten else Kind.PING, run.tokens, ttl))

    def _meet(self, prefix_id: str) -> _Run:
        prefix = _prefix(prefix_id, self._rules, self._ttl)
        return _Run(prefix, PrefixState(course=self._learner.meet(prefix) if self._learner else None))

    def _ttl_of(self, state: PrefixState) -> Ttl:
        """What the next write asks for."""
        return state.course.ttl if self._rules.ttl is None and state.course else self._ttl

    def _usage(self, tokens: int, written: Ttl | None) -> Usage:
        """The usage of a write with a ttl, or of a read; the same object each time, for there are few."""
        tokens = max(1, tokens)
        found = self._usages.get((tokens, written))
        if found is None:
            found = self._usages[tokens, written] = Usage(
                input_tokens=1,
                output_tokens=1,
                cache_read_tokens=0 if written else tokens,
                cache_write_tokens=tokens if written else 0,
                cache_write_1h_tokens=tokens if written is Ttl.ONE_HOUR else 0,
            )
        return found


def _endless(policy: Policy, state: PrefixState) -> bool:
    """Whether pinging ends with the busy hours only, if at all."""
    return isinstance(policy, BusyHoursPolicy) or (isinstance(policy, AdaptivePolicy) and state.course is None)


def _lot(prefix_id: str, at: datetime) -> float:
    """A number in [0, 1) for each ping, whatever else happens."""
    digest = hashlib.blake2b(f"{prefix_id} {at.timestamp()}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32


def _prefix(prefix_id: str, rules: Rules, ttl: Ttl) -> Prefix:
    made = Prefix(
        name=prefix_id,
        model_id=rules.facts.base_id,
        route=Route(""),
        api=Api.CONVERSE,
        facts=rules.facts,
        ttl=ttl,
        lifetime=ttl.duration,
        margin=planner.default_margin(ttl, ttl.duration),
        busy_hours=rules.busy_hours,
        policy=rules.policy,
        prewarm=False,
        fingerprint=prefix_id,
        estimated_tokens=1,
        ping_request={},
        auto_ttl=rules.ttl is None,
    )
    if rules.ttl is not None:
        return made
    other = Ttl.ONE_HOUR if ttl is Ttl.FIVE_MINUTES else Ttl.FIVE_MINUTES
    margin = planner.default_margin(other, other.duration)
    return replace(made, other=replace(made, ttl=other, lifetime=other.duration, margin=margin))


def _touch(prefix: Prefix, at: datetime, usage: Usage) -> Touch:
    return Touch("", prefix.name, prefix.fingerprint, "", prefix.model_id, "", prefix.api, at, usage, None,
                 Source.REPORTER)  # fmt: skip
