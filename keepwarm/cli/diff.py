"""`diff`: what another registry would change, in prefixes, pings and money.

It shows; `keepwarm.differences` compares and `keepwarm.simulate` looks ahead and back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from keepwarm import clock, differences, simulate
from keepwarm.cli.app import (
    EXIT_FAILED,
    EXIT_INPUT,
    Format,
    FormatOption,
    app,
    err,
    out,
    prefixes,
    print_json,
    progress,
    settings,
    table,
    told,
    usd,
)
from keepwarm.differences import Change, Difference
from keepwarm.model import Prefix, PrefixState
from keepwarm.parts import Parts, opened, read_registry
from keepwarm.pausing import Pausing
from keepwarm.registry import Registry
from keepwarm.simulate import outlooks
from keepwarm.simulate.advice import rewrite_rate_of
from keepwarm.simulate.outlooks import NOTHING, Outlook

_EXIT_CODES = "Exit codes: 0 nothing changes, 1 something does, 2 trouble (bad input, registry or ledger)."
_LOOK_BACK = timedelta(weeks=4)


@dataclass(frozen=True, slots=True)
class _Row:
    """One prefix that comes, goes or changes, with its mean day as it is and as it would be."""

    what: str
    name: str
    keys: list[tuple[str, str, str]]
    new_entry: bool
    before: Outlook
    after: Outlook
    past: tuple[Outlook, Outlook] | None = None


@app.command(name="diff", epilog=_EXIT_CODES)
def command(
    new: Annotated[Path, typer.Argument(help="The registry that would take the place of the one in force.")],
    days: Annotated[float, typer.Option(min=0.1, max=366, help="How far to look ahead.")] = 7,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show what another registry would change, in prefixes, pings a day and money a day. Nothing is sent or applied.

    Ahead it counts as `plan` does; where the ledger was told of enough requests of a changed prefix, it also replays
    them with both.

    Example: `keepwarm diff registry.new.yaml --days 30`
    """
    try:
        with told():
            now, chosen = clock.utc_now(), settings()
            with opened(chosen) as parts:
                registry, _ = read_registry(chosen.model_copy(update={"registry": str(new)}), now)
                found = differences.between(parts.registry.prefixes, registry.prefixes)
                rows = _rows(parts, registry, found, now, days)
                unpaused = _unpaused(parts.pausing, found, now)
    except typer.Exit:
        raise typer.Exit(EXIT_INPUT) from None  # 1 says that there is a difference
    if output is Format.JSON:
        print_json(_json(rows, registry, found, days) | {"unpaused": unpaused})
    else:
        _print(rows, registry, found, days)
        for name in unpaused:
            out.print(f"warning: {name}: is paused now, and would not be any more: pause it again", markup=False)
    raise typer.Exit(EXIT_FAILED if found else 0)


def _unpaused(pausing: Pausing, found: Difference, now: datetime) -> list[str]:
    """Prefixes whose pause would not hold them any more, since it goes by their old name or tag."""
    return [
        change.after.name
        for change in found.changed
        if pausing.holding(change.before, now) and not pausing.holding(change.after, now)
    ]


def _rows(parts: Parts, registry: Registry, found: Difference, now: datetime, days: float) -> list[_Row]:
    going = [*found.removed, *(change.before for change in found.changed)]
    with progress("looking ahead", len(going) + len(found.added) + len(found.changed)) as step:

        def ahead(prefix: Prefix, state: Callable[[str], PrefixState]) -> Outlook:
            step()
            return outlooks.ahead(prefix, state(prefix.name), now, days)

        before = {prefix.name: ahead(prefix, parts.keeper.state) for prefix in going}
        parts.keeper.adopt(registry.prefixes)  # of this process: it reads what is known of them
        rows = [_Row("removed", prefix.name, [], False, before[prefix.name], NOTHING) for prefix in found.removed]
        rows += [
            _Row("added", prefix.name, [], True, NOTHING, ahead(prefix, parts.keeper.state)) for prefix in found.added
        ]
        return rows + [
            _Row(
                "changed",
                change.after.name,
                change.keys,
                change.new_entry,
                before[change.before.name],
                ahead(change.after, parts.keeper.state),
                _past(parts, change, now),
            )
            for change in found.changed
        ]


def _past(parts: Parts, change: Change, now: datetime) -> tuple[Outlook, Outlook] | None:
    """The requests that the ledger was told of, with both."""
    since = now - _LOOK_BACK
    touches = [touch for touch in parts.ledger.touches(since, now, change.before.name) if touch.matched]
    if not touches:
        return None
    sizes = {touch.fingerprint: change.before.estimated_tokens for touch in touches}
    trace = simulate.trace_of(change.before.name, touches, sizes)
    rewrites = rewrite_rate_of(parts.ledger.entries(since, now, change.before.name))
    setting = simulate.Setting(change.before.facts, rewrites, simulate.new_learner)
    before, after = (outlooks.past(prefix, trace, setting) for prefix in (change.before, change.after))
    return (before, after) if before and after else None


# -- showing ------------------------------------------------------------------------------------------------------


def _print(rows: list[_Row], registry: Registry, found: Difference, days: float) -> None:
    for warning in registry.warnings:
        err.print(f"warning: {warning}", markup=False)
    if not found:
        out.print(f"nothing changes: {prefixes(len(found.unchanged))}")
        return
    made = table("", "prefix", "key", "was", "becomes")
    for row in rows:
        name = escape(row.name)
        if not row.keys:
            made.add_row(row.what, name, "", "", "")
        for number, (key, was, becomes) in enumerate(row.keys):
            first = (row.what, name) if not number else ("", "")
            made.add_row(*first, key, escape(was), escape(becomes))
    out.print(made)
    out.print()
    money = table(
        "prefix", ">pings a day", ">then", ">cost a day", ">then", title=f"the next {days:g} days, without traffic"
    )
    for row in rows:
        money.add_row(escape(row.name) + (" *" if row.new_entry else ""), *_figures(row.before, row.after))
    money.add_section()
    money.add_row("together", *_figures(*_total(rows)))
    out.print(money)
    if any(row.new_entry for row in rows):
        out.print("* another cache entry: it starts cold, and its size is estimated.")
    _print_past([row for row in rows if row.past])
    stay = "stays as it is" if len(found.unchanged) == 1 else "stay as they are"
    out.print(f"{prefixes(len(found.unchanged))} {stay}.")


def _print_past(rows: list[_Row]) -> None:
    if not rows:
        return
    out.print()
    replayed = table("prefix", ">pings a day", ">then", ">cost a day", ">then", title="its own requests, replayed")
    for row in rows:
        if row.past:
            replayed.add_row(escape(row.name), *_figures(*row.past))
    out.print(replayed)
    out.print("cost of a replay: pings, and what the requests read and wrote of the prefix.")


def _figures(before: Outlook, after: Outlook) -> tuple[str, str, str, str]:
    return f"{before.pings:,.1f}", f"{after.pings:,.1f}", usd(before.usd), usd(after.usd)


def _total(rows: list[_Row]) -> tuple[Outlook, Outlook]:
    def added(of: Callable[[_Row], Outlook]) -> Outlook:
        return Outlook(sum(of(row).pings for row in rows), sum((of(row).usd for row in rows), Decimal(0)))

    return added(lambda row: row.before), added(lambda row: row.after)


def _json(rows: list[_Row], registry: Registry, found: Difference, days: float) -> dict[str, Any]:
    before, after = _total(rows)
    return {
        "changes": bool(found),
        "days": days,
        "prefixes": [
            {
                "name": row.name,
                "what": row.what,
                "new_entry": row.new_entry,
                "keys": [{"key": key, "was": was, "becomes": becomes} for key, was, becomes in row.keys],
                "ahead": _both(row.before, row.after),
                "replayed": _both(*row.past) if row.past else None,
            }
            for row in rows
        ],
        "unchanged": len(found.unchanged),
        "together": _both(before, after),
        "warnings": [str(warning) for warning in registry.warnings],
    }


def _both(before: Outlook, after: Outlook) -> dict[str, Any]:
    return {
        "pings_per_day": {"was": round(before.pings, 3), "becomes": round(after.pings, 3)},
        "usd_per_day": {"was": f"{before.usd:f}", "becomes": f"{after.usd:f}"},
    }
