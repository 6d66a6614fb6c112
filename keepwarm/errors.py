"""The errors of keepwarm: each says what happened, whether waiting helps, and who must do what.

It does not catch, log or print: adapters raise, the keeper and the command line handle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class KeepwarmError(Exception):
    """Base of every error that leaves a room.

    Attributes:
        code: stable snake_case name; it stands in logs, ledger rows and exit messages.
        retryable: whether the same action may succeed later with nothing changed.
        hint: what the person who must act should run, grant or edit; may be empty.
    """

    code: ClassVar[str] = "keepwarm_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in a configuration file.

    Attributes:
        file: path as the user wrote it.
        line: 1-based line; 0 when the file as a whole is meant.
        key: dotted path of the offending key, such as `prefixes[2].ttl`; may be empty.
        message: what is wrong and what is allowed.
    """

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """One line, in which nothing that stood in the file can forge another or move the cursor of a terminal."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return one_line(f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}")


class ConfigError(KeepwarmError):
    """Configuration that cannot be used; carries every problem found in one reading."""

    code = "config_invalid"

    def __init__(self, problems: list[Problem], *, hint: str = "") -> None:
        super().__init__("\n".join(str(problem) for problem in sorted(problems)), hint=hint)
        self.problems = tuple(sorted(problems))


class Throttled(KeepwarmError):
    """Bedrock refused for now because of quota or load (429); nothing was billed."""

    code = "throttled"
    retryable = True


class Unavailable(KeepwarmError):
    """Bedrock failed or did not answer.

    Attributes:
        maybe_billed: True when the request had left and its answer was lost, so that it may stand on the bill.
    """

    code = "unavailable"
    retryable = True

    def __init__(self, message: str, *, maybe_billed: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.maybe_billed = maybe_billed


class CredentialsRejected(KeepwarmError):
    """AWS credentials are missing, expired or not accepted; fetching fresh ones may help."""

    code = "credentials_rejected"
    retryable = True


class AccessDenied(KeepwarmError):
    """Bedrock answered 403: a missing permission, no model access, or a model without caching."""

    code = "access_denied"


class RequestRefused(KeepwarmError):
    """Bedrock will never accept this request as it stands: invalid, retired model, or a fixed quota."""

    code = "request_refused"


class LedgerError(KeepwarmError):
    """The ledger cannot be read or written, or another daemon holds it; no ping is sent without it."""

    code = "ledger_unavailable"
    retryable = True


class Guarded(KeepwarmError):
    """A guard on money holds a ping back that somebody asked for; nothing was sent."""

    code = "guarded"


def one_line(text: str) -> str:
    """A text in which whatever breaks a line or commands a terminal is written as an escape."""
    if text.isprintable():
        return text
    return "".join(found if found.isprintable() else ascii(found)[1:-1] for found in text)
