"""`man-page`: the manual page of the program, from what its commands say of themselves.

It knows no command by name, so it is never out of date.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import typer

from keepwarm import __version__
from keepwarm.cli.app import EXIT_CODES, app
from keepwarm.settings import PREFIX, Settings


@app.command(name="man-page", epilog=EXIT_CODES)
def man_page(context: typer.Context) -> None:
    """Print the manual page, for `man` and packagers.

    Example: `keepwarm man-page > /usr/local/share/man/man1/keepwarm.1`
    """
    sys.stdout.write("\n".join(_page(context.find_root())) + "\n")


def _page(root: Any) -> Iterator[str]:
    program = root.command
    yield f'.TH KEEPWARM 1 "" "keepwarm {__version__}" "User Commands"'
    yield from (".SH NAME", f"keepwarm \\- {_text(_first(program.help)).rstrip('.')}")
    yield from (".SH SYNOPSIS", ".B keepwarm", "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]")
    yield from (".SH DESCRIPTION", *_paragraphs(program.help), ".SH OPTIONS", *_parameters(program, root))
    yield ".SH COMMANDS"
    for name in program.list_commands(root):
        command = program.get_command(root, name)
        yield from (f".SS keepwarm {_text(name)} {_arguments(command)}", *_paragraphs(command.help))
        yield from _parameters(command, type(root)(command, info_name=name, parent=root))
    yield from (".SH ENVIRONMENT", "Settings. One that is not in this list is refused.")
    for name, field in Settings.model_fields.items():
        yield from (".TP", f".B {PREFIX}{name.upper()}", _text(field.description or ""))
    yield from (".SH EXIT STATUS", ".TP", ".B 0", "Done.", ".TP", ".B 1", "Failed: Bedrock, network or ledger.")
    yield from (".TP", ".B 2", "Bad input: arguments, settings or registry.")


def _arguments(command: Any) -> str:
    """The arguments in capitals, those that may be missing in brackets."""
    names = [
        (parameter.name.upper(), parameter.required)
        for parameter in command.params
        if parameter.param_type_name == "argument"
    ]
    return " ".join(f"\\fI{_text(name)}\\fR" if required else f"[\\fI{_text(name)}\\fR]" for name, required in names)


def _parameters(command: Any, context: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield from (".TP", f".I {_text(parameter.name.upper())}", _text(parameter.help or ""))
        elif record := parameter.get_help_record(context):
            yield from (".TP", f".B {_text(record[0])}", _text(record[1]))


def _first(text: str) -> str:
    return text.partition("\n\n")[0]


def _paragraphs(text: str | None) -> Iterator[str]:
    for paragraph in textwrap.dedent(text or "").strip().split("\n\n"):
        yield from (".PP", _text(paragraph))


def _text(text: str) -> str:
    """Words as roff takes them: nothing read as a request, code in bold."""
    plain = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    plain = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", plain)
    return re.sub(r"^([.'])", r"\\&\1", plain)
