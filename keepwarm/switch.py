"""The kill switch: a file whose presence stops all pings, and a setting that does.

It sends and ends nothing: whoever is about to ping asks it. The file outlives restarts, since a stop may; what lifts it
is a person at this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keepwarm.errors import ConfigError, Problem

# So much of the file is shown as the reason.
_SHOWN = 200


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
