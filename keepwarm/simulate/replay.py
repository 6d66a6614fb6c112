"""Replays arrivals through the planner and the policies of the daemon: what would be sent, written and read.

It has no rule of its own about when to ping, prices nothing in USD (see `figures`), and knows of the arrivals to come
no more than the daemon would: every action depends on earlier arrivals only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
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

# An idle limit may be as good as none.
_LONGEST_TAIL = timedelta(weeks=1)


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
    """How the prefixes of a replay are registered: as given, all others alike.

    Attributes:
        ttl: None for `ttl: auto`.
        rewrite_rate: the share of pings that find their living entry gone and write it.
        learner: builds a fresh one; needed by the adaptive policy.
        busy_hours: of all of them.
        cold_start_usd: what it is worth to each, beyond its tokens, that a request does not find the entry cold.
        prewarm: how long before busy hours open a cold entry may be written; None for never.
        registered: prefixes as the registry has them, by their id in the trace; their own settings count. None of them
            is written or pinged before its first request.
    """

    policy: Policy
    ttl: Ttl | None
    facts: ModelFacts
    rewrite_rate: float = 0.0
    learner: Callable[[ModelFacts], Learner] | None = None
    busy_hours: BusyHours = ALWAYS
    cold_start_usd: Decimal = Decimal(0)
    prewarm: timedelta | None = None
    registered: Mapping[str, Prefix] = field(default_factory=dict)


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

    After the last arrival it goes on until the policy has given up every prefix, at most for a week: nobody can know
    that no more requests come, so these pings are paid for too. Busy hours give nothing up; with them it ends with the
    last arrival of all, which flatters them.

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
    endless = isinstance(rules.policy, BusyHoursPolicy)
    runner.send_until(arrivals[-1].at + (timedelta(0) if endless else _LONGEST_TAIL))


@dataclass(slots=True)
class _Run:
    """What is known of one prefix on the way.

    Attributes:
        alarm: when it is looked at next without a request; None when nothing is due before one.
        due_after: the touch after which it is looked at when its ping is due.
        lifetimes: by the ttl that was billed, which every write here tells.
        quiet: how long after a touch no ping is due, likewise.
    """

    prefix: Prefix
    state: PrefixState
    lifetimes: Mapping[Ttl, timedelta]
    quiet: Mapping[Ttl, timedelta]
    tokens: int = 0
    alarm: datetime | None = None
    due_after: datetime | None = None


class _Runner:
    def __init__(self, rules: Rules, tell: Tell) -> None:
        self._rules = rules
        self._tell = tell
        self._runs: dict[str, _Run] = {}
        self._alarms: list[tuple[datetime, int, _Run]] = []
        self._numbers = count()
        self._learner = rules.learner(rules.facts) if rules.learner else None
        self._ttl = rules.ttl or Ttl.FIVE_MINUTES
        self._alike = _times_of(_prefix("", rules, self._ttl))
        self._usages: dict[tuple[int, Ttl | None], Usage] = {}

    def arrive(self, arrival: Arrival) -> None:
        """One organic request, after all pings until then."""
        at, prefix_id, tokens = arrival
        self.send_until(at)
        run = self._runs.get(prefix_id)
        if run is None:
            run = self._runs[prefix_id] = self._register(prefix_id, tokens)
        run.tokens = tokens
        prefix, before, learner = run.prefix, run.state, self._learner
        ttl = before.billed_ttl or prefix.ttl
        alive = before.touched_at is not None and at <= before.touched_at + run.lifetimes[ttl]
        if not alive:
            ttl = learner.choose_ttl(prefix, before, at) if learner and prefix.auto_ttl else prefix.ttl
        touch = _touch(prefix, at, self._usage(tokens, None if alive else ttl))
        run.state = planner.absorb_touch(prefix, before, touch)
        if learner:
            learner.hear(prefix, before, touch)
        self._tell(Happening(at, prefix_id, Kind.READ if alive else Kind.WRITE, tokens, ttl))
        due = at + run.quiet[ttl]
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
        touched_at, quiet = run.state.touched_at, run.quiet[run.state.billed_ttl or run.prefix.ttl]
        if touched_at and now < touched_at + quiet:
            self._arm(run, touched_at + quiet)
            return
        if touched_at != run.due_after:  # once for each touch: what spreads pings is a hash
            run.due_after = touched_at
            due = planner.due_at(run.prefix, run.state)
            if due and now < due:
                self._arm(run, due)
                return
        if self._learner:  # only now, as the keeper: what has happened since the last request counts too
            course = self._learner.course(run.prefix, run.state, now)
            if course != run.state.course:
                run.state = replace(run.state, course=course)
        decision = planner.decide(run.prefix, run.state, now)
        if decision.at is None:
            return
        if decision.action is Action.PING and decision.at <= now:
            self._ping(run, decision, now)
            self._arm(run, now + run.quiet[run.state.billed_ttl or run.prefix.ttl])
        else:
            self._arm(run, decision.at)

    def _register(self, prefix_id: str, tokens: int) -> _Run:
        prefix = self._rules.registered.get(prefix_id)
        if prefix:
            return _Run(prefix, PrefixState(), *_times_of(prefix))
        made = _prefix(prefix_id, self._rules, self._ttl)
        if self._rules.cold_start_usd:  # what it is in units of the prefix must be right from the first request on
            other = made.other and replace(made.other, estimated_tokens=tokens)
            made = replace(made, estimated_tokens=tokens, other=other)
        return _Run(made, PrefixState(), *self._alike)

    def _arm(self, run: _Run, at: datetime) -> None:
        run.alarm = at
        heappush(self._alarms, (at, next(self._numbers), run))

    def _ping(self, run: _Run, decision: Decision, now: datetime) -> None:
        prefix = run.prefix
        if decision.warm_until:
            ttl = run.state.billed_ttl or prefix.ttl
            rewritten = self._rules.rewrite_rate > 0 and _lot(prefix.name, now) < self._rules.rewrite_rate
        else:
            ttl, rewritten = planner.choose_ttl(prefix, run.state, now).ttl, True
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


def _times_of(prefix: Prefix) -> tuple[Mapping[Ttl, timedelta], Mapping[Ttl, timedelta]]:
    """Its lifetimes and quiet times by ttl."""
    states = {ttl: PrefixState(billed_ttl=ttl) for ttl in Ttl}
    return (
        {ttl: planner.lifetime_of(prefix, state) for ttl, state in states.items()},
        {ttl: planner.quiet_time(prefix, state) for ttl, state in states.items()},
    )


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
        prewarm=rules.prewarm is not None,
        prewarm_lead=rules.prewarm or timedelta(0),
        cold_start_usd=rules.cold_start_usd,
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
