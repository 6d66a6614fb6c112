"""Remembers how far a history was read and what was counted so far, in a file that is always whole.

It holds digests under the installation's key and no prompt text; a file of another history is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepwarm.discovery.tally import Tally
from keepwarm.errors import ConfigError, Problem
from keepwarm.importing import Draft, publish

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Position:
    """Where to read on.

    Attributes:
        place: in the origin's own words, plain data.
        history: what was being read, to know it again.
    """

    history: dict[str, Any]
    place: Any = None


def load_state(path: Path, history: dict[str, Any], tally: Tally) -> Position:
    """Take up an earlier run, or begin where there is none.

    Raises:
        ConfigError: the file is damaged or of another history.
    """
    try:
        data = json.loads(path.read_bytes())
        matching = data["version"] == _VERSION and data["history"] == history
    except FileNotFoundError:
        return Position(history)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise _problem(path, "is no state of keepwarm discover; remove it to begin anew") from None
    if not matching:
        raise _problem(path, "is the state of another history; name another file, or remove it to begin anew")
    try:
        tally.restore(data["tally"])
        return Position(history, data["place"])
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError):
        raise _problem(path, "is damaged; remove it to begin anew") from None


def save_state(path: Path, position: Position, tally: Tally) -> None:
    """Write it whole, readable by its owner only.

    Raises:
        ConfigError: it cannot be written.
    """
    data = {"version": _VERSION, "history": position.history, "place": position.place, "tally": tally.dump()}
    with Draft(path, json.dumps(data, separators=(",", ":")).encode(), private=True) as draft:
        publish(draft)


def _problem(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(str(path), 0, "", message)])
