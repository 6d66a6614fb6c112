"""The kill switch: a file whose presence stops all pings, a setting that does, and a word in the ledger.

It sends and ends nothing: whoever is about to ping asks it. File and word outlive restarts, since a stop may, and are
lifted by a person. The file is for this machine and works without a ledger; the word is for every daemon on the ledger.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from keepwarm.errors import ConfigError, Problem

# So much of the file is shown as the reason.
_SHOWN = 200

_PLACE = "stop_all"


class Book(Protocol):
    """What remembers the word: `ledger.Ledger`."""

    def cursor(self, source: str) -> str | None:
        """What was remembered under a name."""

    def set_cursor(self, source: str, value: str, at: datetime) -> None:
        """Remember it."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Whether all pings are stopped.

    Attributes:
        file: stops them while it exists, whatever it holds.
        by_setting: stops them as long as this process lives.
    """

    file: Path
    by_setting: bool = False

    def reason(self) -> str:
        """Why all pings are stopped, in words; empty when they are not.

        A file that cannot be looked at stops them too: nobody can say that it is not there.
        """
        if self.by_setting:
            return "KEEPWARM_STOPPED is set"
        try:
            with self.file.open(encoding="utf-8", errors="replace") as stream:
                said = " ".join(stream.read(_SHOWN).split())
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except IsADirectoryError:
            said = ""
        except OSError as error:
            return f"{self.file} cannot be looked at: {error.strerror}"
        return f"{self.file} is there: {said}" if said else f"{self.file} is there"

    def stop(self, why: str, now: datetime) -> None:
        """Write the file; one that is there stays as it is.

        Raises:
            ConfigError: it cannot be written, so nothing is stopped.
        """
        if self.file.exists():
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(f"{now.isoformat(timespec='seconds')} {why}\n")
        except OSError as error:
            hint = "stop the daemon itself, or set KEEPWARM_STOP_FILE"
            raise self._problem("cannot be written", error, hint) from None

    def undo(self) -> bool:
        """Take the file away; tells whether it was there.

        Raises:
            ConfigError: it cannot be taken away.
        """
        try:
            self.file.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._problem("cannot be removed", error, "remove it by hand") from None
        return True

    def _problem(self, what: str, error: OSError, hint: str) -> ConfigError:
        return ConfigError([Problem(str(self.file), 0, "", f"{what}: {error.strerror}")], hint=hint)


class SharedSwitch:
    """The switch of one process with the word in its ledger, as it was at the last look."""

    def __init__(self, switch: Switch, book: Book) -> None:
        self.switch = switch
        self._book = book
        self._word = ""

    def reason(self) -> str:
        """Why all pings are stopped, in words; empty when they are not. The ledger is not asked."""
        return self.switch.reason() or self._word

    def look(self) -> None:
        """Ask the ledger.

        Raises:
            LedgerError: it cannot be read; what it said before holds.
        """
        word = self._book.cursor(_PLACE)
        self._word = f"stopped in the ledger: {word}" if word else ""

    def stop(self, why: str, now: datetime) -> None:
        """Stop this machine first, then every daemon on the ledger; where no file can be written, the word does both.

        Raises:
            LedgerError: daemons on other machines are not told; this one is stopped if the file could be written.
        """
        with contextlib.suppress(ConfigError):
            self.switch.stop(why, now)
        if not self._book.cursor(_PLACE):
            self._book.set_cursor(_PLACE, f"{now.isoformat(timespec='seconds')} {why}"[:_SHOWN], now)
        self.look()

    def undo(self, now: datetime) -> bool:
        """Take word and file away; tells whether there was one.

        Raises:
            LedgerError: the word cannot be taken away; all stays stopped.
            ConfigError: the file cannot.
        """
        there = bool(self._book.cursor(_PLACE))
        if there:
            self._book.set_cursor(_PLACE, "", now)
        self.look()
        return self.switch.undo() or there
