"""A YAML file as plain data that remembers the line of every key.

It does not know what the keys mean. Scalars follow YAML 1.2 (so `NO` is Norway and `22:00` is text), tags and
duplicate keys are refused, and a file that nests deeper than a hundred levels or expands by more than a million values
is taken for an attack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined] # in every wheel of PyYAML, missing in its stubs

from keepwarm.errors import ConfigError, Problem
from keepwarm.registry.files import Files

Location = tuple[str | int, ...]

_MAX_BYTES = 100_000_000
_MAX_VALUES = 1_000_000
_MAX_NODES = 5 * _MAX_VALUES  # of the text itself, keys included; a hundred thousand long entries are four million
_MAX_DEPTH = 100
_MAX_KEY = 100
_MAX_QUOTED = 200
_PLAIN_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """Parsed YAML.

    Attributes:
        data: dicts, lists, str, int, float, bool and None.
        root: the node tree behind `data`, which knows the lines.
    """

    path: str
    data: Any = field(repr=False)
    root: yaml.Node = field(repr=False)

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
        # A long key is a misplaced text, perhaps a prompt.
        text += f"[{step}]" if isinstance(step, int) else f".{step:.{_MAX_KEY}}" if text else step[:_MAX_KEY]
    return text


def read_document(path: Path, files: Files | None = None) -> Document:
    """Read a YAML file.

    Args:
        files: remembers what was read.

    Raises:
        ConfigError: the file is missing, not UTF-8, not YAML, or uses what is refused.
    """
    name = str(path)
    try:
        content = (files or Files()).read(path, _MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError([Problem(name, 0, "", f"is larger than {_MAX_BYTES:,} bytes; keep prompts in files")])
        content.decode()
        nodes = _count(name, content)
        root = _Loader(content).get_single_node()
    except OSError as error:
        hint = "KEEPWARM_REGISTRY names the registry; config/registry.example.yaml shows every key"
        raise ConfigError([Problem(name, 0, "", f"cannot be read: {error.strerror}")], hint=hint) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(name, line, "", "is not UTF-8; save the file in that encoding")]) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        since = f", {error.context} from line {error.context_mark.line + 1} on" if error.context_mark else ""
        tabbed = any(b"\t" in each for each in content.splitlines()[line - 1 : line])
        tab = "; indent with spaces, not with a tab" if tabbed else ""
        problem = str(error.problem)[:_MAX_QUOTED]  # an alias that nobody defined is named in it
        raise ConfigError([Problem(name, line, "", f"is not YAML: {problem}{since}{tab}")]) from None
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0][:_MAX_QUOTED]
        raise ConfigError([Problem(name, 0, "", f"is not YAML: {problem}")]) from None
    if root is None:
        raise ConfigError([Problem(name, 0, "", "is empty; config/registry.example.yaml shows what it may hold")])
    builder = _Builder(name, nodes + _MAX_VALUES)
    data = builder.build(root, ())
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


def _count(name: str, content: bytes) -> int:
    """How many keys and values a text holds, before libyaml composes it.

    Deep nesting is refused here, since composing recurses in C until the process dies; so are endless lists.
    """
    loader, depth, nodes = _Loader(content), 0, 0
    while loader.check_event():
        event: Any = loader.get_event()
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > _MAX_NODES:
            message = f"holds more than {_MAX_NODES:,} keys and values"
            raise ConfigError([Problem(name, event.start_mark.line + 1, "", message)])
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            message = f"nests deeper than {_MAX_DEPTH} levels"
            raise ConfigError([Problem(name, event.start_mark.line + 1, "", message)])
    return nodes


_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda _text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": float,
    "str": str,
}


class _Builder:
    """Turns nodes into values and collects what is refused."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._left = most
        self._open: set[int] = set()
        self.problems: list[Problem] = []

    def build(self, node: yaml.Node, location: Location) -> Any:
        self._left -= 1
        if self._left < 0:
            message = f"expands by more than {_MAX_VALUES:,} values; aliases may not multiply"
            raise ConfigError([Problem(self._name, node.start_mark.line + 1, "", message)])
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, location)
        if id(node) in self._open:
            self._refuse(node, location, "is an alias that contains itself")
            return None
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            found: Any = dict(self._pairs(node, location))
        else:
            found = [self.build(item, (*location, index)) for index, item in enumerate(node.value)]
        self._open.discard(id(node))
        if node.tag not in {f"{_PLAIN_TAG}map", f"{_PLAIN_TAG}seq"}:
            self._refuse(node, location, f"the tag {node.tag[:_MAX_KEY]} is not allowed; write plain values")
        return found

    def _scalar(self, node: yaml.ScalarNode, location: Location) -> Any:
        convert = _SCALARS.get(node.tag.removeprefix(_PLAIN_TAG))
        if convert is None:
            self._refuse(node, location, f"the tag {node.tag[:_MAX_KEY]} is not allowed; write plain values")
            return None
        try:
            return convert(node.value)
        except ValueError:
            self._refuse(node, location, "is too long for a number; put quotes around it if it is text")
            return None

    def _pairs(self, node: yaml.MappingNode, location: Location) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, location, "has a key that is a list or a mapping; a key must be plain text")
                continue
            if key in seen:
                self._refuse(key_node, (*location, key), f"stands twice, first in line {seen[key]}; keep one of them")
                continue
            seen[key] = key_node.start_mark.line + 1
            yield key, self.build(value_node, (*location, key))

    def _refuse(self, node: yaml.Node, location: Location, message: str) -> None:
        self.problems.append(Problem(self._name, node.start_mark.line + 1, dotted(location), message))


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node under a key or index, with the node that stands for its place."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None
