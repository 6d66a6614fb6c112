"""One leader among many daemons on one PostgreSQL: a lock that dies with its session, and a term that fences writes.

It has no thread and no timer: somebody calls `beat` every second (see `keepwarm.leadership`). Why both lock and term,
and why the session has a dead man's switch: docs/decisions/0009-leader.md.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Insert, func, insert, literal, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from keepwarm.errors import LedgerError
from keepwarm.ledger.lock import Holder
from keepwarm.ledger.tables import intents, leases

# A leader that has been silent for this long leads no more: PostgreSQL ends its session, and it says so itself.
LIFE = timedelta(seconds=5)

# One lock for each schema: two ledgers in one database have a leader each.
_TRY = text("SELECT pg_try_advisory_lock(1801810800, hashtext('keepwarm ledger ' || current_schema()))")
_LOOK = select(leases.c.term, leases.c.holder, leases.c.key_check, func.pg_backend_pid().label("session"))

_POOLER_HINT = (
    "connect to PostgreSQL itself, or through a pooler in session mode: the leader needs a session of its own"
)
_VERSION_HINT = "PostgreSQL 14 or newer is needed, and a user who may connect once more"


class Lease:
    """One daemon's claim to lead; `beat` and `give_up` are for one thread, all else for any.

    Args:
        engine: makes connections of its own to the ledger's database, in autocommit and without a pool.
        key_check: tells whether two daemons have the same fingerprint key, without telling the key.
        steady: seconds of the machine's steady clock.

    Attributes:
        leader: who leads, as last seen; empty before the first look.
    """

    def __init__(self, engine: Engine, holder: Holder, key_check: str, steady: Callable[[], float]) -> None:
        self._engine = engine
        self._holder = str(holder)
        self._key_check = key_check
        self._steady = steady
        self._connection: Connection | None = None
        self._descriptor = -1
        self._session = 0
        # The term, and until when it is surely ours: PostgreSQL counts from later than we do. Replaced as one.
        self._held: tuple[int, float] | None = None
        self.leader = ""

    @property
    def term(self) -> int | None:
        """The term in which this daemon leads at this moment; None while it does not, or cannot be sure."""
        held = self._held
        return held[0] if held and self._steady() < held[1] else None

    def beat(self) -> None:
        """Say that we still lead, or try to. May hang as long as the network does: `cut` ends that.

        Raises:
            LedgerError: the database cannot be asked; we lead no more.
        """
        began = self._steady()
        try:
            connection = self._connection or self._connect()
            term = self._go_on(connection, self._held[0]) if self._held else self._try(connection)
        except SQLAlchemyError as error:
            self.drop()
            reason = str(getattr(error, "orig", None) or error).strip()
            raise LedgerError(f"cannot ask the ledger who leads: {reason}", hint=_VERSION_HINT) from None
        except LedgerError:
            self.drop()
            raise
        self._held = None if term is None else (term, began + LIFE.total_seconds())

    def check_key(self) -> None:
        """Whether the one that leads has the same fingerprint key; without it, neither would know the other's pings.

        Raises:
            LedgerError: it has another.
        """
        if self._held is None and self._connection is not None:
            found = self._connection.execute(_LOOK).one()
            if found.key_check and found.key_check != self._key_check:
                raise LedgerError(
                    f"another daemon leads this ledger with another fingerprint key: {found.holder}",
                    hint="give both the same KEEPWARM_FINGERPRINT_KEY, or copy its fingerprint.key here",
                )

    def give_up(self) -> None:
        """Lead no more, at once: another may lead from now on."""
        self.drop()
        self._engine.dispose()

    def drop(self) -> None:
        """Forget the session; PostgreSQL frees the lock when it ends."""
        self._held = None
        connection, self._connection, self._descriptor = self._connection, None, -1
        if connection is not None:
            with suppress(SQLAlchemyError):  # it may be broken already
                connection.invalidate()
                connection.close()

    def cut(self) -> None:
        """Break the connection under a `beat` that hangs in another thread; it then fails."""
        descriptor = self._descriptor
        if descriptor < 0:
            return
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as broken:  # it may be closed already
            broken.shutdown(socket.SHUT_RDWR)

    # -- in a beat ------------------------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        connection = self._connection = self._engine.connect()
        driver: Any = connection.connection.driver_connection
        self._descriptor = driver.fileno()
        connection.execute(text(f"SET idle_session_timeout = {LIFE // timedelta(milliseconds=1)}"))
        self._session = connection.execute(select(func.pg_backend_pid())).scalar_one()
        return connection

    def _go_on(self, connection: Connection, term: int) -> int:
        found = self._look(connection)
        if found.term != term:
            raise LedgerError(f"another daemon leads this ledger now: {found.holder}")
        return term

    def _try(self, connection: Connection) -> int | None:
        if not connection.execute(_TRY).scalar_one():
            self.leader = self._look(connection).holder
            return None
        # Changing the key waits for the intents that are being written, and holds up and then refuses those after it.
        won = {"term": leases.c.term + 1, "holder": self._holder, "key_check": self._key_check, "won_at": func.now()}
        term = connection.execute(update(leases).values(won).returning(leases.c.term)).scalar_one()
        self.leader = self._holder
        return int(term)

    def _look(self, connection: Connection) -> Any:
        found = connection.execute(_LOOK).one()
        if found.session != self._session:
            raise LedgerError("the session of the ledger changed under its lock", hint=_POOLER_HINT)
        return found


def fenced(row: dict[str, Any], term: int) -> Insert:
    """Insert an intent only in this term; its number is returned, or no row.

    It must be one statement in autocommit: a process that is stopped inside a transaction would hold up its successor.
    """
    values = [literal(value, intents.c[name].type).label(name) for name, value in row.items()]
    # KEY SHARE: a new term waits for it, renewing would not, and the term is looked at again once the row is free.
    mine = select(*values).where(leases.c.term == term).with_for_update(read=True, key_share=True)
    return insert(intents).from_select(list(row), mine).returning(intents.c.number)
