"""When somebody said that no more requests of a prefix come, and what the cache point of a touch asked for.

It spells the columns out instead of importing `tables`: history must not change when the present does.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(MYSQL_DATETIME(fsp=6), "mysql", "mariadb")
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table, and add the column."""
    op.create_table(
        "closings",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("fingerprint", sa.String(128), nullable=False),
        sa.Column("prefix", sa.String(255), nullable=False),
        sa.Column("closed_at", _MOMENT, nullable=False),
        sa.Column("reason", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_closings"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_closings_fingerprint_closed_at", "closings", ["fingerprint", "closed_at"])
    op.add_column("touches", sa.Column("ttl", sa.String(8)))
