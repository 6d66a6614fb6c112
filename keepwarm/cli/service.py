"""`run` and `check`: the daemon, and its registry without the daemon.

They wire nothing themselves; `keepwarm.daemon` does.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from keepwarm import blind, clock, daemon, garbage, telemetry
from keepwarm.cli.app import EXIT_CODES, EXIT_OK, Format, FormatOption, app, out, prefixes, print_json, settings, told
from keepwarm.errors import ConfigError, Problem
from keepwarm.model import Prefix, PrefixState
from keepwarm.notify import Notifier
from keepwarm.parts import read_registry
from keepwarm.registry import Registry
from keepwarm.settings import Settings


@app.command(epilog=EXIT_CODES)
def run() -> None:
    """Keep the registered prefixes warm until stopped.

    SIGTERM and SIGINT stop it: no new pings, running ones finish. SIGHUP reads the registry again.

    Example: `KEEPWARM_REGISTRY=config/registry.yaml keepwarm run`
    """
    with told():
        chosen = settings()
        telemetry.configure(chosen.log_level, chosen.log_format)
        garbage.stay_small()
        with daemon.build(chosen, notifier=Notifier.of(os.environ)) as service:
            service.obey_signals()
            service.settle = garbage.settle
            code = service.run()
    if not service.drained:
        # Threads of pings that never answer would hold the process far longer than a supervisor waits.
        logging.shutdown()
        os._exit(code)
    raise typer.Exit(code)


@app.command(epilog=EXIT_CODES)
def check(
    registry: Annotated[
        Path | None, typer.Argument(help="The registry to check; by default the one that KEEPWARM_REGISTRY names.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Read the registry and everything it names, and tell every problem at once. Nothing is sent.

    Example: `keepwarm check config/registry.yaml`
    """
    with told():
        chosen = settings()
        if registry is not None:
            chosen = chosen.model_copy(update={"registry": str(registry)})
        try:
            now = clock.utc_now()
            found, _ = read_registry(chosen, now)
        except ConfigError as error:
            if output is Format.JSON:
                print_json({"ok": False, "problems": [_problem(problem) for problem in error.problems], "warnings": []})
            raise
    rates = {prefix.name: blind.break_even_of(prefix, PrefixState(), now) for prefix in found.prefixes}
    warnings = [*found.warnings, *_losses(found, rates, chosen)]
    if output is Format.JSON:
        print_json({"ok": True, "problems": [], "warnings": [_problem(warning) for warning in warnings]})
        raise typer.Exit(EXIT_OK)
    for prefix in found.prefixes:
        out.print(_line(prefix, rates[prefix.name]), markup=False)
    for warning in warnings:
        out.print(f"warning: {warning}", markup=False)
    out.print(f"{found.path}: {prefixes(len(found.prefixes))}, no problem", markup=False)


def _losses(found: Registry, rates: dict[str, blind.BreakEven | None], chosen: Settings) -> list[Problem]:
    """What speaks against prefixes of whose traffic nobody tells; the ledger is not asked."""
    return [
        Problem(str(found.path), prefix.line, prefix.name, rate.warning)
        for prefix in found.prefixes
        if (rate := rates[prefix.name])
        and blind.is_blind(prefix, PrefixState(), followed=chosen.follows_logs)
        and rate.warning
    ]


def _line(prefix: Prefix, rate: blind.BreakEven | None) -> str:
    period = (prefix.lifetime - prefix.margin).total_seconds()
    pays = f", pays from {blind.say_rate(rate.per_hour)}" if rate else ""
    ttl = f"auto ({prefix.ttl.value} first)" if prefix.auto_ttl else prefix.ttl.value
    return (
        f"{prefix.name}: {prefix.model_id} in {prefix.route.region} by {prefix.api.value}, {ttl}, "
        f"about {prefix.estimated_tokens:,} tokens, a ping at least every {period:g} s "
        f"of {prefix.busy_hours.name}{pays}"
    )


def _problem(problem: object) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("file", "line", "key", "message")}
