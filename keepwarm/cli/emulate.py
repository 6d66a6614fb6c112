"""`emulate`: the embedded Bedrock as a program of its own.

It only starts and stops `keepwarm.emulator`.
"""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from keepwarm.cli.app import EXIT_CODES, EXIT_FAILED, app, err, out, settings, told
from keepwarm.emulator import Emulator, Faults
from keepwarm.errors import ConfigError, Problem
from keepwarm.registry import load_catalog


@app.command(epilog=EXIT_CODES)
def emulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8377,
    time_scale: Annotated[
        float, typer.Option(min=0.0001, max=1000, help="Factor on lifetimes and latencies; 0.02 is 50 times as fast.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same latencies and faults.")] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Switches with commas between, for the models that fit a pattern: `hang=0.1@*haiku*`. May be repeated."
        ),
    ] = None,
) -> None:
    """Run a Bedrock on this machine that boto3 talks to unchanged, with prompt caching and without a model.

    Any credentials do; each access key is an account. `GET /_emulator/log` shows the requests. Switches: throttle,
    unavailable, internal_error, model_timeout, hang, reset, evict (rates from 0 to 1), hang_seconds, homes, deny,
    expired_tokens, clock_skew, retired, honour_1h_as_5m, omit_usage, omit_headers, omit_cache_split, wrong_json,
    echo_prompt_in_errors.

    With another --time-scale than 1 the prefixes need a `lifetime` and `margin` to match: at 0.02, 6s and 1500ms of 5m.

    Example: `keepwarm emulate &` then, with any credentials,
    `AWS_ENDPOINT_URL_BEDROCK_RUNTIME=http://127.0.0.1:8377 keepwarm run`
    """
    with told():
        faults = dict(_parse(text) for text in fault or [])
        catalog = load_catalog(settings().models)
    emulator = Emulator(catalog=catalog, host=host, port=port, time_scale=time_scale, seed=seed, faults=faults)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background programs with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with emulator:
            out.print(f"listening on {emulator.url}", markup=False)
            signal.pause()
    except OSError as error:
        err.print(f"cannot listen on {host}:{port}: {error.strerror}", markup=False)
        err.print("hint: --port names another one, and 0 takes a free one", markup=False)
        raise typer.Exit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        out.print("stopped")


def _parse(text: str) -> tuple[str, Faults]:
    switches, _, pattern = text.partition("@")
    try:
        return pattern or "*", Faults.parse(switches)
    except ValueError as error:
        raise ConfigError([Problem("--fault", 0, text, str(error))]) from None
