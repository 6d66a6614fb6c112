"""What all commands share: the application, exit codes, errors in words, tables and JSON.

It knows no command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from typer.core import TyperGroup

from keepwarm.cli.versions import versions
from keepwarm.errors import ConfigError, KeepwarmError
from keepwarm.settings import Settings, load_settings

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INPUT = 2

EXIT_CODES = "Exit codes: 0 done, 1 failed (Bedrock, network or ledger), 2 bad input (arguments, settings or registry)."

# In the order in which a newcomer meets them.
_COMMANDS = ("demo", "check", "plan", "run", "ping", "report", "track", "emulate")


class _InOrder(TyperGroup):
    """The commands in a chosen order instead of that of their modules."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, those without a place in the order last."""
        found = super().list_commands(ctx)
        return sorted(found, key=lambda name: _COMMANDS.index(name) if name in _COMMANDS else len(_COMMANDS))


app = typer.Typer(
    name="keepwarm",
    cls=_InOrder,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Keeps Amazon Bedrock prompt caches warm while it pays, and proves what that saved.",
    epilog=EXIT_CODES + " Settings: KEEPWARM_* variables, see docs/reference.md.",
)

# Data goes to stdout, words for people who wait or err to stderr. A pipe has no width, so lines there may be long.
_WIDTH_OF_PIPES = 160
out = Console(
    width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _WIDTH_OF_PIPES,
    highlight=False,
)
err = Console(stderr=True, soft_wrap=True, highlight=False)


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]


def _version(value: bool) -> None:
    if value:
        out.print(versions(), markup=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version, its build and what it runs on.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


@contextmanager
def told() -> Iterator[None]:
    """Turn keepwarm's errors into words on stderr and an exit code; never a traceback."""
    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            err.print(str(problem), markup=False)
        _hint(error)
        raise typer.Exit(EXIT_INPUT) from None
    except KeepwarmError as error:
        err.print(f"{error.code}: {error}", markup=False)
        _hint(error)
        raise typer.Exit(EXIT_FAILED) from None


def settings() -> Settings:
    """The settings from the environment."""
    return load_settings(os.environ)


def print_json(data: Any) -> None:
    """Print plain data as JSON, decimals as strings."""
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")


def table(*columns: str, title: str = "") -> Table:
    """A table whose columns that start with `>` are numbers."""
    made = Table(
        title=title,
        title_justify="left",
        title_style="",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.removeprefix(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
    return made


def usd(amount: Decimal | None) -> str:
    """Money for people: rounded, with enough digits for small amounts."""
    if amount is None:
        return "-"
    if not amount:
        return "$0"
    digits = 2 if abs(amount) >= 100 else 4 if abs(amount) >= Decimal("0.01") else 6
    return f"${amount:,.{digits}f}" if amount >= 0 else f"-${-amount:,.{digits}f}"


def prefixes(count: int) -> str:
    """So many prefixes, in words."""
    return f"{count:,} prefix" if count == 1 else f"{count:,} prefixes"


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr, if somebody watches it; yields what moves it on by one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _hint(error: KeepwarmError) -> None:
    if error.hint:
        err.print(f"hint: {error.hint}", markup=False)
