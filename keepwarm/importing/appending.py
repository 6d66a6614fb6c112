"""Puts an entry into the text of a registry so that every comment and blank line of it stays where it is.

It reads and writes no file and checks no values: whoever uses it proves that the new text means the old data and one
entry more, since YAML has more ways to be written than are known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from keepwarm.registry.document import Document

_BREAK = re.compile(r"(?<=\n)|(?<=\r)(?!\n)|(?<=[\x85\u2028\u2029])")
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9._:/-]*[A-Za-z0-9]|[0-9]+[mh]")
_NOT_TEXT = frozenset({"null", "true", "false"})
_INDENT = 2

NEW_REGISTRY = (
    "# The prefixes that keepwarm keeps warm; `keepwarm check` reads it, docs/reference.md explains every key.\n"
    "version: 1\n"
    "\n"
    "prefixes:\n"
)


class CannotAppend(ValueError):
    """A registry whose text is written in a way that is not known here."""


def append_entry(text: str, document: Document | None, entry: Mapping[str, str]) -> str:
    """The text with one more entry at the end of its `prefixes`.

    Args:
        document: the parsed text; None for a text that ends with an empty `prefixes:`.
        entry: keys and texts.

    Raises:
        CannotAppend: the text would have to be rewritten.
    """
    ending = "\r\n" if "\r\n" in text else "\n"
    if document is None:
        return text + _block(entry, _INDENT, _INDENT, ending)
    root: Any = document.root
    if root.id != "mapping" or root.flow_style:
        return _insert_flow(text, root, entry)
    pair = next((pair for pair in root.value if pair[0].value == "prefixes"), None)
    if pair is None:
        gap = "" if text.endswith(("\n\n", "\r\n\r\n")) else ending
        return _with_break(text, ending) + f"{gap}prefixes:{ending}" + _block(entry, _INDENT, _INDENT, ending)
    return _append(text, root, pair, entry, ending)


def replace_text(text: str, node: Any, value: str) -> str:
    """The text with another value for a scalar that stands on one line.

    Raises:
        CannotAppend: it stands on several.
    """
    start, end = node.start_mark, node.end_mark
    if start.line != end.line:
        raise CannotAppend
    lines = _lines(text)
    line = lines[start.line]
    lines[start.line] = line[: start.column] + json.dumps(value) + line[end.column :]
    return "".join(lines)


def scalar(value: str) -> str:
    """A text as YAML writes it: plain where that can only be text, else in quotes."""
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)


def show(entry: Mapping[str, str]) -> str:
    """An entry as it would stand in a registry, for somebody who puts it there by hand."""
    return _block(entry, _INDENT, _INDENT, "\n")


def _append(text: str, root: Any, pair: tuple[Any, Any], entry: Mapping[str, str], ending: str) -> str:
    """One more item for the key `prefixes` with whatever is there."""
    key, listed = pair
    if listed.id == "sequence" and listed.flow_style and listed.value:
        return _insert_flow(text, root, entry)
    if listed.id == "sequence" and not listed.flow_style:
        return _append_item(text, listed, entry, ending)
    block = _block(entry, _INDENT, _INDENT, ending)
    if listed.id == "sequence":
        return _unfold(text, listed, block, ending)
    if listed.id == "scalar" and not listed.value:
        return _insert(text, key.start_mark.line + 1, block, ending)
    raise CannotAppend


def _append_item(text: str, listed: Any, entry: Mapping[str, str], ending: str) -> str:
    """One more item of a block list, indented like its last, behind the comments that belong to that."""
    dash = int(listed.start_mark.column)
    last = listed.value[-1]
    inner = int(last.start_mark.column) - dash if last.id == "mapping" and not last.flow_style else _INDENT
    lines = _lines(text)
    line = _behind(last)
    while line < len(lines) and _is_comment_of_item(lines[line], dash):
        line += 1
    gap = ending if _stands_apart(lines, last.start_mark.line) else ""
    return _insert(text, line, gap + _block(entry, dash, inner, ending), ending)


def _stands_apart(lines: list[str], line: int) -> bool:
    """Whether an item, with the comments above it, has a blank line before it."""
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
    return line > 0 and not lines[line - 1].strip()


def _is_comment_of_item(line: str, dash: int) -> bool:
    return line.lstrip(" ").startswith("#") and len(line) - len(line.lstrip(" ")) > dash


def _behind(node: Any) -> int:
    """The line (from 0) behind a node; libyaml says that a block ends where the next token begins, behind comments."""
    while node.id != "scalar" and not node.flow_style and node.value:
        node = node.value[-1][1] if node.id == "mapping" else node.value[-1]
    mark = node.end_mark
    return int(mark.line) + (1 if mark.column else 0)


def _block(entry: Mapping[str, str], dash: int, inner: int, ending: str) -> str:
    """An item of a block list.

    Args:
        dash: column of its dash.
        inner: columns from the dash to its keys.
    """
    margin = " " * (dash + inner)
    lines = [f"{margin}{key}: {scalar(value)}" for key, value in entry.items()]
    lines[0] = f"{' ' * dash}-{' ' * (inner - 1)}{lines[0].lstrip()}"
    return "".join(f"{line}{ending}" for line in lines)


def _insert_flow(text: str, root: Any, entry: Mapping[str, str]) -> str:
    """One more item of a list in brackets; JSON is YAML, and a JSON registry stays JSON."""
    pairs = root.value if root.id == "mapping" else []
    listed = next((value for key, value in pairs if key.value == "prefixes"), None)
    if listed is None or listed.id != "sequence" or not listed.flow_style or not listed.value:
        raise CannotAppend
    lines = _lines(text)
    mark = listed.value[-1].end_mark
    line = lines[mark.line]
    item = json.dumps(dict(entry), ensure_ascii=False)
    lines[mark.line] = f"{line[: mark.column]}, {item}{line[mark.column :]}"
    return "".join(lines)


def _unfold(text: str, listed: Any, block: str, ending: str) -> str:
    """A block in place of `[]`."""
    start, end = listed.start_mark, listed.end_mark
    lines = _lines(text)
    if start.line != end.line:
        raise CannotAppend
    line = lines[start.line]
    lines[start.line] = line[: start.column].rstrip() + line[end.column :]
    return _insert("".join(lines), start.line + 1, block, ending)


def _insert(text: str, line: int, block: str, ending: str) -> str:
    lines = _lines(_with_break(text, ending))
    return "".join([*lines[:line], block, *lines[line:]])


def _with_break(text: str, ending: str) -> str:
    return text if not text or text.endswith(("\n", "\r")) else text + ending


def _lines(text: str) -> list[str]:
    """Lines with their ends, as YAML counts them."""
    return [line for line in _BREAK.split(text) if line]
