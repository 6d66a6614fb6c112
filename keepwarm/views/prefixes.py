"""Prefixes as they are shown, one by one and in lists that are searched, sorted and paged.

It takes what is known of each and asks nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from keepwarm import busyhours, planner
from keepwarm.model import (
    BusyHoursPolicy,
    Decision,
    GuardState,
    GuardStatus,
    IdleLimitPolicy,
    PauseOrder,
    Policy,
    Prefix,
    PrefixState,
)
from keepwarm.views import cursors, words
from keepwarm.views.shapes import (
    Condition,
    Counts,
    GuardShown,
    LastPing,
    PauseShown,
    PrefixShown,
    Takings,
)

_ORDER = (Condition.STOPPED, Condition.PAUSED, Condition.COLD, Condition.WARM)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a prefix at one moment, but for its money."""

    prefix: Prefix
    state: PrefixState
    decision: Decision
    pause: PauseOrder | None
    last_ping: LastPing | None


def show(known: Known, money: Takings, early_loss_rate: float | None, now: datetime) -> PrefixShown:
    """One prefix."""
    prefix, state, decision = known.prefix, known.state, known.decision
    return PrefixShown(
        name=prefix.name,
        model_id=prefix.model_id,
        region=prefix.route.region,
        ttl="auto" if prefix.auto_ttl else prefix.ttl.value,
        billed_ttl=state.billed_ttl.value if state.billed_ttl else None,
        policy=say_policy(prefix.policy),
        tags=dict(prefix.tags),
        time_zone=prefix.busy_hours.timezone,
        tokens=planner.tokens_of(prefix, state),
        state=words.condition(decision, state, known.pause),
        reason=decision.reason.value,
        words=words.describe(prefix, state, decision, known.pause, now),
        hint=words.hint_of(state, decision),
        warm_until=decision.warm_until,
        next_at=decision.at,
        busy_now=busyhours.span_at(prefix.busy_hours, now) is not None,
        pause=show_pause(known.pause),
        last_ping=known.last_ping,
        last_request_at=state.organic_at,
        money=money,
        early_loss_rate=early_loss_rate,
    )


def show_pause(pause: PauseOrder | None) -> PauseShown | None:
    """The pause of a prefix."""
    return PauseShown(pause.until, pause.why, pause.by, pause.at) if pause else None


def show_guard(status: GuardStatus) -> GuardShown:
    """One guard."""
    return GuardShown(
        guard=status.guard.value,
        prefix=status.prefix or None,
        holding=status.state is GuardState.TRIPPED,
        state=status.state.value,
        detail=status.detail,
        limit_usd=None if status.limit_usd is None else float(status.limit_usd),
        spent_usd=None if status.spent_usd is None else float(status.spent_usd),
    )


def say_policy(policy: Policy) -> str:
    """A policy in a word or two."""
    if isinstance(policy, IdleLimitPolicy):
        return f"{policy.name} {policy.pings}"
    return BusyHoursPolicy().name if isinstance(policy, BusyHoursPolicy) else policy.name


def say_busy_hours(prefix: Prefix) -> str:
    """The busy hours: their name and zone."""
    hours = prefix.busy_hours
    return hours.name if hours.name == "always" else f"{hours.name} ({hours.timezone})"


def count(shown: Iterable[PrefixShown]) -> Counts:
    """How many are how."""
    found = Counter(one.state for one in shown)
    return Counts(
        found.total(), *(found[each] for each in (Condition.WARM, Condition.COLD, Condition.STOPPED, Condition.PAUSED))
    )


# -- lists --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which prefixes of a list, and in which order.

    Attributes:
        query: in the name, model id, region or a tag, whatever the case.
        tag: `key:value`.
        state: only those that are so.
        sort: `name`, `net` (the least first), `cost` (the most first) or `state` (what needs somebody first).
        cursor: where the page before ended; empty for the first.
    """

    query: str = ""
    tag: str = ""
    state: Condition | None = None
    sort: str = "name"
    limit: int = 100
    cursor: str = ""


def choose(shown: Sequence[PrefixShown], wanted: Wanted) -> tuple[list[PrefixShown], str | None, int]:
    """One page of a list, where the next one begins, and how many there are on all pages.

    Raises:
        BadCursor: the cursor is not of this list.
    """
    key = _KEYS[wanted.sort]
    found = sorted((one for one in shown if _matches(one, wanted)), key=lambda one: (key(one), one.name))
    total = len(found)
    if wanted.cursor:
        last = cursors.read(f"prefixes by {wanted.sort}", wanted.cursor, (_KINDS[wanted.sort], str))
        found = [one for one in found if (key(one), one.name) > tuple(last)]
    page = found[: wanted.limit]
    more = len(found) > len(page)
    return page, cursors.write(f"prefixes by {wanted.sort}", key(page[-1]), page[-1].name) if more else None, total


def _matches(one: PrefixShown, wanted: Wanted) -> bool:
    if wanted.state and one.state is not wanted.state:
        return False
    tags = [f"{key}:{value}" for key, value in one.tags.items()]
    if wanted.tag and wanted.tag not in tags:
        return False
    query = wanted.query.casefold()
    return not query or any(query in text.casefold() for text in (one.name, one.model_id, one.region, *tags))


def _net(one: PrefixShown) -> float:
    money = one.money.thirty_days or one.money.today
    return float(money.net_low_usd) if money else 0.0


def _cost(one: PrefixShown) -> float:
    money = one.money.thirty_days or one.money.today
    return -float(money.refresh_cost_usd) if money else 0.0


_KEYS: dict[str, Callable[[PrefixShown], str | float | int]] = {
    "name": lambda _: "",
    "net": _net,
    "cost": _cost,
    "state": lambda one: _ORDER.index(one.state),
}
_KINDS: dict[str, type] = {"name": str, "net": float, "cost": float, "state": int}
