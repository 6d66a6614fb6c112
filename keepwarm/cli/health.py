"""`health`: asks the daemon of this machine whether it is well, for a container's HEALTHCHECK.

It judges nothing: the daemon answers for itself.
"""

from __future__ import annotations

import http.client
import json
from typing import Annotated

import typer

from keepwarm.cli.app import EXIT_CODES, EXIT_FAILED, app, err, out, settings, told
from keepwarm.errors import ConfigError, Problem
from keepwarm.settings import PREFIX
from keepwarm.web import Address, parse_address

_PATIENCE_SECONDS = 10
_MOST_BYTES = 100_000
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, not what is bound here


@app.command(epilog=EXIT_CODES)
def health(
    ready: Annotated[bool, typer.Option("--ready", help="Ask whether it can do its work, ledger included.")] = False,
) -> None:
    """Ask the daemon of this machine, at the address of KEEPWARM_LISTEN, whether it is well: exit code 0 or 1.

    Example: `keepwarm health`, in a Dockerfile: `HEALTHCHECK CMD ["keepwarm", "health"]`
    """
    with told():
        address = _address(settings().listen)
    status, said = _ask(address, "/-/ready" if ready else "/-/healthy")
    if status == http.client.OK:
        out.print(said, markup=False)
        return
    err.print(said, markup=False)
    raise typer.Exit(EXIT_FAILED)


def _address(listen: str) -> Address:
    key = f"{PREFIX}LISTEN"
    if listen == "off":
        raise ConfigError([Problem("environment", 0, key, "is off, so there is nobody to ask")])
    found = parse_address(listen, key)
    return Address(_ANY.get(found.host, found.host), found.port)


def _ask(address: Address, path: str) -> tuple[int, str]:
    """The status and what was said; 0 when nobody answered."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        return 0, f"nobody answers at {address}: {error}"
    finally:
        connection.close()
    try:
        found = json.loads(body)
    except ValueError:
        return 0, f"who answers at {address} is not keepwarm"
    words = found.get("detail") or found.get("role") or "healthy"
    return answer.status, str(words)
