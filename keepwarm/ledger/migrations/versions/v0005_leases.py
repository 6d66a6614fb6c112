"""Who leads where several daemons share the ledger, and who wrote a touch.

It spells the columns out instead of importing `tables`: history must not change when the present does.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(MYSQL_DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Create the table with its only row, and add the column."""
    leases = op.create_table(
        "leases",
        sa.Column("term", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(512), nullable=False),
        sa.Column("key_check", sa.String(64), nullable=False),
        sa.Column("won_at", _MOMENT),
        sa.PrimaryKeyConstraint("term", name="pk_leases"),
    )
    op.bulk_insert(leases, [{"term": 0, "holder": "", "key_check": "", "won_at": None}])
    op.add_column("touches", sa.Column("writer", sa.String(64)))
