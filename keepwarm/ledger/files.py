"""Where a ledger lies when it is a SQLite file: its path, its directory, its mode.

It opens no database and takes no lock.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from keepwarm.errors import LedgerError


def parse_url(url: str) -> URL:
    """Read a SQLAlchemy URL.

    Raises:
        LedgerError: it is not one; the message does not repeat it, for it may hold a password.
    """
    try:
        return make_url(url)
    except ArgumentError:
        raise LedgerError(
            "the ledger URL is not a SQLAlchemy URL",
            hint="set KEEPWARM_LEDGER_URL to something like sqlite:////var/lib/keepwarm/ledger.db",
        ) from None


def sqlite_file(url: URL) -> Path | None:
    """The absolute path of a SQLite file, links followed; None for SQLite in memory and for every other database."""
    if url.get_backend_name() != "sqlite":
        return None
    name = url.database or ":memory:"
    if name.startswith("file:"):
        if url.query.get("mode") == "memory":
            return None
        name = unquote(urlsplit(name).path)
    return None if name == ":memory:" else Path(name).resolve()


def create_file(path: Path) -> None:
    """Create an empty file that only its owner reads (0600), and the directory over it; leave existing ones alone.

    Raises:
        LedgerError: the place cannot be written.
    """
    try:
        for folder in reversed(path.parents):  # also those above it, whatever the umask
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            # Never open a file that exists: closing it would drop the POSIX locks SQLite holds on it in this process.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise LedgerError(f"{path.parent} is not a directory", hint=_WHERE) from None
    except OSError as error:
        raise LedgerError(f"cannot create {path}: {error.strerror}", hint=_WHERE) from None


def identity(path: Path | None) -> tuple[int, int] | None:
    """Which file lies there: device and inode; None for none."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


_WHERE = "let this user write there, or set KEEPWARM_LEDGER_URL to another place"
