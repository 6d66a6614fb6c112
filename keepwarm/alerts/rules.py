"""What is wrong at a moment, by what was told and what is known; pure.

It remembers nothing: whoever asks keeps the alerts that stand, and hands them in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from keepwarm import planner
from keepwarm.alerts.heard import Heard, OfPrefix
from keepwarm.alerts.kinds import OWN, Alert, Kind, Thresholds
from keepwarm.guards.spending import say_usd
from keepwarm.model import Guard, GuardState, GuardStatus, Prefix, PrefixState, Reason

# With these reasons a prefix is to be kept warm. One that a guard holds has an alert of that guard.
WANTED = frozenset(
    reason.value
    for reason in (
        Reason.KEEP_WARM,
        Reason.BRIDGE_PAUSE,
        Reason.COLD_IN_BUSY_HOURS,
        Reason.RETRY,
        Reason.BACKING_OFF,
        Reason.IN_FLIGHT,
        Reason.STOPPED,
    )
)
UNCACHED = "uncached"
_REJECTED = "credentials_rejected"
# Fewer rewrites than this are chance.
_REWRITES = 3
# The same difference is told once a day; what was not told again has ended.
_DRIFT_LASTS = timedelta(hours=25)
_UNWRITTEN_LASTS = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at a moment.

    Attributes:
        leading: whether this daemon pings; if not, only what is wrong with itself is judged.
        host: where it runs.
        prefixes: those in care, by name.
        states: of them.
        tripwires: as of the last look at seven days.
        ledger_trouble: why a try to write to the ledger failed; empty when it did not.
    """

    leading: bool
    host: str
    prefixes: Mapping[str, Prefix]
    states: Mapping[str, PrefixState]
    tripwires: Sequence[GuardStatus] = ()
    ledger_trouble: str = ""


@dataclass(frozen=True, slots=True)
class _Case:
    """One prefix at a moment, with the alert that stands so far."""

    prefix: Prefix
    state: PrefixState
    told: OfPrefix
    limits: Thresholds
    now: datetime
    standing: str = field(default="")


def judge(
    seen: Seen, heard: Heard, limits: Thresholds, standing: Mapping[str, Alert], now: datetime
) -> dict[str, Alert]:
    """All that is wrong now, by key, opened now; what stood before has its own time of opening.

    Args:
        standing: the alerts that are open, by key.
    """
    found = [*_own(seen, heard, now)]
    if seen.leading:
        found += [*_of_prefixes(seen, heard, limits, standing, now), *_guards(seen, heard, standing, now)]
    return {alert.key: replace(standing[alert.key], words=alert.words) if alert.key in standing else alert
            for alert in found}  # fmt: skip


def changes(standing: Mapping[str, Alert], found: Mapping[str, Alert], now: datetime) -> list[Alert]:
    """What is to be told: recoveries first, then what is new."""
    resolved = [replace(alert, resolved_at=now) for key, alert in standing.items() if key not in found]
    return [*resolved, *(alert for key, alert in found.items() if key not in standing)]


# -- of each prefix -----------------------------------------------------------------------------------------------


def _of_prefixes(
    seen: Seen, heard: Heard, limits: Thresholds, standing: Mapping[str, Alert], now: datetime
) -> Iterator[Alert]:
    for name, state in seen.states.items():
        told = heard.prefixes.get(name, _NOTHING)
        for kind, rule in _RULES.items():
            alert = Alert(kind, name, "", "", now)
            before = standing.get(alert.key)
            case = _Case(seen.prefixes[name], state, told, limits, now, before.words if before else "")
            if words := rule(case):
                yield replace(alert, words=words)
    yield from _nets(seen, limits, standing, now)


def _no_confirmed_hit(case: _Case) -> str:
    """Of a prefix that should be warm; stopped for being uncached, at once."""
    if case.state.stop:
        stop = case.state.stop
        return f"stopped: {stop.message or stop.code}" if stop.code == UNCACHED else ""
    told = case.told
    if not told.reason:
        return case.standing  # just started: nothing is known yet
    if told.reason not in WANTED or told.reason_since is None or told.rejected:
        return ""
    allowed = case.limits.periods * planner.ping_period(case.prefix, case.state)
    confirmed = max(filter(None, (told.confirmed_at, case.state.organic_at)), default=None)
    if confirmed and case.now - confirmed <= allowed:
        return ""
    if case.now - max(filter(None, (confirmed, told.reason_since))) <= allowed:
        return case.standing
    since = f"since {confirmed:%Y-%m-%d %H:%M:%S} UTC" if confirmed else "yet"
    return f"no hit {since}, in more than {case.limits.periods} ping periods, though it should be warm ({told.reason})"


def _rewrites(case: _Case) -> str:
    """It recovers at half the threshold, or it would come and go."""
    due = case.told.due
    rewrites, share = sum(due), sum(due) / max(1, len(due))
    if len(due) < _REWRITES:
        return case.standing
    limit = case.limits.rewrite_share / (2 if case.standing else 1)
    wrong = share >= limit and (rewrites >= _REWRITES or bool(case.standing))
    return f"{rewrites} of the last {len(due)} pings where a hit was due had to write" if wrong and rewrites else ""


def _ttl_not_honoured(case: _Case) -> str:
    billed = case.state.billed_ttl
    asked = case.told.not_honoured[0] if case.told.not_honoured else ""
    if not case.prefix.auto_ttl:
        asked = case.prefix.ttl.value
    if billed is None or not asked:
        return case.standing
    return f"asked for {asked}, billed as {billed.value}" if billed.value != asked else ""


def _drifted(case: _Case) -> str:
    if case.told.drift is None:
        return ""
    at, words = case.told.drift
    return words if case.now - at < _DRIFT_LASTS else ""


def _access_lost(case: _Case) -> str:
    stop = case.state.stop
    if stop and stop.code != UNCACHED:
        return f"stopped: {stop.code}: {stop.message}"
    if case.told.rejected:
        return f"{_REJECTED}: {case.told.rejected}"
    return case.standing if case.state.retry_reason == _REJECTED else ""


_NOTHING = OfPrefix()
_RULES: Mapping[Kind, Callable[[_Case], str]] = {
    Kind.ACCESS_LOST: _access_lost,
    Kind.NO_CONFIRMED_HIT: _no_confirmed_hit,
    Kind.TTL_NOT_HONOURED: _ttl_not_honoured,
    Kind.REWRITES: _rewrites,
    Kind.PREFIX_DRIFTED: _drifted,
}


# -- money --------------------------------------------------------------------------------------------------------


def _nets(seen: Seen, limits: Thresholds, standing: Mapping[str, Alert], now: datetime) -> Iterator[Alert]:
    """What lost money, as far as it is proven; while a tripwire is blind nothing changes."""
    for status in seen.tripwires:
        alert, lost = Alert(Kind.NET_NEGATIVE, status.prefix, "", "", now), status.spent_usd
        if status.state is GuardState.BLIND:
            yield from [standing[alert.key]] if alert.key in standing else []
        elif lost is not None and lost > limits.loss_usd:
            yield replace(alert, words=f"pings lost {say_usd(lost)} in seven days ({status.detail})")


def _guards(seen: Seen, heard: Heard, standing: Mapping[str, Alert], now: datetime) -> Iterator[Alert]:
    """A guard is told when it holds a ping, and stands until it tells that it does not any more."""
    for (guard, subject), detail in heard.guards.items():
        if detail:
            yield Alert(Kind.GUARD_TRIPPED, subject, guard, detail, now)
    for alert in standing.values():
        known = (alert.about, alert.subject) in heard.guards
        if alert.kind is Kind.GUARD_TRIPPED and not known and _may_still_hold(alert, seen, heard):
            yield alert


def _may_still_hold(alert: Alert, seen: Seen, heard: Heard) -> bool:
    """Of one from before a restart, which has told nothing since: tripwire and stop tell at the start."""
    if alert.about == Guard.BREAKER:
        return alert.subject in seen.states and seen.states[alert.subject].broken_at is not None
    if alert.about in {Guard.TRIPWIRE, Guard.STOP_ALL}:
        return False
    asked = seen.states if alert.subject == "all" else {alert.subject} & seen.states.keys()
    return bool(asked) and not any(told.pinged for name, told in heard.prefixes.items() if name in asked)


# -- the daemon itself --------------------------------------------------------------------------------------------


def _own(seen: Seen, heard: Heard, now: datetime) -> Iterator[Alert]:
    late = {name: told.late_seconds for name, told in heard.prefixes.items() if told.late_seconds}
    if late:
        worst = max(late, key=lambda name: late[name])
        count = f"{len(late)} prefix{'' if len(late) == 1 else 'es'}"
        yield Alert(Kind.DAEMON_LATE, seen.host, "", f"{count} tended too late, {worst} by {late[worst]:.1f} s", now)
    unwritten = [
        name
        for name, told in heard.prefixes.items()
        if told.unwritten_at and now - told.unwritten_at < _UNWRITTEN_LASTS
    ]
    if trouble := seen.ledger_trouble or (heard.ledger_error if unwritten else ""):
        yield Alert(Kind.LEDGER_NOT_WRITABLE, seen.host, "", trouble, now)


def is_own(alert: Alert) -> bool:
    """Whether it is about the daemon itself, so that every daemon tells it."""
    return alert.kind in OWN
