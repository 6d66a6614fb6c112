"""What the adaptive policy has learnt, of each prefix and of all together.

It spells the columns out instead of importing `tables`: history must not change when the present does.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(MYSQL_DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "learnt",
        sa.Column("fingerprint", sa.String(128), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("learnt_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_learnt"),
    )
