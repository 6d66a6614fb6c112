"""`doctor`: a paid look at the real endpoint, whether the ping of a prefix warms what production reads.

It sends through the daemon's own parts and judges nothing; `keepwarm.doctor` does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer

from keepwarm import clock
from keepwarm import doctor as judging
from keepwarm.cli.app import (
    EXIT_CODES,
    EXIT_FAILED,
    EXIT_INPUT,
    Format,
    FormatOption,
    app,
    err,
    out,
    print_json,
    progress,
    settings,
    table,
    told,
    usd,
)
from keepwarm.doctor import Evidence, Line, Sent, Status
from keepwarm.errors import CredentialsRejected, KeepwarmError
from keepwarm.model import Prefix
from keepwarm.parts import Parts, mirror_of, opened
from keepwarm.registry.production import production_prefix

_ASK_ABOVE_USD = Decimal(1)
_COLOURS = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red", Status.UNTESTED: "dim"}


@dataclass(frozen=True, slots=True)
class _Patient:
    """A prefix and what shall be sent of it."""

    prefix: Prefix
    production: Prefix
    at_most_usd: Decimal


@app.command(epilog=EXIT_CODES)
def doctor(
    name: Annotated[str | None, typer.Argument(help="A prefix of the registry; all of them without it.")] = None,
    pings: Annotated[int, typer.Option(min=2, max=50, help="How many pings in a row; a spread shows by chance.")] = 4,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, also when it may cost over $1.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Prove with a few requests that the ping of a prefix warms what production reads.

    Looks at credentials, clock, model access, caching, minimum length, ttl, spread over regions; then a request of
    production's shape must read what the ping wrote. On AWS this costs money: what at most is said before anything is
    sent. Every request is written to the ledger. Exit code 1 when a line has failed.

    Example: `keepwarm doctor support-bot`
    """
    with told(), opened(settings()) as parts:
        chosen = [parts.registry.find(name)] if name else list(parts.registry.prefixes)
        patients = [_admit(parts, prefix, pings) for prefix in chosen]
        _announce(patients, pings, agreed=yes)
        with progress("requests", (pings + 1) * len(patients)) as step:
            found = [_examine(parts, patient, pings, step) for patient in patients]
    judged = [(evidence, judging.judge(evidence)) for evidence in found]
    if output is Format.JSON:
        print_json({"prefixes": [judging.to_json(evidence, lines) for evidence, lines in judged]})
    else:
        for evidence, lines in judged:
            _print(evidence, lines)
    if any(judging.worst(lines) is Status.FAILED for _, lines in judged):
        raise typer.Exit(EXIT_FAILED)


# -- before -------------------------------------------------------------------------------------------------------


def _admit(parts: Parts, prefix: Prefix, pings: int) -> _Patient:
    production = production_prefix(parts.registry.path, prefix, confined=mirror_of(parts.settings) is not None)
    characters = len(json.dumps(production.ping_request, default=lambda value: value.decode("utf-8", "replace")))
    at_most = judging.at_most_usd(prefix, parts.keeper.state(prefix.name), pings, characters)
    return _Patient(prefix, production, at_most)


def _announce(patients: list[_Patient], pings: int, *, agreed: bool) -> None:
    """Say what it may cost, and ask where that is much."""
    at_most = sum((patient.at_most_usd for patient in patients), Decimal(0))
    count = len(patients)
    each = f"{pings} pings and one request of production's shape"
    err.print(
        f"at most {usd(at_most)} for {each}{f' of each of {count} prefixes' if count > 1 else ''}; "
        "most of them should only read",
        markup=False,
    )
    if at_most <= _ASK_ABOVE_USD or agreed:
        return
    if not sys.stdin.isatty():
        err.print(f"that may cost over ${_ASK_ABOVE_USD}, and nobody is there to ask: add --yes, or name one prefix")
        raise typer.Exit(EXIT_INPUT)
    err.print("Send them? [y/N] ", end="", markup=False)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        err.print("nothing was sent")
        raise typer.Exit(EXIT_FAILED)


# -- sending ------------------------------------------------------------------------------------------------------


def _examine(parts: Parts, patient: _Patient, pings: int, step: Callable[[], None]) -> Evidence:
    """Send pings, then the production-shaped request, as long as one more can show anything."""
    before = parts.keeper.state(patient.prefix.name)
    skews: list[timedelta] = []

    def hear(told_at: datetime) -> None:
        skews.append(clock.utc_now() - told_at.astimezone(UTC))

    sent: list[Sent] = []
    credentials: str | KeepwarmError
    try:
        credentials = parts.gateway.examine(patient.prefix.route, hear)
    except CredentialsRejected as error:
        credentials = error
    if isinstance(credentials, str):
        least = patient.prefix.facts.min_tokens
        while len(sent) < pings and judging.worth_another(sent, least):
            sent.append(Sent(production=False, entry=parts.keeper.ping(patient.prefix.name)))
            step()
        if judging.worth_another(sent, least):
            sent.append(Sent(production=True, entry=_send_as_production(parts, patient)))
            step()
    return Evidence(patient.prefix, before, credentials, min(skews, key=abs, default=None), tuple(sent))


def _send_as_production(parts: Parts, patient: _Patient) -> Any:
    """One request of production's shape, with an entry like that of a ping: it is ours, and reads the same entry."""
    prefixes = parts.registry.prefixes
    parts.keeper.adopt(patient.production if prefix is patient.prefix else prefix for prefix in prefixes)
    try:
        return parts.keeper.ping(patient.prefix.name)
    finally:
        parts.keeper.adopt(prefixes)


# -- showing ------------------------------------------------------------------------------------------------------


def _print(evidence: Evidence, lines: tuple[Line, ...]) -> None:
    cost = sum((sent.entry.cost_usd for sent in evidence.sent), Decimal(0))
    count = len(evidence.sent)
    title = f"{evidence.prefix.name}: {judging.worst(lines).value}, {count} request{'s' * (count != 1)}, {usd(cost)}"
    shown = table("check", "status", "seen", title=title)
    for line in lines:
        what = f"{line.message}\n-> {line.advice}" if line.advice else line.message
        colour = _COLOURS[line.status]
        shown.add_row(line.check.value.replace("_", " "), f"[{colour}]{line.status.value}[/]", _plain(what))
    out.print(shown)
    out.print()


def _plain(text: str) -> str:
    """Text that rich takes as it is, whatever Bedrock has put into brackets."""
    return text.replace("[", "\\[")
