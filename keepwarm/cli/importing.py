"""`import`: a production request becomes an entry of the registry.

It reads the file and says what was done; `keepwarm.importing` does it.
"""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from keepwarm import clock, importing, simulate
from keepwarm.cli.app import EXIT_CODES, Format, FormatOption, app, out, print_json, settings, told, usd
from keepwarm.errors import ConfigError, Problem
from keepwarm.importing import Imported, NotRecognised, Wanted
from keepwarm.model import Api, PrefixState
from keepwarm.registry import load_catalog
from keepwarm.settings import fingerprint_key

_MAX_BYTES = 100_000_000
_STDIN = "-"
_WEEK = timedelta(weeks=1)


@app.command(name="import", epilog=EXIT_CODES)
def import_(  # noqa: PLR0913, PLR0917 - one parameter for each option
    file: Annotated[str, typer.Argument(metavar="FILE", help="A request as JSON; - reads standard input.")],
    name: Annotated[str | None, typer.Option(help="Name of the prefix.  [default: that of the file]")] = None,
    api: Annotated[Api | None, typer.Option(help="API it is sent through.  [default: as it is written]")] = None,
    model_id: Annotated[str | None, typer.Option(help="What the application passes as modelId.")] = None,
    base_model: Annotated[str | None, typer.Option(help="Model behind an application inference profile.")] = None,
    region: Annotated[str | None, typer.Option(help="Region of the endpoint.")] = None,
    line: Annotated[int | None, typer.Option(min=1, help="Which line of a file of JSON lines.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry to add to.  [default: KEEPWARM_REGISTRY]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Renew the request of an entry that has this name.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Add a production request to the registry. Nothing is sent.

    FILE is the body of an InvokeModel call (Claude or Nova), the arguments of a boto3 call as JSON, or a record of the
    model invocation log. It is cut behind its last cache point; what is written is read by its owner only.

    Example: `keepwarm import request.json --name support-bot --region eu-central-1`
    """
    with told():
        chosen = settings()
        wanted = Wanted(name, api, model_id, base_model, region, _ambient_region(), force=force)
        done = importing.import_request(
            file,
            _parse(file, line),
            registry or chosen.registry_path,
            wanted,
            load_catalog(chosen.models),
            fingerprint_key(chosen),
            clock.utc_now(),
        )
    if output is Format.JSON:
        print_json(_to_json(done))
    else:
        _print(done)


# -- reading ------------------------------------------------------------------------------------------------------


def _parse(file: str, line: int | None) -> Any:
    try:
        return importing.parse(_read(file).decode(), line)
    except UnicodeDecodeError:
        raise _problem(file, "is not UTF-8") from None
    except NotRecognised as error:
        raise _problem(file, str(error)) from None


def _read(file: str) -> bytes:
    """The content of a file, unpacked if it is gzip."""
    try:
        content = sys.stdin.buffer.read(_MAX_BYTES + 1) if file == _STDIN else Path(file).read_bytes()
        if content[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
            content = unpacker.decompress(content, _MAX_BYTES + 1)
    except (OSError, zlib.error, gzip.BadGzipFile) as error:
        raise _problem(file, f"cannot be read: {getattr(error, 'strerror', None) or 'is not whole'}") from None
    if len(content) > _MAX_BYTES:
        raise _problem(file, f"is larger than {_MAX_BYTES:,} bytes; cut the line that you mean out of it")
    return content


def _ambient_region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def _problem(file: str, message: str) -> ConfigError:
    return ConfigError([Problem(file, 0, "", message)])


# -- showing ------------------------------------------------------------------------------------------------------


def _print(done: Imported) -> None:
    prefix = done.prefix
    left_out = f", cut behind its last cache point ({done.left_out} block{'s' * (done.left_out != 1)} left out)"
    lines = [
        f"recognised {done.kind}{left_out if done.left_out else ''}",
        f"{'renewed' if done.replaced else 'wrote'} {done.request} (readable by its owner only: it holds the prompt)",
    ]
    if not done.replaced:
        lines.append(f"{'created' if done.registry_created else 'added to'} {done.registry}, line {prefix.line}")
    lines.append(
        f"{prefix.name}: {prefix.model_id} in {prefix.route.region} by {prefix.api.value}, {prefix.ttl.value}, about "
        f"{prefix.estimated_tokens:,} tokens; pings for about {usd(_week_usd(done))} a week"
    )
    lines += [f"to decide: {question}" for question in done.open_questions]
    lines.append(f"next: keepwarm doctor {prefix.name}, then keepwarm plan; a running daemon takes it up by itself")
    for text in lines:
        out.print(text, markup=False)


def _week_usd(done: Imported) -> Any:
    now = clock.utc_now()
    return simulate.plan(done.prefix, PrefixState(), now, now + _WEEK).cost_usd


def _to_json(done: Imported) -> dict[str, Any]:
    prefix = done.prefix
    return {
        "name": prefix.name,
        "recognised": done.kind,
        "model_id": prefix.model_id,
        "region": prefix.route.region,
        "api": prefix.api.value,
        "ttl": prefix.ttl.value,
        "estimated_tokens": prefix.estimated_tokens,
        "registry": str(done.registry),
        "registry_created": done.registry_created,
        "line": prefix.line,
        "request": str(done.request),
        "replaced": done.replaced,
        "blocks_left_out": done.left_out,
        "week_usd": f"{_week_usd(done):f}",
        "to_decide": list(done.open_questions),
    }
