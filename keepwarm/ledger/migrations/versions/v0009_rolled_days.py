"""Days that are summed up, so that reports need not walk every ping.

It spells the columns out instead of importing `tables`: history must not change when the present does.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(MYSQL_DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "rolled_days",
        sa.Column("day", _MOMENT, nullable=False),
        sa.Column("touches_seen", sa.BigInteger, nullable=False),
        sa.Column("details", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_rolled_days"),
    )
    op.create_table(
        "rolled_parts",
        sa.Column("day", _MOMENT, nullable=False),
        sa.Column("days", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("prefix", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(128), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("day", "days", "prefix", "fingerprint", name="pk_rolled_parts"),
    )
    op.create_table(
        "rolled_standings",
        sa.Column("fingerprint", sa.String(128), nullable=False),
        sa.Column("day", _MOMENT, nullable=False),
        sa.Column("prefix", sa.String(255), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", "day", name="pk_rolled_standings"),
    )
