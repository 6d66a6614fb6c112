"""`guards` and `stop-all`: what holds spending back, and the switch that stops all of it.

They judge nothing themselves: a running daemon and `guards` ask the same rooms about the same ledger.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from keepwarm import clock
from keepwarm.cli.app import EXIT_CODES, Format, FormatOption, app, err, out, print_json, settings, table, told, usd
from keepwarm.model import GuardState, GuardStatus
from keepwarm.parts import guard_statuses, opened, shared_switch, switch_of
from keepwarm.settings import Settings

_ALL = "all"


@app.command(epilog=EXIT_CODES)
def guards(output: FormatOption = Format.TABLE) -> None:
    """Show every guard on money, of each prefix and of all together: limit, money so far, state and reason.

    Offline: nothing is sent, and no daemon is asked; what it has in flight counts at its high price.

    Example: `keepwarm guards --format json`
    """
    with told(), opened(settings()) as parts, err.status("adding up"):
        found = guard_statuses(parts, clock.utc_now())
    if output is Format.JSON:
        print_json({"guards": [_json(status) for status in found]})
        return
    rows = table("prefix", "guard", ">limit", ">so far", "state", "reason")
    before = ""
    for status in found:
        if status.prefix != before:
            rows.add_section()
            before = status.prefix
        state = status.state.value if status.state is GuardState.OK else f"[bold]{status.state.value}[/bold]"
        shown = (usd(status.limit_usd), usd(status.spent_usd), state)
        rows.add_row(escape(status.prefix or _ALL), status.guard.value, *shown, escape(status.detail))
    out.print(rows)
    out.print("caps are for the day and the calendar month in UTC; ping_cap: what the next ping may cost at most.")


@app.command(name="stop-all", epilog=EXIT_CODES)
def stop_all(
    undo: Annotated[bool, typer.Option("--undo", help="Lift the stop instead.")] = False,
    why: Annotated[str, typer.Option("--why", help="Shown wherever the stop is.")] = "by keepwarm stop-all",
) -> None:
    """Stop all pings at once, of a running daemon and of every command, also over restarts.

    It writes the file that KEEPWARM_STOP_FILE names, which a daemon on this machine sees before its next ping, and into
    the ledger, where daemons on other machines see it when they look there next.

    Example: `keepwarm stop-all --why "bill looks odd"`, and back: `keepwarm stop-all --undo`
    """
    with told():
        chosen = settings()
        now, local = clock.utc_now(), switch_of(chosen)
        if not undo:
            local.stop(why, now)  # whatever the ledger then says, nothing is sent from here
            out.print(f"stopped: no ping is sent while {local.file} is there", markup=False)
        with shared_switch(chosen) as switch:
            if undo:
                out.print(_undone(switch.undo(now), chosen), markup=False)
            else:
                switch.stop(why, now)
                out.print("other daemons on the ledger stop at their next look at it")


def _undone(there: bool, chosen: Settings) -> str:
    if chosen.stopped:
        return "still stopped: KEEPWARM_STOPPED is set; unset it and start keepwarm again"
    return "pings go on" if there else f"was not stopped: {chosen.stop_path} is not there"


def _json(status: GuardStatus) -> dict[str, Any]:
    return {
        "guard": status.guard.value,
        "prefix": status.prefix or None,
        "limit_usd": None if status.limit_usd is None else f"{status.limit_usd:f}",
        "spent_usd": None if status.spent_usd is None else f"{status.spent_usd:f}",
        "state": status.state.value,
        "reason": status.detail,
    }
