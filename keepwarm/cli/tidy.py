"""`tidy`: sum up the days of the ledger that are over, and delete what is older than its retention, here and now.

A running daemon does the same by itself, a little at a time.
"""

from __future__ import annotations

from typing import Annotated

import typer

from keepwarm import clock
from keepwarm.cli.app import EXIT_CODES, Format, FormatOption, app, err, out, print_json, settings, told
from keepwarm.parts import opened
from keepwarm.rolling import Roller


@app.command(epilog=EXIT_CODES)
def tidy(
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Sum up again all days whose single pings are still there.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Sum up the days of the ledger that are over, and delete single pings older than KEEPWARM_RETENTION.

    Days are summed up at the prices and lifetimes of the registry as it is now. Nothing is sent.

    Example: `keepwarm tidy`
    """
    days = rows = 0
    with told(), opened(settings()) as parts, err.status("summing up") as status:
        roller = Roller(
            parts.ledger,
            lambda: parts.registry.prefixes,
            parts.keeper.state,
            clock.utc_now,
            parts.settings.kept_for,
        )
        if rebuild:
            roller.rebuild()
        while day := roller.roll():
            days += 1
            status.update(f"summing up {day:%Y-%m-%d}")
        while deleted := roller.trim():
            rows += deleted
            status.update(f"deleting {rows:,} rows")
    if output is Format.JSON:
        print_json({"days_summed_up": days, "rows_deleted": rows})
    else:
        out.print(f"{days:,} days summed up, {rows:,} pings and requests deleted", markup=False)
