"""The command line: prints and exits.

It holds no logic: every command asks a room below and shows the answer, as a table for people or as JSON for programs.
"""

from __future__ import annotations

from keepwarm.cli import (
    advise,
    alerts,
    demo,
    diff,
    discover,
    doctor,
    emulate,
    guards,
    health,
    iam,
    importing,
    manpage,
    money,
    pauses,
    service,
    simulate,
    tidy,
    track,
)
from keepwarm.cli.app import app

__all__ = [
    "advise",
    "alerts",
    "app",
    "demo",
    "diff",
    "discover",
    "doctor",
    "emulate",
    "guards",
    "health",
    "iam",
    "importing",
    "main",
    "manpage",
    "money",
    "pauses",
    "service",
    "simulate",
    "tidy",
    "track",
]


def main() -> None:
    """The entry point of the program `keepwarm`."""
    app()
