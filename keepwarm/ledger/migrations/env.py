"""What Alembic runs to migrate a ledger over the connection it is given.

It opens no connection, reads no ini file, sets up no logging, and leaves the transaction to its caller.
"""

from __future__ import annotations

from alembic import context

from keepwarm.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can roll back a change of tables; Alembic assumes it cannot, because of old drivers.
    transactional_ddl=True,
)
context.run_migrations()
