"""What a daemon tells when it starts, leads or has read its registry, as events.

It tells nobody: the daemon does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime

from keepwarm import __version__, blind
from keepwarm.model import Event, Prefix
from keepwarm.parts import Parts
from keepwarm.registry import Registry

# So many of a kind are told one by one; who has more of them wants a command that lists them, not a log.
_EACH_UP_TO = 100


def of_start(parts: Parts, listens: str, now: datetime) -> Iterator[Event]:
    """The daemon began, with what it found.

    Args:
        listens: where the HTTP interface does.
    """
    fields: dict[str, object] = {
        "version": __version__,
        "registry": str(parts.settings.registry),
        "prefixes": len(parts.registry.prefixes),
        "listens": listens,
        "pid": os.getpid(),
    }
    yield Event("daemon_started", now, "info", fields)
    yield from of_registry(parts, parts.registry, now)


def of_orphans(parts: Parts, now: datetime) -> Iterator[Event]:
    """Pings without an answer from before a crash.

    Raises:
        LedgerError: it cannot be read.
    """
    orphans = [entry for entry in parts.ledger.orphans(parts.run_id) if now > entry.intent.started_at]
    if orphans:
        fields: dict[str, object] = {
            "count": len(orphans),
            "newest": orphans[-1].intent.started_at,
            "prefixes": sorted({entry.intent.prefix for entry in orphans})[:20],
            "counted_usd": sum(entry.cost_usd for entry in orphans),
            "hint": "these pings had no answer when keepwarm died; they count at their high price",
        }
        yield Event("orphans_found", now, "warning", fields)


def of_registry(parts: Parts, registry: Registry, now: datetime) -> Iterator[Event]:
    """What is probably not meant, and what prefixes need to pay of whose traffic nobody has told yet."""
    for warning in registry.warnings[:_EACH_UP_TO]:
        yield Event("registry_warned", now, "warning", {"warning": str(warning)})
    if more := len(registry.warnings[_EACH_UP_TO:]):
        yield Event("registry_warned", now, "warning", {"warning": f"and {more} more; `keepwarm check` tells them all"})
    followed, state_of = parts.settings.follows_logs, parts.keeper.known
    blinds = [one for one in registry.prefixes if blind.is_blind(one, state_of(one.name), followed=followed)]
    for prefix in blinds[:_EACH_UP_TO]:
        yield from _of_blind(parts, prefix, now)
    if more := len(blinds[_EACH_UP_TO:]):
        fields: dict[str, object] = {"more": more, "hint": "`keepwarm plan` tells from how many requests each pays"}
        yield Event("traffic_unknown", now, "info", fields)


def _of_blind(parts: Parts, prefix: Prefix, now: datetime) -> Iterator[Event]:
    if found := blind.break_even_of(prefix, parts.keeper.known(prefix.name), now):
        fields: dict[str, object] = {
            "prefix": prefix.name,
            "pays_from_requests_per_hour": found.per_hour if found.per_hour is None else round(found.per_hour, 4),
            "silent_busy_day_usd": found.silent_day_usd,
        }
        if found.warning:
            fields["hint"] = found.warning
        yield Event("traffic_unknown", now, "warning" if found.warning else "info", fields)
