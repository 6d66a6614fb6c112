"""Which prefixes somebody paused, until when and why, from the orders in the order in which they were written.

It writes and reads nothing. Scopes do not mix: a resumption ends the pause of the same scope and target, so that
resuming all does not end what somebody paused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keepwarm.model import PauseOrder, Prefix, Scope

# Nobody pauses for longer and means it: without an end is what they want.
LONGEST = timedelta(days=366)
MOST_CHARACTERS = 255
_LONGEST_TAG = 600  # of key and value each 256 in a registry
_SHOWN = 60  # characters of what cannot be understood

_FOR = re.compile(r"^(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?$")
_UNITS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))


class BadOrder(ValueError):
    """An order that makes no sense, in words."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The pauses that nobody has ended, by scope and target; some may have run out."""

    orders: dict[tuple[Scope, str], PauseOrder]

    def holding(self, prefix: Prefix, now: datetime) -> PauseOrder | None:
        """The pause that keeps a prefix longest; None when none does."""
        keys = [(Scope.ALL, ""), (Scope.PREFIX, prefix.name)]
        keys += [(Scope.TAG, tag) for tag in tags_of(prefix)]
        found = [order for key in keys if (order := self.orders.get(key)) and _lasts(order, now)]
        return max(found, key=lambda order: (order.until is None, order.until or now, order.number), default=None)


@dataclass(frozen=True, slots=True)
class Past:
    """A pause and when somebody ended it or replaced it by another; None while nobody has."""

    order: PauseOrder
    resumed_at: datetime | None


NONE = Standing({})


def standing(orders: Iterable[PauseOrder]) -> Standing:
    """What holds after these orders."""
    found: dict[tuple[Scope, str], PauseOrder] = {}
    for order in orders:
        found.pop((order.scope, order.target), None)
        if not order.resumes:
            found[order.scope, order.target] = order
    return Standing(found)


def history(orders: Sequence[PauseOrder]) -> list[Past]:
    """Every pause with its end, newest first."""
    ended: dict[tuple[Scope, str], datetime] = {}
    found = []
    for order in reversed(orders):
        key = order.scope, order.target
        if not order.resumes:
            found.append(Past(order, ended.get(key)))
        ended[key] = order.at
    return found


def say(order: PauseOrder) -> str:
    """Who paused it and why, as far as told."""
    whole = {Scope.PREFIX: "", Scope.TAG: f"all with {order.target}", Scope.ALL: "all prefixes"}[order.scope]
    by = f"by {order.by}" if order.by else ""
    told = ", ".join(filter(None, (by, whole)))
    return ": ".join(filter(None, (told, order.why)))


def order_of(
    scope: Scope,
    target: str,
    said: Mapping[str, str],
    prefixes: Sequence[Prefix],
    now: datetime,
    *,
    resumes: bool = False,
) -> PauseOrder:
    """The order that somebody means.

    Args:
        said: `for` or `until` or neither, `why`, and `by`.

    Raises:
        BadOrder: in words.
    """
    if scope is Scope.TAG and not any(target in tags_of(prefix) for prefix in prefixes) and not resumes:
        raise BadOrder(f"no prefix of the registry has the tag {target[:100]!r}; write key:value")
    if not target.isprintable() or len(target) > _LONGEST_TAG:
        raise BadOrder("no tag is called so; write key:value")
    why = check_words("why", said.get("why", ""), needed=not resumes)
    by = check_words("by", said.get("by", ""), needed=False)
    until = None if resumes else ends_at(said.get("for", ""), said.get("until", ""), now)
    return PauseOrder(scope, target, now, until, why, by, resumes)


def is_about(order: PauseOrder, prefix: Prefix) -> bool:
    """Whether an order is about a prefix."""
    if order.scope is Scope.PREFIX:
        return prefix.name == order.target
    return order.scope is Scope.ALL or order.target in tags_of(prefix)


def tags_of(prefix: Prefix) -> list[str]:
    """The tags of a prefix as pauses name them."""
    return [f"{key}:{value}" for key, value in prefix.tags]


def ends_at(lasting: str, until: str, now: datetime) -> datetime | None:
    """When a pause ends that is asked for with a duration or a moment; None when with neither.

    Raises:
        BadOrder: in words, when it is neither, or not in the coming year.
    """
    if lasting and until:
        raise BadOrder("say for how long or until when, not both")
    if not lasting and not until:
        return None
    end = now + _duration(lasting) if lasting else _moment(until)
    if not now < end <= now + LONGEST:
        raise BadOrder(f"a pause ends within the coming {LONGEST.days} days; leave its end out to pause until resumed")
    return end


def check_words(name: str, said: str, *, needed: bool) -> str:
    """What somebody said in one line, without blanks around it.

    Raises:
        BadOrder: in words, when it is missing, too long or has characters that nobody types.
    """
    said = said.strip()
    if needed and not said:
        raise BadOrder(f"{name} is missing: whoever finds the pause wants to know")
    if len(said) > MOST_CHARACTERS or not said.isprintable():
        raise BadOrder(f"{name} must be one line of at most {MOST_CHARACTERS} characters")
    return said


def _lasts(order: PauseOrder, now: datetime) -> bool:
    return order.until is None or order.until > now


def _duration(text: str) -> timedelta:
    found = _FOR.match(text.strip())
    if not found or not text.strip():
        raise BadOrder(f"{text[:_SHOWN]!r} is not a duration; write for example 2h, 90m or 1d12h")
    return sum((int(count) * unit for count, unit in zip(found.groups(), _UNITS, strict=True) if count), timedelta(0))


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
        zone, moment = moment.tzinfo, moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadOrder(f"{text[:_SHOWN]!r} is not a moment; write for example 2026-11-22T20:00:00Z") from None
    if zone is None:
        raise BadOrder(f"{text[:_SHOWN]!r} needs a zone; write for example 2026-11-22T20:00:00Z")
    return moment
