"""`alert-test`: sends a test alert through every sink and says what happened.

It judges nothing and starts no daemon.
"""

from __future__ import annotations

from dataclasses import asdict

import typer

from keepwarm import alerts, clock
from keepwarm.cli.app import EXIT_CODES, EXIT_FAILED, Format, FormatOption, app, err, out, print_json, settings, told
from keepwarm.errors import ConfigError, Problem
from keepwarm.settings import PREFIX


@app.command(name="alert-test", epilog=EXIT_CODES)
def alert_test(output: FormatOption = Format.TABLE) -> None:
    """Send a test alert through every sink that is set up, once, and tell what happened. The heartbeat is left alone.

    Example: `KEEPWARM_ALERT_WEBHOOK_URL=https://alerts.example/keepwarm keepwarm alert-test`
    """
    with told():
        tried = alerts.try_out(settings(), clock.utc_now())
        if not tried:
            names = [f"{PREFIX}ALERT_{name}" for name in ("WEBHOOK_URL", "SLACK_URL", "SNS_TOPIC_ARN")]
            raise ConfigError([Problem("environment", 0, ", ".join(names), "none of them is set, so nobody is told")])
    if output is Format.JSON:
        print_json([asdict(one) for one in tried])
    for one in tried if output is Format.TABLE else ():
        out.print(f"{one.sink}: {'delivered' if one.delivered else 'failed'}: {one.words}", markup=False)
        if one.hint:
            err.print(f"hint: {one.hint}", markup=False)
    if not all(one.delivered for one in tried):
        raise typer.Exit(EXIT_FAILED)
