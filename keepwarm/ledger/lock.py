"""One daemon per ledger: a lock that dies with its process.

It does not hinder `report`, `ping` or any other reader or writer of the ledger, only a second daemon. It guards SQLite
files: on PostgreSQL daemons share a ledger (see `lease`), other databases have no lock, and one in memory needs none.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from keepwarm.errors import LedgerError
from keepwarm.ledger.files import create_file, parse_url, sqlite_file


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a ledger.

    Attributes:
        since: ISO 8601 UTC, only told to people.
    """

    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def hold(url: str, holder: Holder) -> Iterator[Path | None]:
    """Hold the ledger at a SQLAlchemy URL for one daemon, until the block ends or the process dies, however it dies.

    Yields:
        The file that bears the lock; None where nothing is locked: SQLite in memory, and databases other than SQLite.

    Raises:
        LedgerError: another daemon holds it (the message names it), or the lock file cannot be written.
    """
    database = sqlite_file(parse_url(url))
    if database is None:
        yield None
        return
    path = database.with_name(database.name + ".lock")
    descriptor = _acquire(path, holder)
    try:
        yield path
    finally:
        # The file stays: removing it would let two daemons lock two files of one name.
        os.close(descriptor)


def _acquire(path: Path, holder: Holder) -> int:
    create_file(path)
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        raise _refusal(path, error) from None
    return descriptor


def _refusal(path: Path, error: OSError) -> LedgerError:
    if isinstance(error, BlockingIOError):
        return LedgerError(
            f"another keepwarm daemon holds this ledger: {_read(path)}",
            hint="stop that daemon first, or give this one its own KEEPWARM_LEDGER_URL",
        )
    return LedgerError(
        f"cannot lock {path}: {error.strerror}",
        hint="let this user write there, and keep the ledger on a file system with locks",
    )


def _read(path: Path) -> str:
    try:
        return str(Holder(**json.loads(path.read_bytes())))
    except (OSError, ValueError, TypeError):
        # Between its lock and its name: the first daemon is starting at this very moment.
        return "one that has not told its name yet"
