"""A YAML file as plain data that remembers the line of every key.

It does not know what the keys mean. Scalars follow YAML 1.2 (so `NO` is Norway and `22:00` is text), tags and
duplicate keys are refused, and a file that expands to more than a million values is taken for an attack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined] # in every wheel of PyYAML, missing in its stubs

from keepwarm.errors import ConfigError, Problem

Location = tuple[str | int, ...]

_MAX_VALUES = 1_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """Parsed YAML.

    Attributes:
        data: dicts, lists, str, int, float, bool and None.
        root: the node tree behind `data`, which knows the lines.
    """

    path: str
    data: Any
    root: yaml.Node

    def line(self, location: Location) -> int:
        """The 1-based line of the deepest part of a location that exists."""
        node = self.root
        line = node.start_mark.line
        for step in location:
            found = _child(node, step)
            if found is None:
                break
            key_node, node = found
            line = key_node.start_mark.line
        return line + 1

    def problem(self, location: Location, message: str) -> Problem:
        """A problem at a location of this file."""
        return Problem(self.path, self.line(location), dotted(location), message)


def dotted(location: Location) -> str:
    """A location as a person writes it: `prefixes[2].ttl`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: the file is missing, not UTF-8, not YAML, or uses what is refused.
    """
    name = str(path)
    try:
        root = _Loader(path.read_bytes()).get_single_node()
    except OSError as error:
        raise ConfigError([Problem(name, 0, "", f"cannot be read: {error.strerror}")]) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError([Problem(name, line, "", f"is not YAML: {error.problem}")]) from None
    except yaml.YAMLError as error:
        raise ConfigError([Problem(name, 0, "", f"is not YAML: {str(error).splitlines()[0]}")]) from None
    if root is None:
        raise ConfigError([Problem(name, 0, "", "is empty")])
    builder = _Builder(name)
    data = builder.build(root)
    if builder.problems:
        raise ConfigError(builder.problems)
    return Document(name, data, root)


class _Resolver(yaml.resolver.BaseResolver):
    """Only the plain scalars of YAML 1.2's core schema mean something else than text."""


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    ("tag:yaml.org,2002:float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+0123456789.")),
):
    _Resolver.add_implicit_resolver(_tag, re.compile(_pattern), _first)


class _Loader(CParser, _Resolver):
    """libyaml's parser, several times faster than the one in Python."""

    def __init__(self, stream: bytes) -> None:
        CParser.__init__(self, stream)
        _Resolver.__init__(self)


_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda _text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": float,
    "str": str,
}


class _Builder:
    """Turns nodes into values and collects what is refused."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = _MAX_VALUES
        self.problems: list[Problem] = []

    def build(self, node: yaml.Node) -> Any:
        self._left -= 1
        if self._left < 0:
            message = f"expands to more than {_MAX_VALUES:,} values; aliases may not multiply"
            raise ConfigError([Problem(self._name, node.start_mark.line + 1, "", message)])
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item) for item in node.value]
        convert = _SCALARS.get(node.tag.removeprefix("tag:yaml.org,2002:"))
        if convert is None:
            self._refuse(node, f"the tag {node.tag} is not allowed; write plain values")
            return None
        return convert(node.value)

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, "a key must be plain text")
                continue
            if key in seen:
                self._refuse(key_node, f"the key {key!r} stands twice, first in line {seen[key]}")
                continue
            seen[key] = key_node.start_mark.line + 1
            yield key, self.build(value_node)

    def _refuse(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(self._name, node.start_mark.line + 1, "", message))


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node under a key or index, with the node that stands for its place."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None
