"""Writes what a replay did in the form of a judge: from it and the trace alone anybody can recompute the cost.

It judges nothing and prices nothing. Rows are `ping` for every ping sent, with the ttl of its entry, and `write` for
every organic request that found the cache cold, with the ttl that it wrote. Which pings had to rewrite a living entry
they do not tell.
"""

from __future__ import annotations

import csv
from pathlib import Path

from keepwarm.errors import ConfigError, Problem
from keepwarm.simulate.replay import Happening, Kind
from keepwarm.simulate.traces import seconds_of

COLUMNS = ("t_seconds", "prefix_id", "action", "ttl")


_WORDS = {Kind.WRITE: "write", Kind.PING: "ping", Kind.REWRITE: "ping"}


class Actions:
    """Keeps the actions of a replay until it has ended, and then puts them in order of time."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: list[Happening] = []

    def tell(self, happening: Happening) -> None:
        """Keep it unless it is a request that found its entry alive."""
        if happening.kind in _WORDS:
            self._kept.append(happening)

    def write(self, path: Path) -> None:
        """Write them all; those of one moment in the order in which they were told.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            with path.open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerow(COLUMNS)
                for at, prefix_id, kind, _, ttl in sorted(self._kept, key=lambda each: each.at):
                    rows.writerow((f"{seconds_of(at):.6f}".rstrip("0").rstrip("."), prefix_id, _WORDS[kind], ttl.value))
        except OSError as error:
            raise ConfigError([Problem(str(path), 0, "", f"cannot be written: {error.strerror or error}")]) from None
