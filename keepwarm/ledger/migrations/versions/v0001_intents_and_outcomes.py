"""The first tables: intents and outcomes, both insert-only.

It spells the columns out instead of importing `tables`: history must not change when the present does.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True).with_variant(MYSQL_DATETIME(fsp=6), "mysql", "mariadb")
_MONEY = sa.String(64)


def upgrade() -> None:
    """Create both tables and the three indexes."""
    op.create_table(
        "intents",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("prefix", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(128), nullable=False),
        sa.Column("model_id", sa.String(2048), nullable=False),
        sa.Column("region", sa.String(64), nullable=False),
        sa.Column("api", sa.String(32), nullable=False),
        sa.Column("ttl", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("high_cost_usd", _MONEY, nullable=False),
        sa.Column("provisioned", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_intents"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_intents_fingerprint_number", "intents", ["fingerprint", "number"])
    op.create_index("ix_intents_started_at", "intents", ["started_at"])
    op.create_index("ix_intents_prefix_started_at", "intents", ["prefix", "started_at"])
    op.create_table(
        "outcomes",
        sa.Column("number", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("completed_at", _MOMENT, nullable=False),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("cost_usd", _MONEY, nullable=False),
        sa.Column("avoidable_usd", _MONEY, nullable=False),
        sa.Column("input_tokens", sa.Integer),
        sa.Column("output_tokens", sa.Integer),
        sa.Column("cache_read_tokens", sa.Integer),
        sa.Column("cache_write_tokens", sa.Integer),
        sa.Column("cache_write_1h_tokens", sa.Integer),
        sa.Column("latency_ms", sa.Integer, nullable=False),
        sa.Column("server_latency_ms", sa.Integer),
        sa.Column("billed_ttl", sa.String(8)),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("error_code", sa.String(64), nullable=False),
        sa.Column("error_message", sa.Text, nullable=False),
        sa.Column("error_hint", sa.Text, nullable=False),
        sa.Column("retryable", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_outcomes"),
        sa.ForeignKeyConstraint(["number"], ["intents.number"], name="fk_outcomes_number"),
    )
