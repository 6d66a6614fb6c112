"""How a prefix is and why, in words for people, with times of its own zone.

It decides nothing: it puts into words what was decided.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from keepwarm import pauses, planner, pricing
from keepwarm.guards.spending import say_usd
from keepwarm.model import Action, Decision, PauseOrder, Prefix, PrefixState, Reason
from keepwarm.views.shapes import Condition

_MILLION = Decimal(1_000_000)

_STOPPED = frozenset({Reason.STOPPED, Reason.CAPPED, Reason.BREAKER_OPEN, Reason.TRIPPED, Reason.ALL_STOPPED})

# Why nothing is sent; the detail of the decision follows where there is one.
_BECAUSE = {
    Reason.OUTSIDE_BUSY_HOURS: "outside its busy hours",
    Reason.OUTLIVES_BUSY_HOURS: "it outlives the busy hours",
    Reason.CLOSING_SOON: "the busy hours end too soon for a write to be of use",
    Reason.BACKING_OFF: "waiting after a failure",
    Reason.IDLE_LIMIT: "pinged as often as its idle limit allows",
    Reason.NOT_WORTH_IT: "one more ping is not expected to pay",
    Reason.CLOSED: "somebody said that no more requests come",
    Reason.NO_TRAFFIC_YET: "nothing has written it yet, and prewarm is off",
    Reason.NEVER_BUSY: "its busy hours never open",
    Reason.STOPPED: "stopped",
    Reason.CAPPED: "a cap on money is reached",
    Reason.BREAKER_OPEN: "the breaker is open",
    Reason.TRIPPED: "the tripwire has tripped",
    Reason.ALL_STOPPED: "all pings are stopped",
    Reason.PAUSED: "paused",
    Reason.DRAINING: "the daemon is stopping",
    Reason.STANDING_BY: "another daemon pings",
    Reason.IN_FLIGHT: "being pinged at this moment",
}

HINT_OF_GUARDS = "`keepwarm guards` shows every guard, docs/reference.md says how to move it"


def condition(decision: Decision, state: PrefixState, pause: PauseOrder | None) -> Condition:
    """How the prefix is, in one word."""
    if pause:
        return Condition.PAUSED
    if state.stop or decision.reason in _STOPPED:
        return Condition.STOPPED
    return Condition.WARM if decision.warm_until else Condition.COLD


def describe(prefix: Prefix, state: PrefixState, decision: Decision, pause: PauseOrder | None, now: datetime) -> str:
    """How the prefix is, why, and what comes next."""
    said = {
        Condition.PAUSED: lambda: _paused(prefix, decision, pause, now),
        Condition.STOPPED: lambda: f"stopped: {_because(prefix, state, decision)}",
        Condition.WARM: lambda: _warm(prefix, state, decision, now),
        Condition.COLD: lambda: _cold(prefix, state, decision, now),
    }
    return said[condition(decision, state, pause)]()


def hint_of(state: PrefixState, decision: Decision) -> str | None:
    """What whoever must act should do."""
    if state.stop:
        return state.stop.hint or None
    return HINT_OF_GUARDS if decision.reason in _STOPPED else None


def say_time(prefix: Prefix, moment: datetime, now: datetime) -> str:
    """A moment on the clock of the prefix's zone, with its date when that is not the day of now."""
    zone = ZoneInfo(prefix.busy_hours.timezone)
    there = moment.astimezone(zone)
    same_day = there.date() == now.astimezone(zone).date()
    return f"{there:%H:%M:%S}" if same_day else f"{there:%Y-%m-%d %H:%M}"


def _paused(prefix: Prefix, decision: Decision, pause: PauseOrder | None, now: datetime) -> str:
    until = f"until {say_time(prefix, pause.until, now)}" if pause and pause.until else "until resumed"
    why = pauses.say(pause) if pause else decision.detail
    return f"paused {until} {why}".strip()


def _warm(prefix: Prefix, state: PrefixState, decision: Decision, now: datetime) -> str:
    until = f"warm until {say_time(prefix, decision.warm_until, now)}" if decision.warm_until else "warm"
    return f"{until}; {_next(prefix, state, decision, now)}"


def _cold(prefix: Prefix, state: PrefixState, decision: Decision, now: datetime) -> str:
    if decision.action is Action.PING:
        return f"cold; {_next(prefix, state, decision, now)}"
    return f"left cold: {_next(prefix, state, decision, now)}"


def _next(prefix: Prefix, state: PrefixState, decision: Decision, now: datetime) -> str:
    if decision.action is Action.PING and decision.at:
        said = "next ping now" if decision.at <= now else f"next ping {say_time(prefix, decision.at, now)}"
        return f"{said} ({decision.detail})" if decision.detail else said
    because = _because(prefix, state, decision)
    if decision.action is Action.WAIT and decision.at:
        return f"{because}; looks again {say_time(prefix, decision.at, now)}"
    return because


def _because(prefix: Prefix, state: PrefixState, decision: Decision) -> str:
    opening = state.course.opening if state.course else None
    if decision.reason is Reason.NOT_WORTH_IT and opening and not opening.held and not decision.warm_until:
        saving, price = (_usd(prefix, state, share) for share in (opening.saving, opening.price))
        return f"expected value {saving} under its price {price}"
    if decision.reason is Reason.NOT_WORTH_IT and state.course and not state.course.held and not prefix.provisioned:
        saving, price = (_usd(prefix, state, share) for share in (state.course.saving, state.course.price))
        return f"expected saving {saving} under its price {price}"
    if decision.detail:
        return decision.detail
    return _BECAUSE.get(decision.reason, decision.reason.value.replace("_", " "))


def _usd(prefix: Prefix, state: PrefixState, share: float) -> str:
    tokens = planner.tokens_of(prefix, state)
    rate = pricing.rates_for(prefix.facts.prices, tokens).input
    return say_usd(Decimal(str(share)) * rate * tokens / _MILLION)
