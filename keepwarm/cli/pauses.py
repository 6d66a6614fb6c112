"""`pause`, `resume` and `pauses`: send nothing for a while, for a prefix, a tag or all.

They write into the ledger and ask no daemon: a running one heeds it within two seconds.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from keepwarm import clock, pauses
from keepwarm.cli.app import EXIT_CODES, Format, FormatOption, app, out, print_json, settings, table, told
from keepwarm.errors import ConfigError, Problem
from keepwarm.model import PauseOrder, Prefix, Scope
from keepwarm.parts import opened_pausing, read_registry
from keepwarm.registry import Registry
from keepwarm.settings import Settings

_NameArgument = Annotated[str, typer.Argument(help="A prefix of the registry.")]
_TagOption = Annotated[str, typer.Option("--tag", help="All prefixes with this tag, as `key=value`.")]
_AllOption = Annotated[bool, typer.Option("--all", help="All prefixes.")]
_ByOption = Annotated[str, typer.Option("--by", help="Who says so; by default the user of this shell.")]

_SHOWN_TAGS = 10


@app.command(epilog=EXIT_CODES)
def pause(
    name: _NameArgument = "",
    tag: _TagOption = "",
    every: _AllOption = False,
    lasting: Annotated[str, typer.Option("--for", help="For how long, such as 2h, 90m or 1d12h.")] = "",
    until: Annotated[str, typer.Option("--until", help="Until when, ISO 8601 with a zone.")] = "",
    why: Annotated[str, typer.Option("--why", help="Shown wherever the pause is.")] = "",
    by: _ByOption = "",
) -> None:
    """Send no pings of a prefix, of all with a tag, or of all, until then or until resumed; also over restarts.

    Requests of the application go on, and so does `keepwarm ping`. Without --for and --until it holds until resumed.

    Example: `keepwarm pause support-bot --for 2h --why deploy`
    """
    with told():
        _write(name, tag, every=every, said={"for": lasting, "until": until, "why": why, "by": by})


@app.command(epilog=EXIT_CODES)
def resume(
    name: _NameArgument = "",
    tag: _TagOption = "",
    every: _AllOption = False,
    why: Annotated[str, typer.Option("--why", help="Kept in the history.")] = "",
    by: _ByOption = "",
) -> None:
    """End the pause of a prefix, of a tag, or of all; pauses of other scopes stay.

    Example: `keepwarm resume support-bot`
    """
    with told():
        _write(name, tag, every=every, said={"why": why, "by": by}, resumes=True)


@app.command(name="pauses", epilog=EXIT_CODES)
def list_pauses(output: FormatOption = Format.TABLE) -> None:
    """Show every pause, with who, why, and its end; the newest first.

    Example: `keepwarm pauses --format json`
    """
    with told(), opened_pausing(settings()) as pausing:
        found, now = pauses.history(pausing.orders), clock.utc_now()
    if output is Format.JSON:
        print_json({"pauses": [_json(one) for one in found]})
        return
    if not found:
        out.print("nothing was ever paused")
        return
    rows = table("paused", "since", "until", "state", "by", "why")
    for one in found:
        order = one.order
        until = _say(order.until) if order.until else "resumed"
        rows.add_row(_what(order), _say(order.at), until, _state(one, now), order.by or "-", order.why)
    out.print(rows)


def _write(name: str, tag: str, *, every: bool, said: dict[str, str], resumes: bool = False) -> None:
    scope, target = _which(name, tag.replace("=", ":", 1), every=every)
    chosen, now = settings(), clock.utc_now()
    registry = _registry(chosen, now, needed=scope is not Scope.ALL and not resumes)
    if scope is Scope.PREFIX and not resumes:
        registry.find(target)
    if scope is Scope.TAG and not resumes:
        _check_tag(tag, target, registry.prefixes)
    said |= {"by": said["by"] or getpass.getuser()}
    try:
        order = pauses.order_of(scope, target, said, registry.prefixes, now, resumes=resumes)
    except pauses.BadOrder as error:
        raise _problem(str(error)) from None
    with opened_pausing(chosen) as pausing:
        if resumes and not pausing.stands(scope, target):
            out.print(f"{_what(order)}: was not paused", markup=False)
        else:
            pausing.say(order)
            until = f"until {_say(order.until)}" if order.until else "until resumed"
            out.print(f"{_what(order)}: {'resumed' if resumes else f'paused {until}'}", markup=False)
        for prefix in registry.prefixes if resumes else ():
            left = pausing.holding(prefix, now)
            if left and pauses.is_about(order, prefix):
                out.print(f"{prefix.name}: still paused {pauses.say(left)}", markup=False)


def _registry(chosen: Settings, now: datetime, *, needed: bool) -> Registry:
    """The registry; none of its prefixes where it cannot be read and all that is asked for goes without."""
    try:
        return read_registry(chosen, now)[0]
    except ConfigError:
        if needed:
            raise
        out.print("the registry cannot be read (`keepwarm check` tells why); this goes without it")
        return Registry(Path(chosen.registry), ())


def _check_tag(said: str, target: str, prefixes: Sequence[Prefix]) -> None:
    tags = sorted({tag.replace(":", "=", 1) for prefix in prefixes for tag in pauses.tags_of(prefix)})
    if target.replace(":", "=", 1) not in tags:
        there = f"it has {', '.join(tags[:_SHOWN_TAGS])}" if tags else "its prefixes have no tags"
        raise _problem(f"no prefix of the registry has the tag {said[:100]!r}; {there}")


def _which(name: str, tag: str, *, every: bool) -> tuple[Scope, str]:
    given = [(Scope.PREFIX, name)] * bool(name) + [(Scope.TAG, tag)] * bool(tag) + [(Scope.ALL, "")] * every
    if len(given) != 1:
        raise _problem("name one prefix, or say --tag key=value, or --all")
    return given[0]


def _what(order: PauseOrder) -> str:
    return {Scope.PREFIX: order.target, Scope.TAG: f"tag {order.target}", Scope.ALL: "all prefixes"}[order.scope]


def _state(past: pauses.Past, now: datetime) -> str:
    if past.resumed_at:
        return f"ended {_say(past.resumed_at)}"
    return "over" if past.order.until and past.order.until <= now else "holds"


def _say(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _json(past: pauses.Past) -> dict[str, object]:
    order = past.order
    return {
        "number": order.number,
        "scope": order.scope.value,
        "target": order.target or None,
        "since": order.at.isoformat(),
        "until": order.until.isoformat() if order.until else None,
        "why": order.why,
        "by": order.by,
        "ended_at": past.resumed_at.isoformat() if past.resumed_at else None,
    }


def _problem(said: str) -> ConfigError:
    return ConfigError([Problem("command line", 0, "", said)])
