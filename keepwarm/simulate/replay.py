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
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple, Protocol

from keepwarm import planner
from keepwarm.model import (
    ALWAYS,
    Action,
    Api,
    BusyHours,
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
    """What chooses the courses of prefixes with the adaptive policy; one for all prefixes of a replay.

    It is told and asked in order of time over all of them.
    """

    def hear(self, prefix: Prefix, before: PrefixState, touch: Touch) -> None:
        """An organic request came.

        Args:
            prefix: whose request it is.
            before: what was known before it.
            touch: its usage says whether it read or wrote, and with which ttl.
        """

    def pinged(self, prefix: Prefix, entry: Entry) -> None:
        """One of its pings ended."""

    def course(self, prefix: Prefix, state: PrefixState, now: datetime) -> Course | None:
        """What is wanted of it until its next request; asked before each ping."""

    def choose_ttl(self, prefix: Prefix, state: PrefixState, now: datetime) -> Ttl:
        """What a write of this moment asks for, at `ttl: auto`."""


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
    """Tell everything that is paid for, in the order of time.

    It ends with the last arrival of all: pings that would follow are not told, whatever the policy.

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
    runner.send_until(arrivals[-1].at)


@dataclass(slots=True)
class _Run:
    """What is known of one prefix on the way.

    Attributes:
        alarm: when it is looked at next without a request; None when nothing is due before one.
    """

    prefix: Prefix
    state: PrefixState
    tokens: int = 0
    alarm: datetime | None = None


class _Runner:
    def __init__(self, rules: Rules, tell: Tell) -> None:
        self._rules = rules
        self._tell = tell
        self._runs: dict[str, _Run] = {}
        self._alarms: list[tuple[datetime, int, _Run]] = []
        self._numbers = count()
        self._learner = rules.learner(rules.facts) if rules.learner else None
        self._ttl = rules.ttl or Ttl.FIVE_MINUTES
        example = _prefix("", rules, self._ttl)
        # By the ttl that was billed, which every write here tells.
        self._lifetimes = {ttl: planner.lifetime_of(example, PrefixState(billed_ttl=ttl)) for ttl in Ttl}
        self._quiet = {ttl: planner.quiet_time(example, PrefixState(billed_ttl=ttl)) for ttl in Ttl}
        self._usages: dict[tuple[int, Ttl | None], Usage] = {}

    def arrive(self, arrival: Arrival) -> None:
        """One organic request, after all pings until then."""
        at, prefix_id, tokens = arrival
        self.send_until(at)
        run = self._runs.get(prefix_id)
        if run is None:
            run = self._runs[prefix_id] = _Run(_prefix(prefix_id, self._rules, self._ttl), PrefixState())
        run.tokens = tokens
        prefix, before, learner = run.prefix, run.state, self._learner
        ttl = before.billed_ttl or self._ttl
        alive = before.touched_at is not None and at <= before.touched_at + self._lifetimes[ttl]
        if not alive:
            auto = learner is not None and self._rules.ttl is None
            ttl = learner.choose_ttl(prefix, before, at) if learner and auto else self._ttl
        touch = _touch(prefix, at, self._usage(tokens, None if alive else ttl))
        run.state = planner.absorb_touch(prefix, before, touch)
        if learner:
            learner.hear(prefix, before, touch)
        self._tell(Happening(at, prefix_id, Kind.READ if alive else Kind.WRITE, tokens, ttl))
        due = at + self._quiet[ttl]
        if run.alarm is None or run.alarm > due:
            self._arm(run, due)

    def send_until(self, until: datetime) -> None:
        """Send what the planner wants sent at or before a moment."""
        while self._alarms and self._alarms[0][0] <= until:
            now, _, run = heappop(self._alarms)
            if now == run.alarm:  # no earlier one was set since
                run.alarm = None
                self._look(run, now)

    def _look(self, run: _Run, now: datetime) -> None:
        """What the daemon does when a timer fires: decide anew, send if it is due, and set the timer."""
        touched_at, quiet = run.state.touched_at, self._quiet[run.state.billed_ttl or self._ttl]
        if touched_at and now < touched_at + quiet:
            self._arm(run, touched_at + quiet)
            return
        if self._learner:  # only now, as the keeper: what has happened since the last request counts too
            run.state = replace(run.state, course=self._learner.course(run.prefix, run.state, now))
        decision = planner.decide(run.prefix, run.state, now)
        if decision.at is None:
            return
        if decision.action is Action.PING and decision.at <= now:
            self._ping(run, decision, now)
            self._arm(run, now + self._quiet[run.state.billed_ttl or self._ttl])
        else:
            self._arm(run, decision.at)

    def _arm(self, run: _Run, at: datetime) -> None:
        run.alarm = at
        heappush(self._alarms, (at, next(self._numbers), run))

    def _ping(self, run: _Run, decision: Decision, now: datetime) -> None:
        prefix, ttl = run.prefix, run.state.billed_ttl or self._ttl
        rewritten = self._rules.rewrite_rate > 0 and _lot(prefix.name, now) < self._rules.rewrite_rate
        usage = self._usage(run.tokens, ttl if rewritten else None)
        verdict = Verdict.REWRITE if rewritten else Verdict.HIT
        intent = Intent(prefix.name, prefix.fingerprint, prefix.model_id, prefix.route.region, prefix.api, ttl,
                        decision.reason, 1, now, _NOTHING)  # fmt: skip
        outcome = Outcome(now, verdict, _NOTHING, usage=usage, billed_ttl=ttl if rewritten else None)
        entry = Entry(0, intent, outcome)
        run.state = planner.absorb(prefix, run.state, entry, 0.5)
        if self._learner:
            self._learner.pinged(prefix, entry)
        self._tell(Happening(now, prefix.name, Kind.REWRITE if rewritten else Kind.PING, run.tokens, ttl))

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
