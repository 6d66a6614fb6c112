"""What one registry changes against another: prefixes added, removed and changed, and in which keys; pure.

It does not say what that costs (see `simulate`) and applies nothing. A prefix is known again by its fingerprint, and
only then by its name: whatever else changes, it is the same cache entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from keepwarm.model import IdleLimitPolicy, Prefix, Rates, Window

_MOST_NAMES = 20
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Change:
    """One prefix, before and after; `new_entry` where its text or route changed, so that it starts cold."""

    before: Prefix
    after: Prefix

    @property
    def new_entry(self) -> bool:
        """Whether it names another cache entry now."""
        return self.before.fingerprint != self.after.fingerprint

    @property
    def keys(self) -> list[tuple[str, str, str]]:
        """What changed in the words of the registry: key, old value, new value."""
        said = [(key, say(self.before), say(self.after)) for key, say in _KEYS.items()]
        found = [(key, before, after) for key, before, after in said if before != after]
        routed = any(key in _ROUTING for key, _, _ in found)
        if self.new_entry and not routed and not any(key == "tokens" for key, _, _ in found):
            found.append(("request", "as it was", "another of about the same size"))
        return found or [("others", "as they were", "changed")]


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes from one registry to another."""

    added: tuple[Prefix, ...]
    removed: tuple[Prefix, ...]
    changed: tuple[Change, ...]
    unchanged: tuple[Prefix, ...]

    def __bool__(self) -> bool:
        """Whether anything changes at all."""
        return bool(self.added or self.removed or self.changed)

    @property
    def to_arm(self) -> list[str]:
        """Names of prefixes that want to be decided on anew."""
        return [*(prefix.name for prefix in self.added), *(change.after.name for change in self.changed)]

    @property
    def to_disarm(self) -> set[str]:
        """Names that no prefix has any more."""
        before = {prefix.name for prefix in self.removed} | {change.before.name for change in self.changed}
        kept = {prefix.name for prefix in self.unchanged}
        return before - kept - set(self.to_arm)

    def fields(self) -> dict[str, object]:
        """As an event tells it, with a bounded number of names."""
        return {
            "added": _names([prefix.name for prefix in self.added]),
            "removed": _names([prefix.name for prefix in self.removed]),
            "changed": _names([_shown(change) for change in self.changed]),
            "unchanged": len(self.unchanged),
        }


def between(before: Collection[Prefix], after: Collection[Prefix]) -> Difference:
    """What changes from one registry to another; where a prefix stands in its file is no change."""
    by_fingerprint = {prefix.fingerprint: prefix for prefix in before}
    kept = {prefix.fingerprint for prefix in after} & by_fingerprint.keys()
    by_name = {prefix.name: prefix for prefix in before if prefix.fingerprint not in kept}
    added, changed, unchanged = [], [], []
    for prefix in after:
        old = by_fingerprint.get(prefix.fingerprint) or by_name.pop(prefix.name, None)
        if old is None:
            added.append(prefix)
        elif replace(old, line=0) == replace(prefix, line=0):
            unchanged.append(prefix)
        else:
            changed.append(Change(old, prefix))
    return Difference(tuple(added), tuple(by_name.values()), tuple(changed), tuple(unchanged))


# -- in words -----------------------------------------------------------------------------------------------------


def _names(names: Sequence[str]) -> list[str]:
    shown = list(names[:_MOST_NAMES])
    return [*shown, f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else shown


def _shown(change: Change) -> str:
    before, after = change.before.name, change.after.name
    return after if before == after else f"{before} -> {after}"


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():g}s"


def _hours(prefix: Prefix) -> str:
    hours = prefix.busy_hours
    if hours.name == "always":
        return hours.name
    holidays = f", holidays {hours.holidays}" if hours.holidays else ""
    closed = "".join(f", except {first} to {last}" for first, last in hours.closed)
    return f"{hours.name} ({hours.timezone}): {'; '.join(map(_window, hours.windows))}{holidays}{closed}"


def _window(window: Window) -> str:
    start, end = (f"{minute // 60 % 24:02}:{minute % 60:02}" for minute in (window.start_minute, window.end_minute))
    return f"{' '.join(_DAYS[day] for day in sorted(window.weekdays))} {start}-{end}"


def _policy(prefix: Prefix) -> str:
    policy = prefix.policy
    return f"{policy.name}: {policy.pings}" if isinstance(policy, IdleLimitPolicy) else policy.name


def _prewarm(prefix: Prefix) -> str:
    return f"lead: {_seconds(prefix.prewarm_lead)}" if prefix.prewarm_lead else str(prefix.prewarm).lower()


def _prices(prefix: Prefix) -> str:
    prices = prefix.facts.prices
    return "; ".join([_rates(prices.base), *(f"above {above:,}: {_rates(rates)}" for above, rates in prices.steps)])


def _rates(rates: Rates) -> str:
    write_1h = "" if rates.cache_write_1h is None else f", cache_write_1h {rates.cache_write_1h}"
    return (
        f"input {rates.input}, output {rates.output}, cache_read {rates.cache_read}, "
        f"cache_write_5m {rates.cache_write_5m}{write_1h}"
    )


_ROUTING = frozenset({"model_id", "region", "profile", "role_arn", "api"})

_KEYS: dict[str, Callable[[Prefix], str]] = {
    "name": lambda prefix: prefix.name,
    "model_id": lambda prefix: prefix.model_id,
    "region": lambda prefix: prefix.route.region,
    "profile": lambda prefix: prefix.route.profile or "none",
    "role_arn": lambda prefix: prefix.route.role_arn or "none",
    "api": lambda prefix: prefix.api.value,
    "tokens": lambda prefix: f"about {prefix.estimated_tokens:,}",
    "ttl": lambda prefix: f"auto, now {prefix.ttl.value}" if prefix.auto_ttl else prefix.ttl.value,
    "lifetime": lambda prefix: _seconds(prefix.lifetime),
    "margin": lambda prefix: _seconds(prefix.margin),
    "busy_hours": _hours,
    "policy": _policy,
    "prewarm": _prewarm,
    "cold_start_usd": lambda prefix: f"{prefix.cold_start_usd:f}",
    "provisioned": lambda prefix: str(prefix.provisioned).lower(),
    "metrics": lambda prefix: str(prefix.metrics).lower(),
    "ping_cap_usd": lambda prefix: f"{prefix.limits.ping_cap_usd:f}",
    "day_cap_usd": lambda prefix: f"{prefix.limits.day_cap_usd:f}",
    "month_cap_usd": lambda prefix: f"{prefix.limits.month_cap_usd:f}",
    "tripwire_usd": lambda prefix: f"{prefix.limits.tripwire_usd:f}",
    "tags": lambda prefix: ", ".join(f"{key}: {value}" for key, value in prefix.tags) or "none",
    "min_tokens": lambda prefix: str(prefix.facts.min_tokens),
    "prices": _prices,
}
