"""Organic requests that keepwarm was told of; insert-only like the rest.

It spells the columns out instead of importing `tables`: history must not change when the present does.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True).with_variant(MYSQL_DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Create the table and its three indexes."""
    op.create_table(
        "touches",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(128), nullable=False),
        sa.Column("prefix", sa.String(255), nullable=False),
        sa.Column("group", sa.String(128), nullable=False),
        sa.Column("model_id", sa.String(2048), nullable=False),
        sa.Column("region", sa.String(64), nullable=False),
        sa.Column("api", sa.String(32), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("drift", sa.String(1024), nullable=False),
        sa.Column("input_tokens", sa.Integer),
        sa.Column("output_tokens", sa.Integer),
        sa.Column("cache_read_tokens", sa.Integer),
        sa.Column("cache_write_tokens", sa.Integer),
        sa.Column("cache_write_1h_tokens", sa.Integer),
        sa.Column("latency_ms", sa.Integer),
        sa.PrimaryKeyConstraint("number", name="pk_touches"),
        sa.UniqueConstraint("request_id", "fingerprint", name="uq_touches_request_id_fingerprint"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_touches_fingerprint_started_at", "touches", ["fingerprint", "started_at"])
    op.create_index("ix_touches_started_at", "touches", ["started_at"])
    op.create_index("ix_touches_prefix_started_at", "touches", ["prefix", "started_at"])
