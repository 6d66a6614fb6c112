"""What somebody paused and resumed.

It spells the columns out instead of importing `tables`: history must not change when the present does.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(MYSQL_DATETIME(fsp=6), "mysql", "mariadb")
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "pauses",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("target", sa.String(512), nullable=False),
        sa.Column("said_at", _MOMENT, nullable=False),
        sa.Column("until", _MOMENT),
        sa.Column("resumes", sa.Boolean, nullable=False),
        sa.Column("why", sa.String(255), nullable=False),
        sa.Column("said_by", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_pauses"),
        sqlite_autoincrement=True,
    )
